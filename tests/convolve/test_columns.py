"""Mapping matrices: convolution of images that are mostly zeros, as the columns of a matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import fftconvolve

from lenskern import backends, convolve
from lenskern.convolve import columns

SHAPE = (19, 16)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
MASK = (Y - 8) ** 2 + (X - 6.5) ** 2 > 30
PIXELS = np.argwhere(~MASK).astype(np.int32)
KERNELS = [(5, 3), (4, 6), (1, 1), (41, 3)]
TOLERANCE = {"float64": 1e-13, "float32": 2e-5}


@pytest.fixture(params=["reference", "cpp"])
def backend(request, available):
    return available(request.param)


def mapping_matrix(rng, columns=90, dtype="float64"):
    """Some rows without an entry, most with a few, some with all of them, and one column of zeros."""
    matrix = rng.uniform(size=(len(PIXELS), columns)) * (rng.uniform(size=(len(PIXELS), columns)) < 0.05)
    matrix[3::11] = 0
    matrix[5::13] = rng.normal(size=matrix[5::13].shape)
    matrix[:, 4] = 0
    return matrix.astype(dtype)


def wanted(matrix, kernel, sources=PIXELS, pixels=PIXELS):
    """By scipy, image by image."""
    images = np.zeros((matrix.shape[1], *SHAPE))
    images[:, sources[:, 0], sources[:, 1]] = matrix.T
    return np.stack([fftconvolve(image, kernel, mode="same")[tuple(pixels.T)] for image in images], 1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", KERNELS)
def test_agrees_with_scipy(backend, shape, dtype):
    rng = np.random.default_rng(1)
    matrix, kernel = mapping_matrix(rng, dtype=dtype), rng.normal(size=shape).astype(dtype)
    found = columns.convolve(matrix, kernel, PIXELS, PIXELS, SHAPE, backend=backend)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, wanted(matrix, kernel), rtol=0, atol=TOLERANCE[dtype] * np.abs(kernel).sum())


def test_pixels_beyond_the_image_count_for_nothing(backend):
    rng = np.random.default_rng(2)
    matrix, kernel = mapping_matrix(rng), rng.normal(size=(5, 5))
    sources, pixels = PIXELS.copy(), PIXELS.copy()
    sources[::14], sources[7::14] = (-1, 3), (2, SHAPE[1])
    pixels[1], pixels[2], pixels[3] = (-1, 0), (SHAPE[0], 2), (3, SHAPE[1])
    found = columns.convolve(matrix, kernel, sources, pixels, SHAPE, backend=backend)
    matrix[::7] = 0
    right = wanted(matrix, kernel)
    right[1:4] = 0
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-12)


def test_transforms(backend):
    """Under vmap, shared and not; the transpose; the derivatives by the matrix and by the kernel."""
    rng = np.random.default_rng(3)
    matrices = np.stack([mapping_matrix(rng, 20) for _ in range(3)])
    kernels = rng.normal(size=(3, 5, 4))

    def blur(matrix, kernel):
        return columns.convolve(matrix, kernel, PIXELS, PIXELS, SHAPE, backend=backend)

    alone = np.stack([blur(m, k) for m, k in zip(matrices, kernels, strict=True)])
    np.testing.assert_array_equal(jax.jit(jax.vmap(blur))(matrices, kernels), alone)
    shared = np.stack([blur(m, kernels[0]) for m in matrices])
    np.testing.assert_allclose(jax.vmap(blur, (0, None))(matrices, kernels[0]), shared, rtol=0, atol=1e-12)
    shared = np.stack([blur(matrices[0], k) for k in kernels])
    np.testing.assert_allclose(jax.vmap(blur, (None, 0))(matrices[0], kernels), shared, rtol=0, atol=1e-12)

    # The map is bilinear, so that its derivatives are itself.
    matrix, kernel = matrices[0], kernels[0]
    _, tangent = jax.jvp(blur, (matrix, kernel), (matrices[1], kernels[1]))
    np.testing.assert_allclose(tangent, blur(matrices[1], kernel) + blur(matrix, kernels[1]), rtol=0, atol=1e-12)
    weights = rng.normal(size=alone[0].shape)
    by_matrix, by_kernel = jax.jit(jax.grad(lambda m, k: jnp.sum(weights * blur(m, k)), (0, 1)))(matrix, kernel)
    np.testing.assert_allclose(np.sum(by_matrix * matrices[1]), np.sum(weights * blur(matrices[1], kernel)), rtol=1e-11)
    np.testing.assert_allclose(np.sum(by_kernel * kernels[1]), np.sum(weights * blur(matrix, kernels[1])), rtol=1e-11)
    batch = jax.vmap(jax.grad(lambda m, k: jnp.sum(weights * blur(m, k)), (0, 1)), (0, None))(matrices, kernel)
    np.testing.assert_allclose(batch[0][0], by_matrix, rtol=0, atol=1e-12)
    np.testing.assert_allclose(batch[1][0], by_kernel, rtol=0, atol=1e-10)
    # What lanes share gets the sum.
    total = jax.grad(lambda m: jnp.sum(weights * jax.vmap(blur, (None, 0))(m, kernels)))(matrix)
    parts = [jax.grad(lambda m, k: jnp.sum(weights * blur(m, k)))(matrix, k) for k in kernels]
    np.testing.assert_allclose(total, sum(parts), rtol=0, atol=1e-11)


def test_nan_stays_within_reach_of_the_kernel(available):
    """Of the compiled kernel: a pixel that is not finite makes those that see it not finite, and no others."""
    available("cpp")
    matrix = mapping_matrix(np.random.default_rng(4))
    row = len(PIXELS) // 2
    matrix[row, 2] = np.nan
    found = np.asarray(columns.convolve(matrix, np.ones((3, 3)), PIXELS, PIXELS, SHAPE, backend="cpp"))
    near = np.abs(PIXELS - PIXELS[row]).max(1) <= 1
    np.testing.assert_array_equal(np.isnan(found), near[:, None] & (np.arange(found.shape[1]) == 2))


@pytest.mark.parametrize("kernel", [np.random.default_rng(5).normal(size=(4, 6)), convolve.gaussian(2.0, 1.0)])
def test_a_masked_kernel_takes_it(kernel):
    rng = np.random.default_rng(6)
    by_columns, by_image = convolve.masked(kernel, MASK), convolve.masked(kernel, MASK, method="fft")
    assert by_columns.kernel is not None and by_image.kernel is None
    matrix = np.stack([mapping_matrix(rng, 6) for _ in range(2)])
    more = rng.normal(size=(2, len(by_columns.blurring_pixels), 6))
    for rest in ((), (more,)):
        found, right = (jax.jit(lambda b, *m: b.mapping_matrix(*m))(b, matrix, *rest) for b in (by_columns, by_image))
        np.testing.assert_allclose(found, right, rtol=0, atol=1e-12)
    for blur in (by_columns, by_image):
        with pytest.raises(ValueError, match=r"matrix: got shape \(4, 6\), expected \(..., 94, S\)"):
            blur.mapping_matrix(jnp.ones((4, 6)))
        with pytest.raises(ValueError, match="blurring_matrix: got dtype float32, expected the dtype of the kernel"):
            blur.mapping_matrix(matrix, jnp.ones(more.shape, "float32"))
        with pytest.raises(ValueError, match=r"blurring_matrix: got shape .*, 5\), expected \(2, .*, 6\)"):
            blur.mapping_matrix(matrix, more[..., :5])


def test_what_runs_it():
    operands = jnp.ones((len(PIXELS), 2)), jnp.ones((3, 3)), PIXELS, PIXELS

    def text(backend, platform):
        call = jax.jit(lambda *x: columns.convolve(*x, SHAPE, backend=backend))
        return call.trace(*operands).lower(lowering_platforms=(platform,)).as_text()

    assert "lenskern_convolve_columns" not in text(None, "cuda")
    if backends.availability("cpp").available:
        assert "lenskern_convolve_columns" in text(None, "cpu")
    with pytest.raises(NotImplementedError, match="'cpp' runs on the CPU only"):
        text("cpp", "cuda")
    with pytest.raises(NotImplementedError, match="'pallas' does not convolve mapping matrices"):
        text("pallas", "cpu")

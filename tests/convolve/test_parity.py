"""Every method against SciPy, and its transforms against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import fftconvolve

from lenskern import convolve

METHODS = ("fft", "direct", "separable", None)
TOLERANCE = {"float64": 1e-13, "float32": 1e-6}
# Odd and even, larger than the image, of one row, of more than is written out.
KERNELS = ((1, 1), (5, 4), (4, 2), (3, 40), (13, 1), (14, 16))


def random(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def rank_one(kh, kw, dtype="float64"):
    return np.outer(random(kh, seed=1), random(kw, seed=2)).astype(dtype)


def close(found, wanted, dtype="float64", scale=1):
    assert found.dtype == dtype
    limit = TOLERANCE[dtype] * scale * (1 + np.abs(wanted).max(initial=0))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=limit)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(7, 10), (6, 3)])
def test_agrees_with_scipy(shape, method):
    image = random(*shape)
    for kh, kw in KERNELS:
        kernel = rank_one(kh, kw)
        wanted = fftconvolve(image, kernel, mode="same")
        close(convolve.convolve(image, kernel, method=method, backend="reference"), wanted)


@pytest.mark.parametrize("method", ["direct", "separable"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_compiled_kernels_agree_with_scipy(method, dtype, available):
    available("cpp")
    # Columns that fill one to five vectors and a part; rows that fill tiles and a part.
    for shape in ((1, 3), (6, 17), (21, 70)):
        images = random(2, *shape, dtype=dtype)
        for kh, kw in KERNELS:
            kernel = rank_one(kh, kw) / np.sqrt(kh * kw)
            plan = convolve.plan(kernel, shape, method=method, dtype=dtype, backend="cpp")
            for image, out, back in zip(images, plan(images), plan.transpose(images), strict=True):
                close(out, fftconvolve(image, kernel, mode="same"), dtype)
                odd = np.pad(kernel, ((1 - kh % 2, 0), (1 - kw % 2, 0)))
                close(back, fftconvolve(image, odd[::-1, ::-1], mode="same"), dtype)


def test_a_result_does_not_depend_on_the_number_of_threads(available):
    available("cpp")
    images, kernel = random(9, 120, 130), rank_one(9, 11)
    for method in ("direct", "separable"):
        plan = convolve.plan(kernel, (120, 130), method=method, backend="cpp")
        np.testing.assert_array_equal(plan(images)[4], plan(images[4]))


@pytest.mark.parametrize("method", METHODS)
def test_float32(method):
    image, kernel = random(9, 12), rank_one(5, 4)
    wanted = fftconvolve(image, kernel, mode="same")
    found = convolve.convolve(image.astype("float32"), kernel.astype("float32"), method=method)
    close(found, wanted, "float32", scale=4)


def test_batches_of_images_and_of_kernels():
    images, kernels = random(2, 3, 6, 7), random(3, 3, 4, seed=1)
    for method in ("fft", "direct"):
        one = convolve.convolve(images, kernels[0], method=method)
        each = convolve.convolve(images, kernels, method=method)
        shared = convolve.convolve(images[0, 0], kernels, method=method)
        assert one.shape == each.shape == images.shape and shared.shape == (3, 6, 7)
        for i in range(2):
            for j in range(3):
                close(one[i, j], fftconvolve(images[i, j], kernels[0], mode="same"))
                close(each[i, j], fftconvolve(images[i, j], kernels[j], mode="same"))
        close(shared[2], fftconvolve(images[0, 0], kernels[2], mode="same"))


@pytest.mark.parametrize("method", ["fft", "direct", "separable"])
def test_vmap_over_images_plans_and_both(method):
    images, u, v = random(3, 6, 7), random(3, 1, 4, seed=1), random(3, 1, 3, seed=2)
    kernels = np.einsum("bri,brj->bij", u, v)
    wanted = np.array([fftconvolve(x, k, mode="same") for x, k in zip(images, kernels, strict=True)])

    def one(image, y, x):
        return convolve.convolve(image, convolve.Separable(y, x), method=method)

    close(jax.jit(jax.vmap(one))(images, u, v), wanted)
    plans = jax.vmap(lambda y, x: convolve.plan(convolve.Separable(y, x), (6, 7), method=method))(u, v)
    close(jax.vmap(lambda plan, image: plan(image))(plans, images), wanted)
    first = jax.tree.map(lambda x: x[0], plans)
    close(jax.vmap(first)(images)[0], wanted[0])
    twice = jax.vmap(lambda plan: jax.vmap(plan)(images))(plans)
    close(twice[1, 1], wanted[1])
    close(twice[2, 0], fftconvolve(images[0], kernels[2], mode="same"))


@pytest.mark.parametrize("method", ["fft", "direct", "separable"])
@pytest.mark.parametrize("size", [(3, 5), (4, 2), (17, 12)])
def test_transpose_is_the_derivative_by_the_image(method, size):
    plan = convolve.plan(rank_one(*size), (6, 7), method=method)
    x, y = random(6, 7), random(6, 7, seed=3)
    matrix = np.array(jax.vmap(plan)(np.eye(42).reshape(42, 6, 7))).reshape(42, 42)
    close(plan.transpose(y).ravel(), matrix @ y.ravel())
    out, pull = jax.vjp(plan, x)
    close(out, plan(x))
    close(pull(y)[0], plan.transpose(y))
    close(jax.jvp(plan, (x,), (y,))[1], plan(y))
    close(jax.vjp(plan.transpose, x)[1](y)[0], plan(y))


@pytest.mark.parametrize("method", ["fft", "direct"])
def test_derivative_by_the_kernel(method):
    image, weights = random(2, 6, 7), random(2, 6, 7, seed=3)
    for size in ((3, 4), (13, 14)):
        kernel = random(*size, seed=1)
        found = jax.jit(jax.grad(lambda k: (weights * convolve.convolve(image, k, method=method)).sum()))(kernel)
        shifted = np.eye(kernel.size).reshape(-1, *size)
        wanted = [
            sum((w * fftconvolve(x, k, mode="same")).sum() for x, w in zip(image, weights, strict=True))
            for k in shifted
        ]
        close(found.ravel(), np.array(wanted), scale=10)


def test_derivative_by_the_width_of_a_gaussian():
    image, weights = random(6, 7), random(6, 7, seed=3)

    def loss(fwhm, method="separable"):
        psf = convolve.gaussian(fwhm, 0.1, shape=(5, 5))
        return (weights * convolve.convolve(image, psf, method=method)).sum()

    slope = float(loss(0.25 + 1e-5) - loss(0.25 - 1e-5)) / 2e-5
    assert float(jax.jit(jax.grad(loss))(0.25)) == pytest.approx(slope, rel=1e-7)
    by_fft = jax.grad(lambda fwhm: loss(fwhm, "fft"))
    assert float(jax.jit(by_fft)(0.25)) == pytest.approx(slope, rel=1e-7)
    curvature = (float(loss(0.251)) - 2 * float(loss(0.25)) + float(loss(0.249))) / 1e-6
    assert float(jax.jit(jax.hessian(loss))(0.25)) == pytest.approx(curvature, rel=1e-4)


def test_gradient_in_a_batch_of_images_and_kernels():
    images, kernels = random(3, 5, 6), random(3, 3, 3, seed=1)

    def loss(image, kernel):
        return (convolve.convolve(image, kernel, method="fft") ** 2).sum()

    gradient = jax.jit(jax.grad(loss, (0, 1)))
    found = jax.jit(jax.vmap(gradient))(images, kernels)
    for i in range(3):
        for one, batch in zip(gradient(images[i], kernels[i]), found, strict=True):
            close(batch[i], one, scale=10)
    shared = jax.jit(jax.grad(lambda x: jax.vmap(loss, (None, 0))(x, kernels).sum()))(images[0])
    close(shared, sum(gradient(images[0], k)[0] for k in kernels), scale=10)


def test_kernels_are_taken_as_they_are_or_normalised():
    image, kernel = random(6, 7), 1 + rank_one(3, 3) ** 2
    wanted = fftconvolve(image, kernel / kernel.sum(), mode="same")
    close(convolve.convolve(image, kernel) / kernel.sum(), wanted)
    psf = convolve.Separable(random(2, 3, seed=1) + 2, random(2, 4, seed=2) + 2)
    for each in (kernel, psf, jnp.asarray(kernel)):
        out = convolve.convolve(jnp.ones((9, 9)), each, normalize=True)
        assert out[4, 4] == pytest.approx(1)
    normalised = jax.jit(lambda k: convolve.convolve(image, k, normalize=True))(kernel)
    close(normalised, wanted)


def test_low_rank_is_found_and_nothing_else():
    two = rank_one(7, 9) + np.outer(random(7, seed=5), random(9, seed=6))
    assert convolve.plan(two, (50, 50), method="separable").factors[0].shape == (2, 7)
    close(convolve.convolve(random(8, 9), two, method="separable"), fftconvolve(random(8, 9), two, mode="same"))
    with pytest.raises(ValueError, match="method: got 'separable'"):
        convolve.plan(random(7, 9), (50, 50), method="separable")
    assert convolve.plan(random(41, 41), (100, 100)).method == "fft"
    assert convolve.plan(np.zeros((3, 3)), (5, 5), method="separable")(jnp.ones((5, 5))).max() == 0


def test_empty_batch():
    assert convolve.convolve(jnp.zeros((0, 5, 6)), jnp.ones((3, 3))).shape == (0, 5, 6)

"""Masks: the semantics of autoarray's Convolver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import fftconvolve

from lenskern import convolve

RNG = np.random.default_rng(0)
Y, X = np.mgrid[:17, :14]
DISC = (Y - 8) ** 2 + (X - 6.5) ** 2 > 16
LIGHTS = np.eye(DISC.size).reshape(-1, *DISC.shape)
KERNEL = RNG.uniform(size=(5, 3))


def test_blurring_mask():
    for shape in ((5, 3), (1, 1), (4, 6), (41, 3)):
        # Where a single bright pixel changes the image inside of the mask.
        kernel = np.ones(shape)
        reached = [fftconvolve(light, kernel, mode="same")[~DISC].max() > 0.5 for light in LIGHTS]
        wanted = ~(np.reshape(reached, DISC.shape) & DISC)
        np.testing.assert_array_equal(convolve.blurring_mask(DISC, shape), wanted)
        np.testing.assert_array_equal(jax.jit(lambda m, s=shape: convolve.blurring_mask(m, s))(DISC), wanted)


@pytest.mark.parametrize("method", ["fft", "direct"])
def test_only_light_that_reaches_the_pixels_is_read(method):
    image = RNG.normal(size=DISC.shape)
    far = DISC & convolve.blurring_mask(DISC, KERNEL.shape)
    assert far.any()
    found = convolve.convolve(np.where(far, np.nan, image), KERNEL, mask=DISC, method=method)
    wanted = np.where(DISC, 0, fftconvolve(image, KERNEL, mode="same"))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13)
    slope = jax.grad(lambda x: convolve.convolve(x, KERNEL, mask=DISC, method=method).sum())(jnp.asarray(image))
    assert not slope[far].any() and (slope[~far] > 1e-3).all()


@pytest.mark.parametrize("kernel", [KERNEL, RNG.normal(size=(4, 6)), convolve.gaussian(2.0, 1.0)])
def test_masked_pixels_as_vectors(kernel):
    array = getattr(kernel, "array", kernel)
    # Near the edge the blurring region reaches beyond the image.
    for mask in (DISC, np.roll(DISC, (-4, 3), (0, 1))):
        blur = convolve.masked(kernel, mask)
        big = RNG.normal(size=(2, 57, 54))
        y, x = np.asarray(blur.pixels).T
        by, bx = np.asarray(blur.blurring_pixels).T
        np.testing.assert_array_equal(np.argwhere(~mask), blur.pixels)
        found = jax.jit(lambda b, i, o: b(i, o))(blur, big[:, y + 20, x + 20], big[:, by + 20, bx + 20])
        wanted = [fftconvolve(image, array, mode="same")[y + 20, x + 20] for image in big]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13)


def test_without_blurring_image_there_is_no_light_outside():
    image = RNG.normal(size=DISC.shape)
    blur = convolve.masked(KERNEL, DISC)
    wanted = fftconvolve(np.where(DISC, 0, image), KERNEL, mode="same")[~DISC]
    np.testing.assert_allclose(blur(image[~DISC]), wanted, rtol=0, atol=1e-13)


def test_bad_input():
    blur = convolve.masked(KERNEL, DISC)
    n, m = len(blur.pixels), len(blur.blurring_pixels)
    with pytest.raises(ValueError, match=rf"image: got shape \({m},\), expected \(..., {n}\)"):
        blur(jnp.ones(m))
    with pytest.raises(ValueError, match="blurring_image: got shape"):
        blur(jnp.ones(n), jnp.ones(n))
    with pytest.raises(ValueError, match="leading axes"):
        blur(jnp.ones((2, n)), jnp.ones(m))
    with pytest.raises(ValueError, match="leaves no pixel"):
        convolve.masked(KERNEL, np.ones((3, 3), bool))
    with pytest.raises(ValueError, match="mask: got dtype"):
        convolve.masked(KERNEL, DISC.astype(int))
    with pytest.raises(ValueError, match="mask: got a masked array"):
        convolve.masked(KERNEL, np.ma.array(DISC, mask=DISC))
    with pytest.raises(ValueError, match="kernel: got a masked array"):
        convolve.masked(np.ma.array(KERNEL, mask=KERNEL == KERNEL.max()), DISC)
    with pytest.raises(ValueError, match="mask: got a traced array"):
        jax.jit(lambda mask: convolve.masked(KERNEL, mask).pixels)(DISC)


@pytest.fixture(scope="module")
def autoarray():
    return pytest.importorskip("autoarray", reason="autoarray is not installed: pip install autolens")


@pytest.mark.parametrize("use_fft", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (7, 7), (4, 6)])
@pytest.mark.filterwarnings("ignore:No blurring_image provided")
def test_agrees_with_autoarray(autoarray, use_fft, shape):
    if not use_fft and shape == (4, 6):
        pytest.skip("autoarray convolves with even kernels by FFT only")
    values = RNG.uniform(size=shape)
    kernel = autoarray.Array2D.no_mask(values, pixel_scales=1.0)
    theirs = autoarray.Convolver(kernel=kernel, use_fft=use_fft)
    mask = autoarray.Mask2D(DISC, pixel_scales=1.0)
    around = mask.derive_mask.blurring_from(kernel_shape_native=shape)
    np.testing.assert_array_equal(convolve.blurring_mask(DISC, shape), np.array(around))

    native = RNG.normal(size=DISC.shape)
    image = autoarray.Array2D(native[~DISC], mask=mask)
    blurring = autoarray.Array2D(native[~np.array(around)], mask=around)
    ours = convolve.masked(values, DISC)
    wanted = theirs.convolved_image_from(image=image, blurring_image=blurring, xp=jnp).array
    np.testing.assert_allclose(ours(image.array, blurring.array), wanted, rtol=0, atol=1e-12)
    full = convolve.convolve(native, values, mask=DISC)
    np.testing.assert_allclose(np.asarray(full)[~DISC], wanted, rtol=0, atol=1e-12)
    without = theirs.convolved_image_from(image=image, blurring_image=None, xp=jnp).array
    np.testing.assert_allclose(ours(image.array), without, rtol=0, atol=1e-12)

    matrix, more = RNG.uniform(size=(len(image), 3)), RNG.uniform(size=(len(blurring), 3))
    wanted = theirs.convolved_mapping_matrix_from(matrix, mask, more, around, xp=jnp)
    np.testing.assert_allclose(ours.mapping_matrix(matrix, more), wanted, rtol=0, atol=1e-12)

import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import convolve


def test_width_sum_and_reach():
    psf = convolve.gaussian(0.2, 0.05)
    image = np.asarray(psf.array)
    assert image.sum() == pytest.approx(1)
    half = image.shape[0] // 2
    assert image.shape == (15, 15) and image.argmax() == half * 15 + half
    # Two pixels from the peak is half the width.
    assert image[half + 2, half] / image[half, half] == pytest.approx(0.5)
    assert convolve.gaussian(0.2, 0.05, truncate=2).shape == (9, 9)


def test_two_widths_an_even_shape_and_no_normalisation():
    psf = convolve.gaussian((0.2, 0.1), 0.05, shape=(5, 4), normalize=False)
    y, x = np.arange(5) - 2.0, np.arange(4) - 1.5
    wanted = np.exp2(-(y[:, None] ** 2) / 4 - x**2)
    np.testing.assert_allclose(psf.array, wanted, rtol=1e-13)


def test_dtype():
    assert convolve.gaussian(0.2, 0.05).dtype == jnp.float64
    assert convolve.gaussian(0.2, 0.05, dtype="float32").dtype == jnp.float32


def test_agrees_with_autoarray():
    autoarray = pytest.importorskip("autoarray", reason="autoarray is not installed: pip install autolens")
    theirs = autoarray.Convolver.from_gaussian((11, 11), pixel_scales=0.05, sigma=0.08, normalize=True)
    ours = convolve.gaussian(0.08 * np.sqrt(8 * np.log(2)), 0.05, shape=(11, 11))
    np.testing.assert_allclose(ours.array, theirs.kernel.native.array, rtol=1e-12)

"""Noise of images: against theory, and the conventions of autolens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern.simulate import noise

PIXELS = 400_000
KEY = jax.random.key(11)


def _excess(mean, **settings):
    """Noisy minus mean pixels in electrons, for one mean."""
    image = jnp.full(PIXELS, mean)
    time = settings.get("exposure_time", 1.0)
    return np.asarray((noise.add_noise(image, KEY, **settings) - image) * time)


def _check_moments(excess, rate, read_noise):
    # 5 standard deviations each: 1 in 600,000 seeds fails.
    variance, fourth = rate + read_noise**2, rate + 3 * (rate + read_noise**2) ** 2
    assert abs(excess.mean()) < 5 * np.sqrt(variance / excess.size)
    assert abs((excess**2).mean() - variance) < 5 * np.sqrt((fourth - variance**2) / excess.size)


def test_mean_and_variance_are_those_of_theory():
    settings = {"exposure_time": 200.0, "background": 0.25, "read_noise": 3.0}
    excess = _excess(0.5, **settings)
    _check_moments(excess, 150.0, 3.0)
    expected = noise.noise_map(jnp.array([0.5]), **settings)
    np.testing.assert_allclose(expected, np.sqrt(159.0) / 200, rtol=1e-14)
    np.testing.assert_allclose(excess.std() / 200, expected[0], rtol=5 / np.sqrt(2 * PIXELS))


def test_counts_without_read_noise_are_integers():
    image = noise.add_noise(jnp.full(1000, 2.5), KEY, unit="counts", background=4.0, subtract_background=False)
    np.testing.assert_array_equal(image, jnp.floor(image))
    subtracted = noise.add_noise(jnp.full(1000, 2.5), KEY, unit="counts", background=4.0)
    np.testing.assert_array_equal(subtracted, image - 4)
    # Electrons per second with the same mean counts have the same draws.
    rate = noise.add_noise(jnp.full(1000, 0.25), KEY, exposure_time=10.0, background=0.4)
    np.testing.assert_allclose(rate * 10, subtracted, atol=1e-12)


def test_read_noise_is_independent_of_the_counts():
    # 5/√n is exceeded by one in 1.7 million seeds.
    settings = {"unit": "counts"}
    counts = _excess(50.0, **settings)
    read = _excess(50.0, read_noise=2.0, **settings) - counts
    assert abs(np.corrcoef(counts, read)[0, 1]) < 5 / np.sqrt(PIXELS)
    _check_moments(read, 0.0, 2.0)


def test_same_image_alone_and_in_a_batch():
    keys = jax.random.split(KEY, 3)
    images = jnp.arange(3 * 35.0).reshape(3, 5, 7)

    def draw(key, image):
        return noise.add_noise(image, key, exposure_time=20.0, background=0.1, read_noise=2.0)

    batch, alone = jax.jit(jax.vmap(draw))(keys, images), jax.jit(draw)(keys[1], images[1])
    # The counts are the same to the bit; XLA may round the sums that follow differently.
    np.testing.assert_allclose(batch[1], alone, rtol=1e-14)


def test_maps_of_exposure_and_background():
    time = jnp.linspace(1.0, 50.0, 24).reshape(4, 6)
    sky = jnp.linspace(0.0, 3.0, 6)
    image = jnp.ones((4, 6))
    got = noise.add_noise(image, KEY, exposure_time=time, background=sky)
    one = noise.add_noise((image + sky) * time, KEY, unit="counts")
    np.testing.assert_allclose(got, one / time - sky, rtol=1e-13)
    np.testing.assert_allclose(
        noise.noise_map(image, exposure_time=time, background=sky), jnp.sqrt((1 + sky) / time), rtol=1e-13
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_negative_means(dtype):
    eps = jnp.finfo(dtype).eps
    image = jnp.array([100.0, -1000 * eps, -10000 * eps, jnp.nan, 0.0], dtype)
    noisy = noise.add_noise(image, KEY, unit="counts")
    assert noisy.dtype == dtype
    np.testing.assert_array_equal(jnp.isnan(noisy), [False, False, True, True, False])
    np.testing.assert_array_equal(noisy[1::3], 0)
    # With a sky, a negative mean of the source is one as any other.
    assert jnp.isfinite(noise.add_noise(image, KEY, unit="counts", background=dtype(5))[2])


def test_gradient_does_not_fail():
    def total(scale):
        return noise.add_noise(scale * jnp.ones(10), KEY, exposure_time=10.0, read_noise=1.0).sum()

    assert jax.grad(total)(2.0) == 0


def test_noise_map_is_that_of_autolens():
    aa = pytest.importorskip("autoarray")
    mean = np.random.default_rng(0).uniform(0.1, 5, (8, 8))
    settings = {"exposure_time": 300.0, "background_sky_level": 0.2}
    simulator = aa.SimulatorImaging(**settings, noise_seed=3)
    theirs = simulator.via_image_from(aa.Array2D.no_mask(mean, pixel_scales=0.1))
    ours = noise.noise_map(jnp.asarray(theirs.data.native.array), exposure_time=300.0, background=0.2)
    np.testing.assert_allclose(ours, theirs.noise_map.native.array, rtol=1e-10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "exposure_time: got None"),
        ({"exposure_time": 0.0}, "exposure_time: got 0.0"),
        ({"exposure_time": 1.0, "background": -1.0}, "background: got -1.0"),
        ({"exposure_time": 1.0, "read_noise": float("nan")}, "read_noise: got nan"),
        ({"exposure_time": 1.0, "background": jnp.ones(4)}, r"background: got shape \(4,\)"),
        ({"exposure_time": jnp.ones(3, jnp.float32)}, "exposure_time: got dtype float32"),
        ({"unit": "photons"}, "unit: got 'photons'"),
    ],
)
def test_bad_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        noise.add_noise(jnp.ones(3), KEY, **settings)

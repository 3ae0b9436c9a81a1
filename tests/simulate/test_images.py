import dataclasses
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from lenskern import convolve, deflect, simulate

SHAPE, SCALE, REDSHIFTS = (20, 23), 0.2, (0.3, 0.5, 0.8)
KEYS = jax.random.split(jax.random.key(5), 5)


def template(count):
    universe = deflect.flat_lambda_cdm(70.0, 0.3)
    halos = [deflect.tnfw(np.zeros((count, 2)), 0.02, 0.2, 0.5)] * len(REDSHIFTS)
    macros = [(1, deflect.PowerLaw()), (1, deflect.ExternalShear())]
    return deflect.planes(REDSHIFTS, 1.5, universe, halos=halos, macros=macros)


def model(planes, theta, key):
    """A lens with haloes drawn at random."""
    centre = jax.random.uniform(key, planes.halos.centre.shape, planes.halos.centre.dtype, -2.0, 2.0)
    macros = (deflect.PowerLaw((0.02, 0.0), theta["ell"], 1.2, theta["slope"]), deflect.ExternalShear(0.02, 0.01))
    planes = dataclasses.replace(planes, halos=dataclasses.replace(planes.halos, centre=centre), macros=macros)
    source = simulate.Sersic((theta["y"], 0.05), (0.1, -0.2), 2.0, 0.3, theta["n"])
    return simulate.System(planes, (source,), (simulate.Gaussian(intensity=0.1, sigma=0.3),), theta["overflow"])


def thetas(n):
    rng = np.random.default_rng(3)
    columns = {"ell": (-0.2, 0.2, (n, 2)), "slope": (1.9, 2.2, n), "y": (-0.1, 0.1, n), "n": (0.8, 4.0, n)}
    columns = {name: jnp.asarray(rng.uniform(*column)) for name, column in columns.items()}
    return columns | {"overflow": jnp.zeros(n, int)}


@pytest.fixture(scope="module")
def scene():
    return simulate.Scene(
        SHAPE,
        SCALE,
        over_sampling=3,
        psf=convolve.gaussian(0.4, SCALE),
        exposure_time=100.0,
        background=0.1,
        read_noise=2.0,
        model=jax.tree_util.Partial(model, template(8)),
    )


def lane(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


def test_a_key_gives_the_same_bits_alone_and_in_any_batch(scene):
    many = thetas(len(KEYS))
    alone = np.stack([simulate.simulate(scene, lane(many, i), key) for i, key in enumerate(KEYS)])
    assert np.isfinite(alone).all() and (alone[0] != alone[1]).all()
    of_scene = jax.vmap(simulate.simulate, (None, 0, 0))
    np.testing.assert_array_equal(of_scene(scene, many, KEYS), alone)
    # The other ways without noise, which takes most of the time to compile.
    mean = partial(simulate.simulate, noise=False)
    alone = np.stack([mean(scene, lane(many, i), key) for i, key in enumerate(KEYS)])
    of_scene = jax.vmap(mean, (None, 0, 0))
    np.testing.assert_array_equal(of_scene(scene, lane(many, slice(1)), KEYS[:1]), alone[:1])
    # Here the scene is a constant to the compiler, and the image is used.
    used = jax.jit(jax.vmap(lambda theta, key: (lambda image: (image, image * 3 + 1))(mean(scene, theta, key))))
    np.testing.assert_array_equal(used(many, KEYS)[0], alone)
    nested = jax.tree.map(lambda x: x[:4].reshape(2, 2, *x.shape[1:]), (many, KEYS))
    nested = jax.vmap(of_scene, (None, 0, 0))(scene, *nested)
    np.testing.assert_array_equal(nested.reshape(4, *SHAPE), alone[:4])


def test_noise_is_that_of_the_mean_image(scene):
    theta = lane(thetas(1), 0)
    mean = simulate.simulate(scene, theta, KEYS[0], noise=False)
    # The haloes are drawn with the same key each time, and so do not vary.
    fixed = simulate.Scene(SHAPE, SCALE, over_sampling=1, exposure_time=100.0, background=0.1, read_noise=2.0)
    flat = simulate.System(None, (simulate.Gaussian(sigma=100.0, intensity=float(mean.max())),))
    images = np.asarray(jax.vmap(partial(simulate.simulate, fixed, flat))(jax.random.split(KEYS[1], 50)))
    expected = simulate.simulate(fixed, flat, KEYS[0], noise=False)
    counts = 100 * (expected + 0.1) + 2.0**2
    # 23,000 draws: each bound is 5 standard errors, which fails by chance once in a million.
    deviates = (images - expected) * 100 / np.sqrt(counts)
    assert abs(deviates.mean()) < 5 / np.sqrt(deviates.size)
    assert abs(deviates.std() - 1) < 5 / np.sqrt(2 * deviates.size)


def test_units_and_sky():
    system, key = simulate.System(None, (simulate.Gaussian(),)), KEYS[0]
    options = {"over_sampling": 1, "exposure_time": 50.0, "background": 0.2}
    rate = simulate.simulate(simulate.Scene((6, 6), 0.3, **options), system, key, noise=False)
    with_sky = simulate.Scene((6, 6), 0.3, **options, subtract_background=False)
    np.testing.assert_allclose(simulate.simulate(with_sky, system, key, noise=False), rate + 0.2, rtol=1e-14)
    scene = simulate.Scene((6, 6), 0.3, **options, unit="counts", subtract_background=False)
    np.testing.assert_allclose(simulate.simulate(scene, system, key, noise=False), 50 * (rate + 0.2), rtol=1e-14)
    counts = simulate.simulate(scene, system, key)
    assert (counts == np.round(counts)).all()
    np.testing.assert_allclose(simulate.simulate(with_sky, system, key), counts / 50, rtol=1e-14)


def test_a_map_of_over_sampling_gives_each_pixel_its_mean():
    sizes = np.array([[1, 2, 3], [5, 1, 2]])
    source = simulate.Gaussian((0.1, -0.05), (0.2, 0.1), 1.0, 0.3)
    scene = simulate.Scene((2, 3), 0.5, over_sampling=sizes)
    image = simulate.simulate(scene, simulate.System(None, (source,)), KEYS[0], noise=False)
    for (row, column), size in np.ndenumerate(sizes):
        inside = (np.arange(size) + 0.5) / size - 0.5
        y, x = np.meshgrid((0.5 - row - inside) * 0.5, (column - 1 + inside) * 0.5)
        np.testing.assert_allclose(image[row, column], source.brightness(np.stack([y, x], -1)).mean(), rtol=1e-13)


@pytest.mark.parametrize("kernel_shape", [(5, 3), (4, 6), (1, 1), (31, 31)])
def test_light_from_outside_the_image_is_dragged_in(kernel_shape):
    kernel = np.random.default_rng(0).uniform(size=kernel_shape)
    system = simulate.System(None, (simulate.Sersic((1.0, 1.5), sersic_index=1.0),))
    shape = tuple(n + k - 1 for n, k in zip((6, 9), kernel_shape, strict=True))
    top, left = (n // 2 for n in kernel_shape)
    # A wider scene whose upper left corner is that of the margin.
    offset = [(k // 2 - (k - 1) / 2) * 0.3 for k in kernel_shape]
    moved = simulate.System(None, (simulate.Sersic((1.0 - offset[0], 1.5 + offset[1]), sersic_index=1.0),))
    wide = simulate.simulate(simulate.Scene(shape, 0.3, over_sampling=1), moved, KEYS[0], noise=False)
    expected = signal.fftconvolve(wide, kernel / kernel.sum(), mode="valid")
    scene = simulate.Scene((6, 9), 0.3, over_sampling=1, psf=kernel)
    assert scene.padded_shape == shape and scene.margins[0][0] == top and scene.margins[1][0] == left
    np.testing.assert_allclose(simulate.simulate(scene, system, KEYS[0], noise=False), expected, rtol=1e-11, atol=1e-14)


def test_gradient_of_a_likelihood_against_finite_differences(scene):
    theta, step = lane(thetas(1), 0), 1e-5
    data = simulate.simulate(scene, theta, KEYS[0])
    vary = {name: value * 1.01 for name, value in theta.items() if name != "overflow"}

    def log_likelihood(vary):
        mean = simulate.simulate(scene, vary | {"overflow": 0}, KEYS[0], noise=False)
        return -jnp.sum((data - mean) ** 2) / (2 * 0.1**2)

    slopes = jax.jit(jax.grad(log_likelihood))(vary)
    value = jax.jit(log_likelihood)
    for name in vary:
        direction = jnp.ones_like(vary[name])
        ahead, behind = (value(vary | {name: vary[name] + s * step * direction}) for s in (1, -1))
        assert abs((ahead - behind) / (2 * step) / slopes[name].sum() - 1) < 1e-5
    batch = jax.tree.map(lambda x: jnp.stack([x, x]), vary)
    both = jax.jit(jax.vmap(jax.grad(log_likelihood)))(batch)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[1], y, rtol=1e-9, atol=1e-9), both, slopes)


def test_memory_is_flat_in_the_number_of_haloes_and_of_thetas():
    def temporary(count, batch):
        def scene():
            of_theta = jax.tree_util.Partial(model, template(count))
            return simulate.Scene((40, 40), SCALE, over_sampling=2, model=of_theta)

        function = jax.jit(jax.vmap(partial(simulate.simulate, noise=False), (None, 0, 0)))
        abstract = jax.eval_shape(lambda: (scene(), thetas(batch), jax.random.split(KEYS[0], batch)))
        compiled = function.lower(*abstract).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    rays = 40**2 * 2**2 * 2 * 8
    few, many, batch = temporary(10, 3), temporary(200, 3), temporary(10, 100)
    # A hundred numbers for each of 570 haloes, where rays x haloes would take 29 MB.
    assert few < 20 * rays and many - few < 570 * 800
    assert batch - few < 100 * 1000


def test_haloes_that_did_not_fit_make_their_image_nan_and_no_other(scene):
    many = thetas(2) | {"overflow": jnp.array([0, 3])}
    function = jax.vmap(partial(simulate.simulate, noise=False, with_overflow=True), (None, 0, 0))
    images, overflow = function(scene, many, KEYS[:2])
    assert overflow.tolist() == [0, 3]
    assert np.isfinite(images[0]).all() and np.isnan(images[1]).all()


def test_float32(scene):
    kernel = convolve.gaussian(0.4, SCALE)
    source = simulate.System(None, (simulate.Sersic(),), (simulate.SersicCore(),))
    double, single = (
        simulate.simulate(simulate.Scene(SHAPE, SCALE, psf=kernel, dtype=dtype), source, KEYS[0], noise=False)
        for dtype in ("float64", "float32")
    )
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=2e-5)


def test_lens_light_behind_a_foreground(scene):
    planes, light = template(1), simulate.Gaussian((0.3, 0.2), sigma=0.1)
    flat = simulate.Scene((4, 4), 0.2, over_sampling=1)
    seen = deflect.trace(planes, flat.rays, all_planes=True)[1]
    image = simulate.simulate(flat, simulate.System(planes, (), (light,), lens_light_plane=1), KEYS[0], noise=False)
    np.testing.assert_allclose(image.reshape(-1), light.brightness(seen)[flat.order], rtol=1e-12)
    plain = simulate.simulate(flat, simulate.System(planes, (), (light,)), KEYS[0], noise=False)
    assert (abs(plain - image) > 1e-6).any()
    for beyond in (-1, len(planes), 1.5):
        with pytest.raises(ValueError, match=rf"lens_light_plane: got index {beyond}, expected an integer from 0 to"):
            simulate.simulate(flat, simulate.System(planes, (), (light,), lens_light_plane=beyond), KEYS[0])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"shape": 5}, r"shape: got 5, expected \(rows, columns\)"),
        ({"pixel_scale": -1.0}, r"pixel_scale: got -1.0, expected a finite number above 0"),
        ({"over_sampling": 0}, r"over_sampling: got 0, expected an integer of at least 1"),
        ({"over_sampling": np.ones((2, 2), int)}, r"over_sampling: got int64 of shape \(2, 2\)"),
        ({"psf": np.ones(3)}, r"psf: got ndarray of shape \(3,\), expected \(h, w\)"),
        ({"unit": "adu"}, r"unit: got 'adu', expected one of"),
        ({"unit": "counts"}, r"exposure_time: got None, expected seconds above 0"),
        ({"exposure_time": 0.0}, r"exposure_time: got 0.0, expected a finite number above 0"),
        ({"background": -1}, r"background: got -1, expected a finite number of at least 0"),
        ({"model": 3}, r"model: got int, expected a callable"),
        ({"tol": -1.0}, r"tol: got -1.0"),
        ({"dtype": "int32"}, r"dtype: got dtype int32, expected float32 or float64"),
        ({"positions": "seen"}, r"positions: got 'seen'"),
    ],
)
def test_bad_scenes(change, message):
    with pytest.raises(ValueError, match=message):
        simulate.Scene(**({"shape": (4, 4), "pixel_scale": 0.1} | change))


def test_bad_calls():
    scene = simulate.Scene((4, 4), 0.1)
    with pytest.raises(ValueError, match="theta: got int, expected lenskern.simulate.System"):
        simulate.simulate(scene, 3, KEYS[0])
    with pytest.raises(ValueError, match=r"theta.sources: got Sersic, expected a tuple of light profiles"):
        simulate.simulate(scene, simulate.System(None, simulate.Sersic()), KEYS[0])
    with pytest.raises(ValueError, match=r"theta.lens_light: got Isothermal, expected profiles with a brightness"):
        simulate.simulate(scene, simulate.System(None, (), (deflect.Isothermal(),)), KEYS[0])
    single = simulate.Scene((4, 4), 0.1, dtype="float32")
    with pytest.raises(ValueError, match=r"theta.planes: got haloes of dtype float64, expected that of the scene"):
        simulate.simulate(single, simulate.System(template(1), (simulate.Sersic(),)), KEYS[0], noise=False)
    with pytest.raises(ValueError, match="key: got int, expected a key, as jax.random.key"):
        simulate.simulate(scene, simulate.System(None), 0)
    with pytest.raises(ValueError, match=r"keys: got one, expected \(B,\) of them"):
        simulate.batch(scene, jnp.zeros(3), KEYS[0])
    with pytest.raises(ValueError, match="scene: got NoneType"):
        simulate.simulate(None, 3, KEYS[0])
    with pytest.raises(ValueError, match=r"exposure_time: got None, expected seconds, or noise=False"):
        simulate.simulate(scene, simulate.System(None), KEYS[0])
    with pytest.raises(ValueError, match=r"thetas: got an array of shape \(3,\), expected \(5, ...\)"):
        simulate.batch(scene, jnp.zeros(3), KEYS)
    with pytest.raises(ValueError, match=r"sizes: got 1 of them"):
        simulate.radial_over_sampling((4, 4), 0.1, [0.1, 0.2], [2])


SHARDED = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from lenskern import convolve, deflect, simulate

def model(theta, key):
    planes = deflect.planes([0.5], 1.5, deflect.flat_lambda_cdm(70.0, 0.3), macros=[(0, deflect.Isothermal())],
                            halos=[deflect.tnfw(jax.random.normal(key, (3, 2)), 0.02, 0.2, 0.5)])
    return simulate.System(planes, (simulate.Sersic((theta, 0.05), (0.1, -0.2), 2.0, 0.3, 1 + theta),))

scene = simulate.Scene((9, 9), 0.3, over_sampling=3, psf=convolve.gaussian(0.5, 0.3), model=model)
thetas, keys = jnp.linspace(0.0, 0.2, 11), jax.random.split(jax.random.key(0), 11)
images = simulate.batch(scene, thetas, keys, noise=False)
alone = simulate.batch(scene, thetas, keys, noise=False, devices=jax.devices()[:1])
assert images.shape == (11, 9, 9) and bool(jnp.isfinite(images).all())
assert (np.asarray(images) == np.asarray(alone)).all()
full = simulate.batch(scene, thetas[:8], keys[:8], noise=False)
assert len({shard.device for shard in full.addressable_shards}) == len(jax.devices()) == 8
assert all(shard.data.shape == (1, 9, 9) for shard in full.addressable_shards)
assert (np.asarray(full) == np.asarray(alone[:8])).all()
"""


def test_a_batch_is_shared_out_over_devices(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    done = subprocess.run([sys.executable, "-c", SHARDED], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]

import copy
import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import deflect, simulate
from lenskern.simulate import dataset
from lenskern.simulate.dataset import model as models
from lenskern.simulate.dataset.config import from_attributes
from lenskern.simulate.dataset.recipe import deterministic, program

pytest.importorskip("yaml", reason="configs need PyYAML: pip install 'lenskern[simulate]'")

EXAMPLE = Path(__file__).parents[2] / "examples/substructure.yaml"

LENS = """\
dtype: float64
theta:
  radius: {uniform: [0.9, 1.4]}
  q: {uniform: [0.5, 0.9]}
  angle: {uniform: [0, 180]}
  shear: {normal: [0, 0.05]}
  y: {normal: [0, 0.1]}
  time: {uniform: [500, 2000]}
scene:
  shape: [9, 8]
  pixel_scale: 0.3
  over_sampling: {radii: [1.0, 9.0], sizes: [4, 2]}
  psf: {gaussian: {fwhm: 0.4}}
  exposure_time: time
  background: 0.2
  read_noise: 3
lens:
  redshift: 0.5
  mass:
    - power_law: {einstein_radius: radius, slope: 2.1, axis_ratio: q, angle: angle}
    - external_shear: {gamma_1: shear}
  light:
    - gaussian: {sigma: 0.3, ell_comps: [0.1, 0.05]}
source:
  redshift: 1.5
  light:
    - sersic: {centre: [y, 0.05], effective_radius: 0.3}
    - image: {file: galaxy.npy, pixel_scale: 0.1, centre: [y, 0]}
"""


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "galaxy.npy", np.arange(20.0).reshape(4, 5))
    (tmp_path / "lens.yaml").write_text(LENS)
    return tmp_path


def test_an_image_is_that_of_simulate(folder):
    recipe = dataset.load(folder / "lens.yaml", seed=5).recipe()
    with deterministic("float64"):
        found = program(recipe, tuple(jax.local_devices()))(np.arange(64, dtype=np.uint32))
    galaxy = jnp.asarray(np.load(folder / "galaxy.npy"))

    def system(theta, key):
        radius, q, angle, shear, y, _ = theta
        angle, f = jnp.deg2rad(angle), (1 - q) / (1 + q)
        ell = (f * jnp.sin(2 * angle), f * jnp.cos(2 * angle))
        lens = deflect.PowerLaw(einstein_radius=radius, slope=2.1, ell_comps=ell), deflect.ExternalShear(gamma_1=shear)
        return simulate.System(
            deflect.planes([0.5], 1.5, deflect.flat_lambda_cdm(67.74, 0.3075), macros=[(0, m) for m in lens]),
            (
                simulate.Sersic(centre=(y, 0.05), effective_radius=0.3),
                simulate.ImageSource(galaxy, 0.1, (y, 0.0)),
            ),
            (simulate.Gaussian(sigma=0.3, ell_comps=(0.1, 0.05)),),
        )

    scene = simulate.Scene(
        (9, 8),
        0.3,
        over_sampling=simulate.radial_over_sampling((9, 8), 0.3, [1.0, 9.0], [4, 2]),
        psf=models.convolve.gaussian(0.4, 0.3, dtype="float64"),
        exposure_time=1.0,
        background=0.2,
        read_noise=3.0,
        model=system,
    )
    theta = found["theta"][2]
    scene.exposure_time = theta[5]
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), 2), 1)
    np.testing.assert_allclose(found["image"][2], simulate.simulate(scene, theta, key), rtol=1e-12, atol=1e-12)
    assert (found["status"] == 0).all() and len(np.unique(found["image"])) > 100


SUBHALOS = {
    "seed": 2,
    "batch": 8,
    "theta": {"n": {"integers": [0, 10]}, "half_mode": {"uniform": [6, 8]}, "unit": {"uniform": [-1, 1]}},
    "scene": {"shape": [6, 6], "pixel_scale": 0.4, "over_sampling": 1, "noise": False},
    "lens": {"redshift": 0.5, "mass": [{"isothermal": {"centre": ["unit", 0]}}]},
    "source": {"redshift": 1.5, "light": [{"sersic": {}}]},
    "subhalos": {
        "number": "n",
        "mass_range": [1e7, 1e10],
        "poisson": False,
        "halos": {"scatter_dex": 0.1, "truncation": {"overdensity": 150}},
        "suppression": {"fit": "lovell20", "log10_half_mode": "half_mode"},
    },
}


def test_haloes_without_room_are_counted_and_make_the_image_nan(tmp_path):
    config = copy.deepcopy(SUBHALOS)
    config["subhalos"]["capacity"] = 6
    dataset.fill(config, tmp_path / "full.zarr", 24, progress=False)
    data = dataset.DataSet(tmp_path / "full.zarr")
    number = data.parameter("n")
    assert {*number} > {5, 6, 7}
    np.testing.assert_array_equal(data.overflow[:], np.maximum(number - 6, 0))
    np.testing.assert_array_equal(data.status[:], np.where(number > 6, 2, 0))
    np.testing.assert_array_equal(np.isnan(data.image[:]).all((1, 2)), number > 6)
    # The room that is made by default is that of the most haloes that the priors allow.
    recipe = dataset.load(SUBHALOS).recipe()
    population = recipe.image.args[1]["subhalos"]
    assert population.capacity == 10 and population.model.truncation.value == 150


def test_the_example_is_the_model_of_its_description():
    if not EXAMPLE.exists():
        pytest.skip("this copy of the source comes without examples")
    config = dataset.load(EXAMPLE)
    block = config.model.line_of_sight
    assert block.values["planes"] == 8 and config.priors["subhalos"].support == (5, 50)
    # What is read are the arguments of what is called.
    middle = {name: float(np.mean(prior.support)) for name, prior in config.priors.items()}
    for kind, cls in (("subhalos", simulate.Subhalos), ("line_of_sight", simulate.LineOfSight)):
        block = getattr(config.model, kind)
        fixed = {n: x for n, x in block.values.items() if n not in ("halos", "region", "suppression")}
        traced = models._traced(block, middle)
        inspect.signature(cls.create).bind(0.5, 1.5, None, **(fixed | traced))
        assert traced["region"].radius == 2


# Changes of LENS, the line and the path of the error, and words of it.
BAD = [
    ("scene:", "scenes:", "9: scenes: unknown key, did you mean 'scene'?"),
    ("shape: [9, 8]", "shape: [9]", "10: scene.shape: got a list of 1, expected a list of 2"),
    ("shape: [9, 8]", "shape: [9, 0]", "10: scene.shape[1]: got 0, expected an integer of at least 1"),
    ("pixel_scale: 0.3\n", "pixel_scale: 0\n", "11: scene.pixel_scale: got 0, expected a finite number above 0"),
    ("sizes: [4, 2]", "sizes: [4]", "12: scene.over_sampling.sizes: got a list of 1, expected one for each of 2 radii"),
    ("radii: [1.0, 9.0]", "radii: [9.0, 1.0]", "12: scene.over_sampling.radii: got [9.0, 1.0], expected increasing"),
    ("{fwhm: 0.4}", "{sigma: 0.4}", "13: scene.psf.gaussian.sigma: unknown key, expected one of fwhm, truncate"),
    ("{gaussian: {fwhm: 0.4}}", "{file: psf.npy}", "13: scene.psf.file: 'psf.npy' cannot be read as a NumPy"),
    ("exposure_time: time", "exposure_time: tim", "14: scene.exposure_time: got 'tim', expected a number or a param"),
    ("  exposure_time: time\n", "", "9: scene: the key 'exposure_time' is missing"),
    ("background: 0.2", "background: -1", "15: scene.background: got -1, expected a finite number of at least 0"),
    ("redshift: 0.5", "redshift: 2", "25: source.redshift: got 1.5, expected a redshift above that of the lens, 2"),
    ("redshift: 0.5", "redshift: y", "18: lens.redshift: got 'y', expected a finite number"),
    ("- power_law", "- power", "20: lens.mass[0].power: unknown key, did you mean 'power_law'?"),
    ("slope: 2.1", "slope: 3", "20: lens.mass[0].power_law.slope: got 3, expected a finite number above 1"),
    ("slope: 2.1", "slope: shear", "20: lens.mass[0].power_law.slope: got the parameter 'shear' between -0.415 and"),
    ("slope: 2.1", "gamma: 2.1", "20: lens.mass[0].power_law.gamma: unknown key"),
    ("axis_ratio: q", "axis_ratio: 0", "20: lens.mass[0].power_law.axis_ratio: got 0, expected a finite number above"),
    ("axis_ratio: q, ", "", "20: lens.mass[0].power_law: the key 'axis_ratio' is missing"),
    ("angle: angle", "ell_comps: [0, 0]", "20: lens.mass[0].power_law.ell_comps: got it together with axis_ratio"),
    ("{gamma_1: shear}", "{gamma_1: 0.1}", "6: theta.shear: nothing in the config refers to this parameter"),
    ("file: galaxy.npy", "file: lens.yaml", "28: source.light[1].image.file: 'lens.yaml' cannot be read as a NumPy"),
    (", pixel_scale: 0.1", "", "28: source.light[1].image: the key 'pixel_scale' is missing"),
    ("dtype: float64", "subhalos: {number: -1}", "1: subhalos.number: got -1, expected a finite number of at least 0"),
    ("dtype: float64", "subhalos: {mass_range: [2, 1]}", "1: subhalos.mass_range: got a list of 2, expected the lower"),
    ("dtype: float64", "subhalos: {region: {square: {}}}", "1: subhalos.region.square: unknown key"),
    ("dtype: float64", "subhalos: {halos: {truncation: {}}}", "1: subhalos.halos.truncation: got 0 of overdensity"),
    ("dtype: float64", "line_of_sight: {closing: 2}", "1: line_of_sight.closing: got 2, expected a finite number"),
    ("dtype: float64", "line_of_sight: {redshifts: [1, 0.5]}", "1: line_of_sight.redshifts: got [1.0, 0.5], expected"),
    ("dtype: float64", "line_of_sight: {poisson: 1}", "1: line_of_sight.poisson: got 1, expected true or false"),
    ("dtype: float64", "function: toy_images:blob", "9: scene: got it together with function"),
]


@pytest.mark.parametrize("old, new, message", BAD)
def test_an_error_names_the_line_and_the_key(folder, old, new, message):
    assert LENS.count(old) == 1
    (folder / "lens.yaml").write_text(LENS.replace(old, new))
    with pytest.raises(dataset.ConfigError) as caught:
        dataset.load(folder / "lens.yaml").recipe()
    assert str(caught.value).startswith(f"{folder / 'lens.yaml'}:{message}")


def test_files_are_stored_with_the_set(folder):
    config = dataset.load(folder / "lens.yaml")
    stored = config.attributes()
    (folder / "galaxy.npy").unlink()
    again = from_attributes(stored)
    assert again == config and again.files == config.files
    np.testing.assert_array_equal(again.model.source_light[1].values["file"], np.arange(20.0).reshape(4, 5))
    np.save(folder / "galaxy.npy", np.ones((4, 5)))
    changed = dataset.load(folder / "lens.yaml")
    assert changed != config and changed.settings["files"] != config.settings["files"]

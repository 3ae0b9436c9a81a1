"""Tracers and simulators of autolens give the same rays and images; skipped where it is not installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import deflect, simulate
from lenskern.interop import autolens as interop
from lenskern.interop.autogalaxy import AutogalaxyLight, AutogalaxyMass

GRID = jnp.asarray(np.random.default_rng(0).uniform(-2, 2, (40, 2)))
AT, ELL = {"centre": (0.4, -0.3)}, {"ell_comps": (0.1, -0.2)}
MASSES = {
    "NFWSph": {"kappa_s": 0.05, "scale_radius": 0.7},
    "NFW": {"kappa_s": 0.05, "scale_radius": 0.7},
    "NFWTruncatedSph": {"kappa_s": 0.05, "scale_radius": 0.7, "truncation_radius": 2.0},
    "cNFWSph": {"kappa_s": 0.05, "scale_radius": 0.7, "core_radius": 0.03},
    "NFWMCRDuffySph": {"mass_at_200": 1e10},
    "NFWMCRLudlowSph": {"mass_at_200": 1e10},
    "NFWMCRScatterLudlowSph": {"mass_at_200": 1e10, "scatter_sigma": 1.0},
    "NFWTruncatedMCRDuffySph": {"mass_at_200": 1e10},
    "NFWTruncatedMCRLudlowSph": {"mass_at_200": 1e10},
    "NFWTruncatedMCRScatterLudlowSph": {"mass_at_200": 1e10, "scatter_sigma": -1.0},
    "cNFWMCRLudlowSph": {"mass_at_200": 1e10, "f_c": 0.05},
    "cNFWMCRScatterLudlowSph": {"mass_at_200": 1e10, "f_c": 0.05},
    "NFWVirialMassConcSph": {},
    "dPIEMassB0Sph": {"ra": 0.1, "rs": 2.0, "b0": 1.0},
    "dPIEMassSph": {"sigma": 250.0},
    "IsothermalSph": {"einstein_radius": 0.7},
    "Isothermal": {"einstein_radius": 1.1, **ELL},
    "PowerLaw": {"einstein_radius": 1.1, "slope": 2.2, **ELL},
    "PowerLawIntermediate": {"einstein_radius": 1.1, "slope": 2.2, **ELL},
    "PowerLawSph": {"einstein_radius": 1.1, "slope": 1.8},
    "PointMass": {"einstein_radius": 0.7},
    "SMBH": {"mass": 1e10},
    "SMBHBinary": {"mass": 1e10, "mass_ratio": 2.0},
    "MassSheet": {"kappa": 0.05},
    "ExternalShear": {"gamma_1": 0.1, "gamma_2": 0.05},
}


@pytest.fixture(scope="module")
def al():
    return pytest.importorskip("autolens")


def their_rays(al, tracer):
    return [np.asarray(grid.array) for grid in tracer.traced_grid_2d_list_from(al.Grid2DIrregular(np.asarray(GRID)))]


def test_every_profile(al):
    """Parameters of each in its own convention; all of them in one plane, each elsewhere."""
    galaxies, total = [al.Galaxy(redshift=1.0)], 0
    for i, (name, parameters) in enumerate(MASSES.items()):
        centre = {"centre": (0.1 * i - 1.0, 0.7 - 0.05 * i)} if name != "ExternalShear" else {}
        profile = getattr(al.mp, name)(**parameters, **centre)
        galaxies.append(al.Galaxy(redshift=0.5, mass=profile))
        deflection = np.asarray(profile.deflections_yx_2d_from(al.Grid2DIrregular(np.asarray(GRID))).array)
        assert np.abs(deflection).max() > 1e-4, name
        total = total + deflection
    rays = deflect.trace(interop.planes_from(al.Tracer(galaxies)), GRID)
    np.testing.assert_allclose(GRID - rays, total, rtol=0, atol=1e-10)


def thousand_haloes(al, seed=0, spread=3.0):
    """A lens, a thousand haloes on nine planes, sheets, galaxies without mass, in no order; and a field."""
    rng = np.random.default_rng(seed)
    galaxies = [al.Galaxy(redshift=1.5), al.Galaxy(redshift=0.55), al.Galaxy(redshift=0.5)]
    galaxies[2].lens = al.mp.PowerLaw((0.01, 0.02), (0.1, 0.05), 1.2, 2.1)
    redshifts = np.linspace(0.1, 1.3, 9)
    for i in range(1000):
        sizes = {"kappa_s": 10 ** rng.uniform(-3, -2), "scale_radius": 10 ** rng.uniform(-1.5, -0.5)}
        halo = al.mp.NFWTruncatedSph(tuple(rng.uniform(-spread, spread, 2)), **sizes, truncation_radius=1.0)
        galaxies.append(al.Galaxy(redshift=float(redshifts[i % 9]), halo=halo))
    galaxies += [al.Galaxy(redshift=float(z), sheet=al.mp.MassSheet(kappa=-0.002)) for z in redshifts]
    field = al.MassField(redshift=0.5, shear=al.mp.ExternalShear(0.03, -0.02))
    order = rng.permutation(len(galaxies))
    return al.Tracer(galaxies=[galaxies[i] for i in order], fields=[field], cosmology=al.cosmo.Planck15())


def test_a_thousand_haloes_on_nine_planes(al):
    """Every plane of the tracer has its plane, and the same rays."""
    tracer = thousand_haloes(al)
    planes = interop.planes_from(tracer)
    assert len(planes) == len(tracer.plane_redshifts) - 1 == 11
    expected = their_rays(al, tracer)
    rays = deflect.trace(planes, GRID, all_planes=True)
    np.testing.assert_allclose(rays, np.stack(expected), rtol=0, atol=1e-10)


def test_scaling_is_to_the_last_plane(al):
    """A convergence is never rescaled from the redshift that it was made for, as in autolens."""
    near, far = (
        al.mp.NFWMCRLudlowSph(**AT, mass_at_200=1e11, redshift_object=0.5, redshift_source=z) for z in (0.8, 2.0)
    )
    assert near.kappa_s < far.kappa_s
    for halo in (near, far):
        galaxies = [al.Galaxy(redshift=0.5, halo=halo), al.Galaxy(redshift=0.8), al.Galaxy(redshift=2.0)]
        tracer = al.Tracer(galaxies)
        rays = deflect.trace(interop.planes_from(tracer), GRID, all_planes=True)
        np.testing.assert_allclose(rays, np.stack(their_rays(al, tracer)), rtol=0, atol=1e-12)
        deflection = np.asarray(halo.deflections_yx_2d_from(al.Grid2DIrregular(np.asarray(GRID))).array)
        np.testing.assert_allclose(GRID - rays[-1], deflection, rtol=0, atol=1e-12)


def test_one_plane(al):
    tracer = al.Tracer([al.Galaxy(redshift=0.5, mass=al.mp.IsothermalSph(einstein_radius=1.0))])
    with pytest.raises(ValueError, match="galaxies: got none with mass in front of the source at redshift 0.5"):
        interop.planes_from(tracer)
    rays = deflect.trace(interop.planes_from(tracer, source_redshift=1.0), GRID)
    np.testing.assert_allclose(GRID - rays, GRID / jnp.linalg.norm(GRID, axis=1, keepdims=True), rtol=1e-12)


def test_traced_parameters_and_redshifts(al):
    """A tracer made under jit and vmap gives what it gives eagerly; derivatives reach its parameters."""

    def rays(kappa_s, z, y):
        halo = al.mp.NFWSph((y, 0.2), kappa_s=kappa_s, scale_radius=0.5)
        lens = al.Galaxy(
            redshift=0.3, mass=al.mp.Isothermal((0.0, y), (0.1, 0.05), 1.0), sheet=al.mp.MassSheet(kappa=y)
        )
        tracer = al.Tracer([lens, al.Galaxy(redshift=z, halo=halo), al.Galaxy(redshift=1.5)])
        return deflect.trace(interop.planes_from(tracer), GRID), tracer

    values = 0.02, 0.6, 0.1
    expected = their_rays(al, rays(*values)[1])[-1]
    batch = [jnp.array([x, 1.1 * x]) for x in values]
    np.testing.assert_allclose(jax.jit(jax.vmap(lambda *v: rays(*v)[0]))(*batch)[0], expected, rtol=0, atol=1e-11)
    slope = jax.jacfwd(lambda kappa_s: rays(kappa_s, *values[1:])[0])(values[0])
    step = [rays(values[0] + h, *values[1:])[0] for h in (1e-4, -1e-4)]
    np.testing.assert_allclose(slope, (step[0] - step[1]) / 2e-4, rtol=1e-6, atol=1e-9)


def test_unsupported_mass(al):
    lens = al.Galaxy(redshift=0.5, halo=al.mp.NFWSph(), stars=al.mp.Sersic())
    with pytest.raises(NotImplementedError, match=r"profile Sersic as 'stars' of galaxies\[1\] at redshift 0.5"):
        interop.planes_from(al.Tracer([al.Galaxy(redshift=1.0), lens]))
    field = al.MassField(redshift=0.5, external=al.mp.ExternalPotential())
    with pytest.raises(NotImplementedError, match=r"ExternalPotential as 'external' of fields\[0\]"):
        interop.planes_from(al.Tracer([al.Galaxy(redshift=1.0)], fields=field))
    with pytest.raises(NotImplementedError, match="profile NFW as 'mass'"):
        mass = al.mp.NFW(ell_comps=(0.1, 0.0))
        interop.planes_from(al.Tracer([al.Galaxy(redshift=0.5, mass=mass), al.Galaxy(redshift=1.0)]))
    with pytest.raises(ValueError, match="tracer: got list, expected autolens.Tracer"):
        interop.planes_from([lens])
    with pytest.raises(ValueError, match="unsupported: got 'skip'"):
        interop.planes_from(al.Tracer([lens, al.Galaxy(redshift=1.0)]), unsupported="skip")


@pytest.mark.parametrize(
    ("name", "parameters", "evaluation", "tolerance"),
    [
        ("ExternalPotential", {"gamma_1": 0.1, "tau_1": 0.1, "delta_2": 0.2}, "traced", 1e-12),
        ("Chameleon", {"intensity": 1.0, **ELL}, "numpy", 0),
    ],
)
def test_left_to_autogalaxy(al, name, parameters, evaluation, tolerance):
    """Under jit and vmap, beside our profiles, on two planes."""
    profile = getattr(al.mp, name)(**AT, **parameters)
    other = al.Galaxy(redshift=0.7, halo=al.mp.NFWSph())
    tracer = al.Tracer([al.Galaxy(redshift=0.5, mass=profile), other, al.Galaxy(redshift=1.0)])
    planes = interop.planes_from(tracer, unsupported="autogalaxy")
    (model,) = planes.macros
    assert isinstance(model, AutogalaxyMass) and model.evaluation == evaluation
    trace = jax.jit(jax.vmap(deflect.trace, in_axes=(None, 0)))
    grids = jnp.stack([GRID, GRID[::-1]])
    rays = trace(planes, grids)
    expected = their_rays(al, tracer)[-1]
    np.testing.assert_allclose(rays, np.stack([expected, expected[::-1]]), rtol=0, atol=tolerance + 1e-13)
    # Another one of the same kind is taken by the same program, with traced parameters or not.
    again = interop.planes_from(tracer, unsupported="autogalaxy")
    assert jax.tree.structure(again) == jax.tree.structure(planes)
    trace(again, grids)
    assert trace._cache_size() == 1
    (model,) = interop.planes_from(tracer, unsupported="autogalaxy-numpy").macros
    assert model.evaluation == "numpy"
    deflection = np.asarray(profile.deflections_yx_2d_from(al.Grid2DIrregular(np.asarray(GRID))).array)
    np.testing.assert_array_equal(jax.jit(lambda model: model.deflection(GRID))(model), deflection)
    if evaluation == "numpy":
        with pytest.raises(NotImplementedError, match=f"{name}: autogalaxy evaluates it by NumPy"):
            jax.jacfwd(lambda grid: deflect.trace(planes, grid))(GRID)
        with pytest.raises(NotImplementedError, match="with traced parameters"):
            jax.jit(lambda x: AutogalaxyMass(getattr(al.mp, name)(**AT, intensity=x)).deflection(GRID))(1.0)
    else:
        _, jacobian = deflect.trace_jacobian(planes, GRID)
        along = jax.vmap(jax.jacfwd(lambda ray: deflect.trace(planes, ray)))(GRID)
        np.testing.assert_allclose(jacobian, along, rtol=1e-9, atol=1e-11)


SHAPE, SCALE = (30, 33), 0.12


def light_tracer(al):
    """Light on three planes, with a sum of Gaussians and one whose signal-to-noise ratio is given."""
    lp, rng = al.lp, np.random.default_rng(1)
    gaussians = [lp.Gaussian(**ELL, intensity=float(a), sigma=float(s)) for a, s in rng.uniform(0.05, 0.4, (4, 2))]
    near = al.Galaxy(redshift=0.2, bulge=lp.SersicSph((1.0, -0.8), 0.4, 0.3, 1.2))
    lens = al.Galaxy(
        redshift=0.5,
        basis=al.lp_basis.Basis(gaussians),
        core=lp.SersicCore((0.02, -0.03), **ELL, intensity=0.3, radius_break=0.03, gamma=0.2),
        disc=lp.Exponential((0.1, 0.0), (0.2, 0.1), 0.2, 0.5),
        mass=al.mp.Isothermal((0.02, -0.03), (0.1, 0.05), 1.2),
        shear=al.mp.ExternalShear(0.03, -0.02),
    )
    middle = al.Galaxy(
        redshift=0.9, light=lp.DevVaucouleurs((0.2, 0.1), **ELL), mass=al.mp.IsothermalSph((0.2, 0.1), 0.2)
    )
    light = al.lp_snr.Sersic(10.0, (0.1, 0.05), (0.1, -0.2), 0.3, 1.7)
    return al.Tracer([middle, lens, near, al.Galaxy(redshift=1.5, light=light)])


@pytest.mark.parametrize("subtract", [True, False])
def test_mean_images_of_the_simulator(al, subtract):
    kernel = np.random.default_rng(0).uniform(size=(5, 5))
    simulator = al.SimulatorImaging(
        exposure_time=300.0,
        background_sky_level=1.0,
        subtract_background_sky=subtract,
        psf=al.Convolver(kernel=al.Array2D.no_mask(kernel, pixel_scales=SCALE)),
        add_poisson_noise_to_data=False,
    )
    grid = al.Grid2D.uniform(shape_native=SHAPE, pixel_scales=SCALE, over_sample_size=1)
    sizes = al.util.over_sample.over_sample_size_via_radial_bins_from(grid, [6, 3, 2], [0.5, 1.0, 9.0], [(0.0, 0.0)])
    grid = al.Grid2D.uniform(shape_native=SHAPE, pixel_scales=SCALE, over_sample_size=sizes)
    expected = simulator.via_tracer_from(tracer=light_tracer(al), grid=grid).data.native.array
    scene, system, noise = interop.simulator_from(simulator, light_tracer(al), grid)
    assert not noise and len(system.lens_light) == 8 and system.lens_light_plane == (0, *[1] * 6, 2)
    image = simulate.simulate(scene, system, jax.random.key(0), noise=noise)
    np.testing.assert_allclose(image, expected, rtol=1e-9)


def test_noise_of_the_simulator(al):
    """No PSF, a mask, noise: the same mean and the same variance for each pixel."""
    mask = al.Mask2D.circular(shape_native=(12, 12), pixel_scales=0.2, radius=1.0)
    grid = al.Grid2D.from_mask(mask, over_sample_size=2)
    lens = al.Galaxy(redshift=0.5, mass=al.mp.IsothermalSph(einstein_radius=0.7))
    tracer = al.Tracer([lens, al.Galaxy(redshift=1.0, light=al.lp.Gaussian((0.1, 0.2), intensity=3.0, sigma=0.3))])
    quiet, noisy = (
        al.SimulatorImaging(exposure_time=50.0, background_sky_level=0.5, add_poisson_noise_to_data=add)
        for add in (False, True)
    )
    mean = quiet.via_tracer_from(tracer=tracer, grid=grid).data.native.array
    scene, system, noise = interop.simulator_from(noisy, tracer, grid)
    assert noise and scene.psf is None
    images = jax.vmap(lambda key: simulate.simulate(scene, system, key, noise=noise))(
        jax.random.split(jax.random.key(0), 4000)
    )
    variance = (mean + 0.5) / 50.0
    assert np.abs((images.mean(0) - mean) / np.sqrt(variance / 4000)).max() < 4.5
    np.testing.assert_allclose(images.var(0), variance, rtol=0.15)


def test_light_left_to_autogalaxy(al):
    lens, light = al.Galaxy(redshift=0.5, mass=al.mp.IsothermalSph()), al.lp.Moffat(**AT, **ELL)
    tracer = al.Tracer([lens, al.Galaxy(redshift=1.0, light=light)])
    simulator = al.SimulatorImaging(exposure_time=300.0, add_poisson_noise_to_data=False)
    grid = al.Grid2D.uniform(shape_native=(10, 12), pixel_scales=0.2, over_sample_size=2)
    with pytest.raises(NotImplementedError, match=r"profile Moffat as 'light' of galaxies\[1\] at redshift 1.0"):
        interop.simulator_from(simulator, tracer, grid)
    scene, system, _ = interop.simulator_from(simulator, tracer, grid, unsupported="autogalaxy")
    assert isinstance(system.sources[0], AutogalaxyLight)
    image = simulate.simulate(scene, system, jax.random.key(0), noise=False)
    expected = simulator.via_tracer_from(tracer=tracer, grid=grid).data.native.array
    np.testing.assert_allclose(image, expected, rtol=1e-8)


def test_bad_simulators(al):
    tracer = al.Tracer([al.Galaxy(redshift=0.5), al.Galaxy(redshift=1.0, light=al.lp.Sersic())])
    simulator = al.SimulatorImaging(exposure_time=300.0)
    grid = al.Grid2D.uniform(shape_native=(10, 10), pixel_scales=0.2)
    with pytest.raises(ValueError, match="simulator: got float"):
        interop.simulator_from(300.0, tracer, grid)
    with pytest.raises(ValueError, match="grid: got Grid2DIrregular"):
        interop.simulator_from(simulator, tracer, al.Grid2DIrregular(np.asarray(GRID)))
    with pytest.raises(ValueError, match="grid: got pixels of"):
        interop.simulator_from(simulator, tracer, al.Grid2D.uniform(shape_native=(10, 10), pixel_scales=(0.2, 0.1)))
    with pytest.raises(ValueError, match="grid: got the centre"):
        interop.simulator_from(
            simulator, tracer, al.Grid2D.uniform(shape_native=(10, 10), pixel_scales=0.2, origin=(0.1, 0.0))
        )
    linear = al.Tracer([al.Galaxy(redshift=0.5), al.Galaxy(redshift=1.0, light=al.lp_linear.Sersic())])
    with pytest.raises(NotImplementedError, match="profile Sersic as 'light' of galaxies.*is linear"):
        interop.simulator_from(simulator, linear, grid)

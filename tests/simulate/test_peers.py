"""Mean images equal to autolens's simulator; skipped where it is not installed."""

import jax
import numpy as np
import pytest

from lenskern import deflect, simulate

SHAPE, SCALE = (30, 33), 0.12
UNIVERSE = {"H0": 70.0, "Om0": 0.3}
HALOES = {0.3: (0.4, -0.9), 0.5: (-0.8, 0.5)}
SOURCE = {
    "centre": (0.1, 0.05),
    "ell_comps": (0.1, -0.2),
    "intensity": 2.0,
    "effective_radius": 0.3,
    "sersic_index": 1.7,
}
CLUMP = {"centre": (-0.1, 0.15), "ell_comps": (0.0, 0.3), "intensity": 1.0, "sigma": 0.1}
LENS = {"centre": (0.02, -0.03), "ell_comps": (0.05, 0.1), "intensity": 0.3, "radius_break": 0.03, "gamma": 0.2}
POWER_LAW = {"centre": (0.02, -0.03), "ell_comps": (0.1, 0.05), "einstein_radius": 1.2, "slope": 2.1}


@pytest.fixture(scope="module")
def al():
    return pytest.importorskip("autolens")


def our_system():
    halos = [deflect.tnfw(np.array([centre]), 0.03, 0.2, 0.6) for centre in HALOES.values()]
    macros = [(1, deflect.PowerLaw(**POWER_LAW)), (1, deflect.ExternalShear(0.03, -0.02))]
    planes = deflect.planes([*HALOES], 1.5, deflect.flat_lambda_cdm(**UNIVERSE), halos=halos, macros=macros)
    sources = simulate.Sersic(**SOURCE), simulate.Gaussian(**CLUMP)
    return simulate.System(planes, sources, (simulate.SersicCore(**LENS),), lens_light_plane=1)


def their_tracer(al):
    halos = [al.mp.NFWTruncatedSph(centre, 0.03, 0.2, 0.6) for centre in HALOES.values()]
    lens = {
        "mass": al.mp.PowerLaw(**POWER_LAW),
        "shear": al.mp.ExternalShear(0.03, -0.02),
        "light": al.lp.SersicCore(**LENS),
    }
    galaxies = [
        al.Galaxy(redshift=0.3, halo=halos[0]),
        al.Galaxy(redshift=0.5, halo=halos[1], **lens),
        al.Galaxy(redshift=1.5, light=al.lp.Sersic(**SOURCE), clump=al.lp.Gaussian(**CLUMP)),
    ]
    return al.Tracer(galaxies=galaxies, cosmology=al.cosmo.FlatLambdaCDM(**UNIVERSE, Tcmb0=0.0, Neff=0.0))


@pytest.mark.parametrize("bins", [None, ([0.5, 1.0, 9.0], [6, 3, 2], [(0.0, 0.0), (0.5, 1.0)])])
def test_mean_images_equal_those_of_autolens(al, bins):
    kernel = np.random.default_rng(0).uniform(size=(5, 5))
    ours = theirs = 4
    if bins is not None:
        ours = simulate.radial_over_sampling(SHAPE, SCALE, *bins)
        grid = al.Grid2D.uniform(shape_native=SHAPE, pixel_scales=SCALE, over_sample_size=1)
        radii, sizes, centres = bins
        theirs = al.util.over_sample.over_sample_size_via_radial_bins_from(grid, sizes, radii, centres)
    simulator = al.SimulatorImaging(
        exposure_time=300.0,
        background_sky_level=1.0,
        psf=al.Convolver(kernel=al.Array2D.no_mask(kernel, pixel_scales=SCALE)),
        add_poisson_noise_to_data=False,
    )
    grid = al.Grid2D.uniform(shape_native=SHAPE, pixel_scales=SCALE, over_sample_size=theirs)
    expected = simulator.via_tracer_from(tracer=their_tracer(al), grid=grid).data.native.array
    # The default tolerance, of a deflection, and direct sums.
    for tol, difference in ((1e-8, 2e-9), (0, 1e-10)):
        scene = simulate.Scene(SHAPE, SCALE, over_sampling=ours, psf=kernel, background=1.0, tol=tol)
        image = simulate.simulate(scene, our_system(), jax.random.key(0), noise=False)
        np.testing.assert_allclose(image, expected, rtol=difference)

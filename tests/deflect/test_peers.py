"""Parity with autogalaxy, autolens and lenstronomy where they are right; skipped where they are not installed."""

import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM

from lenskern.deflect.api import plane
from lenskern.deflect.halos import Halos, cnfw, nfw, sis, tnfw, tnfwc
from lenskern.deflect.macro import ExternalShear, Isothermal, MassSheet, PowerLaw
from lenskern.deflect.multiplane import planes, trace

GRID = np.random.default_rng(0).uniform(-3, 3, (60, 2))
CENTRE = jnp.array([[0.1, 0.2]])
REDSHIFTS, SOURCE = (0.25, 0.5, 0.5001, 0.9), 1.6


@pytest.fixture(scope="module")
def autolens():
    return pytest.importorskip("autolens")


@pytest.fixture(scope="module")
def lens_model():
    return pytest.importorskip("lenstronomy.LensModel.lens_model").LensModel


def ellipticity(q, degrees):
    f, angle = (1 - q) / (1 + q), np.radians(degrees)
    return f * np.sin(2 * angle), f * np.cos(2 * angle)


def assert_close(ours, theirs, rtol):
    size = np.linalg.norm(theirs, axis=-1)
    assert (np.linalg.norm(np.asarray(ours) - theirs, axis=-1) / size).max() < rtol


def test_autogalaxy_halos(autolens):
    grid = autolens.Grid2DIrregular(GRID)
    for ours, theirs in [
        (nfw(CENTRE, 0.1, 0.7), autolens.mp.NFWSph(kappa_s=0.1, scale_radius=0.7, centre=(0.1, 0.2))),
        (
            tnfw(CENTRE, 0.1, 0.7, 2.0),
            autolens.mp.NFWTruncatedSph((0.1, 0.2), kappa_s=0.1, scale_radius=0.7, truncation_radius=2.0),
        ),
        (
            cnfw(CENTRE, 0.1, 0.7, 0.05),
            autolens.mp.cNFWSph((0.1, 0.2), kappa_s=0.1, scale_radius=0.7, core_radius=0.05),
        ),
        (sis(CENTRE, 0.3), autolens.mp.IsothermalSph((0.1, 0.2), einstein_radius=0.3)),
    ]:
        assert_close(plane(ours, GRID), theirs.deflections_yx_2d_from(grid).array, 1e-11)


@pytest.mark.parametrize("q, angle, slope", [(0.8, 30, 2.2), (0.3, 100, 1.7), (0.99, 10, 2.0), (0.15, -20, 1.5)])
def test_autogalaxy_power_law(autolens, q, angle, slope):
    grid, ell = autolens.Grid2DIrregular(GRID), ellipticity(q, angle)
    ours, theirs = PowerLaw((0.1, 0.2), ell, 1.3, slope), autolens.mp.PowerLaw((0.1, 0.2), ell, 1.3, slope)
    # Its series ends at 1e-10.
    assert_close(ours.deflection(GRID), theirs.deflections_yx_2d_from(grid).array, 1e-10)
    np.testing.assert_allclose(ours.potential(GRID), theirs.potential_2d_from(grid).array, rtol=1e-10)
    np.testing.assert_allclose(ours.convergence(GRID), theirs.convergence_2d_from(grid).array, rtol=1e-13)
    ours, theirs = Isothermal((0.1, 0.2), ell, 1.3), autolens.mp.Isothermal((0.1, 0.2), ell, 1.3)
    assert_close(ours.deflection(GRID), theirs.deflections_yx_2d_from(grid).array, 1e-13)
    np.testing.assert_allclose(ours.convergence(GRID), theirs.convergence_2d_from(grid).array, rtol=1e-13)


def test_autogalaxy_shear_and_sheet(autolens):
    grid = autolens.Grid2DIrregular(GRID)
    for ours, theirs in [
        (ExternalShear(0.03, -0.04), autolens.mp.ExternalShear(gamma_1=0.03, gamma_2=-0.04)),
        (MassSheet(-0.07), autolens.mp.MassSheet(kappa=-0.07)),
    ]:
        assert_close(ours.deflection(GRID), theirs.deflections_yx_2d_from(grid).array, 1e-13)
        np.testing.assert_allclose(ours.potential(GRID), theirs.potential_2d_from(grid).array, rtol=1e-12, atol=1e-14)


def lenstronomy_alpha(model, name, keywords):
    y, x = GRID.T
    return np.stack(model([name]).alpha(x, y, [keywords])[::-1], -1)


@pytest.mark.parametrize("q, angle, slope", [(0.8, 30, 2.2), (0.3, 100, 1.7), (0.15, -20, 1.5), (1.0, 0, 2.5)])
def test_lenstronomy_macros(lens_model, q, angle, slope):
    e2, e1 = ellipticity(q, angle)
    centre = {"center_x": 0.2, "center_y": 0.1}
    models = [
        (
            PowerLaw.from_lenstronomy(1.3, slope, e1, e2, 0.2, 0.1),
            ("EPL", {"theta_E": 1.3, "gamma": slope, "e1": e1, "e2": e2, **centre}),
        ),
        (
            ExternalShear.from_lenstronomy(0.03, -0.04, 0.2, 0.1),
            ("SHEAR", {"gamma1": 0.03, "gamma2": -0.04, "ra_0": 0.2, "dec_0": 0.1}),
        ),
        (
            ExternalShear.from_polar(0.03, 0.4, (0.1, 0.2)),
            ("SHEAR_GAMMA_PSI", {"gamma_ext": 0.03, "psi_ext": 0.4, "ra_0": 0.2, "dec_0": 0.1}),
        ),
    ]
    y, x = GRID.T
    for ours, (name, keywords) in models:
        theirs = lens_model([name])
        jacobian = ours.jacobian(GRID)
        yy, yx, xx = jacobian[:, 0, 0], jacobian[:, 0, 1], jacobian[:, 1, 1]
        assert_close(ours.deflection(GRID), lenstronomy_alpha(lens_model, name, keywords), 1e-12)
        np.testing.assert_allclose(ours.potential(GRID), theirs.potential(x, y, [keywords]), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose((xx + yy) / 2, theirs.kappa(x, y, [keywords]), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose([(xx - yy) / 2, yx], theirs.gamma(x, y, [keywords]), rtol=1e-10, atol=1e-12)
    if q < 1:
        # Theirs has a core of 1e-10 arcsec.
        ours = Isothermal.from_lenstronomy(1.3, e1, e2, 0.2, 0.1)
        theirs = lenstronomy_alpha(lens_model, "SIE", {"theta_E": 1.3, "e1": e1, "e2": e2, **centre})
        assert_close(ours.deflection(GRID), theirs, 1e-8)


def test_lenstronomy_halos(lens_model):
    # kappa_s enters as alpha_Rs, the deflection at r_s: 4 kappa_s r_s (1 + ln(1/2)) without a core.
    alpha_Rs = 4 * 0.1 * 0.7 * (1 - np.log(2))
    common = {"Rs": 0.7, "alpha_Rs": alpha_Rs, "center_x": 0.2, "center_y": 0.1}
    for ours, (name, more), rtol in [
        (nfw(CENTRE, 0.1, 0.7), ("NFW", {}), 1e-12),
        (tnfw(CENTRE, 0.1, 0.7, 2.0), ("TNFW", {"r_trunc": 2.0}), 1e-12),
    ]:
        assert_close(plane(ours, GRID), lenstronomy_alpha(lens_model, name, common | more), rtol)
    # Those with a core are compared up to a factor: it is a matter of normalisation.
    for ours, (name, more) in [
        (cnfw(CENTRE, 0.1, 0.7, 0.05), ("CNFW", {"r_core": 0.05})),
        (tnfwc(CENTRE, 0.1, 0.7, 0.05, 2.0), ("TNFWC", {"r_core": 0.05, "r_trunc": 2.0})),
    ]:
        ours, theirs = plane(ours, GRID), lenstronomy_alpha(lens_model, name, common | more)
        factors = np.asarray(ours / theirs)
        np.testing.assert_allclose(factors, factors[0, 0], rtol=1e-9)


def population(n, seed):
    # Not the seed of the grid: rays at the centre of a halo are NaN elsewhere.
    rng = np.random.default_rng(seed + 10)
    size = (10 ** rng.uniform(a, b, n) for a, b in ((-2.5, -1.5), (-1.5, -0.5), (-1, 0.5)))
    return tnfw(jnp.asarray(rng.uniform(-3, 3, (n, 2))), *map(jnp.asarray, size))


def multiplane_parts():
    macros = [
        (1, PowerLaw((0.02, -0.03), ellipticity(0.75, 40), 1.2, 2.1)),
        (1, ExternalShear(0.04, -0.02)),
        (3, Isothermal((-1.0, 0.7), ellipticity(0.6, 80), 0.15)),
    ]
    return {"halos": [population(6, 0), population(4, 1), None, population(5, 2)], "macros": macros}


def parameters(halos):
    """Centre, kappa_s, r_s and r_t of each halo."""
    return zip(halos.centre, halos.amplitude, halos.scale, halos.scale * halos.shape[:, 0], strict=True)


def test_autolens_tracer(autolens):
    universe, parts = autolens.cosmo.Planck15(), multiplane_parts()
    models = {
        PowerLaw: lambda m: autolens.mp.PowerLaw(m.centre, m.ell_comps, m.einstein_radius, m.slope),
        ExternalShear: lambda m: autolens.mp.ExternalShear(m.gamma_1, m.gamma_2),
        Isothermal: lambda m: autolens.mp.Isothermal(m.centre, m.ell_comps, m.einstein_radius),
    }
    galaxies = [autolens.Galaxy(redshift=SOURCE)]
    for k, (z, halos) in enumerate(zip(REDSHIFTS, parts["halos"], strict=True)):
        profiles = [models[type(model)](model) for index, model in parts["macros"] if index == k]
        for c, kappa, r, t in parameters(halos) if isinstance(halos, Halos) else ():
            sizes = {"kappa_s": float(kappa), "scale_radius": float(r), "truncation_radius": float(t)}
            profiles.append(autolens.mp.NFWTruncatedSph(tuple(map(float, c)), **sizes))
        named = {f"mass_{i}": profile for i, profile in enumerate(profiles)}
        galaxies.append(autolens.Galaxy(redshift=z, **named))
    tracer = autolens.Tracer(galaxies=galaxies, cosmology=universe)
    theirs = tracer.traced_grid_2d_list_from(grid=autolens.Grid2DIrregular(GRID))
    ours = trace(planes(REDSHIFTS, SOURCE, universe, **parts), GRID, all_planes=True)
    np.testing.assert_allclose(ours, [np.asarray(grid.array) for grid in theirs], rtol=0, atol=1e-10)


@pytest.mark.parametrize("positions", ["physical", "observed"])
def test_lenstronomy_multi_plane(lens_model, positions):
    # Flat only: lenstronomy carries rays along straight lines in a curved universe too.
    universe, parts = FlatLambdaCDM(70, 0.3), multiplane_parts()
    parts["macros"] = [
        (1, PowerLaw.from_lenstronomy(1.1, 2.1, 0.1, 0.05, -0.03, 0.02)),
        (1, ExternalShear(0.04, -0.02)),
        (3, MassSheet(-0.03)),
    ]
    epl = {"theta_E": 1.1, "gamma": 2.1, "e1": 0.1, "e2": 0.05, "center_x": -0.03, "center_y": 0.02}
    shear, sheet = {"gamma1": 0.04, "gamma2": -0.02}, {"kappa": -0.03}
    macros = {1: [("EPL", epl), ("SHEAR", shear)], 3: [("CONVERGENCE", sheet)]}
    models, observed = [], []
    # In the order of redshift, without which its observed positions go wrong.
    for k, (z, halos) in enumerate(zip(REDSHIFTS, parts["halos"], strict=True)):
        for (y, x), kappa, r, t in parameters(halos) if isinstance(halos, Halos) else ():
            sizes = {"Rs": float(r), "alpha_Rs": float(4 * kappa * r * (1 - np.log(2))), "r_trunc": float(t)}
            observed.append(len(models))
            models.append(("TNFW", z, sizes | {"center_x": float(x), "center_y": float(y)}))
        models += [(name, z, keywords) for name, keywords in macros.get(k, [])]
    names, redshifts, keywords = map(list, zip(*models, strict=True))
    model = lens_model(
        names,
        z_source=SOURCE,
        lens_redshift_list=redshifts,
        multi_plane=True,
        cosmo=universe,
        observed_convention_index=observed if positions == "observed" else None,
    )
    y, x = GRID.T
    theirs = np.stack(model.ray_shooting(x, y, keywords)[::-1], -1)
    lens = planes(REDSHIFTS, SOURCE, universe, **parts)
    np.testing.assert_allclose(trace(lens, GRID, positions=positions), theirs, rtol=0, atol=1e-10)

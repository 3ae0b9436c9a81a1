"""Catalogues of other programs give their deflections; skipped where those are not installed."""

import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import deflect, interop

GRID = np.random.default_rng(0).uniform(-2, 2, (50, 2))
SOURCE = 1.5
WORLD = deflect.flat_lambda_cdm(67.74, 0.3089)


def test_arrays():
    """In the order of their redshifts, and the same as one by one; truncated at kpc."""
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-2, 2, (2, 5))
    z, mass, c = np.array([0.6, 0.2, 0.6, 0.9, 0.2]), 10 ** rng.uniform(7, 9, 5), rng.uniform(9, 15, 5)
    r_t, infall = rng.uniform(1, 9, 5), z + 1
    catalogue = interop.catalogue_from_arrays(x, y, z, mass, c, SOURCE, WORLD, truncation_kpc=r_t)
    early = interop.catalogue_from_arrays(x, y, z, mass, c, SOURCE, WORLD, tau=r_t, definition_redshift=infall)
    assert catalogue.redshifts == early.redshifts == (0.2, 0.6, 0.9)
    for i in range(5):
        plane = catalogue.redshifts.index(z[i])
        row = np.flatnonzero(z == z[i]).tolist().index(i)
        halo, old = (k.halos[plane][row : row + 1] for k in (catalogue, early))
        centre, angle = np.array([[y[i], x[i]]]), deflect.cosmology.arcsec_per_kpc(WORLD, z[i])
        one = deflect.from_m200_concentration(
            centre, mass[i], c[i], z[i], SOURCE, WORLD, truncation_radius=r_t[i] * angle
        )
        for name in ("centre", "amplitude", "scale", "shape"):
            np.testing.assert_allclose(getattr(halo, name), getattr(one, name), rtol=1e-12)
        # The mean density inside r₂₀₀ is that of the earlier time; the mass is the same.
        density = deflect.cosmology.critical_density(WORLD, infall[i])
        r200 = (mass[i] / (200 * density * 4 * np.pi / 3)) ** (1 / 3)
        np.testing.assert_allclose(old.scale, r200 / c[i] * angle, rtol=1e-12)
        np.testing.assert_allclose(old.amplitude * old.scale**2, one.amplitude * one.scale**2, rtol=1e-12)
        np.testing.assert_allclose(old.shape[0, 0], r_t[i], rtol=1e-12)
    lens = interop.planes_from_catalogue(catalogue, SOURCE, WORLD)
    assert jnp.isfinite(deflect.trace(lens, jnp.asarray(GRID))).all()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"tau": [1.0, 2.0]}, "tau"),
        ({"x": [1.0]}, "y"),
        ({"mass": [1e8, -1.0]}, "mass"),
        ({"mass": "many"}, "mass"),
        ({"redshift": [0.5, 1.6]}, "redshift"),
        ({"y": [[1.0, 2.0]]}, "y"),
        ({"y": [np.nan, 2.0]}, "y"),
    ],
)
def test_bad_arrays(change, name):
    good = {"x": [0.0, 1.0], "y": [0.0, 1.0], "redshift": [0.5, 0.6], "mass": [1e8, 1e9], "concentration": [9.0, 8.0]}
    with pytest.raises(ValueError, match=f"^{name}: got"):
        interop.catalogue_from_arrays(
            **good | change, truncation_kpc=[1.0, 2.0], source_redshift=SOURCE, cosmology=WORLD
        )


def test_lists_of_lenstronomy():
    lens_model = pytest.importorskip("lenstronomy.LensModel.lens_model").LensModel
    from astropy.cosmology import FlatLambdaCDM

    universe, at = FlatLambdaCDM(70, 0.3), {"center_x": 0.3, "center_y": -0.2}
    models = [
        ("TNFW", 0.7, {"Rs": 0.5, "alpha_Rs": 0.01, "r_trunc": 1.3, **at}),
        ("EPL", 0.5, {"theta_E": 1.1, "gamma": 2.1, "e1": 0.1, "e2": 0.05, "center_x": 0.01, "center_y": 0.0}),
        ("SHEAR", 0.5, {"gamma1": 0.03, "gamma2": -0.01}),
        ("TNFW", 0.3, {"Rs": 0.2, "alpha_Rs": 0.02, "r_trunc": 0.7, "center_x": -1.0, "center_y": 0.4}),
        ("NFW", 0.3, {"Rs": 0.3, "alpha_Rs": 0.005, **at}),
        ("TNFWC", 0.7, {"Rs": 0.3, "alpha_Rs": 0.005, "r_core": 0.03, "r_trunc": 0.9, **at}),
        ("CNFW", 0.7, {"Rs": 0.3, "alpha_Rs": 0.006, "r_core": 0.05, **at}),
        ("PJAFFE", 0.5, {"sigma0": 0.1, "Ra": 0.05, "Rs": 0.4, "center_x": 1.0, "center_y": 1.0}),
        ("SIS", 0.7, {"theta_E": 0.01, **at}),
        ("POINT_MASS", 0.7, {"theta_E": 0.03, **at}),
        ("CONVERGENCE", 0.3, {"kappa": -0.01}),
        ("CONVERGENCE", 0.7, {"kappa": -0.02, "ra_0": 0.1, "dec_0": 0.2}),
    ]
    names, redshifts, keywords = map(list, zip(*models, strict=True))
    theirs = lens_model(names, z_source=SOURCE, lens_redshift_list=redshifts, multi_plane=True, cosmo=universe)
    expected = np.stack(theirs.ray_shooting(GRID[:, 1], GRID[:, 0], keywords)[::-1], -1)
    catalogue = interop.catalogue_from_lenstronomy(names, redshifts, keywords)
    lens = interop.planes_from_catalogue(catalogue, SOURCE, universe)
    assert catalogue.redshifts == (0.3, 0.5, 0.7)
    np.testing.assert_allclose(deflect.trace(lens, GRID), expected, rtol=0, atol=1e-9)


def test_bad_lists():
    with pytest.raises(NotImplementedError, match="lens_model_list: got 'ULDM'"):
        interop.catalogue_from_lenstronomy(["ULDM"], [0.5], [{}])
    with pytest.raises(ValueError, match="kwargs_lens: got 1 models, 2 redshifts"):
        interop.catalogue_from_lenstronomy(["NFW"], [0.5, 0.6], [{}])


def test_a_realization_of_pyhalo():
    """By its lists, and by its arrays; its positions are rounded to 1e-4."""
    presets = pytest.importorskip("pyHalo.PresetModels.cdm")
    realization = presets.CDM(
        0.5,
        SOURCE,
        sigma_sub=0.01,
        log_mlow=7.5,
        truncation_model_subhalos="TRUNCATION_MEAN_DENSITY",
        two_halo_contribution=False,
        cone_opening_angle_arcsec=5.0,
    )
    names, redshifts, keywords, _ = realization.lensing_quantities(add_mass_sheet_correction=True)
    assert set(names) == {"TNFW", "CONVERGENCE"}
    universe = realization.lens_cosmo.cosmo.astropy
    from lenstronomy.LensModel.lens_model import LensModel

    theirs = LensModel(names, z_source=SOURCE, lens_redshift_list=list(redshifts), multi_plane=True, cosmo=universe)
    expected = np.stack(theirs.ray_shooting(GRID[:, 1], GRID[:, 0], keywords)[::-1], -1)
    lens = interop.planes_from_catalogue(
        interop.catalogue_from_lenstronomy(names, redshifts, keywords), SOURCE, universe
    )
    np.testing.assert_allclose(deflect.trace(lens, GRID), expected, rtol=0, atol=1e-9)

    halos = realization.halos
    arrays = {name: [getattr(h, name) for h in halos] for name in ("x", "y", "mass")}
    arrays = interop.catalogue_from_arrays(
        **arrays,
        redshift=[h.z for h in halos],
        definition_redshift=[h.z_eval for h in halos],
        concentration=[h.c for h in halos],
        truncation_kpc=[h.profile_args[1] for h in halos],
        source_redshift=SOURCE,
        cosmology=universe,
    )
    by_lists = interop.catalogue_from_lenstronomy(names[: len(halos)], redshifts[: len(halos)], keywords[: len(halos)])
    for ours, theirs in zip(arrays.halos, by_lists.halos, strict=True):
        np.testing.assert_allclose(ours.amplitude, theirs.amplitude, rtol=1e-3)
        np.testing.assert_allclose(ours.scale, theirs.scale, rtol=1e-3)
        np.testing.assert_allclose(ours.shape[:, 0], theirs.shape[:, 0], rtol=1e-3)

"""Galaxies of autolens and its sampler of the line of sight; skipped where it is not installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import deflect, interop, simulate

GRID = np.random.default_rng(0).uniform(-2, 2, (40, 2))
SOURCE = 1.5
# dn/dm ∝ m^A and c = A log10 m + B on nine planes, so that neither hmf nor colossus is needed.
MASSES = np.array([[-1.9, 8.0]] * 9) + np.linspace(0, 0.1, 9)[:, None] * np.array([0.0, 1.0])
CONCENTRATIONS = np.array([[-1.1, 22.0]] * 9)


@pytest.fixture(scope="module")
def autolens():
    return pytest.importorskip("autolens")


def sampler(autolens, seed, **options):
    los = pytest.importorskip("autolens.lens.los")
    return los.LOSSampler(
        0.5,
        SOURCE,
        cosmology=autolens.cosmo.Planck15(),
        mass_function_coefficients=MASSES,
        mass_concentration_coefficients=CONCENTRATIONS,
        seed=seed,
        **options,
    )


def test_against_the_tracer(autolens, monkeypatch):
    """Halos of its sampler, sheets, and every kind of profile that is taken; in no order."""
    mp, universe = autolens.mp, autolens.cosmo.Planck15()
    # Its double integral takes seconds for each plane.
    monkeypatch.setattr("autolens.lens.los.negative_kappa_from", lambda **_: -0.003)
    galaxies = sampler(autolens, 1, m_min=3e7).galaxies_from()
    assert len(galaxies) > 100
    at = {"centre": (0.4, -0.3)}
    galaxies += [
        autolens.Galaxy(redshift=SOURCE),
        autolens.Galaxy(
            redshift=0.5,
            mass=mp.PowerLaw((0.01, 0.02), (0.1, 0.05), 1.1, 2.1),
            shear=mp.ExternalShear(0.03, -0.02),
            isothermal=mp.Isothermal((1.0, 0.5), (0.05, 0.1), 0.1),
            ludlow=mp.NFWTruncatedMCRLudlowSph((0.3, 0.2), 1e9, 0.5, SOURCE),
        ),
        autolens.Galaxy(
            redshift=0.3,
            nfw=mp.NFWSph(**at, kappa_s=0.01, scale_radius=0.3),
            mcr=mp.NFWMCRLudlowSph(**at, mass_at_200=1e9, redshift_object=0.3, redshift_source=SOURCE),
            core=mp.cNFWSph(**at, kappa_s=0.01, scale_radius=0.3, core_radius=0.02),
            sis=mp.IsothermalSph(**at, einstein_radius=0.01),
            point=mp.PointMass(**at, einstein_radius=0.02),
            sphere=mp.PowerLawSph(**at, einstein_radius=0.01, slope=1.9),
        ),
    ]
    field = autolens.MassField(redshift=0.4, sheet=mp.MassSheet((0.1, 0.2), -0.01))
    tracer = autolens.Tracer(galaxies=galaxies, fields=[field], cosmology=universe)
    theirs = tracer.traced_grid_2d_list_from(grid=autolens.Grid2DIrregular(GRID))[-1]
    lens = interop.planes_from_galaxies(galaxies[::-1], universe, fields=[field])
    np.testing.assert_allclose(deflect.trace(lens, GRID), theirs.array, rtol=0, atol=1e-10)


def test_what_is_not_taken(autolens):
    lens = autolens.Galaxy(redshift=0.5, mass=autolens.mp.Sersic())
    with pytest.raises(NotImplementedError, match="galaxies: got the profile Sersic"):
        interop.planes_from_galaxies([lens, autolens.Galaxy(redshift=1.0)])
    for galaxies in ([], [autolens.Galaxy(redshift=1.0)]):
        with pytest.raises(ValueError, match="galaxies: got none"):
            interop.planes_from_galaxies(galaxies)


def test_populations_of_the_sampler(autolens, monkeypatch):
    """Its light cone is one of ours: the same numbers, masses and sheets."""
    los = pytest.importorskip("autolens.lens.los")
    universe = autolens.cosmo.Planck15()
    theirs = sampler(autolens, 5, m_min=1e7, m_max=1e9)
    boundaries, centres = los.los_planes_from(0.5, SOURCE, 4, 4, universe)

    def mass_function(mass, redshift):
        A, B = MASSES.T[:, :, None]
        return 10**B * mass ** (A + 1)

    def relation(mass, redshift):
        return CONCENTRATIONS[0, 0] * jnp.log10(mass) + CONCENTRATIONS[0, 1]

    ours = simulate.LineOfSight.create(
        0.5,
        SOURCE,
        universe,
        redshifts=centres,
        boundaries=boundaries,
        region=simulate.Disc(5.0),
        closing=1 / 5,
        mass_range=(1e7, 1e9),
        mass_function=mass_function,
        relation=relation,
    )
    numbers, arguments = [], []
    monkeypatch.setattr(los.np.random, "RandomState", _Counting(numbers))
    monkeypatch.setattr(los, "negative_kappa_from", lambda **keywords: arguments.append(keywords))
    theirs._sample_population()
    monkeypatch.undo()
    np.testing.assert_allclose(ours.mean_numbers(), numbers, rtol=1e-6)
    sheet = jax.jit(ours.draw)(jax.random.key(0)).sheet
    for i in (2, 6):
        # It cuts the scatter off at four standard deviations: 6e-5 of the mass.
        expected = los.negative_kappa_from(**arguments[i] | {"quad_epsrel": 1e-5})
        np.testing.assert_allclose(sheet[i], expected, rtol=2e-4)


class _Counting:
    """Random numbers whose Poisson means are noted."""

    def __init__(self, means):
        self.means, self.make = means, np.random.RandomState

    def __call__(self, seed=None):
        state, means = self.make(seed), self.means

        class State:
            def poisson(self, mean):
                means.append(mean)
                return 1

            def __getattr__(self, name):
                return getattr(state, name)

        return State()

"""Mass functions, their suppression and tables, against quadrature and against colossus."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from lenskern.deflect import concentration
from lenskern.simulate.mass_function import MassTable, WarmSuppression, half_mode_mass, sheth_tormen
from lenskern.simulate.poisson import poisson
from lenskern.simulate.population import draw_masses

SPECTRUM = concentration.PLANCK15_SPECTRUM
mass_of = jax.jit(MassTable.mass)


def test_rms_fluctuation_against_quadrature():
    """σ² = ∫ Δ² W² d(ln k) with the same transfer function, in units of its value at 8 Mpc/h."""

    def variance(radius):
        ln_k = np.linspace(np.log(1e-5), np.log(300 / radius), 200001)
        k = np.exp(ln_k)
        x = k * radius
        window = np.where(x < 1e-2, 1 - x**2 / 10, 3 * (np.sin(x) - x * np.cos(x)) / x**3)
        power = k ** (3 + SPECTRUM.ns) * np.asarray(concentration.transfer(SPECTRUM, k)) ** 2
        return integrate.simpson(power * window**2, x=ln_k)

    mean = float(concentration.mean_density())
    for mass in (1e8, 1e11):
        radius = (3 * mass / (4 * math.pi * mean)) ** (1 / 3) * SPECTRUM.h
        expected = SPECTRUM.sigma8 * math.sqrt(variance(radius) / variance(8.0))
        np.testing.assert_allclose(concentration.rms_fluctuation(mass, 0.0), expected, rtol=1e-5)


def test_sheth_tormen_against_colossus():
    cosmology = pytest.importorskip("colossus.cosmology.cosmology")
    lss = pytest.importorskip("colossus.lss.mass_function")
    s = SPECTRUM
    theirs = cosmology.Cosmology(
        name="test",
        flat=True,
        H0=100 * s.h,
        Om0=s.Om0,
        Ob0=s.Ob0,
        sigma8=s.sigma8,
        ns=s.ns,
        Tcmb0=s.Tcmb0,
        relspecies=False,
        persistence="",
    )
    before, mass = cosmology.current_cosmo, np.logspace(5, 12, 8)
    cosmology.setCurrent(theirs)
    try:
        for z in (0.0, 0.5, 2.0):
            expected = lss.massFunction(mass * s.h, z, q_in="M", q_out="dndlnM", model="sheth99") * s.h**3
            # Their table of σ has a precision of 1e-3 in the slope.
            np.testing.assert_allclose(sheth_tormen(mass, z), expected, rtol=1.5e-3)
    finally:
        cosmology.current_cosmo = before


def test_half_mode_mass():
    """About 5e8 M_sun (m/3 keV)^(−10/3), as is usually said; the exponent is 3.33."""
    masses = half_mode_mass(jnp.array([1.0, 3.0, 6.0]))
    np.testing.assert_allclose(masses[1], 5e8, rtol=0.05)
    np.testing.assert_allclose(masses[0] / masses[2], 6**3.33, rtol=1e-12)


def test_warm_suppression():
    warm = WarmSuppression.lovell20_field(8.0)
    ln_mass = jnp.log(jnp.array([1e6, 1e8, 1e11]))
    expected = (1 + (2.3 * 1e8 / np.exp(ln_mass)) ** 0.8) ** -1.0
    np.testing.assert_allclose(jnp.exp(warm.ln_abundance(ln_mass)), expected, rtol=1e-13)
    lower = warm.concentration(jnp.exp(ln_mass), 0.5)
    expected = (1 + 60 * 1e8 / np.exp(ln_mass)) ** -0.17 * 1.5 ** (0.026 * 0.5 - 0.04)
    np.testing.assert_allclose(lower, expected, rtol=1e-13)
    np.testing.assert_array_equal(WarmSuppression(8.0, concentrations=False).concentration(jnp.ones(2), 0.5), 1)


def power_law(slope, nodes=33, low=1e6, high=1e10):
    ln_mass = jnp.linspace(math.log(low), math.log(high), nodes)
    return MassTable(ln_mass, (slope + 1) * (ln_mass - math.log(1e8)))


@pytest.mark.parametrize("slope", [-1.9, -1.0])
def test_a_table_of_a_power_law_is_exact(slope):
    table, low, high, n = power_law(slope), 1e6, 1e10, slope + 1
    number = math.log(high / low) if n == 0 else ((high / 1e8) ** n - (low / 1e8) ** n) / n
    np.testing.assert_allclose(table.numbers().sum(), number, rtol=1e-13)
    np.testing.assert_allclose(
        table.masses().sum(), 1e8 * ((high / 1e8) ** (n + 1) - (low / 1e8) ** (n + 1)) / (n + 1), rtol=1e-13
    )
    share = np.linspace(0, 1, 50)
    if n == 0:
        expected = high * (low / high) ** share
    else:
        expected = (high**n - share * (high**n - low**n)) ** (1 / n)
    np.testing.assert_allclose(mass_of(table, share * number), expected, rtol=1e-11)


def test_a_suppressed_table_against_quadrature():
    """Between the nodes the suppression is a power law, which is wrong by 5e-5 of the number at most."""
    warm, ln_mass = WarmSuppression.lovell20_subhalos(7.5), jnp.linspace(math.log(1e6), math.log(1e10), 257)
    table = MassTable(ln_mass, -0.9 * (ln_mass - math.log(1e8)) + warm.ln_abundance(ln_mass))

    def density(x):
        return math.exp(-0.9 * (x - math.log(1e8))) * (1 + (4.2 * 10**7.5 / math.exp(x)) ** 2.5) ** -0.2

    for low in (1e6, 1e7, 3e8):
        heavier = integrate.quad(density, math.log(low), math.log(1e10), epsabs=0, epsrel=1e-11)[0]
        np.testing.assert_allclose(mass_of(table, jnp.array([heavier])), low, rtol=5e-5)


# Chance of each statistical test to fail were its key drawn anew; all together fail once in 5e4 such runs.
ALARM = 1e-6


def draw(key, table, amplitude, capacity, random=True):
    """Masses, whether they exist, and the overflow."""
    keys = jax.random.split(key)
    mass, exists, missing = draw_masses(jax.random.uniform(keys[0], (capacity + 1,)), table, amplitude, random)
    return mass, exists, poisson(keys[1], missing) if random else missing


def share_of(mass):
    return (np.asarray(mass) ** -0.9 - 1e10**-0.9) / (1e6**-0.9 - 1e10**-0.9)


def test_counts_are_poisson_numbers():
    """Of the haloes that fit and of those that do not, together."""
    table, draws, capacity = power_law(-1.9), 4000, 14
    amplitude = 15.0 / table.numbers().sum()

    def draw(key):
        keys = jax.random.split(key)
        unit = jax.random.uniform(keys[0], (capacity + 1,))
        mass, exists, missing = draw_masses(unit, table, amplitude)
        return mass, exists.sum(), poisson(keys[1], missing)

    mass, fit, overflow = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(5), draws))
    counts = np.asarray(fit + overflow)
    assert (fit == np.minimum(counts, capacity)).all()
    bins = np.arange(6, 27)
    observed = np.array([(counts <= 5).sum(), *[(counts == k).sum() for k in bins], (counts > 26).sum()])
    law = stats.poisson(15.0)
    expected = draws * np.array([law.cdf(5), *law.pmf(bins), law.sf(26)])
    assert stats.chisquare(observed, expected).pvalue > ALARM
    # The heaviest one: none is heavier with the probability exp(−N(>m)).
    share = 15 * (np.asarray(mass[:, 0]) ** -0.9 - 1e10**-0.9) / (1e6**-0.9 - 1e10**-0.9)
    there = counts > 0
    assert stats.kstest(np.exp(-share[there]), "uniform").pvalue > ALARM
    assert (np.diff(mass[there], axis=-1)[:, :1] <= 0).all()


@pytest.mark.parametrize("random", [True, False])
def test_draws_of_nothing_and_of_nonsense(random):
    unit = jnp.linspace(0.1, 0.9, 9)
    masses = jax.jit(lambda amplitude: draw_masses(unit, power_law(-1.9), amplitude, random))
    mass, exists, missing = masses(0.0)
    assert not exists.any() and missing == 0 and jnp.isfinite(mass).all()
    for amplitude in (jnp.nan, -1.0):
        mass, exists, _ = masses(amplitude)
        assert exists.all() and jnp.isnan(mass).all()
    if not random:
        for number, there, missed in ((5.3, 5, 0), (8.0, 8, 0), (11.0, 8, 3)):
            mass, exists, missing = masses(number / power_law(-1.9).numbers().sum())
            assert exists.sum() == there and missing == missed
            # A draw of so many independent masses is in order, and none is out of the range.
            assert (jnp.diff(mass[exists]) < 0).all() and (mass[exists] > 1e6).all()


def test_masses_are_continuous_in_the_parameters():
    """At a fixed key a mass follows the cumulative mass function: d(ln m)/d(ln A) = N(>m)/(dN/d ln m)."""
    unit = jax.random.uniform(jax.random.key(3), (9,))

    def masses(amplitude):
        return jnp.log(draw_masses(unit, power_law(-1.9), amplitude)[0])

    ln_mass, slope = jax.jit(lambda a: jax.jvp(masses, (a,), (a,)))(0.3)
    mass = jnp.exp(ln_mass)
    cumulative = ((mass / 1e8) ** -0.9 - 100**-0.9) / 0.9
    np.testing.assert_allclose(slope, cumulative / (mass / 1e8) ** -0.9, rtol=1e-8)

"""Distances against astropy, their limits and their derivatives."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from astropy import constants, units
from astropy import cosmology as astropy_cosmology

from lenskern.deflect import cosmology as ours

# The name that every astropy from 6 to 8 has.
pytestmark = pytest.mark.filterwarnings("ignore:Use ``angular_diameter_distance")

MASSES = [0.0, 0.1, 1.0] * units.eV
THEIRS = {
    "Planck15": astropy_cosmology.Planck15,
    "Planck18": astropy_cosmology.Planck18,
    "heavy neutrinos": astropy_cosmology.FlatLambdaCDM(70, 0.3, Tcmb0=2.7, Neff=3.04, m_nu=MASSES),
    "massless neutrinos": astropy_cosmology.FlatLambdaCDM(70, 0.3, Tcmb0=2.7255, Neff=3.04),
    "no neutrinos": astropy_cosmology.FlatLambdaCDM(70, 0.3, Tcmb0=2.7255, Neff=0.5),
    "flat": astropy_cosmology.FlatLambdaCDM(70, 0.3),
    "Einstein-de Sitter": astropy_cosmology.FlatLambdaCDM(70, 1.0),
    "de Sitter": astropy_cosmology.FlatLambdaCDM(70, 0.0),
    "open": astropy_cosmology.LambdaCDM(65, 0.4, 0.3, Tcmb0=2.7),
    "open, no radiation": astropy_cosmology.LambdaCDM(65, 0.1, 0.3),
    "nearly flat": astropy_cosmology.LambdaCDM(65, 0.3, 0.7001),
    "closed": astropy_cosmology.LambdaCDM(65, 0.4, 1.2, Tcmb0=2.7, m_nu=0.2 * units.eV),
}
Z = np.array([0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 1000.0])


@pytest.fixture(params=THEIRS)
def pair(request):
    return THEIRS[request.param], ours.from_astropy(THEIRS[request.param])


def relative(value, expected):
    return np.abs(np.asarray(value) / np.asarray(expected) - 1).max()


def test_distances(pair):
    theirs, cosmology = pair
    # Without radiation astropy takes differences of closed forms, which lose digits at small redshifts.
    assert relative(ours.comoving_distance(cosmology, Z), theirs.comoving_distance(Z).value) < 1e-12
    transverse = theirs.comoving_transverse_distance(Z).value
    assert relative(ours.transverse_comoving_distance(cosmology, Z), transverse) < 1e-12
    assert relative(ours.angular_diameter_distance(cosmology, Z), transverse / (1 + Z)) < 1e-12
    assert relative(ours.arcsec_per_kpc(cosmology, Z), theirs.arcsec_per_kpc_proper(Z).value) < 1e-12


def test_densities(pair):
    theirs, cosmology = pair
    assert relative(ours.expansion(cosmology, Z), theirs.efunc(Z)) < 1e-14
    assert relative(ours.critical_density(cosmology, Z), theirs.critical_density(Z).to_value("Msun/kpc3")) < 1e-13
    lens, source = np.array([0.1, 0.5, 0.5, 3.0]), np.array([0.2, 0.6, 2.0, 20.0])
    lens_distance, source_distance = (theirs.angular_diameter_distance(z) for z in (lens, source))
    between = theirs.angular_diameter_distance_z1z2(lens, source)
    factor = constants.c**2 / (4 * math.pi * constants.G)
    expected = (factor * source_distance / lens_distance / between).to("Msun/kpc2")
    assert relative(ours.critical_surface_density(cosmology, lens, source), expected.value) < 1e-12
    per_arcsec = expected.value / theirs.arcsec_per_kpc_proper(lens).value ** 2
    assert relative(ours.critical_surface_density(cosmology, lens, source, unit="arcsec"), per_arcsec) < 1e-12


def test_between_redshifts(pair):
    theirs, cosmology = pair
    lens, source = np.array([0.0, 0.2, 0.5, 1.0, 6.0]), np.array([0.1, 0.3, 3.0, 20.0, 6.5])
    expected = theirs.angular_diameter_distance_z1z2(lens, source).value
    assert relative(ours.angular_diameter_distance_between(cosmology, lens, source), expected) < 1e-12
    back = ours.transverse_comoving_distance_between(cosmology, source, lens)
    assert relative(back, -expected * (1 + source)) < 1e-12


@pytest.mark.parametrize("name", ["Planck18", "open"])
def test_close_redshifts_lose_no_digits(name):
    cosmology = ours.from_astropy(THEIRS[name])
    z1 = 0.5
    for gap in (1e-3, 2.0**-30, 2.0**-45):
        E = [float(ours.expansion(cosmology, z1 + t * gap)) for t in (0, 0.5, 1)]
        simpson = gap * (1 / E[0] + 4 / E[1] + 1 / E[2]) / 6 * 299792.458 / cosmology.H0
        assert relative(ours.comoving_distance_between(cosmology, z1, z1 + gap), simpson) < 2e-15
    assert ours.comoving_distance_between(cosmology, z1, z1) == 0


def test_against_quadrature():
    """A small redshift, where astropy's own closed form has lost its digits, by 30-digit quadrature."""
    cosmology = ours.flat_lambda_cdm(70.0, 0.3)
    with mpmath.workdps(30):
        matter = mpmath.mpf(0.3)
        for z in (1e-8, 1e-3, 20.0):
            value = mpmath.quad(lambda x: 1 / mpmath.sqrt(matter * (1 + x) ** 3 + 1 - matter), [0, z])
            expected = float(value * mpmath.mpf("299792.458") / 70)
            assert relative(ours.comoving_distance(cosmology, z), expected) < 2e-15


def test_transforms_and_derivatives():
    cosmology = ours.from_astropy(THEIRS["closed"])
    z = jnp.asarray(Z[:-1])
    batched = jax.jit(jax.vmap(lambda z: ours.comoving_distance(cosmology, z)))(z)
    assert relative(batched, ours.comoving_distance(cosmology, z)) < 1e-15
    slope = jax.vmap(jax.grad(lambda z: ours.comoving_distance(cosmology, z)))(z)
    assert relative(slope, ours.hubble_distance(cosmology) / ours.expansion(cosmology, z)) < 1e-13
    ends = jax.grad(ours.comoving_distance_between, (1, 2))(cosmology, 0.5, 0.5)
    rate = ours.hubble_distance(cosmology) / ours.expansion(cosmology, 0.5)
    assert relative(ends, [-rate, rate]) < 1e-14


@pytest.mark.parametrize("Ok0", [0.0, 1e-9, 0.1, -0.1])
def test_derivatives_in_the_parameters(Ok0):
    """The curved distances are smooth through a flat universe."""

    def distance(H0, Om0, Ode0, Tcmb0, m_nu):
        cosmology = ours.lambda_cdm(H0, Om0, Ode0, Tcmb0=Tcmb0, Neff=3.04, m_nu=[0.0, 0.0, m_nu])
        return ours.angular_diameter_distance_between(cosmology, 0.4, 2.5)

    flat = ours.flat_lambda_cdm(70.0, 0.3, 2.7, 3.04, [0.0, 0.0, 0.06])
    point = (70.0, 0.3, float(flat.Ode0) - Ok0, 2.7, 0.06)
    slopes = jax.jit(jax.grad(distance, argnums=range(5)))(*point)
    for i, slope in enumerate(slopes):
        step = 1e-4 * point[i]
        ends = [distance(*(x + s * step * (k == i) for k, x in enumerate(point))) for s in (-2, -1, 1, 2)]
        expected = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * step)
        assert relative(slope, expected) < 2e-7


def test_sines_of_curved_space():
    s = np.array([-30.0, -1.0, -0.0501, -0.0499, -1e-9, 0.0, 1e-9, 0.0499, 0.0501, 1.0, 9.0])
    sine = jax.vmap(jax.value_and_grad(ours.generalised_sine))(s, np.ones_like(s))
    cosine = jax.vmap(jax.value_and_grad(ours.generalised_cosine))(s, np.ones_like(s))
    with mpmath.workdps(50):
        for i, x in enumerate(s):
            x = mpmath.mpf(x) + mpmath.mpf("1e-25")
            root = mpmath.sqrt(x)
            values = [mpmath.re(f) for f in (mpmath.sin(root) / root, mpmath.cos(root))]
            assert relative(sine[0][i], float(values[0])) < 1e-14
            assert relative(cosine[0][i], float(values[1])) < 1e-14
            assert relative(sine[1][i], float((values[1] - values[0]) / (2 * x))) < 1e-11
            assert relative(cosine[1][i], -sine[0][i] / 2) < 1e-13


def test_float32_stays():
    cosmology = ours.from_astropy(THEIRS["open"])
    z = jnp.asarray(Z, jnp.float32)
    for function in (ours.angular_diameter_distance, ours.critical_density, ours.arcsec_per_kpc):
        value = function(cosmology, z)
        assert value.dtype == jnp.float32
        assert relative(value, function(cosmology, jnp.asarray(z, jnp.float64))) < 2e-6
    with jax.enable_x64(False):
        surface = ours.critical_surface_density(cosmology, 0.5, 2.0)
    assert surface.dtype == jnp.float32
    assert relative(surface, ours.critical_surface_density(cosmology, 0.5, 2.0)) < 2e-6


class RoundedPlanck15:
    """The parameters and the expansion of autogalaxy's Planck15, as its documentation describes it."""

    H0, Om0, Tcmb0, Neff, m_nu, w0 = 67.74, 0.3075, 2.7255, 3.046, (0.0, 0.0, 0.06), -1.0

    def angular_diameter_distance_kpc_z1z2(self, z1, z2):
        h2 = 0.6774**2
        matter = self.Om0 + 0.06 / 93.14 / h2
        radiation = 2.469e-5 / h2 * (1 + 0.2271 * (3.046 - 1))
        rate = lambda z: mpmath.sqrt(matter * (1 + z) ** 3 + radiation * (1 + z) ** 4 + 1 - matter - radiation)  # noqa: E731
        return float(mpmath.quad(lambda z: 1 / rate(z), [z1, z2]) * 299792.458e3 / self.H0 / (1 + z2))


def test_autolens_cosmology_by_its_own_expansion():
    theirs = RoundedPlanck15()
    cosmology = ours.from_astropy(theirs)
    for z1, z2 in ((0.0, 0.5), (0.5, 2.0)):
        value = 1e3 * ours.angular_diameter_distance_between(cosmology, z1, z2)
        assert relative(value, theirs.angular_diameter_distance_kpc_z1z2(z1, z2)) < 1e-13


def test_autolens_cosmology_where_it_is_installed():
    model = pytest.importorskip("autogalaxy.cosmology.model")
    theirs = model.Planck15()
    cosmology = ours.from_astropy(theirs)
    for z1, z2 in ((0.0, 0.5), (0.5, 2.0)):
        value = 1e3 * ours.angular_diameter_distance_between(cosmology, z1, z2)
        assert relative(value, theirs.angular_diameter_distance_kpc_z1z2(z1, z2)) < 1e-12


def test_bad_input():
    with pytest.raises(ValueError, match="H0: got -70"):
        ours.flat_lambda_cdm(-70, 0.3)
    with pytest.raises(ValueError, match="Om0: got nan"):
        ours.flat_lambda_cdm(70, float("nan"))
    with pytest.raises(ValueError, match="m_nu: got 2 masses, expected one, or 3"):
        ours.flat_lambda_cdm(70, 0.3, Tcmb0=2.7, Neff=3.04, m_nu=[0.0, 0.1])
    with pytest.raises(ValueError, match="Neff"):
        jax.jit(lambda n: ours.flat_lambda_cdm(70, 0.3, Tcmb0=2.7, Neff=n).Ode0)(3.04)
    with pytest.raises(ValueError, match="unit: got 'Mpc'"):
        ours.critical_surface_density(ours.flat_lambda_cdm(70, 0.3), 0.5, 1.0, unit="Mpc")
    with pytest.raises(ValueError, match="cosmology: got str"):
        ours.from_astropy("Planck18")
    with pytest.raises(NotImplementedError, match="got w0waCDM"):
        ours.from_astropy(astropy_cosmology.w0waCDM(70, 0.3, 0.7, w0=-0.9))


def test_is_a_pytree():
    cosmology = ours.from_astropy(THEIRS["Planck18"])
    assert all(isinstance(x, float) for x in jax.tree.leaves(cosmology))
    rates = jax.vmap(lambda H0: ours.hubble_distance(dataclasses.replace(cosmology, H0=H0)))(jnp.array([50.0, 100.0]))
    assert relative(rates, [299792.458 / 50, 299792.458 / 100]) < 1e-15

"""Haloes from masses: the mass that their density holds, the concentration relation, and sheets."""

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import integrate, special

from lenskern.deflect import concentration as relation
from lenskern.deflect import cosmology as distances
from lenskern.deflect import physical as ours
from lenskern.deflect.profiles import Profile

WORLD = distances.flat_lambda_cdm(67.74, 0.3075, Tcmb0=2.7255, Neff=3.046, m_nu=[0.0, 0.0, 0.06])
Z, Z_SOURCE = 0.5, 1.5
CENTRE = np.array([[0.3, -0.2]])

# Density in units of ρ_s at y = r/r_s, by b = r_c/r_s and τ = r_t/r_s.
DENSITIES = {
    "nfw": lambda y, b, tau: 1 / (y * (1 + y) ** 2),
    "tnfw": lambda y, b, tau: 1 / (y * (1 + y) ** 2 * (1 + (y / tau) ** 2)),
    "cnfw": lambda y, b, tau: 1 / ((y + b) * (1 + y) ** 2),
    "tnfwc": lambda y, b, tau: 1 / (mpmath.sqrt(y**2 + b**2) * (1 + y**2) * (1 + (y / tau) ** 2)),
}


def relative(value, expected):
    return abs(float(mpmath.mpf(float(value)) / expected - 1))


def mass_inside(profile, halos, radius, world=WORLD):
    """Mass in M_sun inside a radius in kpc, by 30-digit quadrature of the density that the halo's parameters mean."""
    kpc = mpmath.mpf(1) / float(distances.arcsec_per_kpc(world, Z))
    scale = float(halos.scale[0]) * kpc
    rho_s = float(halos.amplitude[0]) * float(distances.critical_surface_density(world, Z, Z_SOURCE)) / scale
    p, q = map(mpmath.mpf, map(float, halos.shape[0]))
    b, tau = (p, q) if profile == "tnfwc" else (p, p)
    c = radius / scale
    shell = lambda s: mpmath.exp(3 * s) * DENSITIES[profile](mpmath.exp(s), b, tau)  # noqa: E731
    bends = [mpmath.log(x) for x in (b, tau, mpmath.mpf(1)) if 0 < x < c]
    return 4 * mpmath.pi * rho_s * scale**3 * mpmath.quad(shell, sorted([-80, -30, *bends, mpmath.log(c)]))


CASES = [
    ("nfw", {}),
    ("tnfw", {"tau": 5.0}),
    ("tnfw", {"tau": 1.0}),
    ("cnfw", {"core_fraction": 0.1}),
    ("cnfw", {"core_fraction": 1.0}),
    ("cnfw", {"core_fraction": 1e-7}),
    ("cnfw", {"core_fraction": 0.999}),
    ("cnfw", {"core_fraction": 3.0}),
    ("tnfwc", {"core_fraction": 0.05, "tau": 4.0}),
    ("tnfwc", {"core_fraction": 1.0, "tau": 1.0}),
    ("tnfwc", {"core_fraction": 0.0, "tau": 1.0001}),
]


@pytest.mark.parametrize(("profile", "shape"), CASES)
@pytest.mark.parametrize("concentration", [3.0, 15.0, 60.0])
def test_m200_is_the_mass_inside_r200(profile, shape, concentration):
    mass = 3.7e9
    halos = ours.from_m200_concentration(
        CENTRE, mass, concentration, Z, Z_SOURCE, WORLD, profile=profile, mass_of="halo", **shape
    )
    assert halos.profiles == (Profile[profile.upper()],)
    with mpmath.workdps(30):
        r200 = mpmath.cbrt(mass / (200 * float(distances.critical_density(WORLD, Z)) * 4 * mpmath.pi / 3))
        assert relative(mass_inside(profile, halos, r200), mpmath.mpf(mass)) < 3e-14


@pytest.mark.parametrize(
    ("tau", "core"), [(0.01, None), (1.0, None), (300.0, None), (0.01, 0.0), (1.0, 1.0), (1.0001, 0.05), (300.0, 4.0)]
)
def test_total_mass(tau, core):
    """The truncated halo of an NFW profile of the mass: its density at r ≪ r_t is that of the NFW profile."""
    mass, c = 2e8, 12.0
    profile = "tnfw" if core is None else "tnfwc"
    total = ours.total_mass(mass, c, tau, core, mass_of="nfw")
    halos = ours.from_m200_concentration(
        CENTRE, mass, c, Z, Z_SOURCE, WORLD, tau=tau, core_fraction=core, mass_of="nfw"
    )
    with mpmath.workdps(30):
        everything = mass_inside(profile, halos, mpmath.mpf(10) ** 20)
        assert relative(total, everything) < 1e-13
        r200 = mpmath.cbrt(mass / (200 * float(distances.critical_density(WORLD, Z)) * 4 * mpmath.pi / 3))
        inside = mass_inside(profile, halos, r200)
        assert relative(ours.total_mass(mass, c, tau, core, mass_of="halo"), mass * everything / inside) < 1e-13


def test_truncation_radius_is_an_angle():
    """A truncation at 2 r200 is at τ = 2 c; r200 in kpc taken for arcsec gives another halo."""
    mass, c = 1e9, 15.0
    halos = ours.from_m200_concentration(CENTRE, mass, c, Z, Z_SOURCE, WORLD, truncation_r200=2.0)
    scales = ours.m200_scales(mass, c, Z, Z_SOURCE, WORLD)
    assert relative(halos.shape[0, 0], 2 * c) < 1e-15
    assert relative(halos.scale[0] * halos.shape[0, 0], 2 * float(scales.r200)) < 1e-14
    by_angle = ours.from_m200_concentration(CENTRE, mass, c, Z, Z_SOURCE, WORLD, truncation_radius=2 * scales.r200)
    np.testing.assert_allclose(by_angle.shape, halos.shape, rtol=1e-14)
    r200_kpc = (mass / (200 * distances.critical_density(WORLD, Z) * 4 * math.pi / 3)) ** (1 / 3)
    assert relative(scales.r200 / distances.arcsec_per_kpc(WORLD, Z), float(r200_kpc)) < 1e-14


def test_cored_mass_against_the_formula_in_use():
    """(1 + f_c)² in place of (1 − f_c)² in the enclosed mass is wrong by 2.2 times at f_c = 0.1."""
    c, f = 15.0, 0.1
    usual = (f**2 * math.log(1 + c / f) + (1 - 2 * f) * math.log(1 + c)) / (1 + f) ** 2 - c / ((1 + c) * (1 - f))
    right = (f**2 * math.log(1 + c / f) + (1 - 2 * f) * math.log(1 + c)) / (1 - f) ** 2 - c / ((1 + c) * (1 - f))
    cored = ours.m200_scales(1e9, c, Z, Z_SOURCE, WORLD, core_fraction=f, profile="cnfw")
    plain = ours.m200_scales(1e9, c, Z, Z_SOURCE, WORLD)
    assert relative(plain.kappa_s / cored.kappa_s, right / (math.log(1 + c) - c / (1 + c))) < 1e-13
    assert 2.1 < right / usual < 2.3


def test_many_haloes_and_derivatives():
    mass, c, f = jnp.array([1e7, 1e9]), jnp.array([20.0, 12.0]), jnp.array([0.0, 0.2])

    def build(mass, c, f, z):
        return ours.from_m200_concentration(jnp.zeros((2, 2)), mass, c, z, Z_SOURCE, WORLD, core_fraction=f, tau=2 * c)

    halos = jax.jit(build)(mass, c, f, Z)
    assert len(halos) == 2
    np.testing.assert_allclose(halos.shape, jnp.stack([f, 2 * c], -1), rtol=1e-14)

    def summary(mass, c, f, z):
        halos = build(mass, c, f, z)
        return (halos.amplitude * halos.scale**2).sum() * 1e3

    point = (mass, c, jnp.array([0.1, 0.2]), Z)
    compiled, gradient = jax.jit(summary), jax.jit(jax.grad(summary, range(4)))
    slopes = gradient(*point)
    for i, slope in enumerate(slopes):
        step = 1e-3 * point[i]
        ends = [compiled(*(x + s * step * (k == i) for k, x in enumerate(point))) for s in (-2, -1, 1, 2)]
        expected = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / 12
        assert relative((slope * step).sum(), float(expected)) < 1e-9
    assert all(jnp.isfinite(x).all() for x in gradient(mass, c, f, Z))


def test_float32():
    for profile, shape in CASES:
        shape = {name: jnp.float32(value) for name, value in shape.items()}
        arguments = (jnp.float32(x) for x in (1e9, 15.0, Z, Z_SOURCE))
        halos = ours.from_m200_concentration(jnp.asarray(CENTRE, jnp.float32), *arguments, WORLD, **shape)
        exact = ours.from_m200_concentration(CENTRE, 1e9, 15.0, Z, Z_SOURCE, WORLD, profile=profile, **shape)
        assert halos.dtype == jnp.float32
        assert relative(halos.amplitude[0], float(exact.amplitude[0])) < 5e-6
        assert relative(halos.scale[0], float(exact.scale[0])) < 5e-6


def test_negative_sheet():
    """The sheet takes out the mass that was put in: N haloes of total mass M on an area."""
    masses, number = jnp.geomspace(1e6, 1e9, 12), jnp.geomspace(1e3, 1, 12) / 400
    total = ours.total_mass(masses, 15.0, 3.0)
    sheet = ours.negative_sheet(total, number, Z, Z_SOURCE, WORLD)
    area = 1 / float(distances.arcsec_per_kpc(WORLD, Z)) ** 2  # kpc² per arcsec²
    surface = float((total * number).sum()) / area
    assert relative(sheet, -surface / float(distances.critical_surface_density(WORLD, Z, Z_SOURCE))) < 1e-13
    halos = ours.from_m200_concentration(jnp.zeros((12, 2)), masses, 15.0, Z, Z_SOURCE, WORLD, tau=3.0)
    # Far outside a halo deflects as a point of its mass: A g R² = M/(π Σ_cr).
    far = halos.amplitude * halos.scale**2 * 4 * np.array([_tnfw_everything(3.0)] * 12)
    assert relative((far * number).sum() * math.pi, -float(sheet)) < 1e-13


def _tnfw_everything(tau):
    return tau**2 / (tau**2 + 1) ** 2 * ((tau**2 - 1) * math.log(tau) + math.pi * tau - (tau**2 + 1))


def equation_seven(c, z, spread, spectrum):
    """Left minus right of equation (7) of Ludlow et al. (2016), with scipy."""
    ratio = special.gammainc(50 / 3, 100 / 9) / special.gammainc(50 / 3, 100 / 9 * c**0.18)
    m, dark = spectrum.Om0, 1 - spectrum.Om0
    formed = ((200 * c**3 * ratio / 650 * (m * (1 + z) ** 3 + dark)) - dark) / m
    rate = lambda a: math.sqrt(m / a + dark * a**2)  # noqa: E731
    growth = lambda a: rate(a) / a * integrate.quad(lambda x: rate(x) ** -3, 0, a, epsabs=0, epsrel=1e-12)[0]  # noqa: E731
    later = growth(1) / growth(formed ** (-1 / 3)) - growth(1) / growth(1 / (1 + z))
    return ratio - special.erfc(1.68647019984 * later / spread)


def variance(radius, spectrum):
    """σ² by the trapezoidal rule in ln k, normalised at 8 Mpc/h."""

    def integral(radius):
        ln_k = np.linspace(-14, math.log(2000 / radius), 400001)
        k = np.exp(ln_k)
        x = k * radius
        window = np.where(
            x < 0.02, 1 - x**2 / 10 + x**4 / 280, 3 * (np.sin(x) - x * np.cos(x)) / np.maximum(x, 0.01) ** 3
        )
        f = k ** (3 + spectrum.ns) * np.asarray(relation.transfer(spectrum, k)) ** 2 * window**2
        return (f.sum() - (f[0] + f[-1]) / 2) * (ln_k[1] - ln_k[0])

    return spectrum.sigma8**2 * integral(radius) / integral(8.0)


@pytest.mark.parametrize("mass", [1e5, 1e9, 1e14])
def test_concentration_solves_its_equation(mass):
    spectrum = relation.PLANCK15_SPECTRUM
    density = 4 * math.pi / 3 * 2.77536627e11 * spectrum.Om0
    low, high = (variance((f * mass * spectrum.h / density) ** (1 / 3), spectrum) for f in (1, 0.02))
    spread = math.sqrt(2 * (high - low))
    for z in (0.0, 0.5, 3.0, 10.0):
        c = float(ours.ludlow16_concentration(mass, z))
        step = 1e-7 * c
        assert equation_seven(c - step, z, spread, spectrum) < 0 < equation_seven(c + step, z, spread, spectrum)


def test_transfer_function():
    """Against values of another implementation of Eisenstein & Hu (1998), colossus's as autogalaxy has it."""
    k = [1e-4, 0.02, 0.1, 0.3, 10.0]
    values = [0.999906262109789, 0.5822951863867157, 0.1308960097339127, 0.030342946519826483, 8.965071453182074e-05]
    np.testing.assert_allclose(relation.transfer(relation.PLANCK15_SPECTRUM, np.array(k)), values, rtol=1e-13)


def test_concentration_against_autogalaxy():
    """It solves the same equation on a grid; with a fine grid it comes to the same result."""
    theirs = pytest.importorskip("autogalaxy.profiles.mass.dark.ludlow16")
    for mass in (1e9, 1e10, 1e12, 1e14):
        for z in (0.0, 0.5, 2.0):
            ours_ = float(ours.ludlow16_concentration(mass, z))
            h = theirs.PLANCK15_COSMOLOGY["h"]
            coarse = theirs.ludlow16_concentration(mass * h, z, **theirs.PLANCK15_COSMOLOGY)
            fine = theirs.ludlow16_concentration(
                mass * h, z, **theirs.PLANCK15_COSMOLOGY, c_array_size=4001, sigma_nk=20000, growth_nz=40000
            )
            assert relative(coarse, ours_) < 1e-3
            assert relative(fine, ours_) < 1e-6


def test_concentration_transforms():
    mass, z, sigma = jnp.geomspace(1e6, 1e14, 5), jnp.array([0.1, 1.0])[:, None], 0.7
    value = ours.ludlow16_concentration(mass, z, sigma)
    assert value.shape == (2, 5)
    np.testing.assert_allclose(value, ours.ludlow16_concentration(mass, z) * 10 ** (0.15 * sigma), rtol=1e-14)
    compiled = jax.jit(jax.vmap(jax.vmap(lambda m, z: ours.ludlow16_concentration(m, z, sigma), (0, None)), (None, 0)))
    np.testing.assert_allclose(compiled(mass, z[:, 0]), value, rtol=1e-12)
    assert jnp.isnan(ours.ludlow16_concentration(jnp.array([jnp.nan, 1e-9, 1e21, -1.0, 0.0]), z)).all()
    single = ours.ludlow16_concentration(mass.astype(jnp.float32), z.astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, ours.ludlow16_concentration(mass, z), rtol=2e-5)


def test_concentration_derivatives():
    """In the mass, the redshift, the scatter and each parameter of the spectrum."""
    spectrum = relation.PLANCK15_SPECTRUM

    def function(ln_mass, z, sigma, *parameters):
        return ours.ludlow16_concentration(jnp.exp(ln_mass), z, sigma, relation.PowerSpectrum(*parameters))

    values = [spectrum.h, spectrum.Om0, spectrum.Ob0, spectrum.Tcmb0, spectrum.sigma8, spectrum.ns]
    point = [math.log(3e8), 0.5, 0.3, *values]
    compiled = jax.jit(jax.value_and_grad(function, range(9)))
    _, slopes = compiled(*point)
    for i, slope in enumerate(slopes):
        step = 1e-3 * point[i]
        ends = [compiled(*(x + s * step * (k == i) for k, x in enumerate(point)))[0] for s in (-2, -1, 1, 2)]
        expected = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * step)
        assert relative(slope, float(expected)) < 1e-6


def test_second_derivative_of_the_concentration():
    slope_and_curvature = jax.jit(jax.value_and_grad(jax.grad(lambda x: ours.ludlow16_concentration(jnp.exp(x), 0.5))))
    at = math.log(3e8)
    _, curvature = slope_and_curvature(at)
    above, below = (slope_and_curvature(at + step)[0] for step in (1e-3, -1e-3))
    assert relative(curvature, float(above - below) / 2e-3) < 1e-4


def test_ludlow_haloes():
    mass = jnp.array([1e8, 1e10])
    halos = ours.from_m200_ludlow16(jnp.zeros((2, 2)), mass, Z, Z_SOURCE, WORLD, scatter_sigma=1.0, truncation_r200=2.0)
    c = ours.ludlow16_concentration(mass, Z, 1.0)
    np.testing.assert_allclose(halos.shape[:, 0], 2 * c, rtol=1e-13)
    scales = ours.m200_scales(mass, c, Z, Z_SOURCE, WORLD)
    np.testing.assert_allclose(halos.amplitude, scales.kappa_s, rtol=1e-13)


def test_ludlow_haloes_against_autogalaxy():
    """Its constants differ by 3e-5 and its concentration by 1e-3; given these, the scales are the same."""
    util = pytest.importorskip("autogalaxy.profiles.mass.dark.mcr_util")
    from autogalaxy.cosmology.model import Planck15

    world = distances.from_astropy(Planck15())
    for mass in (1e8, 1e10):
        kappa_s, scale, r200 = util.kappa_s_and_scale_radius_for_ludlow(mass, 0.5, Z, Z_SOURCE)
        c, *_ = util.ludlow16_cosmology(mass, Z, Z_SOURCE)
        c = float(c) * 10 ** (0.15 * 0.5)
        ours_ = ours.m200_scales(mass, c, Z, Z_SOURCE, world)
        assert relative(ours_.kappa_s, float(kappa_s)) < 5e-5
        assert relative(ours_.scale_radius, float(scale)) < 5e-6
        assert relative(ours_.r200 / distances.arcsec_per_kpc(world, Z), float(r200)) < 5e-6


def test_bad_input():
    arguments = (CENTRE, 1e9, 15.0, Z, Z_SOURCE, WORLD)
    with pytest.raises(ValueError, match="truncation_r200: got it together with tau"):
        ours.from_m200_concentration(*arguments, tau=2.0, truncation_r200=2.0)
    with pytest.raises(ValueError, match="profile: got 'nfw' with the shape arguments of 'tnfw'"):
        ours.from_m200_concentration(*arguments, tau=2.0, profile="nfw")
    with pytest.raises(ValueError, match="mass_of: got 'all'"):
        ours.from_m200_concentration(*arguments, mass_of="all")
    with pytest.raises(ValueError, match="mass_of: got 'all'"):
        ours.total_mass(1e9, 15.0, 2.0, mass_of="all")
    with pytest.raises(ValueError, match="profile: got 'king'"):
        ours.m200_scales(1e9, 15.0, Z, Z_SOURCE, WORLD, profile="king")
    with pytest.raises(ValueError, match="centre: got shape"):
        ours.from_m200_concentration(CENTRE[0], 1e9, 15.0, Z, Z_SOURCE, WORLD)


def test_astropy_cosmology_and_redshifts_in_the_wrong_order():
    astropy_cosmology = pytest.importorskip("astropy.cosmology")
    theirs = ours.m200_scales(1e9, 10.0, 0.5, 2.0, astropy_cosmology.FlatLambdaCDM(70, 0.3))
    expected = ours.m200_scales(1e9, 10.0, 0.5, 2.0, distances.flat_lambda_cdm(70.0, 0.3))
    np.testing.assert_allclose(theirs.kappa_s, expected.kappa_s, rtol=1e-9)
    with pytest.raises(ValueError, match=r"redshift_source: got 0.3, expected more than the redshift of the halo, 0.5"):
        ours.m200_scales(1e9, 10.0, 0.5, 0.3, distances.flat_lambda_cdm(70.0, 0.3))

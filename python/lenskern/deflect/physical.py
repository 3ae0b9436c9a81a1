"""Haloes from masses and concentrations, and the mass sheets that make up for them."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import cosmology as _cosmology
from . import halos as _halos
from .concentration import PLANCK15_SPECTRUM, PowerSpectrum, ludlow16_concentration

__all__ = [
    "PLANCK15_SPECTRUM",
    "HaloScales",
    "PowerSpectrum",
    "from_m200_concentration",
    "from_m200_ludlow16",
    "ludlow16_concentration",
    "m200_scales",
    "negative_sheet",
    "total_mass",
]

# Panels of ln y below the edge of the integral: y³ρ falls as y² or faster, so that 1e-17 is left out even where the
# mass ends at τ = 0.01. Poles are at least π/2 off the axis.
_PANELS, _WIDTH = 12, 2.2
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)


class HaloScales(NamedTuple):
    """Scales of a halo on the sky.

    Attributes
    ----------
    kappa_s : array
        ρ_s r_s / Σ_cr.
    scale_radius : array
        r_s in arcsec.
    r200 : array
        Radius of M₂₀₀ in arcsec.
    """

    kappa_s: jax.Array
    scale_radius: jax.Array
    r200: jax.Array


def m200_scales(
    mass, concentration, redshift, redshift_source, cosmology, *, tau=None, core_fraction=None, profile="nfw"
):
    """Scales of a halo that encloses M₂₀₀ inside r₂₀₀, where its mean density is 200 ρ_c(z).

    Parameters
    ----------
    mass : array
        M₂₀₀ in M_sun.
    concentration : array
        c = r₂₀₀/r_s.
    redshift, redshift_source : arrays
        Of the halo and of the source behind it; traced ones in the wrong order give a kappa_s below 0.
    cosmology : Cosmology or astropy.cosmology.FLRW
    tau, core_fraction : arrays, optional
        r_t/r_s and r_c/r_s, for the profiles that have them.
    profile : {"nfw", "tnfw", "cnfw", "tnfwc"}
        The profile that encloses M₂₀₀.

    Returns
    -------
    HaloScales
        Of the shape that the arguments broadcast to.
    """
    cosmology = _world(cosmology, redshift, redshift_source)
    return _m200_scales(mass, concentration, redshift, redshift_source, cosmology, tau, core_fraction, profile)


@partial(jax.jit, static_argnames="profile")  # operation by operation it takes seconds
def _m200_scales(mass, concentration, redshift, redshift_source, cosmology, tau, core_fraction, profile):
    density = _cosmology.critical_density(cosmology, redshift)
    r200 = jnp.cbrt(mass / (200 * density * (4 * math.pi / 3)))
    scale = r200 / concentration
    # ρ_s = M₂₀₀/(4π r_s³ μ) = (200/3) ρ_c c³/μ
    mu = _enclosed(profile, concentration, tau, core_fraction)
    rho_s = 200 / 3 * density * concentration**3 / mu
    kappa_s = rho_s * scale / _cosmology.critical_surface_density(cosmology, redshift, redshift_source)
    angle = _cosmology.arcsec_per_kpc(cosmology, redshift)
    return HaloScales(*jnp.broadcast_arrays(kappa_s, scale * angle, r200 * angle))


def from_m200_concentration(
    centre,
    mass,
    concentration,
    redshift,
    redshift_source,
    cosmology,
    *,
    tau=None,
    truncation_radius=None,
    truncation_r200=None,
    core_fraction=None,
    profile=None,
    mass_of=None,
):
    """Haloes from M₂₀₀ and the concentration.

    The shape arguments choose the profile: none is NFW, a truncation TNFW, a core cNFW, and both TNFWC.

    Parameters
    ----------
    centre : (N, 2) array
        (y, x) in arcsec.
    mass, concentration, redshift, redshift_source, cosmology
        As for `m200_scales`; numbers or (N,) arrays.
    tau, truncation_radius, truncation_r200 : arrays, optional
        The truncation radius, in units of r_s, in arcsec, or in units of r₂₀₀: one of them. autogalaxy's
        NFWTruncatedMCRLudlowSph means truncation_r200 = 2, but takes kpc for arcsec.
    core_fraction : array, optional
        Core radius over r_s.
    profile : {"nfw", "tnfw", "cnfw", "tnfwc"}, optional
        To be sure of it.
    mass_of : {"halo", "nfw"}, optional
        Whose mass M₂₀₀ is: that of the halo itself, or of the NFW profile it is made from, which has the same ρ_s. The
        default is "nfw" for TNFW, as is the custom for tidally truncated haloes, and "halo" for the others.

    Returns
    -------
    Halos

    Raises
    ------
    ValueError
        For shape arguments that contradict each other, or arguments of the wrong shape or value.
    """
    given = {"tau": tau, "truncation_radius": truncation_radius, "truncation_r200": truncation_r200}
    given = [name for name, value in given.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{given[1]}: got it together with {given[0]}, expected one of them")
    kind = {(0, 0): "nfw", (1, 0): "tnfw", (0, 1): "cnfw", (1, 1): "tnfwc"}[len(given), int(core_fraction is not None)]
    if profile not in (None, kind):
        raise ValueError(f"profile: got {profile!r} with the shape arguments of {kind!r}")
    mass_of = ("nfw" if kind == "tnfw" else "halo") if mass_of is None else mass_of
    if mass_of not in ("halo", "nfw"):
        raise ValueError(f"mass_of: got {mass_of!r}, expected 'halo' or 'nfw'")
    world = redshift, redshift_source, cosmology
    plain = m200_scales(mass, concentration, *world)
    if truncation_radius is not None:
        tau = truncation_radius / plain.scale_radius
    if truncation_r200 is not None:
        tau = truncation_r200 * concentration
    scales = plain
    if mass_of == "halo":
        scales = m200_scales(mass, concentration, *world, tau=tau, core_fraction=core_fraction, profile=kind)
    lengths = [x * scales.scale_radius for x in (core_fraction, tau) if x is not None]
    dtype = getattr(centre, "dtype", None) or jnp.result_type(0.0, *scales)
    arguments = (jnp.asarray(x, dtype) for x in (centre, scales.kappa_s, scales.scale_radius, *lengths))
    return getattr(_halos, kind)(*arguments)


def from_m200_ludlow16(
    centre, mass, redshift, redshift_source, cosmology, *, scatter_sigma=0.0, spectrum=PLANCK15_SPECTRUM, **shape
):
    """Haloes from M₂₀₀ alone, with the concentration of Ludlow et al. (2016).

    Parameters
    ----------
    centre, mass, redshift, redshift_source, cosmology
        As for `from_m200_concentration`.
    scatter_sigma, spectrum
        As for `ludlow16_concentration`.
    **shape
        The shape arguments of `from_m200_concentration`.

    Returns
    -------
    Halos

    Raises
    ------
    ValueError
        As `from_m200_concentration`.
    """
    concentration = ludlow16_concentration(mass, redshift, scatter_sigma, spectrum)
    return from_m200_concentration(centre, mass, concentration, redshift, redshift_source, cosmology, **shape)


def total_mass(mass, concentration, tau, core_fraction=None, mass_of=None):
    """All the mass of a truncated halo, in the unit of M₂₀₀.

    Without a core by the closed form of Baltz, Marshall & Oguri (2009),
    m(∞) = τ²/(τ²+1)² [(τ² − 1) ln τ + π τ − (τ² + 1)].

    Parameters
    ----------
    mass, concentration, tau : arrays
        M₂₀₀, r₂₀₀/r_s and r_t/r_s; broadcast.
    core_fraction : array, optional
        r_c/r_s, for TNFWC.
    mass_of : {"halo", "nfw"}, optional
        As for `from_m200_concentration`.

    Returns
    -------
    array

    Raises
    ------
    ValueError
        For another mass_of.
    """
    kind = "tnfw" if core_fraction is None else "tnfwc"
    mass_of = ("nfw" if kind == "tnfw" else "halo") if mass_of is None else mass_of
    if mass_of not in ("halo", "nfw"):
        raise ValueError(f"mass_of: got {mass_of!r}, expected 'halo' or 'nfw'")
    enclosed = _enclosed(kind if mass_of == "halo" else "nfw", concentration, tau, core_fraction)
    tau = jnp.asarray(tau, jnp.result_type(tau, 0.0))
    if core_fraction is None:
        t2 = tau**2
        everything = t2 / (t2 + 1) ** 2 * ((t2 - 1) * jnp.log(tau) + math.pi * tau - (t2 + 1))
    else:
        # ρ ∝ y⁻⁵ this far out, so that 1e-16 is left beyond.
        everything = _quadrature(_core_density, 1e8 * jnp.maximum(tau, 1.0), core_fraction, tau, panels=2 * _PANELS + 2)
    return mass * everything / enclosed


def negative_sheet(total_mass, number, redshift, redshift_source, cosmology):
    """Convergence of the mass sheet that makes up for a population of haloes: minus their mean convergence.

    Parameters
    ----------
    total_mass : (..., K) array
        Mass of a halo in M_sun, for each of K bins of the mass function; see `total_mass`.
    number : (..., K) array
        Haloes in the bin per arcsec².
    redshift, redshift_source, cosmology
        As for `m200_scales`.

    Returns
    -------
    (...) array
        Not above 0; for `lenskern.deflect.mass_sheet`.
    """
    cosmology = _world(cosmology, redshift, redshift_source)
    density = _cosmology.critical_surface_density(cosmology, redshift, redshift_source, unit="arcsec")
    return -(total_mass * number).sum(-1) / density


def _world(cosmology, redshift, redshift_source):
    """The cosmology as one of ours; refuses redshifts that are known and in the wrong order."""
    known = [x for x in (redshift, redshift_source) if not isinstance(x, jax.core.Tracer)]
    if len(known) == 2 and not np.all(np.asarray(known[1]) > np.asarray(known[0])):
        raise ValueError(f"redshift_source: got {known[1]}, expected more than the redshift of the halo, {known[0]}")
    return cosmology if isinstance(cosmology, _cosmology.Cosmology) else _cosmology.from_astropy(cosmology)


def _enclosed(profile, c, tau, b):
    """μ = M(r₂₀₀)/(4π ρ_s r_s³)."""
    c = jnp.asarray(c, jnp.result_type(c, 0.0))
    match profile:
        case "nfw":
            return jnp.log1p(c) - c / (1 + c)
        case "tnfw":
            t2 = tau**2
            log = jnp.log1p(c) - jnp.log1p((c / tau) ** 2) / 2
            return t2 / (t2 + 1) ** 2 * ((t2 - 1) * log + 2 * tau * jnp.atan2(c, tau) - (t2 + 1) * c / (1 + c))
        case "cnfw":
            return _quadrature(_cusp_density, c, b, 1.0)
        case "tnfwc":
            return _quadrature(_core_density, c, b, tau)
    raise ValueError(f"profile: got {profile!r}, expected 'nfw', 'tnfw', 'cnfw' or 'tnfwc'")


def _cusp_density(y, b, tau):
    return 1 / ((y + b) * (1 + y) ** 2)


def _core_density(y, b, tau):
    return 1 / (jnp.hypot(y, b) * (1 + y**2) * (1 + (y / tau) ** 2))


@partial(jax.jit, static_argnames=("density", "panels"))
def _quadrature(density, c, b, tau, panels=_PANELS):
    """∫₀ᶜ ρ y² dy. The closed forms are 0/0 at b = 1, τ = 1 and b = τ; this has no such places."""
    dtype = jnp.result_type(c, b, tau, 0.0)
    c, b, tau = (x[..., None] for x in jnp.broadcast_arrays(*(jnp.asarray(x, dtype) for x in (c, b, tau))))
    below = _WIDTH * (np.arange(panels)[:, None] + (1 - _NODES) / 2).ravel()
    y = c * np.exp(-below).astype(dtype)
    return (y**3 * density(y, b, tau) * np.tile(_WEIGHTS * _WIDTH / 2, panels).astype(dtype)).sum(-1)

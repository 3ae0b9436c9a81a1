"""Distances and critical densities of a ΛCDM universe, traceable in the redshifts and in the parameters."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from . import universe as _universe
from .universe import Cosmology, flat_lambda_cdm, from_astropy, lambda_cdm

__all__ = [
    "Cosmology",
    "angular_diameter_distance",
    "angular_diameter_distance_between",
    "arcsec_per_kpc",
    "comoving_distance",
    "comoving_distance_between",
    "critical_density",
    "critical_surface_density",
    "expansion",
    "flat_lambda_cdm",
    "from_astropy",
    "generalised_cosine",
    "generalised_sine",
    "hubble_distance",
    "lambda_cdm",
    "spatial_curvature",
    "transverse_comoving_distance",
    "transverse_comoving_distance_between",
]

_ARCSEC_PER_RADIAN = 180 * 3600 / math.pi
# Combined here, in double precision, so that no intermediate leaves the range of float32.
_CRITICAL_DENSITY = _universe.CRITICAL_DENSITY * _universe.KPC**3 / _universe.SOLAR_MASS  # for h = 1, Msun / kpc3
# c²/(4πG) in Msun / kpc2 times Mpc
_SURFACE_DENSITY = _universe.C**2 / (4 * math.pi * _universe.G) * (_universe.KPC / _universe.SOLAR_MASS) / 1e3

# 48 nodes in ln(1 + z) leave 1e-14 for any interval up to z = 1100: the nearest zero of E² is π/3 off the real axis.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2


def expansion(cosmology, z):
    """E(z) = H(z)/H0.

    Parameters
    ----------
    cosmology : Cosmology
    z : array
        Redshift, above −1.

    Returns
    -------
    array
    """
    return jnp.sqrt(_expansion_squared(cosmology, _redshift(z)))


def hubble_distance(cosmology):
    """c/H0 in Mpc."""
    return _universe.C / 1e3 / cosmology.H0


def spatial_curvature(cosmology):
    """K = −Ω_k (H0/c)² in Mpc⁻²; above 0 for a closed universe."""
    return -cosmology.Ok0 / hubble_distance(cosmology) ** 2


def comoving_distance(cosmology, z):
    """Line-of-sight comoving distance in Mpc.

    Parameters
    ----------
    cosmology : Cosmology
    z : array
        Redshift.

    Returns
    -------
    array
        Of the shape of z; relative error below 1e-13 in float64.
    """
    return comoving_distance_between(cosmology, 0.0, z)


@jax.jit  # operation by operation it takes seconds
def comoving_distance_between(cosmology, z1, z2):
    """Line-of-sight comoving distance from z1 to z2 in Mpc; negative for z2 < z1.

    Integrated between the two, so that no digits are lost where they are close.

    Parameters
    ----------
    cosmology : Cosmology
    z1, z2 : arrays
        Redshifts, broadcast.

    Returns
    -------
    array
    """
    z1, z2 = _redshift(z1, z2), _redshift(z2, z1)
    # dz/E = (1 + z) du/E with u = ln(1 + z), in which the integrand is smooth up to the highest redshifts.
    width = jnp.log1p((z2 - z1) / (1 + z1))[..., None]
    nodes, weights = _NODES.astype(width.dtype), _WEIGHTS.astype(width.dtype)
    z = z1[..., None] + (1 + z1[..., None]) * jnp.expm1(width * nodes)
    integrand = (1 + z) * jax.lax.rsqrt(_expansion_squared(cosmology, z))
    return hubble_distance(cosmology) * (width * integrand * weights).sum(-1)


def transverse_comoving_distance(cosmology, z):
    """Transverse comoving distance in Mpc; `comoving_distance` where space is flat.

    Parameters
    ----------
    cosmology : Cosmology
    z : array
        Redshift.

    Returns
    -------
    array
    """
    return transverse_comoving_distance_between(cosmology, 0.0, z)


@jax.jit
def transverse_comoving_distance_between(cosmology, z1, z2):
    """Transverse comoving distance in Mpc at z2 as seen from z1.

    Parameters
    ----------
    cosmology : Cosmology
    z1, z2 : arrays
        Redshifts, broadcast.

    Returns
    -------
    array
    """
    return generalised_sine(spatial_curvature(cosmology), comoving_distance_between(cosmology, z1, z2))


def angular_diameter_distance(cosmology, z):
    """Angular diameter distance in Mpc.

    Parameters
    ----------
    cosmology : Cosmology
    z : array
        Redshift.

    Returns
    -------
    array
    """
    return angular_diameter_distance_between(cosmology, 0.0, z)


def angular_diameter_distance_between(cosmology, z1, z2):
    """Angular diameter distance in Mpc of an object at z2 as seen from z1.

    Parameters
    ----------
    cosmology : Cosmology
    z1, z2 : arrays
        Redshifts, broadcast.

    Returns
    -------
    array
    """
    return transverse_comoving_distance_between(cosmology, z1, z2) / (1 + _redshift(z2, z1))


def arcsec_per_kpc(cosmology, z):
    """Angle in arcsec that a transverse proper length of 1 kpc has.

    Parameters
    ----------
    cosmology : Cosmology
    z : array
        Redshift, not 0.

    Returns
    -------
    array
    """
    return _ARCSEC_PER_RADIAN / 1e3 / angular_diameter_distance(cosmology, z)


def critical_density(cosmology, z):
    """ρ_c(z) = 3 H(z)²/(8πG) in M_sun/kpc³.

    Parameters
    ----------
    cosmology : Cosmology
    z : array
        Redshift.

    Returns
    -------
    array
    """
    return _CRITICAL_DENSITY * (cosmology.H0 / 100) ** 2 * _expansion_squared(cosmology, _redshift(z))


def critical_surface_density(cosmology, z_lens, z_source, unit="kpc"):
    """Σ_cr = c² D_s/(4πG D_l D_ls).

    Parameters
    ----------
    cosmology : Cosmology
    z_lens, z_source : arrays
        Redshifts, broadcast, 0 < z_lens < z_source.
    unit : {"kpc", "arcsec"}
        M_sun per kpc² (proper, in the plane of the lens), or M_sun per arcsec².

    Returns
    -------
    array

    Raises
    ------
    ValueError
        For another unit.
    """
    if unit not in ("kpc", "arcsec"):
        raise ValueError(f"unit: got {unit!r}, expected 'kpc' or 'arcsec'")
    lens = angular_diameter_distance(cosmology, z_lens)
    source = angular_diameter_distance(cosmology, z_source)
    between = angular_diameter_distance_between(cosmology, z_lens, z_source)
    if unit == "kpc":
        return _SURFACE_DENSITY * source / (lens * between)
    return (_SURFACE_DENSITY * (1e3 / _ARCSEC_PER_RADIAN) ** 2) * source * lens / between


def generalised_sine(curvature, distance):
    """sin(√K χ)/√K, which is χ for K = 0 and sinh(√−K χ)/√−K for K < 0.

    Parameters
    ----------
    curvature : array
        K in Mpc⁻², of either sign.
    distance : array
        χ in Mpc, of either sign.

    Returns
    -------
    array
    """
    return distance * _trigonometric(curvature * distance**2, jnp.sin, jnp.sinh, 1)


def generalised_cosine(curvature, distance):
    """cos(√K χ), which is 1 for K = 0 and cosh(√−K χ) for K < 0.

    Parameters
    ----------
    curvature, distance : arrays
        As for `generalised_sine`.

    Returns
    -------
    array
    """
    return _trigonometric(curvature * distance**2, jnp.cos, jnp.cosh, 0)


def _trigonometric(s, closed, open_, odd):
    """cos √s, or sin √s/√s where odd: entire functions of s, by their series where √s has no derivative."""
    small = jnp.abs(s) < 0.05
    series = sum((-s) ** k * (1 / math.factorial(2 * k + odd)) for k in range(7, -1, -1))
    positive = jnp.sqrt(jnp.where(small | (s < 0), 1.0, s))
    negative = jnp.sqrt(jnp.where(small | (s > 0), 1.0, -s))
    far = jnp.where(s > 0, closed(positive) / positive**odd, open_(negative) / negative**odd)
    return jnp.where(small, series, far)


def _redshift(z, other=0.0):
    """z as a real array, of the common dtype with another."""
    return jnp.asarray(z, jnp.result_type(z, other, 0.0))


def _expansion_squared(cosmology, z):
    a = 1 + z
    radiation = cosmology.Or0
    for density, y in zip(cosmology.Onu0, cosmology.nu_y, strict=True):
        radiation = radiation + density * _universe.massive_neutrino_factor(y / a)
    return ((radiation * a + cosmology.Om0) * a + cosmology.Ok0) * a**2 + cosmology.Ode0

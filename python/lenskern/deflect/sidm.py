"""Haloes of self-interacting dark matter, through radial tables."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from .. import _checks
from . import halos as _halos
from . import tables as _tables
from . import universe as _universe
from .projection import chebyshev_points
from .roots import increasing_root

__all__ = [
    "collapse_fraction",
    "effective_cross_section",
    "interaction_radius",
    "isothermal_nfw",
    "isothermal_nfw_tables",
    "parametric_sidm",
    "parametric_sidm_ratios",
    "parametric_sidm_tables",
]

_GYR = 3.15576e16  # s
# cm²/g times M_sun/kpc³ times kpc is a number; times √(G M_sun/kpc³) a rate.
_DEPTH = 0.1 * _universe.SOLAR_MASS / _universe.KPC**2
_RATE = math.sqrt(_universe.G * _universe.SOLAR_MASS / _universe.KPC**3) * _GYR  # per Gyr
_SPEED = math.sqrt(_universe.G * _universe.SOLAR_MASS / _universe.KPC) / 1e3  # km/s
# Circular speed of an NFW halo at its peak, y = 2.163, in units of r_s √(4π G ρ_s).
_PEAK_SPEED = 0.46499096281742197

# One program instead of hundreds of operations, for each grid.
_compiled = partial(jax.jit, static_argnames=("x_min", "x_max", "segments", "points"))


def parametric_sidm_ratios(collapse_fraction):
    """Parameters of the parametric model over those of the collisionless halo it started from.

    Yang, Nadler, Yu & Zhong (2024, JCAP 02, 032), their fits for the profile with β = 4.

    Parameters
    ----------
    collapse_fraction : array
        Time over the time of core collapse; what is outside of 0 to 1, where the fits hold, is taken for 0 or 1.

    Returns
    -------
    density, scale, core : arrays
        ρ_s/ρ_s0, r_s/r_s0 and r_c/r_s0.
    """
    t = jnp.clip(jnp.asarray(collapse_fraction, jnp.result_type(collapse_fraction, 0.0)), 0, 1)
    log = jnp.log(t + 0.001) / math.log(0.001)
    # √t has no derivative at 0; only r_c⁴ matters, whose derivative is 0 there.
    root = jnp.where(t > 0, jnp.sqrt(jnp.where(t > 0, t, 1)), 0)
    density = 2.033 + 0.7381 * t + 7.264 * t**5 - 12.73 * t**7 + 9.915 * t**9 - 1.033 * log
    scale = 0.7178 - 0.1026 * t + 0.2474 * t**2 - 0.4079 * t**3 + 0.2822 * log
    core = 2.555 * root - 3.632 * t + 2.131 * t**2 - 1.415 * t**3 + 0.4683 * t**4
    return density, scale, core


@_compiled
def parametric_sidm_tables(collapse_fraction, truncation=None, **grid):
    """Tables of the parametric model, for the amplitude and scale radius of the collisionless halo.

    Parameters
    ----------
    collapse_fraction : (T,) array
        As for `parametric_sidm_ratios`.
    truncation : (T,) array, optional
        Tidal truncation radius r_t in units of r_s0: the density is multiplied by r_t²/(r_t² + r²).
    **grid
        Of `lenskern.deflect.tables.from_density`.

    Returns
    -------
    RadialTables
    """
    inverse = jnp.zeros_like(collapse_fraction) if truncation is None else 1 / truncation

    def density(y, fraction, inverse):
        rho, scale, core = parametric_sidm_ratios(fraction)
        cored = jnp.sqrt(jnp.hypot(y**2, core**2))
        return rho * scale / (cored * (1 + y / scale) ** 2 * (1 + (y * inverse) ** 2))

    return _tables.from_density(density, collapse_fraction, inverse, **grid)


def parametric_sidm(centre, kappa_s, scale_radius, collapse_fraction, truncation_radius=None, collapse_boost=1.0):
    """Haloes of the parametric model of Yang et al. (2024): a core that grows and then collapses.

    ρ = ρ_s r_s / [(r⁴ + r_c⁴)^¼ (1 + r/r_s)²], times r_t²/(r_t² + r²) where it is truncated.

    Parameters
    ----------
    centre : (N, 2) array
        (y, x) in arcsec.
    kappa_s, scale_radius : scalars or (N,) arrays
        ρ_s0 r_s0/Σ_cr and r_s0 in arcsec of the collisionless NFW halo.
    collapse_fraction : scalar or (N,) array
        Time over the time of core collapse of an isolated halo; see `lenskern.deflect.sidm.collapse_fraction`.
    truncation_radius : scalar or (N,) array, optional
        r_t in arcsec.
    collapse_boost : scalar or (N,) array
        How many times faster the halo collapses, as tidally stripped subhaloes do (Nishikawa et al. 2020).

    Returns
    -------
    Halos
        Each with a table of its own, or one for all where the parameters of the tables are scalars.

    Raises
    ------
    ValueError
        For an argument of the wrong shape, dtype or, where it is known at trace time, value.
    """
    dtype = _dtype(centre)
    parameters = [jnp.asarray(collapse_fraction, dtype) * jnp.asarray(collapse_boost, dtype)]
    _checks.known_values("collapse_fraction", parameters[0], length=False)
    if truncation_radius is not None:
        radius = jnp.asarray(truncation_radius, dtype)
        _checks.known_values("truncation_radius", radius, length=True)
        parameters.append(radius / jnp.asarray(scale_radius, dtype))
    tables = parametric_sidm_tables(*_rows("collapse_fraction", parameters, centre))
    return _halos.from_table(centre, kappa_s, scale_radius, tables)


@_compiled
def isothermal_nfw_tables(interaction_radius, truncation=None, **grid):
    """Tables of NFW haloes with an isothermal core, for radii in units of r₁ and the amplitude κ_s r₁/r_s.

    The bend of the density at r₁ is at a boundary of segments: the error is 2e-8 just inside it and 1e-13 elsewhere.

    Parameters
    ----------
    interaction_radius : (T,) array
        r₁/r_s; above 0 and below 3.97, beyond which there is no isothermal core of the mass and density at r₁.
    truncation : (T,) array, optional
        Tidal truncation radius r_t in units of r_s: the density is multiplied by r_t²/(r_t² + r²).
    **grid
        Of `lenskern.deflect.tables.from_density`.

    Returns
    -------
    RadialTables
        NaN where there is no isothermal core.
    """
    y1 = jnp.asarray(interaction_radius, jnp.result_type(interaction_radius, 0.0))
    x1 = _matching_radius(y1)
    inverse = jnp.zeros_like(y1) if truncation is None else y1 / truncation

    def density(y, y1, x1, inverse):
        inner, outer = jnp.minimum(y, 1), jnp.maximum(y, 1)
        potential, _ = _isothermal((x1 * inner) ** 2)
        edge, _ = _isothermal(x1**2)
        # Each factor is constant where the other holds; at y = 1 they meet.
        return jnp.exp(edge - potential) / (outer * y1 * (1 + outer * y1) ** 2 * (1 + (y * inverse) ** 2))

    return _tables.from_density(density, y1, x1, inverse, **grid)


def isothermal_nfw(centre, kappa_s, scale_radius, interaction_radius, truncation_radius=None):
    """NFW haloes with an isothermal core inside r₁ (Kaplinghat, Tulin & Yu 2016).

    Inside r₁, where a particle has scattered about once, ρ = ρ_0 exp(−h) with the isothermal solution h of the Jeans
    and Poisson equations that is regular at the centre; its density and enclosed mass at r₁ are those of the NFW
    profile that holds outside. Of the two solutions it is that of the lower central density.

    Parameters
    ----------
    centre : (N, 2) array
        (y, x) in arcsec.
    kappa_s, scale_radius : scalars or (N,) arrays
        Those of the NFW halo, as for `lenskern.deflect.nfw`.
    interaction_radius : scalar or (N,) array
        r₁ in arcsec, above 0 and below 3.97 r_s: there is no such core for a larger one, and the fields of all haloes
        are NaN.
    truncation_radius : scalar or (N,) array, optional
        r_t in arcsec.

    Returns
    -------
    Halos
        Each with a table of its own, which ends at 1e4 r₁: all the mass is inside.

    Raises
    ------
    ValueError
        For an argument of the wrong shape, dtype or, where it is known at trace time, value.
    """
    dtype = _dtype(centre)
    unit = jnp.asarray(scale_radius, dtype)
    lengths = []
    for name, radius in (("interaction_radius", interaction_radius), ("truncation_radius", truncation_radius)):
        if radius is not None:
            _checks.known_values(name, jnp.asarray(radius, dtype), length=True)
            lengths.append(jnp.asarray(radius, dtype) / unit)
    tables = isothermal_nfw_tables(*_rows("interaction_radius", lengths, centre))
    n = jnp.shape(centre)[0]
    amplitude = jnp.broadcast_to(jnp.asarray(kappa_s, dtype) * lengths[0], (n,))
    return _halos.from_table(centre, amplitude, jnp.broadcast_to(unit * lengths[0], (n,)), tables)


def collapse_fraction(rho_s, scale_radius, cross_section, age, calibration=0.75):
    """Age over the time of core collapse, t_c = (150/C) / [(σ/m) ρ_s r_s √(4π G ρ_s)] (Essig et al. 2019).

    Parameters
    ----------
    rho_s : array
        Of the collisionless NFW halo, in M_sun/kpc³.
    scale_radius : array
        kpc.
    cross_section : array
        Effective σ/m in cm²/g; see `effective_cross_section`.
    age : array
        Gyr.
    calibration : float
        C.

    Returns
    -------
    array
    """
    rate = _RATE * jnp.sqrt(4 * math.pi * rho_s)
    return age * calibration / 150 * (_DEPTH * cross_section * rho_s * scale_radius) * rate


def effective_cross_section(rho_s, scale_radius, cross_section, exponent, reference_speed):
    """σ/m of a halo for a cross section ∝ v^−a: ⟨σ v⁵⟩/⟨v⁵⟩ (Yang & Yu 2022; Outmezguine et al. 2023).

    The mean is over relative speeds ∝ v² exp(−v²/4ν²) with ν = 0.64 V_max of the collisionless halo.

    Parameters
    ----------
    rho_s, scale_radius
        As for `collapse_fraction`.
    cross_section : array
        σ/m in cm²/g at the reference speed.
    exponent : array
        a, below 8.
    reference_speed : array
        km/s.

    Returns
    -------
    array
        cm²/g.
    """
    speed = 2 * 0.64 * _PEAK_SPEED * _SPEED * scale_radius * jnp.sqrt(4 * math.pi * rho_s)
    mean = jnp.exp(gammaln(4 - jnp.asarray(exponent) / 2)) / 6
    return cross_section * (reference_speed / speed) ** exponent * jnp.where(jnp.asarray(exponent) < 8, mean, jnp.nan)


@jax.jit
def interaction_radius(rho_s, scale_radius, cross_section, age):
    """r₁ at which a particle of an NFW halo has scattered once, (σ/m) ρ v t = 1.

    v is the circular speed at r₁, as in autogalaxy's KaplinghatCoredNFWMCRLudlowSph.

    Parameters
    ----------
    rho_s, scale_radius, cross_section, age
        As for `collapse_fraction`.

    Returns
    -------
    array
        kpc; NaN where it is not between 1e-12 and 1e3 r_s.
    """
    scatterings = _DEPTH * cross_section * rho_s * scale_radius * age * _RATE * jnp.sqrt(4 * math.pi * rho_s)

    def excess(ln_y):
        y = jnp.exp(ln_y)
        series = y**2 * (0.5 - y * (2 / 3 - y * (0.75 - y * (0.8 - y * 5 / 6))))
        mass = jnp.where(y < 2e-3, series, jnp.log1p(y) - y / (1 + y))
        return 2 * jnp.log(y * (1 + y) ** 2 / scatterings) - jnp.log(mass / y)

    edge = jnp.zeros_like(scatterings)
    ln_y = increasing_root(excess, edge + math.log(1e-12), edge + math.log(1e3))
    return jnp.exp(ln_y) * scale_radius


def _dtype(centre):
    return getattr(centre, "dtype", None) or jnp.result_type(0.0)


def _rows(name, parameters, centre):
    """The parameters of the tables: of one length, 1 or N."""
    shape = jnp.broadcast_shapes((1,), *(x.shape for x in parameters))
    if len(shape) > 1 or shape[0] not in (1, jnp.shape(centre)[0]):
        raise ValueError(f"{name}: got parameters of shape {shape}, expected () or ({jnp.shape(centre)[0]},)")
    return [jnp.broadcast_to(x, shape) for x in parameters]


# The isothermal sphere: h(w), w = x², of 4 w h'' + 6 h' = exp(−h), h(0) = 0, up to the largest mass at a given density
# (w = 508.24), beyond which the solutions are unstable. A polynomial in ln(1 + w/6), by collocation.
_W_LAST, _W_SCALE, _DEGREE = 508.1, 6.0, 30


def _solve_isothermal():
    """Chebyshev coefficients of h on 0 < w < _W_LAST."""
    chebyshev = np.polynomial.chebyshev
    t, half = chebyshev_points(_DEGREE), math.log1p(_W_LAST / _W_SCALE) / 2
    w = _W_SCALE * np.expm1(half * (t + 1))
    unit = np.eye(_DEGREE)
    value = np.stack([chebyshev.chebval(t, e) for e in unit], -1)
    first = np.stack([chebyshev.chebval(t, chebyshev.chebder(e)) for e in unit], -1) / half
    second = np.stack([chebyshev.chebval(t, chebyshev.chebder(e, 2)) for e in unit], -1) / half**2
    rate = (w + _W_SCALE)[:, None]
    operator = 4 * w[:, None] * (second - first) / rate**2 + 6 * first / rate
    a = np.linalg.lstsq(value, 1.5 * np.log1p(w / 9), rcond=None)[0]
    for _ in range(8):
        density = np.exp(-value @ a)
        jacobian, residual = operator + density[:, None] * value, operator @ a - density
        # h(0) = 0 in place of the equation at the last point.
        jacobian[0] = (-1.0) ** np.arange(_DEGREE)
        residual[0] = jacobian[0] @ a
        a = a - np.linalg.solve(jacobian, residual)
    return a


def _isothermal(w):
    """h and h' of the isothermal sphere at w = x² (clipped to the range)."""
    half = math.log1p(_W_LAST / _W_SCALE) / 2
    coefficients = _solve_isothermal()
    slopes = np.polynomial.chebyshev.chebder(coefficients) / half
    t = jnp.log1p(jnp.clip(w, 0, _W_LAST) / _W_SCALE) / half - 1

    def total(c):
        b1, b2 = jnp.zeros_like(t), jnp.zeros_like(t)
        for k in range(len(c) - 1, 0, -1):
            b1, b2 = float(c[k]) + 2 * t * b1 - b2, b1
        return float(c[0]) + t * b1 - b2

    return total(coefficients), total(slopes) / (w + _W_SCALE)


@jax.jit
def _matching_radius(y1):
    """x₁ of the isothermal sphere with the mass and density of the NFW profile at y₁ = r₁/r_s."""
    # M/(4π ρ r³): (ln(1 + y) − y/(1 + y)) (1 + y)²/y² there, 2 h' exp(h) here; it grows with the radius on both sides.
    series = 0.5 + y1 * (1 / 3 - y1 * (1 / 12 - y1 * (1 / 30 - y1 / 60)))
    safe = jnp.where(y1 < 0.005, 1, y1)
    target = jnp.where(y1 < 0.005, series, (jnp.log1p(safe) * (1 + safe) - safe) * (1 + safe) / safe**2)

    def excess(w):
        h, slope = _isothermal(w)
        return jnp.log(2 * slope) + h - jnp.log(target)

    w = increasing_root(excess, jnp.full_like(y1, 1.0), jnp.full_like(y1, _W_LAST))
    return jnp.sqrt(w)

"""Mass-concentration relation of Ludlow et al. (2016), traceable."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfc

from .projection import chebyshev_points, to_coefficients
from .roots import increasing_root

__all__ = ["PLANCK15_SPECTRUM", "PowerSpectrum", "ludlow16_concentration", "mean_density", "rms_fluctuation"]

# Ludlow et al. (2016): the mass inside r_s has assembled when progenitors above a fraction f of the final mass hold it,
# at a critical density of 1/C of its mean density, for an Einasto profile with the index α.
_F, _C, _ALPHA = 0.02, 650.0, 0.18
_COLLAPSE = 1.68647019984  # (3/20) (12π)^(2/3)
_SCATTER_DEX = 0.15
_CRITICAL_DENSITY = 2.77536627e11  # h² Msun / Mpc3, as the codes in use have it

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2

# Segments of equal length in ln k and ln R; 32 points follow the baryon oscillations where they matter.
_STEP = 0.4
_LN_K, _K_SEGMENTS, _K_POINTS = -14.0, 84, 32
_LN_R, _R_SEGMENTS, _R_POINTS = -15.2, 52, 12

# kR up to which the window is followed; what its oscillations beyond would add is 1e-11 of σ².
_LAST = 1000.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PowerSpectrum:
    """Parameters of the linear power spectrum today, and of the flat ΛCDM universe it grows in. A pytree of numbers.

    Attributes
    ----------
    h : float
        H0 in 100 km/s/Mpc.
    Om0, Ob0 : float
        Densities of all matter and of baryons, in units of the critical density.
    Tcmb0 : float
        K.
    sigma8 : float
        rms fluctuation in spheres of 8 Mpc/h.
    ns : float
        Spectral index.
    """

    h: float
    Om0: float
    Ob0: float
    Tcmb0: float
    sigma8: float
    ns: float


# Planck Collaboration XIII (2016), table 4, last column: what autogalaxy takes for this relation.
PLANCK15_SPECTRUM = PowerSpectrum(h=0.6774, Om0=0.3089, Ob0=0.0486, Tcmb0=2.7255, sigma8=0.8159, ns=0.9667)


def ludlow16_concentration(mass, redshift, scatter_sigma=0.0, spectrum=PLANCK15_SPECTRUM):
    """c₂₀₀ of a halo by equations (6) and (7) of Ludlow et al. (2016, MNRAS 460, 1214).

    The relation of autogalaxy's ...MCRLudlow profiles and of colossus, here solved to 1e-8. They take it from a grid of
    200 concentrations, and autogalaxy cuts the power spectrum off at 1000 h/Mpc: c is larger by up to 1e-3 there, and
    smaller by 0.4% at 1e6 M_sun.

    Parameters
    ----------
    mass : array
        M₂₀₀ in M_sun, between 1e-6 and 1e18; NaN where it is outside of the range of the power spectrum.
    redshift : array
        Of the halo, at least 0.
    scatter_sigma : array
        Deviation from the median in units of its scatter of 0.15 dex: c = c_median 10^(0.15 scatter_sigma).
    spectrum : PowerSpectrum

    Returns
    -------
    array
        Of the shape that the arguments broadcast to.

    Examples
    --------
    >>> from lenskern.deflect import concentration
    >>> print(f"{concentration.ludlow16_concentration(1e9, 0.5):.2f}")
    12.03
    """
    dtype = jnp.result_type(mass, redshift, scatter_sigma, 0.0)
    return _ludlow16(*(jnp.asarray(x, dtype) for x in (mass, redshift, scatter_sigma)), spectrum)


@jax.jit
def _ludlow16(mass, redshift, scatter_sigma, spectrum):
    dtype = mass.dtype
    table = _ln_variance_table(spectrum, dtype)
    ln_r = _ln_lagrangian_radius(mass, spectrum)
    variance = [jnp.exp(_interpolate(table, ln_r + s)) for s in (math.log(_F) / 3, 0.0)]
    spread = jnp.sqrt(2 * (variance[0] - variance[1]))
    shape = jnp.broadcast_shapes(spread.shape, redshift.shape)
    spread, redshift = jnp.broadcast_to(spread, shape), jnp.broadcast_to(redshift, shape)
    dark = (1 - spectrum.Om0) / spectrum.Om0
    now = dark + (1 + redshift) ** 3
    growth_now = _growth(1 / (1 + redshift), dark)

    def excess(ln_c):
        """Equation (7), left minus right: it increases with c."""
        c = jnp.exp(ln_c)
        inner = _einasto(jnp.ones((), dtype)) / _einasto(c)
        # (1 + z_f)³ of the formation redshift, which must be real; where it is not c is too small.
        formed = jnp.maximum(200 / _C * c**3 * inner * now - dark, 1e-3)
        later = 1 / _growth(jnp.cbrt(1 / formed), dark) - 1 / growth_now
        return inner - erfc(_COLLAPSE * _growth(jnp.ones((), dtype), dark) * later / spread)

    ln_c = increasing_root(excess, jnp.zeros(shape, dtype), jnp.full(shape, math.log(1000), dtype))
    return jnp.exp(ln_c + _SCATTER_DEX * math.log(10) * scatter_sigma)


def mean_density(spectrum=PLANCK15_SPECTRUM):
    """Comoving mean density of matter in M_sun/Mpc³."""
    return _CRITICAL_DENSITY * spectrum.Om0 * spectrum.h**2


def rms_fluctuation(mass, redshift, spectrum=PLANCK15_SPECTRUM):
    """σ(M, z): rms linear density contrast of spheres that hold the mass M on average.

    Parameters
    ----------
    mass : array
        M_sun, between 1e-6 and 1e18; NaN where it is outside of the range of the power spectrum.
    redshift : array
        At least 0.
    spectrum : PowerSpectrum

    Returns
    -------
    array
        Of the shape that the arguments broadcast to.
    """
    dtype = jnp.result_type(mass, redshift, 0.0)
    return _rms_fluctuation(jnp.asarray(mass, dtype), jnp.asarray(redshift, dtype), spectrum)


@jax.jit
def _rms_fluctuation(mass, redshift, spectrum):
    dark = (1 - spectrum.Om0) / spectrum.Om0
    growth = _growth(1 / (1 + redshift), dark) / _growth(jnp.ones((), mass.dtype), dark)
    table = _ln_variance_table(spectrum, mass.dtype)
    return growth * jnp.exp(_interpolate(table, _ln_lagrangian_radius(mass, spectrum)) / 2)


def _ln_lagrangian_radius(mass, spectrum):
    """ln R, in Mpc/h, of the sphere that holds the mass on average."""
    return jnp.log(3 * mass * spectrum.h / (4 * math.pi * _CRITICAL_DENSITY * spectrum.Om0)) / 3


def _einasto(c):
    """Mass inside c r_s of an Einasto profile, in some unit: γ(s, x)/Γ-free with s = 3/α, x = (2/α) c^α."""
    s, x = 3 / _ALPHA, 2 / _ALPHA * c**_ALPHA
    nodes, weights = _NODES.astype(c.dtype), (_WEIGHTS * _NODES ** (s - 1)).astype(c.dtype)
    return c**3 * (jnp.exp(-x[..., None] * nodes) * weights).sum(-1)


def _growth(a, dark):
    """Linear growth factor with D → a early on (Heath 1977), by a' = a t² under the integral."""
    y = dark * a**3
    nodes, weights = (_NODES**6).astype(a.dtype), (5 * _WEIGHTS * _NODES**4).astype(a.dtype)
    return a * jnp.sqrt(1 + y) * ((1 + y[..., None] * nodes) ** -1.5 * weights).sum(-1)


def _ln_variance_table(spectrum, dtype):
    """Chebyshev coefficients of ln σ² in ln R, (segments, points).

    σ²(R) = ∫ Δ²(k) W²(kR) d(ln k) is a convolution in the logarithms: with Δ² interpolated by polynomials on segments
    of ln k it is a matrix that depends on the grid alone.
    """
    offsets = _STEP * (chebyshev_points(_K_POINTS) + 1) / 2
    k = jnp.asarray(np.exp(_LN_K + _STEP * np.arange(_K_SEGMENTS)[:, None] + offsets), dtype)
    power = jnp.exp((3 + spectrum.ns) * jnp.log(k)) * transfer(spectrum, k) ** 2
    blocks = jnp.asarray(_window_blocks(), dtype)

    def segment(r):
        return jnp.einsum("kp,kpx->x", power, jax.lax.dynamic_slice_in_dim(blocks, r, _K_SEGMENTS))

    variance = jax.lax.map(segment, jnp.arange(_R_SEGMENTS))
    table = jnp.log(variance) @ to_coefficients(_R_POINTS).astype(dtype)
    return table.at[:, 0].add(2 * jnp.log(spectrum.sigma8) - _interpolate(table, jnp.asarray(math.log(8.0), dtype)))


def _interpolate(table, ln_r):
    """ln σ² at ln R; NaN outside the table."""
    s = (ln_r - _LN_R) / _STEP
    segment = jnp.clip(s.astype(jnp.int32), 0, _R_SEGMENTS - 1)
    t, c = 2 * (s - segment) - 1, table[segment]
    b1, b2 = jnp.zeros_like(t), jnp.zeros_like(t)
    for n in range(_R_POINTS - 1, 0, -1):
        b1, b2 = c[..., n] + 2 * t * b1 - b2, b1
    return jnp.where((s >= 0) & (s <= _R_SEGMENTS), c[..., 0] + t * b1 - b2, jnp.nan)


def _window_blocks():
    """(sum of the two segment numbers, point in ln k, point in ln R): ∫ W²(kR) ℓ(ln k) d(ln k) over a segment."""
    basis, offsets = to_coefficients(_K_POINTS).T, _STEP * (chebyshev_points(_R_POINTS) + 1) / 2
    nodes, weights = np.polynomial.legendre.leggauss(32)
    blocks = []
    for start in _LN_K + _LN_R + _STEP * np.arange(_K_SEGMENTS + _R_SEGMENTS - 1):
        # At most some 10 rad on a panel, as far as the oscillations are followed.
        panels = 1 + int(np.exp(start + 2 * _STEP) * _STEP / 10) if start < math.log(_LAST) else 1
        t = ((nodes + 1 + 2 * np.arange(panels)[:, None]) / panels - 1).ravel()
        x = np.exp(start + offsets[:, None] + _STEP * (t + 1) / 2)
        chebyshev = np.cos(np.outer(np.arange(_K_POINTS), np.arccos(t)))
        blocks.append(basis.T @ (chebyshev * np.tile(weights, panels) * (_STEP / 2 / panels)) @ _window_squared(x).T)
    return np.stack(blocks)


def _window_squared(x):
    """Square of the Fourier transform of a sphere, 3 (sin x − x cos x)/x³; far out its mean over the phase."""
    y = np.clip(x, 0.3, _LAST)
    middle = 3 * (np.sin(y) - y * np.cos(y)) / y**3
    series = sum((-1) ** k * 6 * (k + 1) / math.factorial(2 * k + 3) * np.minimum(x, 0.3) ** (2 * k) for k in range(7))
    return np.where(x > _LAST, 4.5 / x**4, np.where(x < 0.3, series, middle) ** 2)


def transfer(spectrum, k):
    """Matter transfer function of Eisenstein & Hu (1998), equations 2 to 24, with baryon oscillations.

    Parameters
    ----------
    spectrum : PowerSpectrum
    k : array
        Wavenumber in h/Mpc.

    Returns
    -------
    array
    """
    baryon = spectrum.Ob0 / spectrum.Om0
    m, b, theta2 = spectrum.Om0 * spectrum.h**2, spectrum.Ob0 * spectrum.h**2, (spectrum.Tcmb0 / 2.7) ** 2
    k = k * spectrum.h
    k_eq, z_eq = 0.0746 * m / theta2, 2.5e4 * m / theta2**2
    b1, b2 = 0.313 * m**-0.419 * (1 + 0.607 * m**0.674), 0.238 * m**0.223
    z_drag = 1291 * m**0.251 / (1 + 0.659 * m**0.828) * (1 + b1 * b**b2)
    R_drag, R_eq = (31.5e3 * b / theta2**2 / z for z in (z_drag, z_eq))
    roots = jnp.sqrt(1 + R_drag) + jnp.sqrt(R_drag + R_eq)
    sound = 2 / (3 * k_eq) * jnp.sqrt(6 / R_eq) * jnp.log(roots / (1 + jnp.sqrt(R_eq)))
    k_silk = 1.6 * b**0.52 * m**0.73 * (1 + (10.4 * m) ** -0.95)
    q = k / (13.41 * k_eq)

    def pressureless(alpha, beta):
        C = 14.2 / alpha + 386 / (1 + 69.9 * q**1.08)
        L = jnp.log(math.e + 1.8 * beta * q)
        return L / (L + C * q**2)

    a1 = (46.9 * m) ** 0.670 * (1 + (32.1 * m) ** -0.532)
    a2 = (12.0 * m) ** 0.424 * (1 + (45.0 * m) ** -0.582)
    alpha_c = a1**-baryon * a2 ** -(baryon**3)
    b1, b2 = 0.944 / (1 + (458 * m) ** -0.708), (0.395 * m) ** -0.0266
    beta_c = 1 / (1 + b1 * ((1 - baryon) ** b2 - 1))
    f = 1 / (1 + (k * sound / 5.4) ** 4)
    cold = f * pressureless(1, beta_c) + (1 - f) * pressureless(alpha_c, beta_c)

    y = (1 + z_eq) / (1 + z_drag)
    root = jnp.sqrt(1 + y)
    G = y * (-6 * root + (2 + 3 * y) * jnp.log((root + 1) / (root - 1)))
    alpha_b = 2.07 * k_eq * sound * (1 + R_drag) ** -0.75 * G
    beta_b = 0.5 + baryon + (3 - 2 * baryon) * jnp.sqrt((17.2 * m) ** 2 + 1)
    beta_node = 8.41 * m**0.435
    shifted = k * sound / jnp.cbrt(1 + (beta_node / (k * sound)) ** 3)
    damped = alpha_b / (1 + (beta_b / (k * sound)) ** 3) * jnp.exp(-((k / k_silk) ** 1.4))
    acoustic = pressureless(1, 1) / (1 + (k * sound / 5.2) ** 2) + damped
    return baryon * acoustic * jnp.sinc(shifted / math.pi) + (1 - baryon) * cold

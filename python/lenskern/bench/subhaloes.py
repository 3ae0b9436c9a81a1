"""Catalogues of truncated NFW haloes as lensing sees them: subhaloes of one lens, and those of a whole light cone."""

from dataclasses import dataclass

import numpy as np

# Width in arcsec of the square that the haloes and the rays fill.
FIELD = 5.0

H0 = 70.0
OMEGA_M = 0.3

_C = 299792.458  # km / s
_G = 4.30091727e-6  # kpc (km / s)^2 / Msun
_ARCSEC = np.pi / 648000


@dataclass(frozen=True)
class Haloes:
    """Truncated NFW haloes (Baltz, Marshall & Oguri 2009, n = 1) on one plane.

    Parameters
    ----------
    centre : array, shape (N, 2)
        (y, x) in arcsec.
    kappa_s : array, shape (N,)
        rho_s r_s / Sigma_cr, for a source at the redshift of the system's source.
    scale_radius, truncation_radius : array, shape (N,)
        In arcsec.
    """

    centre: np.ndarray
    kappa_s: np.ndarray
    scale_radius: np.ndarray
    truncation_radius: np.ndarray

    def __len__(self):
        return len(self.kappa_s)


@dataclass(frozen=True)
class PowerLaw:
    """Elliptical power law: kappa = (3 - slope) / 2 (einstein_radius / sqrt(q x^2 + y^2 / q))^(slope - 1).

    Parameters
    ----------
    centre : tuple of float
        (y, x) in arcsec.
    axis_ratio, angle : float
        q in (0, 1], and radians counter-clockwise from x to the major axis.
    einstein_radius : float
        In arcsec.
    slope : float
        Of the density: 2 is isothermal.
    """

    centre: tuple = (0.02, -0.03)
    axis_ratio: float = 0.75
    angle: float = 0.6
    einstein_radius: float = 1.2
    slope: float = 2.08


@dataclass(frozen=True)
class Cone:
    """Haloes on many planes, with a power law and an external shear on one of them; flat LambdaCDM without radiation.

    Parameters
    ----------
    redshifts : tuple of float, length P
        Of the planes, in ascending order.
    haloes : tuple of Haloes, length P
    source_redshift : float
    lens_plane : int
        Index of the plane of the power law and the shear.
    power_law : PowerLaw
    shear : tuple of float
        (gamma_1, gamma_2): alpha_x = gamma_1 x + gamma_2 y, alpha_y = gamma_2 x - gamma_1 y.
    """

    redshifts: tuple
    haloes: tuple
    source_redshift: float = 2.0
    lens_plane: int = 3
    power_law: PowerLaw = PowerLaw()
    shear: tuple = (0.03, -0.02)


def rays(side):
    """Centres of side x side square pixels that fill the field, shape (side * side, 2), (y, x) in arcsec."""
    axis = ((np.arange(side) + 0.5) / side - 0.5) * FIELD
    y, x = np.meshgrid(-axis, axis, indexing="ij")
    return np.stack([y.ravel(), x.ravel()], -1)


def subhaloes(count, seed=0, redshift=0.5, source_redshift=2.0):
    """Subhaloes at random in the field.

    Masses M200 are drawn from dN/dM ~ M^-1.9 between 1e6 and 1e9 Msun, concentrations around 12 (M / 1e8 Msun)^-0.06
    with a scatter of 0.13 dex, and r_t / r_s log-uniform between 1 and 30: scale radii of 0.01 to 0.3 arcsec.

    Parameters
    ----------
    count : int
    seed : int
    redshift, source_redshift : float

    Returns
    -------
    Haloes
    """
    rng = np.random.default_rng(seed)
    low, high = 1e6**-0.9, 1e9**-0.9
    mass = (low + rng.uniform(size=count) * (high - low)) ** (-1 / 0.9)
    c = 12 * (mass / 1e8) ** -0.06 * 10 ** (0.13 * rng.standard_normal(count))
    critical = 3 * (H0 / 1e3) ** 2 * _expansion(redshift) ** 2 / (8 * np.pi * _G)  # Msun / kpc^3
    scale = (3 * mass / (800 * np.pi * critical)) ** (1 / 3) / c  # kpc
    rho_s = mass / (4 * np.pi * scale**3 * (np.log1p(c) - c / (1 + c)))
    to_lens = comoving_distance(redshift) / (1 + redshift)
    to_source = comoving_distance(source_redshift) / (1 + source_redshift)
    between = to_source - comoving_distance(redshift) / (1 + source_redshift)
    sigma_cr = _C**2 * to_source / (4 * np.pi * _G * to_lens * between)  # Msun / kpc^2
    radius = scale / to_lens / _ARCSEC
    return Haloes(
        centre=rng.uniform(-FIELD / 2, FIELD / 2, (count, 2)),
        kappa_s=rho_s * scale / sigma_cr,
        scale_radius=radius,
        truncation_radius=radius * 30 ** rng.uniform(size=count),
    )


def cone(count, seed=0):
    """A light cone: 8 planes of ``count`` haloes each, and a main lens on the fourth.

    Returns
    -------
    Cone
    """
    redshifts = (0.15, 0.3, 0.4, 0.5, 0.7, 0.95, 1.25, 1.6)
    return Cone(redshifts, tuple(subhaloes(count, seed + 1000 * i, z, 2.0) for i, z in enumerate(redshifts)))


def comoving_distance(redshift):
    """In kpc, to rounding: Gauss-Legendre quadrature with 64 points."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    half = redshift / 2
    return _C / H0 * 1e3 * half * np.sum(weights / _expansion(half * (nodes + 1)))


def _expansion(redshift):
    return np.sqrt(OMEGA_M * (1 + redshift) ** 3 + 1 - OMEGA_M)

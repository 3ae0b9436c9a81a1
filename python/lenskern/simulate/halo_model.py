"""What a halo of a mass looks like: its concentration, truncation and profile, and the mass that it has on average."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks, deflect
from ..deflect import cosmology as distances
from ..deflect.projection import chebyshev_points, clenshaw, to_coefficients

__all__ = ["ConcentrationTable", "HaloModel", "Truncation"]

# Points in ln m of a concentration relation, and of the fraction of the mass that a truncation leaves.
_POINTS, _FRACTION_POINTS = 14, 8
# Points of the mean over a scatter that is Gaussian in the logarithm.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(8)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Truncation:
    """Where haloes end.

    A pytree of numbers: each can be traced.

    Attributes
    ----------
    value : scalar
        The truncation radius r_t in units of r_s or of r₂₀₀; or, for "overdensity", the mean density inside r_t of the
        NFW profile before truncation, in units of the critical density (100 means r_t = r₁₀₀).
    of : {"overdensity", "r_s", "r200"}
        Static.
    scatter_dex : scalar or None
        Scatter of log10 r_t.
    """

    value: jax.Array = 100.0
    of: str = dataclasses.field(default="overdensity", metadata={"static": True})
    scatter_dex: jax.Array | None = None

    def __post_init__(self):
        _checks.choice("of", self.of, ("overdensity", "r_s", "r200"))

    def tau(self, concentration, normal=0.0):
        """r_t/r_s.

        Parameters
        ----------
        concentration : array
            r₂₀₀/r_s.
        normal : array
            Deviation from the median in units of the scatter.

        Returns
        -------
        array
        """
        match self.of:
            case "r_s":
                tau = jnp.broadcast_to(self.value, concentration.shape).astype(concentration.dtype)
            case "r200":
                tau = self.value * concentration
            case "overdensity":
                tau = _radius_of_overdensity(concentration, self.value)
        return tau if self.scatter_dex is None else tau * jnp.exp(math.log(10) * self.scatter_dex * normal)


def _radius_of_overdensity(concentration, overdensity):
    """x with m(x)/x³ = (Δ/200) m(c)/c³, m(x) = ln(1 + x) − x/(1 + x)."""

    def ln_mass(x):
        return jnp.log(jnp.log1p(x) - x / (1 + x))

    ratio = jnp.log(jnp.asarray(overdensity / 200, concentration.dtype))
    target = ln_mass(concentration) - 3 * jnp.log(concentration) + ratio

    def newton(_, ln_x, target):
        value, slope = jax.jvp(lambda y: ln_mass(jnp.exp(y)) - 3 * y, (ln_x,), (jnp.ones_like(ln_x),))
        return ln_x + (target - value) / slope

    # ln m − 3 ln x bends little in ln x, with a slope between −3 and −1: the error is squared away at once.
    first = jax.lax.stop_gradient(jnp.log(concentration) - ratio / 2.3)
    near = jax.lax.fori_loop(0, 5, partial(newton, target=jax.lax.stop_gradient(target)), first)
    # The last step has the derivatives of the root.
    return jnp.exp(newton(0, near, target))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConcentrationTable:
    """Polynomial in ln m of the logarithm of a concentration, for one redshift or for each of P.

    Solving for the concentrations of a thousand haloes takes far longer than drawing them.

    Attributes
    ----------
    ln_low, ln_high : scalars
        Range of ln m; what is outside is NaN.
    coefficients : (..., D) array
        Chebyshev coefficients.
    """

    ln_low: jax.Array
    ln_high: jax.Array
    coefficients: jax.Array

    @classmethod
    def create(cls, relation, mass_range, redshifts, dtype):
        """Sample a relation.

        Parameters
        ----------
        relation : callable
            ``relation(mass, redshift)``: the median concentration r₂₀₀/r_s, for arrays of one shape.
        mass_range : tuple of two floats
            M_sun.
        redshifts : scalar or (P,) array
        dtype : dtype

        Returns
        -------
        ConcentrationTable

        Raises
        ------
        ValueError
            For concentrations that are not above 0.
        """
        low, high = np.log(mass_range)
        ln_mass = low + (high - low) * (chebyshev_points(_POINTS) + 1) / 2
        masses, redshifts = np.broadcast_arrays(np.exp(ln_mass), np.asarray(redshifts)[..., None])
        values = np.asarray(relation(jnp.asarray(masses, dtype), jnp.asarray(redshifts, dtype)), float)
        if values.shape != masses.shape or not (values > 0).all():
            raise ValueError(
                "relation: got concentrations that are not all above 0, or of another shape than the masses"
            )
        coefficients = np.log(values) @ to_coefficients(_POINTS)
        return cls(*(jnp.asarray(x, dtype) for x in (low, high, coefficients)))

    def median(self, mass):
        """Concentration for masses in M_sun, at one redshift."""
        t = (2 * jnp.log(mass) - self.ln_low - self.ln_high) / (self.ln_high - self.ln_low)
        slack = 64 * jnp.finfo(t.dtype).eps * self.ln_high
        return jnp.where(jnp.abs(t) <= 1 + slack, jnp.exp(clenshaw(self.coefficients, t)), jnp.nan)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HaloModel:
    """What the haloes of a population look like.

    A pytree of numbers: each can be traced.

    Attributes
    ----------
    scatter_dex : scalar
        Scatter of log10 of the concentration.
    truncation : Truncation or None
        None for haloes without an end; they have no finite mass, and so no sheet.
    core_fraction : scalar or None
        Core radius over r_s.
    profile : callable or None
        Haloes of another kind, ``profile(centre, mass, concentration, tau, redshift, source_redshift, cosmology)``
        giving `lenskern.deflect.Halos`, with (n, 2) positions, (n,) masses, concentrations and r_t/r_s (None without a
        truncation); static. Each must have a finite mass if there is to be a sheet. By default the haloes are those of
        `lenskern.deflect.from_m200_concentration`.
    """

    scatter_dex: jax.Array = 0.15
    truncation: Truncation | None = Truncation()
    core_fraction: jax.Array | None = None
    profile: Callable | None = dataclasses.field(default=None, metadata={"static": True})

    def draw(self, normal, centre, mass, median, place):
        """Haloes of given masses.

        Parameters
        ----------
        normal : (n, 2) array
            Deviations of the concentration and of the truncation from their medians, in units of their scatter.
        centre : (n, 2) array
            (y, x) in arcsec.
        mass, median : (n,) arrays
            M₂₀₀ in M_sun, and the median of the concentration.
        place : tuple
            Redshift, redshift of the source, cosmology.

        Returns
        -------
        halos : lenskern.deflect.Halos
        concentration : (n,) array
        """
        concentration = median * self._scatter(normal[:, 0])
        tau = None if self.truncation is None else self.truncation.tau(concentration, normal[:, 1])
        return self._halos(centre, mass, concentration, tau, place), concentration

    def mean_mass(self, ln_mass, median, place):
        """Mean of all the mass of a halo, over the scatter, in units of its M₂₀₀.

        Parameters
        ----------
        ln_mass : (n,) array
            ln of M₂₀₀ in M_sun.
        median : callable
            The median of the concentration for masses in M_sun.
        place : tuple
            As for `draw`.

        Returns
        -------
        (n,) array
        """
        dtype = ln_mass.dtype
        low, high = ln_mass[0], ln_mass[-1]
        points = low + (high - low) * (chebyshev_points(_FRACTION_POINTS).astype(dtype) + 1) / 2
        mass = jnp.exp(points)
        nodes, weights = _NODES.astype(dtype), (_WEIGHTS / _WEIGHTS.sum()).astype(dtype)
        concentration = median(mass)[:, None, None] * self._scatter(nodes)[:, None]
        normal, over = nodes, weights
        if self.truncation.scatter_dex is None:
            normal, over = np.zeros(1, dtype), np.ones(1, dtype)
        tau = self.truncation.tau(concentration, normal)
        mass, concentration, tau = jnp.broadcast_arrays(mass[:, None, None], concentration, tau)
        fractions = self._total_mass(mass, concentration, tau, place) / mass
        means = jnp.einsum("mct,c,t->m", fractions, weights, over)
        coefficients = means @ to_coefficients(_FRACTION_POINTS).astype(dtype)
        return clenshaw(coefficients, (2 * ln_mass - low - high) / (high - low))

    def _scatter(self, normal):
        return jnp.exp(math.log(10) * self.scatter_dex * normal)

    def _halos(self, centre, mass, concentration, tau, place):
        if self.profile is not None:
            return self.profile(centre, mass, concentration, tau, *place)
        core = None if self.core_fraction is None else jnp.broadcast_to(self.core_fraction, mass.shape)
        return deflect.from_m200_concentration(centre, mass, concentration, *place, tau=tau, core_fraction=core)

    def _total_mass(self, mass, concentration, tau, place):
        if self.profile is None:
            return deflect.total_mass(mass, concentration, tau, self.core_fraction)

        def of_one(mass, concentration, tau):
            # From far away the halo is a point mass: α = M/(π Σ_cr R).
            far = 1e4 * deflect.m200_scales(mass, concentration, *place).r200
            halo = self._halos(jnp.zeros((1, 2), mass.dtype), mass[None], concentration[None], tau[None], place)
            alpha = deflect.plane(halo, jnp.stack([far, 0 * far]), backend="reference")[0]
            return math.pi * far * alpha * distances.critical_surface_density(place[2], *place[:2], unit="arcsec")

        flat = jax.vmap(of_one)(*(x.ravel() for x in (mass, concentration, tau)))
        return flat.reshape(mass.shape)

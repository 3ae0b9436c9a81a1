"""How many haloes there are of each mass: mass functions, their suppression in warm dark matter, and their tables."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from ..deflect.concentration import PLANCK15_SPECTRUM, mean_density, rms_fluctuation

__all__ = ["MassTable", "WarmSuppression", "half_mode_mass", "sheth_tormen"]

# Sheth & Tormen (1999), with the barrier of spherical collapse.
_A, _SMALL_A, _P, _BARRIER = 0.3222, 0.707, 0.3, 1.68647019984


def sheth_tormen(mass, redshift, spectrum=PLANCK15_SPECTRUM):
    """Mass function of Sheth & Tormen (1999), equation (10): comoving number density dn/d(ln m).

    It goes with the power spectrum of Eisenstein & Hu (1998), as the concentrations of
    `lenskern.deflect.ludlow16_concentration` do.

    Parameters
    ----------
    mass : array
        M_sun, between 1e-6 and 1e18.
    redshift : array
        Broadcast with the mass.
    spectrum : lenskern.deflect.concentration.PowerSpectrum

    Returns
    -------
    array
        Haloes per comoving Mpc³ and ln m.

    Examples
    --------
    >>> from lenskern import simulate
    >>> print(f"{simulate.sheth_tormen(1e8, 0.5):.2f} per Mpc3")
    7.15 per Mpc3
    """
    dtype = jnp.result_type(mass, redshift, 0.0)
    mass, redshift = jnp.broadcast_arrays(jnp.asarray(mass, dtype), jnp.asarray(redshift, dtype))

    def ln_sigma(ln_m):
        return jnp.log(rms_fluctuation(jnp.exp(ln_m), redshift, spectrum))

    value, slope = jax.jvp(ln_sigma, (jnp.log(mass),), (jnp.ones_like(mass),))
    nu = _BARRIER * jnp.exp(-value)
    square = _SMALL_A * nu**2
    multiplicity = _A * math.sqrt(2 * _SMALL_A / math.pi) * nu * (1 + square**-_P) * jnp.exp(-square / 2)
    return -slope * multiplicity * mean_density(spectrum) / mass


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WarmSuppression:
    """What free streaming of warm dark matter leaves of a mass function: (1 + (a m_hm/m)^b)^c.

    A pytree of numbers: each can be traced. The default numbers are those of Schneider et al. (2012).

    Attributes
    ----------
    log10_half_mode : scalar
        log10 of the half-mode mass m_hm in M_sun; see `half_mode_mass`.
    a, b, c : scalars
        With c below 0.
    concentrations : bool
        Whether concentrations are lower as well, by the fit of Bose et al. (2016); static.
    """

    log10_half_mode: jax.Array
    a: jax.Array = 1.0
    b: jax.Array = 1.0
    c: jax.Array = -1.16
    concentrations: bool = dataclasses.field(default=True, metadata={"static": True})

    @classmethod
    def lovell20_subhalos(cls, log10_half_mode, concentrations=True):
        """The fit of Lovell (2020) to subhaloes: a = 4.2, b = 2.5, c = −0.2."""
        return cls(log10_half_mode, 4.2, 2.5, -0.2, concentrations)

    @classmethod
    def lovell20_field(cls, log10_half_mode, concentrations=True):
        """The fit of Lovell (2020) to haloes in the field: a = 2.3, b = 0.8, c = −1."""
        return cls(log10_half_mode, 2.3, 0.8, -1.0, concentrations)

    def ln_abundance(self, ln_mass):
        """ln of the factor on the mass function."""
        ln_ratio = math.log(10) * self.log10_half_mode - ln_mass
        return self.c * jax.nn.softplus(self.b * (ln_ratio + jnp.log(self.a)))

    def concentration(self, mass, redshift):
        """Factor on the concentration, (1 + 60 m_hm/m)^−0.17 (1 + z)^(0.026 z − 0.04): Bose et al. (2016), eq. 18."""
        if not self.concentrations:
            return jnp.ones_like(mass)
        ln_ratio = math.log(10) * self.log10_half_mode - jnp.log(mass)
        ln_factor = -0.17 * jax.nn.softplus(ln_ratio + math.log(60))
        return jnp.exp(ln_factor + (0.026 * redshift - 0.04) * jnp.log1p(redshift))


def half_mode_mass(particle_mass, spectrum=PLANCK15_SPECTRUM):
    """Half-mode mass of a thermal relic, below which the mass function is suppressed.

    (4π/3) ρ_m (λ/2)³ with λ = 13.93 × 0.049 Mpc/h (m/keV)^−1.11 (Ω/0.25)^0.11 (h/0.7)^1.22 (Viel et al. 2005;
    Schneider et al. 2012), where the transfer function is one half.

    Parameters
    ----------
    particle_mass : array
        keV.
    spectrum : lenskern.deflect.concentration.PowerSpectrum

    Returns
    -------
    array
        M_sun.
    """
    cold = spectrum.Om0 - spectrum.Ob0
    scale = 0.049 * particle_mass**-1.11 * (cold / 0.25) ** 0.11 * (spectrum.h / 0.7) ** 1.22 / spectrum.h
    return 4 * math.pi / 3 * mean_density(spectrum) * (13.93 * scale / 2) ** 3


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MassTable:
    """dN/d(ln m) at some masses, a power law between each two of them.

    What is made of it is exact for that function: the numbers, the masses and the inverse have closed forms in each
    bin. A power law is its own table.

    Attributes
    ----------
    ln_mass : (K,) array
        ln of the masses in M_sun, increasing.
    ln_number : (K,) array
        ln dN/d(ln m) there.
    """

    ln_mass: jax.Array
    ln_number: jax.Array

    def numbers(self):
        """Haloes in each bin, (K − 1,)."""
        return self._integral(self.ln_number)

    def masses(self):
        """Mass in M_sun of all haloes in each bin, (K − 1,)."""
        return self._integral(self.ln_number + self.ln_mass)

    def mass(self, heavier):
        """The mass that so many haloes exceed on average; the inverse of the cumulative mass function.

        Parameters
        ----------
        heavier : (n,) array
            From 0 to the number of all.

        Returns
        -------
        (n,) array
            M_sun.
        """
        above = jnp.cumsum(self.numbers()[::-1])
        last = len(above) - 1
        k = jnp.clip(jnp.searchsorted(above, heavier, side="right"), 0, last)
        # From the upper end of the bin: ∫ f exp(s (x' − x)) dx' = rest.
        rest = heavier - jnp.where(k == 0, 0, above[jnp.maximum(k - 1, 0)])
        steps, upper = jnp.diff(self.ln_mass), last - k + 1
        slope = (jnp.diff(self.ln_number) / steps)[last - k]
        y = rest * jnp.exp(-self.ln_number[upper])
        down = y * _log1p_ratio(-slope * y)
        return jnp.exp(self.ln_mass[upper] - jnp.clip(down, 0, steps[last - k]))

    def _integral(self, ln_f):
        return jnp.diff(self.ln_mass) * jnp.exp(ln_f[:-1]) * _expm1_ratio(jnp.diff(ln_f))


def _expm1_ratio(x):
    """(exp x − 1)/x."""
    small = jnp.abs(x) < 1e-3
    safe = jnp.where(small, 1, x)
    return jnp.where(small, 1 + x / 2 * (1 + x / 3 * (1 + x / 4)), jnp.expm1(safe) / safe)


def _log1p_ratio(x):
    """ln(1 + x)/x."""
    small = jnp.abs(x) < 1e-3
    safe = jnp.where(small, 1, jnp.maximum(x, -1 + 1e-7))
    return jnp.where(small, 1 - x * (1 / 2 - x * (1 / 3 - x * (1 / 4 - x / 5))), jnp.log1p(safe) / safe)

"""Draws of halo populations: a Poisson process in mass, padded to a fixed length."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from .. import _checks, deflect
from .poisson import poisson as _poisson

__all__ = ["Population", "default_capacity", "draw_masses", "draw_population", "mean_convergence"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Population:
    """A draw of haloes, padded to a fixed length; on P planes with a leading axis.

    Attributes
    ----------
    halos : lenskern.deflect.Halos
        (N,) or (P, N), masked where there is none.
    mass, concentration : (N,) or (P, N) arrays
        M₂₀₀ in M_sun, the highest first, and r₂₀₀/r_s.
    sheet : () or (P,) array
        Convergence that makes up for the mean density of the population; not above 0.
    overflow : () or (P,) int32 array
        Haloes that did not fit. They are those of the lowest masses.
    """

    halos: deflect.Halos
    mass: jax.Array
    concentration: jax.Array
    sheet: jax.Array
    overflow: jax.Array


def default_capacity(mean):
    """A number of haloes that a Poisson number of the mean exceeds less than once in 1e8 draws.

    Parameters
    ----------
    mean : float

    Returns
    -------
    int
    """
    return math.ceil(mean + 6 * math.sqrt(mean) + 10)


def draw_masses(unit, table, amplitude, poisson=True):
    """Masses of a Poisson process, the highest first.

    The i-th halo is where the mean number of heavier ones reaches the i-th arrival time of a Poisson process of unit
    rate. So the number has a Poisson distribution, the masses are independent with the distribution of the table, and
    for given random numbers they are continuous in all parameters: more haloes come in at the lower end.

    Parameters
    ----------
    unit : (capacity + 1,) array
        Random numbers, uniform between 0 and 1.
    table : MassTable
    amplitude : scalar
        Factor on the numbers of the table.
    poisson : bool
        Whether the number is a random one. If not, it is the mean, rounded; of those that do not fit, any are left out.

    Returns
    -------
    mass : (capacity,) array
        M_sun; where there is no halo, some mass in the range.
    exists : (capacity,) bool array
        A parameter that is NaN makes haloes of mass NaN.
    missing : scalar
        How many haloes do not fit; for a random number, the mean of a Poisson distribution of it.
    """
    amplitude = jnp.asarray(amplitude, unit.dtype)
    amplitude = jnp.where(amplitude >= 0, amplitude, jnp.nan)
    total = table.numbers().sum()
    mean = amplitude * total
    arrivals, capacity = jnp.cumsum(-jnp.log(unit)), len(unit) - 1
    if poisson:
        exists = ~(arrivals[:-1] >= mean)
        missing = mean - arrivals[-2]
        heavier = arrivals[:-1] / jnp.where(amplitude == 0, 1, amplitude)
    else:
        number = jnp.round(mean)
        exists = ~(jnp.arange(capacity) >= number)
        missing = number - capacity
        last = jnp.minimum(jnp.nan_to_num(number), capacity).astype(jnp.int32)
        heavier = arrivals[:-1] * (total / arrivals[last]) + 0 * amplitude
    return table.mass(jnp.where(exists, heavier, 0)), exists, jnp.maximum(jnp.nan_to_num(missing), 0)


def draw_population(key, table, amplitude, region, stretch, relation, suppression, model, place, capacity, poisson):
    """Haloes on one plane, without their sheet.

    Parameters
    ----------
    key : PRNG key
    table, amplitude, poisson
        As for `draw_masses`.
    region : Disc, Rectangle or ProjectedNFW
    stretch : scalar
        Factor on the positions.
    relation : ConcentrationTable
    suppression : WarmSuppression or None
    model : HaloModel
    place : tuple
        Redshift, redshift of the source, cosmology.
    capacity : int

    Returns
    -------
    halos, mass, concentration, overflow
        See `Population`.
    """
    dtype = table.ln_number.dtype
    keys = jax.random.split(key)
    # A row for each halo, so that more room leaves those before as they are; half a step away from 0 and from 1.
    unit = jax.random.uniform(keys[0], (capacity + 1, 5), dtype) + jnp.finfo(dtype).eps / 2
    mass, exists, overflow = draw_masses(unit[:, 0], table, amplitude, poisson)
    if poisson:
        overflow = _poisson(keys[1], overflow)
    normal = math.sqrt(2) * jax.scipy.special.erfinv(2 * unit[:-1, 3:] - 1)
    centre = stretch * region.positions(unit[:-1, 1:3])
    halos, concentration = model.draw(normal, centre, mass, median(relation, suppression, place)(mass), place)
    most = jnp.asarray(2**31 - 128, dtype)
    overflow = jnp.where(overflow < most, overflow, most).astype(jnp.int32)
    return dataclasses.replace(halos, mask=exists), mass, concentration, overflow


def mean_convergence(table, amplitude, relation, suppression, model, place):
    """Mean convergence of haloes whose number per arcsec² is that of the table times the amplitude."""
    ln_mass = (table.ln_mass[1:] + table.ln_mass[:-1]) / 2
    fraction = model.mean_mass(ln_mass, median(relation, suppression, place), place)
    return -deflect.negative_sheet(table.masses() * fraction, jnp.asarray(amplitude)[..., None], *place)


def median(relation, suppression, place):
    """The median of the concentration as a function of the mass in M_sun."""

    def concentration(mass):
        value = relation.median(mass)
        return value if suppression is None else value * suppression.concentration(mass, place[0])

    return concentration


def check_mass_range(mass_range):
    """Two masses in M_sun, as floats."""
    try:
        low, high = mass_range
    except (TypeError, ValueError):
        raise ValueError(f"mass_range: got {mass_range!r}, expected two masses in M_sun") from None
    low, high = _checks.positive_float("mass_range", low), _checks.positive_float("mass_range", high)
    if low >= high:
        raise ValueError(f"mass_range: got {mass_range!r}, expected the lower mass first")
    return low, high


def check_redshifts(lens, source):
    """Redshifts of a lens and of a source, as floats."""
    lens, source = _checks.positive_float("redshift", lens), _checks.positive_float("source_redshift", source)
    if source <= lens:
        raise ValueError(f"source_redshift: got {source}, expected more than that of the lens, {lens}")
    return lens, source


def check_model(model, sheet):
    """Refuse a sheet for haloes of infinite mass, and radii that are known and out of range."""
    if sheet and model.truncation is None:
        raise ValueError("sheet: got True for haloes without a truncation, whose mass has no end, expected False")
    if model.truncation is not None:
        _checks.known_values("truncation", model.truncation.value, length=True, unit="")
    if model.core_fraction is not None:
        _checks.known_values("core_fraction", model.core_fraction, length=True, may_be_zero=True, unit="")


def check_cosmology(cosmology):
    """A cosmology as one of ours."""
    return cosmology if isinstance(cosmology, deflect.Cosmology) else deflect.from_astropy(cosmology)

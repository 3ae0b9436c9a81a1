"""Numbers in a config that can be fixed or parameters of theta."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp

from . import document
from .document import Value, in_range
from .priors import LogNormal, Normal

__all__ = ["AxisRatio", "Block", "Number", "Pair", "Parameters", "flag", "one_of", "positive"]

# Ranges of the parameters that have one: (low, high, whether low is excluded, whether high is).
POSITIVE, NOT_NEGATIVE = (0, math.inf, True, False), (0, math.inf, False, False)
FREE = (-math.inf, math.inf, False, False)
RANGES = {
    "einstein_radius": NOT_NEGATIVE,
    "power_law.slope": (1, 3, True, True),
    "intensity": NOT_NEGATIVE,
    "effective_radius": POSITIVE,
    "sersic_index": POSITIVE,
    "radius_break": POSITIVE,
    "alpha": POSITIVE,
    "sigma": POSITIVE,
    "pixel_scale": POSITIVE,
    "axis_ratio": (0, 1, True, False),
    "ell_comps": (-1, 1, False, False),
    "radius": POSITIVE,
    "scale_radius": POSITIVE,
    "height": POSITIVE,
    "width": POSITIVE,
    "number": NOT_NEGATIVE,
    "sigma_sub": NOT_NEGATIVE,
    "fraction": (0, 1, False, False),
    "host_convergence": NOT_NEGATIVE,
    "pivot": POSITIVE,
    "amplitude": NOT_NEGATIVE,
    "scatter_dex": NOT_NEGATIVE,
    "core_fraction": NOT_NEGATIVE,
    "exposure_time": POSITIVE,
    "background": NOT_NEGATIVE,
    "read_noise": NOT_NEGATIVE,
}


PAIRS = ("centre", "ell_comps")


@dataclasses.dataclass(frozen=True)
class Number:
    """A number, or the name of the parameter that gives it."""

    value: float | str

    def at(self, theta):
        """Its value for the parameters of an image."""
        return theta[self.value] if isinstance(self.value, str) else self.value


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two numbers, (y, x) of a position or the components of an ellipticity."""

    first: Number
    second: Number

    def at(self, theta):
        return self.first.at(theta), self.second.at(theta)


@dataclasses.dataclass(frozen=True)
class AxisRatio:
    """An ellipticity by q and the angle φ in degrees, counterclockwise from x to the major axis."""

    ratio: Number
    angle: Number

    def at(self, theta):
        q, angle = self.ratio.at(theta), jnp.deg2rad(self.angle.at(theta))
        f = (1 - q) / (1 + q)
        return f * jnp.sin(2 * angle), f * jnp.cos(2 * angle)


@dataclasses.dataclass(frozen=True)
class Block:
    """A kind of something, and its values.

    Attributes
    ----------
    kind : str
    values : dict
        Of `Number`, `Pair` and `AxisRatio`, or of values that are fixed.
    where : Value
    """

    kind: str
    values: dict[str, Any]
    where: Value

    def at(self, theta):
        """The values for the parameters of an image."""
        return {name: x.at(theta) if hasattr(x, "at") else x for name, x in self.values.items()}


class Parameters:
    """The parameters that a config may refer to, and those that it has.

    Parameters
    ----------
    priors : dict of str to Prior
    """

    def __init__(self, priors):
        self.priors, self.used = priors, set()

    def number(self, value, bounds=FREE):
        """A number in a range, or the name of a parameter that stays inside of it."""
        low, high, *_ = bounds
        if not isinstance(value.data, str):
            found = value.number(low, high)
            self._inside(value, found, found, bounds, value.shown())
            return Number(found)
        if value.data not in self.priors:
            hint = document.nearest(value.data, self.priors) if self.priors else "there are none"
            raise value.error(f"got {value.data!r}, expected a number or a parameter of theta; {hint}")
        prior = self.priors[value.data]
        first, last = prior.support
        shown = f"the parameter {value.data!r} between {first:g} and {last:g}"
        if isinstance(prior, Normal | LogNormal):
            shown += ", for which there is truncated_normal"
        self._inside(value, first, last, bounds, shown)
        self.used.add(value.data)
        return Number(value.data)

    @staticmethod
    def _inside(value, first, last, bounds, shown):
        low, high, without_low, without_high = bounds
        if first < low or last > high or (without_low and first == low) or (without_high and last == high):
            what = in_range(low, high, without_low) + " (excluded)" * without_high
            raise value.error(f"got {shown}, expected a finite number{what}")

    def pair(self, value, bounds=FREE):
        """Two of them."""
        if len(value.items()) != 2:
            raise value.wrong("a list of 2")
        return Pair(*(self.number(x, bounds) for x in value.items()))

    def block(self, kind, value, names, fixed=()):
        """A mapping of numbers and pairs.

        Parameters
        ----------
        kind : str
        value : Value
        names : collection of str
            The keys that there may be.
        fixed : dict of str to callable
            What reads the values of further keys.
        """
        fixed = dict(fixed)
        extra = ("axis_ratio", "angle") if "ell_comps" in names else ()
        entries = value.mapping((*names, *extra, *fixed))
        values = {}
        for name, x in entries.items():
            if name in fixed:
                values[name] = fixed[name](x)
            elif name not in extra:
                bounds = RANGES.get(f"{kind}.{name}", RANGES.get(name, FREE))
                values[name] = (self.pair if name in PAIRS else self.number)(x, bounds)
        if any(name in entries for name in extra):
            if "ell_comps" in entries:
                raise entries["ell_comps"].error("got it together with axis_ratio or angle, expected one of them")
            if "axis_ratio" not in entries:
                raise value.error("the key 'axis_ratio' is missing")
            angle = self.number(entries["angle"]) if "angle" in entries else Number(0.0)
            values["ell_comps"] = AxisRatio(self.number(entries["axis_ratio"], RANGES["axis_ratio"]), angle)
        return Block(kind, values, value)


def one_of(value, kinds):
    """The only entry of a mapping: its key, one of some kinds, and its value."""
    entries = value.mapping(kinds)
    if len(entries) != 1:
        raise value.error(f"got {len(entries)} keys, expected one of {', '.join(kinds)}")
    return next(iter(entries.items()))


def positive(value):
    """A fixed number above 0."""
    return value.number(0, open_low=True)


def flag(value):
    """True or false."""
    if not isinstance(value.data, bool):
        raise value.wrong("true or false")
    return value.data

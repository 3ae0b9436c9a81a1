"""Priors of the parameters of a data set: inverse distribution functions of the random bits of a key."""

import dataclasses
import math
import zlib
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

__all__ = [
    "PRIORS",
    "Choice",
    "Constant",
    "Integers",
    "LogNormal",
    "LogUniform",
    "Normal",
    "PowerLaw",
    "Prior",
    "TruncatedNormal",
    "Uniform",
    "draw",
]

# The largest deviation of a normal distribution that its quantiles reach in float64: those of float32 end at 5.3.
_REACH = 8.3


@dataclasses.dataclass(frozen=True)
class Prior:
    """A distribution of one number.

    Subclasses have `_quantile(u)`, the inverse of the distribution function, or draw from 32 random bits.
    """

    discrete: ClassVar[bool] = False

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is float:
                object.__setattr__(self, field.name, _finite(field.name, value))
        self._check()

    def _check(self):
        pass

    @property
    def support(self):
        """Smallest and largest number that can be drawn."""
        raise NotImplementedError

    def quantile(self, u):
        """Inverse of the distribution function.

        Parameters
        ----------
        u : array
            Probabilities in (0, 1).

        Returns
        -------
        array
            Of the shape and dtype of `u`.
        """
        u = jnp.asarray(u)
        low, high = (jnp.asarray(x, u.dtype) for x in self.support)
        return jnp.clip(self._quantile(u), low, high)

    def _draw(self, bits, dtype):
        return self.quantile(_uniform(bits, dtype))


@dataclasses.dataclass(frozen=True)
class Constant(Prior):
    """One value, always."""

    value: float

    @property
    def support(self):
        return self.value, self.value

    def _quantile(self, u):
        return jnp.full_like(u, self.value)


@dataclasses.dataclass(frozen=True)
class Uniform(Prior):
    """Uniform between `low` and `high`."""

    low: float
    high: float

    def _check(self):
        _ordered(self.low, self.high)

    @property
    def support(self):
        return self.low, self.high

    def _quantile(self, u):
        return self.low + (self.high - self.low) * u


@dataclasses.dataclass(frozen=True)
class PowerLaw(Prior):
    """p(x) ∝ x^index between `low` and `high`, both above 0."""

    low: float
    high: float
    index: float

    def _check(self):
        _above_zero("low", self.low)
        _ordered(self.low, self.high)

    @property
    def support(self):
        return self.low, self.high

    def _quantile(self, u):
        k, span = self.index + 1, math.log(self.high / self.low)
        if k == 0:
            return self.low * jnp.exp(span * u)
        # From the end with the larger density, so that the exponential cannot overflow.
        if k < 0:
            return self.low * jnp.exp(jnp.log1p(u * math.expm1(k * span)) / k)
        return self.high * jnp.exp(jnp.log1p((1 - u) * math.expm1(-k * span)) / k)


@dataclasses.dataclass(frozen=True)
class LogUniform(Prior):
    """Uniform in the logarithm between `low` and `high`, both above 0."""

    low: float
    high: float

    def _check(self):
        _above_zero("low", self.low)
        _ordered(self.low, self.high)

    @property
    def support(self):
        return self.low, self.high

    def _quantile(self, u):
        return self.low * jnp.exp(math.log(self.high / self.low) * u)


@dataclasses.dataclass(frozen=True)
class Normal(Prior):
    """Normal with this mean and standard deviation."""

    mean: float
    sigma: float

    def _check(self):
        _above_zero("sigma", self.sigma)

    @property
    def support(self):
        return self.mean - _REACH * self.sigma, self.mean + _REACH * self.sigma

    def _quantile(self, u):
        return self.mean + self.sigma * ndtri(u)


@dataclasses.dataclass(frozen=True)
class LogNormal(Prior):
    """exp of a normal: `median`, and the standard deviation `sigma` of the natural logarithm."""

    median: float
    sigma: float

    def _check(self):
        _above_zero("median", self.median)
        _above_zero("sigma", self.sigma)

    @property
    def support(self):
        return self.median * math.exp(-_REACH * self.sigma), self.median * math.exp(_REACH * self.sigma)

    def _quantile(self, u):
        return self.median * jnp.exp(self.sigma * ndtri(u))


@dataclasses.dataclass(frozen=True)
class TruncatedNormal(Prior):
    """Normal of this mean and standard deviation, given that it is between `low` and `high`."""

    mean: float
    sigma: float
    low: float
    high: float

    def _check(self):
        _above_zero("sigma", self.sigma)
        _ordered(self.low, self.high)
        _, start, mass = self._tail()
        if mass < 1e-30 or mass < 1e-6 * start:
            raise ValueError(
                f"low: got {self.low:g} to {self.high:g}, expected an interval that holds more of the normal "
                f"distribution of mean {self.mean:g} and sigma {self.sigma:g}"
            )

    @property
    def support(self):
        return self.low, self.high

    def _tail(self):
        """Sign that brings the interval to the lower tail, and the probabilities below it and inside it there."""
        a, b = (self.low - self.mean) / self.sigma, (self.high - self.mean) / self.sigma
        sign = 1 if a + b < 0 else -1
        a, b = (a, b) if sign == 1 else (-b, -a)
        start, end = (math.erfc(-x / math.sqrt(2)) / 2 for x in (a, b))
        return sign, start, end - start

    def _quantile(self, u):
        sign, start, mass = self._tail()
        return self.mean + sign * self.sigma * ndtri(start + mass * (u if sign == 1 else 1 - u))


@dataclasses.dataclass(frozen=True)
class Integers(Prior):
    """Integers from `low` to `high`, both included, all as probable."""

    discrete: ClassVar[bool] = True
    low: int
    high: int

    def _check(self):
        for name in ("low", "high"):
            value = getattr(self, name)
            if isinstance(value, bool) or int(value) != value or abs(value) > 2**24:
                raise ValueError(f"{name}: got {value!r}, expected an integer of at most 2**24")
            object.__setattr__(self, name, int(value))
        if not 0 <= self.high - self.low < 2**16:
            raise ValueError(f"high: got {self.high}, expected at least low, {self.low}, and less than 2**16 above it")

    @property
    def support(self):
        return self.low, self.high

    def _quantile(self, u):
        return self.low + jnp.floor(u * (self.high - self.low + 1))

    def _draw(self, bits, dtype):
        return (self.low + _scaled(bits[0], self.high - self.low + 1)).astype(dtype)


@dataclasses.dataclass(frozen=True)
class Choice(Prior):
    """One of some numbers, with probabilities in the ratio of `weights`, equal by default."""

    discrete: ClassVar[bool] = True
    values: tuple
    weights: tuple | None = None

    def _check(self):
        for name in ("values", "weights"):
            given = getattr(self, name)
            if given is None and name == "weights":
                continue
            if not isinstance(given, list | tuple) or not 1 <= len(given) < 2**16:
                raise ValueError(f"{name}: got {given!r}, expected a list of numbers")
            object.__setattr__(self, name, tuple(_finite(name, x) for x in given))
        if self.weights is not None:
            if len(self.weights) != len(self.values):
                raise ValueError(
                    f"weights: got {len(self.weights)} of them, expected one for each of {len(self.values)}"
                )
            if min(self.weights) < 0 or not sum(self.weights) > 0:
                raise ValueError(f"weights: got {self.weights}, expected numbers of at least 0, one above it")

    @property
    def support(self):
        possible = [x for x, w in zip(self.values, self.weights or self.values, strict=True) if w or not self.weights]
        return min(possible), max(possible)

    def _quantile(self, u):
        """By the order of `values`."""
        weights = np.ones(len(self.values)) if self.weights is None else np.array(self.weights)
        ends = jnp.asarray(np.cumsum(weights)[:-1] / weights.sum(), u.dtype)
        return jnp.asarray(self.values, u.dtype)[jnp.searchsorted(ends, u, side="right")]

    def _draw(self, bits, dtype):
        if self.weights is not None:
            return self.quantile(_uniform(bits, dtype))
        return jnp.asarray(self.values, dtype)[_scaled(bits[0], len(self.values))]


PRIORS = {
    "constant": Constant,
    "uniform": Uniform,
    "log_uniform": LogUniform,
    "power_law": PowerLaw,
    "normal": Normal,
    "log_normal": LogNormal,
    "truncated_normal": TruncatedNormal,
    "integers": Integers,
    "choice": Choice,
}


def draw(priors, key, dtype=jnp.float32):
    """Draw each parameter, from bits that depend on the key and on its name alone.

    So a parameter that is added, taken away or put elsewhere changes no other, and what is drawn in float32 is what is
    drawn in float64, rounded.

    Parameters
    ----------
    priors : dict of str to Prior
    key : key array of shape ()
        Use `jax.vmap` for many.
    dtype : dtype
        float32 or float64.

    Returns
    -------
    dict of str to scalar array
        Of this dtype, integers too.

    Examples
    --------
    >>> import jax
    >>> from lenskern.simulate.dataset import priors
    >>> theta = priors.draw({"slope": priors.Uniform(1.8, 2.2)}, jax.random.key(0))
    >>> bool(1.8 < theta["slope"] < 2.2)
    True
    """
    if not priors:
        return {}
    names = jnp.asarray([name_code(name) for name in priors], jnp.uint32)
    bits = jax.vmap(lambda code: jax.random.bits(jax.random.fold_in(key, code), (2,), jnp.uint32))(names)
    return {name: prior._draw(bits[i], dtype) for i, (name, prior) in enumerate(priors.items())}


def name_code(name):
    """What is folded into the key for a parameter of this name."""
    return zlib.crc32(name.encode())


def _uniform(bits, dtype):
    """The middle of one of 2^23 or 2^52 equal parts of (0, 1): never 0 nor 1, and symmetric."""
    if dtype == np.float32:
        return ((bits[0] >> 9).astype(dtype) + 0.5) * 2.0**-23
    return (bits[0].astype(dtype) * 2.0**20 + (bits[1] >> 12).astype(dtype) + 0.5) * 2.0**-52


def _scaled(bits, count):
    """floor(count bits / 2^32) for a count below 2^16, in 32 bits."""
    high, low = bits >> 16, bits & 0xFFFF
    return ((high * count + ((low * count) >> 16)) >> 16).astype(jnp.int32)


def _finite(name, value):
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name}: got {value!r}, expected a finite number")
    return number


def _above_zero(name, value):
    if not value > 0:
        raise ValueError(f"{name}: got {value:g}, expected a number above 0")


def _ordered(low, high):
    if not low < high:
        raise ValueError(f"high: got {high:g}, expected a number above low, {low:g}")

"""Checks of arguments at trace time: a `ValueError` names the argument, what it got, and what was expected."""

import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def float_array(name: str, value: Any) -> jax.Array:
    """A float32 or float64 array; anything that would be converted silently is an error."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        value = jnp.asarray(value)
        dtype = value.dtype
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"{name}: got dtype {dtype}, expected float32 or float64")
    if dtype == np.dtype(np.float64) and jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(
            f"{name}: got dtype float64 while 64-bit types are off, expected float32, "
            'or jax.config.update("jax_enable_x64", True) at the start of the program'
        )
    return jnp.asarray(value)


def same_dtype(first: str, a: jax.Array, second: str, b: jax.Array) -> None:
    """Require two arrays of one dtype."""
    if a.dtype != b.dtype:
        raise ValueError(f"{second}: got dtype {b.dtype}, expected the dtype of {first}, {a.dtype}")


def shape(name: str, array: jax.Array, expected: tuple[int, ...], hint: str = "") -> None:
    """Require an exact shape."""
    if array.shape != expected:
        raise ValueError(f"{name}: got shape {array.shape}, expected {expected}{hint}")


def square_matrix(name: str, array: jax.Array, hint: str = "") -> None:
    """Require the shape (K, K) with K > 0."""
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.shape[0] == 0:
        raise ValueError(f"{name}: got shape {array.shape}, expected (K, K) with K > 0{hint}")


def positive_float(name: str, value: Any, expected: str = "a finite number above 0") -> float:
    """A finite number above zero, known at trace time."""
    if isinstance(value, jax.core.Tracer):
        raise ValueError(f"{name}: got a traced value, expected a Python number (a static argument under jit)")
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{name}: got {value!r}, expected {expected}")
    return number


def tolerance(name: str, value: Any) -> float | None:
    """None, 0, or a finite number above it, known at trace time."""
    if value is None:
        return None
    if isinstance(value, numbers.Real) and value == 0:
        return 0.0
    return positive_float(name, value, "None, 0 or a finite number above 0")


def known_values(name: str, array: jax.Array, length: bool, may_be_zero: bool = False, unit: str = " arcsec") -> None:
    """Refuse numbers that are not finite and lengths that are out of range; nothing is known of traced ones."""
    if isinstance(array, jax.core.Tracer):
        return
    values = np.asarray(array)
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: got {values[~np.isfinite(values)][0]}, expected finite numbers")
    bad = values[values < 0] if may_be_zero else values[values <= 0]
    if length and bad.size:
        raise ValueError(f"{name}: got {bad[0]}, expected {'at least' if may_be_zero else 'above'} 0{unit}")


def positive_int(name: str, value: Any) -> int:
    """An integer of at least one that fits 32 bits, known at trace time."""
    if isinstance(value, jax.core.Tracer):
        raise ValueError(f"{name}: got a traced value, expected a Python integer (a static argument under jit)")
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if not 1 <= number < 2**31:
        raise ValueError(f"{name}: got {value!r}, expected an integer of at least 1")
    return number


def index(name: str, what: str, value: Any, count: int) -> int:
    """An integer from 0 to count - 1, known at trace time."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < count:
        raise ValueError(f"{name}: got {what} {value!r}, expected an integer from 0 to {count - 1}")
    return number


def native_hint(value: Any) -> str:
    """What helps with an array of PyAutoArray that has its pixels on one axis."""
    return "; of PyAutoArray's arrays, give .native.array" if hasattr(value, "native") else ""


def nothing_masked(name: str, value: Any) -> None:
    """Refuse a NumPy masked array of which something is masked: as an ordinary array it would count."""
    if np.ma.is_masked(value):
        raise ValueError(f"{name}: got a masked array, expected one without masked entries; its filled() makes one")


def choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Require one of a few values."""
    if not any(value is a or (isinstance(value, str) and value == a) for a in allowed):
        raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(repr(a) for a in allowed)}")

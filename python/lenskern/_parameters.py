"""Parameters of lens and light models: numbers, arrays or traced values, in the dtype of the grid."""

import numbers

import jax.numpy as jnp
import numpy as np

from . import _checks

# (1 − q)/(1 + q) is clamped to this, an axis ratio of 5e-4, so that the series of the power law ends.
LARGEST = 0.999


def check_grid(grid):
    """Positions as an array of shape (..., 2)."""
    grid = _checks.float_array("grid", grid)
    if grid.ndim < 1 or grid.shape[-1] != 2:
        raise ValueError(f"grid: got shape {grid.shape}, expected (..., 2), positions (y, x)")
    return grid


def scalar(name, value, grid, shape=()):
    """A parameter in the dtype of the grid; numbers without a dtype are converted, arrays must have it."""
    if isinstance(value, tuple | list):
        value = jnp.stack([scalar(f"{name}[{i}]", x, grid) for i, x in enumerate(value)]) if value else np.zeros(0)
    if not hasattr(value, "dtype") or getattr(value, "weak_type", False):
        value = jnp.asarray(value, grid.dtype)
    value = _checks.float_array(name, value)
    _checks.same_dtype("grid", grid, name, value)
    _checks.shape(name, value, shape, "; use jax.vmap for a batch")
    return value


def vector(name, value, grid):
    """A pair in the dtype of the grid."""
    return scalar(name, value, grid, (2,))


def check_range(name, value, valid, expected):
    """Refuse a number that is out of range and known now; one on a device or traced gives NaN instead."""
    if isinstance(value, numbers.Real | np.ndarray) and not np.all(valid(value)):
        raise ValueError(f"{name}: got {value}, expected {expected}")


def size(ey, ex):
    """f = (1 − q)/(1 + q), not clamped, with derivative 0 where it is 0."""
    square = ey**2 + ex**2
    return jnp.where(square == 0, 0.0, jnp.sqrt(jnp.where(square == 0, 1.0, square)))


def clamped(ell):
    """f and the ellipticity, f being at most LARGEST."""
    f = size(*ell)
    return jnp.minimum(f, LARGEST), ell * jnp.where(f > LARGEST, LARGEST / jnp.maximum(f, LARGEST), 1)

"""Rays in an order that keeps neighbours together, so that pieces of it are compact."""

import jax
import jax.numpy as jnp

_BITS = 16  # along each axis


def hilbert_order(grid):
    """Order points along a Hilbert curve over the square around them.

    Parameters
    ----------
    grid : (..., n, 2) array
        (y, x). Points that are not finite are taken to be in a corner.

    Returns
    -------
    (..., n) int32 array
        Numbers of the points, in the order of the curve.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> print(hilbert_order(jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])))
    [0 2 3 1]
    """
    finite = jnp.isfinite(grid).all(-1, keepdims=True)
    low = jnp.where(finite, grid, jnp.inf).min(-2, keepdims=True)
    high = jnp.where(finite, grid, -jnp.inf).max(-2, keepdims=True)
    side = (high - low).max(-1, keepdims=True)
    cell = jnp.where(finite & (side > 0), (grid - low) / side, 0) * (2**_BITS - 1)
    y, x = jnp.moveaxis(cell.astype(jnp.uint32), -1, 0)

    def descend(level, state):
        key, y, x = state
        half = jnp.uint32(1) << (_BITS - 1 - level.astype(jnp.uint32))
        up, right = (y & half) > 0, (x & half) > 0
        # The quarters in order are (0, 0), (0, 1), (1, 1), (1, 0) in (y, x); the curve in the first and in the last one
        # is reflected in a diagonal.
        quarter = jnp.where(up, jnp.where(right, 2, 3), jnp.where(right, 1, 0)).astype(jnp.uint32)
        key = key * 4 + quarter
        y, x = y & (half - 1), x & (half - 1)
        turned = quarter == 3
        y, x = jnp.where(turned, half - 1 - y, y), jnp.where(turned, half - 1 - x, x)
        swapped = turned | (quarter == 0)
        return key, jnp.where(swapped, x, y), jnp.where(swapped, y, x)

    key, _, _ = jax.lax.fori_loop(0, _BITS, descend, (jnp.zeros_like(y), y, x))
    return jnp.argsort(key, axis=-1).astype(jnp.int32)

"""Which pixels a masked convolution reads."""

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks


def blurring_mask(mask, kernel_shape):
    """The pixels that are masked, but near enough for a kernel to bring their light to one that is not.

    Parameters
    ----------
    mask : (H, W) bool array
        True where masked.
    kernel_shape : tuple of int
        (kh, kw).

    Returns
    -------
    (H, W) bool array
        False in the blurring region and True elsewhere, as autoarray's blurring masks. Pixels beyond the edge of the
        image are not in it: pad the mask where their light counts.

    Examples
    --------
    >>> import numpy as np
    >>> from lenskern import convolve
    >>> print(convolve.blurring_mask(np.array([[True, True, False, True]]), (3, 3)))
    [[ True False  True False]]
    """
    mask = checked(mask)
    xp = jnp if isinstance(mask, jax.core.Tracer) else np
    near = ~mask
    for axis, k in enumerate(kernel_shape):
        n = mask.shape[axis]
        total = xp.cumsum(xp.pad(near.astype(int), [(1, 0) if i == axis else (0, 0) for i in (0, 1)]), axis)
        place = np.arange(n)
        # Light of pixel j comes to the pixels from j - (k - 1) // 2 to j + k // 2.
        low, high = np.maximum(place - (k - 1) // 2, 0), np.minimum(place + k // 2 + 1, n)
        near = xp.take(total, high, axis) > xp.take(total, low, axis)
    return ~(near & mask)


def checked(mask, shape=None):
    """A mask as an array, on the host if its values are known."""
    _checks.nothing_masked("mask", mask)
    mask = mask if isinstance(mask, jax.core.Tracer) else np.asarray(mask)
    if mask.dtype != np.bool_:
        raise ValueError(f"mask: got dtype {mask.dtype}, expected bool")
    if shape is not None:
        _checks.shape("mask", mask, shape, ", the shape of one image")
    if mask.ndim != 2:
        raise ValueError(f"mask: got shape {mask.shape}, expected (H, W)")
    return mask

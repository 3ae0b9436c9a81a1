"""Convolution of what a mask leaves, with the semantics of autoarray's Convolver."""

import jax
import jax.numpy as jnp


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
    """
    near = ~jnp.asarray(mask)
    for axis, k in enumerate(kernel_shape):
        half = k // 2
        window = [2 * half + 1 if i == axis else 1 for i in (0, 1)]
        pads = [(half, half) if i == axis else (0, 0) for i in (0, 1)]
        near = jax.lax.reduce_window(near, False, jnp.logical_or, window, (1, 1), pads) if near.size else near
    return ~(near & jnp.asarray(mask))

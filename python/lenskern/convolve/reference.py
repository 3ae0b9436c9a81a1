"""Convolution with jnp alone; all functions broadcast over leading axes.

In each dimension entry i of the result is Σ_d k[c + d] x[i − d], where c = (n − 1) // 2 is the centre of the n entries
of the kernel and x is 0 outside of the image. The transposed map has Σ_d k[c + d] x[i + d].
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Products of the direct sum that are written out one by one; with more, the program gets long.
UNROLLED = 49


def fast_length(n):
    """The smallest even length of at least n without prime factors above 5."""
    length = n + n % 2
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def fft_shape(shape, kernel_shape):
    """Lengths of the transforms of `fft`: what wraps around then lands beyond the image."""
    return tuple(fast_length(n + k // 2) for n, k in zip(shape, kernel_shape, strict=True))


def within_reach(taps, axis, n):
    """A kernel without the entries that reach from no pixel to another along an axis, -1 or -2, of n pixels."""
    centre = (taps.shape[axis] - 1) // 2
    kept = slice(max(centre - n + 1, 0), centre + n)
    return taps[..., kept] if axis == -1 else taps[..., kept, :]


def transform(kernel, shape, xp=jnp):
    """Fourier transform of a kernel whose centre is at the origin.

    Parameters
    ----------
    kernel : (..., kh, kw) array
    shape : tuple of int
        Lengths of the transform, as from `fft_shape`.
    xp : module
        `jax.numpy`, or `numpy` for a kernel on the host.

    Returns
    -------
    (..., shape[0], shape[1] // 2 + 1) complex array
    """
    kh, kw = kernel.shape[-2:]
    pad = [(0, 0)] * (kernel.ndim - 2) + [(0, shape[0] - kh), (0, shape[1] - kw)]
    centred = xp.roll(xp.pad(kernel, pad), (-((kh - 1) // 2), -((kw - 1) // 2)), (-2, -1))
    return xp.fft.rfft2(centred)


def fft(image, transformed, transposed=False):
    """By Fourier transforms.

    Parameters
    ----------
    image : (..., H, W) array
    transformed : (..., Fy, Fx // 2 + 1) complex array
        From `transform`; Fx is even.
    transposed : bool

    Returns
    -------
    (..., H, W) array
    """
    height, width = image.shape[-2:]
    shape = transformed.shape[-2], 2 * (transformed.shape[-1] - 1)
    # The centre of the kernel is at the origin, so its conjugate is the kernel turned round.
    factor = jnp.conj(transformed) if transposed else transformed
    return jnp.fft.irfft2(jnp.fft.rfft2(image, s=shape) * factor, s=shape)[..., :height, :width]


def direct(image, kernel, transposed=False):
    """Sum of the shifted images, each times an entry of the kernel.

    Parameters
    ----------
    image : (..., H, W) array
    kernel : (..., kh, kw) array
    transposed : bool

    Returns
    -------
    (..., H, W) array
    """
    (kh, kw), (height, width) = kernel.shape[-2:], image.shape[-2:]
    window = kernel if transposed else kernel[..., ::-1, ::-1]
    before = [(n - 1) // 2 if transposed else n // 2 for n in (kh, kw)]
    pads = [(b, n - 1 - b) for b, n in zip(before, (kh, kw), strict=True)]
    if kh * kw > UNROLLED:
        return jnp.vectorize(functools.partial(_correlate, pads=pads), signature="(h,w),(i,j)->(h,w)")(image, window)
    padded = jnp.pad(image, [(0, 0)] * (image.ndim - 2) + pads)
    return sum(
        window[..., i, j, None, None] * padded[..., i : i + height, j : j + width] for i in range(kh) for j in range(kw)
    )


def _correlate(image, window, pads):
    return jax.lax.conv_general_dilated(
        image[None, None], window[None, None], (1, 1), pads, precision=jax.lax.Precision.HIGHEST
    )[0, 0]


def band(taps, n):
    """The matrix (..., n, n) that convolves n numbers with a kernel (..., k)."""
    k = taps.shape[-1]
    entry = np.arange(n)[:, None] - np.arange(n) + (k - 1) // 2
    return jnp.where((entry >= 0) & (entry < k), taps[..., np.clip(entry, 0, k - 1)], 0)


def separable(image, y, x, transposed=False):
    """By a kernel Σ_r y[r, i] x[r, j], as products with banded matrices.

    Parameters
    ----------
    image : (..., H, W) array
    y : (..., R, kh) array
    x : (..., R, kw) array
    transposed : bool

    Returns
    -------
    (..., H, W) array
    """
    by_rows, by_columns = band(y, image.shape[-2]), jnp.swapaxes(band(x, image.shape[-1]), -2, -1)
    if transposed:
        by_rows, by_columns = jnp.swapaxes(by_rows, -2, -1), jnp.swapaxes(by_columns, -2, -1)
    multiply = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    return sum(multiply(multiply(by_rows[..., r, :, :], image), by_columns[..., r, :, :]) for r in range(y.shape[-2]))


def outer(y, x):
    """The kernel (..., kh, kw) of the factors that `separable` takes."""
    return (y[..., :, :, None] * x[..., :, None, :]).sum(-3)

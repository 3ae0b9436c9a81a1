"""Convolution of small images by Fourier transforms as a Triton kernel, through jax-triton.

As kernels/pallas/convolve.py: transforms are products with matrices of cosines and sines, and nothing but the image and
the result passes through memory more than once.
"""

import jax
import jax.numpy as jnp

from lenskern.convolve import fourier

from . import launch

LARGEST = 256  # pixels on a side
FREQUENCIES = 16  # along x that are taken at a time: the least that a product takes
ROWS = 32  # frequencies along y at a time
COLUMNS = 16  # of the image at a time


def convolve(image, transform, *, transposed=False):
    """Convolve every image with a kernel whose Fourier transform is given.

    Parameters
    ----------
    image : array, shape (B, H, W) or (1, H, W)
        float32 or float64. Of this and of the transform, one alone is shared by all lanes.
    transform : array, shape (B, Fy, Fx / 2 + 1) or (1, Fy, Fx / 2 + 1)
        Complex, as `lenskern.convolve.reference.transform` makes it.
    transposed : bool
        Correlate in place of convolving.

    Returns
    -------
    tuple of one array, shape (B, H, W)

    Raises
    ------
    NotImplementedError
        For images of more than 256 pixels on a side.
    RuntimeError
        Where Triton, jax-triton or the CUDA plugin of jax is missing.
    """
    (lanes,) = jnp.broadcast_shapes(image.shape[:1], transform.shape[:1])
    height, width = image.shape[1:]
    if max(height, width) > LARGEST:
        raise NotImplementedError(
            f"backend 'triton' convolves images of up to {LARGEST} x {LARGEST} pixels, got {height} x {width}: use "
            "backend=None"
        )
    if launch.MISSING:
        raise RuntimeError(launch.MISSING)
    out = jax.ShapeDtypeStruct((lanes, height, width), image.dtype)
    if lanes == 0:
        return (jnp.zeros(out.shape, out.dtype),)
    from .convolve_kernel import convolve_images

    tall, wide = (max(16, 1 << (n - 1).bit_length()) for n in (height, width))
    parts, by_row, by_column = fourier.operands(tall, wide, transform, image.dtype, ROWS, FREQUENCIES, transposed)
    return (
        launch.call(
            convolve_images,
            image,
            *parts,
            *by_row,
            *by_column,
            height,
            width,
            out=out,
            programs=lanes,
            warps=warps(tall),
            LANES=tuple(int(a.shape[0] == lanes and lanes > 1) for a in (image, transform)),
            TALL=tall,
            WIDE=wide,
            HIGH=by_row[0].shape[0],
            LOW=by_column[0].shape[1],
            FREQUENCIES=FREQUENCIES,
            ROWS=ROWS,
            COLUMNS=COLUMNS,
        ),
    )


def warps(tall):
    """Warps of a program, so that its sums over `tall` rows take 64 registers of a thread, or fewer."""
    return max(2, tall // 16)

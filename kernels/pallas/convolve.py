"""Convolution of small images by Fourier transforms, fused: one Pallas program takes one image there and back.

The transforms are products with matrices of cosines and sines, so an image of H x W pixels costs of the order of
(H + W) H W products, and nothing but the image and the result has to leave the chip.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from lenskern.convolve import fourier

try:
    from jax.experimental import pallas
    from jax.experimental.pallas import triton
except ImportError as error:  # deprecated in JAX, and missing from some builds of jaxlib
    MISSING = f"jax {jax.__version__} has no Pallas-Triton: {error}"
else:
    MISSING = None

LARGEST = 256  # pixels on a side
FREQUENCIES = 16  # along x that are taken at a time: the smallest that a float64 product of Triton takes
ROWS = 32  # frequencies along y at a time
COLUMNS = 32  # of the image at a time, where all of it does not fit into registers
HELD = 2**16  # bytes of a result that stays in registers


def convolve(image, transform, *, transposed=False, interpret=False):
    """Convolve every image with a kernel whose Fourier transform is given.

    Parameters
    ----------
    image : array, shape (B, H, W) or (1, H, W)
        float32 or float64. Of this and of the transform, one alone is shared by all lanes.
    transform : array, shape (B, Fy, Fx / 2 + 1) or (1, Fy, Fx / 2 + 1)
        Complex, as `lenskern.convolve.reference.transform` makes it.
    transposed : bool
        Correlate in place of convolving.
    interpret : bool
        Run as ordinary JAX operations, on any platform, instead of as a GPU kernel.

    Returns
    -------
    tuple of one array, shape (B, H, W)

    Raises
    ------
    NotImplementedError
        For images of more than 256 pixels on a side, and for 2^31 pixels or more.
    RuntimeError
        Where this jax has no Pallas-Triton.
    """
    (lanes,) = jnp.broadcast_shapes(image.shape[:1], transform.shape[:1])
    height, width = image.shape[1:]
    if max(height, width) > LARGEST:
        raise NotImplementedError(
            f"backend 'pallas' convolves images of up to {LARGEST} x {LARGEST} pixels, got {height} x {width}: use "
            "backend=None"
        )
    if lanes * height * width >= 2**31:
        raise NotImplementedError(
            f"backend 'pallas' indexes with 32 bits, got {lanes * height * width} pixels: take the images in several "
            "calls"
        )
    if MISSING:
        raise RuntimeError(MISSING)
    out = jax.ShapeDtypeStruct((lanes, height, width), image.dtype)
    if lanes == 0:
        return (jnp.zeros(out.shape, out.dtype),)
    tall, wide = (max(16, pallas.next_power_of_2(n)) for n in (height, width))
    parts, by_row, by_column = fourier.operands(tall, wide, transform, image.dtype, ROWS, FREQUENCIES, transposed)
    operands = image, *parts, *by_row, *by_column

    def block(a):
        shared = a.ndim == 2 or a.shape[0] != lanes
        if a.ndim == 2:
            return pallas.BlockSpec(a.shape, lambda i: (0, 0))
        return pallas.BlockSpec((None, *a.shape[1:]), lambda i: (0 if shared else i, 0, 0))

    return (
        pallas.pallas_call(
            functools.partial(_lane, tall=tall, wide=wide, interpret=interpret),
            out_shape=out,
            grid=(lanes,),
            in_specs=[block(a) for a in operands],
            out_specs=block(out),
            compiler_params=triton.CompilerParams(num_warps=8 if tall * wide <= 128 * 128 else 16, num_stages=1),
            interpret=interpret,
            name="lenskern_convolve_fft",
        )(*operands),
    )


def _dot(a, b, contract=(1, 0)):
    # HIGHEST keeps float32 from being rounded to TF32.
    dims = (((contract[0],), (contract[1],)), ((), ()))
    return lax.dot_general(a, b, dims, precision=lax.Precision.HIGHEST, preferred_element_type=a.dtype)


def _lane(
    image_ref, real_ref, imag_ref, row_real, row_imag, column_real, column_imag, out_ref, *, tall, wide, interpret
):
    """Take the frequencies along x in tiles: forward along both axes, times the kernel, and back."""
    height, width = image_ref.shape
    held = tall * wide * out_ref.dtype.itemsize <= HELD
    step = wide if held else COLUMNS
    rows = lax.broadcasted_iota(jnp.int32, (tall, step), 0)
    columns = lax.broadcasted_iota(jnp.int32, (tall, step), 1)
    low = lax.iota(jnp.int32, FREQUENCIES)
    high = lax.iota(jnp.int32, ROWS)

    def inside(start):
        return (rows < height) & (start + columns < width)

    def matrix(ref, first, second):
        return triton.load(ref.at[first[:, None] + jnp.zeros_like(second), second + jnp.zeros_like(first)[:, None]])

    def take(tile, held_sum):
        f = tile * FREQUENCIES + low

        def column(j):
            x = j * step + lax.iota(jnp.int32, step)
            return matrix(column_real, x, f), matrix(column_imag, x, f)

        def forward(j, sums):
            start = j * step
            pixels = triton.load(image_ref.at[rows, start + columns], mask=inside(start), other=0)
            return tuple(total + _dot(pixels, part) for total, part in zip(sums, column(j), strict=True))

        zero = jnp.zeros((tall, FREQUENCIES), out_ref.dtype)
        real, imag = lax.fori_loop(0, wide // step, forward, (zero, zero))

        def through(j, sums):
            f_y = j * ROWS + high
            c, s = (matrix(ref, f_y, lax.iota(jnp.int32, tall)) for ref in (row_real, row_imag))
            k, l = (matrix(ref, f_y, f) for ref in (real_ref, imag_ref))
            a, b = _dot(c, real) - _dot(s, imag), _dot(c, imag) + _dot(s, real)
            a, b = a * k - b * l, a * l + b * k
            return sums[0] + _dot(c, a, (0, 0)) + _dot(s, b, (0, 0)), sums[1] + _dot(c, b, (0, 0)) - _dot(s, a, (0, 0))

        real, imag = lax.fori_loop(0, row_real.shape[0] // ROWS, through, (zero, zero))

        def back(j):
            c, s = column(j)
            return _dot(real, c, (1, 1)) + _dot(imag, s, (1, 1))

        if held:
            return held_sum + back(0)

        def add(j, _):
            start = j * step
            at = out_ref.at[rows, start + columns]
            before = triton.load(at, mask=inside(start) & (tile > 0), other=0)
            triton.store(at, before + back(j), mask=inside(start))
            return 0

        lax.fori_loop(0, wide // step, add, 0)
        if not interpret:
            triton.debug_barrier()  # what one thread has stored another may load
        return held_sum

    start = jnp.zeros((tall, wide), out_ref.dtype) if held else 0
    total = lax.fori_loop(0, column_real.shape[1] // FREQUENCIES, take, start)
    if held:
        triton.store(out_ref.at[rows, columns], total, mask=inside(0))

"""Images as the columns of a matrix, of which only some pixels are there: the mapping matrices of pixelised sources."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.interpreters import ad, mlir

from .. import _ffi, _primitive
from . import reference

# What can run it besides the reference.
BACKENDS = ("cpp",)


def convolve(matrix, kernel, inputs, outputs, shape, *, transposed=False, backend=None):
    """Convolve each column.

    The compiled kernel passes over zeros: it takes time in proportion to the entries that are not zero.

    Parameters
    ----------
    matrix : (..., R, S) array
    kernel : (..., kh, kw) array
        Of the same dtype.
    inputs, outputs : (..., R, 2) and (..., N, 2) int32 arrays
        Pixel (y, x) of each row of the matrix and of the result. Beyond the image there is no light.
    shape : tuple of int
        (H, W) of the image.
    transposed : bool
        Correlate in place of convolving.
    backend : {None, "reference", "cpp"}

    Returns
    -------
    (..., N, S) array
    """
    operands = _primitive.with_lanes((matrix, kernel, inputs, outputs), _NDIMS)
    return columns_p.bind(*operands, shape=shape, transposed=transposed, backend=backend)[0]


def lane(matrix, kernel, inputs, outputs, *, shape, transposed):
    """Of one lane, by Fourier transforms of whole images: a list of the result."""
    height, width = shape

    def place(pixels):
        inside = jnp.all((pixels >= 0) & (pixels < jnp.asarray(shape)), axis=-1)
        return jnp.where(inside, pixels[:, 0] * width + pixels[:, 1], height * width)

    images = jnp.zeros((matrix.shape[1], height * width), matrix.dtype).at[:, place(inputs)].set(matrix.T, mode="drop")
    kernel = reference.within_reach(reference.within_reach(kernel, -2, height), -1, width)
    transform = reference.transform(kernel, reference.fft_shape(shape, kernel.shape))
    out = reference.fft(images.reshape(-1, height, width), transform, transposed).reshape(-1, height * width)
    return [out.at[:, place(outputs)].get(mode="fill", fill_value=0).T]


def _choose(platform, *avals, shape, transposed, backend):
    if backend not in (None, "reference", *BACKENDS):
        raise NotImplementedError(f"backend {backend!r} does not convolve mapping matrices; use backend=None")
    if _ffi.compiled_backend(platform, backend, BACKENDS):
        rule = jax.ffi.ffi_lowering("lenskern_convolve_columns")
        return partial(rule, height=shape[0], width=shape[1], transposed=transposed)
    own = partial(lane, shape=shape, transposed=transposed)
    return mlir.lower_fun(_primitive.on_lanes(own, _NDIMS, sequential=platform == "cpu"))


def _results(matrix, kernel, inputs, outputs, **params):
    return [((outputs.shape[0], matrix.shape[1]), matrix.dtype)]


def _differentiate(primals, tangents, *, shape, transposed, backend):
    """d(k * x) = k * dx + dk * x, the second by the reference: it is no hot path."""
    (matrix, kernel, *pixels), (dmatrix, dkernel, *_) = primals, tangents
    params = {"shape": shape, "transposed": transposed}
    out = columns_p.bind(matrix, kernel, *pixels, **params, backend=backend)
    parts = []
    if type(dmatrix) is not ad.Zero:
        parts += columns_p.bind(dmatrix, kernel, *pixels, **params, backend=backend)
    if type(dkernel) is not ad.Zero:
        parts += _primitive.on_lanes(partial(lane, **params), _NDIMS, sequential=False)(matrix, dkernel, *pixels)
    return out, [sum(parts[1:], parts[0])]


def _transpose(cotangents, matrix, kernel, inputs, outputs, *, transposed, **params):
    cotangent = ad.instantiate_zeros(cotangents[0])
    (result,) = columns_p.bind(cotangent, kernel, outputs, inputs, transposed=not transposed, **params)
    return [_primitive.summed(result, matrix), None, None, None]


_NDIMS = (2, 2, 2, 2)
columns_p = _primitive.batched_primitive("lenskern_convolve_columns", _NDIMS, _results, _choose)
ad.primitive_jvps[columns_p] = _differentiate
ad.primitive_transposes[columns_p] = _transpose

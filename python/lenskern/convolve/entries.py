"""Images as the columns of a matrix that is known by its entries alone, as mapping matrices are; see `columns`."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.interpreters import ad, mlir

from .. import _ffi, _primitive
from . import columns


def convolve(values, rows, at, kernel, pixels, shape, size, *, backend=None):
    """Convolve each column of the matrix that has `values` at `rows` and columns `at`.

    The compiled kernel never makes the matrix, and takes time in proportion to its entries.

    Parameters
    ----------
    values : (..., E) array
        Added up where a place of the matrix has several.
    rows, at : (..., E) int32 arrays
        Row and column of each; what is beyond the matrix counts for nothing.
    kernel : (..., kh, kw) array
        Of the dtype of the values.
    pixels : (..., N, 2) int32 array
        Pixel (y, x) of each row.
    shape : tuple of int
        (H, W) of the image.
    size : int
        S, the number of columns.
    backend : {None, "reference", "cpp"}

    Returns
    -------
    (..., N, S) array
    """
    operands = _primitive.with_lanes((values, rows, at, kernel, pixels), _NDIMS)
    return scatter_p.bind(*operands, shape=shape, size=size, backend=backend)[0]


def scatter(values, rows, at, shape):
    """The matrix of one lane.

    Parameters
    ----------
    values, rows, at
        As for `convolve`, without batch axes.
    shape : tuple of int
        (N, S).

    Returns
    -------
    (N, S) array
    """
    return jnp.zeros(shape, values.dtype).at[_places(rows, at, shape)].add(values, mode="drop")


def _places(rows, at, shape):
    """Rows and columns for `jax.Array.at`, whose negative ones count from the end: they become too large."""
    return jnp.where(rows < 0, shape[0], rows), jnp.where(at < 0, shape[1], at)


def _scatter(values, rows, at, kernel, pixels, *, shape, size):
    matrix = scatter(values, rows, at, (len(pixels), size))
    return columns.lane(matrix, kernel, pixels, pixels, shape=shape, transposed=False)


def _gather(matrix, rows, at, kernel, pixels, *, shape, size):
    (blurred,) = columns.lane(matrix, kernel, pixels, pixels, shape=shape, transposed=True)
    return [blurred.at[_places(rows, at, blurred.shape)].get(mode="fill", fill_value=0)]


def _choose(name, lane, ndims, platform, *avals, shape, size, backend):
    if backend not in (None, "reference", *columns.BACKENDS):
        raise NotImplementedError(f"backend {backend!r} does not convolve mapping matrices; use backend=None")
    if _ffi.compiled_backend(platform, backend, columns.BACKENDS):
        return partial(jax.ffi.ffi_lowering(name), height=shape[0], width=shape[1])
    lane = partial(lane, shape=shape, size=size)
    return mlir.lower_fun(_primitive.on_lanes(lane, ndims, sequential=platform == "cpu"))


def _primitive_of(name, lane, ndims, results):
    """A primitive that is linear in its first operand and in the kernel."""
    primitive = _primitive.batched_primitive(name, ndims, results, partial(_choose, name, lane, ndims))

    def differentiate(primals, tangents, *, backend, **params):
        """d(k * x) = k * dx + dk * x, the second by the reference: it is no hot path."""
        (x, rows, at, kernel, pixels), (dx, _, _, dkernel, _) = primals, tangents
        out = primitive.bind(*primals, backend=backend, **params)
        parts = []
        if type(dx) is not ad.Zero:
            parts += primitive.bind(dx, rows, at, kernel, pixels, backend=backend, **params)
        if type(dkernel) is not ad.Zero:
            own = _primitive.on_lanes(partial(lane, **params), ndims, sequential=False)
            parts += own(x, rows, at, dkernel, pixels)
        return out, [sum(parts[1:], parts[0])]

    ad.primitive_jvps[primitive] = differentiate
    return primitive


_NDIMS = (1, 1, 1, 2, 2)
scatter_p = _primitive_of(
    "lenskern_convolve_scatter",
    _scatter,
    _NDIMS,
    lambda values, rows, at, kernel, pixels, size, **params: [((pixels.shape[0], size), values.dtype)],
)
gather_p = _primitive_of(
    "lenskern_convolve_gather",
    _gather,
    (2, *_NDIMS[1:]),
    lambda matrix, rows, *_, **params: [(rows.shape, matrix.dtype)],
)


def _transpose_with(other):
    def transpose(cotangents, x, *operands, **params):
        (result,) = other.bind(ad.instantiate_zeros(cotangents[0]), *operands, **params)
        return [_primitive.summed(result, x), None, None, None, None]

    return transpose


ad.primitive_transposes[scatter_p] = _transpose_with(gather_p)
ad.primitive_transposes[gather_p] = _transpose_with(scatter_p)

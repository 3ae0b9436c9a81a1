"""The matrix of the normal equations of least squares."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad, mlir

from .. import _checks, _ffi, _primitive, backends


def normal_matrix(matrix, noise_map=None, *, order=None, backend=None):
    """Matrix Q of the inversion with the least |(Ax − d)/σ|², that is AᵀA with the rows of A over σ.

    Together with q = Aᵀ(d/σ²) it is what `solve` takes: the curvature matrix of Warren & Dye (2003), equation 4, for a
    mapping matrix A that is blurred by a PSF. On the CPU columns that are zero in all of 64 rows cost nothing there, so
    that the time for a pixelised source is a small part of that of the product.

    Works under `jax.jit`, `jax.vmap` and `jax.grad`.

    Parameters
    ----------
    matrix : (..., N, S) array
        A, float32 or float64.
    noise_map : (..., N) array, optional
        σ, of the same dtype; None is 1 everywhere.
    order : (N,) int array, optional
        In which to take the rows, each once. Best is one with neighbours in the image side by side, see `tile_order`.
        The result is the same to rounding.
    backend : {None, "reference", "cpp"}
        What runs it; None takes the fastest that is available for the platform. A named one runs or raises.

    Returns
    -------
    (..., S, S) array
        Symmetric to the bit where the compiled kernel runs.

    Raises
    ------
    ValueError
        For an argument of the wrong shape or dtype.
    NotImplementedError
        For a backend that cannot run it.
    RuntimeError
        For a named backend that is not available.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from lenskern import nnls
    >>> print(nnls.normal_matrix(jnp.array([[1.0, 2.0], [0.0, 3.0]]), jnp.array([1.0, 0.5])))
    [[ 1.  2.]
     [ 2. 40.]]
    """
    matrix = _checks.float_array("matrix", matrix)
    if matrix.ndim < 2 or 0 in matrix.shape[-2:]:
        raise ValueError(f"matrix: got shape {matrix.shape}, expected (..., N, S) with N, S > 0")
    rows = matrix.shape[-2]
    noise = jnp.ones(rows, matrix.dtype) if noise_map is None else _checks.float_array("noise_map", noise_map)
    _checks.same_dtype("matrix", matrix, "noise_map", noise)
    if noise.shape[-1:] != (rows,):
        raise ValueError(f"noise_map: got shape {noise.shape}, expected (..., {rows})")
    order = _checked(np.arange(rows) if order is None else order, rows)
    if backend is not None:
        backends.require(backend)
    operands = matrix, 1 / noise, jnp.clip(jnp.asarray(order, jnp.int32), 0, rows - 1)
    return normal_p.bind(*_primitive.with_lanes(operands, _NDIMS), backend=backend)[0]


def tile_order(mask):
    """The pixels that a mask leaves, square by square of 8 x 8: an order for `normal_matrix`.

    Parameters
    ----------
    mask : (H, W) bool array
        True where masked, known when the function is traced.

    Returns
    -------
    (N,) int32 array
        Of the pixels row by row, which to take first, second and so on.

    Examples
    --------
    >>> import numpy as np
    >>> from lenskern import nnls
    >>> print(nnls.tile_order(np.zeros((2, 9), bool)))
    [ 0  1  2  3  4  5  6  7  9 10 11 12 13 14 15 16  8 17]
    """
    if isinstance(mask, jax.core.Tracer):
        raise ValueError("mask: got a traced array, expected one whose values are known")
    _checks.nothing_masked("mask", mask)
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise ValueError(f"mask: got shape {mask.shape}, dtype {mask.dtype}, expected (H, W) of bool")
    y, x = np.argwhere(~mask).T // 8
    return np.lexsort((x, y)).astype(np.int32)


def _checked(order, rows):
    """An order of so many rows; whether each is there once can be seen only where the values are known."""
    order = order if isinstance(order, jax.core.Tracer) else np.asarray(order)
    if order.shape != (rows,) or not jnp.issubdtype(order.dtype, jnp.integer):
        raise ValueError(f"order: got shape {order.shape}, dtype {order.dtype}, expected ({rows},) of integers")
    if isinstance(order, np.ndarray) and not np.array_equal(np.sort(order), np.arange(rows)):
        raise ValueError(f"order: got some rows twice or not at all, expected each of 0 to {rows - 1} once")
    return order


def _product(A, B):
    """AᵀB of each lane."""
    return jnp.matmul(jnp.swapaxes(A, -2, -1), B, precision=jax.lax.Precision.HIGHEST)


def _choose(platform, *avals, backend):
    if backend not in (None, "reference", "cpp"):
        raise NotImplementedError(f"backend {backend!r} has no kernel for normal matrices; use backend=None")
    if _ffi.compiled_backend(platform, backend, ("cpp",)):
        return jax.ffi.ffi_lowering("lenskern_nnls_normal_matrix")

    def lanes(matrix, scale, order):
        A = matrix * scale[..., None]
        return [_product(A, A)]

    return mlir.lower_fun(lanes)


def _differentiate(primals, tangents, *, backend):
    """dQ = dAᵀA + AᵀdA with A = s M and dA = s dM + ds M."""
    (matrix, scale, order), (dmatrix, dscale, _) = primals, tangents
    out = normal_p.bind(matrix, scale, order, backend=backend)
    parts = []
    if type(dmatrix) is not ad.Zero:
        parts.append(dmatrix * scale[..., None])
    if type(dscale) is not ad.Zero:
        parts.append(matrix * dscale[..., None])
    half = _product(sum(parts[1:], parts[0]), matrix * scale[..., None])
    return out, [half + jnp.swapaxes(half, -2, -1)]


_NDIMS = (2, 1, 1)
normal_p = _primitive.batched_primitive(
    "lenskern_nnls_normal_matrix",
    _NDIMS,
    lambda matrix, *_, **params: [((matrix.shape[1],) * 2, matrix.dtype)],
    _choose,
)
ad.primitive_jvps[normal_p] = _differentiate

"""Determinants of positive definite matrices."""

import jax
import jax.numpy as jnp
from jax.interpreters import ad, mlir

from .. import _checks, _ffi, _primitive, backends


def log_determinant(matrix, *, backend=None):
    """ln det A of symmetric positive definite matrices, of which the lower triangle is read.

    The evidence of an inversion has two of them, of the curvature matrix with the regularization added and of the
    regularization matrix alone (Suyu et al. 2006). On the CPU entries that are zero are left out of the
    factorisation as far as an order of the rows allows, so that the matrix of a regularization, with a few entries in
    each row, costs a small part of a full one.

    Works under `jax.jit`, `jax.vmap` and `jax.grad`. Derivatives are those among symmetric matrices: gradients are
    symmetric, both triangles of a tangent count.

    Parameters
    ----------
    matrix : (..., K, K) array
        A, float32 or float64.
    backend : {None, "reference", "cpp"}
        What runs it; None takes the fastest that is available for the platform. A named one runs or raises.

    Returns
    -------
    (...) array
        NaN for a matrix that is not positive definite or not finite.

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
    >>> print(f"{nnls.log_determinant(jnp.array([[2.0, 1.0], [1.0, 3.0]])):.4f}")
    1.6094
    """
    matrix = _checks.float_array("matrix", matrix)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or matrix.shape[-1] == 0:
        raise ValueError(f"matrix: got shape {matrix.shape}, expected (..., K, K) with K > 0")
    if backend is not None:
        backends.require(backend)
    return log_determinant_p.bind(matrix, backend=backend)[0]


def _factor(matrix):
    return jnp.linalg.cholesky(matrix, symmetrize_input=False)


def _product(A, B):
    return jnp.matmul(A, B, precision=jax.lax.Precision.HIGHEST)


@jax.custom_jvp
def _inverse(matrix):
    """A⁻¹ = L⁻ᵀ L⁻¹ of each lane, from the lower triangle of A = L Lᵀ."""
    eye = jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)
    half = jax.scipy.linalg.solve_triangular(_factor(matrix), eye, lower=True)
    return _product(jnp.swapaxes(half, -2, -1), half)


@_inverse.defjvp
def _differentiate_inverse(primals, tangents):
    """dA⁻¹ = −A⁻¹ dA A⁻¹ with the symmetric part of dA."""
    inverse, (dmatrix,) = _inverse(*primals), tangents
    half = _product(_product(inverse, dmatrix), inverse) / 2
    return inverse, -half - jnp.swapaxes(half, -2, -1)


def _choose(platform, *avals, backend):
    if backend not in (None, "reference", "cpp"):
        raise NotImplementedError(f"backend {backend!r} has no kernel for determinants; use backend=None")
    if _ffi.compiled_backend(platform, backend, ("cpp",)):
        return jax.ffi.ffi_lowering("lenskern_nnls_log_determinant")

    def lanes(matrix):
        found = 2 * jnp.sum(jnp.log(jnp.diagonal(_factor(matrix), axis1=-2, axis2=-1)), axis=-1)
        return [jnp.where(jnp.isfinite(found), found, jnp.nan)]

    return mlir.lower_fun(lanes)


def _differentiate(primals, tangents, *, backend):
    """d ln det A = tr(A⁻¹ dA), the sum over the entries of A⁻¹ dA entry by entry, because A⁻¹ is symmetric."""
    (matrix,), (dmatrix,) = primals, tangents
    out = log_determinant_p.bind(matrix, backend=backend)
    return out, [jnp.sum(_inverse(matrix) * dmatrix, axis=(-2, -1))]


log_determinant_p = _primitive.batched_primitive(
    "lenskern_nnls_log_determinant",
    (2,),
    lambda matrix, **params: [((), matrix.dtype)],
    _choose,
)
ad.primitive_jvps[log_determinant_p] = _differentiate

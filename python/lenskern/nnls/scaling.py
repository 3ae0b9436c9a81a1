"""The problem every method works on: unit diagonal, max|h| = 1, and the faults of the input found on the way."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from . import certificate, linear
from .solution import Status


class Problem(NamedTuple):
    """One scaled problem, min ½ yᵀSy − hᵀy over y ≥ 0, where x = scale · d · y.

    `S` is a unit matrix and `h` zero where the input is no valid problem, so that a bad lane costs nothing and makes no
    NaN; `fault` then says why, and is `Status.CERTIFIED` otherwise.
    """

    Q: jax.Array
    q: jax.Array
    S: jax.Array
    h: jax.Array
    d: jax.Array
    scale: jax.Array
    fault: jax.Array


def scale_problem(Q, q) -> Problem:
    """Scale one problem (K, K), (K,) and look for faults.

    The scaled problem is in float64 wherever 64-bit types are enabled, in float32 otherwise.
    """
    K = q.shape[0]
    work = jax.dtypes.canonicalize_dtype(jnp.float64)
    data_eps = jnp.finfo(q.dtype).eps
    asymmetry = 1e-8 if q.dtype == jnp.float64 else 1e-4

    finite = jnp.isfinite(Q).all() & jnp.isfinite(q).all()
    Qw, qw = Q.astype(work), q.astype(work)
    diagonal = jnp.diagonal(Qw)
    positive = (diagonal > 0).all()
    d = 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1))
    S = d[:, None] * Qw * d
    h = d * qw
    symmetric = jnp.max(jnp.abs(S - S.T)) <= asymmetry
    # An off-diagonal entry above 1 is a negative 2 x 2 minor.
    bounded = (jnp.max(jnp.abs(jnp.tril(S))) <= 1 + 8 * K * data_eps) | ~jnp.isfinite(S).all()

    fault = jnp.int32(Status.CERTIFIED)
    for holds, status in (
        (bounded, Status.NOT_POSITIVE_DEFINITE),
        (symmetric, Status.NOT_SYMMETRIC),
        (jnp.isfinite(S).all() & jnp.isfinite(h).all(), Status.NOT_FINITE),
        (positive, Status.NOT_POSITIVE_DEFINITE),
        (finite, Status.NOT_FINITE),
    ):
        fault = jnp.where(holds, fault, jnp.int32(status))

    good = fault == Status.CERTIFIED
    S = jnp.where(good, jnp.tril(S) + jnp.tril(S, -1).T, jnp.eye(K, dtype=work))
    h = jnp.where(good, h, 0)
    largest = jnp.max(jnp.abs(h))
    scale = jnp.where(largest > 0, largest, 1)
    return Problem(Q, q, S, h / scale, d, scale, fault)


def definite_problem(Q, q) -> Problem:
    """Scale one problem as `scale_problem` does, and make a negative eigenvalue of S a fault.

    An eigenvalue that the rounding of the entries of Q explains is let pass.
    """
    problem = scale_problem(Q, q)
    slack = 4 * q.shape[0] * float(jnp.finfo(q.dtype).eps)
    holds = linear.is_semidefinite(problem.S, slack) | (problem.fault != Status.CERTIFIED)
    return problem._replace(fault=jnp.where(holds, problem.fault, jnp.int32(Status.NOT_POSITIVE_DEFINITE)))


def solved_by_zero(problem: Problem):
    """Whether there is nothing to do: h ≤ 0 everywhere, or a fault. A bool scalar array."""
    return (problem.h <= 0).all() | (problem.fault != Status.CERTIFIED)


def starting_point(problem: Problem, x0):
    """A guess x0 in the units of the scaled problem, zero where there is none or it is not positive, shape (K,)."""
    if x0.shape != problem.q.shape:
        return jnp.zeros_like(problem.h)
    y = x0.astype(problem.S.dtype) / problem.d / problem.scale
    return jnp.where(jnp.isfinite(y), jnp.maximum(y, 0), 0)


def results(problem: Problem, y, status, iterations, passes, tol):
    """The six results of a solve from a point of the scaled problem.

    Parameters
    ----------
    problem : Problem
    y : (K,) array
        Point of the scaled problem; negative entries are set to 0.
    status : int32 scalar array
        Status of a point that the certificate rejects.
    iterations, passes : int32 scalar arrays
    tol : float
        Largest KKT residual that is certified.

    Returns
    -------
    x, z, status, iterations, passes, residual
        As in `lenskern.nnls.Solution`.
    """
    dtype = problem.q.dtype
    y = jnp.maximum(y, 0)
    x = (y * problem.d * problem.scale).astype(dtype)
    # Rounding to float32 may underflow to zero, and the support of x is what callers see.
    y = jnp.where(x > 0, y, 0)
    g = certificate.gradient(problem.S, problem.h, y)
    checked = g
    if problem.S.dtype == jnp.float32:
        checked = certificate.precise_gradient(problem.Q, problem.q, x) * problem.d / problem.scale
    residual = certificate.kkt_residual(y, checked)
    z = jnp.where(y > 0, 0, jnp.maximum(g, 0) / problem.d * problem.scale).astype(dtype)

    status = jnp.where(residual <= tol, jnp.int32(Status.CERTIFIED), status)
    overflowed = ~(jnp.isfinite(x).all() & jnp.isfinite(z).all())
    status = jnp.where(overflowed, jnp.int32(Status.NOT_FINITE), status)
    status = jnp.where(problem.fault == Status.CERTIFIED, status, problem.fault)
    bad = (status == Status.NOT_FINITE) | (status == Status.NOT_SYMMETRIC) | (status == Status.NOT_POSITIVE_DEFINITE)
    nan = jnp.array(jnp.nan, dtype)
    return (
        jnp.where(bad, nan, x),
        jnp.where(bad, nan, z),
        status.astype(jnp.int32),
        iterations.astype(jnp.int32),
        passes.astype(jnp.int32),
        jnp.where(bad, nan, residual.astype(dtype)),
    )

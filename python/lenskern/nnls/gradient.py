"""Derivatives of the solution: exact on the active set, or of the relaxed problem as in jaxnnls."""

from functools import partial

import jax
import jax.numpy as jnp

from .primitive import central_point_p, free_solve_p


def attach(kind, backend, Q, q, kappa, x, z):
    """Return x and z unchanged, with their derivative with respect to Q and q.

    Parameters
    ----------
    kind : str
        "exact" or "relaxed".
    backend : str or None
        Runs the linear solves.
    Q, q : (K, K), (K,) arrays
    kappa : float or scalar array
        Complementarity x∘z of the relaxed problem, in the units of qx.
    x, z : (K,) arrays
        Solution and multipliers, constant as far as differentiation is concerned.
    """
    if kind == "exact":
        return _exact(backend, Q, q, x, z)
    # A number stays out of the program unless it is differentiated; an array has to be an operand.
    number, kappa = (kappa, None) if isinstance(kappa, float) else (None, kappa)
    return _relaxed(backend, number, Q, q, kappa, x, z)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _exact(backend, Q, q, x, z):
    return x, z


@_exact.defjvp
def _exact_jvp(backend, primals, tangents):
    # On the support F the solution obeys Q[F,F] x_F = q_F, and x is 0 elsewhere:
    #     dx_F = Q[F,F]⁻¹ (dq − dQ x)_F,
    # and outside F the multipliers z = Qx − q vary as dz = dQ x + Q dx − dq.
    Q, q, x, z = primals
    # Q stands for a symmetric matrix: only the symmetric part of its tangent counts.
    dQ, dq = _symmetric(tangents[0]), tangents[1]
    x, z = _exact(backend, Q, q, x, z)
    free = x > 0
    # The support of a failed lane is unknown: its derivative is NaN, forward (dx, dz) and backward (right).
    known = jnp.where(jnp.isnan(x).any(), jnp.nan, 1).astype(x.dtype)
    right = (dq - jnp.dot(dQ, x, precision="highest")) * known
    dx = _symmetric_solve(backend, _symmetric(Q), free, jnp.where(free, right, 0)) * known
    dz = jnp.where(z > 0, jnp.dot(_symmetric(Q), dx, precision="highest") - right, 0) * known
    return (x, z), (dx, dz)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _relaxed(backend, number, Q, q, kappa, x, z):
    return x, z


@_relaxed.defjvp
def _relaxed_jvp(backend, number, primals, tangents):
    # The derivative of x is taken to be that of the central point; that of z follows from x∘z = κ there.
    Q, q, kappa, x, z = primals
    values = _relaxed(backend, number, Q, q, kappa, x, z)
    kappa = jnp.asarray(number if kappa is None else kappa, q.dtype)
    centre, dx = jax.jvp(lambda Q, q: _central_point(backend, Q, q, kappa, x, z), (Q, q), tuple(tangents[:2]))
    return values, (dx, -kappa / centre**2 * dx)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _central_point(backend, Q, q, kappa, x, z):
    operands = [jax.lax.stop_gradient(a) for a in (Q, q, kappa, x, z)]
    return central_point_p.bind(*operands)[0]


@_central_point.defjvp
def _central_point_jvp(backend, primals, tangents):
    # The central point has Qx − q = κ/x:   (Q + diag(κ/x²)) dx = dq − dQ x.
    Q, q, kappa, x, z = primals
    # Q stands for a symmetric matrix: only the symmetric part of its tangent counts.
    dQ, dq = _symmetric(tangents[0]), tangents[1]
    centre = _central_point(backend, Q, q, kappa, x, z)
    matrix = _symmetric(Q) + jnp.diag(kappa / centre**2)
    right = dq - jnp.dot(dQ, centre, precision="highest")
    return centre, _symmetric_solve(backend, matrix, jnp.ones(q.shape, bool), right)


def _symmetric(Q):
    return 0.5 * (Q + Q.T)


def _symmetric_solve(backend, A, free, b):
    """Solve A[F,F] y_F = b_F, y 0 elsewhere, as a linear map that can be transposed and differentiated again."""

    def matvec(v):
        return jnp.where(free, jnp.dot(A, jnp.where(free, v, 0), precision="highest"), v)

    def solve(_, b):
        return free_solve_p.bind(A, free, b, backend=backend)[0]

    return jax.lax.custom_linear_solve(matvec, b, solve, symmetric=True)

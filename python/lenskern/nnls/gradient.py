"""Derivatives of the solution: exact on the active set, or of the relaxed problem as in jaxnnls."""

from functools import partial

import jax
import jax.numpy as jnp

from .._primitive import no_tangent, vary_alike
from .primitive import central_point_p, free_solve_p, solve_and_keep_p, solve_p


def solve(options, Q, q, x0, kappa):
    """Solve one problem so that x and z can be differentiated with respect to Q and q.

    Parameters
    ----------
    options : Options
    Q, q : (K, K), (K,) arrays
    x0 : (K,) array, or `primitive.no_guess`
    kappa : float or scalar array
        Complementarity x∘z of the relaxed problem, in the units of qx.

    Returns
    -------
    x, z, status, iterations, passes, residual
        As in `lenskern.nnls.Solution`.
    """
    # A number stays out of the program unless it is differentiated; an array has to be an operand.
    number, kappa = (kappa, None) if isinstance(kappa, float) else (None, kappa)
    return _solve(options, number, Q, q, x0, kappa)


def _parameters(options, dtype):
    return {
        "method": options.method,
        "tol": options.tolerance(dtype),
        "max_iter": options.max_iter,
        "backend": options.backend,
    }


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _solve(options, number, Q, q, x0, kappa):
    return tuple(solve_p.bind(Q, q, x0, **_parameters(options, q.dtype)))


@_solve.defjvp
def _solve_jvp(options, number, primals, tangents):
    Q, q, x0, kappa = primals
    constants = [jax.lax.stop_gradient(a) for a in (Q, q, x0)]
    if options.gradient == "exact":
        x, z, *report, kept = solve_and_keep_p.bind(*constants, **_parameters(options, q.dtype))
        derivative = partial(_exact, options.backend, x=x, z=z, kept=kept)
    else:
        x, z, *report = solve_p.bind(*constants, **_parameters(options, q.dtype))
        derivative = partial(_relaxed, options.backend, number, kappa=kappa, x=x, z=z)
    # By way of a function with a rule of its own, so that derivatives can be differentiated again.
    values, slopes = jax.jvp(derivative, (Q, q), tuple(tangents[:2]))
    return (*values, *report), (*slopes, *map(no_tangent, report))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _exact(backend, Q, q, x, z, kept):
    return x, z


@_exact.defjvp
def _exact_jvp(backend, primals, tangents):
    # On the support F the solution obeys Q[F,F] x_F = q_F, and x is 0 elsewhere:
    #     dx_F = Q[F,F]⁻¹ (dq − dQ x)_F,
    # and outside F the multipliers z = Qx − q vary as dz = dQ x + Q dx − dq.
    Q, q, x, z, kept = primals
    # Q stands for a symmetric matrix: only the symmetric part of its tangent counts.
    dQ, dq = _symmetric(tangents[0]), tangents[1]
    x, z = _exact(backend, Q, q, x, z, kept)
    free = x > 0
    # The support of a failed lane is unknown: its derivative is NaN, forward (dx, dz) and backward (right).
    known = jnp.where(jnp.isnan(x).any(), jnp.nan, 1).astype(x.dtype)
    right = (dq - jnp.dot(dQ, x, precision="highest")) * known
    dx = _symmetric_solve(backend, _symmetric(Q), free, jnp.where(free, right, 0), kept) * known
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
    return centre, _symmetric_solve(backend, matrix, jnp.ones(q.shape, bool), right, jnp.zeros(1, jnp.float32))


def _symmetric(Q):
    return 0.5 * (Q + Q.T)


def _symmetric_solve(backend, A, free, b, kept):
    """Solve A[F,F] y_F = b_F, y 0 elsewhere, as a linear map that can be transposed and differentiated again.

    `kept` is a factor of A[F,F] that a solve kept, or of size 1.
    """
    # Here, as what is traced below is run again with operands that vary alike.
    A, free, b, kept = vary_alike(A, free, b, kept)

    def matvec(v):
        return jnp.where(free, jnp.dot(A, jnp.where(free, v, 0), precision="highest"), v)

    def solve(_, b):
        return free_solve_p.bind(A, free, b, kept, backend=backend)[0]

    return jax.lax.custom_linear_solve(matvec, b, solve, symmetric=True)

"""The interior point alone: Mehrotra's predictor-corrector to a tolerance."""

import jax
import jax.numpy as jnp

from .. import certificate, interior, scaling
from ..solution import Status


def solve(Q, q, x0, *, tol, max_iter):
    """Solve one problem; arguments and results as in `lenskern.nnls.reference.crossover`, x0 is not used.

    Stops when the gradient less the multipliers, and their products with the variables, are below tol in the scaled
    problem. Variables smaller than their multipliers are then set to 0.
    """
    problem = scaling.definite_problem(Q, q)
    S, h = problem.S, problem.h
    trivial = scaling.solved_by_zero(problem)

    def is_met(y, w):
        r = certificate.gradient(S, h, y) - w
        return (jnp.max(jnp.abs(r)) <= tol) & (jnp.max(y * w) <= tol)

    def iterate(state):
        k, y, w, _, _ = state
        y, w, step = interior.iterate(S, h, y, w)
        return k + 1, y, w, is_met(y, w), step < 1e-8

    y, w = interior.start(S, h)
    state = (jnp.int32(0), y, w, trivial | is_met(y, w), jnp.bool_(False))
    k, y, w, met, stuck = jax.lax.while_loop(lambda s: (s[0] < max_iter) & ~s[3] & ~s[4], iterate, state)
    y = jnp.where(trivial | (y < w), 0, y)
    status = jnp.where(met, Status.CONVERGED, jnp.where(stuck, Status.STALLED, Status.MAX_ITER))
    return scaling.results(problem, y, status, k, jnp.int32(0), tol)

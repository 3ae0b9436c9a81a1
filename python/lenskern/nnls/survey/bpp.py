"""Block principal pivoting: exchange all violators at once, one at a time when that stops working.

References: L. Portugal, J. Júdice and L. Vicente, Math. Comput. 63, 625 (1994); J. Kim and H. Park, SIAM J. Sci.
Comput. 33, 3261 (2011).
"""

import jax
import jax.numpy as jnp

from .. import active, certificate, scaling
from ..solution import Status


def solve(Q, q, x0, *, tol, max_iter, patience=3):
    """Solve one problem; arguments and results as in `lenskern.nnls.reference.crossover`.

    Starts from the support of x0, or from an empty one. `patience` full exchanges may fail to reduce the number of
    violators before only the last of them is exchanged.
    """
    problem = scaling.definite_problem(Q, q)
    S, h = problem.S, problem.h
    K = len(h)
    index = jnp.arange(K)

    def iterate(state):
        k, free, fewest, left, best_y, best, _ = state
        y = active.solve_on(S, h, free)
        clipped = jnp.maximum(y, 0)
        residual = certificate.kkt_residual(clipped, certificate.gradient(S, h, clipped))
        best_y = jnp.where(residual < best, clipped, best_y)
        best = jnp.minimum(best, residual)

        wrong = (free & (y < 0)) | (~free & (certificate.gradient(S, h, y) < -tol))
        count = jnp.sum(wrong, dtype=jnp.int32)
        fewer = count < fewest
        left = jnp.where(fewer, patience, left - 1)
        last = index == jnp.max(jnp.where(wrong, index, -1))
        free = free ^ jnp.where(left >= 0, wrong, last)
        return k + 1, free, jnp.minimum(count, fewest), left, best_y, best, count == 0

    def unfinished(state):
        k, *_, best, settled = state
        return (k < max_iter) & (best > tol) & ~settled

    trivial = scaling.solved_by_zero(problem)
    best = jnp.where(trivial, 0, jnp.inf).astype(S.dtype)
    free = scaling.starting_point(problem, x0) > 0
    state = (jnp.int32(0), free, jnp.int32(K + 1), jnp.int32(patience), jnp.zeros_like(h), best, jnp.bool_(False))
    k, *_, y, _, settled = jax.lax.while_loop(unfinished, iterate, state)
    status = jnp.where(settled, Status.STALLED, Status.MAX_ITER)
    return scaling.results(problem, y, status, k, k, tol)

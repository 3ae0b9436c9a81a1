"""Accelerated projected gradient with adaptive restart: products with Q only.

References: A. Beck and M. Teboulle, SIAM J. Imaging Sci. 2, 183 (2009); B. O'Donoghue and E. Candès, Found. Comput.
Math. 15, 715 (2015).
"""

import jax
import jax.numpy as jnp

from .. import certificate, scaling
from ..solution import Status


def _largest_eigenvalue_bound(S, rounds=20):
    """Upper bound of the spectral radius: Collatz and Wielandt's for |S|, after a few power iterations."""
    A = jnp.abs(S)
    v = jax.lax.fori_loop(0, rounds, lambda _, v: A @ v / jnp.max(A @ v), jnp.ones(len(S), S.dtype))
    # A positive vector keeps the bound valid where the iteration has decayed to nothing.
    v = v + 1e-6
    return jnp.max(A @ v / v)


def solve(Q, q, x0, *, tol, max_iter):
    """Solve one problem; arguments and results as in `lenskern.nnls.reference.crossover`, x0 is the starting point.

    Stops when a projected gradient step of length 1 would change no variable by more than tol in the scaled problem.
    """
    problem = scaling.definite_problem(Q, q)
    S, h = problem.S, problem.h
    trivial = scaling.solved_by_zero(problem)
    step = 1 / _largest_eigenvalue_bound(S)

    def iterate(state):
        k, y, momentum, t, _ = state
        g = certificate.gradient(S, h, momentum)
        new = jnp.maximum(momentum - step * g, 0)
        restart = jnp.dot(momentum - new, new - y) > 0
        t = jnp.where(restart, 1, t)
        new_t = 0.5 * (1 + jnp.sqrt(1 + 4 * t**2))
        moved = new + jnp.where(restart, 0, (t - 1) / new_t) * (new - y)
        met = jnp.max(jnp.abs(momentum - jnp.maximum(momentum - g, 0))) <= tol
        return k + 1, jnp.where(met, jnp.maximum(momentum, 0), new), moved, new_t, met

    y = jnp.where(trivial, 0, scaling.starting_point(problem, x0))
    state = (jnp.int32(0), y, y, jnp.ones((), S.dtype), trivial)
    k, y, _, _, met = jax.lax.while_loop(lambda s: (s[0] < max_iter) & ~s[4], iterate, state)
    return scaling.results(problem, y, jnp.where(met, Status.CONVERGED, Status.MAX_ITER), k, jnp.int32(0), tol)

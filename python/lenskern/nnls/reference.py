"""The crossover method in plain jnp, for one problem: a short interior point, then an exact solve on its support."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from . import active, certificate, interior, scaling
from .solution import Status


@dataclass(frozen=True)
class Tuning:
    """When the interior point has found the support well enough to try the exact solve, and how long that may go on.

    Attributes
    ----------
    decided : float
        Fraction of the variables that may be within a factor of ten of their multiplier.
    steady_undecided, steady_change : float
        Or this larger fraction (and eight more), if no more than that one changed sides in the last iteration.
    rounding : float
        Or any, if the mean complementarity is below this.
    passes : int
        Exact solves of one try.
    violators, warm_violators : float
        Fraction of the variables (and three more) that a pass may exchange; when starting from x0.
    shortest_step : float
        A shorter interior-point step is no progress.
    """

    decided: float = 0.025
    steady_undecided: float = 0.05
    steady_change: float = 0.01
    rounding: float = 1e-13
    passes: int = 8
    violators: float = 0.05
    warm_violators: float = 0.1
    shortest_step: float = 1e-8


class State(NamedTuple):
    """A solve between two interior-point iterations."""

    iterations: jax.Array
    y: jax.Array
    w: jax.Array
    before: jax.Array  # the support that y and w suggested an iteration ago
    tried: jax.Array  # the one that was tried last
    best_y: jax.Array
    best: jax.Array  # the residual of best_y
    passes: jax.Array
    stuck: jax.Array
    done: jax.Array


def crossover(Q, q, x0, *, tol, max_iter, tuning=Tuning()):
    """Solve one problem.

    Parameters
    ----------
    Q : (K, K) array
    q : (K,) array
    x0 : (K,) or (0,) array
        The support of x0 is tried first, if there is an x0.
    tol : float
        KKT residual that is certified.
    max_iter : int
        Cap on the interior-point iterations.
    tuning : Tuning

    Returns
    -------
    x, z, status, iterations, passes, residual
        As in `lenskern.nnls.Solution`.
    """
    K = q.shape[0]
    problem = scaling.definite_problem(Q, q)
    S, h = problem.S, problem.h
    trivial = scaling.solved_by_zero(problem)

    best_y, passes = jnp.zeros(K, S.dtype), jnp.int32(0)
    best = jnp.where(trivial, 0, jnp.inf).astype(S.dtype)
    if x0.shape[0] == K:
        support = scaling.starting_point(problem, x0) > 0
        violators = tuning.warm_violators * K + 3
        warm = active.exchange(S, h, support, ~trivial & support.any(), tol, tuning.passes, violators)
        best_y, best, passes = warm.y, jnp.minimum(best, warm.residual), warm.passes

    def advance(s):
        now = s.y > s.w
        changed = jnp.sum(now != s.before)
        undecided = jnp.sum((s.y < 10 * s.w) & (s.w < 10 * s.y))
        # Variables that are zero with a zero multiplier stay undecided to the end.
        steady = (changed <= max(tuning.steady_change * K, 1)) & (undecided <= tuning.steady_undecided * K + 8)
        mu = jnp.dot(s.y, s.w) / K
        last = s.stuck | (s.iterations == max_iter)
        ready = (undecided <= tuning.decided * K) | steady | (mu < tuning.rounding) | last
        wanted = ready & (now != s.tried).any()
        found = active.exchange(S, h, now, wanted, tol, tuning.passes, tuning.violators * K + 3)
        better = found.residual < s.best
        best = jnp.minimum(found.residual, s.best)
        settled = wanted & found.settled
        done = (best <= tol) | last | settled

        y, w, step = jax.lax.cond(
            done, lambda y, w: (y, w, jnp.ones((), y.dtype)), lambda y, w: interior.iterate(S, h, y, w), s.y, s.w
        )
        return State(
            iterations=s.iterations + jnp.where(done, 0, 1),
            y=y,
            w=w,
            before=now,
            tried=jnp.where(wanted, now, s.tried),
            best_y=jnp.where(better, found.y, s.best_y),
            best=best,
            passes=s.passes + found.passes,
            stuck=(step < tuning.shortest_step) | settled,
            done=done,
        )

    y, w = interior.start(S, h)
    nowhere = jnp.zeros(K, bool)
    state = State(jnp.int32(0), y, w, nowhere, nowhere, best_y, best, passes, stuck=jnp.bool_(False), done=best <= tol)
    end = jax.lax.while_loop(lambda s: ~s.done, advance, state)

    # Without a certificate the interior point may still be the better one.
    inner = jnp.where(end.y > end.w, end.y, 0)
    better = certificate.kkt_residual(inner, certificate.gradient(S, h, inner)) < end.best
    y = jnp.where(better & ~trivial, inner, end.best_y)
    status = jnp.where(end.stuck, Status.STALLED, Status.MAX_ITER)
    return scaling.results(problem, y, status, end.iterations, end.passes, tol)

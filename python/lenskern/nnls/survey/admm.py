"""The alternating direction method of multipliers: one factorisation, many cheap steps.

Reference: S. Boyd et al., Foundations and Trends in Machine Learning 3, 1 (2011), sections 3.4 and 5.2.
"""

import jax
import jax.numpy as jnp

from .. import certificate, linear, scaling
from ..solution import Status


def solve(Q, q, x0, *, tol, max_iter, relaxation=1.6, adapt_every=40):
    """Solve one problem; arguments and results as in `lenskern.nnls.reference.crossover`, x0 is the starting point.

    Splits y = v with v ≥ 0. The penalty starts at 0.1 and is balanced every `adapt_every` iterations, which costs a
    factorisation. Stops when max|y − v| and the penalty times the last change of v are below tol in the scaled problem.
    """
    problem = scaling.definite_problem(Q, q)
    S, h = problem.S, problem.h
    unit = jnp.eye(len(h), dtype=S.dtype)

    def factor(rho):
        return linear.factor(S + rho * unit)[0]

    def rebalance(rho, L, u, primal, dual):
        ratio = jnp.sqrt(primal / jnp.maximum(dual, jnp.finfo(S.dtype).tiny))
        factor_of = jnp.clip(ratio, 0.1, 10)
        factor_of = jnp.where((factor_of > 0.5) & (factor_of < 2), 1, factor_of)
        new = jnp.clip(rho * factor_of, 1e-8, 1e4)
        return jax.lax.cond(new != rho, lambda: (new, factor(new), u * rho / new), lambda: (rho, L, u))

    def iterate(state):
        k, rho, L, v, u, _ = state
        y = linear.solve(L, h + rho * (v - u))
        mixed = relaxation * y + (1 - relaxation) * v
        new_v = jnp.maximum(mixed + u, 0)
        u = u + mixed - new_v
        primal, dual = jnp.max(jnp.abs(y - new_v)), rho * jnp.max(jnp.abs(new_v - v))
        rho, L, u = jax.lax.cond(
            (k + 1) % adapt_every == 0, rebalance, lambda rho, L, u, *_: (rho, L, u), rho, L, u, primal, dual
        )
        return k + 1, rho, L, new_v, u, (primal <= tol) & (dual <= tol)

    rho = jnp.array(0.1, S.dtype)
    v = scaling.starting_point(problem, x0)
    # At the solution the scaled multiplier u is the gradient over −ρ.
    u = -jnp.maximum(certificate.gradient(S, h, v), 0) / rho
    state = (jnp.int32(0), rho, factor(rho), v, u, scaling.solved_by_zero(problem))
    k, _, _, v, _, met = jax.lax.while_loop(lambda s: (s[0] < max_iter) & ~s[5], iterate, state)
    v = jnp.where(scaling.solved_by_zero(problem), 0, v)
    return scaling.results(problem, v, jnp.where(met, Status.CONVERGED, Status.MAX_ITER), k, jnp.int32(0), tol)

"""Exact solves on a candidate active set, and the exchange of the variables that violate the KKT conditions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from . import certificate, linear


class Attempt(NamedTuple):
    """Outcome of `exchange`."""

    y: jax.Array
    residual: jax.Array
    free: jax.Array
    passes: jax.Array
    settled: jax.Array


def solve_on(S, h, free):
    """The unconstrained minimiser over the free variables, the others 0: y_F = S[F,F]⁻¹h_F, shape (K,)."""
    A = linear.restricted(S, free)
    L, ok = linear.factor(A)
    y = linear.refined_solve(A, jnp.where(ok, L, jnp.eye(len(h), dtype=S.dtype)), jnp.where(free, h, 0))
    return jnp.where(free, y, 0)


def exchange(S, h, free, wanted, tol, max_passes, max_violators) -> Attempt:
    """Solve on an active set, move the violators to the other side, and again while they become few fast.

    Parameters
    ----------
    S, h : (K, K), (K,) arrays
        Scaled problem.
    free : (K,) bool array
        First guess of the support.
    wanted : bool scalar array
        False does nothing: no pass, residual inf.
    tol : float
        KKT residual that ends the search.
    max_passes : int
    max_violators : float
        More violators than this end the search; so does a pass that does not at least halve them.

    Returns
    -------
    Attempt
        The best point (y ≥ 0) with its KKT residual, the last set, the number of passes, and whether the last set has
        no violator.
    """
    K = h.shape[0]

    def one_pass(state):
        k, free, before, best_y, best, _, _ = state
        y = solve_on(S, h, free)
        clipped = jnp.maximum(y, 0)
        residual = certificate.kkt_residual(clipped, certificate.gradient(S, h, clipped))
        better = residual < best
        best_y, best = jnp.where(better, clipped, best_y), jnp.where(better, residual, best)
        wrong = (free & (y < 0)) | (~free & (certificate.gradient(S, h, y) < -tol))
        count = jnp.sum(wrong, dtype=jnp.int32)
        go_on = (best > tol) & (count > 0) & (count <= max_violators) & (2 * count <= before)
        return k + 1, jnp.where(go_on, free ^ wrong, free), count, best_y, best, go_on, count == 0

    nothing, infinite = jnp.zeros(K, S.dtype), jnp.array(jnp.inf, S.dtype)
    state = (jnp.int32(0), free, jnp.int32(2 * K), nothing, infinite, wanted, jnp.bool_(False))
    passes, free, _, y, residual, _, settled = jax.lax.while_loop(lambda s: s[5] & (s[0] < max_passes), one_pass, state)
    return Attempt(y, residual, free, passes, settled)

"""Mehrotra's predictor-corrector on (y, w), complementarity y∘w, with Gondzio's centrality correctors.

References: S. Mehrotra, SIAM J. Optim. 2, 575 (1992); J. Gondzio, Comput. Optim. Appl. 6, 137 (1996).
"""

import jax
import jax.numpy as jnp

from . import certificate, linear


def start(S, h):
    """Starting point of the scaled problem: (S + I)⁻¹h clipped at 0, shifted into the interior.

    Returns
    -------
    y, w : (K,) arrays
        Both positive.
    """
    K = h.shape[0]
    L, _ = linear.factor(S + jnp.eye(K, dtype=S.dtype))
    y = jnp.nan_to_num(jnp.maximum(linear.solve(L, h), 0))
    g = certificate.gradient(S, h, y)
    w = jnp.maximum(g, 0) + 0.5 * jnp.maximum(jnp.mean(jnp.abs(g)), 1e-8)
    return y + 0.5 * jnp.maximum(jnp.mean(y), 1e-8), w


def longest_step(a, da):
    """The longest step of at most 1 that keeps a + step · da ≥ 0."""
    return jnp.minimum(1, jnp.min(jnp.where(da < 0, -a / jnp.where(da < 0, da, -1), jnp.inf)))


def joint_step(y, w, dy, dw):
    """The longest step of at most 1 along both directions."""
    return jnp.minimum(longest_step(y, dy), longest_step(w, dw))


def iterate(S, h, y, w, correctors=2):
    """One interior-point iteration: one Cholesky factor of S + diag(w/y).

    Returns
    -------
    y, w : (K,) arrays
    step : scalar array
        Length of the step taken; 0 if the direction was of no use, with y and w unchanged.
    """
    K = h.shape[0]
    mu = jnp.dot(y, w) / K
    r = certificate.gradient(S, h, y) - w
    # A float32 quotient could overflow.
    weight = jnp.minimum(w / y, 0.01 * jnp.finfo(y.dtype).max ** 0.5)
    L, ok = linear.factor(S + jnp.diag(weight))

    def direction(r, c):
        dy = linear.solve(L, -r + c / y)
        return dy, (c - w * dy) / y

    dy, dw = direction(r, -y * w)
    a = joint_step(y, w, dy, dw)
    sigma = (jnp.dot(y + a * dy, w + a * dw) / K / mu) ** 3
    target = sigma * mu
    dy, dw = direction(r, -y * w + target - dy * dw)
    a = joint_step(y, w, dy, dw)

    def correct(_, direction_and_step):
        dy, dw, a = direction_and_step
        longer = jnp.minimum(1, a + 0.3)
        product = (y + longer * dy) * (w + longer * dw)
        push = jnp.maximum(jnp.clip(product, 0.1 * target, 10 * target) - product, -10 * target)
        cy, cw = direction(jnp.zeros_like(r), push)
        b = joint_step(y, w, dy + cy, dw + cw)
        better = b >= a + 0.1 * (longer - a)
        return jnp.where(better, dy + cy, dy), jnp.where(better, dw + cw, dw), jnp.where(better, b, a)

    dy, dw, a = jax.lax.fori_loop(0, correctors, correct, (dy, dw, a))
    a = jnp.minimum(1, 0.99 * a)
    new_y, new_w = y + a * dy, w + a * dw
    useful = ok & (a > 0) & (new_y > 0).all() & (new_w > 0).all()
    useful &= jnp.isfinite(new_y).all() & jnp.isfinite(new_w).all()
    return jnp.where(useful, new_y, y), jnp.where(useful, new_w, w), jnp.where(useful, a, 0)

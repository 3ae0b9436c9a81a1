"""The central point of the relaxed problem, where x∘z = κ instead of 0."""

import jax
import jax.numpy as jnp

from . import certificate, interior, linear, scaling


def central_point(Q, q, kappa, x, z, *, max_iter=50):
    """The x with Qx − q = κ/x, by Newton's method from a solution of the problem itself.

    Parameters
    ----------
    Q, q : (K, K), (K,) arrays
    kappa : scalar array
        Complementarity x∘z, in the units of qx.
    x, z : (K,) arrays
        Solution and multipliers of the problem with x∘z = 0.

    Returns
    -------
    (K,) array
        NaN where x is.
    """
    problem = scaling.scale_problem(Q, q)
    S, h, d, scale = problem.S, problem.h, problem.d, problem.scale
    kappa = kappa.astype(S.dtype) / scale**2
    # The positive root of y (y − v) = κ is on the central path for a diagonal S, and near it otherwise.
    v = x.astype(S.dtype) / d / scale - z.astype(S.dtype) * d / scale
    root = jnp.sqrt(v**2 + 4 * kappa)
    y = jnp.where(v > 0, 0.5 * (v + root), 2 * kappa / jnp.where(v > 0, 1, root - v))

    def newton(state):
        k, y, w, before, _ = state
        r = certificate.gradient(S, h, y) - w
        c = kappa - y * w
        L, _ = linear.factor(S + jnp.diag(w / y))
        dy = linear.solve(L, -r + c / y)
        dw = (c - w * dy) / y
        longest = interior.joint_step(y, w, dy, dw)
        step = jnp.where(longest < 1, 0.99 * longest, 1)
        change = jnp.max(jnp.abs(dy) / y)
        # Below a relative change of 1e-3 Newton's method squares it, until rounding stops it.
        converging = (change > 8 * jnp.finfo(S.dtype).eps) & (change < 0.5 * before)
        return k + 1, y + step * dy, w + step * dw, change, (longest < 1) | (change > 1e-3) | converging

    state = (0, y, kappa / y, jnp.array(jnp.inf, S.dtype), jnp.isfinite(y).all())
    y = jax.lax.while_loop(lambda s: s[4] & (s[0] < max_iter), newton, state)[1]
    return ((y * d * scale).astype(q.dtype),)

"""How far a point is from satisfying the KKT conditions of the scaled problem."""

import jax
import jax.numpy as jnp


def gradient(S, h, y):
    """Gradient S y - h of the scaled problem, shape (K,)."""
    return jnp.dot(S, y, precision="highest") - h


def kkt_residual(y, g):
    """Largest violation of the KKT conditions.

    Parameters
    ----------
    y : (K,) array
        Solution of the scaled problem.
    g : (K,) array
        Gradient S y - h there.

    Returns
    -------
    scalar array
        The largest of \\|g\\| on the support of y, of -g outside it, and of -y / max\\|y\\|. NaN where y or g has one.
    """
    dual = jnp.where(y != 0, jnp.abs(g), jnp.maximum(-g, 0))
    largest = jnp.max(jnp.abs(y))
    primal = jnp.maximum(-jnp.min(y), 0) / jnp.where(largest > 0, largest, 1)
    return jnp.maximum(jnp.max(dual), primal)


def precise_gradient(Q, q, x):
    """Q x - q for float32 data as if computed in a precision of about 48 bits, then rounded.

    Without 64-bit types a plain float32 residual of an ill-conditioned system is mostly rounding, and could pass for
    small by luck. Every product is split into four that are exact in float32 (which also makes contraction into a fused
    multiply-add harmless), and their sum carries its own rounding error along.
    """

    def split(a):
        # Clearing the low 12 bits of the significand leaves two parts of 12 bits each.
        bits = jax.lax.bitcast_convert_type(a, jnp.uint32) & jnp.uint32(0xFFFFF000)
        high = jax.lax.bitcast_convert_type(bits, jnp.float32)
        return high, a - high

    Qh, Ql = split(Q)
    xh, xl = split(x)
    terms = jnp.concatenate([-q[:, None], Qh * xh, Qh * xl, Ql * xh, Ql * xl], axis=1)
    size = 1 << (terms.shape[1] - 1).bit_length()
    total = jnp.pad(terms, ((0, 0), (0, size - terms.shape[1])))
    error = jnp.zeros_like(total)
    while total.shape[1] > 1:
        a, b = jnp.split(total, 2, axis=1)
        lost_a, lost_b = jnp.split(error, 2, axis=1)
        total = a + b
        b_used = total - a
        error = (a - (total - b_used)) + (b - b_used) + (lost_a + lost_b)
    return (total + error)[:, 0]

"""The angular part of an elliptical power law in plain jnp: S(w; b) = ₂F₁(1, b; 2 − b; w) for complex |w| < 1.

In place of the powers of w (Tessore & Metcalf 2015, eq. 29) it is summed in powers of u with w = 4u/(1 + u)², which
maps the plane without [1, ∞), where S is regular, to the unit disc: at q = 0.1 a fourth of the terms do. From the
differential equation w (1 − w) S' = (1 − b) (1 − S) + b w S the coefficients of Σ c_n uⁿ are

    (n + 1 − b) c_n = (6b − 2) c_{n−1} + (n − 3 + b) c_{n−2} + (1 − b) [1, 2, 1]_n.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Most terms, reached at the largest ellipticity in float64; a multiple of _CHUNK.
_MOST = 800

# Terms that one pass over the rays adds.
_CHUNK = 8

# Where |w| is below this the closed forms lose digits to cancellation, and this many terms of a series in w do.
_SMALL, _FEW = 0.05, 13


class Partials(NamedTuple):
    """S and its derivatives with respect to w and b; complex, of the shape of w."""

    S: jax.Array
    by_w: jax.Array
    by_b: jax.Array


def n_terms(f, dtype):
    """Number of terms of the series that leave its error at the level of rounding.

    Parameters
    ----------
    f : scalar array
        |w|, at most `lenskern._parameters.LARGEST`.
    dtype : dtype
        float32 or float64.

    Returns
    -------
    int32 scalar array
    """
    rho = jnp.maximum(f / (1 + jnp.sqrt(1 - f)) ** 2, 1e-8)
    # The tail after N terms is about rho^N / (1 - rho); the margin is for coefficients that grow with n.
    terms = (jnp.log(jnp.finfo(dtype).eps / 2) + jnp.log1p(-rho)) / jnp.log(rho)
    return jnp.minimum(jnp.ceil(1.25 * terms) + 2, _MOST - 1).astype(jnp.int32)


def angular(w, b, f):
    """S of a power law.

    Parameters
    ----------
    w : (n,) complex array
    b : scalar array
        Half the slope of the convergence, in (0, 1).
    f : scalar array
        Upper bound of |w|.

    Returns
    -------
    (n,) complex array
    """
    u = _mapped(w)
    (Q,) = _polynomials(u, *_coefficients(b, n_terms(f, b.dtype), with_slopes=False))
    return 1 + u * Q


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def partials(isothermal, w, b, f):
    """S of a power law with its derivatives.

    Parameters
    ----------
    isothermal : bool
        True where b is 1/2: the closed form S = artanh(√w)/√w is used, and the derivative by b is left at 0.
    w, b, f
        As for `angular`.

    Returns
    -------
    Partials
        Differentiable in w and b.
    """
    return _closed_form(w) if isothermal else _series(w, b, f)


@partials.defjvp
def _partials_jvp(isothermal, primals, tangents):
    # All three are analytic in w and in b: a forward derivative in each direction gives every other, and nothing of the
    # loops has to be kept for a reverse one.
    w, b, f = primals
    dw, db, _ = tangents
    _, by_w = jax.jvp(lambda w: _series(w, b, f), (w,), (jnp.ones_like(w),))
    _, by_b = jax.jvp(lambda b: _series(w, b, f), (b,), (jnp.ones_like(b),))
    return partials(isothermal, *primals), Partials(*(x * dw + y * db for x, y in zip(by_w, by_b, strict=True)))


def _series(w, b, f):
    u = _mapped(w)
    Q, slopes = _polynomials(u, *_coefficients(b, n_terms(f, b.dtype), with_slopes=True))
    S = 1 + u * Q
    # (S − 1)/w without cancellation: u/w = (1 + u)²/4.
    return Partials(S, _by_w(w, b, S, Q * (1 + u) ** 2 / 4), u * slopes)


def _closed_form(w):
    # P = (S − 1)/w = Σ wⁿ/(2n + 3).
    near = jnp.zeros_like(w)
    for n in reversed(range(_FEW)):
        near = near * w + 1 / (2 * n + 3)
    # S is even in the root, so the cut of the root does no harm.
    small = w.real**2 + w.imag**2 < _SMALL**2
    root = jnp.sqrt(jnp.where(small, 0.5, w))
    far = artanh(root) / root
    P = jnp.where(small, near, (far - 1) / root**2)
    S = jnp.where(small, 1 + w * near, far)
    return Partials(S, _by_w(w, 0.5, S, P), jnp.zeros_like(w))


def artanh(h):
    """Inverse hyperbolic tangent of a complex number inside the unit disc.

    Parameters
    ----------
    h : complex array

    Returns
    -------
    complex array
    """
    size, hi = jnp.abs(h.real), h.imag
    real = jnp.copysign(jnp.log1p(4 * size / ((1 - size) ** 2 + hi**2)) / 4, h.real)
    return jax.lax.complex(real, jnp.arctan2(2 * hi, (1 - size) * (1 + size) - hi**2) / 2)


def _by_w(w, b, S, P):
    # The differential equation divided by w, with P = (S − 1)/w.
    return (b * S - (1 - b) * P) / (1 - w)


def _mapped(w):
    return w / (1 + jnp.sqrt(1 - w)) ** 2


def _coefficients(b, count, with_slopes):
    """c_1, c_2, ... c_count and zeros, where asked for also their derivatives with respect to b; and count."""
    zero = jnp.zeros((), b.dtype)
    forcing = jnp.asarray([1, 2, 1], b.dtype)

    def add(n, carry):
        c, d, (c1, c2, d1, d2) = carry
        force = jnp.where(n < 3, forcing[jnp.minimum(n, 2)], 0)
        m = n.astype(b.dtype)
        c0 = ((6 * b - 2) * c1 + (m - 3 + b) * c2 + (1 - b) * force) / (m + 1 - b)
        d0 = (c0 + 6 * c1 + (6 * b - 2) * d1 + c2 + (m - 3 + b) * d2 - force) / (m + 1 - b)
        store = jax.lax.dynamic_update_index_in_dim
        return store(c, c0, n - 1, 0), store(d, d0, n - 1, 0) if with_slopes else d, (c0, c1, d0, d1)

    c = jnp.zeros(_MOST, b.dtype)
    start = (c, c if with_slopes else zero, (1 + zero, zero, zero, zero))
    c, d, _ = jax.lax.fori_loop(jnp.int32(1), count + 1, add, start)
    return (c, d) if with_slopes else (c,), count


def _polynomials(u, sets, count):
    """Σ a_n uⁿ for one or more sets of real coefficients a.

    Goertzel's recurrence, y_n = a_n + 2 Re(u) y_{n+1} − |u|² y_{n+2}: half the work of Horner's with complex numbers.
    """
    twice, square = 2 * u.real, u.real**2 + u.imag**2
    chunks = (count + _CHUNK - 1) // _CHUNK

    def add(i, pairs):
        first = (chunks - 1 - i) * _CHUNK
        new = []
        for a, (y1, y2) in zip(sets, pairs, strict=True):
            terms = jax.lax.dynamic_slice(a, (first,), (_CHUNK,))
            for k in reversed(range(_CHUNK)):
                y1, y2 = twice * y1 + (terms[k] - square * y2), y1
            new.append((y1, y2))
        return new

    zero = jnp.zeros_like(twice)
    pairs = jax.lax.fori_loop(jnp.int32(0), chunks, add, [(zero, zero) for _ in sets])
    return [y0 - u.conj() * y1 for y0, y1 in pairs]

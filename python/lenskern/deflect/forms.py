"""Closed forms of the halo profiles that keep their digits everywhere.

All of them rest on one function. For v > 0 and t = 1 - v,

    F(v) = artanh(sqrt t) / sqrt t   (v < 1),   1,   arctan(sqrt -t) / sqrt -t   (v > 1),

which is arccosh(1/x) / sqrt(1 - x^2) at v = x^2, and analytic through v = 1. With L = ln(2 / sqrt v),

    B = (F - 1) / t,   C = (B - 1/3) / t,   h = F - L,   H = h / v,   dF/dv = -(1/v - B) / 2,   dh/dv = B / 2.

For NFW the enclosed mass is h and the convergence B, both at v = x^2. The other profiles are these functions at other
arguments, differences of them, or divided differences.

Below v = 1/2 and above v = 2 everything is written with logarithms and arctangents so that nothing large cancels.
Between, the map v -> 2 sqrt v / (1 + sqrt v) of the duplication theorem is applied twice, then a short series in t.

Every branch gets arguments inside its domain before `jnp.where` chooses, so derivatives stay finite.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

HALF_PI = math.pi / 2


class Basis(NamedTuple):
    """The functions above at one v."""

    v: jax.Array
    t: jax.Array
    L: jax.Array
    F: jax.Array
    B: jax.Array
    h: jax.Array


def inside(v, low, high, stand_in):
    """``v`` where low <= v <= high (None is no bound), elsewhere a constant, whose derivative is zero."""
    chosen = True if low is None else v >= low
    if high is not None:
        chosen = chosen & (v <= high)
    return jnp.where(chosen, v, stand_in)


def pick(v, small, middle, big):
    """One of three branches: v < 1/2, between, v > 2."""
    return jnp.where(v < 0.5, small, jnp.where(v > 2, big, middle))


def series_c(v):
    """C for 1/2 <= v <= 2, to rounding."""
    t = 1 - v
    root = jnp.sqrt(v)
    c1 = 2 / (1 + root)
    t1 = t * c1 * c1 / 4
    c2 = 2 / (1 + jnp.sqrt(c1 * root))
    t2 = t1 * c2 * c2 / 4
    # |t2| < 0.048: the first term left out is below a tenth of the rounding
    terms = 12 if v.dtype == np.dtype(np.float64) else 6
    total = 1.0 / (2 * terms + 5)
    for j in reversed(range(terms)):
        total = total * t2 + 1.0 / (2 * j + 5)
    for c in (c2, c1):
        total = c * c / 4 * ((c + 2) ** 2 / 12 + c**3 / 4 * total)
    return total


def small_pieces(v):
    """L, w = sqrt(1 - v), y = v / (1 + w) and l = ln(1 - y / 2) for v <= 1/2; then w F = L + l and w + y = 1."""
    w = jnp.sqrt(1 - v)
    y = v / (1 + w)
    return 0.5 * jnp.log(4 / v), w, y, jnp.log1p(-0.5 * y)


def basis(v):
    """`Basis` at v > 0, each member to a few roundings."""
    t = 1 - v
    L = 0.5 * jnp.log(4 / v)

    vs = inside(v, None, 0.5, 0.25)
    Ls, w, y, l = small_pieces(vs)
    hs = (y * Ls + l) / w
    Fs = Ls + hs
    Bs = (Fs - 1) / (1 - vs)

    vm = inside(v, 0.5, 2, 1.0)
    Bm = 1 / 3 + (1 - vm) * series_c(vm)
    Fm = 1 + (1 - vm) * Bm

    vb = inside(v, 2, None, 4.0)
    U = jnp.sqrt(vb - 1)
    Fb = jnp.arctan(U) / U
    Bb = (1 - Fb) / (vb - 1)

    F = pick(v, Fs, Fm, Fb)
    return Basis(v, t, L, F, pick(v, Bs, Bm, Bb), jnp.where(v < 0.5, hs, F - L))


def curvature(v):
    """(1 - 3 v B) / t: the second derivative of F(u / c^2) in c, over -1 / c^2."""
    vm = inside(v, 0.5, 2, 1.0)
    vo = jnp.where((v < 0.5) | (v > 2), v, 0.25)
    return jnp.where((v < 0.5) | (v > 2), (1 - 3 * vo * basis(vo).B) / (1 - vo), 1 - 3 * vm * series_c(vm))


def falling(v):
    """1 - v B, which is 2 v times -dF/dv."""
    vb = inside(v, 2, None, 4.0)
    return jnp.where(v > 2, (vb * basis(vb).F - 1) / (vb - 1), 1 - v * basis(v).B)


def excess(v):
    """2 H - B: the NFW mean convergence less the local one, halved; 1/2 at the centre."""
    vs = inside(v, None, 0.5, 0.25)
    L, w, y, l = small_pieces(vs)
    small = (L * (y - 2 * vs) / (w * (1 + w)) + (2 - 3 * vs) * (l / vs) / w + 1) / (1 - vs)
    at = basis(inside(v, 0.5, None, 1.0))
    return jnp.where(v < 0.5, small, 2 * at.h / at.v - at.B)


def mean(v):
    """H."""
    L, w, _, l = small_pieces(vs := inside(v, None, 0.5, 0.25))
    at = basis(inside(v, 0.5, None, 1.0))
    return jnp.where(v < 0.5, (L / (1 + w) + l / vs) / w, at.h / at.v)


def reduced(v):
    """H - L / 2 and B - L, finite at the centre, for v <= 1/2."""
    L, w, y, l = small_pieces(v)
    h = (y * L + l) / w
    return L * y * (2 + w) / (2 * w * (1 + w)) + l / (v * w), (h - 1 + v * L) / (1 - v)


def log_square(v):
    """2 (L^2 - t F^2), the NFW potential over its amplitude: it is the integral of 2 h / v."""
    vs = inside(v, None, 0.5, 0.25)
    L, _, _, l = small_pieces(vs)
    at = basis(inside(v, 0.5, None, 1.0))
    return jnp.where(v < 0.5, -2 * l * (2 * L + l), 2 * (at.L**2 - at.t * at.F**2))


def line(at):
    """2 (L - t F), the integral of F over v."""
    small = at.v * at.L - at.t * at.h
    return 2 * jnp.where(at.v < 0.5, small, at.L - at.t * at.F)


def legendre(n):
    """Nodes and weights of Gauss and Legendre on [-1, 1] as Python floats, which GPU kernels can hold."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return tuple(zip(nodes.tolist(), weights.tolist(), strict=True))


def between(a, n):
    """Quadrature over c from a to 1 for functions that are singular at c = 0 and infinity only.

    With r = sqrt(a), e = (1 - r) / (1 + r) and c = r (1 + e z) / (1 - e z), both singularities are equally far from the
    interval -1 < z < 1. Weights are divided by 1 - a, so that they add up to one and a = 1 is no special case.

    Yields
    ------
    c, weight, (c - a) / (1 - a)
    """
    r = jnp.sqrt(a)
    e = (1 - r) / (1 + r)
    for z, weight in legendre(n):
        below = (1 - e * z) * (1 + r)
        yield r * (1 + e * z) / (1 - e * z), 2 * r * weight / below**2, r * (1 + z) / below

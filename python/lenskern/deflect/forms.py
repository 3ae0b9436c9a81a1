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

import functools
import math

import jax.numpy as jnp
import numpy as np
from jax import lax

HALF_PI = math.pi / 2


class Basis:
    """The functions above at v > 0, each to a few roundings.

    Small v has w = sqrt(1 - v), y = v / (1 + w) and l = ln(1 - y / 2): then w F = L + l and w + y = 1.
    """

    def __init__(self, v):
        self.v, self.t = v, 1 - v
        self.is_small, self.is_big = v < 0.5, v > 2

    def choose(self, small, middle, big):
        return jnp.where(self.is_small, small, jnp.where(self.is_big, big, middle))

    def choose_small(self, small, other):
        return jnp.where(self.is_small, small, other)

    @functools.cached_property
    def L(self):
        return -0.5 * jnp.log(0.25 * self.v)

    @functools.cached_property
    def small(self):
        """v clipped to the range, L, w, y, l and h."""
        v = jnp.where(self.is_small, self.v, 0.25)
        L = jnp.where(self.is_small, self.L, math.log(4))
        w = jnp.sqrt(1 - v)
        y = v / (1 + w)
        l = jnp.log1p(-0.5 * y)
        return v, L, w, y, l, (y * L + l) / w

    @functools.cached_property
    def middle(self):
        """v clipped to the range, and C there."""
        v = jnp.where(self.is_small | self.is_big, 1.0, self.v)
        return v, _series_c(v)

    @functools.cached_property
    def big(self):
        """v clipped to the range, and F there."""
        v = jnp.where(self.is_big, self.v, 4.0)
        U = jnp.sqrt(v - 1)
        return v, jnp.arctan(U) / U

    @functools.cached_property
    def F(self):
        v, C = self.middle
        t = 1 - v
        return self.choose(self.small[1] + self.small[5], 1 + t * (1 / 3 + t * C), self.big[1])

    @functools.cached_property
    def B(self):
        v, C = self.middle
        return jnp.where(self.is_small | self.is_big, (self.F - 1) / self._safe_t, 1 / 3 + (1 - v) * C)

    @functools.cached_property
    def h(self):
        return self.choose_small(self.small[5], self.F - self.L)

    @functools.cached_property
    def H(self):
        _, L, w, _, _, _ = self.small
        return self.choose_small((L / (1 + w) + self._l_over_v) / w, self._h_over_v)

    @functools.cached_property
    def excess(self):
        """2 H - B: the NFW mean convergence less the local one, halved; 1/2 at the centre."""
        v, L, w, y, _, _ = self.small
        small = (L * (y - 2 * v) / (w * (1 + w)) + (2 - 3 * v) * self._l_over_v / w + 1) / (1 - v)
        return self.choose_small(small, 2 * self._h_over_v - self.B)

    @functools.cached_property
    def curvature(self):
        """(1 - 3 v B) / t: the second derivative of F(u / c^2) in c, over -1 / c^2."""
        v, C = self.middle
        return jnp.where(self.is_small | self.is_big, (1 - 3 * self.v * self.B) / self._safe_t, 1 - 3 * v * C)

    @functools.cached_property
    def falling(self):
        """1 - v B, which is -2 v dF/dv."""
        v, F = self.big
        return jnp.where(self.is_big, (v * F - 1) / (v - 1), 1 - self.v * self.B)

    @functools.cached_property
    def steep(self):
        """2 F - 1 + v B."""
        v, F = self.big
        return jnp.where(self.is_big, (1 + (v - 2) * F) / (v - 1), 1 + (2 - self.v) * self.B)

    @functools.cached_property
    def log_square(self):
        """2 (L^2 - t F^2), the integral of 2 h / v, and the NFW potential."""
        _, L, _, _, l, _ = self.small
        return self.choose_small(-2 * l * (2 * L + l), 2 * (self.L**2 - self.t * self.F**2))

    @functools.cached_property
    def line(self):
        """2 (L - t F), the integral of F over v."""
        v, L, _, _, _, h = self.small
        return 2 * self.choose_small(v * L - (1 - v) * h, self.L - self.t * self.F)

    @functools.cached_property
    def reduced(self):
        """h, H - L / 2 and B - L, finite at the centre, where v < 1/2."""
        v, L, w, y, _, h = self.small
        return h, (L * y * (2 + w) / (2 * (1 + w)) + self._l_over_v) / w, (h - 1 + v * L) / (1 - v)

    @functools.cached_property
    def _h_over_v(self):
        return (self.F - self.L) / jnp.where(self.is_small, 1.0, self.v)

    @functools.cached_property
    def _l_over_v(self):
        # at the least v the derivative of the division would overflow
        v, _, _, _, l, _ = self.small
        tiny = v < 1e-3 * float(jnp.finfo(v.dtype).eps)
        return jnp.where(tiny, -0.25, l / jnp.where(tiny, 1.0, v))

    @functools.cached_property
    def _safe_t(self):
        return jnp.where(self.is_small | self.is_big, self.t, 1.0)


def _series_c(v):
    """C for 1/2 <= v <= 2, to rounding."""
    root = jnp.sqrt(v)
    c1 = 2 / (1 + root)
    t1 = (1 - v) * c1 * c1 / 4
    c2 = 2 / (1 + jnp.sqrt(c1 * root))
    t2 = t1 * c2 * c2 / 4
    # |t2| < 0.048: the first term left out is below a tenth of the rounding
    terms = 12 if v.dtype == np.dtype(np.float64) else 6
    total = 1.0 / (2 * terms + 5)
    for j in reversed(range(terms)):
        total = total * t2 + 1.0 / (2 * j + 5)
    for c in (c2, c1):
        total = c * c / 4 * ((c + 2) * (c + 2) / 12 + c * c * c / 4 * total)
    return total


def integral(a, function):
    """Integral over c from a to 1 of ``function(c, (c - a) / (1 - a))``, over 1 - a; a = 1 is no special case.

    Gauss and Legendre with 8 nodes, 4 in float32, for functions that are singular at c = 0 and infinity only. With
    r = sqrt(a), e = (1 - r) / (1 + r) and c = r (1 + e z) / (1 - e z), both singularities are equally far from the
    interval -1 < z < 1.

    Parameters
    ----------
    a : array
    function : callable
        Of arrays that have one more leading axis than ``a``, the nodes.
    """
    z, weight = (_column(values, a) for values in legendre(8 if a.dtype == np.dtype(np.float64) else 4))
    r = jnp.sqrt(a)
    e = (1 - r) / (1 + r)
    below = (1 - e * z) * (1 + r)
    return jnp.sum(
        2 * r * weight / (below * below) * function(r * (1 + e * z) / (1 - e * z), r * (1 + z) / below), axis=0
    )


def legendre(n):
    """Nodes and weights of Gauss and Legendre on [-1, 1]."""
    return np.polynomial.legendre.leggauss(n)


def _column(values, like):
    """Numbers along a new leading axis; made of scalars, for GPU kernels hold no constant arrays."""
    index = lax.broadcasted_iota(jnp.int32, (len(values),) + (1,) * like.ndim, 0)
    column = jnp.full(index.shape, float(values[-1]), like.dtype)
    for i, value in enumerate(values[:-1]):
        column = jnp.where(index == i, float(value), column)
    return column

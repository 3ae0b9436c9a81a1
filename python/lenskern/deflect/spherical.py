"""Mean convergence g, convergence k and potential w of each spherical profile, with amplitude and scale taken out.

Every function takes u = (R / s)^2 > 0 and the shape parameters p, q. `forms` says what F, B, h and the others are; the
comments give m = u g / 4, the enclosed mass over 4 pi rho_s r_s^3, where the profile has one.
"""

import jax
import jax.numpy as jnp
import numpy as np

from . import forms

# A core much below this changes nothing and would overflow.
SMALLEST_CORE = {np.dtype(np.float32): 1e-12, np.dtype(np.float64): 1e-30}


def _nodes(u):
    return 8 if u.dtype == np.dtype(np.float64) else 4


def _core(p):
    smallest = SMALLEST_CORE[p.dtype]
    return jnp.where(p < smallest, p + smallest, p)


def nfw_mean(u, p, q):
    return 4 * forms.mean(u)


def nfw_local(u, p, q):
    return 2 * forms.basis(u).B


def nfw_potential(u, p, q):
    return forms.log_square(u)


def _truncation(u, tau):
    """r = sqrt(tau^2 + u), d = r - tau, asinh(tau / x), and tau^2 / (tau^2 + 1)^2."""
    r = jnp.sqrt(tau * tau + u)
    ratio = tau / jnp.sqrt(u)
    angle = jnp.log1p(ratio + ratio * ratio / (1 + jnp.sqrt(1 + ratio * ratio)))
    return r, u / (r + tau), angle, (tau / (tau * tau + 1)) ** 2


# Baltz, Marshall & Oguri (2009, JCAP 01, 015), n = 1. With d = r - tau and a = asinh(tau / x)
#   m = P {(tau^2 - 1) [h - ln(1 + d / 2 tau) - (d / tau) a] + 2 u F - pi d},   P = tau^2 / (tau^2 + 1)^2,
# where every term is of the order of m at small x. At large x the terms in pi are combined, and the logarithms.
def tnfw_mean(u, p, q):
    tau = p
    r, d, angle, P = _truncation(u, tau)
    at = forms.basis(forms.inside(u, None, 2, 1.0))
    near = (tau * tau - 1) * (forms.mean(at.v) - jnp.log1p(d / (2 * tau)) / u - angle / (tau * (r + tau)))
    near = near + 2 * at.F - forms.HALF_PI * 2 / (r + tau)

    ub = forms.inside(u, 2, None, 4.0)
    U = jnp.sqrt(ub - 1)
    E = jnp.arctan(1 / U)
    rb, db, ab, _ = _truncation(ub, tau)
    far = forms.HALF_PI * ((tau * tau + 1) / (U + rb)) ** 2 / U - (U + rb * (rb / U)) * E + 2 * forms.HALF_PI * tau
    far = far + (tau * tau - 1) * (jnp.log(tau * jnp.sqrt(ub) / (rb + tau)) - db / tau * ab)
    return 4 * P * jnp.where(u > 2, far / ub, near)


def tnfw_local(u, p, q):
    tau = p
    r, _, angle, P = _truncation(u, tau)
    at = forms.basis(forms.inside(u, None, 2, 1.0))
    near = (tau * tau + 1) * at.B + 2 * at.F - 2 * forms.HALF_PI / r - (tau * tau - 1) * (angle / (tau * r))

    # With F = (pi / 2 - arctan(1 / U)) / U, U^2 = u - 1, what is of the order of 1 / x and 1 / x^2 cancels by hand:
    # arctan(1 / U) U = 1 - e1 and asinh(tau / x) r / tau = 1 + e2 with e1 and e2 small.
    ub = forms.inside(u, 2, None, 4.0)
    down = 1 / (ub - 1)
    U = jnp.sqrt(ub - 1)
    rb = jnp.sqrt(tau * tau + ub)
    low = 1 / (rb * rb)
    e1 = down * forms.basis(1 + down).B
    e2 = tau * tau * low * forms.basis(ub * low).B
    square = tau * tau + 1
    far = square * down * down * (1 - e1) + 2 * e1 * down
    far = far + (tau * tau - 1) * low * (square * down - e2)
    far = far - forms.HALF_PI * (square / (rb + U)) ** 2 * ((2 * U + rb) * down / (U * rb))
    return 2 * P * jnp.where(u > 2, far, near)


# The integral of 2 m / u is elementary; with e = ln(1 + d / 2 tau) that of -2 [e + (d / tau) a] / u is
# 4 a (e - d / tau) - 2 e^2 - 4 e.
def tnfw_potential(u, p, q):
    tau = p
    _, d, angle, P = _truncation(u, tau)
    e = jnp.log1p(d / (2 * tau))
    logs = forms.log_square(u) + 4 * angle * (e - d / tau) - 2 * e * e - 4 * e
    us = forms.inside(u, None, 2, 1.0)
    near = 4 * forms.line(forms.basis(us)) - 4 * forms.HALF_PI * 2 * (d - tau * e)
    ub = forms.inside(u, 2, None, 4.0)
    U = jnp.sqrt(ub - 1)
    rb = jnp.sqrt(tau * tau + ub)
    far = 4 * jnp.log(4 / ub) - 8 * U * jnp.arctan(1 / U)
    far = far + 8 * forms.HALF_PI * (tau + tau * e - (tau * tau + 1) / (U + rb))
    return P * ((tau * tau - 1) * logs + jnp.where(u > 2, far, near))


# rho = rho_0 r_s^3 / ((r + r_c) (r + r_s)^2): the second divided difference in c, at b, 1 and 1, of 1 / (r + c r_s),
# whose projection is -F(u / c^2) but for a constant. Near b = 1 it is an integral of the second derivative.
def _cored(u, p, near, apart):
    b = _core(p)
    reach = 2.0 if u.dtype == np.dtype(np.float64) else 2.5
    close = (b > 1 / reach) & (b < reach)
    bc = jnp.where(close, b, 1.0)
    total = 0.0
    for c, weight, share in forms.between(bc, _nodes(u)):
        down = 1 / (c * c)
        total = total + weight * share * near(u * down, down)
    ba = jnp.where(close, 4.0, b)
    return jnp.where(close, total, apart(u, ba) / (1 - ba) ** 2)


def _difference(u, b, one, two):
    """b F(u) - F(u / b^2) for what is neither small nor large, and for large u without the terms that cancel."""
    large = u > 2 * jnp.maximum(1.0, b * b)
    ul = jnp.where(large, u, 4 * jnp.maximum(1.0, b * b))
    U1, Ub = jnp.sqrt(ul - 1), jnp.sqrt(ul - b * b)
    far = forms.HALF_PI * b * (1 - b * b) / (U1 * Ub * (U1 + Ub))
    far = far - b * jnp.arctan(1 / U1) / U1 + b * jnp.arctan(b / Ub) / Ub
    return jnp.where(large, far, b * one.F - two.F)


def _central(u, b):
    """Whether u and u / b^2 are both small, and the three arguments clipped to that region."""
    limit = 0.5 * jnp.minimum(1.0, b * b)
    small = u < limit
    return small, jnp.where(small, u, limit / 2)


def cnfw_mean(u, p, q):
    def apart(u, b):
        small, us = _central(u, b)
        one, _ = forms.reduced(us)
        two, _ = forms.reduced(us / (b * b))
        L, w, y, l = forms.small_pieces(us)
        h1 = (y * L + l) / w
        L, w, y, l = forms.small_pieces(us / (b * b))
        h2 = (y * L + l) / w
        inner = two + (1 - 2 * b) * one + b * h1 - h2 - 0.5 * jnp.log(b)
        one, two = forms.basis(u), forms.basis(u / (b * b))
        outer = two.h / two.v + (1 - 2 * b) * (one.h / one.v) + _difference(u, b, one, two)
        return 4 * jnp.where(small, inner, outer)

    return _cored(u, p, lambda v, down: 4 * down * forms.excess(v), apart)


def cnfw_local(u, p, q):
    def apart(u, b):
        small, us = _central(u, b)
        _, one = forms.reduced(us)
        L, w, y, l = forms.small_pieces(us)
        h1 = (y * L + l) / w
        L, w, y, l = forms.small_pieces(us / (b * b))
        h2 = (y * L + l) / w
        inner = b * h1 - h2 - jnp.log(b) + (1 - b) * one
        one, two = forms.basis(u), forms.basis(u / (b * b))
        outer = _difference(u, b, one, two) + (1 - b) * one.B
        return 2 * jnp.where(small, inner, outer)

    return _cored(u, p, lambda v, down: 2 * down * forms.curvature(v), apart)


def cnfw_potential(u, p, q):
    def apart(u, b):
        v = u / (b * b)
        one, two = forms.line(forms.basis(u)), forms.line(forms.basis(v))
        return b * b * (forms.log_square(v) - 2 * two) + (1 - 2 * b) * forms.log_square(u) + 2 * b * one

    return _cored(u, p, lambda v, down: 2 * forms.log_square(v) - 4 * forms.basis(v).h, apart)


# rho = rho_0 / (sqrt(b^2 + y^2) (1 + y^2) (1 + y^2 / tau^2)) is tau^2 / (tau^2 - 1) times a difference, at Y = 1 and
# tau^2, of 1 / (sqrt(b^2 + y^2) (Y + y^2)). Its projection is K = F(v) / (u + Y), v = (u + b^2) / (u + Y), and the mass
# enclosed by it W = (1/2) ln(1 + u / b^2) + F(v) - F(b^2 / Y), both but for a factor. Where the difference would cancel
# it is an integral of the derivative in Y.
def _phi(u, b, Y, one):
    """[F(v) - F(b^2 / Y)] / u by the addition theorem, and the same over Y - b^2; for b^2 >= Y / 2."""
    T, T0 = jnp.sqrt(u + Y), jnp.sqrt(Y)
    d = 1 / (T + T0)
    low = T0 * d * u + b * b
    two = forms.basis((u + b * b) * (b / low) ** 2)
    over = d * (one.B / T**3 - 1 / (T * low) - T0 * (d * u / low) ** 2 * two.B / low)
    return d * (one.F / T - T0 * two.F / low), over


def _w(u, b, Y, one):
    """W / u for b^2 < Y / 2."""
    T, T0 = jnp.sqrt(u + Y), jnp.sqrt(Y)
    d, Q = 1 / (T + T0), jnp.sqrt(Y - b * b)
    logs = T0 * jnp.log1p(d * u / (T0 + Q)) - b * b / (2 * (T0 + Q)) * jnp.log1p(u / (b * b))
    return d / T * one.F + logs / (u * Q)


def tnfwc_mean(u, p, q):
    b, tau = _core(p), q
    log = jnp.log1p(u / (b * b)) / (2 * u)
    outside = u > jnp.maximum(1.0, tau * tau)

    def parts(Y):
        """Whether b^2 < Y / 2, W / u if so, and what else `_phi` gives."""
        one = forms.basis((u + b * b) / (u + Y))
        compact = b * b < Y / 2
        w = _w(u, jnp.where(compact, b, jnp.sqrt(Y) / 2), Y, one)
        phi, over = _phi(u, jnp.where(compact, jnp.sqrt(Y), b), Y, one)
        return compact, one.F, w, phi, over

    reach = 1.12 if u.dtype == np.dtype(np.float64) else 4 / 3
    close = (tau > 1 / reach) & (tau < reach)
    tc, ta = jnp.where(close, tau, 1.0), jnp.where(close, 4.0, tau)
    near = 0.0
    for Y, weight, _ in forms.between(tc * tc, 6 if reach < 1.2 else 4):
        compact, F, w, _, over = parts(Y)
        over = jnp.where(compact, (w - log) / jnp.where(compact, Y - b * b, 1.0), over)
        inner = F / (u + Y) + b * b * over
        outer = (forms.falling(b * b / Y) - Y / (u + Y) * forms.falling((u + b * b) / (u + Y))) / u
        near = near + weight * jnp.where(outside, outer, inner) / (2 * Y)

    compact1, _, w1, phi1, _ = parts(jnp.ones_like(ta))
    compact2, _, w2, phi2, _ = parts(ta * ta)
    log = jnp.where(compact1 | compact2, log, 0.0)
    inner = jnp.where(compact1, w1, phi1 + log) - jnp.where(compact2, w2, phi2 + log)
    # far out F(v) - F(b^2 / Y) is taken at its word, and the difference of F(v) as an integral
    change = 0.0
    uo = jnp.where(outside, u, 2 * jnp.maximum(1.0, tau * tau))
    for c, weight, _ in forms.between((uo + tau * tau) / (uo + 1), _nodes(u)):
        y = c * (uo + 1)
        change = change + weight * forms.falling((uo + b * b) / y) / (2 * y)
    one, two = forms.basis(b * b), forms.basis(b * b / (ta * ta))
    gap = jnp.where(compact1 & compact2, jnp.log(ta) + two.h - one.h, two.F - one.F)
    apart = jnp.where(outside, (gap / (ta * ta - 1) - change) / u, inner / (ta * ta - 1))
    return 4 * tau * tau * jnp.where(close, near, apart)


def tnfwc_local(u, p, q):
    b, Y = _core(p), q * q
    ratio = (u + Y) / (u + 1)
    close = (ratio > 0.5) & (ratio < 2)
    near = 0.0
    for c, weight, _ in forms.between(jnp.where(close, ratio, 1.0), _nodes(u)):
        y = c * (u + 1)
        at = forms.basis((u + b * b) / y)
        big = forms.inside(at.v, 2, None, 4.0)
        # -2 y^2 dK/dY = 2 F - 1 + v B
        slope = jnp.where(at.v > 2, (1 + (big - 2) * at.F) / (big - 1), 1 + (2 - at.v) * at.B)
        near = near + weight * slope / (y * y)
    one, two = forms.basis((u + b * b) / (u + 1)), forms.basis((u + b * b) / (u + Y))
    apart = (one.F / (u + 1) - two.F / (u + Y)) / jnp.where(close, 4.0, Y - 1)
    return Y * jnp.where(close, near, 2 * apart)


def tnfwc_potential(u, p, q):
    """By Gauss and Legendre in asinh(x / scale), scale the smallest of b, tau and 1: 16 panels of 8 nodes."""
    scale = jnp.maximum(jnp.minimum(jnp.minimum(_core(p), q), 1.0), 1e-4)
    end = jnp.arcsinh(jnp.sqrt(u) / scale)
    z, weight = np.asarray(forms.legendre(8)).T
    at = (np.arange(16)[:, None] + (1 + z) / 2) / 16
    nodes = jnp.asarray(np.stack([at.ravel(), np.tile(weight, 16)], axis=1), u.dtype)

    def add(total, node):
        s = jnp.sinh(end * node[0])
        return total + node[1] * s * jnp.cosh(end * node[0]) * tnfwc_mean((scale * s) ** 2, p, q), None

    shape = jnp.broadcast_shapes(u.shape, p.shape, q.shape)
    return jax.lax.scan(add, jnp.zeros(shape, u.dtype), nodes)[0] * end / 32 * scale * scale


# A = E / a, s = a, p = core / a; see Eliasdottir et al. (2007, arXiv:0710.5636). Differences are taken by hand.
def dpie_mean(u, p, q):
    inner, outer = jnp.sqrt(p * p + u), jnp.sqrt(1 + u)
    return (1 - p) * (1 + (1 + p) / (inner + outer)) / ((inner + p) * (outer + 1))


def dpie_local(u, p, q):
    inner, outer = jnp.sqrt(p * p + u), jnp.sqrt(1 + u)
    return (1 - p) * (1 + p) / (2 * (inner + outer) * inner * outer)


def dpie_potential(u, p, q):
    core = _core(p)
    inner, outer = u / (jnp.sqrt(core * core + u) + core), u / (jnp.sqrt(1 + u) + 1)
    return inner - core * jnp.log1p(inner / (2 * core)) - outer + jnp.log1p(outer / 2)


def point_mean(u, p, q):
    return 1 / (u + p * p)


def point_local(u, p, q):
    return (p / (u + p * p)) ** 2


def point_potential(u, p, q):
    return 0.5 * jnp.log(u + p * p)


def sis_mean(u, p, q):
    return 1 / jnp.sqrt(u)


def sis_local(u, p, q):
    return 0.5 / jnp.sqrt(u)


def sis_potential(u, p, q):
    return jnp.sqrt(u)


def sheet_mean(u, p, q):
    return jnp.ones_like(u)


def sheet_local(u, p, q):
    return jnp.ones_like(u)


def sheet_potential(u, p, q):
    return u / 2

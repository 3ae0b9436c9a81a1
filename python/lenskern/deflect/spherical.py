"""Mean convergence g, convergence k and potential w of each spherical profile, with amplitude and scale taken out.

Every function takes u = (R / s)^2 > 0 and the shape parameters p, q. `forms` says what F, B, h and the others are; the
comments give m = u g / 4, the enclosed mass over 4 pi rho_s r_s^3, where the profile has one.
"""

import jax.numpy as jnp
import numpy as np

from . import forms

# A core or a separation below this changes nothing and would overflow.
SMALLEST_CORE = {np.dtype(np.float32): 1e-12, np.dtype(np.float64): 1e-30}


def _nodes(u):
    return 8 if u.dtype == np.dtype(np.float64) else 4


def _core(p):
    return jnp.maximum(p, SMALLEST_CORE[p.dtype])


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
# whose projection is -F(u / c^2) but for a constant. For 1/2 < b < 2 it is an integral of the second derivative.
def _cored(u, p, near, apart):
    b = _core(p)
    close = (b > 0.5) & (b < 2)
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
# tau^2, of 1 / (sqrt(b^2 + y^2) (Y + y^2)), whose projection is K = F(v) / (u + Y), v = (u + b^2) / (u + Y), and whose
# enclosed mass is W = (1/2) ln(1 + u / b^2) + F(v) - F(b^2 / Y), both but for a factor. Near tau = 1 the difference is
# an integral of the derivative in Y.
def _close(tau):
    close = (tau > 0.75) & (tau < 4 / 3)
    return close, jnp.where(close, tau, 1.0), jnp.where(close, 4.0, tau)


def _angles(u, b, Y):
    """T = sqrt(u + Y), its value T0 at u = 0, d = T - T0 over u, N = Y - b^2, and T T0 - N."""
    T, T0 = jnp.sqrt(u + Y), jnp.sqrt(Y)
    d = 1 / (T + T0)
    return T, T0, d, Y - b * b, T0 * d * u + b * b


def _phi(u, b, Y):
    """[F(v) - F(b^2 / Y)] / u by the addition theorem, and the same over Y - b^2; for b^2 >= Y / 2."""
    T, T0, d, _, low = _angles(u, b, Y)
    one = forms.basis((u + b * b) / (u + Y))
    two = forms.basis((u + b * b) * (b / low) ** 2)
    over = d * (one.B / T**3 - 1 / (T * low) - T0 * (d * u / low) ** 2 * two.B / low)
    return d * (one.F / T - T0 * two.F / low), over


def _w(u, b, Y):
    """W / u for b^2 < Y / 2."""
    T, T0, d, N, _ = _angles(u, b, Y)
    Q = jnp.sqrt(N)
    at = forms.basis((u + b * b) / (u + Y))
    logs = T0 * jnp.log1p(d * u / (T0 + Q)) - b * b / (2 * (T0 + Q)) * jnp.log1p(u / (b * b))
    return d / T * at.F + logs / (u * Q)


def tnfwc_mean(u, p, q):
    b = _core(p)
    close, tc, ta = _close(q)
    log = jnp.log1p(u / (b * b)) / (2 * u)

    def parts(Y):
        """W / u - log, which is phi, and what of it over N; either by its own form."""
        compact = b * b < Y / 2
        bw = jnp.where(compact, b, jnp.sqrt(Y) / 2)
        bp = jnp.where(compact, jnp.sqrt(Y), b)
        w = _w(u, bw, Y)
        phi, over = _phi(u, bp, Y)
        return compact, w, phi, over

    total = 0.0
    for Y, weight, _ in forms.between(tc * tc, _nodes(u)):
        compact, w, _, over = parts(Y)
        N = jnp.where(compact, Y - b * b, 1.0)
        over = jnp.where(compact, (w - log) / N, over)
        F = forms.basis((u + b * b) / (u + Y)).F
        total = total + weight * (F / (u + Y) + b * b * over) / (2 * Y)

    compact1, w1, phi1, _ = parts(jnp.ones_like(ta))
    compact2, w2, phi2, _ = parts(ta * ta)
    log = jnp.where(compact1 | compact2, log, 0.0)
    apart = jnp.where(compact1, w1, phi1 + log) - jnp.where(compact2, w2, phi2 + log)
    return 4 * q * q * jnp.where(close, total, apart / (ta * ta - 1))


def tnfwc_local(u, p, q):
    b = _core(p)
    close, tc, ta = _close(q)
    total = 0.0
    for Y, weight, _ in forms.between(tc * tc, _nodes(u)):
        at = forms.basis((u + b * b) / (u + Y))
        big = forms.inside(at.v, 2, None, 4.0)
        E = jnp.where(at.v > 2, (1 + (big - 2) * at.F) / (big - 1), 1 + (2 - at.v) * at.B)
        total = total + weight * E / (u + Y) ** 2

    Y1, Y2 = 1.0, ta * ta
    one, two = forms.basis((u + b * b) / (u + Y1)), forms.basis((u + b * b) / (u + Y2))
    down1, down2 = 1 / (u + Y1), 1 / (u + Y2)
    direct = (one.F * down1 - two.F * down2) / (Y2 - Y1)
    # far out F is 1 + N B / (u + Y)
    far = ((Y1 - b * b) * one.B * down1 * down1 - (Y2 - b * b) * two.B * down2 * down2) / (Y2 - Y1) + down1 * down2
    outside = u > jnp.maximum(jnp.maximum(1.0, Y2), 2 * b * b)
    return q * q * jnp.where(close, total, 2 * jnp.where(outside, far, direct))


def tnfwc_potential(u, p, q):
    """By 96 Gauss-Legendre nodes in asinh(x / scale), scale the smallest of b, tau and 1."""
    b = _core(p)
    scale = jnp.maximum(jnp.minimum(jnp.minimum(b, q), 1.0), 1e-4)
    end = jnp.arcsinh(jnp.sqrt(u) / scale)
    total = 0.0
    for z, weight in forms.legendre(96):
        y = end * (1 + z) / 2
        s = jnp.sinh(y)
        total = total + weight * s * jnp.cosh(y) * tnfwc_mean((scale * s) ** 2, p, q)
    return total * end / 2 * scale * scale


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

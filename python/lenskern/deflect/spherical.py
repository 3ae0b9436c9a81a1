"""Mean convergence g, convergence k and potential w of each spherical profile, with amplitude and scale taken out.

Every function takes u = (R / s)^2 > 0 and the shape parameters p, q. `forms` says what F, B, h and the others are; the
comments give m = u g / 4, the enclosed mass over 4 pi rho_s r_s^3, where the profile has one.
"""

import jax
import jax.numpy as jnp
import numpy as np

from .forms import HALF_PI, Basis, integral, legendre


def _core(p, u):
    """The core radius, raised where it is so far below 1 and x that it changes nothing."""
    least = (1e-18 if u.dtype == np.dtype(np.float64) else 1e-8) * jnp.sqrt(jnp.minimum(u, 1.0))
    return jnp.where(p < least, p + least, p)


def nfw_mean(u, p, q):
    return 4 * Basis(u).H


def nfw_local(u, p, q):
    return 2 * Basis(u).B


def nfw_potential(u, p, q):
    return Basis(u).log_square


def _truncation(u, tau):
    """r = sqrt(tau^2 + u), d = r - tau, asinh(tau / x), and tau^2 / (tau^2 + 1)^2."""
    x, r = jnp.sqrt(u), jnp.sqrt(tau * tau + u)
    angle = jnp.log1p(tau * (1 + tau / (r + x)) / x)
    return r, u / (r + tau), angle, (tau / (tau * tau + 1)) ** 2


# Baltz, Marshall & Oguri (2009, JCAP 01, 015), n = 1. With d = r - tau and a = asinh(tau / x)
#   m = P {(tau^2 - 1) [h - ln(1 + d / 2 tau) - (d / tau) a] + 2 u F - pi d},   P = tau^2 / (tau^2 + 1)^2,
# where every term is of the order of m at small x. At large x the terms in pi are combined, and the logarithms.
def tnfw_mean(u, p, q):
    tau, outside = p, u > 2
    r, d, angle, P = _truncation(u, tau)
    at = Basis(jnp.where(outside, 1.0, u))
    near = (tau * tau - 1) * (at.H - jnp.log1p(d / (2 * tau)) / u - angle / (tau * (r + tau)))
    near = near + 2 * at.F - 2 * HALF_PI / (r + tau)

    u = jnp.where(outside, u, 4.0)
    r, d, angle, _ = _truncation(u, tau)
    U = jnp.sqrt(u - 1)
    far = HALF_PI * ((tau * tau + 1) / (U + r)) ** 2 / U - (U + r * (r / U)) * jnp.arctan(1 / U) + 2 * HALF_PI * tau
    far = far + (tau * tau - 1) * (jnp.log(tau * jnp.sqrt(u) / (r + tau)) - d / tau * angle)
    return 4 * P * jnp.where(outside, far / u, near)


def tnfw_local(u, p, q):
    tau, outside = p, u > 2
    r, _, angle, P = _truncation(u, tau)
    at = Basis(jnp.where(outside, 1.0, u))
    near = (tau * tau + 1) * at.B + 2 * at.F - 2 * HALF_PI / r - (tau * tau - 1) * (angle / (tau * r))

    # With F = (pi / 2 - arctan(1 / U)) / U, U^2 = u - 1, what is of the order of 1 / x and 1 / x^2 cancels by hand:
    # arctan(1 / U) U = 1 - e1 and asinh(tau / x) r / tau = 1 + e2 with e1 and e2 small.
    u = jnp.where(outside, u, 4.0)
    down, U, r = 1 / (u - 1), jnp.sqrt(u - 1), jnp.sqrt(tau * tau + u)
    low, square = 1 / (r * r), tau * tau + 1
    e1 = down * Basis(1 + down).B
    e2 = tau * tau * low * Basis(u * low).B
    far = square * down * down * (1 - e1) + 2 * e1 * down
    far = far + (tau * tau - 1) * low * (square * down - e2)
    far = far - HALF_PI * (square / (r + U)) ** 2 * ((2 * U + r) * down / (U * r))
    return 2 * P * jnp.where(outside, far, near)


# The integral of 2 m / u is elementary; with e = ln(1 + d / 2 tau) that of -2 [e + (d / tau) a] / u is
# 4 a (e - d / tau) - 2 e^2 - 4 e.
def tnfw_potential(u, p, q):
    tau, outside = p, u > 2
    _, d, angle, P = _truncation(u, tau)
    e = jnp.log1p(d / (2 * tau))
    logs = Basis(u).log_square + 4 * angle * (e - d / tau) - 2 * e * e - 4 * e
    near = 4 * Basis(jnp.where(outside, 1.0, u)).line - 8 * HALF_PI * (d - tau * e)
    u = jnp.where(outside, u, 4.0)
    U, r = jnp.sqrt(u - 1), jnp.sqrt(tau * tau + u)
    far = 4 * jnp.log(4 / u) - 8 * U * jnp.arctan(1 / U) + 8 * HALF_PI * (tau + tau * e - (tau * tau + 1) / (U + r))
    return P * ((tau * tau - 1) * logs + jnp.where(outside, far, near))


# rho = rho_0 r_s^3 / ((r + r_c) (r + r_s)^2): the second divided difference in c, at b, 1 and 1, of 1 / (r + c r_s),
# whose projection is -F(u / c^2) but for a constant. Near b = 1 it is an integral of the second derivative.
def _cored(u, p, near, apart):
    """``near`` of `Basis` at u / c^2 and 1 / c^2 is the second derivative, ``apart`` the difference times (1 - b)^2."""
    b = _core(p, u)
    reach = 2.0 if u.dtype == np.dtype(np.float64) else 2.5
    close = (b > 1 / reach) & (b < reach)
    nearby = integral(jnp.where(close, b, 1.0), lambda c, share: share * near(Basis(u / (c * c)), 1 / (c * c)))
    b = jnp.where(close, 4.0, b)
    # (x / b)^2, for the derivative of u / b^2 would overflow
    far = apart(b, Basis(u), Basis((jnp.sqrt(u) / b) ** 2))
    return jnp.where(close, nearby, far / (1 - b) ** 2)


def _difference(b, one, two):
    """b F(u) - F(u / b^2), for large u without the terms that cancel."""
    bound = 2 * jnp.maximum(1.0, b * b)
    large = one.v > bound
    u = jnp.where(large, one.v, 2 * bound)
    U1, Ub = jnp.sqrt(u - 1), jnp.sqrt(u - b * b)
    far = HALF_PI * b * (1 - b * b) / (U1 * Ub * (U1 + Ub))
    far = far - b * jnp.arctan(1 / U1) / U1 + b * jnp.arctan(b / Ub) / Ub
    return jnp.where(large, far, b * one.F - two.F)


def cnfw_mean(u, p, q):
    def apart(b, one, two):
        h1, H1, _ = one.reduced
        h2, H2, _ = two.reduced
        inner = H2 + (1 - 2 * b) * H1 + b * h1 - h2 - 0.5 * jnp.log(b)
        outer = two.H + (1 - 2 * b) * one.H + _difference(b, one, two)
        return 4 * jnp.where(one.is_small & two.is_small, inner, outer)

    return _cored(u, p, lambda at, down: 4 * down * at.excess, apart)


def cnfw_local(u, p, q):
    def apart(b, one, two):
        h1, _, B1 = one.reduced
        inner = b * h1 - two.reduced[0] - jnp.log(b) + (1 - b) * B1
        outer = _difference(b, one, two) + (1 - b) * one.B
        return 2 * jnp.where(one.is_small & two.is_small, inner, outer)

    return _cored(u, p, lambda at, down: 2 * down * at.curvature, apart)


def cnfw_potential(u, p, q):
    def apart(b, one, two):
        bound = 2 * jnp.maximum(1.0, b * b)
        large = u > bound
        at = jnp.where(large, u, 2 * bound)
        U1, Ub = jnp.sqrt(at - 1), jnp.sqrt(at - b * b)
        far = jnp.log(4 / at) * (1 - b) - 2 * b * jnp.log(b) + 2 * HALF_PI * (b * b - 1) / (U1 + Ub)
        far = far - 2 * U1 * jnp.arctan(1 / U1) + 2 * Ub * jnp.arctan(b / Ub)
        lines = jnp.where(large, far, one.line - b * two.line)
        return b * b * two.log_square + (1 - 2 * b) * one.log_square + 2 * b * lines

    return _cored(u, p, lambda at, down: 2 * at.log_square - 4 * at.h, apart)


# rho = rho_0 / (sqrt(b^2 + y^2) (1 + y^2) (1 + y^2 / tau^2)) is tau^2 / (tau^2 - 1) times a difference, at Y = 1 and
# tau^2, of 1 / (sqrt(b^2 + y^2) (Y + y^2)). Its projection is K = F(v) / (u + Y), v = (u + b^2) / (u + Y), and the mass
# enclosed by it W = (1/2) ln(1 + u / b^2) + F(v) - F(b^2 / Y), both but for a factor. Where the difference would cancel
# it is an integral of the derivative in Y.
def _phi(u, b, Y, one):
    """[F(v) - F(b^2 / Y)] / u by the addition theorem, and the same over Y - b^2; for b^2 >= Y / 2."""
    T, T0 = jnp.sqrt(u + Y), jnp.sqrt(Y)
    d = 1 / (T + T0)
    low = T0 * d * u + b * b
    two = Basis((u + b * b) * (b / low) ** 2)
    over = d * (one.B / T**3 - 1 / (T * low) - T0 * (d * u / low) ** 2 * two.B / low)
    return d * (one.F / T - T0 * two.F / low), over


def _w(u, b, Y, one):
    """W / u for b^2 < Y / 2."""
    T, T0 = jnp.sqrt(u + Y), jnp.sqrt(Y)
    d, Q = 1 / (T + T0), jnp.sqrt(Y - b * b)
    logs = T0 * jnp.log1p(d * u / (T0 + Q)) - b * b / (2 * (T0 + Q)) * jnp.log1p((jnp.sqrt(u) / b) ** 2)
    return d / T * one.F + logs / Q / u


def _mass(u, b, Y):
    """Whether b^2 < Y / 2, `Basis` at v, W / u if so, and else what `_phi` gives."""
    one, compact = Basis((u + b * b) / (u + Y)), b * b < Y / 2
    w = _w(u, jnp.where(compact, b, jnp.sqrt(Y) / 2), Y, one)
    return compact, one, w, *_phi(u, jnp.where(compact, jnp.sqrt(Y), b), Y, one)


def tnfwc_mean(u, p, q):
    b, tau = _core(p, u), q
    log = jnp.log1p((jnp.sqrt(u) / b) ** 2) / (2 * u)
    bound = jnp.maximum(1.0, tau * tau)
    outside = u > bound
    close = (tau > 0.75) & (tau < 4 / 3)

    def slope(Y, _):
        compact, one, w, _, over = _mass(u, b, Y)
        over = jnp.where(compact, (w - log) / jnp.where(compact, Y - b * b, 1.0), over)
        inner = one.F / (u + Y) + b * b * over
        outer = (Basis(b * b / Y).falling - Y / (u + Y) * one.falling) / u
        return jnp.where(outside, outer, inner) / (2 * Y)

    near = integral(jnp.where(close, tau * tau, 1.0), slope)

    Y = jnp.where(close, 4.0, tau * tau)
    compact1, _, w1, phi1, _ = _mass(u, b, jnp.ones_like(Y))
    compact2, _, w2, phi2, _ = _mass(u, b, Y)
    log = jnp.where(compact1 | compact2, log, 0.0)
    inner = jnp.where(compact1, w1, phi1 + log) - jnp.where(compact2, w2, phi2 + log)
    # far out F(b^2 / Y) is a plain difference, and that of F(v) an integral
    far = jnp.where(outside, u, 2 * bound)
    square = jnp.where(outside, b * b, 1.0)
    one, two = Basis(square), Basis(square / Y)
    gap = jnp.where(compact1 & compact2, 0.5 * jnp.log(Y) + two.h - one.h, two.F - one.F)
    change = integral(
        (far + tau * tau) / (far + 1),
        lambda c, _: Basis((far + b * b) / (c * (far + 1))).falling / (2 * c),
    )
    outer = gap / (Y - 1) - change / (far + 1)
    return 4 * tau * tau * jnp.where(close, near, jnp.where(outside, outer / far, inner / (Y - 1)))


def tnfwc_local(u, p, q):
    b, Y = _core(p, u), q * q
    ratio = (u + Y) / (u + 1)
    close = (ratio > 0.5) & (ratio < 2)

    def slope(c, _):
        # -2 (u + Y)^2 dK/dY = 2 F - 1 + v B
        y = c * (u + 1)
        return Basis((u + b * b) / y).steep / (y * y)

    near = integral(jnp.where(close, ratio, 1.0), slope)
    one, two = Basis((u + b * b) / (u + 1)), Basis((u + b * b) / (u + Y))
    apart = (one.F / (u + 1) - two.F / (u + Y)) / jnp.where(close, 4.0, Y - 1)
    return Y * jnp.where(close, near, 2 * apart)


def tnfwc_potential(u, p, q):
    """By Gauss and Legendre in asinh(x / scale), scale the smallest of b, tau and 1: 16 panels of 8 nodes."""
    x = jnp.sqrt(u)
    scale = jnp.maximum(jnp.minimum(jnp.minimum(p, q), 1.0), 1e-5 * jnp.minimum(x, 1.0))
    end = jnp.arcsinh(x / scale)
    z, weight = legendre(8)
    at = (np.arange(16)[:, None] + (1 + z) / 2) / 16
    nodes = jnp.asarray(np.stack([at.ravel(), np.tile(weight, 16)], axis=1), u.dtype)

    def add(total, node):
        s = jnp.sinh(end * node[0])
        at = jnp.maximum((scale * s) ** 2, least)
        return total + node[1] * s * jnp.cosh(end * node[0]) * tnfwc_mean(at, p, q), None

    least = 1e-26 if u.dtype == np.dtype(np.float64) else 1e-18
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
    core = _core(p, u)
    inner, outer = jnp.sqrt(core * core + u), jnp.sqrt(1 + u)
    first, second = u / (inner + core), u / (outer + 1)
    ratio = u * (1 - core) * (1 + core) / ((inner + core * outer) * (outer + 1))
    linear = (first + second) / (inner + outer) + jnp.log1p(second / 2)
    return (1 - core) * linear - core * jnp.log1p(ratio / core)


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

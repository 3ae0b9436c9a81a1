"""Deflections in arithmetic of 40 digits, ray by ray: what every system of the benchmark is checked against."""

import numpy as np

from lenskern.bench import subhaloes

DIGITS = 40


def plane(haloes, rays):
    """Deflection of truncated NFW haloes at a few rays.

    Parameters
    ----------
    haloes : subhaloes.Haloes
    rays : array, shape (n, 2)
        (y, x) in arcsec.

    Returns
    -------
    array, shape (n, 2)
        In arcsec, rounded to float64.
    """
    import mpmath

    with mpmath.workdps(DIGITS):
        terms = _terms(haloes)
        return np.array([[float(a) for a in _plane(terms, *map(mpmath.mpf, ray))] for ray in rays.tolist()])


def trace(cone, rays):
    """Positions of a few rays on the source plane of a light cone.

    Parameters
    ----------
    cone : subhaloes.Cone
    rays : array, shape (n, 2)
        (y, x) in arcsec.

    Returns
    -------
    array, shape (n, 2)
        In arcsec, rounded to float64.
    """
    import mpmath

    with mpmath.workdps(DIGITS):
        planes = [_terms(haloes) for haloes in cone.haloes]
        distances = [_distance(z) for z in (*cone.redshifts, cone.source_redshift)]
        return np.array(
            [[float(a) for a in _trace(cone, planes, distances, *map(mpmath.mpf, ray))] for ray in rays.tolist()]
        )


def _terms(haloes):
    """What does not depend on the ray: (y, x, 4 kappa_s P, r_s, tau, tau^2, m(0) terms) of each halo."""
    import mpmath

    terms = []
    for (y, x), *parameters in zip(
        haloes.centre.tolist(), haloes.kappa_s, haloes.scale_radius, haloes.truncation_radius, strict=True
    ):
        kappa_s, scale, truncation = (mpmath.mpf(float(p)) for p in parameters)
        tau = truncation / scale
        square = tau**2
        factor = 4 * kappa_s * square / (square + 1) ** 2
        constant = mpmath.pi * tau + (square - 1) * mpmath.log(tau)
        terms.append((mpmath.mpf(y), mpmath.mpf(x), factor, scale, tau, square, constant))
    return terms


def _plane(terms, y, x):
    """4 kappa_s m(x) / x^2 times the distance, with m of Baltz, Marshall & Oguri 2009, equation (A.11)."""
    import mpmath

    alpha_y = alpha_x = mpmath.mpf(0)
    for centre_y, centre_x, factor, scale, tau, square, constant in terms:
        dy, dx = y - centre_y, x - centre_x
        u = (dy**2 + dx**2) / scale**2
        if u == 0:
            continue
        radius, root = mpmath.sqrt(u), mpmath.sqrt(square + u)
        if u == 1:
            F = mpmath.mpf(1)
        elif u < 1:
            F = mpmath.acosh(1 / radius) / mpmath.sqrt(1 - u)
        else:
            F = mpmath.acos(1 / radius) / mpmath.sqrt(u - 1)
        log = mpmath.log(radius / (root + tau))
        m = (square + 2 * u - 1) * F + constant + root * ((square - 1) / tau * log - mpmath.pi)
        f = factor * m / u
        alpha_y += f * dy
        alpha_x += f * dx
    return alpha_y, alpha_x


def _power_law(lens, y, x):
    """Tessore & Metcalf 2015, equations (13) and (23)."""
    import mpmath

    q, angle = mpmath.mpf(lens.axis_ratio), mpmath.mpf(lens.angle)
    t, f = mpmath.mpf(lens.slope) - 1, (1 - q) / (1 + q)
    turn = mpmath.expj(angle)
    z = mpmath.mpc(x - lens.centre[1], y - lens.centre[0]) / turn
    z = mpmath.mpc(q * z.real, z.imag)
    radius = abs(z)
    e = z / radius
    b = mpmath.mpf(lens.einstein_radius) * mpmath.sqrt(q)
    omega = e * mpmath.hyp2f1(1, t / 2, 2 - t / 2, -f * e**2)
    alpha = turn * 2 * b / (1 + q) * (b / radius) ** (t - 1) * omega
    return alpha.imag, alpha.real


def _trace(cone, planes, distances, y, x):
    """Comoving positions (in Hubble lengths times arcsec) from plane to plane, and the angle after each of them."""
    *to_planes, to_source = distances
    angle_y, angle_x = y, x
    at_y = at_x = reached = 0
    for index, (terms, distance) in enumerate(zip(planes, to_planes, strict=True)):
        at_y, at_x = at_y + (distance - reached) * angle_y, at_x + (distance - reached) * angle_x
        reached = distance
        y, x = at_y / distance, at_x / distance
        alpha_y, alpha_x = _plane(terms, y, x)
        if index == cone.lens_plane:
            power_y, power_x = _power_law(cone.power_law, y, x)
            gamma_1, gamma_2 = cone.shear
            alpha_y += power_y + gamma_2 * x - gamma_1 * y
            alpha_x += power_x + gamma_1 * x + gamma_2 * y
        scale = to_source / (to_source - distance)
        angle_y, angle_x = angle_y - scale * alpha_y, angle_x - scale * alpha_x
    return (
        (at_y + (to_source - reached) * angle_y) / to_source,
        (at_x + (to_source - reached) * angle_x) / to_source,
    )


def _distance(redshift):
    """Comoving distance in Hubble lengths, flat LambdaCDM."""
    import mpmath

    matter = mpmath.mpf(subhaloes.OMEGA_M)
    return mpmath.quad(lambda z: 1 / mpmath.sqrt(matter * (1 + z) ** 3 + 1 - matter), [0, mpmath.mpf(redshift)])

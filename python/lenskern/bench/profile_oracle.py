"""Halo profiles to 40 digits with mpmath, for tests and the accuracy table.

`mean`, `local` and `potential` are the textbook formulas, not the forms of the kernels, evaluated with so many digits
that their cancellation does not matter. `mean_from_density` and `local_from_density` integrate the densities and share
nothing with the formulas.
"""

from mpmath import mp, mpf

from lenskern.deflect.profiles import Profile

DIGITS = 40
# Parameters on a removable singularity of a textbook form are moved by this.
OFFSET = mpf(10) ** -45


def mean(profile, u, p=0, q=0):
    """Mean convergence within R over the amplitude, 40 digits.

    Parameters
    ----------
    profile : lenskern.deflect.profiles.Profile
    u : float or mpf
        (R / s)^2, taken as exact, like p and q.

    Returns
    -------
    mpf
    """
    return _rounded(_MEAN[profile], u, p, q)


def local(profile, u, p=0, q=0):
    """Convergence at R over the amplitude; arguments as in `mean`."""
    return _rounded(_LOCAL[profile], u, p, q)


def shear(profile, u, p=0, q=0):
    """Convergence less mean convergence; arguments as in `mean`."""
    return _rounded(lambda *at: _LOCAL[profile](*at) - _MEAN[profile](*at), u, p, q)


def derivative(function, profile, at, index):
    """Derivative of `mean` or `local` with respect to u, p or q (index 0, 1, 2), by differences of 40 more digits."""
    raw = {mean: _MEAN, local: _LOCAL}[function][profile]
    with mp.workdps(_working(at) + 80):
        at = [mpf(x) for x in at]
        step = abs(at[index]) * mpf(10) ** -40 or mpf(10) ** -40
        sides = []
        for sign in (1, -1):
            moved = list(at)
            moved[index] += sign * step
            sides.append(raw(*moved))
        value = (sides[0] - sides[1]) / (2 * step)
    with mp.workdps(DIGITS):
        return +value


def potential(profile, u, p=0, q=0, digits=16):
    """Half the integral of the mean convergence from 0 to u, by quadrature in ln u; of POINT, ln(u + p^2) / 2."""
    if profile == Profile.POINT:
        return _rounded(lambda u, p, q: mp.log(u + p * p) / 2, u, p, q)
    working = _working((u, p, q)) + 40
    with mp.workdps(working):
        u, p, q = mpf(u), mpf(p), mpf(q)

        def integrand(y):
            with mp.workdps(working):
                v = mp.exp(y)
                return _MEAN[profile](v * u, p, q) * v / 2

        with mp.workdps(digits + 5):
            return u * mp.quad(integrand, [-96, -48, -24, -12, -9, -6, -3, 0], maxdegree=5)


def mean_from_density(profile, u, p=0, q=0, digits=25):
    """`mean` from the mass in a sphere and the rest of the cylinder around it, by quadrature."""
    with mp.workdps(digits + 10):
        x, p, q = mp.sqrt(mpf(u)), mpf(p), mpf(q)

        def rho(y):
            return _DENSITY[profile](y, p, q)

        def cap(y):
            s = (x / y) ** 2
            return y * y * rho(y) * s / (1 + mp.sqrt(1 - s))

        # y = x e^z, so that every decade gets its share
        sphere = mp.quad(lambda z: (x * mp.exp(z)) ** 3 * rho(x * mp.exp(z)), [-80, -40, -20, -10, -5, -2, 0])
        # y = x / sin(angle) near the sphere, where the cap has a root
        shell = mp.quad(lambda y: cap(x * (1 + y * y)) * 2 * x * y, [0, mpf(1) / 2, 1])
        rest = mp.quad(lambda z: cap(x * mp.exp(z)) * x * mp.exp(z), [mp.log(2), 3, 6, 12, 24, 48, 96])
        return 4 * (sphere + shell + rest) / (x * x)


def local_from_density(profile, u, p=0, q=0, digits=25):
    """`local` from the density along the line of sight, by quadrature."""
    with mp.workdps(digits + 10):
        x, p, q = mp.sqrt(mpf(u)), mpf(p), mpf(q)
        # z = x sinh(w)
        points = [0, 1, 2, 4, 8, 16, 32, 64]
        return 2 * mp.quad(lambda w: _DENSITY[profile](x * mp.cosh(w), p, q) * x * mp.cosh(w), points)


def _working(at):
    """Digits to calculate with: the textbook forms lose them at small and large u and near their singularities."""
    u, p, q = map(float, at)
    lost = abs(mp.log10(u or 1e-30)) * 2
    for distance in (p, p - 1, q - 1, p - q, u - 1):
        lost += 2 * min(45, max(0, -mp.log10(abs(distance) or 1e-45)))
    return DIGITS + 25 + int(lost)


def _rounded(function, *at):
    with mp.workdps(_working(at)):
        value = function(*map(mpf, at))
    with mp.workdps(DIGITS):
        return +value


def _F(x):
    if x == 1:
        return mpf(1)
    return mp.acosh(1 / x) / mp.sqrt(1 - x * x) if x < 1 else mp.acos(1 / x) / mp.sqrt(x * x - 1)


def _off(value, singular):
    return value + OFFSET if abs(value - singular) < OFFSET else value


def _nfw_mean(u, p, q):
    x = mp.sqrt(u)
    return 4 * (mp.log(x / 2) + _F(x)) / u


def _nfw_local(u, p, q):
    x = _off(mp.sqrt(u), 1)
    return 2 * (1 - _F(x)) / (x * x - 1)


def _tnfw_mean(u, tau, q):
    x = mp.sqrt(u)
    r, square = mp.sqrt(tau * tau + u), tau * tau
    L = mp.log(x / (r + tau))
    m = (square + 2 * u - 1) * _F(x) + tau * mp.pi + (square - 1) * mp.log(tau) + r * ((square - 1) / tau * L - mp.pi)
    return 4 * square / (square + 1) ** 2 * m / u


def _tnfw_local(u, tau, q):
    x = _off(mp.sqrt(u), 1)
    r, square = mp.sqrt(tau * tau + x * x), tau * tau
    L = mp.log(x / (r + tau))
    k = (square + 1) * (1 - _F(x)) / (x * x - 1) + 2 * _F(x) - mp.pi / r + (square - 1) / (tau * r) * L
    return 2 * square / (square + 1) ** 2 * k


def _cnfw_mean(u, b, q):
    if b == 0:
        return _nfw_mean(u, b, q)
    b, x = _off(b, 1), mp.sqrt(u)

    def h(x):
        return mp.log(x / 2) + _F(x)

    m = -u * ((1 - b) * mp.log(2 / x) + mp.log(b)) + (1 - 2 * b + b * u) * h(x) + (b * b - u) * h(x / b)
    return 4 * m / (1 - b) ** 2 / u


def _cnfw_local(u, b, q):
    if b == 0:
        return _nfw_local(u, b, q)
    b, x = _off(b, 1), _off(mp.sqrt(u), 1)
    return 2 * (b * _F(x) - _F(x / b) + (1 - b) * (1 - _F(x)) / (x * x - 1)) / (1 - b) ** 2


def _tnfwc_parts(b, tau):
    tau = _off(tau, 1)
    b = _off(_off(_off(b, 0), 1), tau)
    return b, tau, tau * tau / (tau * tau - 1)


def _tnfwc_mean(u, b, tau):
    b, tau, factor = _tnfwc_parts(b, tau)

    def g(a, u):
        T, Q = mp.sqrt(u + a * a), mp.sqrt(mp.mpc(a * a - b * b))
        return (T / Q * mp.atanh(Q / T)).real

    return 4 * factor * (g(1, u) - g(1, 0) - g(tau, u) + g(tau, 0)) / u


def _tnfwc_local(u, b, tau):
    b, tau, factor = _tnfwc_parts(b, tau)

    def g(a):
        T, Q = mp.sqrt(u + a * a), mp.sqrt(mp.mpc(a * a - b * b))
        return (mp.atanh(Q / T) / (T * Q)).real

    return 2 * factor * (g(1) - g(tau))


def _dpie_mean(u, p, q):
    return 1 / (mp.sqrt(p * p + u) + p) - 1 / (mp.sqrt(1 + u) + 1)


def _dpie_local(u, p, q):
    return (1 / mp.sqrt(p * p + u) - 1 / mp.sqrt(1 + u)) / 2


_MEAN = {
    Profile.NFW: _nfw_mean,
    Profile.TNFW: _tnfw_mean,
    Profile.CNFW: _cnfw_mean,
    Profile.TNFWC: _tnfwc_mean,
    Profile.DPIE: _dpie_mean,
    Profile.POINT: lambda u, p, q: 1 / (u + p * p),
    Profile.SIS: lambda u, p, q: 1 / mp.sqrt(u),
    Profile.SHEET: lambda u, p, q: mpf(1),
}
_LOCAL = {
    Profile.NFW: _nfw_local,
    Profile.TNFW: _tnfw_local,
    Profile.CNFW: _cnfw_local,
    Profile.TNFWC: _tnfwc_local,
    Profile.DPIE: _dpie_local,
    Profile.POINT: lambda u, p, q: p * p / (u + p * p) ** 2,
    Profile.SIS: lambda u, p, q: 1 / (2 * mp.sqrt(u)),
    Profile.SHEET: lambda u, p, q: mpf(1),
}
# Densities over rho_s; those of DPIE and SIS over the amplitude, whose unit is Sigma_cr / s (Elliasdottir et al. 2007).
_DENSITY = {
    Profile.NFW: lambda y, p, q: 1 / (y * (1 + y) ** 2),
    Profile.TNFW: lambda y, p, q: p * p / (y * (1 + y) ** 2 * (p * p + y * y)),
    Profile.CNFW: lambda y, p, q: 1 / ((y + p) * (1 + y) ** 2),
    Profile.TNFWC: lambda y, p, q: 1 / (mp.sqrt(p * p + y * y) * (1 + y * y) * (1 + (y / q) ** 2)),
    Profile.DPIE: lambda y, p, q: (1 - p * p) / (2 * mp.pi * (p * p + y * y) * (1 + y * y)),
    Profile.SIS: lambda y, p, q: 1 / (2 * mp.pi * y * y),
}
WITH_DENSITY = frozenset(_DENSITY)

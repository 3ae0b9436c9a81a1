"""Spherical halo profiles: mean convergence, convergence and potential, elementwise, with their derivatives."""

import functools
from enum import IntEnum

import jax
import jax.numpy as jnp
import numpy as np

from . import spherical

# Radii below the root of this, in units of the scale, are taken to be there, so that everything is finite at a centre.
U_MIN = {np.dtype(np.float32): 1e-16, np.dtype(np.float64): 1e-24}


class Profile(IntEnum):
    """Kinds of spherical halo, and what its amplitude A, scale s and shape (p, q) mean.

    With kappa_s = rho_s r_s / Sigma_cr:

    ========  ===============  ==================  ========================  ===============
    profile   A                s (arcsec)          p                         q
    ========  ===============  ==================  ========================  ===============
    NFW       kappa_s          scale radius r_s
    TNFW      kappa_s          r_s                 truncation radius / r_s
    CNFW      kappa_s          r_s                 core radius / r_s
    TNFWC     kappa_s          r_s                 core radius / r_s         r_t / r_s
    DPIE      E / s            outer radius        core radius / s
    POINT     1 or -1          Einstein radius     softening / s
    SIS       1                Einstein radius
    SHEET     convergence      1
    TABLE     as tabulated     as tabulated
    ========  ===============  ==================  ========================  ===============

    TNFW is Baltz, Marshall & Oguri (2009), n = 1; CNFW has the density rho_s r_s^3 / ((r + r_c) (r + r_s)^2), TNFWC
    rho_s r_s^3 / (sqrt(r_c^2 + r^2) (r_s^2 + r^2) (1 + r^2 / r_t^2)), DPIE the convergence
    (E / 2) [1 / sqrt(core^2 + R^2) - 1 / sqrt(s^2 + R^2)]. Codes from TABLE on are rows of a radial table.
    """

    NFW = 0
    TNFW = 1
    CNFW = 2
    TNFWC = 3
    DPIE = 4
    POINT = 5
    SIS = 6
    SHEET = 7
    TABLE = 16


_FORMS = {
    profile: tuple(getattr(spherical, f"{profile.name.lower()}_{what}") for what in ("mean", "local", "potential"))
    for profile in Profile
    if profile != Profile.TABLE
}
_MEAN, _LOCAL, _POTENTIAL = range(3)


def mean_convergence(profile, u, p, q):
    """Mean convergence g within a radius R over the amplitude; the deflection is A g (theta - centre).

    Parameters
    ----------
    profile : Profile
        Static; not TABLE.
    u : array
        (R / s)^2. It is raised to 1e-24, in float32 to 1e-16, where it is less.
    p, q : array
        Shape parameters; they broadcast with ``u``.

    Returns
    -------
    array
        As the broadcast arguments. Derivatives are closed forms in both modes, with u dg/du = k - g.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> float(round(mean_convergence(Profile.SIS, jnp.asarray(4.0), 0.0, 0.0), 6))
    0.5
    """
    return _evaluate(_MEAN, profile, u, p, q)


def convergence(profile, u, p, q):
    """Convergence k at a radius R over the amplitude; arguments as in `mean_convergence`."""
    return _evaluate(_LOCAL, profile, u, p, q)


def potential(profile, u, p, q):
    """Potential w over A s^2; arguments as in `mean_convergence`.

    It is zero at the centre, but for POINT, where it is zero at u + p^2 = 1. TNFWC takes a quadrature of 128 nodes,
    good to 1e-13; the others are closed forms.
    """
    return _evaluate(_POTENTIAL, profile, u, p, q)


def _evaluate(what, profile, u, p, q):
    profile = Profile(profile)
    if profile not in _FORMS:
        raise ValueError(f"profile: got {profile!r}, expected one of {', '.join(p.name for p in _FORMS)}")
    u, p, q = (jnp.asarray(x, jnp.result_type(u, p, q, jnp.float32)) for x in (u, p, q))
    return _value(what, profile, u, p, q)


def _raw(what, profile, u, p, q):
    # of one rank, for `forms.integral` adds a leading axis
    rank = max(u.ndim, p.ndim, q.ndim)
    u, p, q = (x.reshape((1,) * (rank - x.ndim) + x.shape) for x in (u, p, q))
    value = _FORMS[profile][what](jnp.maximum(u, U_MIN[u.dtype]), p, q)
    return jnp.broadcast_to(value, jnp.broadcast_shapes(u.shape, p.shape, q.shape))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _value(what, profile, u, p, q):
    return _raw(what, profile, u, p, q)


# In u, which is clipped from below:
#   dg/du = (k - g) / u,   dw/du = g / 2,
# and dk/du, like the derivatives in p and q, is that of the closed form.
@functools.partial(_value.defjvp, symbolic_zeros=True)
def _value_jvp(what, profile, primals, tangents):
    u, p, q = primals
    value = _value(what, profile, u, p, q)
    total = jnp.zeros_like(value)
    moves = [not isinstance(x, jax.custom_derivatives.SymbolicZero) for x in tangents]
    if moves[0]:
        low = U_MIN[u.dtype]
        if what == _MEAN:
            slope = (_value(_LOCAL, profile, u, p, q) - value) / jnp.maximum(u, low)
        elif what == _POTENTIAL:
            slope = _value(_MEAN, profile, u, p, q) / 2
        else:
            at = jnp.broadcast_to(jnp.maximum(u, low), value.shape)
            slope = jax.jvp(lambda u: _raw(what, profile, u, p, q), (at,), (jnp.ones_like(at),))[1]
        total = total + jnp.where(u > low, slope * tangents[0], 0.0)
    if moves[1] or moves[2]:
        shape = tuple(
            t if moved else jnp.zeros_like(x) for x, t, moved in zip((p, q), tangents[1:], moves[1:], strict=True)
        )
        total = total + jax.jvp(lambda p, q: _raw(what, profile, u, p, q), (p, q), shape)[1]
    return value, total

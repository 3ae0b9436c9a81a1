"""What one halo does at one point, for the kernels that are written in JAX or made of it."""

import jax.numpy as jnp

from . import profiles as math
from .halos import Halos

__all__ = ["field", "marked"]


def field(profile, kind, dy, dx, amplitude, scale, p, q):
    """What one halo adds to a field at the distance (dy, dx) from its centre.

    Parameters
    ----------
    profile : Profile
        Static; not TABLE.
    kind : {"deflection", "convergence", "potential", "jacobian"}
    dy, dx, amplitude, scale, p, q : arrays
        All broadcast.

    Returns
    -------
    tuple of arrays
        The components, as `lenskern.deflect.reference.fields` orders them.
    """
    square = scale * scale
    u = jnp.maximum((dy * dy + dx * dx) / square, math.U_MIN[dy.dtype])
    match kind:
        case "deflection":
            f = amplitude * math.mean_convergence(profile, u, p, q)
            return f * dy, f * dx
        case "convergence":
            return (amplitude * math.convergence(profile, u, p, q),)
        case "potential":
            return (amplitude * square * math.potential(profile, u, p, q),)
    # J = f 1 + 2 (A k - f) d d' / |d|^2, where the second part is 0 at the centre.
    f = amplitude * math.mean_convergence(profile, u, p, q)
    slope = 2 * (amplitude * math.convergence(profile, u, p, q) - f) / (u * square)
    return f + slope * dy * dy, slope * dy * dx, f + slope * dx * dx


def marked(profile, centre, amplitude, scale, shape, mask, profiles):
    """The amplitudes, NaN for a halo that is not valid, which makes all rays of its lane NaN.

    Parameters
    ----------
    profile, centre, amplitude, scale, shape, mask : arrays, shape (B, N, ...) or (1, N, ...)
    profiles : tuple of Profile

    Returns
    -------
    array, shape (B, N), or (1, N) where nothing has lanes
    """
    operands = profile, centre, amplitude, scale, shape, mask
    lanes = max(a.shape[0] for a in operands)
    wide = [jnp.broadcast_to(a, (lanes, *a.shape[1:])) for a in operands]
    return jnp.where(Halos(*wide, profiles=profiles).status() == 0, wide[2], jnp.nan)

"""The distribution functions behind PyAutoArray's rectangular meshes, from a few hundred of their points.

A mesh of the kind RTU puts its pixels where F(q) = Σ_i w_i Φ((q − p_i)/h) is equally spaced, in y and in x. On JAX
autoarray sums over all N image pixels at each of M over-sampled points, in every likelihood: N M error functions for
each axis, 4e9 for imaging of 15,000 pixels. F is as smooth as Φ. On segments of the width h a Chebyshev interpolant of
14 points has it to rounding (Trefethen, Approximation Theory and Practice, chapter 8), and h is a mesh pixel.
"""

import functools
import inspect
import math

import jax.numpy as jnp
import numpy as np

from ..deflect.projection import chebyshev_points, clenshaw, to_coefficients

# Points of a segment. Its half-width is h/2, so the next coefficient is below 3e-15.
POINTS = 14

_KNOWN = ("traced_points", "mesh_pixels", "mesh_weight_map", "bandwidth", "n_knots", "xp")


def interpolated(function, low, high, segments):
    """A function of each column by itself, between the ends of each column, from values at Chebyshev points.

    Parameters
    ----------
    function : callable
        (K, 2) to (K, 2), the columns apart from one another.
    low, high : (2,) arrays
        Where outside of them a point lies, it is moved to the end.
    segments : int
        Of equal width, each with `POINTS` points.

    Returns
    -------
    callable
        (M, 2) to (M, 2).
    """
    within = (chebyshev_points(POINTS) + 1) / 2
    points = ((np.arange(segments)[:, None] + within) / segments).reshape(-1, 1)
    values = function(low + jnp.asarray(points, low.dtype) * (high - low)).reshape(segments, POINTS, 2)
    coefficients = jnp.einsum("spd,pk->dsk", values, to_coefficients(POINTS).astype(values.dtype))

    def evaluate(q):
        place = jnp.clip((q - low) / (high - low), 0, 1) * segments
        segment = jnp.clip(place.astype(jnp.int32), 0, segments - 1)
        t = 2 * (place - segment) - 1
        return jnp.stack([clenshaw(coefficients[d][segment[:, d]], t[:, d]) for d in range(2)], axis=1)

    return evaluate


def patches(mismatch):
    """What `lenskern.interop.autoarray.register` replaces in the meshes of autoarray.

    Parameters
    ----------
    mismatch : callable
        Makes the error for an autoarray that is not as expected, of what is different.

    Returns
    -------
    list of (owner, name, value)
        Attributes to rebind.
    """
    try:
        from autoarray.inversion.mesh.interpolator import rectangular
    except ImportError as error:
        raise mismatch(str(error)) from error
    own, caller = (getattr(rectangular, name, None) for name in ("create_transforms", "_transforms_from"))
    if own is None or tuple(inspect.signature(own).parameters) != _KNOWN:
        raise mismatch(f"{rectangular.__name__} has no create_transforms({', '.join(_KNOWN)})")
    if caller is None or "create_transforms" not in caller.__code__.co_names:
        raise mismatch(f"{rectangular.__name__}._transforms_from does not call create_transforms")
    return [(rectangular, "create_transforms", _interpolating(own))]


def _interpolating(own):
    """autoarray's `create_transforms`, whose first function, on JAX, is evaluated at few points and interpolated."""
    signature = inspect.signature(own)

    @functools.wraps(own)
    def create_transforms(*args, **kwargs):
        exact, inverse = own(*args, **kwargs)
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        points, mesh_pixels, _, bandwidth, _, xp = given.arguments.values()
        if xp is np or not all(isinstance(number, int | float) for number in (mesh_pixels, bandwidth)):
            return exact, inverse
        segments = max(1, math.ceil(mesh_pixels / bandwidth))
        low, high = jnp.min(points, axis=0), jnp.max(points, axis=0)

        def transform(q):
            if len(q) <= segments * POINTS:
                return exact(q)
            # as its own, which ends there: at the first and last of the points it is 0 and 1
            return jnp.clip(interpolated(exact, low, high, segments)(q), 0, 1)

        return transform, inverse

    return create_transforms

"""The distribution functions behind PyAutoArray's rectangular meshes, from a few hundred of their points.

A mesh of the kind RTU puts its pixels where F(q) = Σ_i w_i Φ((q − p_i)/h) is equally spaced, in y and in x. On JAX
autoarray sums over all N image pixels at each of M over-sampled points, in every likelihood: N M error functions for
each axis, 4e9 for imaging of 15,000 pixels. F is as smooth as Φ. On segments of the width h a Chebyshev interpolant of
14 points has it to rounding (Trefethen, Approximation Theory and Practice, chapter 8), and h is a mesh pixel. The same
goes for Φ as a function of p: the sum is one over the points of the segments, with weights that have the same moments.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np

from ..deflect.projection import chebyshev_points, clenshaw, to_coefficients
from ._known import arguments_of, calls, known

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
    values = function(low + jnp.asarray(_points(segments), low.dtype) * (high - low)).reshape(segments, POINTS, 2)
    coefficients = jnp.einsum("spd,pk->dsk", values, to_coefficients(POINTS).astype(values.dtype))

    def evaluate(q):
        place = jnp.clip((q - low) / (high - low), 0, 1) * segments
        segment, t = _within(place, segments)
        return jnp.stack([clenshaw(coefficients[d][segment[:, d]], t[:, d]) for d in range(2)], axis=1)

    return evaluate


def condensed(p, w, low, high, segments):
    """Few points in the place of many: sums of smooth functions over them are the same.

    Parameters
    ----------
    p : (N, 2) array
    w : (N,) array
        Weights.
    low, high : (2,) arrays
        The least and the largest of the points in each column.
    segments : int
        As for `interpolated`: a function is smooth if its interpolant is good.

    Returns
    -------
    points : (segments * POINTS + 2, 2) array
        `low` and `high` are among them, with no weight.
    weights : (segments * POINTS + 2, 2) array
        Of each column by itself.
    """
    place = (p - low) / (high - low) * segments
    segment, t = _within(place, segments)
    moments = [jnp.ones_like(t), t]  # by Chebyshev polynomials
    for _ in range(POINTS - 2):
        moments.append(2 * t * moments[-1] - moments[-2])
    each = w[:, None, None] * jnp.stack(moments, -1)
    total = [jnp.zeros((segments, POINTS), p.dtype).at[segment[:, d]].add(each[:, d]) for d in range(2)]
    weights = jnp.einsum("dsk,pk->spd", jnp.stack(total), to_coefficients(POINTS).astype(p.dtype)).reshape(-1, 2)
    points = low + jnp.asarray(_points(segments), p.dtype) * (high - low)
    return jnp.concatenate([points, low[None], high[None]]), jnp.pad(weights, ((0, 2), (0, 0)))


def _within(place, segments):
    """The segment of a place from 0 to `segments`, and where in it that is, from -1 to 1."""
    segment = jnp.clip(place.astype(jnp.int32), 0, segments - 1)
    return segment, 2 * (place - segment) - 1


def _points(segments):
    """Those of all segments of the unit interval, one after the other, (segments * POINTS, 1)."""
    return ((np.arange(segments)[:, None] + (chebyshev_points(POINTS) + 1) / 2) / segments).reshape(-1, 1)


def patches(mismatch):
    """(owner, name, value) of what `register` replaces in the meshes of autoarray; `mismatch` as for `known`."""
    from autoarray.inversion.mesh.interpolator import rectangular

    name = "create_transforms"
    own = known(rectangular, name, _KNOWN, mismatch)
    calls(rectangular, "_transforms_from", name, mismatch)
    return [(rectangular, name, _interpolating(own))]


def _interpolating(own):
    """autoarray's `create_transforms`, on JAX from few points, and its first function interpolated from few values."""
    given = arguments_of(own)

    @functools.wraps(own)
    def create_transforms(*args, **kwargs):
        points, mesh_pixels, weights, bandwidth, n_knots, xp = given(args, kwargs)
        fixed = all(isinstance(number, int | float) for number in (mesh_pixels, bandwidth))
        segments = max(1, math.ceil(mesh_pixels / bandwidth)) if fixed else None
        if xp is np or not fixed or len(points) <= segments * POINTS:
            return own(*args, **kwargs)
        low, high = jnp.min(points, axis=0), jnp.max(points, axis=0)
        weights = 1.0 if weights is None else getattr(weights, "array", weights)
        weights = jnp.broadcast_to(jnp.asarray(weights, points.dtype), len(points))
        few, weights = condensed(points, weights, low, high, segments)
        # Its own takes one weight for both columns of a point: each column is taken from where its weights are.
        columns = [own(few, mesh_pixels, weights[:, d], bandwidth, n_knots, xp) for d in range(2)]
        exact, inverse = (lambda q, k=k: jnp.stack([columns[d][k](q)[:, d] for d in range(2)], 1) for k in range(2))

        def transform(q):
            if len(q) <= segments * POINTS:
                return exact(q)
            # as its own, which ends there: at the first and last of the points it is 0 and 1
            return jnp.clip(interpolated(exact, low, high, segments)(q), 0, 1)

        return transform, inverse

    return create_transforms

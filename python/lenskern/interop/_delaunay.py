"""Point location in PyAutoArray's Delaunay meshes on the CPU: the vertex that is nearest to each point.

Each point is looked for from there. On JAX autoarray has the distances of a thousand points from all vertices at a
time in memory, and the least of each; on the CPU XLA takes twenty times as long for that as for the arithmetic.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ._known import calls, known


def nearest(queries, points):
    """Index of the nearest point, of those as near as one another the first.

    Vertex by vertex for all queries at once: the least distances so far stay in the cache.

    Parameters
    ----------
    queries : (Q, 2) array
    points : (N, 2) array

    Returns
    -------
    (Q,) int32 array
    """
    y, x = queries.T

    def step(least, vertex):
        (distance, index), (py, px, i) = least, vertex
        here = (y - py) ** 2 + (x - px) ** 2
        nearer = here < distance
        return (jnp.where(nearer, here, distance), jnp.where(nearer, i, index)), None

    start = jnp.full_like(y, jnp.inf), jnp.zeros(len(queries), jnp.int32)
    return jax.lax.scan(step, start, (*points.T, jnp.arange(len(points), dtype=jnp.int32)), unroll=8)[0][1]


def patches(mismatch):
    """(owner, name, value) of what `register` replaces in the meshes of autoarray; `mismatch` as for `known`."""
    from autoarray.inversion.mesh.interpolator import delaunay

    name = "_nearest_vertex_seed_from"
    own = known(delaunay, name, ("query_points", "points", "xp"), mismatch)
    calls(delaunay, "pix_indexes_delaunay_walk_from", name, mismatch)

    @functools.wraps(own)
    def seed(query_points, points, xp=np):
        # A GPU would take a launch for each vertex.
        if xp is np or jax.default_backend() != "cpu":
            return own(query_points, points, xp)
        return nearest(query_points, points)

    return [(delaunay, name, seed)]

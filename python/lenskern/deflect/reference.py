"""The sums over haloes in plain jnp: what every kernel is tested against.

The haloes are taken in blocks, so that nothing of size rays x haloes is ever built, forward or backward.
"""

import dataclasses

import jax
import jax.numpy as jnp

from . import profiles as math
from . import tables as tables_
from .profiles import Profile

# Values that one block of haloes may have on all rays together.
_BLOCK = 1 << 16

COMPONENTS = {"deflection": 2, "convergence": 1, "potential": 1, "jacobian": 3}


def fields(halos, grid, kind):
    """Sum of a field over the haloes.

    Parameters
    ----------
    halos : Halos
    grid : (n, 2) array
        (y, x) in arcsec.
    kind : {"deflection", "convergence", "potential", "jacobian"}

    Returns
    -------
    (n, components) array
        Deflection (y, x) in arcsec; convergence; potential in arcsec²; or dα_y/dy, dα_y/dx, dα_x/dx.
    """

    def add(carry, block):
        return _add(*carry, _block_sum(block, halos, grid, kind)), None

    zero = jnp.repeat(jnp.zeros_like(grid[:, :1]), COMPONENTS[kind], axis=1)
    (total, _), _ = jax.lax.scan(add, (zero, zero), _blocks(halos, grid))
    return jnp.where(_valid(halos), total, jnp.nan)


def tangent(halos, grid, dhalos, dgrid):
    """Tangent of the deflection.

    Parameters
    ----------
    halos : Halos
    grid : (n, 2) array
    dhalos : Halos
        Tangents in the places of the real parameters; the others are not read.
    dgrid : (n, 2) array

    Returns
    -------
    (n, 2) array
    """

    def add(carry, blocks):
        block, dblock = blocks
        values = _real(halos.tables, block)
        directions = _real(dhalos.tables, dblock)
        _, change = jax.jvp(
            lambda reals, grid: _block_sum(_with_real(block, reals), _with_tables(halos, reals), grid, "deflection"),
            (values, grid),
            (directions, dgrid),
        )
        return _add(*carry, change), None

    zero = jnp.zeros_like(grid)
    (total, _), _ = jax.lax.scan(add, (zero, zero), (_blocks(halos, grid), _blocks(dhalos, grid)))
    return jnp.where(_valid(halos), total, jnp.nan)


def adjoint(halos, grid, cotangent):
    """Transpose of `tangent`.

    Parameters
    ----------
    halos : Halos
    grid : (n, 2) array
    cotangent : (n, 2) array
        Of the deflection.

    Returns
    -------
    dcentre, damplitude, dscale, dshape, dtables, dgrid : arrays
        Of the shapes of the haloes' arrays and of the grid; dtables is None without tables.
    """

    def add(carry, block):
        _, pull = jax.vjp(
            lambda reals, grid: _block_sum(_with_real(block, reals), _with_tables(halos, reals), grid, "deflection"),
            _real(halos.tables, block),
            grid,
        )
        (*parameters, tables), rays = pull(cotangent)
        total = jax.tree.map(jnp.add, carry, (rays, tables))
        return total, parameters

    start = (jnp.zeros_like(grid), None if halos.tables is None else jnp.zeros_like(halos.tables.values))
    (rays, tables), parameters = jax.lax.scan(add, start, _blocks(halos, grid))
    n = len(halos)
    parameters = [x.reshape(-1, *x.shape[2:])[:n] for x in parameters]
    results = [*parameters, tables, rays]
    return [None if x is None else jnp.where(_valid(halos), x, jnp.nan) for x in results]


def _valid(halos):
    return (halos.status() == 0).all()


def _add(total, lost, more):
    """Compensated sum (Neumaier 1974 in the form of Kahan), since float32 would lose digits over many haloes."""
    more = more - lost
    new = total + more
    return new, (new - total) - more


def _blocks(halos, grid):
    """The haloes' arrays with a leading axis of blocks, padded with masked ones."""
    n = len(halos)
    size = max(1, min(n, _BLOCK // max(1, grid.shape[0])))
    count = -(-n // size)
    padded = halos.pad(count * size) if count * size > n else halos
    return [x.reshape(count, size, *x.shape[1:]) for x in padded._arrays()]


def _real(tables, block):
    _, centre, amplitude, scale, shape, _ = block
    return centre, amplitude, scale, shape, None if tables is None else tables.values


def _with_real(block, reals):
    return block[0], *reals[:4], block[5]


def _with_tables(halos, reals):
    return (
        halos
        if halos.tables is None
        else dataclasses.replace(halos, tables=dataclasses.replace(halos.tables, values=reals[4]))
    )


def _block_sum(block, halos, grid, kind):
    profile, centre, amplitude, scale, shape, mask = (x[:, None] for x in block)
    # A masked halo becomes a valid one of amplitude 0: what it holds cannot get into a derivative.
    profile = jnp.where(mask, profile, int(halos.profiles[0]) if halos.profiles else 0)
    centre, shape = jnp.where(mask[..., None], centre, 0), jnp.where(mask[..., None], shape, _SAFE)
    amplitude, scale = jnp.where(mask, amplitude, 0), jnp.where(mask, scale, 1)
    d = grid - centre
    u = jnp.maximum((d**2).sum(-1) / scale**2, math.U_MIN[grid.dtype])

    def radial(name):
        return _by_profile(name, halos, profile, u, shape[..., 0], shape[..., 1])

    match kind:
        case "deflection":
            parts = (amplitude * radial("mean_convergence"))[..., None] * d
        case "convergence":
            parts = (amplitude * radial("convergence"))[..., None]
        case "potential":
            parts = (amplitude * scale**2 * radial("potential"))[..., None]
        case "jacobian":
            mean, local = radial("mean_convergence"), radial("convergence")
            # J = A (g 1 + 2 (k - g) d dᵀ/|d|²); at the centre the second part is 0 by symmetry.
            slope = amplitude * 2 * (local - mean) / (u * scale**2)
            y, x = d[..., 0], d[..., 1]
            mean = amplitude * mean
            parts = jnp.stack([mean + slope * y * y, slope * y * x, mean + slope * x * x], -1)
    return parts.sum(0)


# Shape parameters that every profile takes.
_SAFE = 0.5


def _by_profile(name, halos, profile, u, p, q):
    """A function of profiles.py, of the profile of each halo."""
    total = jnp.zeros(jnp.broadcast_shapes(profile.shape, u.shape), u.dtype)
    for kind in halos.profiles:
        if kind == Profile.TABLE:
            here = profile >= kind
            index = jnp.where(here, profile - kind, 0)
            value = getattr(tables_, "evaluate" if name == "mean_convergence" else name)(halos.tables, index, u)
        else:
            here = profile == kind
            value = getattr(math, name)(kind, u, jnp.where(here, p, _SAFE), jnp.where(here, q, _SAFE))
        # Without the barrier XLA fuses the profiles into one loop, and takes half a minute to compile it.
        total = jnp.where(here, jax.lax.optimization_barrier(value), total)
    return total

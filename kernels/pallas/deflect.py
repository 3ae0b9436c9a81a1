"""Sums over haloes as Pallas kernels: one program takes a tile of rays through all haloes of a lane."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from lenskern.deflect.pair import field, marked
from lenskern.deflect.profiles import Profile
from lenskern.deflect.reference import COMPONENTS

try:
    from jax.experimental import pallas
    from jax.experimental.pallas import triton
except ImportError as error:  # deprecated in JAX, and missing from some builds of jaxlib
    MISSING = f"jax {jax.__version__} has no Pallas-Triton: {error}"
else:
    MISSING = None

# Of a program; a thread has one ray. More would share no work, and 100 x 100 rays would leave multiprocessors idle.
RAYS, WARPS = 64, 2


def plane(profile, centre, amplitude, scale, shape, mask, grid, *, profiles, kind="deflection", interpret=False):
    """Sum a field of the haloes over the haloes in every lane.

    Parameters
    ----------
    profile : array, shape (B, N) or (1, N), int32
        Codes of `lenskern.deflect.Profile`. Of this and all other arrays, one alone is shared by all lanes.
    centre : array, shape (B, N, 2) or (1, N, 2)
        (y, x) in arcsec, float32 or float64 as all that follow.
    amplitude, scale : array, shape (B, N) or (1, N)
        Dimensionless, and in arcsec.
    shape : array, shape (B, N, 2) or (1, N, 2)
    mask : array, shape (B, N) or (1, N), bool
        Haloes that are not set are not read.
    grid : array, shape (B, n, 2) or (1, n, 2)
        (y, x) in arcsec. A position that is not finite gives NaN.
    profiles : tuple of Profile
        The profiles that occur; others are not compiled.
    kind : {"deflection", "convergence", "potential", "jacobian"}
    interpret : bool
        Run as ordinary JAX operations, on any platform, instead of as a GPU kernel.

    Returns
    -------
    tuple of one array, shape (B, n, components)
        As `lenskern.deflect.reference.fields`; NaN in a lane where a halo that is set is not valid.

    Raises
    ------
    NotImplementedError
        For radial tables, for the potential of TNFWC, and for 2^31 numbers of one array or more.
    RuntimeError
        Where this jax has no Pallas-Triton.
    """
    if Profile.TABLE in profiles:
        raise NotImplementedError("backend 'pallas' has no radial tables: use 'reference', or 'cpp' on the CPU")
    if kind == "potential" and Profile.TNFWC in profiles:  # a quadrature, which takes minutes to compile
        raise NotImplementedError("backend 'pallas' has no potential of TNFWC: use 'reference', or 'cpp' on the CPU")
    operands = profile, centre, amplitude, scale, shape, mask, grid
    (lanes,) = jnp.broadcast_shapes(*((a.shape[0],) for a in operands))
    rays, halos = grid.shape[1], centre.shape[1]
    out = jax.ShapeDtypeStruct((lanes, rays, COMPONENTS[kind]), grid.dtype)
    largest = max(*(a.size for a in operands), lanes * rays * out.shape[-1])
    if largest >= 2**31:
        raise NotImplementedError(
            f"backend 'pallas' indexes with 32 bits, got an array of {largest} numbers: take the lanes in several calls"
        )
    if MISSING:
        raise RuntimeError(MISSING)
    if 0 in (lanes, rays, halos):
        return (jnp.zeros(out.shape, out.dtype),)
    amplitude = marked(*operands[:-1], profiles)
    operands = profile, centre, amplitude, scale, shape, mask.astype(jnp.int32), grid

    def block(a, tile=None):
        shared, trailing = a.shape[0] != lanes, a.shape[1:]
        if tile is None:
            return pallas.BlockSpec((None, *trailing), lambda i, j: (0 if shared else i, *(0 for _ in trailing)))
        return pallas.BlockSpec((None, tile, *trailing[1:]), lambda i, j: (0 if shared else i, j, 0))

    return (
        pallas.pallas_call(
            functools.partial(_tile, rays=rays, halos=halos, profiles=profiles, kind=kind),
            out_shape=out,
            grid=(lanes, pallas.cdiv(rays, RAYS)),
            in_specs=[*(block(a) for a in operands[:-1]), block(grid, RAYS)],
            out_specs=block(out, RAYS),
            compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=1),
            interpret=interpret,
            name=f"lenskern_deflect_{kind}",
        )(*operands),
    )


def _tile(profile_ref, centre_ref, amplitude_ref, scale_ref, shape_ref, mask_ref, grid_ref, out_ref, **static):
    """Take a tile of rays through the haloes, one after the other."""
    rays, halos, profiles, kind = (static[name] for name in ("rays", "halos", "profiles", "kind"))
    index = lax.iota(jnp.int32, RAYS)
    inside = pallas.program_id(1) * RAYS + index < rays
    y, x = (triton.load(grid_ref.at[index, axis], mask=inside, other=0) for axis in (0, 1))

    def take(i, sums):
        def add(sums):
            dy, dx = y - centre_ref[i, 0], x - centre_ref[i, 1]
            numbers = amplitude_ref[i], scale_ref[i], shape_ref[i, 0], shape_ref[i, 1]
            by_profile = [functools.partial(field, code, kind) for code in profiles]
            if len(profiles) == 1:
                parts = by_profile[0](dy, dx, *numbers)
            else:
                code = profile_ref[i]
                which = sum(((code == other) * place for place, other in enumerate(profiles)), jnp.int32(0))
                parts = lax.switch(which, by_profile, dy, dx, *numbers)
            return tuple(_add(*total, part) for total, part in zip(sums, parts, strict=True))

        return lax.cond(mask_ref[i] != 0, add, lambda sums: sums, sums)

    zero = jnp.zeros_like(y)
    sums = lax.fori_loop(0, halos, take, ((zero, zero),) * COMPONENTS[kind])
    finite = jnp.abs(y) + jnp.abs(x) < jnp.inf
    for component, (total, _) in enumerate(sums):
        triton.store(out_ref.at[index, component], jnp.where(finite, total, jnp.nan), mask=inside)


def _add(total, lost, more):
    """Compensated sum: float32 would lose digits over many haloes."""
    more = more - lost
    new = total + more
    return new, (new - total) - more

"""Sums over haloes as Triton kernels, through jax-triton."""

import functools

import jax
import jax.numpy as jnp

from lenskern.deflect.pair import field, marked
from lenskern.deflect.profiles import Profile
from lenskern.deflect.reference import COMPONENTS

from . import elementwise, launch

# Of a program; a thread has one ray. More would share no work, and 100 x 100 rays would leave multiprocessors idle.
TILE, WARPS = 64, 2


def plane(profile, centre, amplitude, scale, shape, mask, grid, *, profiles, kind="deflection"):
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

    Returns
    -------
    tuple of one array, shape (B, n, components)
        As `lenskern.deflect.reference.fields`; NaN in a lane where a halo that is set is not valid.

    Raises
    ------
    NotImplementedError
        For radial tables, and for the potential of TNFWC.
    RuntimeError
        Where Triton, jax-triton or the CUDA plugin of jax is missing.
    """
    if Profile.TABLE in profiles:
        raise NotImplementedError("backend 'triton' has no radial tables: use 'reference' or 'cuda'")
    if kind == "potential" and Profile.TNFWC in profiles:  # a quadrature, which takes minutes to compile
        raise NotImplementedError("backend 'triton' has no potential of TNFWC: use 'reference' or 'cuda'")
    if launch.MISSING:
        raise RuntimeError(launch.MISSING)
    operands = profile, centre, amplitude, scale, shape, mask, grid
    (lanes,) = jnp.broadcast_shapes(*((a.shape[0],) for a in operands))
    rays, halos = grid.shape[1], centre.shape[1]
    out = jax.ShapeDtypeStruct((lanes, rays, COMPONENTS[kind]), grid.dtype)
    if 0 in (lanes, rays, halos):
        return (jnp.zeros(out.shape, out.dtype),)
    from .deflect_kernel import sum_halos

    amplitude = marked(*operands[:-1], profiles)
    operands = profile, centre, amplitude, scale, shape, mask.astype(jnp.int32), grid
    return (
        launch.call(
            sum_halos,
            *operands,
            halos,
            rays,
            out=out,
            programs=lanes * -(-rays // TILE),
            warps=WARPS,
            FIELD=field_of(profiles, kind, str(grid.dtype)),
            LANES=tuple(int(a.shape[0] == lanes and lanes > 1) for a in operands),
            TILE=TILE,
            COMPONENTS=out.shape[-1],
        ),
    )


@functools.cache
def field_of(profiles, kind, dtype):
    """The Triton function ``(code, dy, dx, amplitude, scale, p, q)`` to three components, the last of which may be 0.

    All threads of a program take the same halo, so that the branch between the profiles is none of their own.
    """
    import triton
    import triton.language as tl
    from triton.language.extra import libdevice

    inputs = "dy", "dx", "amplitude", "scale", "p", "q"
    texts, choice = [], []
    for place, profile in enumerate(profiles):
        name = f"of_{profile.name.lower()}"
        text = elementwise.source(name, functools.partial(field, profile, kind), inputs, dtype, 3)
        texts.append("@triton.jit\n" + text)
        choice += [
            f"    {'elif' if place else 'if'} code == {int(profile)}:",
            f"        a, b, c = {name}({', '.join(inputs)})",
        ]
    zeros = [f"    {x} = tl.zeros_like(dy)" for x in "abc"]
    head = ["@triton.jit", f"def field(code, {', '.join(inputs)}):"]
    texts.append("\n".join([*head, *zeros, *choice, "    return a, b, c", ""]))
    return elementwise.define("\n\n".join(texts), triton=triton, tl=tl, libdevice=libdevice)["field"]

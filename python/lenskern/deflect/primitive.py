"""The primitives of the package, and which kernel runs them on which platform.

All share the operands of `Operands`; the linear ones append theirs.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad, mlir

from .. import _ffi, _primitive, backends
from . import cuda, reference
from .halos import Halos
from .profiles import Profile
from .tables import RadialTables


class Operands(NamedTuple):
    """Haloes and rays as the primitives take them; with or without batch axes."""

    profile: jax.Array
    centre: jax.Array
    amplitude: jax.Array
    scale: jax.Array
    shape: jax.Array
    mask: jax.Array
    tables: jax.Array
    grid: jax.Array


class Linear(NamedTuple):
    """Tangents or cotangents of the real operands."""

    centre: jax.Array
    amplitude: jax.Array
    scale: jax.Array
    shape: jax.Array
    tables: jax.Array
    grid: jax.Array


NDIMS = Operands(profile=1, centre=2, amplitude=1, scale=1, shape=2, mask=1, tables=3, grid=2)
LINEAR_NDIMS = Linear(centre=2, amplitude=1, scale=1, shape=2, tables=3, grid=2)

# What stands for radial tables where there are none. Not without entries: XLA's partitioner crashes on such arrays
# where they enter or leave `jax.shard_map`.
_NO_TABLES = (1, 1, 1)

# The codes that kernels/cpp/deflect.h gives the fields.
_KINDS = {"deflection": 0, "convergence": 1, "potential": 2, "jacobian": 3}


def operands(halos, grid):
    """The operands for one lane, and the static parameters that describe them."""
    # A code that was not announced is invalid to every kernel, also to one that knows the profile.
    known = [halos.profile >= kind if kind == Profile.TABLE else halos.profile == kind for kind in halos.profiles]
    profile = jnp.where(jnp.any(jnp.stack(known), 0), halos.profile, -1) if known else jnp.full_like(halos.profile, -1)
    tables = jnp.zeros(_NO_TABLES, grid.dtype) if halos.tables is None else halos.tables.values
    bounds = None if halos.tables is None else (halos.tables.ln_u_min, halos.tables.ln_u_max)
    parts = (profile, halos.centre, halos.amplitude, halos.scale, halos.shape, halos.mask)
    return Operands(*parts, tables, grid), {"profiles": halos.profiles, "bounds": bounds}


def _halos(parts, profiles, bounds):
    """The inverse of `operands`."""
    tables = None if bounds is None else RadialTables(parts.tables, *bounds)
    return Halos(*parts[:6], tables, profiles)


def _kernel(platform, backend, profiles, kind):
    """Name of the backend that runs an operation on a platform; kind None stands for a derivative."""
    compiled = not (kind == "potential" and Profile.TABLE in profiles)
    if backend is None:
        name = {"cpu": "cpp", "cuda": "cuda"}.get(platform)
        if name is not None and compiled and backends.availability(name).available:
            return name
        # Pallas and Triton have to know the GPU that they lower for.
        known = platform == "cuda" and any(device.platform == "gpu" for device in jax.devices())
        if known and _in_pallas(profiles, kind):
            return next((name for name in ("pallas", "triton") if backends.availability(name).available), "reference")
        return "reference"
    if backend == "cpp" and platform != "cpu":
        raise NotImplementedError("backend 'cpp' runs on the CPU only; use backend=None on this device")
    if backend in ("cuda", "triton") and platform != "cuda":
        raise NotImplementedError(f"backend {backend!r} runs on NVIDIA GPUs only; use backend=None on this device")
    if backend in ("cpp", "cuda") and not compiled:
        raise NotImplementedError(f"backend {backend!r} has no potential of radial tables; use backend=None")
    # The kernels of Pallas and Triton are of the fields; their derivatives are the reference's.
    return "reference" if backend in ("pallas", "triton") and kind is None else backend


def _in_pallas(profiles, kind):
    if kind is None or Profile.TABLE in profiles:
        return False
    return not (kind == "potential" and Profile.TNFWC in profiles)


def _compiled(target, bounds, tol, **attributes):
    """Lowering rule of a compiled handler."""
    _ffi.register_cpp()
    low, high = bounds or (0.0, 0.0)
    numbers = {"ln_u_min": low, "ln_u_max": high, "tol": -1.0 if tol is None else tol}
    attributes |= {name: np.float64(value) for name, value in numbers.items()}
    return partial(jax.ffi.ffi_lowering(target), **attributes)


def _on_cuda(run, ndims, results, **params):
    """Lowering rule of a function of cuda.py; `results` as for `batched_primitive`."""
    _ffi.register_cuda()

    def call(*operands):
        batch = _primitive.batch_shape(operands, ndims)
        core = [jax.ShapeDtypeStruct(x.shape[len(batch) :], x.dtype) for x in operands]
        shapes = [jax.ShapeDtypeStruct((*batch, *shape), dtype) for shape, dtype in results(*core)]
        return run(Operands(*operands[: len(NDIMS)]), operands[len(NDIMS) :], shapes, **params)

    return mlir.lower_fun(call)


def _on_flat_lanes(plane, **options):
    """Lowering rule of a kernel that takes haloes without radial tables, with one batch axis."""

    def kernel(*parts):
        parts = Operands(*parts)
        return plane(*parts[: Operands._fields.index("tables")], parts.grid, **options)

    return mlir.lower_fun(_primitive.on_flat_lanes(kernel, NDIMS))


def _on_lanes(platform, lane, ndims):
    return mlir.lower_fun(_primitive.on_lanes(lane, ndims, sequential=platform == "cpu"))


def _fields_results(*parts, kind, **params):
    grid = parts[-1]
    return [((grid.shape[0], reference.COMPONENTS[kind]), grid.dtype)]


def _choose_fields(platform, *avals, profiles, bounds, kind, tol, backend):
    match _kernel(platform, backend, profiles, kind):
        case "cpp":
            return _compiled("lenskern_deflect_fields", bounds, tol, kind=np.int32(_KINDS[kind]))
        case "cuda":
            results = partial(_fields_results, kind=kind)
            return _on_cuda(cuda.fields, NDIMS, results, bounds=bounds, tol=tol, kind=_KINDS[kind])
        case "pallas":
            from lenskern._kernels.pallas import deflect as pallas

            return _on_flat_lanes(pallas.plane, profiles=profiles, kind=kind, interpret=platform != "cuda")
        case "triton":
            from lenskern._kernels.triton import deflect as triton

            return _on_flat_lanes(triton.plane, profiles=profiles, kind=kind)

    def lane(*parts):
        parts = Operands(*parts)
        return (reference.fields(_halos(parts, profiles, bounds), parts.grid, kind),)

    return _on_lanes(platform, lane, NDIMS)


def _tangent_results(*parts, **params):
    grid = parts[len(NDIMS) - 1]
    return [(grid.shape, grid.dtype)]


def _tangent_lane(profiles, bounds, *parts):
    parts, linear = Operands(*parts[: len(NDIMS)]), Linear(*parts[len(NDIMS) :])
    halos = _halos(parts, profiles, bounds)
    dparts = parts._replace(**{name: getattr(linear, name) for name in Linear._fields})
    return (reference.tangent(halos, parts.grid, _halos(dparts, profiles, bounds), linear.grid),)


def _choose_tangent(platform, *avals, profiles, bounds, tol, backend):
    name = _kernel(platform, backend, profiles, None)
    match name if bounds is None else "reference":
        case "cpp":
            return _compiled("lenskern_deflect_tangent", bounds, tol)
        case "cuda":
            return _on_cuda(cuda.tangent, (*NDIMS, *LINEAR_NDIMS), _tangent_results, bounds=bounds, tol=tol)
    return _on_lanes(platform, partial(_tangent_lane, profiles, bounds), (*NDIMS, *LINEAR_NDIMS))


def _adjoint_results(*parts, **params):
    real = Operands(*parts[: len(NDIMS)])
    return [(x.shape, x.dtype) for x in (getattr(real, name) for name in Linear._fields)]


def _adjoint_lane(profiles, bounds, *parts):
    parts, cotangent = Operands(*parts[: len(NDIMS)]), parts[-1]
    *rest, tables, rays = reference.adjoint(_halos(parts, profiles, bounds), parts.grid, cotangent)
    return (*rest, jnp.zeros_like(parts.tables) if tables is None else tables, rays)


def _choose_adjoint(platform, *avals, profiles, bounds, tol, backend):
    name = _kernel(platform, backend, profiles, None)
    match name if bounds is None else "reference":
        case "cpp":
            return _compiled("lenskern_deflect_adjoint", bounds, tol)
        case "cuda":
            return _on_cuda(cuda.adjoint, (*NDIMS, 2), _adjoint_results, bounds=bounds, tol=tol)
    return _on_lanes(platform, partial(_adjoint_lane, profiles, bounds), (*NDIMS, 2))


# Fields of the haloes on the rays.
fields_p = _primitive.batched_primitive("lenskern_deflect_fields", NDIMS, _fields_results, _choose_fields)

# Tangent of the deflection, linear in the operands of `Linear`.
tangent_p = _primitive.batched_primitive(
    "lenskern_deflect_tangent",
    (*NDIMS, *LINEAR_NDIMS),
    _tangent_results,
    _choose_tangent,
)

# Its transpose: cotangent of the deflection to those of the operands of `Linear`.
adjoint_p = _primitive.batched_primitive("lenskern_deflect_adjoint", (*NDIMS, 2), _adjoint_results, _choose_adjoint)


def _transpose_tangent(cotangents, *parts, **params):
    constants, linear = parts[: len(NDIMS)], parts[len(NDIMS) :]
    (cotangent,) = cotangents
    results = adjoint_p.bind(*constants, ad.instantiate_zeros(cotangent), **params)
    return [None] * len(NDIMS) + [_primitive.summed(x, y) for x, y in zip(results, linear, strict=True)]


def _transpose_adjoint(cotangents, *parts, **params):
    constants, cotangent = parts[: len(NDIMS)], parts[-1]
    result = tangent_p.bind(*constants, *map(ad.instantiate_zeros, cotangents), **params)[0]
    return [None] * len(NDIMS) + [_primitive.summed(result, cotangent)]


def _differentiate_by_reference(lane, ndims):
    """The derivative of a derivative: that of the jnp reference, whatever the kernel."""

    def rule(primals, tangents, *, profiles, bounds, **params):
        function = _primitive.on_lanes(partial(lane, profiles, bounds), ndims, sequential=False)
        tangents = tuple(
            ad.instantiate_zeros(dx) if jnp.issubdtype(x.dtype, jnp.inexact) else _primitive.no_tangent(x)
            for x, dx in zip(primals, tangents, strict=True)
        )
        return jax.jvp(function, tuple(primals), tangents)

    return rule


ad.primitive_transposes[tangent_p] = _transpose_tangent
ad.primitive_transposes[adjoint_p] = _transpose_adjoint
ad.primitive_jvps[tangent_p] = _differentiate_by_reference(_tangent_lane, (*NDIMS, *LINEAR_NDIMS))
ad.primitive_jvps[adjoint_p] = _differentiate_by_reference(_adjoint_lane, (*NDIMS, 2))

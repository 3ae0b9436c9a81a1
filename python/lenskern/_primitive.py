"""One natively batched JAX primitive per operation: shapes, batching, eager calls and lowering, written once.

An operand of a batched primitive has shape ``(*batch, *core)``. All operands have the same number of batch axes, and
each batch axis of an operand is either the number of lanes or 1, where 1 means that all lanes share the operand.
`jax.vmap` adds one leading axis to every operand, so an operand that is not mapped is never copied.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import NamedSharding, PartitionSpec


def batched_primitive(
    name: str,
    core_ndims: Sequence[int] | Callable[..., Sequence[int]],
    results: Callable[..., Sequence[tuple[tuple[int, ...], Any]]],
    choose: Callable[..., Callable],
) -> Primitive:
    """A primitive with leading batch axes.

    Parameters
    ----------
    name
        Name of the primitive.
    core_ndims
        Number of trailing, unbatched axes of each operand, or what gives it for ``**params``.
    results
        ``results(*core_operands, **params)`` gives (core shape, dtype) of each result; ``core_operands`` are
        `jax.ShapeDtypeStruct` of one lane.
    choose
        ``choose(platform, *operands, **params)`` gives the lowering rule for a platform ("cpu", "cuda", or "" for any
        other); ``operands`` are the abstract values of the batched operands. It is called at lowering time only.
    """
    primitive = _BatchedPrimitive(name)
    primitive.multiple_results = True

    def abstract_eval(*operands, **params):
        ndims = core_ndims(**params) if callable(core_ndims) else core_ndims
        batch = batch_shape(operands, ndims)
        core = [jax.ShapeDtypeStruct(x.shape[x.ndim - n :], x.dtype) for x, n in zip(operands, ndims, strict=True)]
        return [_like(operands[0], batch + tuple(shape), dtype) for shape, dtype in results(*core, **params)]

    def batch(operands, dims, **params):
        moved = [
            jnp.expand_dims(x, 0) if dim is None else jnp.moveaxis(x, dim, 0)
            for x, dim in zip(operands, dims, strict=True)
        ]
        out = primitive.bind(*moved, **params)
        return out, [0] * len(out)

    def lowering(platform):
        def lower(ctx, *operands, **params):
            # What varies between devices is for the types of a program that is traced, not for a rule that lowers it.
            ctx = ctx.replace(avals_in=_plain(ctx.avals_in), avals_out=_plain(ctx.avals_out))
            return choose(platform, *ctx.avals_in, **params)(ctx, *operands)

        return lower

    jitted = jax.jit(lambda params, *operands: primitive.bind(*operands, **dict(params)), static_argnums=0)

    primitive.def_abstract_eval(abstract_eval)
    primitive.def_impl(lambda *operands, **params: jitted(tuple(params.items()), *operands))
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, lowering(""))
    for platform in ("cpu", "cuda"):
        mlir.register_lowering(primitive, lowering(platform), platform=platform)
    return primitive


class _BatchedPrimitive(Primitive):
    """Operands that differ between the devices of `jax.shard_map` make results that do."""

    def bind(self, *operands, **params):
        return super().bind(*vary_alike(*operands), **params)


def vary_alike(*operands):
    """The operands, each with the type of one that differs over the axes of `jax.shard_map` over which any does."""
    axes = frozenset().union(*(_varying(x) for x in operands))
    return [_vary(x, axes) for x in operands]


def _varying(x):
    """The axes of `jax.shard_map` over which a value differs; none where that is not checked."""
    return jax.typeof(x).mat.varying


def _vary(x, axes):
    """The value as one that differs over more axes. Its derivative is then the sum over the devices."""
    missing = tuple(axes - _varying(x))
    return jax.lax.pcast(x, missing, to="varying") if missing else x


def no_tangent(value):
    """Tangent of a value that is constant: zeros, or what JAX has in their place for integers."""
    if jnp.issubdtype(value.dtype, jnp.inexact):
        return jnp.zeros_like(value)
    return _vary(np.zeros(value.shape, jax.dtypes.float0), _varying(value))


def _plain(avals):
    """Abstract values that vary over no axes."""
    return [ShapedArray(a.shape, a.dtype) for a in avals]


def _like(operand, shape, dtype):
    """Abstract value that varies as an operand does."""
    if not operand.mat.varying:
        return ShapedArray(shape, dtype)
    sharding = NamedSharding(operand.sharding.mesh, PartitionSpec(*[None] * len(shape)))
    return ShapedArray(shape, dtype, sharding=sharding, manual_axis_type=operand.mat)


def batch_shape(operands: Sequence[Any], core_ndims: Sequence[int]) -> tuple[int, ...]:
    """The batch shape of the results: the operands' batch shapes, an axis of size 1 being shared."""
    shapes = [x.shape[: x.ndim - n] for x, n in zip(operands, core_ndims, strict=True)]
    if len({len(shape) for shape in shapes}) != 1:
        raise ValueError(f"operands must have the same number of batch axes, got batch shapes {shapes}")
    return jnp.broadcast_shapes(*shapes)


def with_lanes(operands: Sequence[Any], core_ndims: Sequence[int]) -> list:
    """Operands with the same number of batch axes: leading ones of size 1 where some have fewer."""
    lanes = max(x.ndim - n for x, n in zip(operands, core_ndims, strict=True))
    return [x[(None,) * (lanes - x.ndim + n)] for x, n in zip(operands, core_ndims, strict=True)]


def on_lanes(lane: Callable, core_ndims: Sequence[int], sequential: bool) -> Callable:
    """Make a function of one lane into one of operands with batch axes; shared operands are not broadcast.

    Parameters
    ----------
    lane
        Function of unbatched operands that returns a tuple of arrays.
    core_ndims
        Number of trailing axes of each operand. All have the same number of leading batch axes.
    sequential
        True runs the lanes one after another, so that each stops on its own; False maps them with `jax.vmap`.
    """

    def apply(*operands):
        if operands[0].ndim == core_ndims[0]:
            return list(lane(*operands))
        mapped = [x.shape[0] != 1 for x in operands]
        inner = [x if m else x[0] for x, m in zip(operands, mapped, strict=True)]
        if not any(mapped):
            return [x[None] for x in apply(*inner)]
        if not sequential:
            return jax.vmap(apply, in_axes=[0 if m else None for m in mapped])(*inner)

        def apply_mapped(lanes):
            lanes = iter(lanes)
            return apply(*(next(lanes) if m else x for x, m in zip(inner, mapped, strict=True)))

        return jax.lax.map(apply_mapped, [x for x, m in zip(inner, mapped, strict=True) if m])

    return apply


def on_flat_lanes(function: Callable, core_ndims: Sequence[int]) -> Callable:
    """Adapt a function whose operands have exactly one batch axis, of size 1 where all lanes share the operand."""

    def apply(*operands):
        batch = batch_shape(operands, core_ndims)
        flat = []
        for x, n in zip(operands, core_ndims, strict=True):
            own, core = x.shape[: x.ndim - n], x.shape[x.ndim - n :]
            if math.prod(batch) == 0:
                x, own = jnp.zeros(core, x.dtype), (1,)
            elif math.prod(own) != 1:
                own = batch
            flat.append(jnp.broadcast_to(x, own + core).reshape(math.prod(own), *core))
        # Without lanes one runs all the same, for the shapes.
        return [x[: math.prod(batch)].reshape(batch + x.shape[1:]) for x in function(*flat)]

    return apply


def summed(cotangent: Any, operand: Any) -> Any:
    """The cotangent of a linear operand: where lanes share it, the sum over them; None for an operand that is known."""
    if not ad.is_undefined_primal(operand):
        return None
    shared = [i for i, (n, m) in enumerate(zip(cotangent.shape, operand.aval.shape, strict=True)) if m == 1 and n != 1]
    return cotangent.sum(shared, keepdims=True) if shared else cotangent

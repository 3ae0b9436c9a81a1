"""Big batches in pieces of bounded memory: a function transform with a `jax.vmap` rule of its own.

`jax.vmap` of the function only adds axes to the operands of a primitive, which runs one lane, or as many as fit, at a
time. Its derivatives are primitives of the same kind: the tangent, and its transpose, which computes its lane anew, so
that a batch of gradients is taken in pieces as well.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.extend.core import Var
from jax.interpreters import ad, mlir

from .. import _primitive

__all__ = ["in_pieces", "peak_bytes"]

# Bytes of a piece on an accelerator, which many lanes fill. On a CPU one lane fills all cores and their caches.
_BUDGET = 2**30


def in_pieces(function):
    """Take batches of a function in pieces of bounded memory.

    Parameters
    ----------
    function : callable
        Pure, from pytrees of arrays to a pytree of arrays.

    Returns
    -------
    callable
        The same function, to be used under `jax.jit`, `jax.vmap`, `jax.grad`, `jax.jvp` and their combinations. On the
        CPU every lane runs the same instructions, alone or in any batch. Its gradient costs one more evaluation.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lenskern.simulate.microbatch import in_pieces
    >>> norm = in_pieces(lambda x: jnp.sum(x * x))
    >>> print(jax.vmap(jax.grad(norm))(jnp.array([[1.0, 2.0], [3.0, 4.0]])))
    [[2. 4.]
     [6. 8.]]
    """

    def apply(*arguments):
        leaves, tree = jax.tree.flatten(arguments)
        result = None

        def flat(*leaves):
            nonlocal result
            values, result = jax.tree.flatten(function(*jax.tree.unflatten(tree, leaves)))
            return values

        closed = jax.make_jaxpr(flat)(*leaves)
        # Arrays that the function closes over become operands, so that they can be batched and differentiated too.
        operands = [*map(jnp.asarray, closed.consts), *map(jnp.asarray, leaves)]
        n = len(closed.consts)
        jaxpr = _traced(lambda *all: jax.core.eval_jaxpr(closed.jaxpr, all[:n], *all[n:]), operands)
        return jax.tree.unflatten(result, value_p.bind(*operands, jaxpr=jaxpr))

    return apply


def peak_bytes(jaxpr):
    """Most bytes that are alive at once when a jaxpr is evaluated one equation after another, nothing being fused.

    Parameters
    ----------
    jaxpr : jax.extend.core.Jaxpr
        Its inputs do not count.

    Returns
    -------
    int
    """
    last = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if isinstance(v, Var)}
    last |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if isinstance(v, Var)}
    ending = {}
    alive = most = 0
    for i, eqn in enumerate(jaxpr.eqns):
        for v in eqn.outvars:
            ending.setdefault(last.get(v, i), []).append(v.aval.size * v.aval.dtype.itemsize)
            alive += ending[last.get(v, i)][-1]
        inner = jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns"))
        inner = [peak_bytes(getattr(x, "jaxpr", x)) for x in inner if hasattr(x, "eqns")]
        most = max(most, alive + max(inner, default=0))
        alive -= sum(ending.pop(i, ()))
    return most


class _Program:
    """A jaxpr as a parameter of a primitive that JAX does not look into.

    From 0.12 on it would want to transform the primitive itself where the jaxpr holds a primitive of a higher level, as
    that of `jax.numpy.searchsorted` does.
    """

    def __init__(self, jaxpr):
        self.jaxpr, self.invars, self.outvars = jaxpr, jaxpr.invars, jaxpr.outvars


def _traced(function, operands):
    """The program of a function that closes over no arrays."""
    return _Program(jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in operands)).jaxpr)


def _avals(variables):
    return [v.aval for v in variables]


def _inexact(variables):
    return [aval for aval in _avals(variables) if jnp.issubdtype(aval.dtype, jnp.inexact)]


def _chosen(parts, active):
    return [x for x, a in zip(parts, active, strict=True) if a]


def _of_active(jaxpr, active, operands):
    """The inexact results as a function of the active operands alone, and these."""

    def function(*some):
        some = iter(some)
        values = _value(*(next(some) if a else x for x, a in zip(operands, active, strict=True)), jaxpr=jaxpr)
        return [x for x in values if jnp.issubdtype(x.dtype, jnp.inexact)]

    return function, _chosen(operands, active)


def _value(*operands, jaxpr):
    """The results of one lane."""
    return jax.core.eval_jaxpr(jaxpr.jaxpr, [], *operands)


def _tangent(*operands, jaxpr, active):
    """Tangents of the inexact results, from all operands and the tangents of the active ones."""
    function, some = _of_active(jaxpr, active, operands[: len(active)])
    return jax.jvp(function, some, list(operands[len(active) :]))[1]


def _adjoint(*operands, jaxpr, active):
    """Cotangents of the active operands, from all operands and the cotangents of the inexact results."""
    function, some = _of_active(jaxpr, active, operands[: len(active)])
    return jax.vjp(function, *some)[1](list(operands[len(active) :]))


def _primitive_of(name, lane, inputs, outputs):
    """A primitive that runs a function of one lane; ``inputs`` and ``outputs`` give abstract values."""

    def ndims(**params):
        return [x.ndim for x in inputs(**params)]

    def choose(platform, *avals, **params):
        function = partial(lane, **params)
        most = 1
        if platform != "cpu":
            most = max(1, _BUDGET // max(1, peak_bytes(_traced(function, inputs(**params)).jaxpr)))
        return mlir.lower_fun(partial(_run, function, ndims(**params), most))

    def results(*operands, **params):
        return [(x.shape, x.dtype) for x in outputs(**params)]

    return _primitive.batched_primitive(name, ndims, results, choose)


def _run(lane, ndims, most, *operands):
    """Run all lanes, at most so many at a time; an operand has batch axes of size 1 where lanes share it."""
    batch = _primitive.batch_shape(operands, ndims)
    # XLA would round differently where it knows the value of an operand, or what becomes of a result.
    operands = jax.lax.optimization_barrier(operands)
    inner, mapped = [], []
    for x, n in zip(operands, ndims, strict=True):
        own, core = x.shape[: x.ndim - n], x.shape[x.ndim - n :]
        mapped.append(math.prod(own) != 1)
        inner.append(jnp.broadcast_to(x, batch + core).reshape(-1, *core) if mapped[-1] else x.reshape(core))

    def one(lanes):
        lanes = iter(lanes)
        return [jnp.asarray(x) for x in lane(*(next(lanes) if m else x for x, m in zip(inner, mapped, strict=True)))]

    lanes = _chosen(inner, mapped)
    values = jax.lax.map(one, lanes, batch_size=None if most == 1 else most) if lanes else one(lanes)
    return jax.lax.optimization_barrier([x.reshape(batch + x.shape[bool(lanes) :]) for x in values])


def _tangent_inputs(jaxpr, active):
    return _avals(jaxpr.invars) + _chosen(_avals(jaxpr.invars), active)


def _adjoint_inputs(jaxpr, active):
    return _avals(jaxpr.invars) + _inexact(jaxpr.outvars)


value_p = _primitive_of(
    "lenskern_pieces", _value, lambda jaxpr: _avals(jaxpr.invars), lambda jaxpr: _avals(jaxpr.outvars)
)
tangent_p = _primitive_of(
    "lenskern_pieces_tangent", _tangent, _tangent_inputs, lambda jaxpr, active: _inexact(jaxpr.outvars)
)
adjoint_p = _primitive_of(
    "lenskern_pieces_adjoint", _adjoint, _adjoint_inputs, lambda jaxpr, active: _chosen(_avals(jaxpr.invars), active)
)


def _differentiate(primals, tangents, *, jaxpr):
    values = value_p.bind(*primals, jaxpr=jaxpr)
    active = tuple(type(dx) is not ad.Zero and dx.dtype != jax.dtypes.float0 for dx in tangents)
    moved = iter(tangent_p.bind(*primals, *_chosen(tangents, active), jaxpr=jaxpr, active=active))
    return values, [
        next(moved) if jnp.issubdtype(x.dtype, jnp.inexact) else ad.Zero(jax.typeof(x).to_tangent_aval())
        for x in values
    ]


def _differentiate_again(lane, inputs):
    """A derivative is differentiated as any function of its operands is."""

    def rule(primals, tangents, *, jaxpr, active):
        again = _traced(partial(lane, jaxpr=jaxpr, active=active), inputs(jaxpr, active))
        return _differentiate(primals, tangents, jaxpr=again)

    return rule


def _transpose(transposed):
    def rule(cotangents, *operands, jaxpr, active):
        constants, linear = operands[: len(active)], operands[len(active) :]
        results = transposed.bind(*constants, *map(ad.instantiate_zeros, cotangents), jaxpr=jaxpr, active=active)
        return [None] * len(active) + [*map(_primitive.summed, results, linear)]

    return rule


ad.primitive_jvps[value_p] = _differentiate
ad.primitive_transposes[tangent_p], ad.primitive_transposes[adjoint_p] = _transpose(adjoint_p), _transpose(tangent_p)
ad.primitive_jvps[tangent_p] = _differentiate_again(_tangent, _tangent_inputs)
ad.primitive_jvps[adjoint_p] = _differentiate_again(_adjoint, _adjoint_inputs)

"""Triton functions out of elementwise functions of `jax.numpy`, so that the mathematics of a profile is written once.

A function is traced with scalars and its jaxpr is written down as the body of a Triton function. What the jaxpr has as
a short array, the nodes of a quadrature, becomes as many scalars: indexing and shapes are settled here, in arrays of
names.
"""

import itertools
import linecache

import jax
import numpy as np
from jax.extend.core import Literal

_INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "eq": "==",
    "ne": "!=",
    "and": "&",
    "or": "|",
}
# tl's own logarithm and exponential have fewer digits in float32; libdevice is the mathematical library of CUDA.
_CALLS = {
    "max": "tl.maximum",
    "min": "tl.minimum",
    "abs": "tl.abs",
    "log": "libdevice.log",
    "log1p": "libdevice.log1p",
    "exp": "libdevice.exp",
    "expm1": "libdevice.expm1",
    "atan": "libdevice.atan",
    "sqrt": "tl.sqrt",
}
# tl's / and sqrt are approximate in float32.
_EXACT_IN_SINGLE = {"div": "tl.div_rn", "sqrt": "tl.sqrt_rn"}
_TYPES = {"float32": "tl.float32", "float64": "tl.float64", "int32": "tl.int32", "bool": "tl.int1"}

_numbers = itertools.count()


def source(name, function, inputs, dtype, outputs):
    """The source of a Triton function.

    Parameters
    ----------
    name : str
    function : callable
        Elementwise, of scalars, to a tuple of scalars.
    inputs : sequence of str
        Names of its arguments. The results have the shape of the first.
    dtype : dtype
        Of the arguments: float32 or float64.
    outputs : int
        Results of the Triton function: where there are fewer, the last are 0.

    Returns
    -------
    str

    Raises
    ------
    NotImplementedError
        For an operation that has no translation.
    """
    dtype = np.dtype(dtype)
    with jax.enable_x64(True):
        closed = jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct((), dtype) for _ in inputs))
        writer = _Writer()
        found = writer.evaluate(closed.jaxpr, closed.consts, [writer.named(x) for x in inputs])
    results = [writer.text(x.item(), dtype) for x in found]
    results += [writer.text(0.0, dtype)] * (outputs - len(results))
    # Branches have to agree in the shapes of their results.
    results = [f"tl.broadcast_to({x}, {inputs[0]}.shape)" for x in results]
    body = [*writer.lines, f"return {', '.join(results)}"]
    return "\n".join([f"def {name}({', '.join(inputs)}):", *(f"    {line}" for line in body), ""])


def define(text, **names):
    """Execute the source of functions, and keep it where Triton looks for it.

    Parameters
    ----------
    text : str
    **names
        What the source refers to.

    Returns
    -------
    dict
        What the source defines, with `names`.
    """
    file = f"<lenskern triton {next(_numbers)}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    names = {"__name__": __name__, **names}
    exec(compile(text, file, "exec"), names)
    return names


class _Name(str):
    """Something that is known only when the function runs."""


class _Writer:
    """Evaluates a jaxpr with arrays of names and numbers, and writes down what has to be computed later."""

    def __init__(self):
        self.lines, self.known = [], {}

    @staticmethod
    def named(name):
        return np.array(_Name(name), object)

    def evaluate(self, jaxpr, consts, arguments):
        values = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
        values |= zip(jaxpr.invars, arguments, strict=True)
        for eqn in jaxpr.eqns:
            operands = [np.asarray(x.val, x.aval.dtype) if isinstance(x, Literal) else values[x] for x in eqn.invars]
            results = self.apply(eqn, operands)
            values |= zip(eqn.outvars, results, strict=True)
        return [np.asarray(x.val, x.aval.dtype) if isinstance(x, Literal) else values[x] for x in jaxpr.outvars]

    def apply(self, eqn, operands):
        inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if inner is not None:
            return self.evaluate(inner.jaxpr, inner.consts, operands)
        if not any(x.dtype == object for x in operands):
            with jax.ensure_compile_time_eval():
                return [np.asarray(eqn.primitive.bind(*operands, **eqn.params))]
        out, name = eqn.outvars[0].aval, eqn.primitive.name
        match name:
            case "broadcast_in_dim":
                shape = [1] * len(out.shape)
                for axis, size in zip(eqn.params["broadcast_dimensions"], operands[0].shape, strict=True):
                    shape[axis] = size
                return [np.broadcast_to(operands[0].reshape(shape), out.shape)]
            case "reshape" | "squeeze":
                return [operands[0].reshape(out.shape)]
            case "convert_element_type":
                if eqn.invars[0].aval.dtype == out.dtype:
                    return operands
            case "reduce_sum":
                axes = eqn.params["axes"]
                terms = np.moveaxis(operands[0], axes, range(len(axes))).reshape(-1, *out.shape)
                total, *rest = (np.array(term, object) for term in terms)
                for term in rest:
                    total = self.map("add", [total, term], [out, out], out)
                return [total]
        return [self.map(name, operands, [x.aval for x in eqn.invars], out, eqn.params)]

    def map(self, name, operands, avals, out, params=None):
        """One statement for each entry of the result."""
        result = np.empty(out.shape, object)
        wide = [np.broadcast_to(x, out.shape) for x in operands]
        for index in np.ndindex(out.shape):
            parts = [self.text(x[index], aval.dtype) for x, aval in zip(wide, avals, strict=True)]
            result[index] = self.keep(self.expression(name, parts, out.dtype, params))
        return result

    def keep(self, expression):
        """The name of an expression, which is computed once."""
        if expression not in self.known:
            self.known[expression] = _Name(f"v{len(self.known)}")
            self.lines.append(f"{self.known[expression]} = {expression}")
        return self.known[expression]

    @staticmethod
    def text(value, dtype):
        if isinstance(value, _Name):
            return str(value)
        if np.isnan(value) or np.isinf(value):
            raise NotImplementedError(f"the constant {value} has no translation to Triton")
        return f"tl.full([], {np.dtype(dtype).type(value).item()!r}, {_TYPES[str(dtype)]})"

    def expression(self, name, parts, dtype, params):
        if dtype == np.float32 and name in _EXACT_IN_SINGLE:
            return f"{_EXACT_IN_SINGLE[name]}({', '.join(parts)})"
        if name in _INFIX:
            return f"{parts[0]} {_INFIX[name]} {parts[1]}"
        if name in _CALLS:
            return f"{_CALLS[name]}({', '.join(parts)})"
        match name:
            case "neg":
                return f"-{parts[0]}"
            case "not":
                return f"{parts[0]} == 0"
            case "square":
                return f"{parts[0]} * {parts[0]}"
            case "select_n" if len(parts) == 3:
                return f"tl.where({parts[0]}, {parts[2]}, {parts[1]})"
            case "convert_element_type":
                return f"{parts[0]}.to({_TYPES[str(dtype)]})"
            case "integer_pow" if params["y"] > 0:
                return " * ".join(parts * params["y"])
        raise NotImplementedError(f"the operation {name!r} has no translation to Triton")

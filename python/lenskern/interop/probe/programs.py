"""Compiled programs: how long they take, what memory they need, what is in them."""

import re
from collections import Counter
from typing import NamedTuple

import jax

__all__ = ["BACKWARD", "Contents", "backward", "compiled", "contents", "for_cuda", "memory"]

# Of the derivatives of the positive-only solvers: files of jaxnnls, which autoarray uses, a function of ours, and what
# reverse-mode differentiation calls the operations that it makes.
BACKWARD = ("pdip_relaxed.py", "diff_qp.py", "_solve_jvp", "transpose(")

_CUSTOM_CALL = re.compile(r"= (.*?) custom-call\(.*?custom_call_target=\"([^\"]+)\"")
_HLO_ARRAY = re.compile(r"\b([a-z]+\d+\[[\d,]*\])")
_MLIR_CALL = re.compile(r"stablehlo\.custom_call @([\w.$]+)\(.*?\).*?(?:->) (.*?)(?: loc\(.*)?$", re.MULTILINE)
_MLIR_ARRAY = re.compile(r"tensor<([\dx]*?)x?([a-z]+\d+)>")


class Contents(NamedTuple):
    """What is in a program.

    Attributes
    ----------
    custom_calls : Counter
        Of (target, shape of the first result).
    loops, branches : int
        While loops and conditionals.
    callbacks : int
        Custom calls that go back to Python.
    backward : tuple of str
        Those of `BACKWARD` that are named in the program. Empty where there is no backward pass.
    """

    custom_calls: Counter
    loops: int
    branches: int
    callbacks: int
    backward: tuple


def compiled(function, *arguments):
    """The lowered and the compiled program of a function for some arguments."""
    lowered = jax.jit(function).lower(*arguments)
    return lowered, lowered.compile()


def contents(lowered, program):
    """What is in a program.

    Parameters
    ----------
    lowered : jax.stages.Lowered
    program : jax.stages.Compiled
        The same, compiled.

    Returns
    -------
    Contents
    """
    text = program.as_text()
    calls = Counter()
    for shapes, target in _CUSTOM_CALL.findall(text):
        arrays = _HLO_ARRAY.findall(shapes)
        calls[target, arrays[0] if arrays else ""] += 1
    return Contents(
        calls,
        len(re.findall(r" while\(", text)),
        len(re.findall(r" conditional\(", text)),
        sum(count for (target, _), count in calls.items() if "callback" in target),
        backward(lowered),
    )


def backward(lowered):
    """Those of `BACKWARD` that are named in a lowered program."""
    text = lowered.as_text(debug_info=True)
    return tuple(name for name in BACKWARD if name in text)


def for_cuda(function, *arguments):
    """Custom calls of a function as JAX lowers it for CUDA, which needs no GPU.

    Returns
    -------
    Counter
        Of (target, shape of the first result).

    Raises
    ------
    Exception
        Where something in it has no lowering for CUDA.
    """
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
    calls = Counter()
    for target, types in _MLIR_CALL.findall(text):
        arrays = _MLIR_ARRAY.findall(types)
        shape = f"{arrays[0][1]}[{arrays[0][0].replace('x', ',')}]" if arrays else ""
        calls[target, shape] += 1
    return calls


def memory(program):
    """Bytes of arguments, results and temporaries of a compiled program; None where the platform does not say."""
    analysis = program.memory_analysis()
    if analysis is None:
        return None
    return {
        "arguments": analysis.argument_size_in_bytes,
        "results": analysis.output_size_in_bytes,
        "temporaries": analysis.temp_size_in_bytes,
    }

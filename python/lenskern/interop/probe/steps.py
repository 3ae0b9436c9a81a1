"""A likelihood cut into its steps: the same equations, each in one program."""

import inspect
from contextlib import contextmanager
from typing import NamedTuple

import jax
from jax.extend import core

__all__ = ["RECORDING", "Steps", "cut", "likelihood_of", "marked_solver"]

MARK = "lenskern_probe_nnls"
RECORDING = "callbacks"  # the step that only notes what the host callbacks return
_CALLBACKS = ("pure_callback", "io_callback")


class Steps(NamedTuple):
    """Functions of arrays; each takes what the ones before it have returned, by name.

    Attributes
    ----------
    functions : dict of str to callable
        ``function(*arrays) -> tuple of arrays``.
    inputs, outputs : dict of str to tuple of int
        Numbers of the values that a function takes and returns. Value 0 is the vector of parameters.
    result : int
        Number of the log likelihood.
    statistics : dict of str to int
        Numbers of what the solver says about itself, such as iterations.
    callbacks : int
        Host callbacks in the set-up.
    """

    functions: dict
    inputs: dict
    outputs: dict
    result: int
    statistics: dict
    callbacks: int


def likelihood_of(analysis, model):
    """The log likelihood of a vector of parameters, as a search of autofit evaluates it."""
    import jax.numpy as jnp

    def likelihood(vector):
        instance = model.instance_from_vector(vector=vector, ignore_assertions=True, xp=jnp)
        return analysis.log_likelihood_function(instance=instance)

    return likelihood


@contextmanager
def marked_solver(statistics):
    """Within it, each positive-only solution of autoarray by JAX is a call with a name of its own.

    Parameters
    ----------
    statistics : list of str
        Gets the names of what the solver says about itself, in the order of the outputs that follow the solution.
    """
    from autoarray.inversion.inversion import inversion_util

    original = inversion_util.reconstruction_positive_only_from
    signature = inspect.signature(original)

    def solver(*args, **keywords):
        bound = signature.bind(*args, **keywords)
        bound.apply_defaults()
        given = dict(bound.arguments)
        if not given["xp"].__name__.startswith("jax"):
            return original(**given)

        def step(data_vector, curvature_reg_matrix):
            said = {}
            system = {"data_vector": data_vector, "curvature_reg_matrix": curvature_reg_matrix}
            solution = original(**given | system | {"stats": said})
            numbers = {name: value for name, value in said.items() if isinstance(value, jax.Array)}
            statistics[:] = sorted(numbers)
            return solution, [numbers[name] for name in statistics]

        step.__name__ = step.__qualname__ = MARK
        return jax.jit(step)(given["data_vector"], given["curvature_reg_matrix"])[0]

    inversion_util.reconstruction_positive_only_from = solver
    try:
        yield
    finally:
        inversion_util.reconstruction_positive_only_from = original


def cut(likelihood, vector):
    """Cut a likelihood at its positive-only solution and at the host callbacks before it.

    An equation that does not depend on the parameters is in each step that needs it; every other one is in one step:
    "set-up" is what the solution depends on, "nnls" the solution, "evidence" the rest.

    Parameters
    ----------
    likelihood : callable
        Of a vector, traced within `marked_solver`.
    vector : (n,) array

    Returns
    -------
    Steps
        With "set-up", "nnls" and "evidence"; where there are host callbacks with `RECORDING`, what they return, and
        "set-up, callbacks frozen", which takes that after the vector.

    Raises
    ------
    NotImplementedError
        For a likelihood without such a solution, or with several.
    """
    names = []
    with marked_solver(names):
        closed = _flat(likelihood, vector)
    equations, (parameter,), (result,) = closed.eqns, closed.jaxpr.invars, closed.jaxpr.outvars
    marked = [eqn for eqn in equations if _is_marked(eqn)]
    if len(marked) != 1:
        raise NotImplementedError(
            f"analysis: got a likelihood with {len(marked)} positive-only solutions by JAX, expected one: a model with "
            "linear light or a pixelization, and an analysis with use_jax=True"
        )
    (solution,) = marked
    varying = {parameter}
    for eqn in equations:
        if any(v in varying for v in _variables(eqn.invars)):
            varying.update(eqn.outvars)
    constant = {i for i, eqn in enumerate(equations) if not any(v in varying for v in eqn.outvars)}
    made_by = {v: i for i, eqn in enumerate(equations) for v in eqn.outvars}
    at = equations.index(solution)
    before = _ancestors(equations, made_by, solution.invars)
    rest = _ancestors(equations, made_by, [result]) - before - {at}
    system = _needs(equations, {at}, varying)
    other = _needs(equations, rest - constant, varying)
    made = list(dict.fromkeys(system + [v for v in other if made_by.get(v) in before]))
    # What each step takes, the indices of its equations, and what it returns.
    given = {
        "set-up": ([parameter], before, made),
        "nnls": (system, {at}, list(solution.outvars)),
        "evidence": (other, rest, [result]),
    }
    calls = [i for i in sorted(before - constant) if equations[i].primitive.name in _CALLBACKS]
    if calls:
        frozen = [v for i in calls for v in equations[i].outvars]
        given[RECORDING] = ([parameter], before, frozen)
        given["set-up, callbacks frozen"] = ([parameter, *frozen], before - set(calls), made)
    number = {parameter: 0}
    functions, inputs, outputs = {}, {}, {}
    for name, (takes, indices, returns) in given.items():
        functions[name] = _function(closed, takes, sorted(indices | constant), returns)
        inputs[name] = tuple(number.setdefault(v, len(number)) for v in takes)
        outputs[name] = tuple(number.setdefault(v, len(number)) for v in returns)
    said = dict(zip(names, (number[v] for v in solution.outvars[1:]), strict=True))
    return Steps(functions, inputs, outputs, number[result], said, len(calls))


def _flat(function, vector):
    """Its closed jaxpr, with calls that hide the solution or a callback written out."""
    closed = jax.make_jaxpr(function)(vector)
    while any(_hides(eqn) for eqn in closed.eqns):
        closed = jax.make_jaxpr(_written_out(closed))(vector)
    return closed


def _written_out(closed):
    def run(*arguments):
        environment = dict(zip(closed.jaxpr.invars, arguments, strict=True))
        return _evaluate(closed, closed.eqns, environment, closed.jaxpr.outvars)

    return run


def _evaluate(closed, equations, environment, returns):
    """Values after some equations, those that hide something written out."""
    environment = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True)) | environment

    def read(v):
        return v.val if isinstance(v, core.Literal) else environment[v]

    for eqn in equations:
        values = [read(v) for v in eqn.invars]
        if _hides(eqn):
            out = core.jaxpr_as_fun(_inside(eqn))(*values)
        else:
            found = eqn.primitive.get_bind_params(eqn.params)
            functions, parameters = found if isinstance(found, tuple) else ((), found)  # by the version of jax
            out = eqn.primitive.bind(*functions, *values, **parameters)
            out = out if eqn.primitive.multiple_results else [out]
        environment.update(zip(eqn.outvars, out, strict=True))
    return tuple(read(v) for v in returns)


def _inside(eqn):
    """The closed jaxpr that a call evaluates, or None."""
    for name in ("jaxpr", "call_jaxpr"):
        if eqn.primitive.name in ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2"):
            inside = eqn.params.get(name)
            if isinstance(inside, core.ClosedJaxpr):
                return inside
    return None


def _hides(eqn):
    inside = None if _is_marked(eqn) else _inside(eqn)
    return inside is not None and any(_is_marked(e) or e.primitive.name in _CALLBACKS or _hides(e) for e in inside.eqns)


def _is_marked(eqn):
    return eqn.params.get("name") == MARK


def _variables(atoms):
    return [v for v in atoms if not isinstance(v, core.Literal)]


def _ancestors(equations, made_by, variables):
    """Indices of the equations that variables depend on."""
    found, waiting = set(), _variables(variables)
    while waiting:
        index = made_by.get(waiting.pop())
        if index is not None and index not in found:
            found.add(index)
            waiting += _variables(equations[index].invars)
    return found


def _needs(equations, indices, varying):
    """What some equations take from others and the parameters, in order."""
    made = {v for i in indices for v in equations[i].outvars}
    taken = [v for i in sorted(indices) for v in _variables(equations[i].invars)]
    return [v for v in dict.fromkeys(taken) if v in varying and v not in made]


def _function(closed, takes, indices, returns):
    """The function of some equations, of which it evaluates those that it needs."""
    taken = set(takes)
    made_by = {v: i for i in indices for v in closed.eqns[i].outvars if v not in taken}
    equations = [closed.eqns[i] for i in sorted(_ancestors(closed.eqns, made_by, returns))]
    return lambda *arrays: _evaluate(closed, equations, dict(zip(takes, arrays, strict=True)), returns)

"""Time the steps of a likelihood, single and under vmap."""

import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ... import _checks
from . import programs
from .steps import RECORDING, cut, likelihood_of, marked_solver

__all__ = ["FLAG", "Program", "Report", "probe"]

FLAG = "--xla_cpu_multi_thread_eigen=false"
WHOLE = "whole likelihood"


class Program(NamedTuple):
    """One compiled program.

    Attributes
    ----------
    seconds : float
        Median of its runs, for all lanes.
    memory : dict or None
        Bytes of arguments, results and temporaries.
    contents : programs.Contents
    cuda : Counter, or str
        Custom calls as lowered for CUDA, by (target, shape), or why there are none.
    """

    seconds: float
    memory: dict | None
    contents: programs.Contents
    cuda: object


class Report(NamedTuple):
    """What a probe has found.

    Attributes
    ----------
    device : str
    batch : int
        Lanes of the vmapped programs.
    unknowns : int
        Of the positive-only solution.
    single, vmapped : dict of str to Program
        By the name of the step, "whole likelihood" first.
    statistics : dict of str to array
        What the solver says about itself in each lane, such as iterations.
    log_likelihoods : (B,) array
        Of the lanes, under vmap.
    max_difference : float
        Largest relative difference of these from the same lanes one by one, in steps.
    """

    device: str
    batch: int
    unknowns: int
    single: dict
    vmapped: dict
    statistics: dict
    log_likelihoods: np.ndarray
    max_difference: float

    @property
    def ratios(self):
        """Time of a vmapped lane over that of a single call, by step."""
        return {name: self.vmapped[name].seconds / self.batch / self.single[name].seconds for name in self.single}

    @property
    def lockstep(self):
        """Iterations that all lanes wait for over those that they need; None where the solver does not tell."""
        iterations = self.statistics.get("iterations")
        if iterations is None or not np.sum(iterations):
            return None
        return float(self.batch * np.max(iterations) / np.sum(iterations))


def probe(analysis, model, vectors=None, *, batch=3, runs=5, cuda=True):
    """Time the set-up, the positive-only solution and the evidence of a likelihood, single and under vmap.

    The steps are cut out of the likelihood's own program, see `steps.cut`, so that they add up to it but for what XLA
    fuses across the cuts.

    Parameters
    ----------
    analysis : autolens.AnalysisImaging or AnalysisInterferometer
        With ``use_jax=True``.
    model : autofit.Collection
    vectors : (B, n) array, optional
        Parameters of the lanes; the first is the one that is timed alone. By default the medians of the priors, and
        what is near them.
    batch : int
        Number of lanes, at least 2, where no vectors are given.
    runs : int
        Of each program, at least 5.
    cuda : bool
        Whether the programs are lowered for CUDA too, to see what they would call there.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        For an argument of the wrong type or shape.
    RuntimeError
        On a CPU, without `FLAG` in the environment variable XLA_FLAGS: the vmapped likelihood can hang in XLA's thread
        pool. The command ``lenskern probe`` sets it.
    NotImplementedError
        For a likelihood without a positive-only solution, or with several.
    """
    if not getattr(analysis, "_use_jax", False):
        raise ValueError(f"analysis: got {type(analysis).__name__} without JAX, expected one made with use_jax=True")
    if jax.default_backend() == "cpu" and FLAG not in os.environ.get("XLA_FLAGS", "").split():
        raise RuntimeError(
            f"XLA_FLAGS: expected {FLAG} among them before JAX starts: a likelihood under vmap can hang in XLA's "
            "thread pool without it; `lenskern probe` sets it"
        )
    vectors = _vectors(model, vectors, batch)
    likelihood = likelihood_of(analysis, model)
    steps = cut(likelihood, vectors[0])
    with marked_solver([]):
        single, values = _prepare(lambda f: f, vectors[0], likelihood, steps, cuda)
        vmapped, found = _prepare(jax.vmap, vectors, likelihood, steps, cuda)
    from ...bench import timing

    modes = {"single": single, "vmapped": vmapped}
    timed = [name for name in single if name != RECORDING]
    calls = {(mode, name): parts[name].call for mode, parts in modes.items() for name in timed}
    times = timing.alternate(calls, runs, rest=0.1)
    together = np.asarray(found[steps.result])
    apart = np.array([_lane(single, steps, vector) for vector in vectors])
    return Report(
        device=str(jax.devices()[0].device_kind),
        batch=len(vectors),
        unknowns=values[steps.outputs["nnls"][0]].shape[-1],
        single={name: single[name].program(times["single", name].median) for name in timed},
        vmapped={name: vmapped[name].program(times["vmapped", name].median) for name in timed},
        statistics={name: np.asarray(found[k]) for name, k in steps.statistics.items()},
        log_likelihoods=together,
        max_difference=float(np.max(np.abs(together - apart) / np.abs(apart))),
    )


def _vectors(model, vectors, batch):
    if vectors is None:
        medians = np.array(model.physical_values_from_prior_medians, float)
        units = np.full((_checks.positive_int("batch", batch), len(medians)), 0.5)
        units[1:] += np.random.default_rng(0).uniform(-0.05, 0.05, units[1:].shape)
        vectors = np.array([model.vector_from_unit_vector(list(unit)) for unit in units], float)
    vectors = jnp.asarray(vectors, jnp.result_type(float))
    if vectors.ndim != 2 or len(vectors) < 2 or vectors.shape[1] != model.prior_count:
        raise ValueError(f"vectors: got shape {vectors.shape}, expected (lanes, {model.prior_count}), 2 lanes or more")
    return vectors


class _Part(NamedTuple):
    """A compiled program with arguments to run it on."""

    compiled: object
    arguments: tuple
    described: tuple

    def call(self):
        return self.compiled(*self.arguments)

    def program(self, seconds):
        return Program(seconds, *self.described)


def _prepare(wrap, start, likelihood, steps, cuda):
    """All programs, and the values that they return."""
    parts, values = {WHOLE: _part(wrap(likelihood), (start,), cuda)}, {0: start}
    for name, function in steps.functions.items():
        arguments = tuple(values[k] for k in steps.inputs[name])
        parts[name] = _part(wrap(function), arguments, cuda and name != RECORDING)
        values |= dict(zip(steps.outputs[name], parts[name].call(), strict=True))
    return parts, values


def _part(function, arguments, cuda):
    lowered, program = programs.compiled(function, *arguments)
    called = "not asked for"
    if cuda:
        try:
            called = programs.for_cuda(function, *arguments)
        except Exception as error:  # a host callback is one, on a machine without a GPU
            called = "something has no lowering here: " + (str(error).splitlines() or [type(error).__name__])[0]
    return _Part(program, arguments, (programs.memory(program), programs.contents(lowered, program), called))


def _lane(single, steps, vector):
    """The log likelihood of one lane, by the programs for one."""
    values = {0: vector}
    for name in ("set-up", "nnls", "evidence"):
        found = single[name].compiled(*(values[k] for k in steps.inputs[name]))
        values |= dict(zip(steps.outputs[name], found, strict=True))
    return float(values[steps.result])

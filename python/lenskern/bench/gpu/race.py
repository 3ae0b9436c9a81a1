"""Several programs for the same problem, timed in turns; one that fails is a finding, and the others go on."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from lenskern import backends
from lenskern.bench import report, timing

# A measured run repeats a short call until it takes so many seconds: else it would be the launch that is measured.
LEAST = 2e-3
# Seconds of measured runs of a call, and of all of them in turns.
ENOUGH = 1.0
# Programs that are compiled at a time.
COMPILERS = min(16, report.usable_cores())


class Broken(Exception):
    """The device does not answer any more, after a program that the exception names."""

    def __init__(self, system, reason):
        super().__init__(reason)
        self.system, self.reason = system, reason


@dataclass(frozen=True)
class System:
    """A program under test.

    Parameters
    ----------
    name : str
        Its package.
    backend, dtype : str
    tol : float, optional
        That of sums over haloes.
    """

    name: str
    backend: str
    dtype: str
    tol: float | None = None

    def __str__(self):
        parts = [self.name, self.backend, self.dtype]
        return " ".join(parts + ([] if self.tol is None else [f"tol={self.tol:g}"]))

    @property
    def fields(self):
        """Of a record."""
        return {"system": self.name, "backend": self.backend, "dtype": self.dtype, "tol": self.tol}


@dataclass
class Guard:
    """What a case knows of the process that it runs in.

    Parameters
    ----------
    lost : dict of str to str
        Programs that took an earlier process down, and how: they are not tried again.
    doing : callable
        Told the name of every program before it runs, and an empty one after it.
    """

    lost: dict = field(default_factory=dict)
    doing: Callable = lambda name: None

    def attempt(self, name, call):
        """Run a program that may fail.

        Returns
        -------
        tuple
            (result, None), or (None, (status, reason)).

        Raises
        ------
        Broken
            Where the device is of no use after it.
        """
        if str(name) in self.lost:
            return None, ("failed", self.lost[str(name)])
        self.doing(str(name))
        result = failure = None
        try:
            result = jax.block_until_ready(call())
        except Exception as error:
            failure = explain(error)
            if failure[0] == "failed":
                self.probe(name, failure[1])
        self.doing("")
        return result, failure

    def probe(self, name, reason):
        """Raise `Broken` unless the device still computes: an illegal access is the end of all that a process has."""
        try:
            alive = float(jnp.sum(jnp.arange(8.0))) == 28
        except Exception:
            alive = False
        if not alive:
            raise Broken(str(name), reason)


def explain(error):
    """(status, reason) of an exception: what is not there or not offered is absent, anything else has failed."""
    words = " ".join(str(error).split())[:400] or type(error).__name__
    missing = isinstance(error, ImportError | NotImplementedError) or "is not available" in words
    # A rule that raises while a program is lowered may be wrapped.
    missing = missing or isinstance(error.__cause__, NotImplementedError)
    return ("absent" if missing else "failed", words if missing else f"{type(error).__name__}: {words}")


def prepare(setups, guard):
    """Compile several programs at a time.

    Parameters
    ----------
    setups : dict of System to callable
        Each gives a call without arguments, with everything compiled.
    guard : Guard

    Returns
    -------
    tuple of dict
        The calls, and (status, reason) of those that have none.
    """

    def attempt(system):
        if str(system) in guard.lost:
            return None, ("failed", guard.lost[str(system)])
        try:
            return setups[system](), None
        except Exception as error:
            return None, explain(error)

    with ThreadPoolExecutor(COMPILERS) as pool:
        found = dict(zip(setups, pool.map(attempt, setups), strict=True))
    calls = {system: call for system, (call, failure) in found.items() if failure is None}
    return calls, {system: failure for system, (_, failure) in found.items() if failure is not None}


@dataclass
class Outcome:
    """What became of a race.

    Attributes
    ----------
    times : dict of System to dict
        ``median_s``, ``min_s`` and ``runs`` of one call.
    results : dict of System
        What the first call gave.
    calls : dict of System to callable
        See `prepare`.
    failures : dict of System to tuple
        (status, reason).
    """

    times: dict
    results: dict
    calls: dict
    failures: dict


def race(setups, guard, runs=7, enough=ENOUGH, least=LEAST):
    """Compile, run and time.

    Parameters
    ----------
    setups, guard
        See `prepare`.
    runs : int
        At least 5; fewer of a call that takes long, see `timing.alternate`.
    enough, least : float
        `ENOUGH` and `LEAST`.

    Returns
    -------
    Outcome
    """
    calls, failures = prepare(setups, guard)
    results, repeated, repeats = {}, {}, {}
    for system, call in calls.items():
        results[system], failure = guard.attempt(system, call)
        if failure is not None:
            failures[system] = failure
            del results[system]
            continue
        start = time.perf_counter()
        jax.block_until_ready(call())  # the second one: the first may have loaded what it needs
        repeats[system] = max(1, min(100, round(least / max(time.perf_counter() - start, 1e-7))))
        repeated[system] = _repeat(call, repeats[system])
    measured = timing.alternate(repeated, runs, rest=0.0, limit=enough) if repeated else {}
    times = {
        system: {
            "median_s": found.median / repeats[system],
            "min_s": found.minimum / repeats[system],
            "runs": len(found.seconds),
        }
        for system, found in measured.items()
    }
    return Outcome(times, results, calls, failures)


def _repeat(call, count):
    def repeated():
        for _ in range(count):
            out = call()
        return out

    return repeated


def triton():
    """Names of the backends whose kernels are written in Python and compiled by Triton."""
    return [name for name in backends.NAMES if name in ("pallas", "triton")]


def compiled(function, *arguments):
    """A call without arguments of a jitted function, compiled now."""
    program = jax.jit(function).lower(*arguments).compile()

    def call():
        return program(*arguments)

    call.program = program
    return call


def peak_bytes(call):
    """Arguments, results and temporaries of what `compiled` gave; None of another call."""
    memory = call.program.memory_analysis() if hasattr(call, "program") else None
    if memory is None:
        return None
    return memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes


def failed(outcome, **fields):
    """Records of the systems that have no time."""
    return [
        report.record(benchmark="gpu", **fields, **system.fields, status=status, reason=reason)
        for system, (status, reason) in outcome.failures.items()
    ]

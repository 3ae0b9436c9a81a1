"""Wall-clock times of several systems in one process, taken in turns so that all of them see the same machine."""

import gc
import time
from dataclasses import dataclass

import jax
import numpy as np


@dataclass(frozen=True)
class Timing:
    """Seconds of every measured run, in the order they were taken."""

    seconds: tuple

    @property
    def median(self):
        """Median in seconds."""
        return float(np.median(self.seconds))

    @property
    def minimum(self):
        """Shortest run in seconds."""
        return float(min(self.seconds))


def alternate(calls, runs=5, warmups=1, rest=0.3, tick=lambda: None, limit=float("inf")):
    """Time several calls in turns.

    Every call first runs ``warmups`` times, so that no compilation is timed. Then each round runs all of them once,
    every other round in reverse, and waits for the result.

    Parameters
    ----------
    calls : dict of str to callable
        Callables without arguments that return JAX arrays in any pytree.
    runs : int
        Rounds, at least 5: a median of fewer says little.
    warmups : int
        At least 1.
    rest : float
        Seconds of sleep before each measured run. Idle BLAS and XLA threads of the call before spin for tens of
        milliseconds, and the next call would pay for them.
    tick : callable
        Called after every single run, for a progress bar; see `steps`.
    limit : float
        Seconds of measured runs after which a call is not run again: a long one has fewer runs.

    Returns
    -------
    dict of str to Timing
    """
    if runs < 5:
        raise ValueError(f"runs: expected at least 5, got {runs}")
    if warmups < 1:
        raise ValueError(f"warmups: expected at least 1, got {warmups}")
    for call in calls.values():
        for _ in range(warmups):
            jax.block_until_ready(call())
            tick()
    seconds = {name: [] for name in calls}
    gc.collect()
    for turn in range(runs):
        for name in list(calls)[:: -1 if turn % 2 else 1]:
            if sum(seconds[name]) < limit:
                time.sleep(rest)
                start = time.perf_counter()
                jax.block_until_ready(calls[name]())
                seconds[name].append(time.perf_counter() - start)
            tick()
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def shortest(call, runs=3, enough=2.0):
    """Result of a compiled call and the shortest of some runs, after one that warms up and counts only if it is long.

    Parameters
    ----------
    call : callable
        Returns JAX arrays in any pytree; nothing is compiled in it.
    runs : int
    enough : float
        Seconds after which no further run starts.

    Returns
    -------
    tuple
        (result, seconds)
    """
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        result = jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
        if sum(seconds) > enough:
            break
    return result, min(seconds[1:] or seconds)


def steps(calls, runs=5, warmups=1):
    """How often `alternate` ticks."""
    return len(calls) * (runs + warmups)


@dataclass(frozen=True)
class Rates:
    """Matrix-multiplication rates in flop/s: what the processor can do, single and double."""

    single: float
    double: float


def measure_rates(size=1536, repeats=4):
    """Best rate of SciPy's sgemm and dgemm on this machine, over one BLAS thread and all of them.

    One thread is measured where threadpoolctl is installed.

    Parameters
    ----------
    size : int
        Order of the matrices.
    repeats : int
        Best of so many.

    Returns
    -------
    Rates
    """
    from scipy.linalg import blas

    def best(gemm, dtype):
        a = np.asfortranarray(np.random.default_rng(0).standard_normal((size, size)).astype(dtype))
        c = np.zeros_like(a, order="F")
        gemm(1.0, a, a, c=c, overwrite_c=1)
        shortest = np.inf
        for _ in range(repeats):
            start = time.perf_counter()
            gemm(1.0, a, a, c=c, overwrite_c=1)
            shortest = min(shortest, time.perf_counter() - start)
        return 2 * size**3 / shortest

    def both():
        return np.array([best(blas.sgemm, np.float32), best(blas.dgemm, np.float64)])

    rates = both()
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return Rates(*map(float, rates))
    with threadpool_limits(1):
        rates = np.maximum(rates, both())
    return Rates(*map(float, rates))


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of an algorithm, in single and in double precision."""

    single: float
    double: float

    def seconds(self, rates):
        """Least time at the measured rates, for the whole processor."""
        return self.single / rates.single + self.double / rates.double


def dense_flops(K, support, iterations, passes):
    """Operations of one solve by the default method if every matrix is dense.

    Every interior-point iteration factors one K x K matrix and every pass one of the order of the support, in single
    precision, order^3 / 3 operations each. Every iteration also takes a product of Q with a vector and three pairs of
    triangular solves (predictor, corrector, one Gondzio correction), every pass and its polish six products and six
    pairs of solves, 2 order^2 operations each, the products in double precision. Scaling and checks count as nothing.

    Parameters
    ----------
    K : int
    support, iterations, passes : int
        Non-zero entries of the solution, and the counts of `lenskern.nnls.Solution`.

    Returns
    -------
    Flops
    """
    single = iterations * (K**3 / 3 + 6 * K**2) + passes * (support**3 / 3 + 12 * support**2)
    double = iterations * 2 * K**2 + passes * 12 * support**2
    return Flops(single, double)

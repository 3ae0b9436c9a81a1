"""What the device can do, which the others are judged by: products, factorisations, memory, launches and barriers."""

from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import lax

from lenskern.bench import report
from lenskern.bench.gpu import programs, race
from lenskern.bench.gpu.race import System

# Between the orders of the inversions of production.
ORDER = 1291
BATCH = 3
# Kernels in a row, for the time of one launch.
CHAIN = 200


def cases(dry_run):
    """The cases; see `parts.cases`."""
    small = dry_run
    return {
        "matrix products": partial(_products, 64 if small else 8192),
        "factorisations": partial(_factorisations, 24 if small else ORDER),
        "memory": partial(_memory, 2**10 if small else 2**28),
        "launches": partial(_launches, 5 if small else CHAIN),
        "CUDA alone": partial(_device, dry_run),
    }


def _measure(case, setups, guard, work):
    """Records of a race of jax programs; ``work[system]`` is the fields that say what a call does."""
    outcome = race.race(setups, guard)
    records = race.failed(outcome, case=case)
    for system, times in outcome.times.items():
        fields = dict(work[system])
        rate = fields.pop("rate", None)  # (name of the field, amount of work)
        if rate is not None:
            fields[rate[0]] = rate[1] / times["median_s"]
        records.append(report.record(benchmark="gpu", case=case, **system.fields, **times, **fields))
    return records


def _products(n, guard):
    """Rates of the largest products: of float64, of float32, and of float32 through TF32."""
    rng = np.random.default_rng(0)
    setups, work = {}, {}
    for name, dtype, precision in (
        ("gemm", "float64", lax.Precision.HIGHEST),
        ("gemm", "float32", lax.Precision.HIGHEST),
        ("gemm, TF32", "float32", lax.Precision.DEFAULT),
    ):
        a = jnp.asarray(rng.standard_normal((n, n), np.float32), dtype)
        system = System("cublas", name, dtype)
        setups[system] = partial(race.compiled, partial(jnp.matmul, precision=precision), a, a)
        work[system] = {"n": n, "rate": ("flops", 2 * n**3)}
    return _measure("matrix products", setups, guard, work)


def _factorisations(n, guard):
    """Factorisations and triangular solves with one right-hand side, of one matrix and of a batch, as JAX has them."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((BATCH, n, n)) / n**0.5
    A = A @ A.swapaxes(1, 2) + np.eye(n)
    solve = partial(lax.linalg.triangular_solve, left_side=True, lower=True)
    setups, work = {}, {}
    for dtype in ("float64", "float32"):
        matrices = jnp.asarray(A, dtype)
        factors, right = jnp.asarray(np.linalg.cholesky(A), dtype), jnp.ones((BATCH, n, 1), dtype)
        for batch in (1, BATCH):
            suffix = "Batched" if batch > 1 else ""
            lanes = slice(batch) if batch > 1 else 0
            programs = {
                f"potrf{suffix}": (lax.linalg.cholesky, (matrices[lanes],), n**3 / 3),
                f"trsm{suffix}": (solve, (factors[lanes], right[lanes]), n**2),
            }
            for name, (function, arguments, flops) in programs.items():
                system = System("cusolver", name, dtype)
                setups[system] = partial(race.compiled, function, *arguments)
                work[system] = {"n": n, "batch": batch, "rate": ("flops", batch * flops)}
    return _measure("factorisations", setups, guard, work)


def _memory(n, guard):
    """Bytes read and written per second by a copy that adds 1."""
    x = jnp.zeros(n, "float32")
    system = System("xla", "copy", "float32")
    work = {system: {"n": n, "rate": ("bytes_per_s", 2 * x.nbytes)}}
    return _measure("memory", {system: partial(race.compiled, lambda x: x + 1, x)}, guard, work)


def _launches(count, guard):
    """Times of the smallest steps: a call from Python, a kernel in a program, a step of a loop the host decides on."""
    x = jnp.zeros(128, "float32")

    def chain(x):
        for _ in range(count):
            x = lax.optimization_barrier(x + 1)
        return x

    def loop(x):
        return lax.while_loop(lambda x: x[0] < count, lambda x: x + 1, x)

    setups, steps = {}, {}
    for name, function, number in (("call", lambda x: x + 1, 1), ("kernel", chain, count), ("loop step", loop, count)):
        system = System("xla", name, "float32")
        setups[system], steps[system] = partial(race.compiled, function, x), number
    records = _measure("launches", setups, guard, {system: {"steps": n} for system, n in steps.items()})
    for r in records:
        if r["median_s"]:
            r["step_s"] = r["median_s"] / r["steps"]
    return records


def _device(dry_run, guard):
    """Multiply-adds, launches and barriers without XLA: by a program of its own, which nvcc builds."""
    case, name = "CUDA alone", "arithmetic, launches and barriers"
    found, failure = programs.measure(name, "device.cu", dry_run, guard)
    if failure is not None:
        return race.failed(race.Outcome({}, {}, {}, {System("cuda", name, "-"): failure}), case=case)
    records = [
        report.record(benchmark="gpu", case=case, **System("cuda", "fma", dtype).fields, flops=flops)
        for dtype, flops in found["flops"].items()
    ]
    return records + [
        report.record(benchmark="gpu", case=case, **System("cuda", step, "-").fields, step_s=seconds)
        for step, seconds in found["steps"].items()
    ]

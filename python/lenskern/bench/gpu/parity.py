"""Every kernel against the reference in float64 on the CPU: operations, dtypes, transforms, each program by itself."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lenskern import backends, convolve
from lenskern.bench import report
from lenskern.bench.gpu import parity_deflect, parity_nnls, programs, race
from lenskern.simulate.poisson import poisson


@dataclass(frozen=True)
class Program:
    """What is compared.

    Parameters
    ----------
    name : str
    function : callable
        ``function(backend, *arguments)`` gives arrays in any pytree.
    arguments : tuple
        Pytrees of arrays; floating-point ones are of the dtype under test.
    tolerance : float
        Largest difference, relative to the largest entry of each array of the result.
    """

    name: str
    function: Callable
    arguments: tuple
    tolerance: float


def cases(dry_run):
    """The cases: an operation, a backend and a dtype each; see `parts.cases`."""
    written = {
        "cuda": {"deflect": parity_deflect.programs, "nnls": parity_nnls.programs, "counts": _counts},
        "pallas": {"deflect": _fields, "nnls": parity_nnls.programs, "convolve": _convolutions},
        "triton": {"deflect": _fields, "convolve": _convolutions},
    }
    dtypes = ("float64", "float32")
    if dry_run:
        name = "cpp" if backends.availability("cpp").available else "reference"
        written, dtypes = {name: written["cuda"] | {"convolve": _convolutions}}, ("float64",)
    first = next(iter(written))
    found = {
        f"{operation}, {backend}, {dtype}": partial(_check, partial(written_for, dtype, dry_run), backend, dtype)
        for backend, operations in written.items()
        for operation, written_for in operations.items()
        for dtype in dtypes
    }
    return found | {
        "concurrent calls": partial(_concurrent, first),
        "every device": partial(_every_device, first),
        "tiles of large inversions": partial(_tiles, dry_run),
    }


_fields = partial(parity_deflect.programs, derivatives=False)


def _convolutions(dtype, small):
    """The fused Fourier transforms: images of several sizes, and the derivative by the image."""
    rng = np.random.default_rng(0)
    backend_of = {"cpp": "reference"}  # the CPU has no fused kernel

    def blur(backend, kernel, images):
        plan = convolve.plan(kernel, images.shape[-2:], method="fft", backend=backend_of.get(backend, backend))
        return plan(images)

    def slope(backend, kernel, images):
        return jax.grad(lambda x: jnp.sum(blur(backend, kernel, x) ** 2))(images)

    tolerance = {"float64": 3e-14, "float32": 3e-6}[dtype]
    for shape in ((7, 9),) if small else ((7, 9), (32, 32), (50, 64), (128, 128), (256, 256)):
        images, psf = (jnp.asarray(rng.normal(size=s), dtype) for s in ((3, *shape), (5, 7)))
        size = "x".join(map(str, shape))
        yield f"{size}, batch 3", blur, (psf, images), tolerance
        yield f"{size}, gradient", slope, (psf, images), 10 * tolerance


def _counts(dtype, small):
    """Poisson counts, which are the same to the bit."""
    rate = jnp.geomspace(1e-3, 1e6, 20 if small else 10_000, dtype=dtype)
    yield "counts", lambda backend, rate: poisson(jax.random.key(3), rate, backend=backend), (rate,), 0.0


def _check(written, backend, dtype, guard):
    """Records of the programs of one case."""
    compared = {f"{backend} {dtype} {p.name}": p for p in itertools.starmap(Program, written())}
    calls, failures = race.prepare({key: partial(_set_up, p, backend) for key, p in compared.items()}, guard)
    records = []
    for key, program in compared.items():
        failure, error = failures.get(key), None
        if failure is None:
            call, expected = calls[key]
            # Twice: from the second run on the kernels may be replayed from a recorded graph.
            results, failure = guard.attempt(key, lambda call=call: [call() for _ in range(2)])
        if failure is None:
            error = max(difference(result, expected) for result in results)
        records.append(_verdict(program.name, error, failure, backend, dtype, program.tolerance))
    return records


def _set_up(program, backend):
    """The compiled call, and what it is to give."""
    call = race.compiled(partial(program.function, backend), *program.arguments)
    cpu = jax.devices("cpu")[0]
    exact = jax.tree.map(lambda x: jax.device_put(_exact(x), cpu), program.arguments)
    with jax.default_device(cpu):
        expected = jax.device_get(jax.jit(partial(program.function, "reference"))(*exact))
    return call, expected


def _exact(x):
    return x.astype("float64") if jnp.issubdtype(x.dtype, jnp.floating) else x


def difference(found, expected):
    """Largest difference of two pytrees, of the largest entry of each array; infinite where one alone has a NaN."""
    errors = [0.0]
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.shape != b.shape or (np.isfinite(a) != np.isfinite(b)).any():
            return float("inf")
        known = np.isfinite(b)
        if known.any():
            errors.append(float(np.abs(a - b)[known].max() / max(np.abs(b[known]).max(), 1e-30)))
    return max(errors)


def _runtime_programs(backend, count=None):
    """The first small programs of different kernels, as `_set_up` gives them."""
    first = itertools.islice(parity_deflect.programs("float64", small=True), count)
    return [_set_up(Program(*parts), backend) for parts in first]


def _concurrent(backend, guard):
    """Threads that call compiled programs at the same time."""

    def attempt():
        calls = _runtime_programs(backend)

        def work(i):
            call, expected = calls[i % len(calls)]
            return difference(call(), expected)

        with ThreadPoolExecutor(8) as pool:
            return max(pool.map(work, range(64)))

    name = "64 calls from 8 threads"
    return [_verdict(name, *guard.attempt(name, attempt), backend)]


def _every_device(backend, guard):
    """The same program on each device of the process, one after the other."""

    def attempt(device):
        with jax.default_device(device):
            call, expected = _runtime_programs(backend, 1)[0]
            return difference(call(), expected)

    return [
        _verdict(f"device {device.id}", *guard.attempt(f"device {device.id}", partial(attempt, device)), backend)
        for device in jax.devices()
    ]


def _tiles(dry_run, guard):
    """Products of tiles by themselves, and their time: a solve refines, and would not show that digits are lost."""
    name = "products of tiles"
    found, failure = programs.measure(name, "tiles.cu", dry_run, guard)
    if failure is not None:
        return [_verdict(name, None, failure, "cuda")]
    # Float32 sums are truncated on tensor cores; of two products of TF32 instead of three the error is 3e-4.
    tolerance = {"float32": 4e-6, "float64": 1e-14}
    records = []
    for way, r in found.items():
        verdict = _verdict(f"{name}, {way}", r["error"], None, "cuda", r["dtype"], tolerance[r["dtype"]])
        records.append(verdict | {"step_s": r["step_s"]})
    return records


def _verdict(name, error, failure, backend, dtype="float64", tolerance=3e-10):
    """The record of a program."""
    status, reason = failure or ("right" if error <= tolerance else "wrong", None)
    return report.record(
        benchmark="gpu",
        system="lenskern",
        backend=backend,
        dtype=dtype,
        program=name,
        status=status,
        max_abs_err=error,
        tolerance=tolerance,
        reason=reason,
    )

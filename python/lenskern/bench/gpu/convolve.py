"""Convolution with a point spread function: the fused Pallas kernel, the reference and jax.scipy on cuFFT, in turns."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lenskern import convolve
from lenskern.bench import report
from lenskern.bench.convolve import Case, kernel_of
from lenskern.bench.gpu import race
from lenskern.bench.gpu.race import System

SIDES, BATCHES, SIZE = (100, 64, 32, 128, 256), (1, 64, 1024), 21


def cases(dry_run):
    """The cases: a size and a batch each, in both precisions; see `parts.cases`."""
    sides, batches, size = ((12,), (2,), 5) if dry_run else (SIDES, BATCHES, SIZE)
    found = [Case("moffat", side, size, batch) for side, batch in itertools.product(sides, batches)]
    return {f"{case.side}x{case.side}, batch {case.batch}": partial(measure, case, dry_run) for case in found}


def measure(case, dry_run, guard):
    """Records of one case: errors are relative to the largest value, against cuFFT in float64."""
    setups = {}
    images = np.random.default_rng(0).gamma(1.0, size=(case.batch, case.side, case.side))
    for dtype in ("float64",) if dry_run else ("float64", "float32"):
        for backend in ("reference",) if dry_run else (*race.triton(), "reference"):
            setups[System("lenskern", backend, dtype)] = partial(_plan, case, backend, images.astype(dtype))
        setups[System("jax.scipy", "fft", dtype)] = partial(_scipy, case, images.astype(dtype))
    outcome = race.race(setups, guard, **({"runs": 5, "least": 0.0} if dry_run else {}))
    name = f"{case.side}x{case.side}, batch {case.batch}"
    records = race.failed(outcome, case=name, batch=case.batch)
    truth = outcome.results.get(System("lenskern", "reference", "float64"))
    for system, times in outcome.times.items():
        found = np.asarray(outcome.results[system], np.float64)
        records.append(
            report.record(
                benchmark="gpu",
                case=name,
                batch=case.batch,
                side=case.side,
                **system.fields,
                **times,
                max_abs_err=None if truth is None else float(np.abs(found - truth).max() / np.abs(truth).max()),
                peak_bytes=race.peak_bytes(outcome.calls[system]),
            )
        )
    return records


def _plan(case, backend, images):
    plan = convolve.plan(kernel_of(case), images.shape[1:], method="fft", dtype=images.dtype, backend=backend)
    return race.compiled(lambda plan, images: plan(images), plan, jnp.asarray(images))


def _scipy(case, images):
    kernel = jnp.asarray(kernel_of(case), images.dtype)
    blur = jax.vmap(lambda image: jax.scipy.signal.fftconvolve(image, kernel, mode="same"))
    return race.compiled(blur, jnp.asarray(images))

"""Sums over haloes: lenskern's kernels, its reference and JAXtronomy, in turns."""

import itertools
from functools import partial

import numpy as np

from lenskern import backends
from lenskern.bench import deflect_systems, report
from lenskern.bench.deflect_peers import peers
from lenskern.bench.deflect_systems import Case
from lenskern.bench.gpu import race
from lenskern.bench.gpu.race import System

CASES = (
    Case("plane", 100, 1000),
    Case("cone", 100, 125),
    Case("plane", 400, 1000),
    Case("cone", 400, 125),
    Case("gradient", 100, 1000),
    Case("batch", 100, 1000, batch=64, alone=True),
    Case("batch", 100, 1000, batch=1024, alone=True),
)
SMALL = (Case("plane", 6, 8),)
# The reference and the Pallas kernel of larger problems would take the time of everything else.
MOST_PAIRS = {"reference": 2e8, "pallas": 1e9, "triton": 1e9}
# Peers that run on a GPU.
ON_GPU = ("jaxtronomy", "autolens")


def cases(dry_run):
    """The cases; see `parts.cases`."""
    return {case.name: partial(measure, case, dry_run) for case in (SMALL if dry_run else CASES)}


def measure(case, dry_run, guard):
    """Records of one case: errors are against lenskern's direct sum in float64."""
    setups = {}
    for system in _systems(case, dry_run):
        setups[system] = partial(_set_up, case, system)
    outcome = race.race(setups, guard, **({"runs": 5, "least": 0.0} if dry_run else {}))
    records = race.failed(outcome, case=case.name, batch=case.batch)
    truth = _truth(outcome.results)
    for system, times in outcome.times.items():
        records.append(
            report.record(
                benchmark="gpu",
                case=case.name,
                kind=case.kind,
                batch=case.batch,
                pairs=case.pairs,
                **system.fields,
                **times,
                max_abs_err=None if truth is None else _error(outcome.results[system], truth),
                peak_bytes=race.peak_bytes(outcome.calls[system]),
            )
        )
    return records


def _systems(case, dry_run):
    """What takes part."""
    names = ("cuda", *race.triton(), "reference")
    if dry_run:
        names = ("cpp", "reference") if backends.availability("cpp").available else ("reference",)
    for name, dtype in itertools.product(names, ("float64",) if dry_run else ("float64", "float32")):
        if case.pairs > MOST_PAIRS.get(name, np.inf) or (case.kind == "gradient" and name in race.triton()):
            continue
        yield System("lenskern", name, dtype, 0.0)
        if name == "cuda":
            # A far field to rounding in float64, and what images need in float32.
            yield System("lenskern", name, dtype, None if dtype == "float64" else 1e-5)
    if not case.alone and not dry_run:
        yield from (System(p.name, p.backend, p.dtype) for p in peers() if p.name in ON_GPU and p.backend == "jax")


def _set_up(case, system):
    if system.name == "lenskern":
        backends.require(system.backend)
        calls = deflect_systems._lenskern(system.backend, system.dtype, system.tol)
    else:
        (peer,) = [p for p in peers() if (p.name, p.backend, p.dtype) == (system.name, system.backend, system.dtype)]
        calls = peer.load()
        if calls is None:
            raise ImportError(f"not installed: {peer.install}")
    if getattr(calls, "trace" if case.kind == "cone" else case.kind) is None:
        raise NotImplementedError(f"{system.name} has no {case.kind}")
    return case.call(calls)


def _truth(results):
    """The result that the others are compared with: of the reference if it took part."""
    for name in ("reference", "cuda", "cpp"):
        found = results.get(System("lenskern", name, "float64", 0.0))
        if found is not None:
            return found
    return None


def _error(found, truth):
    """Largest difference, of a gradient in its last part, the one for the rays."""
    found, truth = (x[-1] if isinstance(x, tuple | list) else x for x in (found, truth))
    return float(np.abs(np.asarray(found, np.float64) - np.asarray(truth, np.float64)).max())

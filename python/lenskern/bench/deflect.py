"""``python -m lenskern.bench deflect``: ray shooting through many haloes, beside other programs."""

import json
import subprocess
import sys
from functools import partial

import jax
import numpy as np

from lenskern.bench import deflect_systems, report, timing
from lenskern.bench.deflect_systems import Case
from lenskern.bench.nnls import choices

# Of one pair of a ray and a halo in the direct sum of the deflection: 2 for the distance along each axis, 3 for its
# square, 2 for the argument of the polynomial that stands for the profile, 24 for its 12 degrees, 4 to add the result.
FLOPS_PER_PAIR = 35

FULL = [
    Case("plane", 200, 1000),
    Case("plane", 400, 1000),
    Case("cone", 400, 125),
    Case("gradient", 100, 1000),
    Case("gradient", 400, 1000, alone=True),
    Case("batch", 100, 1000, batch=1024, alone=True),
]
QUICK = [
    Case("plane", 48, 60),
    Case("cone", 48, 8),
    Case("gradient", 24, 60),
    Case("batch", 16, 60, batch=8, alone=True),
]


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    kinds = ",".join(deflect_systems.KINDS)
    parser.add_argument("--json", metavar="FILE", help="write the records here")
    parser.add_argument(
        "--cases", default="plane,cone,gradient", help=f"of {kinds}, separated by commas; batch is long"
    )
    parser.add_argument("--systems", help="packages to measure, separated by commas; by default all that are installed")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each system, at least 5")
    parser.add_argument("--limit", type=float, default=30.0, help="seconds after which a system is not run again")
    parser.add_argument("--quick", action="store_true", help="small sizes, in seconds")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory, a process for each system")


def run(arguments):
    """Measure and print; returns the exit code."""
    kinds = choices("--cases", arguments.cases, deflect_systems.KINDS)
    cases = [case for case in (QUICK if arguments.quick else FULL) if case.kind in kinds]
    with jax.enable_x64(True):
        rest = 0.01 if arguments.quick else 0.3
        packages = {system.name for system in deflect_systems.systems()}
        if arguments.systems:
            packages = choices("--systems", arguments.systems, packages)
        keep = partial(report.write, arguments.json)  # after every case: a peer may yet take all memory
        records = measure(cases, arguments.runs, packages, not arguments.no_memory, rest, arguments.limit, keep)
    print(text(records))
    return 0


def measure(
    cases, runs=5, packages=("lenskern",), with_memory=True, rest=0.3, limit=float("inf"), keep=lambda records: None
):
    """Measure every case.

    Parameters
    ----------
    cases : sequence of Case
    runs : int
        At least 5.
    packages : collection of str
        The systems to measure, by the names of their packages.
    with_memory : bool
    rest, limit : float
        See `timing.alternate`.
    keep : callable
        Called after each case with all records so far.

    Returns
    -------
    list of dict
        See `report.record`.
    """
    known = [s for s in deflect_systems.systems() if s.name in packages]
    loaded = {system: system.load() for system in known}
    records = [_absent(system) for system, calls in loaded.items() if calls is None and system.name != "lenskern"]
    loaded = {system: calls for system, calls in loaded.items() if calls is not None}
    rates = timing.measure_rates()
    for case in cases:
        taking_part = {system: calls for system, calls in loaded.items() if case.takes(system, calls)}
        if case.kind == "batch":
            records += [_in_child(case, system, rates) for system in taking_part]
            keep(records)
            continue
        taking_part = _able(case, taking_part)
        total = timing.steps(taking_part, runs) * (2 if case.kind == "gradient" else 1)
        with report.progress(total, "deflect") as tick:
            found = measure_case(case, taking_part, runs, rates, partial(tick, case.name), rest, limit)
        for record, system in zip(found, taking_part, strict=True):
            if with_memory:
                record["peak_bytes"] = child(case, system)["peak_bytes"]
        records += found
        keep(records)
    return records


def _able(case, systems):
    """Those that get through a case once; a peer may want more memory than there is."""
    able = {}
    for system, parts in systems.items():
        try:
            jax.block_until_ready(case.call(parts)())
        except Exception as error:
            if system.name == "lenskern":
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            print(f"{system.key}, {case.name}: {reason}", file=sys.stderr)
            continue
        able[system] = parts
    return able


def measure_case(case, systems, runs, rates, tick=lambda: None, rest=0.3, limit=float("inf"), oracle_rays=50):
    """Time the systems in turns on one problem, and check what they return.

    Parameters
    ----------
    case : Case
    systems : dict of System to Calls
    runs : int
        At least 5.
    rates : timing.Rates
    tick : callable
    rest, limit : float
        See `timing.alternate`.
    oracle_rays : int
        Rays that are computed in arithmetic of 40 digits.

    Returns
    -------
    list of dict
        A record for each system. Errors are the largest of any ray: ``max_abs_err`` against the reference backend's
        direct sum in float64, ``oracle_err`` against 40 digits at a few rays, and ``reference_err`` that of the
        reference itself. Those of a gradient are of its part for the rays.
    """
    calls = {system: case.call(parts) for system, parts in systems.items()}
    timed = dict(calls)
    if case.kind == "gradient":
        timed |= {(system, "value"): parts.plane(case.problem, case.rays) for system, parts in systems.items()}
    times = timing.alternate(timed, runs, rest=rest, tick=tick, limit=limit)
    reference = deflect_systems.reference()
    again = [call for system, call in calls.items() if system.key == reference.key]
    truth = _result(case, again[0] if again else case.call(reference.load()))
    few = np.linspace(0, len(case.rays) - 1, min(oracle_rays, len(case.rays))).astype(int)
    oracle = None if case.kind == "gradient" else case.oracle(few)
    records = []
    for system, call in calls.items():
        found = _result(case, call)
        records.append(
            _record(
                case,
                system,
                rates,
                median_s=times[system].median,
                min_s=times[system].minimum,
                runs=len(times[system].seconds),
                value_s=times[system, "value"].median if case.kind == "gradient" else None,
                max_abs_err=_largest(found, truth),
                oracle_err=None if oracle is None else _largest(found[few], oracle),
                reference_err=None if oracle is None else _largest(truth[few], oracle),
            )
        )
    return records


def child(case, system):
    """Run one system on one problem once in a process of its own.

    Returns
    -------
    dict
        peak_bytes, beyond inputs and outputs, and seconds; None where it failed.
    """
    command = [sys.executable, "-m", "lenskern.bench.deflect_memory", json.dumps([case.fields, system.key])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"{system.key}, {case.name}: {reason}", file=sys.stderr)
        return {"peak_bytes": None, "seconds": None}
    return json.loads(done.stdout.splitlines()[-1])


def _in_child(case, system, rates):
    found = child(case, system)
    seconds, error = found["seconds"], found.get("oracle_err")
    fields = {"max_abs_err": error, "oracle_err": error, "peak_bytes": found["peak_bytes"]}
    return _record(case, system, rates, median_s=seconds, min_s=seconds, runs=1, **fields)


def _result(case, call):
    result = call()
    return np.asarray(result[-1] if case.kind == "gradient" else result)


def _largest(found, expected):
    error = np.abs(np.asarray(found, np.float64) - expected).max()
    return float("inf") if np.isnan(error) else float(error)


def _absent(system):
    return report.absent("deflect", f"{system.name} ({system.backend})", system.install)


def _record(case, system, rates, **fields):
    flops = FLOPS_PER_PAIR * case.pairs
    direct = system.name == "lenskern" and system.backend == "cpp" and system.tol == 0 and case.kind != "gradient"
    return report.record(
        benchmark="deflect",
        case=case.name,
        kind=case.kind,
        system=system.name,
        backend=system.backend,
        dtype=system.dtype,
        tol=system.tol,
        batch=case.batch,
        pairs=case.pairs,
        flops=flops if direct else None,
        # float32 rays are summed in float64 too
        floor_s=flops / rates.double if direct else None,
        dgemm_flops=rates.double,
        versions=report.versions(deflect_systems.PACKAGES),
        **fields,
    )


def text(records):
    """The tables for the terminal, one for each case."""
    measured = [r for r in records if not r.get("absent")]
    parts = [
        _table(case, [r for r in measured if r["case"] == case]) for case in dict.fromkeys(r["case"] for r in measured)
    ]
    if measured:
        parts.append(
            "time ratio: over lenskern's direct sum in float64; error: largest of all rays in arcsec, against the\n"
            "direct sum of the reference backend, whose own error at rays computed with 40 digits stands above the\n"
            "table; of a gradient, in its part for the rays; of a batch, at a few rays; memory: peak beyond inputs\n"
            f"and outputs; of floor: least time of {FLOPS_PER_PAIR} operations for each pair of a ray and a halo at\n"
            f"the rate measured here, {measured[0]['dgemm_flops'] / 1e9:.0f} GFLOP/s (double), over the time taken."
        )
    parts += [f"{r['system']} is not installed: {r['install']}" for r in records if r.get("absent")]
    return "\n\n".join(parts)


def _table(case, records):
    direct = [r["median_s"] for r in records if (r["backend"], r["dtype"], r["tol"]) == ("cpp", "float64", 0)]
    columns = ["<system", "<backend", "<dtype", "<sum", "time", "time ratio", "Gpairs/s", "error", "memory", "of floor"]
    rows = []
    for r in records:
        seconds = r["median_s"] or float("nan")
        rows.append(
            [
                r["system"],
                r["backend"],
                r["dtype"],
                _method(r),
                report.seconds(r["median_s"]),
                f"{seconds / direct[0]:.3g}" if direct and direct[0] else None,
                f"{r['pairs'] / seconds / 1e9:.3g}",
                report.error(r["max_abs_err"]),
                None if r["peak_bytes"] is None else f"{r['peak_bytes'] / 1e6:.3g} MB",
                f"{r['floor_s'] / seconds:.0%}" if r["floor_s"] else None,
            ]
        )
    if records[0]["kind"] == "gradient":
        columns.insert(6, "over value")
        for row, r in zip(rows, records, strict=True):
            row.insert(6, f"{r['median_s'] / r['value_s']:.2f}")
    title = case
    if records[0].get("reference_err") is not None:
        title += f" (reference: {report.error(records[0]['reference_err'])} arcsec)"
    return f"{title}\n{report.table(columns, rows)}"


def _method(record):
    if record["system"] != "lenskern" or record["backend"] == "reference":
        return "table" if record["system"] == "paltax" else "direct"
    if record["tol"] == 0:
        return "direct"
    return "far, default" if record["tol"] is None else f"far, {record['tol']:.0e}"

"""``python -m lenskern.bench simulate``: noisy images of lenses with a thousand haloes, beside other simulators."""

from functools import partial

import jax
import numpy as np

from lenskern.bench import report, simulate_peers, simulate_systems, timing
from lenskern.bench.nnls import choices
from lenskern.bench.simulate_systems import Case

# Whose versions are in the records, besides those of all benchmarks.
PACKAGES = ("jaxtronomy", "paltax")


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write the records here")
    parser.add_argument("--batches", default="1,16", help="of 1,16,256,1024, separated by commas; from 256 on long")
    parser.add_argument("--over-sampling", default="1,4", help="of 1,4, separated by commas")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each system, at least 5")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds after which a system is not run again")
    parser.add_argument("--quick", action="store_true", help="small sizes, in seconds")
    parser.add_argument("--no-peers", action="store_true", help="measure lenskern alone")


def run(arguments):
    """Measure and print; returns the exit code."""
    batches = map(int, choices("--batches", arguments.batches, ("1", "16", "256", "1024")))
    factors = [int(n) for n in choices("--over-sampling", arguments.over_sampling, ("1", "4"))]
    size = {"side": 16, "haloes": 6} if arguments.quick else {}
    cases = [Case(over_sampling, batch, **size) for batch in batches for over_sampling in factors]
    keep = partial(report.write, arguments.json)  # after every case: a peer may yet take all memory
    with jax.enable_x64(True):
        rest = 0.01 if arguments.quick else 0.3
        records = measure(cases, arguments.runs, not arguments.no_peers, rest, arguments.limit, keep)
    print(text(records))
    return 0


def measure(cases, runs=5, with_peers=True, rest=0.3, limit=20.0, keep=lambda records: None):
    """Measure every case.

    Parameters
    ----------
    cases : sequence of Case
    runs : int
        At least 5.
    with_peers : bool
    rest, limit : float
        See `timing.alternate`.
    keep : callable
        Called with all records so far after each case.

    Returns
    -------
    list of dict
        See `report.record`; with ``images_per_s``.
    """
    known = simulate_systems.own() + (simulate_peers.peers() if with_peers else [])
    loaded = {system: system.load() for system in known}
    records = [
        report.absent("simulate", f"{system.name} ({system.backend})", system.install)
        for system, setup in loaded.items()
        if setup is None
    ]
    loaded = {system: setup for system, setup in loaded.items() if setup is not None}
    for case in cases:
        fitting = {system: setup for system, setup in loaded.items() if case.rays <= system.most_rays}
        with report.progress(timing.steps(fitting, runs), "simulate") as tick:
            records += measure_case(case, fitting, runs, rest, limit, partial(tick, case.name))
        records += [
            _record(case, system, left_out="does not fit in 24 GB") for system in loaded if system not in fitting
        ]
        keep(records)
    return records


def measure_case(case, systems, runs, rest=0.3, limit=20.0, tick=lambda: None):
    """Time the systems in turns on one batch of noisy images, and compare what they show.

    Parameters
    ----------
    case : Case
    systems : dict of System to callable
        See `simulate_systems.System.load`.
    runs : int
        At least 5.
    rest, limit, tick
        See `timing.alternate`.

    Returns
    -------
    list of dict
        A record for each system. ``max_abs_err`` is that of the first image without PSF and noise, over its largest
        value, against lenskern's direct sum in float64.
    """
    calls = {system: setup(case) for system, setup in systems.items()}
    times = timing.alternate({system: c.images for system, c in calls.items()}, runs, 1, rest, tick, limit)
    means = {system: np.asarray(c.mean(), np.float64) for system, c in calls.items()}
    (direct,) = [mean for system, mean in means.items() if system.tol == 0]
    return [
        _record(
            case,
            system,
            median_s=found.median,
            min_s=found.minimum,
            runs=len(found.seconds),
            images_per_s=case.batch / found.median,
            max_abs_err=float(np.abs(means[system] - direct).max() / direct.max()),
        )
        for system, found in times.items()
    ]


def _record(case, system, **fields):
    return report.record(
        benchmark="simulate",
        case=case.name,
        system=system.name,
        backend=system.backend,
        dtype=system.dtype,
        tol=system.tol,
        batch=case.batch,
        over_sampling=case.over_sampling,
        versions=report.versions(PACKAGES),
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
            "per image: time of a batch over its images; slower: over lenskern by default, in float64; error: largest\n"
            "of the first image without PSF and noise, over its brightest pixel, against lenskern's direct sum in\n"
            "float64; over-sampling of autolens and JAXtronomy is by finer rays whose brightness is averaged."
        )
    parts += [f"{r['system']} is not installed: {r['install']}" for r in records if r.get("absent")]
    return "\n\n".join(parts)


def _table(case, records):
    default = [r["median_s"] for r in records if r["system"] == "lenskern" and r["dtype"] == "float64" and r["tol"]]
    rows = []
    for r in records:
        label = "" if r["tol"] is None else "direct" if r["tol"] == 0 else f"tol {r['tol']:.0e}"
        start = [r["system"], r["backend"], r["dtype"], label]
        if r.get("left_out"):
            rows.append([*start, r["left_out"], None, None, None])
            continue
        each = r["median_s"] / r["batch"]
        slower = f"{r['median_s'] / default[0]:.3g}" if default else None
        rows.append([*start, report.seconds(each), f"{1 / each:.3g}", slower, report.error(r["max_abs_err"])])
    columns = ["<system", "<backend", "<dtype", "<sum", "per image", "images/s", "slower", "error"]
    return f"{case}\n{report.table(columns, rows)}"

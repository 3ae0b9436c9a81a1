"""``python -m lenskern.bench survey``: all methods, tolerances and iteration caps on the same lens inversions."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lenskern import nnls
from lenskern.bench import oracle, problems, report, timing
from lenskern.bench.nnls import choices, systems_of, used_backend
from lenskern.bench.peers import peers

GOOD_FOR = {
    "crossover": "the default: exact, certified, and the fewest factorisations",
    "pdip": "an answer to a tolerance where the active set does not matter, as for a log evidence",
    "admm": "one factorisation for many iterations: several right-hand sides, or a few digits fast",
    "fista": "no factorisation at all: matrices that cannot be factored, well-conditioned ones, or a rough start",
    "bpp": "small or well-conditioned systems, and starts whose active set is nearly right; it can cycle for long on "
    "collinear columns",
}


def settings():
    """What is tried.

    Returns
    -------
    list of tuple
        (method, backend, tol, max_iter); backend None is the default one.
    """
    tried = [("crossover", None, 1e-12, cap) for cap in (4, 8, 50)]
    tried += [("crossover", "reference", 1e-12, 50)]
    tried += [("pdip", "reference", tol, 100) for tol in (1e-4, 1e-6, 1e-8, 1e-10)]
    tried += [("admm", "reference", tol, cap) for tol, cap in ((1e-4, 200), (1e-4, 2000), (1e-6, 2000))]
    tried += [("fista", "reference", tol, cap) for tol, cap in ((1e-4, 1000), (1e-6, 1000), (1e-6, 10000))]
    tried += [("bpp", "reference", 1e-12, cap) for cap in (20, 100)]
    return tried


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write the records here")
    parser.add_argument("--markdown", metavar="FILE", help="write the table here, as for the documentation")
    parser.add_argument("--cases", default="mge,rect,delaunay", help="kinds of systems, separated by commas")
    parser.add_argument("--count", type=int, default=2, help="generated systems of each kind")
    parser.add_argument("--problems", metavar="DIR", help="stored systems in place of generated ones")
    parser.add_argument("--no-peers", action="store_true", help="leave out jaxnnls")


def run(arguments):
    """Measure, print and write; returns the exit code."""
    kinds = choices("--cases", arguments.cases, problems.KINDS)
    with jax.enable_x64(True):
        systems = [s for kind in kinds for s in systems_of(kind, arguments.count, arguments.problems)]
        records = measure(systems, settings(), not arguments.no_peers)
    print(text(records))
    report.write(arguments.json, records)
    if arguments.markdown:
        Path(arguments.markdown).write_text(text(records, markdown=True) + "\n")
    return 0


def measure(systems, tried, with_peers=True, runs=3):
    """Solve every system with every setting.

    Parameters
    ----------
    systems : sequence of System
        With x.
    tried : sequence of tuple
        See `settings`.
    with_peers : bool
    runs : int
        The shortest of so many is kept.

    Returns
    -------
    list of dict
        One record for each system and setting; see `report.record`.
    """
    common = {"device": report.device(), "versions": report.versions()}
    solvers = [
        (method, backend, tol, cap, partial(nnls.solution, method=method, backend=backend, tol=tol, max_iter=cap))
        for method, backend, tol, cap in tried
    ]
    peer = peers()[0].load() if with_peers else None
    if peer:
        solvers.append(("jaxnnls", "jax", None, 50, peer))
    records = []
    with report.progress(len(systems) * len(solvers), "survey") as tick:
        for method, backend, tol, cap, solve in solvers:
            programs = {}
            for system in systems:
                Q, q = jnp.asarray(system.Q), jnp.asarray(system.q)
                if q.shape not in programs:
                    lowered = jax.jit(solve).lower(Q, q)
                    backend = backend or used_backend(lowered.as_text())
                    programs[q.shape] = lowered.compile()
                result, shortest = timing.shortest(partial(programs[q.shape], Q, q), runs)
                if method == "jaxnnls":
                    x, converged, iterations = result
                    outcome = {"certified": False, "status": "CONVERGED" if converged else "MAX_ITER", "passes": None}
                else:
                    x, iterations = result.x, result.iterations
                    outcome = {
                        "certified": bool(result.certified),
                        "status": nnls.Status(int(result.status)).name,
                        "passes": int(result.passes),
                    }
                x = np.asarray(x)
                error = float(np.abs(x - system.x).max())
                records.append(
                    report.record(
                        benchmark="survey",
                        case=system.kind,
                        system="jaxnnls" if method == "jaxnnls" else "lenskern",
                        backend=backend,
                        dtype=str(Q.dtype),
                        batch=1,
                        min_s=shortest,
                        runs=runs,
                        max_abs_err=error,
                        max_rel_err=error / float(np.abs(system.x).max()),
                        objective_err=objective_error(system, x),
                        kkt_residual=oracle.kkt_residual(system.Q, system.q, x),
                        name=system.name,
                        K=len(system.q),
                        method=method,
                        tol=tol,
                        max_iter=cap,
                        iterations=int(iterations),
                        **outcome,
                        **common,
                    )
                )
                tick(f"{method}, {system.name}")
    return records


def objective_error(system, x):
    """(f(x) - f(x*)) / |f(x*)| without cancellation: z*'x + (x - x*)'Q(x - x*) / 2 for the numerator."""
    z = np.where(system.x > 0, 0, np.maximum(system.Q @ system.x - system.q, 0))
    step = x - system.x
    return float((z @ x + 0.5 * step @ system.Q @ step) / abs(0.5 * system.q @ system.x))


def _worst(group, field):
    """The largest of a field, infinite where it is not finite in one of the records."""
    values = [r[field] for r in group]
    bad = any(value is None or not np.isfinite(value) for value in values)
    return report.error(None if bad else max(map(abs, values)))


def text(records, markdown=False):
    """One table for each kind, and what each method is good for."""
    parts = []
    columns = (
        "<method",
        "<backend",
        "tolerance",
        "cap",
        "iterations (max)",
        "time",
        "objective error",
        "error of x",
        "KKT residual",
        "certified to tolerance",
    )
    for kind in dict.fromkeys(r["case"] for r in records):
        of_kind = [r for r in records if r["case"] == kind]
        rows = []
        for key in dict.fromkeys((r["method"], r["backend"], r["tol"], r["max_iter"]) for r in of_kind):
            group = [r for r in of_kind if (r["method"], r["backend"], r["tol"], r["max_iter"]) == key]
            method, backend, tol, cap = key
            counts = [r["iterations"] for r in group]
            rows.append(
                (
                    method,
                    backend,
                    f"{tol:.0e}" if tol else "its own",
                    cap,
                    f"{np.median(counts):g} ({max(counts)})",
                    report.seconds(np.median([r["min_s"] for r in group])),
                    _worst(group, "objective_err"),
                    _worst(group, "max_rel_err"),
                    _worst(group, "kkt_residual"),
                    "none given" if method == "jaxnnls" else f"{sum(r['certified'] for r in group)}/{len(group)}",
                )
            )
        names = list(dict.fromkeys(r["name"] for r in of_kind))
        sizes = "/".join(map(str, dict.fromkeys(r["K"] for r in of_kind)))
        title = f"{kind}: K = {sizes}, {len(names)} systems ({', '.join(names)})"
        parts.append((f"### {title}\n\n" if markdown else f"{title}\n") + report.table(columns, rows, markdown))
    parts.append(
        "Iterations: median (largest); time: median over the systems, one at a time; errors: the largest; objective\n"
        "error relative to the optimum, error of x relative to max |x|."
    )
    methods = dict.fromkeys(r["method"] for r in records)
    parts.append("\n".join(f"- `{name}`: {what}." for name, what in GOOD_FOR.items() if name in methods))
    return "\n\n".join(parts)

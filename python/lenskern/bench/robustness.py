"""``python -m lenskern.bench robustness``: many generated lens inversions; every one certified, or honestly not.

A solution that is called certified and is further from the exact one than 1e-6 of max |x| is a failure of the solver:
the command then exits with 1.
"""

import jax
import jax.numpy as jnp
import numpy as np

from lenskern import nnls
from lenskern.bench import oracle, problems, report
from lenskern.bench.nnls import choices, ours
from lenskern.bench.peers import peers

WRONG = 1e-6  # of max |x|: an error no certificate may hide
SHARES = {"mge": 2, "rect": 1, "delaunay": 1}


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write the records here, one for each system")
    parser.add_argument("--cases", default="mge,rect,delaunay", help="kinds of systems, separated by commas")
    parser.add_argument("--count", type=int, default=240, help="systems, half of them mge")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="seed of the first one")
    parser.add_argument("--backend", default="auto", help="lenskern backend; auto is the default one")
    parser.add_argument("--no-peers", action="store_true", help="leave out jaxnnls")


def run(arguments):
    """Solve, print and return the exit code."""
    kinds = choices("--cases", arguments.cases, problems.KINDS)
    backend = None if arguments.backend == "auto" else arguments.backend
    with jax.enable_x64(True):
        records = measure(kinds, arguments.count, arguments.first, backend, not arguments.no_peers)
    print(text(records))
    report.write(arguments.json, records)
    return int(any(dishonest(r) for r in records))


def sequence(kinds, count, first=0):
    """(kind, seed) of so many systems, mixed in the proportions of ``SHARES``."""
    cycle = [kind for kind in kinds for _ in range(SHARES[kind])]
    seen = dict.fromkeys(kinds, first)
    for i in range(count):
        kind = cycle[i % len(cycle)]
        yield kind, seen[kind]
        seen[kind] += 1


def measure(kinds, count, first=0, backend=None, with_peers=True, **sizes):
    """Solve generated systems one by one.

    Parameters
    ----------
    kinds : sequence of str
    count, first : int
        Systems, and the seed of the first of each kind.
    backend : str or None
    with_peers : bool
    sizes
        Further arguments of `problems.inversion`, to make smaller systems.

    Returns
    -------
    list of dict
        One record a system; `report.record` with ``name``, ``status``, ``certified``, ``iterations``, ``passes``,
        ``residual``, ``max_rel_err``, ``proof`` (violation of the optimality conditions by the exact solution), and
        ``jaxnnls_iterations``, ``jaxnnls_converged``, ``jaxnnls_rel_err``.
    """
    mine = jax.jit(ours(backend))
    peer = peers()[0].load() if with_peers else None
    theirs = jax.jit(peer) if peer else None
    common = {"device": report.device(), "versions": report.versions()}
    records = []
    with report.progress(count, "robustness") as tick:
        for kind, seed in sequence(kinds, count, first):
            system = problems.inversion(kind, seed, **sizes)
            exact = oracle.exact(system.Q, system.q)
            size = np.abs(exact.x).max()
            Q, q = jnp.asarray(system.Q), jnp.asarray(system.q)
            solution = mine(Q, q)
            error = float(np.abs(np.asarray(solution.x) - exact.x).max())
            found = {}
            if theirs:
                x, converged, iterations = theirs(Q, q)
                found = {
                    "jaxnnls_iterations": int(iterations),
                    "jaxnnls_converged": bool(converged),
                    "jaxnnls_rel_err": float(np.abs(np.asarray(x) - exact.x).max() / size),
                }
            records.append(
                report.record(
                    benchmark="robustness",
                    case=kind,
                    system="lenskern",
                    backend=backend or "auto",
                    dtype=str(Q.dtype),
                    batch=1,
                    max_abs_err=error,
                    name=system.name,
                    K=len(system.q),
                    support=int(np.count_nonzero(exact.x)),
                    status=nnls.Status(int(solution.status)).name,
                    certified=bool(solution.certified),
                    iterations=int(solution.iterations),
                    passes=int(solution.passes),
                    residual=float(solution.residual),
                    max_rel_err=error / size,
                    proof=exact.violation,
                    **found,
                    **common,
                )
            )
            good = sum(r["certified"] for r in records)
            tick(f"{good}/{len(records)} certified")
    return records


def dishonest(record):
    """Whether a solution is called certified and is wrong."""
    return record["certified"] and not _number(record["max_rel_err"]) <= WRONG


def _number(value):
    """NaN, infinity, and null in a file, as infinity."""
    return np.inf if value is None or np.isnan(value) else value


def text(records):
    """Counts for each kind, and every system that was not certified or is wrong."""
    rows = []
    kinds = list(dict.fromkeys(r["case"] for r in records))
    for kind in [*kinds, "all"]:
        of_kind = [r for r in records if kind in (r["case"], "all")]
        certified = [r for r in of_kind if r["certified"]]
        peer = [r for r in of_kind if "jaxnnls_iterations" in r]
        rows.append(
            (
                kind,
                len(of_kind),
                len(certified),
                sum(map(dishonest, of_kind)),
                spread([r["iterations"] for r in of_kind]),
                spread([r["passes"] for r in of_kind]),
                report.error(max(_number(r["max_rel_err"]) for r in certified)) if certified else None,
                spread([r["jaxnnls_iterations"] for r in peer]),
                sum(not r["jaxnnls_converged"] for r in peer) if peer else None,
                report.error(np.median([_number(r["jaxnnls_rel_err"]) for r in peer])) if peer else None,
            )
        )
    columns = (
        "<case",
        "systems",
        "certified",
        "and wrong",
        "iterations",
        "passes",
        "largest error",
        "jaxnnls: iterations",
        "at its cap",
        "median error",
    )
    lines = [report.table(columns, rows)]
    lines.append("iterations, passes: 5% - median - 95% (largest); errors: of max|x|, against exact solutions.")
    for r in records:
        if dishonest(r) or not r["certified"]:
            what = "CERTIFIED AND WRONG" if dishonest(r) else r["status"]
            lines.append(
                f"{r['name']}: {what}, residual {report.error(r['residual'])}, error {report.error(r['max_rel_err'])}"
            )
    return "\n".join(lines)


def spread(values):
    """5th percentile, median, 95th percentile and largest of some counts."""
    if not values:
        return None
    low, middle, high = np.percentile(values, (5, 50, 95))
    return f"{low:.0f} - {middle:.0f} - {high:.0f} ({max(values)})"

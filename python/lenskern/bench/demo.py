"""``python -m lenskern.bench.demo``: a batch of lens inversions beside jaxnnls, a short table and a picture."""

import argparse
import sys
from functools import partial

import jax

from lenskern.bench import oracle, problems, report, timing
from lenskern.bench.nnls import measure_batch, ours
from lenskern.bench.peers import peers

# Seed of the first inversion of each batch: an observation worth a picture.
SHOWN = {"rect": 2, "delaunay": 17, "mge": 1}
TITLES = {"rect": "rectangular mesh", "delaunay": "Delaunay mesh", "mge": "multi-Gaussian source"}


def main(argv=None):
    """Run the demonstration; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lenskern.bench.demo", description=__doc__.partition(": ")[2])
    parser.add_argument("--out", default="demo.png", metavar="PNG", help="picture to write (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the records here")
    parser.add_argument("--large", type=int, default=4, metavar="N", help="rectangular and Delaunay inversions, each")
    parser.add_argument("--small", type=int, default=256, metavar="N", help="multi-Gaussian inversions")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each solver, at least 5")
    arguments = parser.parse_args(argv)
    try:
        from lenskern.bench import figure
    except ModuleNotFoundError as error:
        print(f"the picture needs {error.name}: pip install 'lenskern[demo]'", file=sys.stderr)
        return 1
    counts = {"rect": arguments.large, "delaunay": arguments.large, "mge": arguments.small}
    with jax.enable_x64(True):
        records, shown = run(counts, arguments.runs)
    print(text(records))
    figure.draw(shown, arguments.out)
    print(f"\nimages, residuals and reconstructed sources: {arguments.out}")
    report.write(arguments.json, records)
    return 0


def run(counts, runs=5, **sizes):
    """Generate, solve and time the batches.

    Parameters
    ----------
    counts : dict of str to int
        Inversions of each kind.
    runs : int
        At least 5.
    sizes
        Further arguments of `problems.inversion`, to make smaller systems.

    Returns
    -------
    tuple
        The records, and a list with the first inversion of each kind and lenskern's solution of it.
    """
    solvers = {("lenskern", "auto"): ours(None)}
    jaxnnls = peers()[0]
    solve = jaxnnls.load()
    if solve is not None:
        solvers["jaxnnls", "jax"] = solve
    rates = timing.measure_rates()
    records = [] if solve else [report.absent("demo", jaxnnls.name, jaxnnls.install)]
    shown = []
    total = sum(counts.values()) + len(counts) * timing.steps(solvers, runs)
    with report.progress(total, "demo") as tick:
        for kind, count in counts.items():
            first, systems = _batch(kind, count, partial(tick, f"generating {kind}"), sizes)
            measured, solutions = measure_batch(kind, systems, solvers, runs, rates, partial(tick, f"solving {kind}"))
            records += [r | {"benchmark": "demo"} for r in measured]
            shown.append((first, solutions["lenskern", "auto"][0]))
    return records, shown


def _batch(kind, count, tick, sizes):
    """Models as a sampler proposes them, after the true one, which is for the picture."""
    first, sky, systems = None, None, []
    for i in range(count):
        seed = SHOWN[kind] + (i // 64 if kind == "mge" else i)
        if kind != "mge" or i % 64 == 0:
            sky = problems.observe(seed, sizes.get("grid"))
        inversion = problems.inversion(kind, seed, i, sky=sky, style=None if i else "truth", **sizes)
        first = first or inversion
        exact = oracle.exact(inversion.Q, inversion.q)
        systems.append(problems.System(inversion.name, kind, inversion.Q, inversion.q, exact.x))
        tick()
    return first, systems


def text(records):
    """A line for each batch and solver."""
    measured = [r for r in records if not r.get("absent")]
    rows = []
    for r in measured:
        mine = next(m for m in measured if m["system"] == "lenskern" and m["case"] == r["case"])
        claim = "certified" if r is mine else "converged"
        rows.append(
            (
                TITLES[r["case"]] if r is mine else "",
                r["K"] if r is mine else "",
                r["batch"] if r is mine else "",
                f"lenskern ({r['backend']})" if r is mine else r["system"],
                report.seconds(r["median_s"] / r["batch"]),
                f"{r['median_s'] / mine['median_s']:.1f}x",
                report.error(r["median_kkt_residual"]),
                report.error(r["median_rel_err"]),
                f"{r['solved']} of {r['batch']} {claim}",
            )
        )
    columns = (
        "<source",
        "K",
        "lanes",
        "<solver",
        "time/lane",
        "ratio",
        "KKT residual",
        "error",
        "<answers",
    )
    lines = [report.table(columns, rows), "KKT residual and error (of max|x|, against the exact solution): medians"]
    lines += [f"{r['system']} is not installed: {r['install']}" for r in records if r.get("absent")]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""``python -m lenskern.bench nnls``: time and error of a batch of lens inversions, beside other solvers."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lenskern import nnls
from lenskern._ffi import load_cpp
from lenskern.bench import oracle, problems, report, timing
from lenskern.bench.peers import peers

# Batches that samplers and optimisers send: few large systems, many small ones.
BATCHES = {"rect": (1, 4), "delaunay": (1, 4), "mge": (1, 1024)}
DRAWS = 128


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write the records here")
    parser.add_argument("--cases", default="rect,delaunay,mge", help="kinds of systems, separated by commas")
    parser.add_argument("--batch", metavar="N,...", help="batch sizes of every case; by default those of production")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each system, at least 5")
    parser.add_argument("--problems", metavar="DIR", help="stored systems in place of generated ones")
    parser.add_argument(
        "--backend", default="auto", help="lenskern backends, separated by commas; auto is the default one"
    )
    parser.add_argument("--no-peers", action="store_true", help="measure lenskern alone")


def run(arguments):
    """Measure and print; returns the exit code."""
    kinds = choices("--cases", arguments.cases, problems.KINDS)
    backends = arguments.backend.split(",")
    wanted = {kind: BATCHES[kind] for kind in kinds}
    if arguments.batch:
        wanted = dict.fromkeys(kinds, tuple(int(n) for n in arguments.batch.split(",")))
    with jax.enable_x64(True):
        records = measure(wanted, backends, arguments.runs, arguments.problems, with_peers=not arguments.no_peers)
    print(text(records))
    report.write(arguments.json, records)
    return 0


def choices(option, given, expected):
    """Split a comma-separated option and check its parts."""
    parts = [part.strip() for part in given.split(",")]
    for part in parts:
        if part not in expected:
            raise SystemExit(f"{option}: got {part!r}, expected one of {', '.join(expected)}")
    return parts


def systems_of(kind, count, directory=None, tick=lambda note=None: None):
    """So many systems of a kind with their exact solutions: generated, or stored ones in rotation.

    Small systems are models of a few observations each, as a sampler draws them; large ones each have their own.
    """
    stored = problems.load(directory, (kind,)) if directory else []
    if directory and not stored:
        raise SystemExit(f"--problems: no {kind}_*.npz in {directory}")
    if stored:
        stored = [solved(system) for system in stored[:count]]
        for _ in range(count):
            tick(f"{kind} from files")
        return [stored[i % len(stored)] for i in range(count)]
    systems, sky = [], None
    for i in range(count):
        seed, draw = divmod(i, DRAWS) if kind == "mge" else (i, 0)
        if draw == 0:
            sky = problems.observe(seed)
        systems.append(solved(problems.inversion(kind, seed, draw, sky=sky)))
        tick(f"generating {kind}")
    return systems


def solved(system):
    """The bare system with the oracle's solution; a stored one is solved again, so that all errors mean the same."""
    return problems.System(system.name, system.kind, system.Q, system.q, oracle.exact(system.Q, system.q).x)


def measure(batches, backends=("auto",), runs=5, directory=None, with_peers=True):
    """Measure every case.

    Parameters
    ----------
    batches : dict of str to sequence of int
        Batch sizes of each kind.
    backends : sequence of str
        lenskern backends; "auto" is the default one.
    runs : int
        At least 5.
    directory : str, optional
        Stored systems, see `problems.load`.
    with_peers : bool

    Returns
    -------
    list of dict
        See `report.record`.
    """
    found = {peer.name: peer.load() for peer in peers()} if with_peers else {}
    records = [report.absent("nnls", peer.name, peer.install) for peer in peers() if found.get(peer.name, 0) is None]
    solvers = {("lenskern", name): ours(None if name == "auto" else name) for name in backends}
    solvers |= {(name, "jax"): solve for name, solve in found.items() if solve is not None}
    rates = timing.measure_rates()
    ticks = sum(max(sizes) + len(sizes) * timing.steps(solvers, runs) for sizes in batches.values())
    with report.progress(ticks, "nnls") as tick:
        for kind, sizes in batches.items():
            systems = systems_of(kind, max(sizes), directory, tick)
            for size in sizes:
                case = f"{kind}, stored" if directory else kind
                records += measure_batch(case, systems[:size], solvers, runs, rates, partial(tick, f"{case} x {size}"))[
                    0
                ]
    return records


def ours(backend):
    """lenskern as a function (Q, q) -> Solution."""

    def solve(Q, q):
        return nnls.solution(Q, q, backend=backend)

    return solve


def measure_batch(case, systems, solvers, runs, rates, tick):
    """Time all solvers in turns on one batch, and check what they return.

    Parameters
    ----------
    case : str
        Name in the records.
    systems : sequence of System
        With x, all of one size.
    solvers : dict of (str, str) to callable
        (system, backend) to a solver of one problem, see `ours` and `peers.Peer`.
    runs : int
        At least 5.
    rates : timing.Rates
    tick : callable

    Returns
    -------
    tuple
        The records, and a dict of each solver's solutions, shape (batch, K).
    """
    Q = jnp.asarray(np.stack([system.Q for system in systems]))
    q = jnp.asarray(np.stack([system.q for system in systems]))
    compiled, backend = {}, {}
    for key, solve in solvers.items():
        lowered = jax.jit(jax.vmap(solve)).lower(Q, q)
        backend[key] = used_backend(lowered.as_text()) if key[1] == "auto" else key[1]
        compiled[key] = lowered.compile()
    calls = {key: (lambda solve=solve: solve(Q, q)) for key, solve in compiled.items()}
    times = timing.alternate(calls, runs, tick=tick)
    records, solutions = [], {}
    for key, solve in compiled.items():
        result = solve(Q, q)
        solutions[key] = np.asarray(result[0] if isinstance(result, tuple) else result.x)
        outcome = outcome_of(result, systems)
        if key[0] == "lenskern":
            outcome |= _floor(systems, outcome.pop("lanes"), backend[key], rates)
        records.append(
            report.record(
                benchmark="nnls",
                case=case,
                system=key[0],
                backend=backend[key],
                dtype=str(Q.dtype),
                batch=len(systems),
                K=Q.shape[-1],
                median_s=times[key].median,
                min_s=times[key].minimum,
                runs=runs,
                peak_bytes=peak_bytes(solve),
                sgemm_flops=rates.single,
                dgemm_flops=rates.double,
                **outcome,
            )
        )
    return records, solutions


def _floor(systems, lanes, backend, rates):
    """Operations of a batch and the least time they take.

    The compiled kernels count what they do; they skip zeros, so that it is less than `timing.dense_flops`.
    """
    if backend == "cpp":
        counted = [load_cpp().nnls_flops(s.Q, s.q) for s in systems]
        flops = [timing.Flops(c["single_flops"], c["double_flops"]) for c in counted]
    else:
        flops = [
            timing.dense_flops(len(s.q), np.count_nonzero(s.x), *lane) for s, lane in zip(systems, lanes, strict=True)
        ]
    total = timing.Flops(sum(f.single for f in flops), sum(f.double for f in flops))
    return {"single_flops": total.single, "double_flops": total.double, "floor_s": total.seconds(rates)}


def used_backend(lowered):
    """Which lenskern backend a lowered program calls."""
    for mark, name in (("lenskern_nnls_solve_cuda", "cuda"), ("lenskern_nnls_solve", "cpp"), ("triton", "pallas")):
        if mark in lowered:
            return name
    return "reference"


def peak_bytes(compiled):
    """Arguments, results and temporaries of a compiled program; without what a foreign kernel allocates itself."""
    memory = compiled.memory_analysis()
    if memory is None:
        return None
    return memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes


def outcome_of(result, systems):
    """Errors and counts of one result, lane by lane against the exact solutions.

    Parameters
    ----------
    result : Solution or tuple
        Of lenskern, or (x, solved, iterations) of a peer, batched.
    systems : sequence of System
        With x.

    Returns
    -------
    dict
        Largest errors: max_abs_err, max_rel_err (of max |x| of the lane), kkt_residual; their medians over the lanes:
        median_rel_err, median_kkt_residual; solved (lanes that the solver calls solved), iterations (median),
        iterations_max; of lenskern also passes (median) and lanes, the (iterations, passes) of each.
    """
    counts = {}
    if isinstance(result, nnls.Solution):
        x, done, iterations = result.x, result.certified, result.iterations
        lanes = np.stack([result.iterations, result.passes], -1).tolist()
        counts = {"passes": float(np.median(result.passes)), "lanes": lanes}
    else:
        x, done, iterations = result
    solutions = list(zip(systems, np.asarray(x), strict=True))
    errors = _nan_to_inf([np.abs(y - s.x).max() for s, y in solutions])
    relative = errors / np.array([np.abs(s.x).max() for s in systems])
    residuals = _nan_to_inf([oracle.kkt_residual(s.Q, s.q, y) for s, y in solutions])
    return counts | {
        "max_abs_err": float(errors.max()),
        "max_rel_err": float(relative.max()),
        "median_rel_err": float(np.median(relative)),
        "kkt_residual": float(residuals.max()),
        "median_kkt_residual": float(np.median(residuals)),
        "solved": int(np.sum(done)),
        "iterations": float(np.median(iterations)),
        "iterations_max": int(np.max(iterations)),
    }


def _nan_to_inf(values):
    """NaN, from a solver that gave up, is as wrong as can be."""
    values = np.asarray(values)
    return np.where(np.isnan(values), np.inf, values)


def text(records):
    """The table for the terminal."""
    measured = [r for r in records if not r.get("absent")]
    rows = []
    for r in measured:
        mine = [m for m in measured if m["system"] == "lenskern" and (m["case"], m["batch"]) == (r["case"], r["batch"])]
        ratio = r["median_s"] / min(m["median_s"] for m in mine) if mine else math.nan
        rows.append(
            (
                r["case"],
                r["K"],
                r["batch"],
                r["system"],
                r["backend"],
                report.seconds(r["median_s"] / r["batch"]),
                f"{ratio:.2f}",
                report.error(r["median_rel_err"]),
                report.error(r["max_rel_err"]),
                report.error(r["kkt_residual"]),
                f"{r['solved']}/{r['batch']}",
                f"{r['iterations']:g} ({r['iterations_max']})",
                f"{r['floor_s'] / r['median_s']:.0%}" if r["floor_s"] else None,
            )
        )
    columns = (
        "<case",
        "K",
        "batch",
        "<system",
        "<backend",
        "time/lane",
        "time ratio",
        "median error",
        "largest",
        "KKT residual",
        "solved",
        "iterations (max)",
        "of floor",
    )
    lines = [report.table(columns, rows)] if rows else []
    if rows:
        rates = measured[0]
        lines.append(
            "time ratio: over the fastest lenskern; error: of max|x|, against exact solutions; solved: certified by "
            "lenskern,\nclaimed by the others; of floor: least time of the operations at the rates measured here, "
            f"{rates['sgemm_flops'] / 1e9:.0f} (single) and {rates['dgemm_flops'] / 1e9:.0f} (double) GFLOP/s,\n"
            "over the time taken."
        )
    lines += [f"{r['system']} is not installed: {r['install']}" for r in records if r.get("absent")]
    return "\n".join(lines)

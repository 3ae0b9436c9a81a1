"""``python -m lenskern.bench cholesky``: the CPU kernels' dense Cholesky factorisation beside LAPACK's."""

import time
from contextlib import nullcontext

import numpy as np

from lenskern import backends
from lenskern.bench import report, timing


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write the records here")
    parser.add_argument("--sizes", default="256,640,1149,1261,2048", help="orders, separated by commas")
    parser.add_argument("--runs", type=int, default=9, help="measured runs of each, at least 5")


def run(arguments):
    """Measure, print and write; returns the exit code."""
    available = backends.availability("cpp")
    if not available.available:
        print(f"the cpp backend is not available: {available.reason}")
        return 1
    records = measure([int(size) for size in arguments.sizes.split(",")], arguments.runs)
    print(text(records))
    report.write(arguments.json, records)
    return 0


def text(records):
    """The table for the terminal."""
    columns = ("K", "<dtype", "threads", "<system", "time", "GFLOP/s")
    rows = [
        (r["K"], r["dtype"], r["threads"], r["system"], report.seconds(r["median_s"]), f"{r['gflops']:.3g}")
        for r in records
    ]
    return report.table(columns, rows)


def measure(sizes, runs=9):
    """Time our factorisation in turns with SciPy's potrf, on one thread and on all of them.

    Both find their matrix in the layout that they work in, and leave the factor there.

    Parameters
    ----------
    sizes : sequence of int
    runs : int

    Returns
    -------
    list of dict
        Records; ``gflops`` counts K^3 / 3 operations.
    """
    from scipy.linalg import lapack

    from lenskern._kernels import _cpp

    records = []
    cases = [(K, dtype, threads) for K in sizes for dtype in (np.float32, np.float64) for threads in _thread_counts()]
    with report.progress((runs + 1) * len(cases), "cholesky") as tick:
        for K, dtype, threads in cases:
            A = np.random.default_rng(K).standard_normal((K, K + 8))
            A = (A @ A.T / K + np.eye(K)).astype(dtype)
            potrf = lapack.spotrf if dtype is np.float32 else lapack.dpotrf
            times = {"lenskern": [], "scipy": []}
            with _blas_threads(threads):
                for _ in range(runs + 1):
                    work = np.asfortranarray(A)
                    time.sleep(0.1)  # idle threads of the call before may still spin
                    times["lenskern"].append(_cpp.cholesky(A, threads=threads)[1])
                    time.sleep(0.1)
                    start = time.perf_counter()
                    potrf(work, lower=1, clean=0, overwrite_a=1)
                    times["scipy"].append(time.perf_counter() - start)
                    tick()
            times = {name: timing.Timing(tuple(values[1:])) for name, values in times.items()}
            records += [
                report.record(
                    benchmark="cholesky",
                    case=f"K = {K}",
                    system=system,
                    backend="cpp" if system == "lenskern" else "lapack",
                    dtype=np.dtype(dtype).name,
                    batch=1,
                    median_s=taken.median,
                    min_s=taken.minimum,
                    runs=runs,
                    K=K,
                    threads=threads,
                    gflops=K**3 / 3 / taken.median / 1e9,
                )
                for system, taken in times.items()
            ]
    return records


def _thread_counts():
    cores = report.usable_cores()
    return [1, cores] if cores > 1 else [1]


def _blas_threads(threads):
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(threads)

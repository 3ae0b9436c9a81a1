"""``python -m lenskern.bench cholesky``: the CPU kernels' dense Cholesky factorisation beside LAPACK's and its gemm."""

from contextlib import nullcontext

import numpy as np

from lenskern import backends
from lenskern.bench import report, timing


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write the records here")
    parser.add_argument("--sizes", default="40,128,256,640,1149,1261,2048", help="orders, separated by commas")
    parser.add_argument("--runs", type=int, default=9, help="measured runs of each, at least 5")


def run(arguments):
    """Measure, print and write; returns the exit code."""
    available = backends.availability("cpp")
    if not available.available:
        print(f"the cpp backend is not available: {available.reason}")
        return 1
    records = measure([int(size) for size in arguments.sizes.split(",")], arguments.runs)
    print(text(records))
    if arguments.json:
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
    """Time our factorisation, packing and unpacking included, in turns with SciPy's potrf, on one thread and on all.

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
    with report.progress(2 * (runs + 1) * len(cases), "cholesky") as tick:
        for K, dtype, threads in cases:
            A = np.random.default_rng(K).standard_normal((K, K + 8))
            A = (A @ A.T / K + np.eye(K)).astype(dtype)
            potrf = lapack.spotrf if dtype is np.float32 else lapack.dpotrf
            calls = {
                "lenskern": lambda A=A, threads=threads: _cpp.cholesky(A, threads=threads),
                "scipy": lambda A=A, potrf=potrf: potrf(A.T, lower=1, overwrite_a=0),
            }
            with _blas_threads(threads):
                times = timing.alternate(calls, runs, rest=0.05, tick=tick)
            records += [
                report.record(
                    benchmark="cholesky",
                    case=f"K = {K}",
                    system=system,
                    backend="cpp" if system == "lenskern" else "lapack",
                    dtype=np.dtype(dtype).name,
                    batch=1,
                    median_s=time.median,
                    min_s=time.minimum,
                    runs=runs,
                    K=K,
                    threads=threads,
                    gflops=K**3 / 3 / time.median / 1e9,
                )
                for system, time in times.items()
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

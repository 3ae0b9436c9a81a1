"""``python -m lenskern.bench dataset``: fill a data set, kill it twice, go on, and verify all of it."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lenskern.bench import report
from lenskern.simulate import dataset

CONFIG = Path(__file__).with_name("dataset.yaml")


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--config", default=CONFIG, metavar="FILE", help="another config than that of the benchmark")
    parser.add_argument("--n", type=int, default=100_000, metavar="N", help="images (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=2, metavar="N", help="SIGKILLs (default: %(default)s)")
    parser.add_argument("--sample", type=int, default=2048, metavar="N", help="images to simulate again")
    parser.add_argument("--seed", type=int, help="of the moments of the kills; by default another each time")
    parser.add_argument("--out", metavar="SET", help="keep the set here; by default it is taken away again")
    parser.add_argument("--json", metavar="FILE", help="write the records here")


def run(arguments):
    """Fill, kill, verify and print; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(arguments.out or Path(folder) / "set.zarr")
        if out.exists():
            print(f"lenskern.bench dataset: {str(out)!r} is there already", file=sys.stderr)
            return 1
        found = measure(arguments.config, out, arguments.n, arguments.kills, arguments.sample, arguments.seed)
    print(text([found]))
    report.write(arguments.json, [found])
    return int(not found["passed"])


def measure(config, out, images, kills=2, sample=2048, seed=None):
    """Fill a set in processes of their own, all but the last of which are killed.

    Parameters
    ----------
    config, out : paths
    images : int
    kills : int
        At random: each when a random part of the chunks that were left is there, and up to 0.2 s later.
    sample : int
        Images to simulate again.
    seed : int, optional
        Of the kills.

    Returns
    -------
    dict
        A record. `passed` is true if the last process ended well, no chunk is missing, damaged, or was written twice,
        no two images have the same parameters, and those that were repeated are the same bit for bit.
    """
    chosen, runs, written = random.Random(seed), [], {}
    with report.progress(images, "dataset") as tick:
        for last in [False] * kills + [True]:
            runs.append(_run(config, out, images, None if last else chosen, written, tick))
    data = dataset.DataSet(out)
    found = dataset.verify(data, sample=sample)
    times = {path: path.stat().st_mtime_ns for path in _chunks(out)}
    rewritten = sum(times.get(path) != when for path, when in written.items())
    distinct = len(np.unique(data.theta[:], axis=0))
    status = data.status[:]
    seconds = sum(r["seconds"] for r in runs)
    files = [path for path in out.rglob("*") if path.is_file()]
    attributes = data.attributes
    steady = [r["images_per_s"] for r in runs if r["images_per_s"]]
    record = report.record(
        benchmark="dataset",
        case=f"{images} images of {data.image.shape[1]} by {data.image.shape[2]} pixels",
        system="lenskern",
        dtype=str(data.image.dtype),
        batch=attributes["settings"]["batch"],
        median_s=1 / float(np.median(steady)) if steady else None,
        runs=len(runs),
        seconds=seconds,
        images=images,
        images_per_s=float(np.median(steady)) if steady else None,
        chunk=data.chunk,
        chunks=data.chunks,
        processes=runs,
        exit_code=runs[-1]["exit_code"],
        missing=len(found.missing),
        damaged=len(found.damaged),
        rewritten=rewritten,
        distinct_thetas=distinct,
        repeated=found.repeated,
        different=len(found.different),
        not_finite=int((status == dataset.ImageStatus.NOT_FINITE).sum()),
        overflow=int((status == dataset.ImageStatus.OVERFLOW).sum()),
        bytes=sum(path.stat().st_size for path in files),
        bytes_in_memory=int(data.image.nbytes),
        left_over=len(list(out.rglob(".*.partial"))),
        config=attributes["config"],
        fingerprint=attributes["fingerprint"],
    )
    record["passed"] = (
        record["exit_code"] == 0
        and found.passed
        and not (record["missing"] or rewritten or record["left_over"])
        and distinct == images
    )
    return record


def _run(config, out, images, chosen, written, tick):
    """One process, killed at a moment that is chosen unless that is None; ``written`` gets the files of its chunks."""
    before = len(_chunks(out))
    start = time.perf_counter()
    command = [sys.executable, "-m", "lenskern", "simulate", str(config), "--n", str(images), "--out", str(out)]
    # Programs that were compiled are kept beside the set for the next process.
    kept = {"JAX_COMPILATION_CACHE_DIR": f"{out}.compiled", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
    process = subprocess.Popen(
        [*command, "--quiet"], env=os.environ | kept, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    target, delay, seen, first = None, 0.0, before, None
    while process.poll() is None:
        time.sleep(0.02)
        there = len(_chunks(out))
        if there > seen:
            first = first or (time.perf_counter(), there)
            data = dataset.DataSet(out)
            tick(f"{there} of {data.chunks} chunks", (min(there * data.chunk, images) - min(seen * data.chunk, images)))
            seen = there
            if target is None and chosen is not None:
                target = before + max(1, round(chosen.uniform(0.1, 0.6) * (data.chunks - before)))
                delay = 0.2 * chosen.random()
        if target is not None and there >= target:
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
            break
    errors = process.communicate()[1]
    end = time.perf_counter()
    if chosen is None and process.returncode:
        print(errors, file=sys.stderr)
    written.update({path: path.stat().st_mtime_ns for path in _chunks(out)})
    data = dataset.DataSet(out)
    there = data.chunks - len(data.missing())
    rate = None
    if first is not None and there > first[1]:
        rate = (min(there * data.chunk, images) - first[1] * data.chunk) / (end - first[0])
    return {
        "seconds": end - start,
        "seconds_to_first_chunk": first[0] - start if first else None,
        "exit_code": process.returncode,
        "chunks_before": before,
        "chunks_after": there,
        "partial_files": len(list(out.rglob(".*.partial"))),
        "images_per_s": rate,
    }


def _chunks(out):
    """The files of the chunks of images."""
    return list(out.glob("image/c/*/0/0"))


def text(records):
    """A sentence for each figure."""
    lines = []
    for r in records:
        lines.append(f"{r['case']}, {r['dtype']}, in {r['chunks']} chunks: {'passed' if r['passed'] else 'FAILED'}")
        rows = [
            (
                i + 1,
                f"{p['seconds']:.1f} s",
                report.seconds(p["seconds_to_first_chunk"]),
                p["chunks_before"],
                p["chunks_after"],
                "-" if p["images_per_s"] is None else f"{p['images_per_s']:.0f}",
                "killed" if p["exit_code"] == -signal.SIGKILL else f"exit code {p['exit_code']}",
            )
            for i, p in enumerate(r["processes"])
        ]
        titles = ("process", "time", "to first chunk", "chunks before", "after", "images/s", "<end")
        lines.append(report.table(titles, rows))
        lines += [
            f"missing chunks {r['missing']}, damaged {r['damaged']}, written twice {r['rewritten']}, files left over "
            f"{r['left_over']}",
            f"{r['distinct_thetas']} different thetas; {r['repeated']} images simulated again, {r['different']} "
            "of them different in any bit",
            f"images with pixels that are not finite {r['not_finite']}, with haloes that had no room {r['overflow']}",
            f"{r['bytes'] / 1e6:.0f} MB on disk, {r['bytes_in_memory'] / 1e6:.0f} MB in memory",
        ]
    return "\n".join(lines)

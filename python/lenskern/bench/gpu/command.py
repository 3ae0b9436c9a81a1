"""The run: parts and cases in order, within a limit of time, saved as they come."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import jax

import lenskern
from lenskern.bench import report
from lenskern.bench.gpu import parts as all_parts
from lenskern.bench.gpu import summary
from lenskern.bench.gpu.results import Results, file_name, state
from lenskern.bench.gpu.supervisor import Lost, Supervisor

NO_GPU = (
    "lenskern: jax finds no NVIDIA GPU here, it computes on {platform} ({model}). Take a machine that has one, and a "
    "jax with CUDA (pip install 'jax[cuda13]'); or go through everything on the CPU, at tiny sizes, with --dry-run."
)

FOLDER, RESULTS = Path("build/gpu"), Path("benchmarks/results")
CPU = {"platform": "cpu", "model": "CPU", "count": 1, "cores": report.usable_cores()}
# A dry run has so many times the time of a run: its machine may be busy.
SLOW = 5


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    names = ",".join(all_parts.PARTS)
    parser.add_argument("--dry-run", action="store_true", help="everything at tiny sizes, on the CPU")
    parser.add_argument("--parts", default=names, help=f"of {names}; by default all, in this order")
    parser.add_argument("--cases", default="", metavar="TEXT", help="only cases with this text in their names")
    parser.add_argument("--out", metavar="FILE", help=f"{RESULTS}/DEVICE.json, or {FOLDER}/dry-run.json")
    parser.add_argument("--minutes", type=float, default=8.0, help="no case starts later (default: 8)")
    parser.add_argument("--started", type=float, metavar="SECONDS", help="since the epoch: where the minutes begin")
    parser.add_argument("--again", action="store_true", help="measure also what the file has for the same sources")
    parser.add_argument("--show", metavar="FILE", help="print the summary of a file, and measure nothing")


def run(arguments, registry=all_parts):
    """Measure, save and print.

    Parameters
    ----------
    arguments : argparse.Namespace
        From a parser that went through `add_arguments`.
    registry : module
        Like `parts`.

    Returns
    -------
    int
        Exit code: 1 where a program of lenskern is wrong or has failed, or there is no GPU.
    """
    if arguments.show:
        print(summary.text(report.read(arguments.show)))
        return 0
    wanted = [part.strip() for part in arguments.parts.split(",")]
    for part in wanted:
        if part not in registry.PARTS:
            raise SystemExit(f"--parts: got {part!r}, expected one of {', '.join(registry.PARTS)}")
    started = time.time() if arguments.started is None else arguments.started
    out = Path(arguments.out or FOLDER / ("dry-run.json" if arguments.dry_run else "unnamed.json"))
    out.parent.mkdir(parents=True, exist_ok=True)
    environment = {"JAX_PLATFORMS": "cpu"} if arguments.dry_run else _cache()
    with out.with_suffix(".log").open("w", buffering=1) as log:
        supervisor = Supervisor(registry.__name__, log, environment)
        try:
            device = CPU if arguments.dry_run else supervisor.hello()["device"]
            if not arguments.dry_run and device["platform"] != "gpu":
                raise Lost(NO_GPU.format(**device))
            if not (arguments.out or arguments.dry_run):
                # The device is known only now; the log goes on under its new name.
                named = RESULTS / file_name(device)
                RESULTS.mkdir(parents=True, exist_ok=True)
                os.replace(out.with_suffix(".log"), named.with_suffix(".log"))
                out = named
            deadline = started + 60 * arguments.minutes
            run = Run(registry, supervisor, Results(out), log, device, arguments.dry_run, deadline)
            run.say(f"{device['model']}, jax {jax.__version__}, lenskern of {Path(lenskern.__file__).parent}")
            run.all(wanted, arguments.cases, arguments.again)
        except Lost as error:
            print(error.reason, file=sys.stderr)
            return 1
        finally:
            supervisor.stop()
    results = Results(out).records
    print(f"\n{summary.text(results)}\n\nrecords: {out}; log: {out.with_suffix('.log')}")
    # Whether another package gets through is not for this one to answer for.
    ours = [r for r in results if r["part"] in wanted and r["system"] in ("lenskern", "all")]
    return int(any(r["status"] in ("wrong", "failed") for r in ours))


def _cache():
    """Variables by which JAX keeps compiled programs for the next run."""
    folder = FOLDER.resolve() / "jax"
    return {"JAX_COMPILATION_CACHE_DIR": str(folder), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3"}


@dataclass
class Run:
    """One run.

    Parameters
    ----------
    registry : module
    supervisor : Supervisor
    results : Results
    log : file
    device : dict
        See `report.device`.
    dry_run : bool
    deadline : float
        Seconds since the epoch.
    """

    registry: object
    supervisor: Supervisor
    results: Results
    log: TextIO
    device: dict
    dry_run: bool
    deadline: float

    def all(self, parts, text, again):
        """Run the cases of some parts that have ``text`` in their names."""
        root = Path.cwd()
        for part in parts:
            self.say(f"{part}: {self.registry.PARTS[part][0]}")
            now = state(part, root)
            for case in self.registry.cases(part, self.dry_run):
                if text not in case:
                    continue
                if not again and self.results.has(part, case, now):
                    self.say(f"  {case}: in the file already")
                    continue
                start = time.time()
                records = self.case(part, case)
                self.results.put(part, case, records, now)
                self.say(f"  {case}: {_count(records)}, {time.time() - start:.1f} s")

    def case(self, part, case):
        """Records of one case, whatever becomes of it."""
        left = self.deadline - time.time()
        if left <= 0:
            records, status, reason = [], "left out", "no time was left"
        else:
            limit, patience = self.registry.PARTS[part][1], SLOW if self.dry_run else 1
            limit = patience * limit if self.dry_run else min(limit, left + 15)
            records, reason = self.supervisor.run(part, case, self.dry_run, limit, patience)
            status = "failed"
        if reason is not None:
            # Whoever asks JAX for its device starts it, and this process is to leave it alone.
            fields = {"device": self.device, "versions": report.versions(), "status": status, "reason": reason}
            records = [*records, report.record(benchmark="gpu", system="all", **fields)]
        return [r | {"dry_run": True} for r in records] if self.dry_run else records

    def say(self, line):
        """To the terminal and to the log."""
        print(line, flush=True)
        print(line, file=self.log)


def _count(records):
    """How many of each status, in words."""
    counts = {}
    for r in records:
        status = r.get("status", "measured")
        counts[status] = counts.get(status, 0) + 1
    return ", ".join(f"{count} {status}" for status, count in counts.items()) or "nothing to measure"

"""Benchmark records, and how they are shown: a list of dicts, JSON, a table, a progress bar."""

import datetime
import json
import math
import os
import platform
import sys
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import jax

# The fields that every record has; a benchmark adds its own.
FIELDS = (
    "benchmark",
    "case",
    "system",
    "backend",
    "dtype",
    "batch",
    "median_s",
    "min_s",
    "runs",
    "max_abs_err",
    "peak_bytes",
    "floor_s",
    "device",
    "versions",
    "date",
)


def record(**fields):
    """One record, with None in the fields of `FIELDS` that are not given, and device, versions and date filled in.

    Returns
    -------
    dict
        The fields of `FIELDS` in their order, then the others.
    """
    filled = {"date": datetime.date.today().isoformat()} | fields
    # Asked for only where they are not given: to ask for the device is to start it.
    filled |= {name: make() for name, make in (("device", device), ("versions", versions)) if name not in fields}
    return {name: filled.get(name) for name in FIELDS} | filled


def absent(benchmark, system, install):
    """Record of a peer that is not installed.

    Parameters
    ----------
    install : str
        The command that installs it.
    """
    return record(benchmark=benchmark, system=system, absent=True, install=install)


def device():
    """Platform, model and number of cores of the device that JAX computes on, and nothing that names the machine."""
    first = jax.devices()[0]
    model = _cpu_model() if first.platform == "cpu" else first.device_kind
    return {"platform": first.platform, "model": model, "count": jax.device_count(), "cores": usable_cores()}


def usable_cores():
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions(others=()):
    """Versions of Python, of the packages that matter and of others, None for those that are not installed."""
    found = {"python": platform.python_version()}
    for package in ("lenskern", "jax", "jaxlib", "numpy", "scipy", "jaxnnls", "autolens", *others):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def write(path, records):
    """Write the records as JSON, infinity and NaN as null, in a folder that is made if need be; nothing for no path."""
    if not path:
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(finite(records), indent=1, allow_nan=False) + "\n")


def update(path, records):
    """Write the records as `write` does, beside those of other cases and systems that the file has."""

    def measured(record):
        return record.get("case"), record.get("system")

    if path and Path(path).exists():
        new = set(map(measured, records))
        records = [record for record in read(path) if measured(record) not in new] + records
    write(path, records)


def finite(value):
    """The same with null in place of infinity and NaN, in lists and dicts too: JSON has neither."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(path):
    """Records written by `write`."""
    return json.loads(Path(path).read_text())


def table(columns, rows, markdown=False):
    """Render a table as text.

    Parameters
    ----------
    columns : sequence of str
        Titles. One that starts with ``<`` is aligned to the left, the others to the right.
    rows : sequence of sequence
        Cells; ``str`` is applied to each, None gives ``-``.
    markdown : bool
        A GitHub table in place of one for the terminal.

    Returns
    -------
    str
    """
    left = [title.startswith("<") for title in columns]
    titles = [title.removeprefix("<") for title in columns]
    cells = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]

    def line(row):
        padded = [
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(row, widths, left, strict=True)
        ]
        return "| " + " | ".join(padded) + " |" if markdown else "  ".join(padded).rstrip()

    if markdown:
        rule = [
            ":" + "-" * max(width - 1, 2) if to_left else "-" * max(width - 1, 2) + ":"
            for width, to_left in zip(widths, left, strict=True)
        ]
        second = "| " + " | ".join(rule) + " |"
    else:
        second = "  ".join("-" * width for width in widths)
    return "\n".join([line(titles), second, *map(line, cells)])


def seconds(value):
    """A time with three digits and its unit."""
    if value is None:
        return None
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def error(value):
    """An error or residual with its leading digit; ``inf`` for NaN, infinity and the null that they become in files."""
    return "inf" if value is None or not math.isfinite(value) else f"{value:.0e}"


@contextmanager
def progress(total, what):
    """Progress bar on stderr: yields a function to call after each step, or some, with an optional note.

    tqdm draws it where it is installed; without it, a line says what is going on.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        print(f"{what} ({total} steps)", file=sys.stderr, flush=True)
        yield lambda note=None, steps=1: None
        return
    # in a log file a line every now and then, on a terminal a bar that moves
    pace = {"dynamic_ncols": True} if sys.stderr.isatty() else {"mininterval": 15, "maxinterval": 60, "ncols": 100}
    with tqdm(total=total, desc=what, file=sys.stderr, leave=False, **pace) as bar:

        def tick(note=None, steps=1):
            if note:
                bar.set_postfix_str(note, refresh=False)
            bar.update(steps)

        yield tick

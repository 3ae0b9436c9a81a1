"""`lenskern probe`: where the time of a likelihood of PyAutoLens goes, single and under vmap."""

import importlib
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

__all__ = ["add_arguments", "run"]

_CHILD = "LENSKERN_PROBE_CHILD"


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument(
        "target",
        nargs="?",
        metavar="SCRIPT.py:FUNCTION",
        help="a function of a script or module that returns (analysis, model), or with an array (lanes, parameters)",
    )
    parser.add_argument(
        "--example",
        metavar="CASE",
        help="a simulated lens in place of a target: imaging-mge, imaging-rectangular, imaging-delaunay, "
        "interferometer-mge, ...",
    )
    parser.add_argument("--full", action="store_true", help="the example at the size of real data, in place of seconds")
    parser.add_argument(
        "--solver", choices=("autoarray", "lenskern"), default="autoarray", help="of positive-only light"
    )
    parser.add_argument("--batch", type=int, default=3, help="lanes under vmap")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each program, at least 5")
    parser.add_argument("--timeout", type=float, default=1800.0, metavar="S", help="seconds until it is given up")
    parser.add_argument("--no-cuda", action="store_true", help="leave out what would be called on a GPU")
    parser.add_argument("--json", metavar="FILE", help="write the records here, beside those of others")


def run(arguments):
    """Probe and print; returns the exit code."""
    if (arguments.target is None) == (arguments.example is None):
        print("lenskern probe: expected either SCRIPT.py:FUNCTION or --example CASE", file=sys.stderr)
        return 2
    if os.environ.get(_CHILD) != "1":
        return _in_child(arguments)
    import jax

    # As PyAutoLens does.
    jax.config.update("jax_enable_x64", True)
    from .. import probe

    try:
        analysis, model, vectors = _example(arguments) if arguments.example else _target(arguments.target)
    except ValueError as error:
        print(f"lenskern probe: {error}", file=sys.stderr)
        return 2
    if arguments.solver == "lenskern":
        from .. import autoarray

        autoarray.register()
    options = {"batch": arguments.batch, "runs": arguments.runs, "cuda": not arguments.no_cuda}
    report = probe.probe(analysis, model, vectors, **options)
    print(probe.text(report))
    if arguments.json:
        from ...bench.report import update

        size = ", as large as real data" if arguments.full else ", small"
        label = arguments.example + size if arguments.example else Path(arguments.target).name
        update(arguments.json, probe.records(report, label, arguments.solver))
    return 0


def _in_child(arguments):
    """The same command in a process whose XLA cannot hang, and which is ended in the end."""
    from .api import FLAG

    flags = os.environ.get("XLA_FLAGS", "").split()
    environment = os.environ | {_CHILD: "1", "XLA_FLAGS": " ".join([*(f for f in flags if f != FLAG), FLAG])}
    command = [sys.executable, "-m", "lenskern", "probe"]
    for name in ("example", "solver", "batch", "runs", "json"):
        if getattr(arguments, name) is not None:
            command.append(f"--{name}={getattr(arguments, name)}")
    command += [f"--{name.replace('_', '-')}" for name in ("full", "no_cuda") if getattr(arguments, name)]
    command += [] if arguments.target is None else [arguments.target]
    child = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        return child.wait(arguments.timeout)
    except subprocess.TimeoutExpired:
        print(f"lenskern probe: not done after {arguments.timeout:g} s; --timeout gives it more", file=sys.stderr)
        return 124
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _target(target):
    """What a function gives."""
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise ValueError(f"target: got {target!r}, expected SCRIPT.py:FUNCTION or MODULE:FUNCTION")
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise ValueError(f"target: there is no file {place}")
        sys.path.insert(0, str(Path(place).resolve().parent))
        found = runpy.run_path(place, run_name=Path(place).stem).get(name)
    else:
        try:
            found = getattr(importlib.import_module(place), name, None)
        except ModuleNotFoundError as error:
            raise ValueError(f"target: {error}") from None
    if not callable(found):
        raise ValueError(f"target: there is no function {name} in {place}")
    given = found()
    if not isinstance(given, tuple) or len(given) not in (2, 3):
        raise ValueError(f"target: {name} returned {type(given).__name__}, expected (analysis, model) or with vectors")
    return given if len(given) == 3 else (*given, None)


def _example(arguments):
    from ...bench import autolens_lenses as lenses

    if arguments.example not in lenses.CASES:
        raise ValueError(f"--example: got {arguments.example!r}, expected one of {', '.join(lenses.CASES)}")
    lens = lenses.lens(arguments.example, lenses.PRODUCTION if arguments.full else lenses.QUICK)
    return lens.analysis(), lens.model, lens.parameters(arguments.batch)

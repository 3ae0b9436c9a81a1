"""Programs in CUDA that measure what no XLA program can: nvcc builds them on the machine, and they write JSON."""

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path

import jax

from lenskern.bench.gpu import race

FOLDER = Path(__file__).parent
BUILT = Path("build/gpu")
# The kernels' sources, from the root of the repository, where the harness runs.
HEADERS = (Path("kernels/include"), Path("kernels/cuda"))


def measure(name, source, dry_run, guard):
    """Build a program and run it.

    Parameters
    ----------
    name : str
        What it is called in the records.
    source, dry_run
        See `build`.
    guard : race.Guard

    Returns
    -------
    tuple
        What it writes and None, or None and (status, reason).
    """
    # Compiled outside of the attempt, whose time is limited.
    built, failures = race.prepare({name: partial(build, source, dry_run)}, guard)
    if name in failures:
        return None, failures[name]
    return guard.attempt(name, partial(run, built[name]))


def build(source, dry_run):
    """Compile a program for the device that is here.

    Parameters
    ----------
    source : str
        Name of a file beside this one.
    dry_run : bool

    Returns
    -------
    pathlib.Path

    Raises
    ------
    NotImplementedError
        Without a GPU, nvcc or the sources of the kernels.
    RuntimeError
        With what nvcc says.
    """
    if dry_run:
        raise NotImplementedError("needs a GPU")
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None:
        raise NotImplementedError("there is no nvcc to build it with")
    if not all(folder.is_dir() for folder in HEADERS):
        raise NotImplementedError("needs the sources of the kernels, from the root of the repository")
    capability = jax.devices()[0].compute_capability  # as in "9.0"
    BUILT.mkdir(parents=True, exist_ok=True)
    program = BUILT.resolve() / Path(source).stem
    command = [nvcc, *flags(f"sm_{capability.replace('.', '')}"), str(FOLDER / source), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-400:])
    return program


def flags(architecture):
    """Those of nvcc, as the kernels have them: a list."""
    headers = [f"-I{folder.resolve()}" for folder in HEADERS]
    return ["-O3", "-std=c++17", "-maxrregcount=128", f"-arch={architecture}", *headers]


def run(program):
    """Run it; returns what it writes."""
    done = subprocess.run([program], capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"exit code {done.returncode}")
    return json.loads(done.stdout)

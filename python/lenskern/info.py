"""`python -m lenskern.info`: versions, devices, and every backend with a self-check against the reference."""

import argparse
import json
import platform
import sys
from importlib import metadata

import jax
import numpy as np

from . import __version__, _ffi, backends, nnls

__all__ = ["add_arguments", "collect", "main", "run"]

TOLERANCE = 1e-9  # of max|x|, float64, on a well-conditioned problem


def collect():
    """Gather what `python -m lenskern.info` prints.

    Returns
    -------
    dict
        `versions`: name to version, None where unknown. `devices`: a list of platform, kind and id. `backends`: a list
        of name, available, reason and self_check, which is None for a backend that is not available, otherwise a dict
        of passed, max_error (of max|x|, None where there is no answer) and detail.
    """
    return {"versions": _versions(), "devices": _devices(), "backends": [_backend(name) for name in backends.NAMES]}


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(arguments):
    """Print the report.

    Parameters
    ----------
    arguments : argparse.Namespace
        From a parser that went through `add_arguments`.

    Returns
    -------
    int
        Exit code: 1 if a self-check failed, otherwise 0.
    """
    report = collect()
    print(json.dumps(report, indent=2) if arguments.json else _text(report))
    checks = [backend["self_check"] for backend in report["backends"]]
    return int(any(check is not None and not check["passed"] for check in checks))


def main(argv=None):
    """Parse the command line and print the report; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lenskern.info", description=__doc__.partition(": ")[2])
    add_arguments(parser)
    return run(parser.parse_args(argv))


def _versions():
    versions = {"lenskern": __version__, "python": platform.python_version()}
    for package in ("jax", "jaxlib", "numpy"):
        versions[package] = metadata.version(package)
    installed = _ffi.jaxlib_ffi_version()
    versions["XLA FFI of jaxlib"] = installed and "{}.{}".format(*installed)
    try:
        cpp = _ffi.load_cpp()
    except ImportError:
        return versions
    versions["XLA FFI of the compiled kernels"] = "{}.{}".format(*cpp.ffi_version)
    versions["compiler"] = cpp.compiler
    versions["instruction set"] = cpp.isa()
    return versions


def _devices():
    try:
        devices = jax.devices()
    except RuntimeError as error:
        return [{"platform": None, "kind": f"none: {error}", "id": None}]
    return [{"platform": device.platform, "kind": device.device_kind, "id": device.id} for device in devices]


def _backend(name):
    status = backends.availability(name)
    check = _self_check(name) if status.available else None
    return {"name": name, "available": status.available, "reason": status.reason, "self_check": check}


def _self_check(name):
    """Solve a small batch with one backend and compare it with the reference."""
    Q, q = _problem()
    try:
        # Errors of any kind are the finding here: a broken backend must not keep the others from being reported.
        expected, _ = _solve("reference", Q, q)
        x, certified = _solve(name, Q, q)
    except Exception as error:
        return {"passed": False, "max_error": None, "detail": f"{type(error).__name__}: {error}"}
    # The reference is held to the optimality conditions themselves, the others to the reference.
    error = _optimality_error(Q, q, x) if name == "reference" else np.abs(x - expected).max() / np.abs(expected).max()
    within = bool(error <= TOLERANCE)  # False for NaN
    if within and certified.all():
        detail = f"{len(x)} problems solved and certified, error {error:.1e} of max|x|"
    else:
        detail = f"error {error:.1e} of max|x|, {int(certified.sum())} of {len(x)} certified"
    return {"passed": within and bool(certified.all()), "max_error": float(error), "detail": detail}


def _problem(lanes=4, K=24):
    """Overlapping Gaussians fitted to sparse non-negative data: half of the bounds are active."""
    rng = np.random.default_rng(0)
    position = np.linspace(0, 1, 4 * K)
    A = np.exp(-0.5 * ((position[:, None] - np.linspace(0, 1, K)) * K / 1.2) ** 2)
    Q = A.T @ A + 1e-2 * np.eye(K)
    x = rng.uniform(0, 1, (lanes, K)) * (rng.uniform(size=(lanes, K)) < 0.5)
    return Q, (x @ A.T + 0.05 * rng.normal(size=(lanes, 4 * K))) @ A


def _solve(name, Q, q):
    # The compiled CPU kernels need the CPU, also where a GPU is the default device.
    device = jax.devices("cpu")[0] if name in ("reference", "cpp") else jax.devices()[0]
    with jax.enable_x64(True), jax.default_device(device):
        solution = jax.vmap(lambda b: nnls.solution(Q, b, backend=name))(jax.numpy.asarray(q))
        return np.asarray(solution.x), np.asarray(solution.certified)


def _optimality_error(Q, q, x):
    """Largest violation of x >= 0, Qx - q >= 0, x (Qx - q) = 0, over max|x| (the diagonal of Q is of order 1)."""
    gradient = x @ Q - q
    return max(np.abs(np.minimum(x, gradient)).max(), -x.min()) / np.abs(x).max()


def _text(report):
    lines = ["versions"]
    lines += [f"  {name:32} {version or 'unknown'}" for name, version in report["versions"].items()]
    lines += ["devices"]
    lines += [f"  {device['platform'] or '-'} {device['kind']}" for device in report["devices"]]
    lines += ["backends"]
    for backend in report["backends"]:
        available = "available" if backend["available"] else "not available"
        lines += [f"  {backend['name']:10} {available}: {backend['reason']}"]
        check = backend["self_check"]
        if check is not None:
            lines += [f"  {'':10} self-check {'passed' if check['passed'] else 'FAILED'}: {check['detail']}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

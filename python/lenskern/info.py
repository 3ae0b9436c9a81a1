"""`python -m lenskern.info`: versions, devices, and every backend with a self-check against the reference."""

import argparse
import json
import platform
import sys
from importlib import metadata

import jax
import numpy as np

from . import __version__, _ffi, backends, deflect, nnls

__all__ = ["add_arguments", "collect", "main", "run"]

TOLERANCE = 1e-9  # relative to the largest number, float64


def collect():
    """Gather what `python -m lenskern.info` prints.

    Returns
    -------
    dict
        `versions`: name to version, None where unknown. `devices`: a list of platform, kind and id. `backends`: a list
        of name, available, reason and self_checks, which is empty for a backend that is not available, otherwise a list
        of operation, passed (None where the backend does not have the operation), max_error (relative, None where there
        is no answer) and detail.
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
    checks = [check for backend in report["backends"] for check in backend["self_checks"]]
    return int(any(check["passed"] is False for check in checks))


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
    try:
        versions["CUDA of the CUDA kernels"] = "{}.{}".format(*_ffi.load_cuda().cuda_version)
    except ImportError:
        pass
    return versions


def _devices():
    try:
        devices = jax.devices()
    except RuntimeError as error:
        return [{"platform": None, "kind": f"none: {error}", "id": None}]
    return [{"platform": device.platform, "kind": device.device_kind, "id": device.id} for device in devices]


def _backend(name):
    status = backends.availability(name)
    checks = [_self_check(name, operation) for operation in _OPERATIONS] if status.available else []
    return {"name": name, "available": status.available, "reason": status.reason, "self_checks": checks}


def _self_check(name, operation):
    """Run one operation on a small batch with one backend."""
    result = {"operation": operation, "passed": None, "max_error": None}
    try:
        # Errors of any kind are the finding here: a broken backend must not keep the others from being reported.
        error, passed, detail = _OPERATIONS[operation](name)
    except NotImplementedError as missing:
        return result | {"detail": str(missing)}
    except Exception as fault:
        return result | {"passed": False, "detail": f"{type(fault).__name__}: {fault}"}
    # False for NaN
    return result | {"passed": bool(error <= TOLERANCE) and passed, "max_error": float(error), "detail": detail}


def _check_nnls(name):
    Q, q = _problem()
    expected, _ = _solve("reference", Q, q)
    x, certified = _solve(name, Q, q)
    # The reference is held to the optimality conditions themselves, the others to the reference.
    error = _optimality_error(Q, q, x) if name == "reference" else np.abs(x - expected).max() / np.abs(expected).max()
    detail = f"error {error:.1e} of max|x|, {int(certified.sum())} of {len(x)} certified"
    return error, bool(certified.all()), detail


def _check_deflect(name):
    halos, grid = _haloes()
    found = _deflections(name, halos, grid)
    # The reference is held to the closed form of a point mass, the others to the reference.
    expected = _point_masses(halos, grid) if name == "reference" else _deflections("reference", halos, grid)
    error = np.abs(found - expected).max() / np.abs(expected).max()
    return error, True, f"error {error:.1e} of the largest deflection at {found[..., 0].size} rays"


_OPERATIONS = {"nnls": _check_nnls, "deflect": _check_deflect}


def _haloes(lanes=2, n=6, rays=16):
    """Centres and parameters of point masses with a softening, and a grid of rays."""
    rng = np.random.default_rng(1)
    parameters = {
        "centre": rng.uniform(-1, 1, (lanes, n, 2)),
        "einstein_radius": rng.uniform(0.05, 0.2, (lanes, n)),
        "softening": rng.uniform(0.05, 0.1, (lanes, n)),
    }
    return parameters, np.stack(np.meshgrid(*[np.linspace(-1, 1, rays)] * 2, indexing="ij"), -1)


def _deflections(name, halos, grid):
    with jax.enable_x64(True), jax.default_device(_device(name)):

        def one(parameters):
            return deflect.plane(deflect.point_mass(**parameters), jax.numpy.asarray(grid), backend=name)

        return np.asarray(jax.vmap(one)({key: jax.numpy.asarray(value) for key, value in halos.items()}))


def _point_masses(halos, grid):
    """θ_E² R/(R² + ε²) for each."""
    d = grid[None, None] - halos["centre"][:, :, None, None]
    square = (d**2).sum(-1) + halos["softening"][..., None, None] ** 2
    return (halos["einstein_radius"][..., None, None, None] ** 2 * d / square[..., None]).sum(1)


def _problem(lanes=4, K=24):
    """Overlapping Gaussians fitted to sparse non-negative data: half of the bounds are active."""
    rng = np.random.default_rng(0)
    position = np.linspace(0, 1, 4 * K)
    A = np.exp(-0.5 * ((position[:, None] - np.linspace(0, 1, K)) * K / 1.2) ** 2)
    Q = A.T @ A + 1e-2 * np.eye(K)
    x = rng.uniform(0, 1, (lanes, K)) * (rng.uniform(size=(lanes, K)) < 0.5)
    return Q, (x @ A.T + 0.05 * rng.normal(size=(lanes, 4 * K))) @ A


def _solve(name, Q, q):
    with jax.enable_x64(True), jax.default_device(_device(name)):
        solution = jax.vmap(lambda b: nnls.solution(Q, b, backend=name))(jax.numpy.asarray(q))
        return np.asarray(solution.x), np.asarray(solution.certified)


def _device(name):
    # The compiled CPU kernels need the CPU, also where a GPU is the default device.
    return jax.devices("cpu")[0] if name in ("reference", "cpp") else jax.devices()[0]


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
        for check in backend["self_checks"]:
            verdict = {True: "passed", False: "FAILED", None: "not possible"}[check["passed"]]
            lines += [f"  {'':10} self-check of {check['operation']} {verdict}: {check['detail']}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

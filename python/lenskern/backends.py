"""The implementations that an operation can run on, and which of them this installation has."""

import importlib

from ._ffi import Availability, cpp_status, cuda_status

__all__ = ["NAMES", "Availability", "availability", "require"]

NAMES = ("reference", "cpp", "cuda", "pallas", "triton")


def availability(name):
    """Say whether a backend can be used in this installation.

    No device is probed: available means that the code is there, not that there is a GPU to run it.

    Parameters
    ----------
    name : {"reference", "cpp", "cuda", "pallas", "triton"}

    Returns
    -------
    Availability

    Raises
    ------
    ValueError
        For an unknown name.
    """
    match name:
        case "reference":
            return Availability(True, "pure JAX, on every platform")
        case "cpp":
            return cpp_status()
        case "cuda":
            return cuda_status()
        case "pallas":
            return _pallas_status()
        case "triton":
            return _triton_status()
    raise ValueError(f"backend: got {name!r}, expected one of {', '.join(map(repr, NAMES))}")


def require(name):
    """Raise unless a backend can be used.

    Parameters
    ----------
    name : {"reference", "cpp", "cuda", "pallas", "triton"}

    Raises
    ------
    ValueError
        For an unknown name.
    RuntimeError
        For a backend that is not available, with the reason.
    """
    status = availability(name)
    if not status.available:
        raise RuntimeError(f"backend {name!r} is not available: {status.reason}")


def _pallas_status():
    missing = importlib.import_module("lenskern._kernels.pallas.nnls").MISSING
    if missing:
        return Availability(False, missing)
    return Availability(True, "compiled on a GPU, interpreted on the CPU")


def _triton_status():
    missing = importlib.import_module("lenskern._kernels.triton.launch").MISSING
    if missing:
        return Availability(False, missing)
    return Availability(True, "compiled by jax-triton on an NVIDIA GPU; never run on a device yet")

"""Peak memory of one call: of this process, beyond what it had before and what the call returns."""

import ctypes
import gc
import resource
import sys
from pathlib import Path

import jax

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def peak_growth(call):
    """Run a call once.

    Parameters
    ----------
    call : callable
        Without arguments; returns arrays in any pytree.

    Returns
    -------
    tuple
        (result, bytes): most memory in use during the call, less that in use before it and the result.
    """
    gc.collect()
    before = _restart()
    result = jax.block_until_ready(call())
    returned = sum(getattr(leaf, "nbytes", 0) for leaf in jax.tree.leaves(result))
    return result, max(0, _peak() - before - returned)


def _restart():
    """Give freed memory back, forget the peak so far, and return the memory in use in bytes."""
    if not _CLEAR.exists():
        return _peak()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:
        pass  # not the C library of GNU
    _CLEAR.write_text("5")
    return _status("VmRSS")


def _peak():
    if _STATUS.exists():
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(name):
    for line in _STATUS.read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{_STATUS} has no {name}")

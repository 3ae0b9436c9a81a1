"""The compiled kernels: are they here, do they match the installed jaxlib, and their registration with XLA."""

import importlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jax

__all__ = ["Availability", "cpp_status", "jaxlib_ffi_version", "load_cpp", "register_cpp"]


@dataclass(frozen=True)
class Availability:
    """Whether a backend can be used.

    Attributes
    ----------
    available : bool
    reason : str
        Why not, or, for an available backend, what it is.
    """

    available: bool
    reason: str


def load_cpp():
    """Import the compiled module.

    Returns
    -------
    module
        `lenskern._kernels._cpp`.

    Raises
    ------
    ImportError
        If it was not built, or cannot be loaded on this machine.
    """
    return importlib.import_module("lenskern._kernels._cpp")


@cache
def jaxlib_ffi_version():
    """Version of the XLA FFI that the installed jaxlib speaks.

    It is read from the header that jaxlib ships. The other way to find out, registering a handler, is no way: a handler
    that is too new for jaxlib keeps the whole CPU backend from starting.

    Returns
    -------
    tuple of (int, int) or None
        Major and minor version, None where the header cannot be found or read.
    """
    try:
        text = (Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h").read_text()
    except OSError:
        return None
    found = [re.search(rf"^#define XLA_FFI_API_{part} (\d+)", text, re.MULTILINE) for part in ("MAJOR", "MINOR")]
    return tuple(int(match[1]) for match in found) if all(found) else None


def cpp_status():
    """Say whether the compiled CPU kernels can be used, without registering them.

    Returns
    -------
    Availability
    """
    try:
        cpp = load_cpp()
    except ModuleNotFoundError:
        return Availability(
            False,
            "lenskern was installed without its C++ kernels; install a C++ compiler (g++ or clang++) "
            "and reinstall lenskern with LENSKERN_CPP=ON",
        )
    except ImportError as error:
        return Availability(False, f"the compiled kernels cannot be loaded: {error}")
    built, installed = cpp.ffi_version, jaxlib_ffi_version()
    if installed is None:
        return Availability(False, "the XLA FFI version of the installed jaxlib cannot be determined")
    # XLA takes handlers of its own major version, and of its own minor version or an older one.
    if built[0] != installed[0] or built[1] > installed[1]:
        return Availability(
            False,
            f"the compiled kernels need XLA FFI {built[0]}.{built[1]} and the installed jaxlib has "
            f"{installed[0]}.{installed[1]}; reinstall lenskern or upgrade jax",
        )
    return Availability(True, f"compiled for {cpp.isa()}, XLA FFI {built[0]}.{built[1]}")


def register_cpp():
    """Register the CPU handlers with XLA; only the first call does anything.

    Called when a program that needs them is lowered, never at import.

    Raises
    ------
    RuntimeError
        If they cannot be used, with the reason.
    """
    status = cpp_status()
    if not status.available:
        raise RuntimeError(f"backend 'cpp' is not available: {status.reason}")
    _register(load_cpp())


@cache
def _register(cpp):
    for target, handler in cpp.targets().items():
        jax.ffi.register_ffi_target(target, handler, platform="cpu")

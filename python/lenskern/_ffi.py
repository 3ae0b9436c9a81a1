"""The compiled kernels: are they here, do they match jaxlib and the driver, and their registration with XLA."""

import importlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jax

__all__ = [
    "Availability",
    "compiled_backend",
    "cpp_status",
    "cuda_status",
    "jaxlib_ffi_version",
    "load_cpp",
    "load_cuda",
    "register_cpp",
    "register_cuda",
]


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


def load_cuda():
    """Import the compiled module of the CUDA kernels; as `load_cpp`.

    Returns
    -------
    module
        `lenskern._kernels._cuda`.
    """
    return importlib.import_module("lenskern._kernels._cuda")


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
    problem = _ffi_problem("the compiled kernels", cpp)
    if problem is not None:
        return problem
    return Availability(True, f"compiled for {cpp.isa()}, XLA FFI {_version(cpp.ffi_version)}")


def cuda_status():
    """Say whether the CUDA kernels can be used, without registering them.

    A machine without a driver can lower programs for others, so that no driver is no fault; one that is too old is.

    Returns
    -------
    Availability
    """
    try:
        cuda = load_cuda()
    except ModuleNotFoundError:
        return Availability(
            False,
            "lenskern was installed without its CUDA kernels; install the CUDA toolkit (nvcc) "
            "and reinstall lenskern with LENSKERN_CUDA=ON",
        )
    except ImportError as error:
        return Availability(False, f"the CUDA kernels cannot be loaded: {error}")
    problem = _ffi_problem("the CUDA kernels", cuda)
    if problem is not None:
        return problem
    driver = cuda.driver_version()
    # A driver runs what was built for its major version, whatever the minor one.
    if driver is not None and driver[0] < cuda.cuda_version[0]:
        return Availability(
            False,
            f"the CUDA kernels were built with CUDA {_version(cuda.cuda_version)} and the installed driver supports "
            f"{_version(driver)}; upgrade the NVIDIA driver, or reinstall lenskern with an older nvcc",
        )
    here = "no driver here" if driver is None else f"driver for CUDA {_version(driver)}"
    return Availability(
        True,
        f"compiled for {cuda.architectures} by CUDA {_version(cuda.cuda_version)}, {here}; never run on a device yet",
    )


def _version(parts):
    return ".".join(map(str, parts))


def _ffi_problem(what, module):
    """Why XLA would not take the handlers of a module, None where it does."""
    built, installed = module.ffi_version, jaxlib_ffi_version()
    if installed is None:
        return Availability(False, "the XLA FFI version of the installed jaxlib cannot be determined")
    # XLA takes handlers of its own major version, and of its own minor version or an older one.
    if built[0] != installed[0] or built[1] > installed[1]:
        return Availability(
            False,
            f"{what} need XLA FFI {_version(built)} and the installed jaxlib has {_version(installed)}; "
            "reinstall lenskern or upgrade jax",
        )
    return None


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
    _register(load_cpp(), "cpu")


def register_cuda():
    """Register the handlers of the CUDA kernels with XLA; as `register_cpp`. It needs neither a GPU nor a driver."""
    status = cuda_status()
    if not status.available:
        raise RuntimeError(f"backend 'cuda' is not available: {status.reason}")
    _register(load_cuda(), "CUDA")


def compiled_backend(platform, backend, names=("cpp", "cuda")):
    """Name of the compiled kernels that run an operation, and register them.

    Parameters
    ----------
    platform : str
        What is lowered for: "cpu", "cuda" or "" for any other.
    backend : str or None
        What was asked for.
    names : sequence of str
        Those that have the operation.

    Returns
    -------
    {"cpp", "cuda", None}
        None where it is another backend's turn.

    Raises
    ------
    NotImplementedError
        If what was asked for does not run on the platform.
    RuntimeError
        If it is not available, with the reason.
    """
    own = {"cpu": "cpp", "cuda": "cuda"}.get(platform)
    if backend in ("cpp", "cuda") and backend != own:
        where = {"cpp": "the CPU", "cuda": "NVIDIA GPUs"}[backend]
        raise NotImplementedError(f"backend {backend!r} runs on {where} only; use backend=None on this device")
    status = {"cpp": cpp_status, "cuda": cuda_status}
    if own not in names or (backend != own and (backend is not None or not status[own]().available)):
        return None
    {"cpp": register_cpp, "cuda": register_cuda}[own]()
    return own


@cache
def _register(module, platform):
    for target, handler in module.targets().items():
        jax.ffi.register_ffi_target(target, handler, platform=platform)

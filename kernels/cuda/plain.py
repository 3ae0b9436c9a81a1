"""The CUDA kernels from a plain library, by ctypes: what the compiled module offers where pybind11 built it."""

import ctypes
import itertools
from pathlib import Path

import jax

_library = ctypes.CDLL(str(Path(__file__).with_name("_cuda_library.so")))


class _Target(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("handler", ctypes.c_void_p))


_library.lenskern_targets.restype = ctypes.POINTER(_Target)
_library.lenskern_architectures.restype = ctypes.c_char_p
_library.lenskern_nnls_most_unknowns.restype = ctypes.c_int64


def _version(number):
    return number // 1000, number % 1000 // 10


ffi_version = _library.lenskern_ffi_major(), _library.lenskern_ffi_minor()
cuda_version = _version(_library.lenskern_cuda_version())
architectures = _library.lenskern_architectures().decode()
nnls_most_unknowns = _library.lenskern_nnls_most_unknowns()


def driver_version():
    """Newest CUDA version that the installed driver supports, None without a driver."""
    number = _library.lenskern_driver_version()
    return _version(number) if number else None


def targets():
    """FFI target name -> capsule of its handler."""
    rows = itertools.takewhile(lambda row: row.name, map(_library.lenskern_targets().__getitem__, itertools.count()))
    return {row.name.decode(): jax.ffi.pycapsule(row.handler) for row in rows}


def __getattr__(name):
    """A function of int64 numbers, such as `adjoint_scratch`."""
    try:
        function = _library[f"lenskern_{name}"]
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    function.restype = ctypes.c_int64
    return lambda *numbers: function(*map(ctypes.c_int64, numbers))

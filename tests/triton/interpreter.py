"""Triton's interpreter for arrays of NumPy, in place of `launch.call`.

It takes tensors of PyTorch, of which it wants little, and has no libdevice; both are made up here. Triton has to be
imported with TRITON_INTERPRET=1.
"""

import jax.numpy as jnp
import numpy as np
import triton.language as tl
from triton.runtime import interpreter

TYPES = {"bool": "i1", "int32": "i32", "float32": "fp32", "float64": "fp64"}


class Tensor:
    """What the interpreter asks of a tensor: a pointer to its data, which is on the host."""

    def __init__(self, array):
        self.array, self.dtype = array, TYPES[str(array.dtype)]

    def data_ptr(self):
        return self.array.ctypes.data

    def new_empty(self, *_, **__):
        return Tensor(self.array[:0])

    def set_(self, storage, *_):
        self.array = storage.array

    def untyped_storage(self):
        return self

    def cpu(self):
        return self

    def copy_(self, other):
        assert other.array is self.array

    def storage_offset(self):
        return 0

    def size(self):
        return self.array.shape

    stride = size


def call(kernel, *operands, out, programs, warps, **constants):
    """As `launch.call`, one program after another."""
    results = np.full(out.shape, np.nan, out.dtype)
    arguments = [x if isinstance(x, int) else Tensor(np.ascontiguousarray(x)) for x in operands]
    with np.errstate(all="ignore"):
        kernel[(programs,)](*arguments, Tensor(results), **constants)
    return jnp.asarray(results)


class Libdevice:
    """CUDA's functions, by those of NumPy."""

    def __getattr__(self, name):
        function = getattr(np, {"atan": "arctan"}.get(name, name))

        def apply(x):
            handle = interpreter.TensorHandle(function(x.handle.data), x.handle.dtype)
            return tl.tensor(handle, x.type)

        return apply

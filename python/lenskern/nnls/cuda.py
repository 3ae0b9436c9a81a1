"""Calls of the CUDA kernels."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from .. import _ffi, _primitive

# Shared memory that a block may have, in bytes: an A100's, and that of the GPUs that have less.
_SHARED = 163 << 10
_LESS_SHARED = dict.fromkeys(("8.6", "8.9", "12.0", "12.1"), 99 << 10)


def most_unknowns():
    """The largest K that there is a kernel for."""
    return _ffi.load_cuda().nnls_most_unknowns


def fits(K):
    """Whether there is a kernel for K that the GPUs of this process have room for."""
    capabilities = {device.compute_capability for device in jax.local_devices() if device.platform == "gpu"}
    room = min((_LESS_SHARED.get(capability, _SHARED) for capability in capabilities), default=_SHARED)
    return K <= most_unknowns() and _ffi.load_cuda().nnls_shared(K) <= room


def solve(Q, q, x0, *, tol, max_iter):
    """Solve every lane.

    Parameters
    ----------
    Q : array, shape (..., K, K)
        Float32 or float64. Batch axes as for the primitive: 1 where all lanes share an operand.
    q : array, shape (..., K)
    x0 : array, shape (..., K)
        Of another size there is no guess.
    tol : float
        Largest residual of a certified solution.
    max_iter : int
        Limit of the interior-point iterations.

    Returns
    -------
    x, z, status, iterations, passes, residual
        As in `lenskern.nnls.Solution`, with batch axes.
    """
    batch, K = _primitive.batch_shape((Q, q, x0), (2, 1, 1)), q.shape[-1]
    vector, integer = jax.ShapeDtypeStruct((*batch, K), q.dtype), jax.ShapeDtypeStruct(batch, jnp.int32)
    # Scratch memory is a result, so that XLA plans it with everything else.
    size = _ffi.load_cuda().nnls_scratch(math.prod(batch), K)
    scratch = jax.ShapeDtypeStruct((size,), jnp.uint8)
    shapes = (vector, vector, integer, integer, integer, jax.ShapeDtypeStruct(batch, q.dtype), scratch)
    call = jax.ffi.ffi_call("lenskern_nnls_solve_cuda", shapes)
    return call(Q, q, x0, tol=np.float64(tol), max_iter=np.int32(max_iter))[:-1]

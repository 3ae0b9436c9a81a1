"""The primitives of the package, and which kernel runs them on which platform."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import mlir

from .. import _ffi, _primitive, backends
from . import central, cuda, linear, reference
from .survey import admm, bpp, fista, pdip


def reference_method(name):
    """The jnp function of one lane for a method."""
    return {
        "crossover": reference.crossover,
        "pdip": pdip.solve,
        "admm": admm.solve,
        "fista": fista.solve,
        "bpp": bpp.solve,
    }[name]


# What is absent has a size that it cannot have otherwise, and is never empty: XLA's partitioner crashes on arrays
# without entries that enter or leave `jax.shard_map`.
NOTHING_KEPT = 1


def no_guess(q):
    """What stands for x0 where there is none."""
    return jnp.zeros(2 if q.shape[-1] == 1 else 1, q.dtype)


def _solve_results(Q, q, x0, **params):
    K, integer = q.shape, jnp.dtype(jnp.int32)
    return [(K, q.dtype), (K, q.dtype), ((), integer), ((), integer), ((), integer), ((), q.dtype)]


def kept_words(K, method, backend):
    """Size of the factor that a solve keeps for derivatives: only the cpp kernel does, of large systems.

    As `kept_words` in kernels/include/lenskern/nnls.h.
    """
    if K <= 128 or method != "crossover" or backend not in (None, "cpp"):
        return NOTHING_KEPT
    padded = -(-K // 32) * 32
    return 16 + 4 * padded + padded * (padded + 32) // 2


def _solve_and_keep_results(Q, q, x0, *, method, backend, **params):
    kept = ((kept_words(q.shape[0], method, backend),), jnp.dtype(jnp.float32))
    return [*_solve_results(Q, q, x0), kept]


def _kernel(platform, K, method, backend):
    """Name of the backend that runs a solve on a platform."""
    if backend is None:
        if method != "crossover":
            return "reference"
        if platform == "cpu" and backends.availability("cpp").available:
            return "cpp"
        if platform == "cuda" and backends.availability("cuda").available and cuda.fits(K):
            return "cuda"
        # Pallas has to know the GPU that it lowers for.
        known = platform == "cuda" and any(device.platform == "gpu" for device in jax.devices())
        if known and backends.availability("pallas").available and K <= _pallas().LARGEST:
            return "pallas"
        return "reference"
    if backend == "triton":
        raise NotImplementedError("backend 'triton' has no kernel for inversions; use backend=None")
    if backend == "cuda" and platform != "cuda":
        raise NotImplementedError("backend 'cuda' runs on NVIDIA GPUs only; use backend=None on this device")
    if backend == "cuda" and K > cuda.most_unknowns():
        raise NotImplementedError(
            f"backend 'cuda' takes inversions of up to {cuda.most_unknowns()} unknowns, got {K}; use backend=None"
        )
    if backend == "cpp" and platform != "cpu":
        raise NotImplementedError("backend 'cpp' runs on the CPU only; use backend=None on this device")
    return backend


def _pallas():
    from lenskern._kernels.pallas import nnls as pallas

    return pallas


def _choose_solve(platform, Q, q, x0, *, method, tol, max_iter, backend):
    core_ndims = (2, 1, 1)
    match _kernel(platform, q.shape[-1], method, backend):
        case "cpp":
            _ffi.register_cpp()
            rule = jax.ffi.ffi_lowering("lenskern_nnls_solve")
            return partial(rule, tol=np.float64(tol), max_iter=np.int32(max_iter))
        case "cuda":
            _ffi.register_cuda()
            return mlir.lower_fun(partial(cuda.solve, tol=tol, max_iter=max_iter))
        case "pallas":
            kernel = partial(_pallas().solve, tol=tol, max_iter=max_iter, interpret=platform != "cuda")
            return mlir.lower_fun(_primitive.on_flat_lanes(kernel, core_ndims))
    lane = partial(reference_method(method), tol=tol, max_iter=max_iter)
    return mlir.lower_fun(_primitive.on_lanes(lane, core_ndims, sequential=platform == "cpu"))


def _choose_solve_and_keep(platform, Q, q, x0, **params):
    K = q.shape[-1]
    words = kept_words(K, params["method"], params["backend"])
    if words != NOTHING_KEPT and _kernel(platform, K, params["method"], params["backend"]) == "cpp":
        return _choose_solve(platform, Q, q, x0, **params)

    def solve(*operands):
        results = solve_p.bind(*operands, **params)
        return [*results, jnp.zeros((*results[-1].shape, words), jnp.float32)]

    return mlir.lower_fun(solve)


def _free_factor(Q, free):
    """Jacobi scaling d, scaled matrix on the free set, and its factor, for one lane."""
    work = jax.dtypes.canonicalize_dtype(jnp.float64)
    diagonal = jnp.diagonal(Q).astype(work)
    d = 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1))
    S = d[:, None] * Q.astype(work) * d
    A = linear.restricted(jnp.tril(S) + jnp.tril(S, -1).T, free)
    return d, A, linear.factor(A)[0]


def _free_apply(d, A, L, free, b):
    """Solve for one right-hand side; NaN where there is no factor."""
    y = linear.refined_solve(A, L, jnp.where(free, d * b, 0))
    failed = ~jnp.isfinite(jnp.diagonal(L)).all()
    return (jnp.where(failed, jnp.nan, jnp.where(free, d * y, 0)).astype(b.dtype),)


def _choose_free_solve(platform, Q, free, b, kept, *, backend):
    if platform == "cpu" and backend in (None, "cpp") and backends.availability("cpp").available:
        _ffi.register_cpp()
        return jax.ffi.ffi_lowering("lenskern_nnls_free_solve")

    sequential = platform == "cpu"

    def solve(Q, free, b, kept):
        # In two steps, so that right-hand sides which share a matrix share its factor.
        d, A, L = _primitive.on_lanes(_free_factor, (2, 1), sequential)(Q, free)
        return _primitive.on_lanes(_free_apply, (1, 2, 2, 1, 1), sequential)(d, A, L, free, b)

    return mlir.lower_fun(solve)


solve_p = _primitive.batched_primitive("lenskern_nnls_solve", (2, 1, 1), _solve_results, _choose_solve)

# The same with one more result, the kept factor, for free_solve_p.
solve_and_keep_p = _primitive.batched_primitive(
    "lenskern_nnls_solve_and_keep", (2, 1, 1), _solve_and_keep_results, _choose_solve_and_keep
)

free_solve_p = _primitive.batched_primitive(
    "lenskern_nnls_free_solve",
    (2, 1, 1, 1),
    lambda Q, free, b, kept, backend: [(b.shape, b.dtype)],
    _choose_free_solve,
)

central_point_p = _primitive.batched_primitive(
    "lenskern_nnls_central_point",
    (2, 1, 0, 1, 1),
    lambda Q, q, kappa, x, z: [(q.shape, q.dtype)],
    lambda platform, *operands: mlir.lower_fun(
        _primitive.on_lanes(central.central_point, (2, 1, 0, 1, 1), sequential=platform == "cpu")
    ),
)

"""Exact draws from Poisson distributions, the same on every backend."""

import math

import jax
import jax.numpy as jnp
from jax.extend.random import threefry2x32_p
from jax.interpreters import mlir

from .. import _checks, _ffi, _primitive, backends
from . import poisson_reference as reference

__all__ = ["poisson"]

_TARGET = "lenskern_poisson"
_NDIMS = (1, 1)

# "lenskern poisson": makes the draws independent of all that jax.random draws from the same key.
_DOMAIN = (0x6C656E73, 0x706F6973)


def poisson(key, rate, *, backend=None):
    """Draw from Poisson distributions, exactly, quickly and the same everywhere.

    An element depends on the key, on its position in ``rate`` and on its own rate only. The counts are the same to the
    bit on every backend, for every number of threads, alone or under `jax.vmap`, and for a float32 rate those of the
    same rate in float64, rounded. They are not those of `jax.random.poisson`.

    Probabilities are right to some 1e-15. Counts above 2^53, or 2^24 in float32, are rounded to the nearest number of
    the dtype.

    Parameters
    ----------
    key : PRNG key
        A typed key of any implementation, or a uint32 array as from `jax.random.PRNGKey`. Use `jax.vmap` for a batch of
        keys.
    rate : array of float32 or float64
        Means, of any shape.
    backend : {None, "reference", "cpp", "cuda"}
        None takes the fastest that is available for the platform.

    Returns
    -------
    array
        Counts, of the shape and dtype of ``rate``; NaN where a rate is negative, infinite or NaN. Their derivative with
        respect to the rate is 0.

    Raises
    ------
    ValueError
        For a key or rate of the wrong shape or dtype, or an unknown backend.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from lenskern.simulate.poisson import poisson
    >>> poisson(jax.random.key(0), jnp.array([0.0, 0.5, 30.0, 1000.0, -1.0], jnp.float32)).tolist()
    [0.0, 1.0, 30.0, 1016.0, nan]
    """
    words = _key_words(key)
    rate = _checks.float_array("rate", rate)
    if backend is not None:
        backends.require(backend)
    if rate.size >= 2**32:
        raise NotImplementedError(f"rate: got {rate.size} elements, at most 2^32 - 1 are possible; use jax.vmap")
    flat = jax.lax.stop_gradient(rate).reshape(math.prod(rate.shape))
    return poisson_p.bind(_seed(words), flat, backend=backend)[0].reshape(rate.shape)


def _key_words(key):
    """The data of a key of any implementation."""
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if key.ndim:
            raise ValueError(f"key: got keys of shape {key.shape}, expected one key; use jax.vmap for a batch")
        return jax.random.key_data(key).ravel()
    if dtype != jnp.uint32:
        raise ValueError(f"key: got {dtype or type(key).__name__}, expected a PRNG key, as from jax.random.key")
    if key.ndim != 1 or key.size == 0 or key.size % 2:
        raise ValueError(f"key: got shape {key.shape}, expected one key, (2,); use jax.vmap for a batch")
    return jnp.asarray(key)


def _seed(words):
    """Two words from the words of a key, whatever their number."""
    seed = threefry2x32_p.bind(*words[:2], *(jnp.full((), word, jnp.uint32) for word in _DOMAIN))
    for k in range(2, words.size, 2):
        seed = threefry2x32_p.bind(*seed, *words[k : k + 2])
    return jnp.stack(seed)


def _reference(seed, rate):
    return [reference.poisson(seed, rate.astype(jnp.float64)).astype(rate.dtype)]


def _lower_reference(function):
    def lower(ctx, *operands):
        # The arithmetic is in float64 whatever the caller's types, so that the counts are the same.
        with jax.enable_x64(True):
            return mlir.lower_fun(function)(ctx, *operands)

    return lower


def _choose(platform, seed, rate, *, backend):
    if backend not in (None, "reference", "cpp", "cuda"):
        raise NotImplementedError(f"backend {backend!r} has no Poisson sampler; use backend=None")
    compiled = _ffi.compiled_backend(platform, backend)
    if compiled is not None:
        return jax.ffi.ffi_lowering(_TARGET + {"cpp": "", "cuda": "_cuda"}[compiled])
    # On the CPU one lane at a time stays in the caches, and stops on its own.
    lanes = _primitive.on_lanes(_reference, _NDIMS, sequential=True) if platform == "cpu" else _reference
    return _lower_reference(lanes)


poisson_p = _primitive.batched_primitive(_TARGET, _NDIMS, lambda seed, rate, **_: [(rate.shape, rate.dtype)], _choose)

"""Programs of `lenskern.nnls` that are compared with the reference."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lenskern import nnls

TOLERANCES = {"float64": 1e-9, "float32": 1e-4}
CONDITION = {"float64": 1e4, "float32": 10}


def programs(dtype, small):
    """(name, function, arguments, tolerance) of each; see `parity.Program`."""
    near = TOLERANCES[dtype]
    for K in (6,) if small else (1, 2, 7, 32, 40, 65, 128, 129, 200, 521, 1261):
        Q, q = systems(3, K, dtype)
        yield f"K = {K}, batch 3", _batch, (Q, q), near
    if small:
        return
    for K in (40, 300):
        Q, q = systems(3, K, dtype)
        yield f"K = {K}, jit", _solve, (Q[0], q[0]), near
        yield f"K = {K}, shared Q", _shared, (Q[0], q), near
        yield f"K = {K}, vmap of vmap, every pair", _every_pair, (Q, q), near
        yield f"K = {K}, gradient", _gradient, (Q[0], q[0]), near
        yield f"K = {K}, vmap of the gradient", jax_vmap(_gradient), (Q, q), near
        yield f"K = {K}, tangent", _tangent, (Q[0], q[0], Q[1], q[1]), near
        yield f"K = {K}, relaxed gradient", partial(_gradient, gradient="relaxed"), (Q[0], q[0]), 100 * near
        yield f"K = {K}, from a guess", _warm, (Q, q), near
        spoilt = Q.at[1, 2, 2].set(jnp.nan).at[2].add(-2 * jnp.diag(jnp.diagonal(Q[2])))
        yield f"K = {K}, two of three lanes are no problems", _batch, (spoilt, q), near
    Q, q = systems(200, 40, dtype)
    yield "K = 40, batch 200", _batch, (Q, q), near


def systems(batch, K, dtype):
    """Problems of which about half of the variables are zero in the solution."""
    rng = np.random.default_rng(K)
    A = rng.normal(size=(batch, 2 * K, K)) * np.geomspace(1, CONDITION[dtype] ** 0.5, K)
    q = np.einsum("bij,bi->bj", A, A @ rng.normal(size=K) + 5 * rng.normal(size=(batch, 2 * K)))
    return jnp.asarray(np.swapaxes(A, 1, 2) @ A, dtype), jnp.asarray(q, dtype)


def jax_vmap(function):
    """The function of a backend and one problem as one of a backend and a batch."""
    return lambda backend, Q, q: jax.vmap(partial(function, backend))(Q, q)


def _solve(backend, Q, q, **options):
    return nnls.solve(Q, q, backend=backend, **options)


def _batch(backend, Q, q):
    found = jax.vmap(partial(nnls.solution, backend=backend))(Q, q)
    return found.x, found.certified


def _shared(backend, Q, q):
    return jax.vmap(partial(_solve, backend), (None, 0))(Q, q)


def _every_pair(backend, Q, q):
    return jax.vmap(jax.vmap(partial(_solve, backend), (None, 0)), (0, None))(Q, q)


def _gradient(backend, Q, q, **options):
    weights = jnp.cos(jnp.arange(q.shape[-1], dtype=q.dtype))
    return jax.grad(lambda Q, q: _solve(backend, Q, q, **options) @ weights, (0, 1))(Q, q)


def _tangent(backend, Q, q, dQ, dq):
    return jax.jvp(partial(_solve, backend), (Q, q), (dQ, dq))[1]


def _warm(backend, Q, q):
    guess = jnp.maximum(q, 0)
    return jax.vmap(lambda Q, q, x0: _solve(backend, Q, q, x0=x0))(Q, q, guess)

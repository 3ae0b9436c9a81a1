import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern.simulate import microbatch
from lenskern.simulate.microbatch import in_pieces, peak_bytes

WEIGHTS = jnp.arange(5.0)
KEYS = jax.random.split(jax.random.key(0), 3)
POINTS = {"a": jnp.linspace(0.3, 1.3, 3), "b": jnp.linspace(2.0, 1.0, 3)}
POINT = {"a": 0.7, "b": 1.1}


def plain(point, key, n=1):
    x = point["a"] * WEIGHTS + jax.random.normal(key, (5,))
    return {"y": jnp.sin(x) * point["b"], "n": n + 1}


def loss(function):
    return lambda point, key: (function(point, key)["y"] ** 2).sum()


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: f(POINT, KEYS[0]),
        lambda f: jax.vmap(f, (None, 0))(POINT, KEYS),
        lambda f: jax.vmap(jax.vmap(f, (0, None)), (None, 0))(POINTS, KEYS),
        lambda f: jax.vmap(f)(jax.tree.map(lambda x: x[:0], POINTS), KEYS[:0]),
        lambda f: jax.vmap(jax.grad(loss(f)))(POINTS, KEYS),
        lambda f: jax.grad(lambda p: jax.vmap(loss(f), (None, 0))(p, KEYS).sum())(POINT),
        lambda f: jax.jit(jax.jacfwd(lambda p: f(p, KEYS[0])["y"]))(POINT),
        lambda f: jax.jacrev(jax.jacrev(loss(f)))(POINT, KEYS[0]),
    ],
    ids=["alone", "shared", "nested", "empty", "vmap(grad)", "grad(vmap)", "jacfwd", "twice reverse"],
)
def test_parity_with_the_function_itself(transform):
    found, expected = transform(in_pieces(plain)), transform(plain)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13), found, expected)


def test_what_the_function_closes_over_is_differentiated():
    slope = jax.grad(lambda w: in_pieces(lambda x: x * w)(jnp.arange(4.0)).sum())(2.0)
    assert slope == 6


def test_pieces_of_several_lanes_with_a_rest():
    seen = []

    def lane(x, shared):
        seen.append(x.shape)
        return [x * shared]

    x = jnp.arange(14.0).reshape(2, 7, 1)
    (found,) = microbatch._run(lane, [1, 1], 4, x, jnp.full((1, 1, 1), 3.0))
    np.testing.assert_array_equal(found, 3 * x)
    assert seen == [(1,), (1,)]


def test_peak_bytes_counts_what_is_alive_and_what_is_inside():
    def function(x):
        doubled = jax.lax.fori_loop(0, 3, lambda i, y: jnp.sin(y) + jnp.cos(y), x)
        return doubled.sum() + 1

    most = peak_bytes(jax.make_jaxpr(function)(jnp.zeros(1000)).jaxpr)
    assert 16_000 <= most <= 41_000


def test_a_batch_needs_the_memory_of_one_lane():
    def function(x):
        big = jnp.sin(x * jnp.arange(100_000.0))
        return jnp.sort(big)[::1000]

    def temporary(n):
        compiled = jax.jit(jax.vmap(in_pieces(function))).lower(jnp.zeros(n)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(64) < 1.2 * temporary(2) < 5e6

"""The batched primitive itself, and calls from several threads."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import itemgetter

import jax
import numpy as np
import pytest

from lenskern import _primitive, nnls
from lenskern.nnls.primitive import free_solve_p, kept_words, solve_and_keep_p, solve_p


def bind(Q, q, x0, backend):
    return solve_p.bind(Q, q, x0, method="crossover", tol=1e-12, max_iter=50, backend=backend)


@pytest.mark.parametrize(
    ("Q_axes", "q_axes", "batch"), [((2, 1), (1, 3), (2, 3)), ((1, 1), (2, 1), (2, 1)), ((1, 1), (1, 1), (1, 1))]
)
def test_axes_of_size_one_are_shared(backend, make_systems, Q_axes, q_axes, batch):
    Q, q = make_systems(2, 3, K=5)
    Q = Q[tuple(slice(n) for n in Q_axes)]
    q = q[tuple(slice(n) for n in q_axes)]
    x, z, status, *_ = bind(Q, q, np.zeros((1, 1, 0)), backend)
    assert x.shape == z.shape == (*batch, 5)
    assert status.shape == batch
    for i in np.ndindex(batch):
        Q_lane, q_lane = (a[tuple(k % n for k, n in zip(i, a.shape, strict=False))] for a in (Q, q))
        np.testing.assert_allclose(
            x[i], nnls.solve(Q_lane, q_lane, backend="reference"), rtol=0, atol=1e-9 * np.abs(x).max()
        )


def test_operands_need_equal_batch_axes():
    with pytest.raises(ValueError, match="same number of batch axes"):
        bind(np.eye(2)[None], np.ones(2), np.zeros(0), "reference")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_free_solve(backend, make_systems, dtype):
    Q, b = (a.astype(dtype) for a in make_systems(4, K=7, condition=100))
    free = np.random.default_rng(0).random((4, 7)) < 0.6
    free[0], free[1] = True, False
    y = free_solve_p.bind(Q, free, b, np.zeros((1, 0), np.float32), backend=backend)[0]
    assert y.dtype == dtype
    for lane in range(4):
        F = np.nonzero(free[lane])[0]
        wanted = np.zeros(7)
        wanted[F] = np.linalg.solve(Q[lane][np.ix_(F, F)].astype(float), b[lane][F].astype(float))
        tolerance = (1e-11 if dtype == "float64" else 1e-5) * max(np.abs(wanted).max(), 1e-300)
        np.testing.assert_allclose(y[lane], wanted, rtol=0, atol=tolerance)
        np.testing.assert_array_equal(y[lane][~free[lane]], 0)
    shared = free_solve_p.bind(Q[2:3], free[2:3], b, np.zeros((1, 0), np.float32), backend=backend)[0]
    np.testing.assert_allclose(shared[2], y[2], rtol=1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("sequential", [True, False])
def test_lanes_of_a_plain_function(sequential):
    a, b = np.arange(24.0).reshape(2, 3, 4), np.arange(8.0).reshape(2, 1, 4)
    out = _primitive.on_lanes(lambda a, b: (a + b, a.sum()), (1, 1), sequential)(a, b)
    np.testing.assert_array_equal(out[0], a + b)
    np.testing.assert_array_equal(out[1], a.sum(-1))


def test_several_threads_call_one_function(backend, make_systems):
    Q, q = make_systems(3, K=20)
    solve = jax.jit(jax.vmap(partial(nnls.solution, backend=backend)))
    inputs = [(Q, q * (1 + i)) for i in range(8)]
    wanted = [jax.device_get(solve(*each)) for each in inputs]

    def call(i):
        return [jax.device_get(solve(*inputs[i])) for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        for i, results in enumerate(pool.map(call, range(8))):
            for found in results:
                jax.tree.map(np.testing.assert_array_equal, found, wanted[i])


def test_threads_share_a_large_lane_and_change_nothing(make_systems, available):
    """Alone a lane has all threads, beside others one: products and factors are put together in the same order."""
    available("cpp")
    Q, q = make_systems(4, K=531, condition=1e8)
    solve = partial(nnls.solution, backend="cpp")
    together = jax.jit(jax.vmap(solve))(Q, q)
    assert together.certified.all()
    for i, lane in enumerate(zip(Q, q, strict=True)):
        alone = jax.jit(solve)(*lane)
        jax.tree.map(np.testing.assert_array_equal, alone, jax.tree.map(itemgetter(i), together))
        np.testing.assert_allclose(Q[i] @ alone.x - q[i], alone.z, rtol=0, atol=1e-11 * np.abs(q[i]).max())


def test_several_threads_make_their_first_call(make_systems, available):
    # The first lowering registers the compiled kernels.
    available("cpp")
    Q, q = make_systems(6, K=6)

    def call(i):
        return jax.jit(lambda Q, q: nnls.solve(Q, q, max_iter=40 + i, backend="cpp"))(Q[i], q[i])

    with ThreadPoolExecutor(6) as pool:
        for i, x in enumerate(pool.map(call, range(6))):
            wanted = nnls.solve(Q[i], q[i], backend="reference")
            np.testing.assert_allclose(x, wanted, rtol=0, atol=1e-9 * np.abs(x).max())


def test_kept_factor(make_systems, available):
    """The factor that a solve keeps gives what a fresh one gives, on the support and on part of it."""
    available("cpp")
    Q, q = make_systems(3, K=200, condition=1e6)
    x, *_, kept = solve_and_keep_p.bind(
        Q, q, np.zeros((1, 0)), method="crossover", tol=1e-12, max_iter=50, backend="cpp"
    )
    assert kept.shape == (3, kept_words(200, "crossover", "cpp"))
    assert kept.view(np.int32)[:, 0].tolist() == [1, 1, 1]
    b = np.random.default_rng(5).normal(size=(3, 200))
    free = np.asarray(x) > 0
    fewer = free & (np.arange(200) % 7 > 0)
    none = np.zeros((1, 0), np.float32)
    for support in (free, fewer):
        fresh = free_solve_p.bind(Q, support, b, none, backend="cpp")[0]
        again = free_solve_p.bind(Q, support, b, kept, backend="cpp")[0]
        np.testing.assert_allclose(again, fresh, rtol=0, atol=1e-9 * np.abs(fresh).max())
        np.testing.assert_array_equal(again == 0, ~support)
    # a set that the factor does not cover is solved without it
    more = np.ones_like(free)
    fresh = free_solve_p.bind(Q, more, b, none, backend="cpp")[0]
    again = free_solve_p.bind(Q, more, b, kept, backend="cpp")[0]
    np.testing.assert_array_equal(again, fresh)


def test_large_gradients_agree_between_backends(make_systems, available):
    available("cpp")
    Q, q = (a[0] for a in make_systems(1, K=160, condition=1e6))
    weight = np.random.default_rng(2).normal(size=160)

    def loss(Q, q, backend):
        return jax.numpy.dot(weight, nnls.solve(Q, q, backend=backend))

    for ours, reference in zip(
        *(jax.grad(loss, argnums=(0, 1))(Q, q, backend) for backend in ("cpp", "reference")), strict=True
    ):
        np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-8 * np.abs(reference).max())

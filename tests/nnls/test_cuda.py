"""The CUDA kernels, emulated where there is no GPU, beyond what the tests of every backend ask.

The C++ compiler compiles their sources with what they use of CUDA, and they take the place of the CPU's kernels.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import backends, nnls
from lenskern.nnls import Status, cuda

# The kernels of the CPU, which the reference is compared with elsewhere, compile nothing.
ORACLE = "cpp" if backends.availability("cpp").available else "reference"
# Around the columns of a panel, the threads of a warp, and the sizes at which a block gets more threads.
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 63, 64, 65, 97, 128)


@pytest.fixture(autouse=True)
def here(request, monkeypatch):
    if not (backends.availability("cuda").available and jax.default_backend() == "gpu"):
        request.getfixturevalue("emulated_cuda")(monkeypatch)


def close(a, b, tolerance):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(np.abs(b).max(), 1e-300))


def solve(Q, q, **options):
    return nnls.solution(Q, q, backend="cuda", **options)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("K", SIZES)
def test_every_size(K, dtype, make_systems):
    Q, q = (a.astype(dtype) for a in make_systems(K=K, seed=K, condition=1e8 if dtype == "float64" else 10))
    found = solve(Q, q)
    wanted = nnls.solution(Q.astype("float64"), q.astype("float64"), backend=ORACLE)
    assert found.certified and found.x.dtype == dtype
    close(found.x, wanted.x, 1e-9 if dtype == "float64" else 3e-6)
    close(found.z, wanted.z, 1e-9 if dtype == "float64" else 3e-6)
    warm = solve(Q, q, x0=found.x)
    assert warm.certified and warm.iterations == 0
    np.testing.assert_array_equal(warm.x > 0, found.x > 0)


def test_takes_the_steps_of_the_cpu(mge_system):
    if ORACLE != "cpp":
        pytest.skip(backends.availability("cpp").reason)
    found, wanted = (nnls.solution(mge_system.Q, mge_system.q, backend=name) for name in ("cuda", "cpp"))
    assert found.certified and found.iterations == wanted.iterations
    close(found.x, mge_system.x, 1e-9)
    close(found.z, wanted.z, 1e-9)


def test_statuses_are_those_of_the_cpu(make_systems):
    Q, q = make_systems(12, K=10)
    eye = np.eye(10)
    Q[1, 3, 2] = np.nan
    Q[2, 2, 3] = np.inf
    Q[3, 4, 4] = 0
    Q[4] = Q[4] - 0.9 * np.diag(np.diag(Q[4]))
    Q[5, 1, 7] += 1e-3 * Q[5, 7, 7]
    q[6, 5] = np.inf
    Q[7] = eye
    q[7] = 0  # nothing to gain
    Q[8, :5, 5:] = Q[8, 5:, :5] = 0  # what is masked: no data, and a unit diagonal
    Q[8, 5:, 5:], q[8, 5:] = np.eye(5), 0
    Q[9, :, 1], Q[9, 1], q[9, 1] = Q[9, :, 0], Q[9, 0], q[9, 0]  # twice the same column
    Q[9, 1, 1] = Q[9, 0, 0]
    Q[9, 0, 1] = Q[9, 1, 0] = Q[9, 0, 0]
    q[10] = -np.abs(q[10])
    Q[11] *= 1e-200  # z overflows nothing, x does
    q[11] *= 1e150
    found, wanted = (jax.vmap(partial(nnls.solution, backend=name))(Q, q) for name in ("cuda", ORACLE))
    np.testing.assert_array_equal(found.status, wanted.status)
    assert set(np.asarray(found.status)) == {0, *map(int, (Status.NOT_POSITIVE_DEFINITE, *BAD))}
    np.testing.assert_array_equal(np.isnan(found.x), np.isnan(wanted.x))
    np.testing.assert_array_equal(np.isnan(found.residual), np.isnan(wanted.residual))
    for lane in np.flatnonzero(found.certified):
        if lane != 9:  # whose solution is not unique
            close(found.x[lane], wanted.x[lane], 1e-9)
            close(found.z[lane], wanted.z[lane], 1e-9)
    assert not found.x[8, 5:].any()


BAD = (Status.NOT_FINITE, Status.NOT_SYMMETRIC)


def test_last_status(mge_system):
    for options in ({"max_iter": 1}, {"tol": 1e-30}):
        found, wanted = (nnls.solution(mge_system.Q, mge_system.q, backend=n, **options) for n in ("cuda", ORACLE))
        if ORACLE == "cpp":
            assert found.status == wanted.status and found.iterations == wanted.iterations
        assert found.residual < 1 and (np.asarray(found.x) >= 0).all()


@pytest.mark.parametrize("K", [20, 40, 70])  # blocks of one, two and eight warps
def test_a_lane_is_the_same_to_the_bit_in_any_batch(K, make_systems):
    Q, q = make_systems(3, K=K)
    Q[1, 0, 0] = np.nan
    x0 = np.ones_like(q)
    for guess in ((), (x0,)):

        def call(Q, q, *x0):
            return solve(Q, q, x0=x0[0] if x0 else None)

        batch = jax.vmap(call)(Q, q, *guess)
        for lane in range(3):
            alone = call(Q[lane], q[lane], *[x[lane] for x in guess])
            for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(batch), strict=True):
                np.testing.assert_array_equal(a, b[lane])


def test_batches_share_operands(make_systems):
    Q, q = make_systems(4, K=9)
    x0 = np.ones((2, 9))

    def call(Q, q, x0):
        return solve(Q, q, x0=x0)

    # x0 along the first axis, Q along the second, q along the third.
    call = jax.vmap(jax.vmap(jax.vmap(call, in_axes=(None, 0, None)), in_axes=(0, None, None)), in_axes=(None, None, 0))
    found = jax.jit(call)(Q, q, x0)
    assert found.x.shape == (2, 4, 4, 9) and found.certified.all()
    for i in range(4):
        for j in range(4):
            wanted = nnls.solve(Q[i], q[j], backend=ORACLE)
            for k in range(2):
                close(found.x[k, i, j], wanted, 1e-9)


def test_many_nested_vmaps(make_systems):
    Q, q = make_systems(K=2)
    factors = jnp.array([1.0, 2.0])

    def nested(depth, Q, q):
        if depth == 0:
            return nnls.solve(Q, q, backend="cuda")
        if depth % 2:  # sharing by turns, so that no two axes are one
            return jax.vmap(lambda f: nested(depth - 1, Q, f * q))(factors)
        return jax.vmap(lambda f: nested(depth - 1, f * Q, q))(factors)

    assert nested(6, Q, q).shape == (2,) * 6 + q.shape
    with pytest.raises(Exception, match="lenskern.nnls: backend 'cuda' takes up to 6 nested vmaps"):
        jax.block_until_ready(nested(7, Q, q))


def test_no_lanes():
    found = jax.vmap(solve)(np.zeros((0, 5, 5)), np.zeros((0, 5)))
    assert found.x.shape == (0, 5) and found.status.shape == (0,)


def test_large_problems_are_refused():
    K = cuda.most_unknowns() + 1
    shapes = [jax.ShapeDtypeStruct(shape, "float64") for shape in ((K, K), (K,))]
    with pytest.raises(NotImplementedError, match=f"up to {K - 1} unknowns, got {K}; use backend=None"):
        jax.jit(solve).lower(*shapes)


def test_threads_do_not_race(run_sanitized):
    folders = ["tests/cuda", "kernels/include", "kernels/cuda"]
    # Threads of one warp, and of two.
    run_sanitized("thread", ["tests/cuda/nnls_race.cc"], folders, ["13", "36"])

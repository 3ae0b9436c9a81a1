"""The CUDA kernel for more than 128 unknowns, emulated where there is no GPU: blocks that wait for one another.

What all kernels have in common is tested in test_cuda.py.
"""

from functools import partial

import jax
import numpy as np
import pytest

from lenskern import _ffi, backends, nnls
from lenskern.nnls import Status

ORACLE = "cpp" if backends.availability("cpp").available else "reference"


@pytest.fixture
def processors(request, monkeypatch):
    """Sets how many blocks run at once."""
    if backends.availability("cuda").available and jax.default_backend() == "gpu":
        return lambda count: None
    request.getfixturevalue("emulated_cuda")(monkeypatch)
    emulate = _ffi.load_cuda().emulate_processors
    request.addfinalizer(lambda: emulate(3))
    return emulate


def solve(Q, q, backend="cuda", **options):
    return jax.jit(jax.vmap(partial(nnls.solution, backend=backend, **options)))(Q, q)


def close(a, b, tolerance):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def same_steps(found, wanted):
    np.testing.assert_array_equal(found.status, wanted.status)
    if ORACLE == "cpp":
        np.testing.assert_array_equal(found.iterations, wanted.iterations)
        np.testing.assert_array_equal(found.passes, wanted.passes)


# A tile more or less than three, chunks that are not full, a set that is; blocks with nothing to do, and one alone.
@pytest.mark.parametrize(
    ("K", "blocks", "dtype", "condition"),
    [(129, 1, "float64", 1e4), (200, 11, "float64", 1e11), (193, 2, "float32", 10), (320, 5, "float64", 1e8)],
)
def test_takes_the_steps_of_the_cpu(processors, K, blocks, dtype, condition, make_systems):
    processors(blocks)
    Q, q = (a.astype(dtype) for a in make_systems(1, K=K, seed=K, condition=condition))
    found, wanted = solve(Q, q), solve(Q.astype("float64"), q.astype("float64"), ORACLE)
    assert found.certified.all() and found.x.dtype == dtype
    if dtype == "float64":
        same_steps(found, wanted)
    close(found.x, wanted.x, 1e-9 if dtype == "float64" else 3e-6)
    close(found.z, wanted.z, 1e-9 if dtype == "float64" else 3e-6)


def test_more_lanes_than_groups_of_blocks(processors, make_systems):
    processors(2)
    Q, q = make_systems(9, K=130, condition=1e6)
    eye = np.eye(130)
    Q[1, 70, 3] = np.nan
    Q[2, 2, 129] = np.inf
    Q[3, 4, 4] = 0
    Q[4] -= 0.9 * np.diag(np.diag(Q[4]))
    Q[5, 1, 77] += 1e-3 * Q[5, 77, 77]
    q[6] = -np.abs(q[6])
    Q[7, :, 1], Q[7, 1], q[7, 1] = Q[7, :, 0], Q[7, 0], q[7, 0]  # twice the same column
    Q[7, 1, 1] = Q[7, 0, 1] = Q[7, 1, 0] = Q[7, 0, 0]
    Q[8, :65, 65:] = Q[8, 65:, :65] = 0  # what is masked: no data, and a unit diagonal
    Q[8, 65:, 65:], q[8, 65:] = eye[65:, 65:], 0
    found, wanted = solve(Q, q), solve(Q, q, ORACLE)
    np.testing.assert_array_equal(found.status, wanted.status)
    bad = {Status.NOT_FINITE, Status.NOT_SYMMETRIC, Status.NOT_POSITIVE_DEFINITE}
    assert set(np.asarray(found.status)) == {0, *map(int, bad)}
    np.testing.assert_array_equal(np.isnan(found.x), np.isnan(wanted.x))
    np.testing.assert_array_equal(np.isnan(found.residual), np.isnan(wanted.residual))
    for lane in (0, 6, 8):
        close(found.x[lane], wanted.x[lane], 1e-9)
        close(found.z[lane], wanted.z[lane], 1e-9)
    assert found.certified[7] and not found.x[8, 65:].any()
    # A lane is the same to the bit beside others and alone, whose group then has both blocks.
    for lane in (0, 7):
        alone = solve(Q[lane : lane + 1], q[lane : lane + 1])
        for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(found), strict=True):
            np.testing.assert_array_equal(a[0], b[lane])


@pytest.mark.parametrize("options", [{"max_iter": 1}, {"tol": 1e-30}], ids=str)
def test_last_status(processors, options):
    """Where rounding stands in the way float64 factors are tried too."""
    processors(3)
    rng = np.random.default_rng(0)
    A = rng.normal(size=(1, 140, 140))
    Q, q = A @ A.transpose(0, 2, 1) + np.eye(140), rng.normal(size=(1, 140))
    found, wanted = solve(Q, q, **options), solve(Q, q, ORACLE, **options)
    assert found.status != Status.CERTIFIED
    if ORACLE == "cpp":
        same_steps(found, wanted)
    assert found.residual <= 1 and (np.asarray(found.x) >= 0).all()


def test_guess(processors, make_systems):
    processors(4)
    Q, q = make_systems(2, K=150)
    shared = jax.vmap(lambda q, x0: nnls.solution(Q[0], q, x0=x0, backend="cuda"))
    cold = nnls.solution(Q[0], q[0], backend=ORACLE)
    for x0 in (cold.x, np.where(np.arange(150) % 5, cold.x, np.nan)):
        found = shared(q[:1], np.asarray(x0)[None])
        assert found.certified.all()
        close(found.x[0], cold.x, 1e-9)
    exact = shared(q[:1], np.asarray(cold.x)[None])
    assert exact.iterations == 0 and exact.passes == 1


def test_gradient(processors, make_systems):
    processors(2)
    Q, q = make_systems(K=129)
    weights = np.cos(np.arange(129))

    def total(Q, q, backend):
        return nnls.solve(Q, q, backend=backend) @ weights

    found, wanted = (jax.grad(total, (0, 1))(Q, q, backend) for backend in ("cuda", ORACLE))
    for a, b in zip(found, wanted, strict=True):
        close(a, b, 1e-8)


def test_blocks_do_not_race(run_sanitized):
    folders = ["tests/cuda", "kernels/include", "kernels/cuda"]
    run_sanitized("thread", ["tests/cuda/nnls_large_race.cc"], folders)

"""The Pallas kernel by itself: exact in interpret mode, and code that a GPU's compiler takes."""

import importlib.util
import re
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from lenskern._kernels.pallas import nnls as kernel
from scipy import linalg, optimize

from lenskern.nnls import Status

pytestmark = pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")

NO_GUESS = np.zeros((1, 0))

# What the compiler has to know about an H200 on a machine without one.
H200 = (Path(__file__).parents[1] / "data" / "h200.txtpb").read_text(encoding="utf-8")


interpreted = jax.jit(partial(kernel.solve, interpret=True), static_argnames=("tol", "max_iter"))


def solve(Q, q, x0=NO_GUESS, *, tol=1e-12, max_iter=50):
    return [np.asarray(a) for a in interpreted(Q, q, x0, tol=tol, max_iter=max_iter)]


def exact(Q, q, guess):
    """Exchange one variable at a time, the last first, until the signs are right (Murty 1974): slow and certain."""
    free = guess > 0
    for _ in range(10_000):
        x = np.zeros_like(q)
        x[free] = linalg.solve(Q[np.ix_(free, free)], q[free], assume_a="pos")
        z = np.where(free, 0, Q @ x - q)
        wrong = np.nonzero(np.where(free, x < 0, z < -1e-12 * np.abs(q).max()))[0]
        if not wrong.size:
            return x, np.maximum(z, 0)
        free[wrong[-1]] ^= True
    raise AssertionError("no solution found")


def by_scipy(Q, q):
    L = np.linalg.cholesky(Q)
    return optimize.nnls(L.T, linalg.solve_triangular(L, q, lower=True))[0]


def close(a, b, tolerance):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("K", [1, 7, 16, 17, 40, 128])
def test_agrees_with_oracles(K, make_systems):
    Q, q = make_systems(3, K=K)
    x, z, status, iterations, passes, residual = solve(Q, q)
    assert np.all(status == Status.CERTIFIED)
    assert np.all(residual <= 1e-12)
    assert np.all(iterations <= 12)
    assert np.all((passes >= 1) | (q <= 0).all(1))
    assert np.all((x == 0) | (z == 0))
    for lane in range(3):
        wanted_x, wanted_z = exact(Q[lane], q[lane], by_scipy(Q[lane], q[lane]))
        close(x[lane], wanted_x, 1e-10)
        close(z[lane], wanted_z, 1e-10)
        close(x[lane], by_scipy(Q[lane], q[lane]), 1e-8)


def test_real_systems(mge_system):
    Q, q, wanted = mge_system
    x, _, status, iterations, passes, residual = solve(Q[None], q[None])
    assert status == Status.CERTIFIED
    assert residual <= 1e-12
    assert iterations + passes <= 20
    close(x[0], wanted, 1e-9)


@pytest.mark.parametrize(("matrices", "vectors"), [(1, 3), (3, 1), (1, 1)])
def test_shared_operands(matrices, vectors, make_systems):
    Q, q = make_systems(3, K=9)
    Q, q = Q[:matrices], q[:vectors]
    x0 = np.ones((3, 9))
    found = solve(Q, q, x0)
    wanted = solve(*(np.broadcast_to(a, (3, *a.shape[1:])) for a in (Q, q)), x0)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_singular_systems_are_certified(make_systems):
    Q, q = make_systems(4, K=20)
    twice = np.tile(np.arange(20), 2)
    Q, q = Q[:, twice][:, :, twice], q[:, twice]
    x, _, status, *_ = solve(Q, q)
    assert np.all(status == Status.CERTIFIED)
    for lane in range(4):
        gradient = (Q[lane] @ x[lane] - q[lane]) / np.abs(q[lane]).max()
        np.testing.assert_allclose(gradient[x[lane] > 0], 0, atol=1e-10)
        assert gradient.min() >= -1e-10


def test_faults_are_nan_and_stay_in_their_lane(make_systems):
    Q, q = make_systems(8, K=9)
    clean = solve(Q, q)
    near = np.full((3, 3), -0.9) + 1.9 * np.eye(3)  # no 2 x 2 minor shows that it is indefinite
    Q[1, 4, 2], q[2, 3] = np.nan, np.inf
    Q[3, 5, 5], Q[4, 5, 5] = 0, -1
    Q[5, 0, 1] += 1e-6 * Q[5, 0, 0]
    Q[6, :3, :3] = near
    found = solve(Q, q)
    np.testing.assert_array_equal(
        found[2][1:7],
        [
            *[Status.NOT_FINITE] * 2,
            *[Status.NOT_POSITIVE_DEFINITE] * 2,
            Status.NOT_SYMMETRIC,
            Status.NOT_POSITIVE_DEFINITE,
        ],
    )
    for a, b in zip(found, clean, strict=True):
        np.testing.assert_array_equal(a[[0, 7]], b[[0, 7]])
    for a in (found[0], found[1], found[5]):
        assert np.isnan(a[1:7]).all()


def test_limit_of_iterations(mge_system):
    Q, q, wanted = mge_system
    x, _, status, iterations, _, residual = solve(Q[None], q[None], max_iter=2)
    assert iterations == 2
    assert np.all(x >= 0)
    if status == Status.CERTIFIED:  # rounding can let the exact end succeed as early as that
        close(x[0], wanted, 1e-9)
    else:
        assert status == Status.MAX_ITER
        assert 1e-12 < residual < 1
    # a tolerance that rounding cannot meet ends with the solution all the same
    x, _, status, _, _, residual = solve(Q[None], q[None], tol=1e-300)
    assert status == Status.STALLED or residual == 0
    close(x[0], wanted, 1e-9)


@pytest.mark.parametrize("wide", [True, False])
def test_float32_data_in_float64_arithmetic(wide, mge_system):
    Q, q = (a[None].astype("float32") for a in mge_system[:2])
    with jax.enable_x64(wide):
        x, _, status, *_, residual = solve(Q, q, NO_GUESS.astype("float32"), tol=1e-6)
    assert x.dtype == residual.dtype == np.float32
    assert status == Status.CERTIFIED
    close(x, solve(Q.astype("float64"), q.astype("float64"))[0], 1e-6)


def test_no_lanes():
    x, *_, residual = solve(np.zeros((0, 5, 5)), np.zeros((1, 5)))
    assert x.shape == (0, 5)
    assert residual.shape == (0,)


def test_too_large_names_another_backend():
    Q, q = np.eye(129)[None], np.ones((1, 129))
    with pytest.raises(NotImplementedError, match=r"128.*129.*reference"):
        kernel.solve(Q, q, NO_GUESS, tol=1e-12, max_iter=50)
    many = jax.ShapeDtypeStruct((2**20, 64, 64), "float64"), jax.ShapeDtypeStruct((2**20, 64), "float64")
    with pytest.raises(NotImplementedError, match="several calls"):
        jax.eval_shape(partial(kernel.solve, tol=1e-12, max_iter=50), *many, NO_GUESS)


def test_import_without_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
    monkeypatch.delattr("jax.experimental.pallas.triton", raising=False)
    spec = importlib.util.spec_from_file_location("without_triton", kernel.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(RuntimeError, match="no Pallas-Triton"):
        module.solve(np.eye(3)[None], np.ones((1, 3)), NO_GUESS, tol=1e-12, max_iter=50)


def on_h200():
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H200", num_cores=None, platform="gpu")
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=device))


def lowered(dtype, *shapes, sharding=None):
    arguments = [jax.ShapeDtypeStruct(shape, dtype, sharding=sharding) for shape in shapes]
    with on_h200():
        traced = jax.jit(partial(kernel.solve, tol=1e-12, max_iter=50)).trace(*arguments)
        return traced.lower(lowering_platforms=("cuda",))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("K", [1, 40, 128])
@pytest.mark.parametrize("guess", [False, True])
def test_lowers_for_cuda(dtype, K, guess):
    text = lowered(dtype, (1, K, K), (1000, K), (1000, K if guess else 0)).as_text()
    assert text.count("stablehlo.custom_call") == 1
    assert "triton" in text
    assert f"tensor<1000x{K}x{K}x" not in text, "the shared matrix is copied"


def test_lowers_for_cuda_without_64_bit_types():
    def calls():
        # Without the kernel itself, which also holds where its parts were first traced.
        return re.sub(r'"[^"]*"', "", lowered("float32", (8, 40, 40), (8, 40), (8, 0)).as_text())

    wide = calls()
    with jax.enable_x64(False):
        assert calls() == wide
    assert "custom_call" in wide


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("K", [40, 128])
def test_compiles_for_h200(dtype, K):
    pytest.importorskip(
        "jax_plugins.xla_cuda13",
        reason="no GPU compiler here; pip install jax-cuda13-plugin jax-cuda13-pjrt of the version of jax",
    )
    from jax.experimental import topologies

    try:
        topology = topologies.get_topology_desc(platform="cuda", target_config=H200, topology="1x1x1")
    except NotImplementedError as error:
        pytest.skip(f"the GPU compiler did not load: {error}; JAX_PLATFORMS=cpu lets it do without cuDNN")
    sharding = jax.sharding.SingleDeviceSharding(topology.devices[0])
    compiled = lowered(dtype, (64, K, K), (64, K), (64, 0), sharding=sharding).compile()
    # registers and shared memory only
    assert compiled.memory_analysis().temp_size_in_bytes == 0


@pytest.mark.parametrize("K", [40, 128])
def test_runs_on_a_gpu(K, make_systems):
    if jax.default_backend() != "gpu":
        pytest.skip("no GPU here")
    Q, q = make_systems(64, K=K)
    x, z, status, *_ = jax.jit(partial(kernel.solve, tol=1e-12, max_iter=50))(Q, q, NO_GUESS)
    wanted_x, wanted_z, *_ = solve(Q, q)
    assert np.all(status == Status.CERTIFIED)
    close(x, wanted_x, 1e-10)
    close(z, wanted_z, 1e-10)

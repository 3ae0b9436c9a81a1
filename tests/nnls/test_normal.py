"""Matrices of normal equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import nnls

TOLERANCE = {"float64": 1e-13, "float32": 1e-5}


@pytest.fixture(params=["reference", "cpp"])
def backend(request, available):
    return available(request.param)


def system(rows, columns, dtype="float64", fill=0.06, seed=0):
    """A matrix that is mostly zeros with some full columns and a column of zeros, and a noise map."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, columns)) * (rng.uniform(size=(rows, columns)) < fill)
    matrix[:, ::17] = rng.normal(size=matrix[:, ::17].shape)
    matrix[:, columns // 2] = 0
    return matrix.astype(dtype), rng.uniform(0.5, 2, rows).astype(dtype)


def product(matrix, noise):
    scaled = matrix.astype("float64") / noise[:, None].astype("float64")
    return scaled.T @ scaled


@pytest.mark.parametrize("dtype", ["float64", "float32"])
# Fewer rows than a tile, more than are packed at once; columns within a panel, and over several ranges.
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (70, 3), (63, 40), (1100, 129), (1500, 300)])
def test_is_the_product(backend, rows, columns, dtype):
    matrix, noise = system(rows, columns, dtype)
    order = np.random.default_rng(1).permutation(rows)
    right = product(matrix, noise)
    for rest in ({}, {"order": order}):
        found = np.asarray(nnls.normal_matrix(matrix, noise, backend=backend, **rest))
        assert found.dtype == dtype
        np.testing.assert_allclose(found, right, rtol=0, atol=TOLERANCE[dtype] * np.abs(right).max())
    without = nnls.normal_matrix(matrix, backend=backend)
    right = product(matrix, np.ones_like(noise))
    np.testing.assert_allclose(without, right, rtol=0, atol=TOLERANCE[dtype] * np.abs(right).max())


def test_full_columns_side_by_side(backend):
    matrix, noise = system(200, 70, fill=1)
    matrix[:, 35] = 1.0
    right = product(matrix, noise)
    np.testing.assert_allclose(nnls.normal_matrix(matrix, noise, backend=backend), right, rtol=0, atol=1e-12)


def test_transforms(backend):
    matrices, noises = zip(*(system(90, 20, seed=seed) for seed in range(3)), strict=True)
    matrices, noises = jnp.asarray(matrices), jnp.asarray(noises)

    def normal(matrix, noise):
        return nnls.normal_matrix(matrix, noise, backend=backend)

    alone = np.stack([normal(m, s) for m, s in zip(matrices, noises, strict=True)])
    for found in (jax.jit(jax.vmap(normal))(matrices, noises), normal(matrices, noises)):
        np.testing.assert_allclose(found, alone, rtol=0, atol=1e-12)
    shared = np.stack([normal(m, noises[0]) for m in matrices])
    np.testing.assert_allclose(jax.vmap(normal, (0, None))(matrices, noises[0]), shared, rtol=0, atol=1e-12)
    np.testing.assert_allclose(normal(matrices, noises[0]), shared, rtol=0, atol=1e-12)

    def plain(matrix, noise):
        scaled = matrix / noise[:, None]
        return scaled.T @ scaled

    weights = np.random.default_rng(2).normal(size=alone[0].shape)
    ours, theirs = (
        jax.jit(jax.vmap(jax.grad(lambda m, s, f=f: jnp.sum(weights * f(m, s)), (0, 1))))(matrices, noises)
        for f in (normal, plain)
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11)
    primals, tangents = (matrices[0], noises[0]), (matrices[1], noises[1])
    ours, theirs = (jax.jvp(f, primals, tangents)[1] for f in (normal, plain))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-11)
    ours, theirs = (
        jax.jvp(jax.grad(lambda m, s, f=f: jnp.sum(weights * f(m, s) ** 2)), primals, tangents)[1]
        for f in (normal, plain)
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * np.abs(theirs).max())


def test_compiled_results_are_symmetric_and_do_not_depend_on_neighbours(available):
    available("cpp")
    matrices, noises = zip(*(system(700, 300, seed=seed) for seed in range(3)), strict=True)
    together = np.asarray(nnls.normal_matrix(jnp.asarray(matrices), jnp.asarray(noises), backend="cpp"))
    np.testing.assert_array_equal(together, together.transpose(0, 2, 1))
    for one, matrix, noise in zip(together, matrices, noises, strict=True):
        np.testing.assert_array_equal(one, nnls.normal_matrix(matrix, noise, backend="cpp"))


def test_a_solve_from_data(backend):
    """The least-squares problem itself, where the solution is known."""
    matrix, noise = system(400, 30, seed=5)
    matrix[:, 15] = np.abs(np.random.default_rng(6).normal(size=400))
    x = np.maximum(np.random.default_rng(7).normal(size=30), 0)
    data = matrix @ x
    Q = nnls.normal_matrix(matrix, noise, backend=backend)
    found = nnls.solve(Q, jnp.asarray(matrix.T @ (data / noise**2)))
    np.testing.assert_allclose(found, x, rtol=0, atol=1e-10)


def test_tile_order():
    mask = np.ones((40, 33), bool)
    mask[3:30, 5:31] = False
    order = nnls.tile_order(mask)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(27 * 26))
    squares = np.argwhere(~mask)[order] // 8
    changes = np.any(np.diff(squares, axis=0) != 0, axis=1).sum() + 1
    assert changes == len(np.unique(squares, axis=0))  # each of them once


def test_bad_input():
    matrix, noise = system(6, 4)
    with pytest.raises(ValueError, match=r"matrix: got shape \(6,\), expected \(..., N, S\)"):
        nnls.normal_matrix(matrix[:, 0])
    with pytest.raises(ValueError, match=r"matrix: got shape \(6, 0\), expected \(..., N, S\) with N, S > 0"):
        nnls.normal_matrix(matrix[:, :0])
    with pytest.raises(ValueError, match="matrix: got dtype int64, expected float32 or float64"):
        nnls.normal_matrix(np.ones((3, 3), int))
    with pytest.raises(ValueError, match=r"noise_map: got shape \(4,\), expected \(..., 6\)"):
        nnls.normal_matrix(matrix, noise[:4])
    with pytest.raises(ValueError, match="noise_map: got dtype float32, expected the dtype of matrix, float64"):
        nnls.normal_matrix(matrix, noise.astype("float32"))
    with pytest.raises(ValueError, match=r"order: got shape \(5,\), dtype int64, expected \(6,\) of integers"):
        nnls.normal_matrix(matrix, noise, order=np.arange(5))
    with pytest.raises(ValueError, match="order: got some rows twice or not at all, expected each of 0 to 5 once"):
        nnls.normal_matrix(matrix, noise, order=[0, 1, 2, 3, 4, 4])
    with pytest.raises(NotImplementedError, match="'pallas' has no kernel for normal matrices"):
        nnls.normal_matrix(matrix, noise, backend="pallas")
    with pytest.raises(ValueError, match="mask: got a masked array"):
        nnls.tile_order(np.ma.array(np.zeros((2, 2), bool), mask=True))
    with pytest.raises(ValueError, match="mask: got a traced array"):
        jax.jit(nnls.tile_order)(np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match=r"mask: got shape \(2,\), dtype bool, expected \(H, W\) of bool"):
        nnls.tile_order(np.zeros(2, bool))

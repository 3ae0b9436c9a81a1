"""Logarithms of determinants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import nnls

TOLERANCE = {"float64": 1e-13, "float32": 3e-6}  # of the largest sum of |ln pivot|


@pytest.fixture(params=["reference", "cpp"])
def backend(request, available):
    return available(request.param)


def full(size, dtype="float64", seed=0):
    half = np.random.default_rng(seed).normal(size=(size, size + 5))
    return (half @ half.T / size + np.eye(size)).astype(dtype)


def regularization(side, dtype="float64", seed=0):
    """The Laplacian of a square mesh with weights, its pixels in any order, and two rows without zeros."""
    rng = np.random.default_rng(seed)
    pixel = rng.permutation(side**2).reshape(side, side)
    pairs = np.concatenate([np.stack([a[:-1].ravel(), a[1:].ravel()], 1) for a in (pixel, pixel.T)])
    steps = np.eye(side**2)[pairs[:, 0]] - np.eye(side**2)[pairs[:, 1]]
    matrix = steps.T @ (rng.uniform(0.5, 2, len(pairs))[:, None] * steps) + 1e-2 * np.eye(side**2)
    some = [0, side**2 // 2]
    matrix[some] += 0.05
    matrix[:, some] += 0.05
    matrix[some, some] += side**2
    return matrix.astype(dtype)


def assert_right(found, matrix):
    found = np.asarray(found)
    assert found.dtype == matrix.dtype
    eigenvalues = np.linalg.eigvalsh(matrix.astype("float64"))
    sign, wanted = np.linalg.slogdet(matrix.astype("float64"))
    assert sign == 1
    scale = np.abs(np.log(eigenvalues)).sum() + 1
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE[matrix.dtype.name] * scale)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("make", [full, lambda size, dtype: np.diag(np.linspace(1, 3, size)).astype(dtype)])
# Within a panel, at the ends of panels and of the columns that are updated at once, and beyond.
@pytest.mark.parametrize("size", [1, 2, 7, 8, 16, 17, 33, 63, 64, 65, 128, 200])
def test_is_that_of_numpy(backend, size, make, dtype):
    matrix = make(size, dtype)
    assert_right(nnls.log_determinant(matrix, backend=backend), matrix)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("side", [2, 5, 9, 14, 21])
def test_past_zeros(backend, side, dtype):
    matrix = regularization(side, dtype)
    assert_right(nnls.log_determinant(matrix, backend=backend), matrix)


def test_parts_that_know_nothing_of_each_other(backend):
    matrix = np.zeros((75, 75))
    matrix[::3, ::3], matrix[1::3, 1::3], matrix[2::3, 2::3] = full(25), regularization(5), np.eye(25)
    assert_right(nnls.log_determinant(matrix, backend=backend), matrix)
    matrix = np.zeros((80, 80))
    matrix[:60, :60], matrix[60:, 60:] = full(60), full(20)
    assert_right(nnls.log_determinant(matrix, backend=backend), matrix)


def test_reads_the_lower_triangle(backend):
    for matrix in (full(40), regularization(8)):
        lower = np.tril(matrix) + np.triu(np.full_like(matrix, np.nan), 1)
        found = nnls.log_determinant(lower, backend=backend)
        np.testing.assert_array_equal(found, nnls.log_determinant(matrix, backend=backend))


def test_transforms(backend):
    factors = np.random.default_rng(3).normal(size=(3, 2, 20, 20))
    shifts = np.random.default_rng(4).uniform(1, 2, size=(3, 20))

    def ours(factor, shift):
        return nnls.log_determinant(factor @ factor.T + jnp.diag(shift), backend=backend)

    def theirs(factor, shift):
        matrix = factor @ factor.T + jnp.diag(shift)
        return 2 * jnp.sum(jnp.log(jnp.diag(jnp.linalg.cholesky(matrix))))

    def both_lanes(f):
        return jax.vmap(jax.vmap(f, (0, None)))

    wanted = both_lanes(theirs)(factors, shifts)
    for transform in (both_lanes, lambda f: jax.jit(both_lanes(f))):
        np.testing.assert_allclose(transform(ours)(factors, shifts), wanted, rtol=0, atol=1e-11)
    matrices = factors @ factors.swapaxes(-2, -1) + np.eye(20) * shifts[:, None, None]
    np.testing.assert_allclose(nnls.log_determinant(matrices, backend=backend), wanted, rtol=0, atol=1e-11)
    shared = jax.vmap(ours, (None, 0))(factors[0, 0], shifts)
    np.testing.assert_allclose(shared, jax.vmap(theirs, (None, 0))(factors[0, 0], shifts), rtol=0, atol=1e-11)
    last = jax.vmap(lambda m: nnls.log_determinant(m, backend=backend), -1)(np.moveaxis(matrices[0], 0, -1))
    np.testing.assert_allclose(last, wanted[0], rtol=0, atol=1e-11)

    def compare(transform, *operands, tolerance=1e-10):
        for a, b in zip(*(jax.tree.leaves(transform(f)(*operands)) for f in (ours, theirs)), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1, np.abs(b).max()))

    one, tangents = (factors[0, 0], shifts[0]), (factors[1, 1], shifts[1])
    compare(lambda f: jax.jit(jax.grad(f, (0, 1))), *one)
    compare(lambda f: jax.jit(both_lanes(jax.grad(f, (0, 1)))), factors, shifts)
    compare(lambda f: lambda *x: jax.jvp(f, x, tangents)[1], *one)
    compare(lambda f: lambda *x: jax.jvp(jax.grad(f, (0, 1)), x, tangents)[1], *one)
    compare(lambda f: jax.hessian(lambda shift: f(factors[0, 0], shift)), shifts[0])


def test_gradient_is_the_inverse(backend):
    matrix = full(30)
    for given in (matrix, np.tril(matrix)):
        found = jax.grad(lambda m: 3 * nnls.log_determinant(m, backend=backend))(jnp.asarray(given))
        np.testing.assert_allclose(found, 3 * np.linalg.inv(matrix), rtol=0, atol=1e-12)
        np.testing.assert_array_equal(found, found.T)


def test_what_has_none_is_nan_and_leaves_others_as_they_are(backend):
    good = [full(70), regularization(8)]
    for whole in good:
        size = len(whole)
        indefinite, unknown, endless, zero = (whole.copy() for _ in range(4))
        indefinite[size - 1, size - 1] = -1
        unknown[size // 2, 1] = np.nan
        endless[3, 3] = np.inf
        zero[:, 5] = zero[5] = 0
        bad = [indefinite, unknown, endless, zero, -whole, np.zeros_like(whole)]
        lanes = jnp.asarray(np.stack([whole, *bad, whole]))
        found = np.asarray(nnls.log_determinant(lanes, backend=backend))
        assert np.isnan(found[1:-1]).all()
        np.testing.assert_array_equal(found[[0, -1]], nnls.log_determinant(whole, backend=backend))
        slopes = np.asarray(jax.grad(lambda m: nnls.log_determinant(m, backend=backend).sum())(lanes))
        assert np.isnan(slopes[1]).all()
        np.testing.assert_allclose(slopes[0], np.linalg.inv(whole), rtol=0, atol=1e-11)


@pytest.mark.parametrize("make", [lambda seed: full(400, seed=seed), lambda seed: regularization(20, seed=seed)])
def test_threads_change_nothing(available, make):
    """Alone a lane has all threads, beside others one: results are the same to the bit."""
    available("cpp")
    matrices = jnp.asarray(np.stack([make(seed) for seed in range(5)]))
    together = np.asarray(nnls.log_determinant(matrices, backend="cpp"))
    for _ in range(3):
        alone = [nnls.log_determinant(matrix, backend="cpp") for matrix in matrices]
        np.testing.assert_array_equal(together, np.stack(alone))


def test_no_lanes(backend):
    assert nnls.log_determinant(jnp.zeros((0, 4, 4)), backend=backend).shape == (0,)


def test_bad_input():
    with pytest.raises(ValueError, match=r"matrix: got shape \(3,\), expected \(..., K, K\) with K > 0"):
        nnls.log_determinant(np.ones(3))
    with pytest.raises(ValueError, match=r"matrix: got shape \(2, 3\), expected \(..., K, K\) with K > 0"):
        nnls.log_determinant(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"matrix: got shape \(0, 0\), expected \(..., K, K\) with K > 0"):
        nnls.log_determinant(np.ones((0, 0)))
    with pytest.raises(ValueError, match="matrix: got dtype int64, expected float32 or float64"):
        nnls.log_determinant(np.ones((3, 3), int))
    with pytest.raises(NotImplementedError, match="'pallas' has no kernel for determinants"):
        nnls.log_determinant(np.eye(3), backend="pallas")

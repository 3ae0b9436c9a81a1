"""The methods that the crossover is compared with."""

from functools import partial

import jax
import numpy as np
import pytest

from lenskern import nnls
from lenskern.nnls import Status

# Method, cap on the iterations, error relative to max|x| on a problem of condition 100.
METHODS = [("pdip", 50, 1e-5), ("admm", 4000, 1e-4), ("fista", 4000, 1e-4), ("bpp", 50, 1e-10)]


@pytest.mark.parametrize(("method", "max_iter", "tolerance"), METHODS)
def test_finds_the_solution(method, max_iter, tolerance, make_systems):
    Q, q = make_systems(3, condition=100)
    found = jax.jit(jax.vmap(partial(nnls.solution, method=method, max_iter=max_iter)))(Q, q)
    wanted = jax.vmap(nnls.solve)(Q, q)
    assert all(Status(s) in (Status.CERTIFIED, Status.CONVERGED) for s in found.status.tolist())
    np.testing.assert_allclose(found.x, wanted, rtol=0, atol=tolerance * wanted.max())
    assert np.all((found.x >= 0) & (found.z >= 0) & ((found.x == 0) | (found.z == 0)))
    assert np.all(found.iterations <= max_iter)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("method", "max_iter", "_"), METHODS)
def test_faults_and_easy_answers(method, max_iter, _, dtype, make_systems):
    Q, q = (a.astype(dtype) for a in make_systems(4, K=4, condition=10))
    Q[0, 0, 0], Q[1, 2, 2], q[2] = np.nan, -1, -1
    found = jax.vmap(partial(nnls.solution, method=method, max_iter=max_iter))(Q, q)
    assert found.status[:3].tolist() == [Status.NOT_FINITE, Status.NOT_POSITIVE_DEFINITE, Status.CERTIFIED]
    assert np.isnan(found.x[:2]).all()
    np.testing.assert_array_equal(found.x[2], 0)
    assert found.iterations[2] == 0
    assert found.x.dtype == dtype


@pytest.mark.parametrize(("method", "_", "__"), METHODS)
def test_cap_is_honest(method, _, __, mge_system):
    found = nnls.solution(mge_system.Q, mge_system.q, method=method, max_iter=2)
    assert Status(int(found.status)) in (Status.MAX_ITER, Status.STALLED)
    assert found.iterations <= 2
    assert found.residual > 1e-6


@pytest.mark.parametrize("method", ["admm", "fista", "bpp"])
def test_guess_saves_iterations(method, make_systems):
    Q, q = make_systems(condition=100)
    solve = partial(nnls.solution, Q, q, method=method, max_iter=4000)
    cold = solve()
    warm = solve(x0=nnls.solve(Q, q))
    assert warm.iterations < cold.iterations


@pytest.mark.parametrize(("method", "max_iter", "_"), METHODS)
def test_gradient(method, max_iter, _, make_systems):
    Q, q = make_systems(condition=10)
    found = jax.grad(lambda q: nnls.solve(Q, q, method=method, max_iter=max_iter).sum())(q)
    wanted = jax.grad(lambda q: nnls.solve(Q, q).sum())(q)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())

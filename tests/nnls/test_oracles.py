"""Against solvers and solutions that are not ours."""

from functools import partial

import jax
import numpy as np
import pytest
import scipy.optimize

from lenskern import nnls
from lenskern.bench import problems


def test_scipy(backend):
    rng = np.random.default_rng(11)
    A = np.abs(rng.normal(size=(12, 40, 15))) + 0.1 * rng.normal(size=(12, 40, 15))
    b = rng.normal(size=(12, 40)) + 0.5
    Q, q = np.swapaxes(A, 1, 2) @ A, np.einsum("nij,ni->nj", A, b)
    found = jax.vmap(partial(nnls.solution, backend=backend))(Q, q)
    assert found.certified.all()
    for x, A_lane, b_lane in zip(found.x, A, b, strict=True):
        wanted, _ = scipy.optimize.nnls(A_lane, b_lane)
        np.testing.assert_allclose(x, wanted, rtol=0, atol=1e-11 * wanted.max())
        np.testing.assert_array_equal(x > 0, wanted > 0)


def check(system, backend):
    found = nnls.solution(system.Q, system.q, backend=backend)
    assert found.certified
    np.testing.assert_allclose(found.x, system.x, rtol=0, atol=1e-8 * system.x.max())
    return found


def test_real_systems_of_gaussians(mge_system, backend):
    found = check(mge_system, backend)
    assert found.iterations <= 15


def test_real_systems_of_gaussians_float32(mge_system, backend):
    # Rounded to float32, the data itself moves the solution by more than its rounding.
    Q, q = mge_system.Q.astype("float32"), mge_system.q.astype("float32")
    found = nnls.solution(Q, q, backend=backend)
    wanted = nnls.solution(Q.astype("float64"), q.astype("float64"), tol=1e-8, backend="reference")
    assert found.certified and found.x.dtype == np.float32
    np.testing.assert_allclose(found.x, wanted.x, rtol=0, atol=2e-4 * wanted.x.max())


@pytest.mark.parametrize("backend", ["reference", "cpp"])
def test_real_systems_with_a_mesh(large_system, backend, available):
    found = check(large_system, available(backend))
    assert found.iterations <= 12


@pytest.mark.parametrize("backend", ["cpp", "cuda"], indirect=True)
def test_gaussians_that_are_nearly_the_same(backend):
    """A model that fits to the noise: float32 factors, of which the interior point makes more than they have."""
    system = problems.inversion("mge", 1, gaussians=66, style="truth")
    found = nnls.solution(system.Q, system.q, backend=backend)
    wanted = nnls.solution(system.Q, system.q, backend="reference")
    assert found.certified and wanted.certified
    np.testing.assert_allclose(system.Q @ found.x, system.Q @ wanted.x, rtol=0, atol=1e-10 * np.abs(system.q).max())
    assert found.iterations <= 16


def test_guess_from_the_solution_needs_no_interior_point(mge_system, backend):
    found = nnls.solution(mge_system.Q, mge_system.q, x0=mge_system.x, backend=backend)
    assert found.certified
    assert found.iterations == 0

"""Properties that hold for every problem, on problems that hypothesis draws."""

from functools import cache, partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenskern import nnls

K = 9
seeds = st.integers(0, 2**32 - 1)
conditions = st.sampled_from([1.0, 1e3, 1e6])
few = settings(max_examples=25)


@pytest.fixture(scope="module")
def solution(module_backend):
    """A jitted solver, made once for each backend."""
    return _jitted(module_backend)


@cache
def _jitted(backend):
    return jax.jit(partial(nnls.solution, backend=backend))


def draw(seed, condition, size=K):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(3 * size, size)) * rng.permutation(np.geomspace(1, condition**0.5, size))
    A[:, 1:] += 0.5 * A[:, :-1]
    return A.T @ A, A.T @ rng.normal(size=3 * size), rng


def agree(x, y, tolerance=1e-9):
    np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * max(np.abs(y).max(), 1e-300))


@few
@given(seeds, conditions)
def test_kkt_conditions_hold(solution, seed, condition):
    Q, q, _ = draw(seed, condition)
    found = solution(Q, q)
    x, z = np.asarray(found.x), np.asarray(found.z)
    assert found.certified
    assert (x >= 0).all() and (z >= 0).all() and (x * z == 0).all()
    d = 1 / np.sqrt(np.diag(Q))
    g = d * (Q @ x - q) / np.abs(d * q).max()
    assert np.abs(g[x > 0]).max(initial=0) < 1e-11
    assert g.min() > -1e-11
    np.testing.assert_allclose(d * z / np.abs(d * q).max(), np.where(x > 0, 0, g), atol=1e-11)


@few
@given(seeds, conditions)
def test_scaling_of_the_variables(solution, seed, condition):
    Q, q, rng = draw(seed, condition)
    s = 10.0 ** rng.uniform(-6, 6, K)
    agree(s * solution(Q * s[:, None] * s, q * s).x, solution(Q, q).x)


@few
@given(seeds, conditions, st.floats(1e-20, 1e20))
def test_solution_is_homogeneous_in_q(solution, seed, condition, factor):
    Q, q, _ = draw(seed, condition)
    agree(solution(Q, q * factor).x, solution(Q, q).x * factor)


@few
@given(seeds, conditions)
def test_order_of_the_variables(solution, seed, condition):
    Q, q, rng = draw(seed, condition)
    order = rng.permutation(K)
    agree(solution(Q[np.ix_(order, order)], q[order]).x, solution(Q, q).x[order])


@few
@given(seeds, conditions)
def test_padding_with_decoupled_variables(solution, seed, condition):
    Q, q, rng = draw(seed, condition, size=K - 3)
    padded, right = np.diag(rng.uniform(0.1, 10, K)), rng.normal(size=K)
    padded[: K - 3, : K - 3], right[: K - 3] = Q, q
    x = solution(padded, right).x
    agree(x[: K - 3], nnls.solve(Q, q, backend="reference"))
    np.testing.assert_allclose(x[K - 3 :], np.maximum(right / np.diag(padded), 0)[K - 3 :], rtol=1e-9)


@few
@given(seeds, conditions)
def test_no_feasible_point_is_better(solution, seed, condition):
    Q, q, rng = draw(seed, condition)
    x = np.asarray(solution(Q, q).x)

    def objective(x):
        return 0.5 * x @ Q @ x - q @ x

    others = np.maximum(x + rng.normal(size=(50, K)) * 10.0 ** rng.uniform(-6, 1, (50, 1)) * np.abs(x).max(), 0)
    assert min(map(objective, others)) >= objective(x) - 1e-12 * abs(objective(x))

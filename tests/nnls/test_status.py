"""What a solve says about problems that are no problem, degenerate, or too hard."""

from functools import partial

import jax
import numpy as np
import pytest

from lenskern import nnls
from lenskern.nnls import Status

INVALID = (Status.NOT_POSITIVE_DEFINITE, Status.NOT_SYMMETRIC, Status.NOT_FINITE)


def kkt_residual(Q, q, x):
    """Largest violation of the KKT conditions of the scaled problem, as documented, in NumPy."""
    d = 1 / np.sqrt(np.diag(Q))
    scale = np.abs(d * q).max()
    scale = scale if scale > 0 else 1.0
    y, g = x / d / scale, d * (Q @ x - q) / scale
    dual = np.where(y != 0, np.abs(g), np.maximum(-g, 0))
    return max(dual.max(), np.maximum(-y, 0).max() / (np.abs(y).max() or 1))


def system(name):
    rng = np.random.default_rng(3)
    A = rng.normal(size=(30, 8))
    Q, q = A.T @ A, A.T @ rng.normal(size=30)
    match name:
        case "nan in Q":
            Q[2, 1] = np.nan
        case "nan above the diagonal":
            Q[1, 2] = np.nan
        case "infinity in q":
            q[4] = np.inf
        case "zero diagonal":
            Q[3] = Q[:, 3] = 0
        case "negative diagonal":
            Q[3, 3] = -Q[3, 3]
        case "indefinite":
            Q[0, 1] = Q[1, 0] = 2 * np.sqrt(Q[0, 0] * Q[1, 1])
        case "asymmetric":
            Q[5, 2] += 1e-3 * Q[2, 2]
    return Q, q


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("nan in Q", Status.NOT_FINITE),
        ("nan above the diagonal", Status.NOT_FINITE),
        ("infinity in q", Status.NOT_FINITE),
        ("zero diagonal", Status.NOT_POSITIVE_DEFINITE),
        ("negative diagonal", Status.NOT_POSITIVE_DEFINITE),
        ("indefinite", Status.NOT_POSITIVE_DEFINITE),
        ("asymmetric", Status.NOT_SYMMETRIC),
    ],
)
def test_invalid_problems(backend, name, status):
    Q, q = system(name)
    found = nnls.solution(Q, q, backend=backend)
    assert Status(int(found.status)) is status
    assert not found.certified
    assert found.message() == status.sentence
    assert np.isnan(found.x).all() and np.isnan(found.z).all() and np.isnan(found.residual)
    gradient = jax.grad(lambda q: nnls.solve(Q, q, backend=backend).sum())(q)
    assert np.isnan(gradient).all()


def test_one_variable(backend):
    solve = partial(nnls.solution, backend=backend)
    for q, x, z in ((4.0, 2.0, 0.0), (-4.0, 0.0, 4.0), (0.0, 0.0, 0.0)):
        found = solve(np.array([[2.0]]), np.array([q]))
        assert found.certified
        np.testing.assert_allclose([found.x[0], found.z[0]], [x, z], rtol=1e-15)


def test_nothing_positive_to_gain(backend):
    Q, q = system("plain")
    found = nnls.solution(Q, -np.abs(q), backend=backend)
    assert found.certified
    assert found.iterations == 0
    np.testing.assert_array_equal(found.x, 0)
    np.testing.assert_allclose(found.z, np.abs(q))


def test_duplicate_columns(backend):
    Q, q = system("plain")
    twice = np.repeat(np.arange(8), 2)
    found = nnls.solution(Q[np.ix_(twice, twice)], q[twice], backend=backend)
    assert found.certified
    single = nnls.solve(Q, q, backend=backend)
    np.testing.assert_allclose(found.x.reshape(8, 2).sum(1), single, atol=1e-9)


def test_hidden_negative_eigenvalue(backend):
    # Its 2 x 2 minors are positive; the reference finds it by factoring all of Q, a kernel that does not may stop at a
    # point where the KKT conditions do hold.
    Q, q = system("plain")
    Q -= 1.5 * np.linalg.eigvalsh(Q)[0] * np.eye(8)
    found = nnls.solution(Q, q, backend=backend)
    if found.certified:
        assert backend != "reference"
        assert kkt_residual(Q, q, np.asarray(found.x)) < 1e-11
    else:
        assert Status(int(found.status)) is Status.NOT_POSITIVE_DEFINITE


def test_unbounded_below(backend):
    found = nnls.solution(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.ones(2), backend=backend)
    assert not found.certified
    assert found.residual > 1e-3 or np.isnan(found.residual)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_units_do_not_matter(backend, scale):
    Q, q = system("plain")
    found = nnls.solution(Q * scale, q * scale, backend=backend)
    assert found.certified
    np.testing.assert_allclose(found.x, nnls.solve(Q, q, backend=backend), rtol=0, atol=1e-12)


def test_iteration_cap_is_honest(backend, mge_system):
    found = nnls.solution(mge_system.Q, mge_system.q, max_iter=1, backend=backend)
    assert Status(int(found.status)) in (Status.MAX_ITER, Status.CERTIFIED)
    assert found.iterations <= 1
    assert np.isfinite(found.x).all() and (np.asarray(found.x) >= 0).all()
    own = kkt_residual(mge_system.Q, mge_system.q, np.asarray(found.x))
    np.testing.assert_allclose(found.residual, own, rtol=1e-3, atol=1e-12)


def test_impossible_tolerance_ends(backend, mge_system):
    found = nnls.solution(mge_system.Q, mge_system.q, tol=1e-30, backend=backend)
    assert Status(int(found.status)) in (Status.STALLED, Status.MAX_ITER, Status.CERTIFIED)
    assert found.residual < 1e-12
    assert bool(found.certified) == (float(found.residual) <= 1e-30)


def test_singular_systems_are_certified_or_say_so(backend):
    rng = np.random.default_rng(5)
    A = rng.normal(size=(40, 6, 10))
    Q = np.swapaxes(A, 1, 2) @ A
    q = np.einsum("nij,ni->nj", A, rng.normal(size=(40, 6)))
    found = jax.vmap(partial(nnls.solution, backend=backend))(Q, q)
    for lane in range(40):
        x = np.asarray(found.x[lane])
        if found.certified[lane]:
            assert kkt_residual(Q[lane], q[lane], x) < 1e-11
        else:
            assert Status(int(found.status[lane])) in INVALID or np.isfinite(x).all()


def test_messages_follow_the_batch():
    Q, q = system("plain")
    bad, _ = system("nan in Q")
    found = jax.vmap(jax.vmap(nnls.solution))(np.stack([[Q], [bad]]), np.stack([[q], [q]]))
    assert found.message() == [[Status.CERTIFIED.sentence], [Status.NOT_FINITE.sentence]]
    assert len({status.sentence for status in Status}) == len(Status)


def test_solution_is_a_pytree():
    Q, q = system("plain")
    found = jax.jit(nnls.solution)(Q, q)
    doubled = jax.tree.map(lambda a: 2 * a, found)
    np.testing.assert_array_equal(doubled.x, 2 * found.x)
    assert isinstance(doubled, nnls.Solution)

"""Without 64-bit types: the reference works in float32 and certifies with a residual that is better than that."""

from functools import partial

import jax
import numpy as np
import pytest

from lenskern import nnls
from lenskern.nnls import Status, certificate


@pytest.fixture(autouse=True)
def no_64_bit_types():
    with jax.enable_x64(False):
        yield


def test_gradient_of_the_certificate_is_precise():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(50, 37))
    Q = (A.T @ A).astype("float32")
    x = rng.normal(size=37).astype("float32")
    # q cancels Q x almost entirely, so that plain float32 would leave nothing but rounding.
    q = (Q.astype("float64") @ x).astype("float32")
    wanted = Q.astype("float64") @ x.astype("float64") - q
    for function in (certificate.precise_gradient, jax.jit(certificate.precise_gradient)):
        found = function(Q, q, x)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9 * np.abs(q).max())


def test_solves_and_certifies(backend, make_systems):
    Q, q = (a.astype("float32") for a in make_systems(3, condition=10))
    found = jax.vmap(partial(nnls.solution, backend=backend))(Q, q)
    assert found.certified.all()
    assert found.x.dtype == np.float32
    wanted = np.stack([np.asarray(_in_float64(Q[i], q[i])) for i in range(3)])
    np.testing.assert_allclose(found.x, wanted, rtol=0, atol=1e-5 * wanted.max())


def _in_float64(Q, q):
    with jax.enable_x64(True):
        return nnls.solve(Q.astype("float64"), q.astype("float64"), backend="reference")


def test_certificate_is_honest(mge_system):
    # Too ill-conditioned for float32: whatever the status says must hold for the x returned, in float64.
    Q, q = mge_system.Q.astype("float32"), mge_system.q.astype("float32")
    found = nnls.solution(Q, q, backend="reference")
    x, Q, q = np.asarray(found.x, "float64"), Q.astype("float64"), q.astype("float64")
    assert np.isfinite(x).all() and (x >= 0).all()
    d = 1 / np.sqrt(np.diag(Q))
    g = d * (Q @ x - q) / np.abs(d * q).max()
    residual = max(np.abs(g[x > 0]).max(), np.maximum(-g, 0).max())
    np.testing.assert_allclose(found.residual, residual, rtol=1e-3)
    assert bool(found.certified) == (residual <= 1e-6)


def test_faults(backend):
    Q = np.eye(3, dtype="float32")
    asymmetric = Q.copy()
    asymmetric[0, 1] = 1e-2
    for bad, status in (
        (Q * np.nan, Status.NOT_FINITE),
        (-Q, Status.NOT_POSITIVE_DEFINITE),
        (asymmetric, Status.NOT_SYMMETRIC),
    ):
        found = nnls.solution(bad, np.ones(3, "float32"), backend=backend)
        assert Status(int(found.status)) is status


def _sum(Q, q, backend, gradient):
    return nnls.solve(Q, q, backend=backend, gradient=gradient).sum()


def test_gradients(backend, make_systems):
    Q, q = (a.astype("float32") for a in make_systems(condition=10))
    for kind in ("exact", "relaxed"):
        gradient = jax.grad(_sum, argnums=1)(Q, q, backend, kind)
        with jax.enable_x64(True):
            wanted = jax.grad(_sum, argnums=1)(Q.astype("float64"), q.astype("float64"), "reference", kind)
        np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())

"""The functions of jaxnnls, beside jaxnnls."""

import inspect

import jax
import jaxnnls
import numpy as np
import pytest

from lenskern.nnls import compat


@pytest.mark.parametrize("name", ["solve_nnls", "solve_nnls_primal"])
def test_same_signature(name):
    ours, theirs = (inspect.signature(getattr(module, name)) for module in (compat, jaxnnls))
    assert [(p.name, p.default) for p in ours.parameters.values()] == [
        (p.name, p.default) for p in theirs.parameters.values()
    ]


def test_same_results(make_systems):
    Q, q = make_systems(4, condition=100)
    ours = jax.jit(jax.vmap(compat.solve_nnls))(Q, q)
    theirs = jax.jit(jax.vmap(jaxnnls.solve_nnls))(Q, q)
    assert len(ours) == len(theirs)
    for a, b in zip(ours[:3], theirs[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * np.abs(theirs[0]).max())
    np.testing.assert_array_equal(ours[3], theirs[3])
    assert ours[3].dtype == theirs[3].dtype
    assert (ours[4] <= theirs[4]).all()


def test_not_converged_is_zero():
    assert compat.solve_nnls(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.ones(2))[3] == 0


def test_gradient_of_the_drop_in(make_systems):
    Q, q = make_systems(2, condition=100)

    def gradient(solve):
        return jax.vmap(jax.grad(lambda Q, q: solve(Q, q, 1e-2).sum(), argnums=(0, 1)))(Q, q)

    for a, b in zip(gradient(compat.solve_nnls_primal), gradient(jaxnnls.solve_nnls_primal), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * np.abs(b).max())

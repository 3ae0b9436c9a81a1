"""Determinants in the evidence of autoarray's inversions."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern.interop import autoarray


@pytest.fixture
def matrix():
    """Of a regularization: each pixel with its neighbours in a row."""
    return np.diag(np.linspace(2.1, 3, 30)) - np.eye(30, k=1) - np.eye(30, k=-1)


def of(method="cholesky", xp=jnp):
    from autoarray.inversion.inversion.abstract import AbstractInversion

    inversion = SimpleNamespace(_xp=xp, settings=SimpleNamespace(log_det_method=method))
    return lambda matrix, **keywords: AbstractInversion._log_det_symmetric_from(inversion, matrix, **keywords)


def lowered(function, matrix):
    return jax.jit(lambda m: function(m)).lower(matrix).as_text()


def test_as_autoarray_has_it(theirs, matrix):
    def both():
        return jax.jit(jax.vmap(jax.value_and_grad(lambda m: of()(m))))

    lanes = jnp.asarray(np.stack([matrix, -matrix, 3 * matrix]))
    wanted, slopes = both()(lanes)
    with autoarray.registered():
        found, found_slopes = both()(lanes)
        assert "lenskern_nnls_log_determinant" in lowered(of(), matrix)
    assert np.isnan(wanted[1])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found_slopes[::2], slopes[::2], rtol=0, atol=1e-12)


def test_the_rest_is_autoarrays(theirs, matrix):
    with autoarray.registered():
        assert "lenskern" not in lowered(of("slogdet"), matrix)
        assert "lenskern" not in lowered(of(), matrix.astype("float32"))
        for method in ("cholesky", "slogdet"):
            found = of(method, np)(matrix, sparse=True)
            assert isinstance(found, np.floating)
            np.testing.assert_allclose(found, np.linalg.slogdet(matrix)[1], rtol=0, atol=1e-12)
        with pytest.raises(np.linalg.LinAlgError):
            of(xp=np)(-matrix)

"""The CPU kernels' own Cholesky factorisation against LAPACK's."""

import numpy as np
import pytest

from lenskern import backends

if not backends.availability("cpp").available:
    pytest.skip(backends.availability("cpp").reason, allow_module_level=True)

from lenskern._kernels import _cpp


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("K", [1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 100, 129, 200, 401])
@pytest.mark.parametrize("threads", [1, 3])
def test_agrees_with_lapack(K, dtype, threads):
    A = np.random.default_rng(K).normal(size=(2 * K, K))
    A = (A.T @ A / K + 0.1 * np.eye(K)).astype(dtype)
    L, seconds = _cpp.cholesky(A, threads=threads)
    assert seconds > 0
    assert L.dtype == dtype
    np.testing.assert_allclose(L, np.linalg.cholesky(A.astype(np.float64)), rtol=0, atol=20 * K * np.finfo(dtype).eps)


def test_is_the_same_to_the_bit_in_any_number_of_threads():
    A = np.random.default_rng(0).normal(size=(600, 300))
    A = A.T @ A
    one, _ = _cpp.cholesky(A)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(_cpp.cholesky(A, threads=threads)[0], one)


@pytest.mark.parametrize("at", [0, 7, 8, 40, 99])
def test_breakdown_is_reported_wherever_it_happens(at):
    A = np.eye(100)
    A[at, at] = -1.0
    with pytest.raises(ValueError, match="not positive definite"):
        _cpp.cholesky(A)

"""Tiles of the CUDA kernel for large systems, emulated: their products, on tensor cores and without, and their factors.

A solve refines what it gets from float32 factors, so that it would not show a product that has lost some digits.
"""

import ctypes

import numpy as np
import pytest

SIDE = 64
WAYS = {"whole": 0, "lower triangle": 1, "without tensor cores": 2}


@pytest.fixture(scope="module")
def tiles(emulate):
    return emulate("emulate_tile.cc", {})


def _pointer_argument(array):
    return ctypes.c_void_p(array.ctypes.data)


def make_tiles(dtype):
    """Of numbers with all their digits and of different sizes."""
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(SIDE, SIDE)) * np.exp(rng.normal(size=(SIDE, SIDE)))).astype(dtype) for _ in range(3)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_product(tiles, dtype, way):
    A, B, C = make_tiles(dtype)
    if way == "lower triangle":
        B = A
    wanted = C.astype("longdouble") - A.astype("longdouble") @ B.T.astype("longdouble")
    scale = np.abs(C) + np.abs(A) @ np.abs(B).T
    tiles[f"subtract_product_{dtype}"](*map(_pointer_argument, (C, A, B)), WAYS[way])
    error = np.abs(C - wanted) / scale
    if way == "lower triangle":
        error = np.tril(error)
    # Float32 sums round as often as they have terms; without one of the three products of TF32 it would be 3e-4.
    assert error.max() < 8 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inverse_of_a_factor(tiles, dtype):
    A, *_ = make_tiles("float64")
    S = (A @ A.T / SIDE + np.eye(SIDE)).astype(dtype)
    inverse = np.empty_like(S)
    assert tiles[f"invert_{dtype}"](*map(_pointer_argument, (S, inverse)))
    wanted = np.linalg.inv(np.linalg.cholesky(S.astype("float64")))
    np.testing.assert_allclose(np.tril(inverse), wanted, rtol=0, atol=40 * np.finfo(dtype).eps)
    S[40, 40] = -1
    assert not tiles[f"invert_{dtype}"](*map(_pointer_argument, (S, inverse)))

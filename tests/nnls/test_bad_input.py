"""Static faults are a `ValueError` at trace time that names the argument, what it got, and what was expected."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import backends, nnls

Q, q = np.eye(3), np.ones(3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"Q": np.ones((3, 4))}, ["Q", "(3, 4)", "(K, K)"]),
        ({"Q": np.ones((2, 3, 3))}, ["Q", "(2, 3, 3)", "jax.vmap"]),
        ({"Q": np.ones(())}, ["Q", "()"]),
        ({"Q": np.zeros((0, 0)), "q": np.zeros(0)}, ["Q", "(0, 0)", "K > 0"]),
        ({"q": np.ones(4)}, ["q", "(4,)", "(3,)"]),
        ({"q": np.ones((3, 1))}, ["q", "(3, 1)", "(3,)"]),
        ({"q": np.ones(3, np.float32)}, ["q", "float32", "float64"]),
        ({"Q": np.eye(3, dtype=np.float32)}, ["q", "float64", "float32"]),
        ({"Q": np.eye(3, dtype=int)}, ["Q", "int64", "float32 or float64"]),
        ({"q": [1, 2, 3]}, ["q", "int", "float32 or float64"]),
        ({"q": np.ones(3, complex)}, ["q", "complex128"]),
        ({"Q": jnp.eye(3, dtype=jnp.bfloat16)}, ["Q", "bfloat16"]),
        ({"x0": np.ones(2)}, ["x0", "(2,)", "(3,)"]),
        ({"x0": np.ones(3, np.float32)}, ["x0", "float32", "float64"]),
        ({"x0": np.ones(3, int)}, ["x0", "int64"]),
        ({"tol": 0}, ["tol", "0", "above 0"]),
        ({"tol": -1e-3}, ["tol", "-0.001"]),
        ({"tol": np.nan}, ["tol", "nan"]),
        ({"tol": np.inf}, ["tol", "inf"]),
        ({"tol": "small"}, ["tol", "'small'"]),
        ({"max_iter": 0}, ["max_iter", "0", "at least 1"]),
        ({"max_iter": 2.5}, ["max_iter", "2.5"]),
        ({"max_iter": True}, ["max_iter", "True"]),
        ({"max_iter": 2**40}, ["max_iter"]),
        ({"method": "simplex"}, ["method", "'simplex'", "'crossover'"]),
        ({"method": None}, ["method", "None"]),
        ({"backend": "gpu"}, ["backend", "'gpu'", "'reference'"]),
        ({"gradient": "none"}, ["gradient", "'none'", "'exact'"]),
        ({"target_kappa": -1.0}, ["target_kappa", "-1.0"]),
    ],
)
def test_value_error_says_what_is_wrong(arguments, words):
    for call in (nnls.solve, nnls.solution):
        with pytest.raises(ValueError) as error:
            call(**({"Q": Q, "q": q} | arguments))
        for word in words:
            assert word in str(error.value)


def test_faults_are_found_at_trace_time():
    with pytest.raises(ValueError, match="K > 0"):
        jax.eval_shape(nnls.solve, jax.ShapeDtypeStruct((3, 2), "float64"), jax.ShapeDtypeStruct((3,), "float64"))
    with pytest.raises(ValueError, match="tol: got a traced value"):
        jax.jit(lambda tol: nnls.solve(Q, q, tol=tol))(1e-9)


def test_float64_needs_64_bit_types():
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match=r"Q: got dtype float64 while 64-bit types are off.*jax_enable_x64"):
            nnls.solve(Q, q)
        with pytest.raises(ValueError, match="x0: got dtype float64"):
            nnls.solve(Q.astype("float32"), q.astype("float32"), x0=q)


def test_lists_of_floats_are_arrays():
    np.testing.assert_allclose(nnls.solve([[2.0]], [4.0]), [2.0])


@pytest.mark.parametrize("name", backends.NAMES)
def test_backend_runs_or_raises(name):
    status = backends.availability(name)
    # A program of its own: what other tests ran outside of one with the emulated kernels is still compiled.
    solve = jax.jit(lambda Q, q: nnls.solve(Q, q, backend=name))
    if status.available and name in ("cuda", "triton"):
        with pytest.raises(NotImplementedError, match="NVIDIA GPUs only|no kernel for inversions"):
            solve(Q, q)
    elif status.available:
        np.testing.assert_allclose(solve(Q, q), q)
    else:
        with pytest.raises(RuntimeError) as error:
            solve(Q, q)
        assert status.reason in str(error.value)


def test_other_methods_are_reference_only(backend):
    if backend == "reference":
        nnls.solve(Q, q, method="bpp", backend=backend)
    else:
        with pytest.raises(NotImplementedError, match="reference"):
            nnls.solve(Q, q, method="bpp", backend=backend)


def test_wrong_platform_raises(available):
    available("cpp")
    traced = jax.jit(lambda Q, q: nnls.solve(Q, q, backend="cpp")).trace(Q, q)
    with pytest.raises(NotImplementedError, match="CPU only"):
        traced.lower(lowering_platforms=("cuda",))

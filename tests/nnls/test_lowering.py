"""What calls lower to: no trace of derivatives, every platform, no copies of shared operands."""

import re
from functools import partial

import jax
import pytest

from lenskern import nnls
from lenskern.nnls.primitive import no_guess, solve_p

METHODS = ("crossover", "pdip", "admm", "fista", "bpp")
K = 6
ONE = (jax.ShapeDtypeStruct((K, K), "float64"), jax.ShapeDtypeStruct((K,), "float64"))
BATCH = (jax.ShapeDtypeStruct((3, K, K), "float64"), jax.ShapeDtypeStruct((3, K), "float64"))


def text(function, *arguments, platform="cpu"):
    function.__name__ = "call"
    found = jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    # Values are numbered across the process for some programs; what they are is what counts.
    return re.sub(r"%\w+", "%", found)


def test_undifferentiated_call_is_the_bare_primitive(backend):
    def bare(Q, q):
        return solve_p.bind(Q, q, no_guess(q), method="crossover", tol=1e-12, max_iter=50, backend=backend)[0]

    for kind in ("exact", "relaxed"):

        def call(Q, q, kind=kind):
            return nnls.solve(Q, q, backend=backend, gradient=kind)

        assert text(call, *ONE) == text(bare, *ONE)
        differentiated = text(lambda Q, q: jax.grad(lambda q: call(Q, q).sum())(q), *ONE)
        assert len(differentiated) > len(text(bare, *ONE))


def test_compiled_kernel_is_one_call(available):
    available("cpp")
    found = text(lambda Q, q: jax.vmap(nnls.solve, in_axes=(None, 0))(Q, q), ONE[0], BATCH[1])
    assert found.count("stablehlo.custom_call") == 1
    assert "lenskern_nnls_solve" in found
    assert "tensor<3x6x6xf64>" not in found


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize("method", METHODS)
def test_reference_lowers_for_every_platform(method, platform):
    solve = partial(nnls.solve, method=method, backend="reference")
    assert text(lambda Q, q: jax.vmap(solve)(Q, q), *BATCH, platform=platform)


@pytest.mark.parametrize("kind", ["exact", "relaxed"])
def test_gradient_lowers_for_cuda(kind):
    def gradient(Q, q):
        return jax.vmap(jax.grad(lambda Q, q: nnls.solve(Q, q, backend="reference", gradient=kind).sum()))(Q, q)

    assert text(gradient, *BATCH, platform="cuda")


def test_default_for_cuda_takes_large_problems():
    large = (jax.ShapeDtypeStruct((2, 300, 300), "float64"), jax.ShapeDtypeStruct((2, 300), "float64"))
    assert text(lambda Q, q: jax.vmap(nnls.solve)(Q, q), *large, platform="cuda")


def test_shared_matrix_is_not_copied():
    found = text(
        lambda Q, q: jax.vmap(partial(nnls.solve, backend="reference"), in_axes=(None, 0))(Q, q), ONE[0], BATCH[1]
    )
    assert "tensor<3x6x6x" not in found


def test_import_does_not_start_a_backend():
    import subprocess
    import sys

    program = (
        "import lenskern, jax.extend.backend, jax; from jax.extend import backend; "
        "jax.config.update('jax_platforms', 'no_such_platform'); print(jax.config.jax_platforms)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "no_such_platform"

"""The CUDA kernels of the power law and the Poisson draws, their sources compiled for the CPU (tests/cuda)."""

import ctypes
import types
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import _ffi, backends
from lenskern.deflect.macro import Isothermal, PowerLaw
from lenskern.simulate.poisson import poisson

TARGETS = {
    "lenskern_macro_deflection_cuda": "LenskernMacroDeflectionCuda",
    "lenskern_macro_tangent_cuda": "LenskernMacroTangentCuda",
    "lenskern_macro_adjoint_cuda": "LenskernMacroAdjointCuda",
    "lenskern_poisson_cuda": "LenskernPoissonCuda",
}


@pytest.fixture(scope="module", autouse=True)
def emulation(emulate):
    """Makes ``backend="cuda"`` run the handlers on the CPU."""
    scratch = emulate("emulate_simulate.cc", TARGETS).lenskern_power_law_scratch
    scratch.restype, scratch.argtypes = ctypes.c_int64, (ctypes.c_int64, ctypes.c_int64)
    choose = _ffi.compiled_backend
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            _ffi, "compiled_backend", lambda platform, name: name if name == "cuda" else choose(platform, name)
        )
        patch.setattr(_ffi, "load_cuda", lambda: types.SimpleNamespace(power_law_scratch=scratch))
        patch.setattr(backends, "require", lambda name: None)
        yield


def mixed_rates(n, dtype):
    """Rates of all regimes, some of them 0, bad or at a limit; of many the first attempt fails."""
    rng = np.random.default_rng(1)
    rates = 10 ** np.where(rng.random(n) < 0.5, rng.uniform(-3, 2.5, n), rng.uniform(-3, 14, n))
    rates[::7], rates[::101], rates[::103] = 0, np.nan, -1
    rates[1:6] = np.inf, 10, np.nextafter(10, 0), 2.0**120, 1e37
    return jnp.asarray(rates, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_counts_are_the_references_to_the_bit(dtype):
    rates, key = mixed_rates(30_011, dtype), jax.random.key(5)
    found = poisson(key, rates, backend="cuda")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, poisson(key, rates, backend="reference"))


def test_counts_in_a_batch():
    keys, rates = jax.random.split(jax.random.key(1), 3), mixed_rates(70, "float64").reshape(2, 35)

    def every_pair(backend):
        draw = jax.vmap(lambda key, rate: poisson(key, rate, backend=backend), (None, 0))
        return jax.jit(jax.vmap(draw, (0, None)))(keys, rates)

    np.testing.assert_array_equal(every_pair("cuda"), every_pair("reference"))
    assert poisson(keys[0], jnp.zeros((0,)), backend="cuda").shape == (0,)


def rays(n, dtype="float64", seed=0):
    grid = np.random.default_rng(seed).normal(size=(n, 2))
    return jnp.asarray(grid, dtype)


def lens(f=0.2, slope=2.1, dtype="float64"):
    """A power law, or for a slope of None an isothermal."""
    numbers = {"centre": (0.1, -0.2), "ell_comps": (0.6 * f, -0.8 * f), "einstein_radius": 1.2}
    if slope is not None:
        numbers["slope"] = slope
    model = Isothermal if slope is None else PowerLaw
    return model(**{name: jnp.asarray(value, dtype) for name, value in numbers.items()})


@partial(jax.jit, static_argnames="backend")
def evaluate(lens, grid, backend):
    """The deflection, a tangent and an adjoint; these by the rays and all parameters."""

    def deflection(lens, grid):
        return lens.deflection(grid, backend=backend)

    alpha, pull = jax.vjp(deflection, lens, grid)
    return alpha, jax.jvp(deflection, (lens, grid), (lens, jnp.cos(5 * grid)))[1], pull(jnp.sin(7 * grid))


def difference(got, expected):
    """The largest, relative to the largest entry of each array."""
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    return max(np.abs(np.float64(a) - b).max() / max(np.abs(b).max(), 1e-30) for a, b in pairs)


# Axis ratios of 1, nearly 1, 2/3, 0.2 and 0.05; the last takes the most terms. Slope 2 has no closed form here.
@pytest.mark.parametrize("f", [0.0, 1e-9, 0.2, 2 / 3, 0.9])
@pytest.mark.parametrize("slope", [1.3, 2.0, 2.7, None])
def test_power_law(f, slope):
    grid = rays(1500)  # two tiles, the second of which is not full
    found, expected = (evaluate(lens(f, slope), grid, name) for name in ("cuda", "reference"))
    assert difference(found[0], expected[0]) < 1e-13
    assert difference(found[1:], expected[1:]) < 1e-11


@pytest.mark.parametrize("slope", [1.3, 2.1, None])
def test_power_law_in_float32(slope):
    grid, exact = rays(1100, "float32"), lens(slope=slope)
    found = evaluate(lens(slope=slope, dtype="float32"), grid, "cuda")
    assert all(x.dtype == "float32" for x in jax.tree.leaves(found))
    expected = evaluate(exact, grid.astype("float64"), "reference")
    assert difference(found[0], expected[0]) < 1e-6
    assert difference(found[1:], expected[1:]) < 5e-6


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("slope", [1.3, 2.7, None])
@pytest.mark.parametrize("f", [0.0, 0.2])
def test_power_law_at_its_centre(f, slope, dtype):
    model = lens(f, slope, dtype)
    found, expected = (evaluate(model, model.centre[None], name) for name in ("cuda", "reference"))
    np.testing.assert_array_equal(found[0], 0)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))
    assert difference(found, expected) < {"float64": 1e-13, "float32": 1e-6}[dtype]


def test_power_laws_in_a_batch():
    grids, slopes = jnp.stack([rays(9), rays(9, seed=1)]), jnp.array([1.5, 2.0, 2.5])
    lenses = jax.vmap(lambda slope: lens(slope=slope))(slopes)

    def every_pair(backend):
        one = partial(evaluate, backend=backend)
        by_lens, by_grid = jax.vmap(one, (0, None))(lenses, grids[0]), jax.vmap(one, (None, 0))(lens(), grids)
        return by_lens, by_grid, jax.vmap(jax.vmap(one, (None, 0)), (0, None))(lenses, grids)

    assert difference(every_pair("cuda"), every_pair("reference")) < 1e-12


def test_tangents_and_cotangents_in_a_batch_of_their_own():
    def jacobians(backend):
        def deflection(lens, grid):
            return lens.deflection(grid, backend=backend)

        return [jacobian(deflection, (0, 1))(lens(), rays(5)) for jacobian in (jax.jacfwd, jax.jacrev)]

    (forward, reverse), expected = jacobians("cuda"), jacobians("reference")
    assert difference([forward, reverse], expected) < 1e-12 and difference(forward, reverse) < 1e-12


def test_operands_that_lanes_share_get_the_sum_of_their_cotangents():
    slopes, grid = jnp.array([1.5, 2.0, 2.5]), rays(9)

    def total(radius, grid, backend):
        def one(slope):
            shared = PowerLaw((0.1, -0.2), (0.1, 0.2), radius, slope)
            return jnp.sum(jnp.cos(shared.deflection(grid, backend=backend)))

        return jax.vmap(one)(slopes).sum()

    found, expected = (jax.grad(total, (0, 1))(1.2, grid, name) for name in ("cuda", "reference"))
    assert difference(found, expected) < 1e-12


def test_a_power_law_is_the_same_alone_and_in_a_batch():
    grid, lenses = rays(2500), jax.vmap(lambda slope: lens(slope=slope))(jnp.array([1.5, 2.1, 2.5]))
    batch = jax.vmap(partial(evaluate, backend="cuda"), (0, None))(lenses, grid)
    alone = evaluate(jax.tree.map(lambda x: x[1], lenses), grid, "cuda")
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b), batch, alone)


def test_no_rays():
    alpha, tangent, (parameters, dgrid) = evaluate(lens(), jnp.zeros((0, 2)), "cuda")
    assert alpha.shape == tangent.shape == dgrid.shape == (0, 2)
    assert all((x == 0).all() for x in jax.tree.leaves(parameters))


def test_second_derivatives_of_a_power_law_are_the_references():
    def curvature(backend):
        def total(slope):
            return jnp.sum(lens(slope=slope).deflection(rays(20), backend=backend) ** 2)

        return jax.jit(jax.hessian(total))(2.1)

    assert difference(curvature("cuda"), curvature("reference")) < 1e-11

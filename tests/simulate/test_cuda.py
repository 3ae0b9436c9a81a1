"""The CUDA kernels of the power law and the Poisson draws, their sources compiled for the CPU (tests/cuda)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import _ffi, backends
from lenskern.deflect.macro import PowerLaw
from lenskern.simulate.poisson import poisson

TARGETS = {
    "lenskern_macro_deflection_cuda": "LenskernMacroDeflectionCuda",
    "lenskern_poisson_cuda": "LenskernPoissonCuda",
}


@pytest.fixture(scope="module", autouse=True)
def emulation(emulate):
    """Makes ``backend="cuda"`` run the handlers on the CPU."""
    emulate("emulate_simulate.cc", TARGETS)
    choose = _ffi.compiled_backend
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            _ffi, "compiled_backend", lambda platform, name: name if name == "cuda" else choose(platform, name)
        )
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
    grid[0] = (0.1, -0.2)  # the centre of the lenses below
    return jnp.asarray(grid, dtype)


def lens(f=0.2, slope=2.1, dtype="float64"):
    numbers = {"centre": (0.1, -0.2), "ell_comps": (0.6 * f, -0.8 * f), "einstein_radius": 1.2, "slope": slope}
    return PowerLaw(**{name: jnp.asarray(value, dtype) for name, value in numbers.items()})


# The largest takes as many terms as there can be; a slope of 2 is an isothermal, which has no closed form here.
@pytest.mark.parametrize("f", [0.0, 1e-9, 0.2, 0.9])
@pytest.mark.parametrize("slope", [1.3, 2.0, 2.7])
def test_power_law(f, slope):
    grid = rays(1500)
    found, expected = (lens(f, slope).deflection(grid, backend=name) for name in ("cuda", "reference"))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


def test_power_law_in_float32():
    grid = rays(100, "float32")[1:]  # the centre itself is rounded
    found = lens(dtype="float32").deflection(grid, backend="cuda")
    assert found.dtype == "float32"
    expected = lens().deflection(grid.astype("float64"), backend="reference")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_power_laws_in_a_batch():
    grids, slopes = jnp.stack([rays(9), rays(9, seed=1)]), jnp.array([1.5, 2.0, 2.5])

    def every_pair(backend):
        def one(grid, slope):
            return lens(slope=slope).deflection(grid, backend=backend)

        return jax.jit(jax.vmap(jax.vmap(one, (0, None)), (None, 0)))(grids, slopes)

    np.testing.assert_allclose(every_pair("cuda"), every_pair("reference"), rtol=0, atol=1e-13)


def test_derivatives_of_a_power_law_are_the_references():
    grid = rays(20)

    def slope_of(backend):
        return jax.grad(lambda t: jnp.sum(lens(slope=t).deflection(grid, backend=backend) ** 2))(2.1)

    assert abs(slope_of("cuda") - slope_of("reference")) < 1e-11 * abs(slope_of("reference"))

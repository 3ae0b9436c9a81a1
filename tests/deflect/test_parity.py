"""Every backend against the reference, for every field, dtype and transform, at the tolerances of one table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import deflect

# Largest difference, relative to the largest entry of the result.
TOLERANCES = {"float64": 3e-13, "float32": 3e-6}
DERIVATIVE_TOLERANCES = {"float64": 3e-10, "float32": 2e-5}

FIELDS = {
    "deflection": deflect.plane,
    "convergence": deflect.convergence,
    "potential": deflect.potential,
    "jacobian": deflect.jacobian,
}


def largest_difference(got, expected):
    got, expected = jax.tree.leaves(got), jax.tree.leaves(expected)
    return max(
        float(jnp.max(jnp.abs(a - b)) / jnp.maximum(jnp.max(jnp.abs(b)), 1e-30))
        for a, b in zip(got, expected, strict=True)
        if jnp.issubdtype(b.dtype, jnp.inexact) and b.size
    )


@pytest.fixture
def kernel(backend):
    """A backend other than the reference."""
    if backend == "reference":
        pytest.skip("what the others are compared with")
    return backend


@pytest.fixture
def kernel_with_derivatives(kernel):
    if kernel in ("pallas", "triton"):
        pytest.skip("its derivatives are the reference's")
    return kernel


@pytest.mark.parametrize("tol", [0, None])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("field", FIELDS)
def test_fields(kernel, field, dtype, tol, population, pixels):
    halos, grid = population(dtype=dtype), pixels(40, dtype=dtype)
    expected = FIELDS[field](population(), pixels(40).astype(dtype).astype("float64"), backend="reference")
    got = FIELDS[field](halos, grid, backend=kernel, tol=tol)
    assert got.dtype == dtype and got.shape == expected.shape
    # In float32 the parameters themselves are rounded.
    assert largest_difference(got, expected) < (1e-5 if dtype == "float32" else TOLERANCES[dtype])


def few(dtype, population, pixels):
    """Three populations and three grids, small enough for every backend, of profiles that compile in a moment."""
    halos = [population(2, seed=seed, dtype=dtype, kinds=("point", "sis")) for seed in range(3)]
    halos = jax.tree.map(lambda *x: jnp.stack(x), *halos)
    return halos, jnp.stack([pixels(7, dtype=dtype), 0.5 * pixels(7, dtype=dtype), -pixels(7, dtype=dtype)])


def pick(halos, i):
    return jax.tree.map(lambda x: x[i], halos)


# Each takes a function of haloes and a grid, three populations and three grids.
TRANSFORMS = {
    "eager": lambda f, halos, grids: f(pick(halos, 0), grids[0]),
    "jit": lambda f, halos, grids: jax.jit(f)(pick(halos, 0), grids[0]),
    "vmap": lambda f, halos, grids: jax.vmap(f)(halos, grids),
    "jit of vmap": lambda f, halos, grids: jax.jit(jax.vmap(f))(halos, grids),
    "shared grid": lambda f, halos, grids: jax.vmap(f, in_axes=(0, None))(halos, grids[0]),
    "shared haloes": lambda f, halos, grids: jax.vmap(f, in_axes=(None, 0))(pick(halos, 0), grids),
    "every pair": lambda f, halos, grids: jax.vmap(jax.vmap(f, in_axes=(None, 0)), in_axes=(0, None))(halos, grids),
    "grids on the last axis": lambda f, halos, grids: jax.vmap(f, in_axes=(0, -1), out_axes=1)(
        halos, jnp.moveaxis(grids, 0, -1)
    ),
}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms(backend, transform, dtype, population, pixels):
    halos, grids = few(dtype, population, pixels)
    expected = TRANSFORMS[transform](lambda h, g: deflect.plane(h, g, backend="reference"), halos, grids)
    got = TRANSFORMS[transform](lambda h, g: deflect.plane(h, g, backend=backend), halos, grids)
    assert largest_difference(got, expected) < TOLERANCES[dtype]


def real_parts(halos):
    """The parameters that there are derivatives of, and how to put them back."""
    names = ("centre", "amplitude", "scale", "shape")

    def put(values):
        return deflect.Halos(halos.profile, *values, halos.mask, halos.tables, halos.profiles)

    return tuple(getattr(halos, name) for name in names), put


def scalar(backend, halos, weights):
    _, put = real_parts(halos)

    def function(values, grid):
        return jnp.sum(weights * deflect.plane(put(values), grid, backend=backend))

    return function


@pytest.mark.parametrize("dtype", DERIVATIVE_TOLERANCES)
@pytest.mark.parametrize("n", [7, 40])
def test_gradient(kernel_with_derivatives, n, dtype, population, pixels):
    halos, grid = population(dtype=dtype), pixels(n, dtype=dtype)
    weights = jnp.asarray(np.random.default_rng(3).normal(size=grid.shape), dtype)
    values, _ = real_parts(halos)
    got = jax.grad(scalar(kernel_with_derivatives, halos, weights), argnums=(0, 1))(values, grid)
    expected = jax.jit(jax.grad(scalar("reference", halos, weights), argnums=(0, 1)))(values, grid)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(got))
    # The masked halo, which holds NaN.
    assert all((x[-1] == 0).all() for x in got[0])
    assert largest_difference(got, expected) < DERIVATIVE_TOLERANCES[dtype]


@pytest.mark.parametrize("n", [7, 40])
def test_jvp(kernel_with_derivatives, n, population, pixels):
    halos, grid = population(), pixels(n)
    values, put = real_parts(halos)
    rng = np.random.default_rng(5)
    directions = tuple(jnp.asarray(rng.normal(size=x.shape)) * jnp.where(jnp.isfinite(x), x, 0) for x in values)
    along = jnp.asarray(rng.normal(size=grid.shape))

    def tangent(backend):
        def function(values, grid):
            return deflect.plane(put(values), grid, backend=backend)

        return jax.jvp(function, (values, grid), (directions, along))[1]

    assert largest_difference(tangent(kernel_with_derivatives), tangent("reference")) < DERIVATIVE_TOLERANCES["float64"]


def test_gradient_of_vmap_sums_over_lanes(kernel_with_derivatives, population, pixels):
    halos, grids = few("float64", population, pixels)
    shared = pick(halos, 0)
    values, _ = real_parts(shared)
    weights = jnp.cos(jnp.arange(grids[0].size, dtype="float64")).reshape(grids[0].shape)

    def total(backend):
        function = scalar(backend, shared, weights)
        return lambda values, grids: jnp.sum(jax.vmap(function, in_axes=(None, 0))(values, grids))

    got = jax.jit(jax.grad(total(kernel_with_derivatives), argnums=(0, 1)))(values, grids)
    expected = jax.jit(jax.grad(total("reference"), argnums=(0, 1)))(values, grids)
    assert largest_difference(got, expected) < DERIVATIVE_TOLERANCES["float64"]


def test_derivative_of_the_grid_alone_is_the_jacobian(kernel_with_derivatives, population, pixels):
    halos, grid = population(), pixels(6)

    def at_ray(ray):
        return deflect.plane(halos, ray[None], backend=kernel_with_derivatives)[0]

    got = jax.vmap(jax.vmap(jax.jacfwd(at_ray)))(grid)
    assert largest_difference(got, deflect.jacobian(halos, grid, backend=kernel_with_derivatives)) < 1e-12


def test_second_derivatives(kernel_with_derivatives, population, pixels):
    halos, grid = population(2, kinds=("nfw",)), pixels(4)
    values, _ = real_parts(halos)
    weights = jnp.cos(jnp.arange(grid.size, dtype="float64")).reshape(grid.shape)

    def curvature(backend):
        gradient = jax.grad(scalar(backend, halos, weights), argnums=(0, 1))
        along = (jax.tree.map(jnp.ones_like, values), grid)
        return jax.jit(lambda *x: jax.jvp(gradient, x, along)[1])(values, grid)

    got, expected = curvature(kernel_with_derivatives), curvature("reference")
    assert largest_difference(got, expected) < 1e-9


@pytest.mark.parametrize("kind", ["cnfw", "tnfwc", "point"])
def test_deflection_of_other_profiles(kernel, kind, population, pixels):
    halos, grid = population(4, kinds=(kind,)), pixels(14)
    expected = deflect.plane(halos, grid, backend="reference")
    assert largest_difference(deflect.plane(halos, grid, backend=kernel), expected) < TOLERANCES["float64"]


@pytest.mark.parametrize("kind", ["cnfw", "tnfwc", "point"])
def test_gradient_of_other_profiles(kernel_with_derivatives, kind, population, pixels):
    halos, grid = population(4, kinds=(kind,)), pixels(14)
    weights = jnp.cos(jnp.arange(grid.size, dtype="float64")).reshape(grid.shape)
    values, _ = real_parts(halos)
    got = jax.grad(scalar(kernel_with_derivatives, halos, weights))(values, grid)
    expected = jax.jit(jax.grad(scalar("reference", halos, weights)))(values, grid)
    assert largest_difference(got, expected) < DERIVATIVE_TOLERANCES["float64"]


@pytest.mark.parametrize("field", FIELDS)
def test_radial_tables(kernel, field, population, pixels):
    tables = deflect.tables.from_mean_convergence(lambda x: 4 * jnp.log1p(1 / x) / (1 + x))
    rng = np.random.default_rng(4)
    centres = jnp.asarray(rng.uniform(-2, 2, (5, 2)))
    table = deflect.from_table(centres, 0.01, jnp.asarray(rng.uniform(0.1, 1, 5)), tables)
    halos = deflect.concatenate([population(2, kinds=("nfw", "sis"))[:-1], table])
    if kernel in ("pallas", "triton") or field == "potential":
        with pytest.raises(NotImplementedError, match="tables"):
            FIELDS[field](halos, pixels(9), backend=kernel)
        return
    for n in (9, 40):
        expected = FIELDS[field](halos, pixels(n), backend="reference")
        assert largest_difference(FIELDS[field](halos, pixels(n), backend=kernel), expected) < 1e-11


def test_gradient_with_radial_tables(population, pixels):
    tables = deflect.tables.from_mean_convergence(lambda x: 4 * jnp.log1p(1 / x) / (1 + x))
    centres = jnp.array([[0.3, -0.2], [1.0, 0.4]])

    def total(factor, backend):
        scaled = deflect.RadialTables(factor * tables.values, tables.ln_u_min, tables.ln_u_max)
        return jnp.sum(deflect.plane(deflect.from_table(centres, 0.01, 0.5, scaled), pixels(9), backend=backend) ** 2)

    value, slope = jax.value_and_grad(total)(1.0, None)
    np.testing.assert_allclose(slope, 2 * value, rtol=1e-12)

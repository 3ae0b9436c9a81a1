"""The CUDA kernels against the reference: every field, profile, dtype and derivative.

They are emulated: the C++ compiler compiles their sources with what they use of CUDA, and they take the place of the
CPU's kernels.
"""

import ctypes
import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import _ffi, backends, deflect
from lenskern.deflect import cuda, primitive

TARGETS = {
    f"lenskern_deflect_{name}_cuda": f"LenskernDeflect{name.capitalize()}Cuda"
    for name in ("fields", "tangent", "adjoint")
}
KINDS = ("nfw", "tnfw", "cnfw", "tnfwc", "dpie", "point", "sis", "sheet")
FIELDS = {
    "deflection": deflect.plane,
    "convergence": deflect.convergence,
    "potential": deflect.potential,
    "jacobian": deflect.jacobian,
}
# The kernels of the CPU, which the reference is compared with elsewhere, compile nothing.
ORACLE = "cpp" if backends.availability("cpp").available else "reference"
REAL = ("centre", "amplitude", "scale", "shape")
# Largest difference, relative to the largest entry of the result.
TOLERANCES = {"float64": 3e-13, "float32": 2e-6}


@pytest.fixture(scope="module", autouse=True)
def emulation(emulate):
    """Makes ``backend="cuda"`` run the handlers on the CPU."""
    loaded = emulate("emulate_deflect.cc", TARGETS)
    scratch = loaded.lenskern_adjoint_scratch
    scratch.restype, scratch.argtypes = ctypes.c_int64, (ctypes.c_int64, ctypes.c_int64)
    choose = primitive._kernel

    def kernel(platform, backend, profiles, kind):
        return choose("cuda" if backend == "cuda" else platform, backend, profiles, kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(primitive, "_kernel", kernel)
        patch.setattr(backends, "require", lambda name: None)
        patch.setattr(_ffi, "load_cuda", lambda: types.SimpleNamespace(adjoint_scratch=scratch))
        patch.setattr(_ffi, "register_cuda", lambda: None)
        patch.setattr(cuda, "LEAST_RAYS", 512)
        yield


def difference(got, expected):
    got, expected = jax.tree.leaves(got), jax.tree.leaves(expected)
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(got, expected, strict=True)]
    return max(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30) for a, b in pairs if b.size)


def real_parts(halos):
    return tuple(getattr(halos, name) for name in REAL)


def with_parts(halos, values):
    return dataclasses.replace(halos, **dict(zip(REAL, values, strict=True)))


def exact(halos):
    """The same haloes in float64."""
    return with_parts(halos, [x.astype("float64") for x in real_parts(halos)])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("field", FIELDS)
def test_fields(field, dtype, population, pixels):
    halos, grid = (
        population(20, dtype=dtype, kinds=KINDS),
        pixels(9, dtype=dtype),
    )  # more than one chunk of haloes, and a block that is not full
    got = FIELDS[field](halos, grid, backend="cuda")
    expected = FIELDS[field](exact(halos), grid.astype("float64"), backend=ORACLE)
    assert got.dtype == dtype
    assert difference(got, expected) < TOLERANCES[dtype]
    if dtype == "float32" and field == "deflection":
        assert np.abs(got - expected).max() < 1e-6  # arcsec


@pytest.mark.parametrize("kind", KINDS)
def test_profiles(kind, population, pixels):
    halos, grid = population(3, kinds=(kind,), seed=1), pixels(5)

    def fields(backend):
        return jax.jit(lambda h, g: [field(h, g, backend=backend) for field in FIELDS.values()])(halos, grid)

    for got, expected in zip(fields("cuda"), fields(ORACLE), strict=True):
        assert difference(got, expected) < 3e-13


def test_sums_are_of_single_precision_over_many_haloes(population, pixels):
    halos, grid = population(500, dtype="float32", kinds=("nfw", "sis")), pixels(4, dtype="float32")
    expected = deflect.plane(exact(halos), grid.astype("float64"), backend=ORACLE)
    assert jnp.abs(expected).max() > 5
    assert difference(deflect.plane(halos, grid, backend="cuda"), expected) < 5e-7


def test_far_field(population, pixels):
    halos, grid = population(40, kinds=("nfw", "tnfw")), pixels(40)
    direct = deflect.plane(halos, grid, tol=0, backend="cuda")
    assert difference(direct, deflect.plane(halos, grid, backend=ORACLE)) < 3e-13
    assert difference(deflect.plane(halos, grid, backend="cuda"), direct) < 3e-13
    errors = [
        float(jnp.abs(deflect.plane(halos, grid, tol=tol, backend="cuda") - direct).max()) for tol in (1e-3, 1e-6)
    ]
    assert 1e-9 < errors[0] < 1e-3 and 1e-12 < errors[1] < 1e-6


@pytest.mark.parametrize("field", FIELDS)
def test_far_field_of_fields(field, population, pixels):
    halos, grid = population(10, kinds=KINDS), pixels(25)
    direct = FIELDS[field](halos, grid, backend="cuda", tol=0)
    assert difference(FIELDS[field](halos, grid, backend="cuda"), direct) < 1e-12
    loose = difference(FIELDS[field](halos, grid, backend="cuda", tol=1e-5), direct)
    assert 1e-12 < loose < 1e-3


def test_far_field_of_rays_in_any_order(population, pixels):
    rng = np.random.default_rng(2)
    halos = population(40, dtype="float32", kinds=("nfw", "sis"))
    grid = jnp.asarray(rng.normal(size=(600, 2)), "float32").at[7].set(jnp.nan).at[8, 0].set(300.0)
    got, expected = (
        deflect.plane(halos, grid, backend="cuda"),
        deflect.plane(exact(halos), grid.astype("float64"), backend=ORACLE),
    )
    assert jnp.isnan(got[7]).all()
    keep = np.arange(600) != 7
    assert difference(got[keep], expected[keep]) < 1e-6


def scalar(backend, halos, weights):
    def function(values, grid):
        return jnp.sum(weights * deflect.plane(with_parts(halos, values), grid, backend=backend))

    return function


@pytest.mark.parametrize("n", [9, 25])  # 25: several parts of the rays, and a far field
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradient(n, dtype, population, pixels):
    halos, grid = population(8, dtype=dtype, kinds=KINDS), pixels(n, dtype=dtype)
    weights = jnp.asarray(np.random.default_rng(3).normal(size=grid.shape), dtype)
    values = real_parts(halos)
    got = jax.grad(scalar("cuda", halos, weights), (0, 1))(values, grid)
    single = exact(halos)
    values = real_parts(single)
    expected = jax.grad(scalar(ORACLE, single, weights.astype("float64")), (0, 1))(values, grid.astype("float64"))
    assert all((x[-1] == 0).all() for x in got[0])  # the masked halo, which holds NaN
    assert difference(got, expected) < {"float64": 3e-10, "float32": 2e-5}[dtype]


@pytest.mark.parametrize("n", [9, 25])
def test_jvp(n, population, pixels):
    halos, grid = population(8, kinds=KINDS), pixels(n)
    values = real_parts(halos)
    rng = np.random.default_rng(5)
    along = tuple(jnp.asarray(rng.normal(size=x.shape)) * jnp.where(jnp.isfinite(x), x, 0) for x in values)
    dgrid = jnp.asarray(rng.normal(size=grid.shape))

    def tangent(backend):
        def function(values, grid):
            return deflect.plane(with_parts(halos, values), grid, backend=backend)

        return jax.jvp(function, (values, grid), (along, dgrid))[1]

    assert difference(tangent("cuda"), tangent(ORACLE)) < 3e-10


def test_batches_share_operands_and_leave_lanes_alone(population, pixels):
    halos = [population(2, seed=seed, kinds=("tnfw", "sis")) for seed in range(3)]
    halos = jax.tree.map(lambda *x: jnp.stack(x), *halos)
    grids = jnp.stack([pixels(7), 0.5 * pixels(7)])

    def every_pair(backend):
        def f(h, g):
            return deflect.plane(h, g, backend=backend)

        return jax.jit(jax.vmap(jax.vmap(f, in_axes=(None, 0)), in_axes=(0, None)))(halos, grids)

    got = every_pair("cuda")
    assert difference(got, every_pair(ORACLE)) < 3e-13
    one = deflect.plane(jax.tree.map(lambda x: x[1], halos), grids[1], backend="cuda")
    np.testing.assert_array_equal(got[1, 1], one)

    weights = jnp.cos(jnp.arange(grids[0].size, dtype="float64")).reshape(grids[0].shape)
    shared = jax.tree.map(lambda x: x[0], halos)
    values = real_parts(shared)

    def total(backend):
        function = scalar(backend, shared, weights)
        return lambda values, grids: jnp.sum(jax.vmap(function, in_axes=(None, 0))(values, grids))

    got, expected = (jax.grad(total(backend), (0, 1))(values, grids) for backend in ("cuda", ORACLE))
    assert difference(got, expected) < 3e-10


def test_invalid_halo_makes_its_own_lane_nan(population, pixels):
    halos = [population(2, seed=seed, kinds=("tnfw", "sis")) for seed in range(2)]
    halos = jax.tree.map(lambda *x: jnp.stack(x), *halos)
    halos = dataclasses.replace(halos, scale=halos.scale.at[1, 0].set(-1.0))
    weights = jnp.ones((4, 4, 2))

    def gradient(h):
        values = real_parts(h)
        return jax.grad(scalar("cuda", h, weights), (0, 1))(values, pixels(4))

    fields = jax.vmap(lambda h: deflect.jacobian(h, pixels(4), backend="cuda"))(halos)
    for x in (fields, *jax.tree.leaves(jax.vmap(gradient)(halos))):
        assert jnp.isfinite(x[0]).all() and jnp.isnan(x[1]).all()


def test_radial_tables(population, pixels):
    tables = deflect.tables.from_mean_convergence(lambda x, core: 4 / (core + x) ** 2, jnp.array([0.1, 0.3]))
    rng = np.random.default_rng(4)
    table = deflect.from_table(jnp.asarray(rng.uniform(-2, 2, (6, 2))), 0.01, 0.5, tables, index=jnp.arange(6) % 2)
    halos = deflect.concatenate([population(1, kinds=("nfw", "sis"))[:-1], table])
    far = jnp.array([[3e4, 0.0], table.centre[0] + 1e-8])  # beyond both ends of the range
    grid = jnp.concatenate([pixels(5).reshape(-1, 2), far])
    for field in ("deflection", "convergence", "jacobian"):
        got, expected = (FIELDS[field](halos, grid, backend=backend) for backend in ("cuda", ORACLE))
        assert difference(got, expected) < 1e-11
    with pytest.raises(NotImplementedError, match="tables"):
        deflect.potential(halos, grid, backend="cuda")


@pytest.mark.parametrize("shape", [(0, 2), (3, 2)])
def test_nothing_to_sum(shape, population, pixels):
    halos, grid = population(1), jnp.ones(shape)
    none = halos[:0]
    assert not deflect.plane(none, grid, backend="cuda").any()
    assert deflect.plane(halos, grid, backend="cuda").shape == shape
    values = real_parts(halos)
    gradient = jax.grad(scalar("cuda", halos, jnp.ones(shape)), (0, 1))(values, grid)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_many_nested_vmaps(population, pixels):
    halos, grid, factors = population(1, kinds=("sis",)), pixels(2), jnp.array([1.0, 2.0])

    def nested(depth, halos, grid):
        if depth == 0:
            return deflect.plane(halos, grid, backend="cuda")
        if depth % 2:  # sharing by turns, so that no two axes are one
            return jax.vmap(lambda f: nested(depth - 1, halos, f * grid))(factors)
        return jax.vmap(lambda f: nested(depth - 1, with_parts(halos, [f * x for x in real_parts(halos)]), grid))(
            factors
        )

    assert nested(6, halos, grid).shape == (2,) * 6 + grid.shape
    with pytest.raises(Exception, match="nested vmaps"):
        jax.block_until_ready(nested(7, halos, grid))

"""Ray tracing through many planes: against the sum over all pairs of planes, finite differences, and itself."""

import dataclasses

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM, Flatw0waCDM, LambdaCDM

from lenskern.deflect import cosmology
from lenskern.deflect.api import plane
from lenskern.deflect.halos import concatenate, point_mass, tnfw
from lenskern.deflect.macro import ExternalShear, Isothermal, MassSheet, PowerLaw
from lenskern.deflect.multiplane import bucket_size, planes, trace, trace_jacobian

REDSHIFTS, SOURCE = (0.2, 0.5, 0.9, 1.4), 2.1
FLAT = FlatLambdaCDM(70, 0.3)
UNIVERSES = [FLAT, LambdaCDM(70, 0.3, 1.1), LambdaCDM(60, 0.4, 0.2), Flatw0waCDM(70, 0.3, -0.9, 0.1)]


def population(n, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    centre = jnp.asarray(rng.uniform(-2, 2, (n, 2)), dtype)
    decades = ((-2, -1), (-1.5, -0.5), (-1, 0.5))
    return tnfw(centre, *(jnp.asarray(10 ** rng.uniform(*x, n), dtype) for x in decades))


def contents(dtype=np.float64):
    halos = [population(3, 0, dtype), None, population(5, 1, dtype), population(2, 2, dtype)]
    macros = [
        (1, PowerLaw((0.02, -0.05), (0.1, 0.05), 1.1, 2.1)),
        (1, ExternalShear(0.03, -0.02)),
        (2, Isothermal((0.6, -0.5), (0.0, 0.1), 0.2)),
    ]
    return {"halos": halos, "macros": macros, "sheets": jnp.asarray([-0.02, 0.0, 0.01, -0.03], dtype)}


def rays(n=20, seed=3, dtype=np.float64):
    return jnp.asarray(np.random.default_rng(seed).uniform(-2, 2, (n, 2)), dtype)


def by_pairs(universe, grid, halos, macros, sheets):
    """β of all planes and the source, θ_j = θ − Σ_{i<j} (D_ij D_s)/(D_j D_is) α_i, the distances being astropy's."""
    z = [*REDSHIFTS, SOURCE]
    root = np.sqrt(complex(-float(universe.Ok0))) / universe.hubble_distance.to_value("Mpc")
    chi = universe.comoving_distance(z).to_value("Mpc")

    def distance(i, j):
        step = chi[j] - (0 if i is None else chi[i])
        return (step if root == 0 else (np.sin(root * step) / root).real) / (1 + z[j])

    positions, deflections = [], []
    for j in range(len(z)):
        here = grid
        for i in range(j):
            factor = distance(i, j) * distance(None, -1) / (distance(None, j) * distance(i, -1))
            here -= factor * deflections[i]
        positions.append(here)
        if j < len(REDSHIFTS):
            alpha = sheets[j] * here
            if halos[j] is not None:
                alpha += plane(halos[j], here)
            deflections.append(alpha + sum(model.deflection(here) for k, model in macros if k == j))
    return jnp.stack(positions)


@pytest.mark.parametrize("universe", UNIVERSES, ids=["flat", "closed", "open", "w0wa"])
def test_matches_the_sum_over_pairs_of_planes(universe):
    parts, grid = contents(), rays()
    got = trace(planes(REDSHIFTS, SOURCE, universe, **parts), grid, all_planes=True)
    np.testing.assert_allclose(got, by_pairs(universe, grid, **parts), rtol=0, atol=2e-14)


@pytest.mark.parametrize("universe", UNIVERSES[:3], ids=["flat", "closed", "open"])
def test_our_distances_do_as_well(universe):
    parts, grid = contents(), rays()
    ours = planes(REDSHIFTS, SOURCE, cosmology.from_astropy(universe), **parts)
    theirs = planes(REDSHIFTS, SOURCE, universe, **parts)
    np.testing.assert_allclose(trace(ours, grid), trace(theirs, grid), rtol=0, atol=1e-10)


def test_source_and_shapes():
    lens, grid = planes(REDSHIFTS, SOURCE, FLAT, **contents()), rays(24)
    every = trace(lens, grid.reshape(4, 6, 2), all_planes=True)
    assert every.shape == (5, 4, 6, 2)
    np.testing.assert_array_equal(every[0], grid.reshape(4, 6, 2))
    np.testing.assert_allclose(every[-1], trace(lens, grid.reshape(4, 6, 2)), rtol=0, atol=1e-15)
    assert trace(lens, grid[0]).shape == (2,)
    assert trace(lens, grid[:0]).shape == (0, 2)
    assert len(lens) == 4


def test_fewer_parts():
    grid = rays()
    np.testing.assert_array_equal(trace(planes([], 1.0, FLAT), grid), grid)
    np.testing.assert_array_equal(trace(planes([0.3, 0.4], 1.0, FLAT), grid), grid)
    lens = PowerLaw((0.1, 0.0), (0.1, 0.2), 1.2, 1.9)
    np.testing.assert_allclose(trace(planes([0.3], 1.0, FLAT, macros=[(0, lens)]), grid), grid - lens.deflection(grid))
    halos = population(7, 0)
    np.testing.assert_allclose(
        trace(planes([0.3], 1.0, FLAT, halos=[halos]), grid), grid - plane(halos, grid), rtol=0, atol=1e-14
    )


def test_planes_at_one_redshift_add_up():
    a, b, grid = population(3, 0), population(4, 1), rays()
    two = planes([0.3, 0.3], 1.0, FLAT, halos=[a, b])
    one = planes([0.3], 1.0, FLAT, halos=[concatenate([a, b])])
    np.testing.assert_allclose(trace(two, grid), trace(one, grid), rtol=0, atol=1e-14)


def test_sheets_are_mass_sheets():
    grid, kappas = rays(), [0.02, -0.03, 0.0, 0.01]
    sheets = planes(REDSHIFTS, SOURCE, FLAT, sheets=kappas)
    macros = planes(REDSHIFTS, SOURCE, FLAT, macros=[(i, MassSheet(kappa)) for i, kappa in enumerate(kappas)])
    np.testing.assert_allclose(trace(sheets, grid), trace(macros, grid), rtol=0, atol=1e-14)


def test_observed_positions():
    parts, grid = contents(), rays()
    # Where a centre is seen, so that in front of its plane light from there has been deflected to its place.
    seen = planes(REDSHIFTS, SOURCE, FLAT, **parts)
    placed = list(parts["halos"])
    for k, halos in enumerate(placed):
        if halos is not None:
            front = planes(REDSHIFTS, SOURCE, FLAT, **(parts | {"halos": placed}))
            there = trace(front, halos.centre, all_planes=True)[k]
            placed[k] = dataclasses.replace(halos, centre=there)
    physical = planes(REDSHIFTS, SOURCE, FLAT, **(parts | {"halos": placed}))
    got = trace(seen, grid, positions="observed")
    assert np.abs(got - trace(seen, grid)).max() > 1e-3
    np.testing.assert_allclose(got, trace(physical, grid), rtol=0, atol=1e-13)


def test_bucket_sizes():
    sizes = [bucket_size(n) for n in range(1, 3000)]
    assert all(n <= size <= max(n + 1, 1.25 * n) for n, size in enumerate(sizes, 1))
    assert sorted(set(sizes))[:12] == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16]


def test_no_recompilation_inside_a_bucket():
    grid, count = rays(), []

    @jax.jit
    def traced(lens, grid):
        count.append(1)
        return trace(lens, grid)

    for n in (17, 18, 20):
        halos = population(n, n)
        got = traced(planes([0.3, 0.6], 1.0, FLAT, halos=[halos, halos[:5]]), grid)
        exact = planes([0.3, 0.6], 1.0, FLAT, halos=[halos, halos[:5]], bucket=n)
        np.testing.assert_allclose(got, trace(exact, grid), rtol=0, atol=1e-14)
    assert len(count) == 1


def test_mixed_populations():
    grid = rays()
    masses = point_mass(jnp.array([[1.5, 1.5]]), 0.1)
    halos = [population(3, 0), masses, concatenate([population(2, 1), masses]), None]
    lens = planes(REDSHIFTS, SOURCE, FLAT, halos=halos)
    want = by_pairs(FLAT, grid, halos, [], np.zeros(4))[-1]
    np.testing.assert_allclose(trace(lens, grid), want, rtol=0, atol=2e-14)


@pytest.mark.parametrize("positions", ["physical", "observed"])
def test_padded_halos_have_no_part_in_derivatives(positions):
    parts, grid = contents(), rays()

    def loss(halos, fill):
        lens = planes(REDSHIFTS, SOURCE, FLAT, **(parts | {"halos": halos}), bucket=8)
        masked = ~lens.halos.mask
        garbage = dataclasses.replace(
            lens.halos,
            centre=jnp.where(masked[..., None], fill, lens.halos.centre),
            scale=jnp.where(masked, fill, lens.halos.scale),
        )
        return (trace(dataclasses.replace(lens, halos=garbage), grid, positions=positions) ** 2).sum()

    differentiate = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), allow_int=True))
    value, (halos, fill) = differentiate(parts["halos"], jnp.nan)
    want, (same, _) = differentiate(parts["halos"], 1.0)
    assert fill == 0
    np.testing.assert_allclose(value, want, rtol=1e-13)
    for a, b in zip(halos, same, strict=True):
        if a is not None:
            np.testing.assert_allclose(a.centre, b.centre, rtol=1e-9, atol=1e-12)
            assert np.isfinite(a.scale).all()


@pytest.mark.parametrize("positions", ["physical", "observed"])
def test_derivatives_match_finite_differences(positions):
    lens, grid = planes(REDSHIFTS, SOURCE, LambdaCDM(70, 0.3, 0.9), **contents()), rays(6)
    weights = np.random.default_rng(5).normal(size=(6, 2))
    real = (lens.halos.centre, lens.halos.amplitude, lens.halos.scale, lens.halos.shape, lens.sheets, lens.transport)
    flat, build = jax.flatten_util.ravel_pytree((real, lens.macros, grid))

    def loss(x):
        (centre, amplitude, scale, shape, sheets, transport), macros, grid = build(x)
        halos = dataclasses.replace(lens.halos, centre=centre, amplitude=amplitude, scale=scale, shape=shape)
        parts = {"halos": halos, "sheets": sheets, "transport": transport, "macros": macros}
        return (weights * trace(dataclasses.replace(lens, **parts), grid, positions=positions)).sum()

    value = jax.jit(loss)
    v = np.random.default_rng(6).normal(size=flat.shape)
    # Steps that leave lengths above 0.
    v *= 0.2 * np.abs(flat)
    steps = [value(flat + 1e-3 * k * v) for k in (-2, -1, 1, 2)]
    numeric = (steps[0] - 8 * steps[1] + 8 * steps[2] - steps[3]) / 12e-3
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(flat) @ v, numeric, rtol=1e-8)
    np.testing.assert_allclose(jax.jit(lambda x: jax.jvp(loss, (x,), (v,))[1])(flat), numeric, rtol=1e-8)


@pytest.mark.parametrize("positions", ["physical", "observed"])
def test_jacobian(positions):
    lens, grid = planes(REDSHIFTS, SOURCE, LambdaCDM(70, 0.3, 0.9), **contents()), rays(6)
    source, slopes = trace_jacobian(lens, grid.reshape(2, 3, 2), positions=positions)
    assert slopes.shape == (2, 3, 2, 2)
    np.testing.assert_allclose(source.reshape(6, 2), trace(lens, grid, positions=positions), rtol=0, atol=1e-14)
    want = jax.vmap(jax.jacfwd(lambda ray: trace(lens, ray, positions=positions)))(grid)
    np.testing.assert_allclose(slopes.reshape(6, 2, 2), want, rtol=0, atol=1e-12)
    assert np.abs(slopes[..., 0, 1] - slopes[..., 1, 0]).max() > 1e-4
    unlensed = trace_jacobian(planes([], 1.0, FLAT), grid)[1]
    np.testing.assert_array_equal(unlensed, np.broadcast_to(np.eye(2), (6, 2, 2)))


def test_redshifts_can_be_traced():
    universe, grid, halos = cosmology.from_astropy(FLAT), rays(), population(4, 0)
    lens = Isothermal((0.0, 0.0), (0.1, 0.0), 1.0)

    @jax.jit
    def position(z):
        return trace(planes([0.5, z], SOURCE, universe, halos=[None, halos], macros=[(0, lens)]), grid)

    want = planes([0.5, 0.8], SOURCE, FLAT, halos=[None, halos], macros=[(0, lens)])
    np.testing.assert_allclose(position(0.8), trace(want, grid), rtol=0, atol=1e-10)
    numeric = (position(0.8 + 1e-4) - position(0.8 - 1e-4)) / 2e-4
    np.testing.assert_allclose(jax.jacfwd(position)(0.8), numeric, atol=1e-6)


def test_batches():
    draws = (contents() | {"halos": 4 * [population(4, k)]} for k in range(3))
    grid, sets = rays(), [planes(REDSHIFTS, SOURCE, FLAT, **parts) for parts in draws]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *sets)
    each = jnp.stack([trace(lens, grid) for lens in sets])
    np.testing.assert_allclose(jax.vmap(trace, (0, None))(batch, grid), each, rtol=0, atol=1e-13)
    both = jax.vmap(jax.vmap(trace, (None, 0)), (0, None))(batch, grid.reshape(4, 5, 2))
    np.testing.assert_allclose(both.reshape(3, 20, 2), each, rtol=0, atol=1e-13)
    observed = jax.vmap(lambda lens: trace(lens, grid, positions="observed"))(batch)
    np.testing.assert_allclose(observed[1], trace(sets[1], grid, positions="observed"), rtol=0, atol=1e-13)


def test_float32_keeps_a_microarcsecond():
    redshifts = np.linspace(0.1, 1.3, 8)
    macros = [(3, PowerLaw((0.3, -0.8), (0.1, 0.05), 1.4, 2.1)), (3, ExternalShear(0.03, -0.02))]
    halos = [population(125, k, np.float32) for k in range(8)]
    sheets = jnp.full(8, -0.02, jnp.float32)
    lens = planes(redshifts, 1.5, FLAT, halos=halos, macros=macros, sheets=sheets)
    axis = np.linspace(-3, 3, 50)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1), jnp.float32)

    def wide(tree):
        return jax.tree.map(lambda x: x.astype(jnp.float64) if getattr(x, "dtype", None) == jnp.float32 else x, tree)

    got = trace(lens, grid)
    assert got.dtype == jnp.float32
    assert np.abs(np.float64(got) - trace(wide(lens), wide(grid))).max() < 1e-6


def test_invalid_halos_and_rays():
    halos, grid = population(3, 0), rays()
    bad = dataclasses.replace(halos, scale=halos.scale.at[1].set(-1.0))
    assert np.isnan(trace(planes([0.3, 0.5], 1.0, FLAT, halos=[bad, halos]), grid)).all()
    broken = trace(planes([0.3, 0.5], 1.0, FLAT, halos=[halos, halos]), grid.at[4].set(jnp.nan))
    np.testing.assert_array_equal(np.isnan(broken).any(-1), np.arange(20) == 4)


def test_bad_input():
    halos, grid = population(3, 0), rays()
    for redshifts, source, message in [
        ([0.3, 0.2], 1.0, "redshifts: got 0.2 after 0.3"),
        ([0.0], 1.0, "redshifts: got 0.0 after 0"),
        ([0.3], 0.3, "source_redshift: got 0.3 after 0.3"),
        ([[0.3]], 1.0, r"redshifts: got shape \(1,\), expected scalars"),
    ]:
        with pytest.raises(ValueError, match=message):
            planes(redshifts, source, FLAT)
    for parts, message in [
        ({"halos": [halos, halos]}, "halos: got 2 entries, expected one for each of 1 redshifts"),
        ({"halos": [3]}, "halos: got int, expected"),
        ({"halos": [halos], "bucket": 2}, "bucket: got 2, expected at least"),
        ({"sheets": [0.1, 0.2]}, r"sheets: got shape \(2,\), expected \(1,\)"),
        ({"halos": [halos], "sheets": jnp.zeros(1, jnp.float32)}, "sheets: got dtype float32"),
        ({"macros": [Isothermal()]}, "expected pairs of a plane index and a model"),
        ({"macros": [(1, Isothermal())]}, "got plane index 1, expected an integer from 0 to 0"),
        ({"macros": [(0, halos)]}, r"got Halos, expected a model with a method deflection"),
        ({"macros": [(0, PowerLaw(slope=3.5))]}, "slope: got 3.5"),
    ]:
        with pytest.raises(ValueError, match=message):
            planes([0.3], 1.0, FLAT, **parts)
    with pytest.raises(ValueError, match="cosmology: got int"):
        planes([0.3], 1.0, 70)
    assert planes([0.3], 1.0, FLAT, macros=[(np.int64(0), Isothermal())]).macro_planes == (0,)
    lens = planes([0.3], 1.0, FLAT, halos=[halos])
    for arguments, more, message in [
        ((halos, grid), {}, "planes: got Halos"),
        ((lens, grid[:, :1]), {}, r"grid: got shape \(20, 1\)"),
        ((lens, grid.astype(jnp.float32)), {}, "grid: got dtype float32, expected the dtype of planes, float64"),
        ((lens, grid), {"positions": "lensed"}, "positions: got 'lensed'"),
        ((planes([0.3], 1.0, FLAT), grid), {"backend": "fortran"}, "backend: got 'fortran', expected one of"),
    ]:
        with pytest.raises(ValueError, match=message):
            trace(*arguments, **more)

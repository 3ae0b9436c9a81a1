"""Arguments that cannot be right raise an error that names them; values that turn out wrong stay in their lane."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import deflect

CENTRE = jnp.array([[0.1, 0.2], [-0.3, 0.4]])
GRID = jnp.array([[1.0, 0.5], [0.2, -0.7], [0.0, 0.0]])
TABLES = deflect.RadialTables(jnp.ones((2, 3, 4)), -2.0, 2.0)


def lens():
    return deflect.tnfw(CENTRE, 0.05, 0.3, 2.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deflect.nfw(CENTRE[0], 0.1, 1.0), r"centre: got shape \(2,\), expected \(N, 2\)"),
        (lambda: deflect.nfw(CENTRE, jnp.ones(3), 1.0), r"kappa_s: got shape \(3,\), expected \(\) or \(2,\)"),
        (lambda: deflect.nfw(CENTRE, 0.1, -1.0), r"scale_radius: got -1.0, expected above 0"),
        (lambda: deflect.nfw(CENTRE, 0.1, jnp.array([1.0, 0.0])), r"scale_radius: got 0.0, expected above 0"),
        (lambda: deflect.tnfw(CENTRE, 0.1, 1.0, 0.0), r"truncation_radius: got 0.0, expected above 0"),
        (lambda: deflect.cnfw(CENTRE, 0.1, 1.0, -0.1), r"core_radius: got -0.1, expected at least 0"),
        (lambda: deflect.dpie(CENTRE, 0.1, 2.0, 1.0), r"core_radius: got 2.0, expected less than truncation_radius"),
        (lambda: deflect.sis(CENTRE, jnp.float32(1.0)), r"einstein_radius: got dtype float32"),
        (lambda: deflect.sis(jnp.ones((2, 2), int), 1.0), r"centre: got dtype int"),
        (lambda: deflect.plane("haloes", GRID), r"halos: got str, expected lenskern.deflect.Halos"),
        (lambda: deflect.plane(lens(), GRID[:, 0]), r"grid: got shape \(3,\), expected \(..., 2\)"),
        (
            lambda: deflect.plane(lens(), GRID.astype("float32")),
            r"grid: got dtype float32, expected the dtype of halos",
        ),
        (lambda: deflect.plane(lens(), GRID, tol=-1e-9), r"tol: got -1e-09, expected None, 0 or a finite number"),
        (lambda: deflect.plane(lens(), GRID, backend="fortran"), r"backend: got 'fortran', expected one of"),
        (lambda: deflect.nfw(CENTRE, jnp.nan, 1.0), r"kappa_s: got nan, expected finite numbers"),
        (lambda: deflect.nfw(CENTRE * jnp.inf, 0.1, 1.0), r"centre: got NaN or infinity"),
        (lambda: deflect.from_table(CENTRE, 0.1, 1.0, "table"), r"tables: got str, expected RadialTables"),
        (lambda: lens()[0], r"index: got 0, expected a slice or an array"),
        (lambda: deflect.from_table(CENTRE, 0.1, 1.0, TABLES, [0, 2]), r"index: got 2, expected integers from 0 to 1"),
        (lambda: deflect.from_table(CENTRE, 0.1, 1.0, TABLES, -1), r"index: got -1, expected integers from 0 to 1"),
        (lambda: deflect.from_table(CENTRE, 0.1, 1.0, TABLES, [0.0, 1.0]), r"index: got dtype float64, expected integ"),
        (lambda: deflect.from_table(CENTRE, 0.1, 1.0, TABLES, [0, 1, 0]), r"index: got shape \(3,\), expected \(2,\)"),
        (lambda: deflect.concatenate([]), r"parts: got an empty sequence"),
        (lambda: deflect.concatenate(lens()), r"parts: got Halos, expected a sequence"),
        (lambda: deflect.concatenate([lens(), deflect.sis(CENTRE.astype("float32"), 1.0)]), r"parts: got dtypes"),
        (lambda: lens().pad(1), r"n: got 1, expected at least the number of haloes, 2"),
    ],
)
def test_error_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_lengths_of_the_arrays_must_agree():
    broken = dataclasses.replace(lens(), scale=jnp.ones(3))
    with pytest.raises(ValueError, match=r"halos.scale: got shape \(3,\), expected \(2,\)"):
        deflect.plane(broken, GRID)


@pytest.mark.parametrize(("name", "dtype"), [("mask", "int32"), ("mask", "float32"), ("profile", "int8")])
def test_dtypes_of_the_codes(name, dtype):
    broken = dataclasses.replace(lens(), **{name: getattr(lens(), name).astype(dtype)})
    with pytest.raises(ValueError, match=rf"halos.{name}: got dtype {dtype}, expected"):
        deflect.plane(broken, GRID)


def test_haloes_are_no_sequence():
    with pytest.raises(TypeError):
        list(lens())


def test_profile_that_was_not_announced(backend):
    hidden = dataclasses.replace(lens(), profiles=(deflect.Profile.NFW,))
    assert (hidden.status() == deflect.HaloStatus.UNKNOWN_PROFILE).all()
    assert jnp.isnan(deflect.plane(hidden, GRID, backend=backend)).all()


def test_float64_needs_x64():
    with jax.enable_x64(False), pytest.raises(ValueError, match="got dtype float64 while 64-bit types are off"):
        deflect.sis(np.zeros((1, 2)), 1.0)


INVALID = {
    "scale": (-0.3, deflect.HaloStatus.BAD_SCALE),
    "amplitude": (jnp.nan, deflect.HaloStatus.NOT_FINITE),
    "centre": (jnp.inf, deflect.HaloStatus.NOT_FINITE),
    "shape": (-1.0, deflect.HaloStatus.BAD_SHAPE),
    "profile": (9, deflect.HaloStatus.UNKNOWN_PROFILE),
}


def test_bad_table_has_a_status():
    values = jnp.ones((2, 3, 4)).at[1, 0, 0].set(jnp.nan)
    tables = deflect.RadialTables(values, -2.0, 2.0)
    found = deflect.from_table(jnp.zeros((2, 2)), 1.0, 1.0, tables).status()
    assert found.tolist() == [deflect.HaloStatus.VALID, deflect.HaloStatus.BAD_TABLE]
    mixed = deflect.concatenate(
        [deflect.sis(jnp.zeros((1, 2)), 1.0), deflect.from_table(jnp.zeros((2, 2)), 1.0, 1.0, tables)]
    )
    assert mixed.status().tolist() == [0, 0, deflect.HaloStatus.BAD_TABLE]


def test_a_traced_row_that_is_not_there_has_a_status_beside_other_tables():
    @jax.jit
    def status(index):
        ours = deflect.from_table(CENTRE, 0.1, 1.0, TABLES, index)
        return deflect.concatenate([ours, deflect.from_table(CENTRE, 0.1, 1.0, TABLES)]).status()

    assert status(jnp.array([1, 2])).tolist() == [0, deflect.HaloStatus.UNKNOWN_PROFILE, 0, 0]
    assert status(jnp.array([-1, 0])).tolist() == [deflect.HaloStatus.UNKNOWN_PROFILE, 0, 0, 0]


def test_numbers_beyond_the_end_are_refused():
    for beyond in ([2], np.array([-3]), jnp.array([0, 5])):
        with pytest.raises(IndexError):
            lens()[beyond]
    assert len(lens()[[]]) == 0
    assert lens()[[-1, 0]].centre.tolist() == lens().centre[::-1].tolist()
    assert len(lens()[np.array([True, False])]) == 1


@pytest.mark.parametrize("n", [3, 30])
@pytest.mark.parametrize("name", INVALID)
def test_invalid_halo_stays_in_its_lane(backend, name, n, pixels):
    value, status = INVALID[name]
    good = lens()
    bad = dataclasses.replace(good, **{name: getattr(good, name).at[1].set(value)})
    both = jax.tree.map(lambda *x: jnp.stack(x), good, bad)
    grid = pixels(n)
    found = jax.vmap(deflect.Halos.status)(both)
    assert (found[0] == 0).all() and found[1, 1] == status and status.sentence
    deflections = jax.vmap(lambda halos: deflect.plane(halos, grid, backend=backend))(both)
    assert jnp.isnan(deflections[1]).all()
    # To the last bit but for XLA, which may compile the batch of the reference in another way.
    np.testing.assert_allclose(deflections[0], deflect.plane(good, grid, backend=backend), rtol=1e-12, atol=1e-16)

    def total(amplitude, halos):
        return deflect.plane(dataclasses.replace(halos, amplitude=amplitude), grid, backend=backend).sum()

    slopes = jax.vmap(jax.grad(total))(both.amplitude, both)
    assert jnp.isfinite(slopes[0]).all() and jnp.isnan(slopes[1]).all()
    # Masked, it does nothing.
    hidden = dataclasses.replace(bad, mask=jnp.array([True, False]))
    expected = deflect.plane(good[:1], grid, backend=backend)
    np.testing.assert_allclose(deflect.plane(hidden, grid, backend=backend), expected, rtol=1e-13)


@pytest.mark.parametrize("field", [deflect.plane, deflect.convergence, deflect.potential, deflect.jacobian])
def test_nothing_to_sum(backend, field, pixels):
    halos, grid = lens(), pixels(12)
    masked = dataclasses.replace(halos, mask=jnp.zeros(2, bool))
    for nothing in (halos[:0], masked):
        assert (field(nothing, grid, backend=backend) == 0).all()
    assert field(halos, grid[:0], backend=backend).shape[0] == 0
    slope = jax.grad(lambda grid: deflect.plane(masked, grid, backend=backend).sum())(grid)
    assert (slope == 0).all()


@pytest.mark.parametrize("n", [3, 30])
def test_ray_that_is_not_finite_stays_alone(backend, n, pixels):
    grid = pixels(n)
    bad = grid.at[1, 2].set(jnp.nan).at[0, 1, 0].set(jnp.inf)
    good, found = deflect.plane(lens(), grid, backend=backend), deflect.plane(lens(), bad, backend=backend)
    lost = jnp.zeros((n, n), bool).at[1, 2].set(True).at[0, 1].set(True)
    assert jnp.isnan(found[lost]).all()
    np.testing.assert_allclose(found[~lost], good[~lost], atol=1e-15)


@pytest.mark.parametrize("make", [deflect.nfw, deflect.sis, deflect.point_mass])
def test_centre_of_a_halo(backend, make):
    arguments = (0.1, 1.0) if make is deflect.nfw else (1.0,)
    halo, centre = make(jnp.zeros((1, 2)), *arguments), jnp.zeros((1, 2))
    assert (deflect.plane(halo, centre, backend=backend) == 0).all()
    assert jnp.isfinite(deflect.jacobian(halo, centre, backend=backend)).all()
    slope = jax.grad(lambda grid: deflect.plane(halo, grid, backend=backend).sum())(centre)
    assert jnp.isfinite(slope).all()

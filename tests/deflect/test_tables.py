"""Radial tables against 30-digit quadrature, closed forms and finite differences."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from lenskern.deflect import tables as ours

X = [1e-6, 1.1e-6, 1e-4, 3.3e-3, 0.05, 0.3, 0.99, 1.0, 1.7, 12.0, 300.0, 9.9e3]

# Densities, and the radii where they bend.
DENSITIES = {
    "NFW": (lambda y: 1 / (y * (1 + y) ** 2), [1]),
    "truncated NFW": (lambda y: 1 / (y * (1 + y) ** 2) / (1 + (y / 5) ** 2), [1, 5]),
    "Hernquist": (lambda y: 1 / (y * (1 + y) ** 3), [1]),
    "core 0.1": (lambda y: 1 / ((y**4 + 0.1**4) ** 0.25 * (1 + y) ** 2), [0.1, 1]),
    "core 1e-4": (lambda y: 1 / ((y**4 + 1e-16) ** 0.25 * (1 + y) ** 2) / (1 + (y / 2.5) ** 2), [1e-4, 1, 2.5]),
    "Plummer": (lambda y: (1 + y**2) ** -2.5, [1]),
    "isothermal": (lambda y: 1 / (y**2 + 0.01), [0.1]),
}


def projected_mass(density, x, bends):
    """m(x) by 30-digit quadrature of the shells, ln y = ln x + v² outside x to take the root out."""
    lx = mpmath.log(x)

    def shell(s):
        y = mpmath.exp(s)
        return y**3 * density(y) * (1 if y <= x else 1 - mpmath.sqrt(1 - (x / y) ** 2))

    bends = [mpmath.log(b) for b in bends]
    inside = sorted([lx - 70, lx - 20, lx - 5, lx, *(b for b in bends if lx - 70 < b < lx)])
    outside = sorted([0, 1, 2, 4, 7, 9, *(mpmath.sqrt(b - lx) for b in bends if b > lx)])
    return mpmath.quad(shell, inside) + mpmath.quad(lambda v: 2 * v * shell(lx + v**2), outside)


def surface_density(density, x, bends):
    """k(x) = 2 ∫ ρ dz by 30-digit quadrature, z = x sinh w."""
    bends = [mpmath.acosh(b / x) for b in bends if b > x]
    line = lambda w: 2 * x * mpmath.cosh(w) * density(x * mpmath.cosh(w))  # noqa: E731
    return mpmath.quad(line, sorted([0, 1, 3, 10, 40, 80, *bends]))


def nfw_functions(x):
    """g, k and w of the NFW profile by its closed forms."""
    x = mpmath.mpf(x)
    if x == 1:
        x += mpmath.mpf("1e-20")
    angle = mpmath.acosh(1 / x) if x < 1 else mpmath.acos(1 / x)
    F = angle / mpmath.sqrt(abs(1 - x**2))
    g = 4 * (mpmath.log(x / 2) + F) / x**2
    k = 2 * (1 - F) / (x**2 - 1)
    w = 2 * (mpmath.log(x / 2) ** 2 + (-(angle**2) if x < 1 else angle**2))
    return g, k, w


def relative(value, expected):
    return abs(float(mpmath.mpf(float(value)) / expected - 1))


@pytest.mark.parametrize("name", DENSITIES)
def test_projection_of_a_density(name):
    density, bends = DENSITIES[name]
    tables = jax.jit(lambda: ours.from_density(density))()
    with mpmath.workdps(30):
        for x in map(mpmath.mpf, X):
            g = 4 * projected_mass(density, x, bends) / x**2
            assert relative(ours.evaluate(tables, 0, float(x) ** 2), g) < 1e-13
            if x < 100:
                k = surface_density(density, x, bends)
                error = abs(float(mpmath.mpf(float(ours.convergence(tables, 0, float(x) ** 2))) - k))
                assert error < 3e-11 * float(g)


def test_closed_form_of_all_functions():
    """The tables of the NFW profile, from its density and from its mean convergence."""

    def mean(x):
        s = jnp.sqrt(jnp.abs(1 - x**2))
        F = jnp.where(x < 1, jnp.arccosh(jnp.where(x < 1, 1 / x, 1)), jnp.arctan(s)) / s
        return 4 * (jnp.log(x / 2) + F) / x**2

    coarse = dict(x_min=1e-3, x_max=1e2, segments=20, points=20)
    by_mass = ours.from_projected_mass(lambda x: mean(x) * x**2 / 4, **coarse)
    by_density = ours.from_density(lambda y: 1 / (y * (1 + y) ** 2))
    with mpmath.workdps(50):
        for x in X:
            g, k, w = nfw_functions(x)
            assert relative(ours.evaluate(by_density, 0, x**2), g) < 1e-13
            assert relative(ours.convergence(by_density, 0, x**2), k) < 1e-10
            # Below the table g goes on as a power law, where that of this profile is a logarithm.
            assert abs(float(ours.potential(by_density, 0, x**2)) - w) < 1e-13 * w + 2e-14
            if 1e-2 < x < 1e2:
                assert relative(ours.evaluate(by_mass, 0, x**2), g) < 1e-9


def test_outside_of_the_range():
    """A power law below and all the mass inside above."""
    tables = ours.from_mean_convergence(lambda x: x**-0.8 / (1 + x**0.6) ** 2, x_min=1e-4, x_max=1e2, segments=30)
    u_min, u_max = 1e-8, 1e4
    edge, power = float(ours.evaluate(tables, 0, u_min)), -0.4 - 0.6 * 1e-4**0.6 / (1 + 1e-4**0.6)
    for u in (1e-20, 1e-10):
        g = edge * (u / u_min) ** power
        assert relative(ours.evaluate(tables, 0, u), g) < 1e-10
        assert relative(ours.convergence(tables, 0, u), g * (1 + power)) < 1e-10
        assert relative(ours.potential(tables, 0, u), g * u / (2 * (1 + power))) < 1e-10
    last = float(ours.evaluate(tables, 0, u_max))
    potential = float(ours.potential(tables, 0, u_max))
    for u in (1e5, 1e12):
        assert relative(ours.evaluate(tables, 0, u), last * u_max / u) < 1e-13
        assert ours.convergence(tables, 0, u) == 0
        assert relative(ours.potential(tables, 0, u), potential + last * u_max * np.log(u / u_max) / 2) < 1e-12


def test_derivatives():
    """In u anywhere, in the values, and in the parameters of a profile."""
    b = jnp.array([0.02, 0.3])

    @jax.jit
    def mean(b, u):
        return ours.evaluate(ours.from_density(lambda y, b: 1 / ((y + b) * (1 + y) ** 2), b), 1, u)

    slopes_of_mean = jax.jit(jax.grad(mean, (0, 1)))

    def difference(function, step):
        """Fourth-order difference quotient."""
        values = [float(function(s * step)) for s in (-2, -1, 1, 2)]
        return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / 12

    for u in (1e-14, 3e-12, 0.04, 1.0, 3.0, 1e9):
        slope_b, slope_u = slopes_of_mean(b, u)
        expected = difference(lambda h: mean(b, u * (1 + h)), 1e-3) * 1e3  # noqa: B023
        assert abs(float(slope_u * u) - expected) < 1e-9 * mean(b, u)
        expected = difference(lambda h: mean(b.at[1].add(h), u), 1e-3) * 1e3  # noqa: B023
        assert relative(slope_b[1], expected) < 1e-7
        assert slope_b[0] == 0
    u, tables = 0.04, ours.from_density(lambda y: 1 / (y * (1 + y) ** 2))
    for function in (ours.evaluate, ours.convergence, ours.potential):
        slopes = jax.jit(jax.grad(function))(tables, 0, u)
        assert relative((slopes.values * tables.values).sum(), float(function(tables, 0, u))) < 1e-12
    tangent = jax.jvp(lambda u: ours.potential(tables, 0, u), (u,), (1.0,))[1]
    assert relative(tangent, float(ours.evaluate(tables, 0, u)) / 2) < 1e-11


def test_rows_and_transforms():
    b = jnp.array([0.02, 0.3, 1.0])
    build = jax.jit(lambda b: ours.from_density(lambda y, b: 1 / ((y + b) * (1 + y) ** 2), b))
    tables = build(b)
    assert len(tables) == 3
    index, u = jnp.array([[2], [0]]), jnp.array([1e-3, 0.5, 40.0])
    value = jax.jit(ours.evaluate)(tables, index, u)
    assert value.shape == (2, 3)
    for i in range(2):
        single = build(b[index[i]])
        np.testing.assert_allclose(value[i], ours.evaluate(single, 0, u), rtol=1e-14)
    both = tables.append(build(b[:1]))
    assert len(both) == 4
    np.testing.assert_allclose(ours.evaluate(both, 3, u), ours.evaluate(both, 0, u), rtol=1e-14)
    batched = jax.vmap(lambda b: ours.potential(build(b[None]), 0, u))(b)
    np.testing.assert_allclose(batched, ours.potential(tables, jnp.arange(3)[:, None], u), rtol=1e-13)


def test_float32():
    b = jnp.array([0.02, 0.3])
    build = lambda b: ours.from_density(lambda y, b: 1 / ((y + b) * (1 + y) ** 2), b)  # noqa: E731
    exact, single = build(b), build(b.astype(jnp.float32))
    assert single.values.dtype == jnp.float32
    u = jnp.asarray(np.array(X) ** 2)
    for function, tol in ((ours.evaluate, 5e-6), (ours.potential, 5e-6), (ours.convergence, 3e-4)):
        value = function(single, 1, u.astype(jnp.float32))
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, function(exact, 1, u), rtol=tol)


def test_infinite_masses_are_nan():
    for density in (lambda y: y**-3.5, lambda y: y**-0.5):
        assert jnp.isnan(ours.from_density(density).values).any()
    compact = ours.from_density(lambda y: jnp.exp(-y))
    assert jnp.isfinite(compact.values).all()
    assert relative(ours.evaluate(compact, 0, 1e6), mpmath.mpf(8) / 1000000) < 1e-13


def test_bad_input():
    with pytest.raises(ValueError, match="x_min: got 0"):
        ours.from_density(lambda y: 1 / y**2, x_min=0)
    with pytest.raises(ValueError, match="x_max: got 1.0, expected more than x_min"):
        ours.from_density(lambda y: 1 / y**2, x_min=2.0, x_max=1.0)
    with pytest.raises(ValueError, match="points: got 1"):
        ours.from_density(lambda y: 1 / y**2, points=1)
    with pytest.raises(ValueError, match="parameters: got shapes"):
        ours.from_density(lambda y, a, b: a * b / y**2, jnp.ones(2), jnp.ones(3))
    with pytest.raises(ValueError, match="parameters: got shapes"):
        ours.from_density(lambda y, a: a / y**2, 1.0)
    with pytest.raises(ValueError, match="function: got shape"):
        ours.from_mean_convergence(lambda x: jnp.ones(3))
    tables = ours.from_density(lambda y: 1 / (y + y**3))
    with pytest.raises(ValueError, match="tables: got"):
        tables.append(ours.from_density(lambda y: 1 / (y + y**3), segments=20))

"""Haloes of self-interacting dark matter against 25-digit quadrature of their densities."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from lenskern.deflect import profiles, sidm, tables
from lenskern.deflect import universe as constants


def relative(value, expected):
    return abs(float(mpmath.mpf(float(value)) / expected - 1))


def mean_convergence(density, x, bends):
    """g(x) = 4 m/x² by quadrature of the shells; ln y = ln x + v² outside x takes the root out."""
    lx = mpmath.log(x)

    def shell(s):
        y = mpmath.exp(s)
        return y**3 * density(y) * (1 if y <= x else 1 - mpmath.sqrt(1 - (x / y) ** 2))

    bends = [mpmath.log(b) for b in bends]
    inside = sorted([lx - 40, lx - 5, lx, *(b for b in bends if lx - 40 < b < lx)])
    outside = sorted([0, 1, 2, 4, 7, *(mpmath.sqrt(b - lx) for b in bends if b > lx)])
    mass = mpmath.quad(shell, inside) + mpmath.quad(lambda v: 2 * v * shell(lx + v**2), outside)
    return 4 * mass / x**2


def yang(fraction):
    """Fits of Yang et al. (2024), section 2, for β = 4."""
    t = mpmath.mpf(fraction)
    log = mpmath.log(t + mpmath.mpf("0.001")) / mpmath.log(mpmath.mpf("0.001"))
    number = mpmath.mpf
    density = number("2.033") + number("0.7381") * t + number("7.264") * t**5 - number("12.73") * t**7
    density += number("9.915") * t**9 + (1 - number("2.033")) * log
    scale = number("0.7178") - number("0.1026") * t + number("0.2474") * t**2 - number("0.4079") * t**3
    scale += (1 - number("0.7178")) * log
    core = number("2.555") * mpmath.sqrt(t) - number("3.632") * t + number("2.131") * t**2
    core += -number("1.415") * t**3 + number("0.4683") * t**4
    return density, scale, core


@pytest.mark.parametrize("fraction", [0.001, 0.2, 1.0])
@pytest.mark.parametrize("truncation", [None, 2.5])
def test_parametric_model(fraction, truncation):
    ends = None if truncation is None else jnp.array([truncation])
    table = sidm.parametric_sidm_tables(jnp.array([fraction]), ends)
    with mpmath.workdps(25):
        rho, scale, core = yang(fraction)
        cut = (lambda y: 1) if truncation is None else (lambda y: 1 / (1 + (y / truncation) ** 2))
        for x in map(mpmath.mpf, (1e-5, 0.01, 0.3, 1.0, 4.0, 100.0)):
            g = mean_convergence(
                lambda y: cut(y) * rho * scale / ((y**4 + core**4) ** 0.25 * (1 + y / scale) ** 2),
                x,
                [core, scale, 2.5],
            )
            assert relative(tables.evaluate(table, 0, float(x) ** 2), g) < 1e-13


def test_parametric_model_starts_from_nfw_and_stays_in_its_range():
    table = sidm.parametric_sidm_tables(jnp.array([0.0, -1.0, 1.0, 3.0]))
    u = jnp.geomspace(1e-11, 1e7, 50)
    expected = profiles.mean_convergence(profiles.Profile.NFW, u, 1.0, 1.0)
    np.testing.assert_allclose(tables.evaluate(table, 0, u), expected, rtol=1e-13)
    np.testing.assert_allclose(table.values[1], table.values[0], rtol=1e-14)
    np.testing.assert_allclose(table.values[3], table.values[2], rtol=1e-14)


def test_parametric_halos():
    """The boost is a shorter time of collapse, and the truncation radius an angle."""
    centre = jnp.zeros((3, 2))
    arguments = (centre, jnp.array([0.01, 0.02, 0.03]), jnp.array([0.1, 0.2, 0.4]))
    slow = sidm.parametric_sidm(*arguments, jnp.array([0.02, 0.04, 0.06]), truncation_radius=0.5, collapse_boost=10.0)
    fast = sidm.parametric_sidm(*arguments, jnp.array([0.2, 0.4, 0.6]), truncation_radius=jnp.full(3, 0.5))
    np.testing.assert_allclose(slow.tables.values, fast.tables.values, rtol=1e-12)
    np.testing.assert_array_equal(slow.profile, profiles.Profile.TABLE + np.arange(3))
    table = sidm.parametric_sidm_tables(jnp.array([0.4]), jnp.array([2.5]))
    np.testing.assert_allclose(fast.tables.values[1], table.values[0], rtol=1e-12)
    same = sidm.parametric_sidm(*arguments, 0.3)
    assert len(same.tables) == 1
    np.testing.assert_array_equal(same.profile, profiles.Profile.TABLE)
    assert (same.status() == 0).all()


def horner(coefficients, x):
    total = 0
    for c in reversed(coefficients):
        total = total * x + c
    return total


def isothermal_sphere():
    """h(x) and x h'(x) by Taylor series of the autonomous equations v' = p − v, p' = p (2 − v) in ln x."""
    a, e = [mpmath.mpf(0)], [mpmath.mpf(1)]
    for k in range(1, 50):
        a.append(e[k - 1] / (2 * k * (2 * k + 1)))
        e.append(-sum(j * a[j] * e[k - j] for j in range(1, k + 1)) / k)
    near = lambda w: horner(a, w)  # noqa: E731
    slope = lambda w: sum(k * a[k] * w**k for k in range(1, 50))  # noqa: E731
    step, pieces = mpmath.mpf("0.25"), []
    v, p = 2 * slope(mpmath.mpf(1)), mpmath.exp(-near(mpmath.mpf(1)))
    for _ in range(14):
        V, P = [v], [p]
        for k in range(40):
            V.append((P[k] - V[k]) / (k + 1))
            P.append((2 * P[k] - sum(P[j] * V[k - j] for j in range(k + 1))) / (k + 1))
        pieces.append((V, P))
        v, p = horner(V, step), horner(P, step)

    def solution(x):
        if x <= 1:
            return near(x**2), 2 * slope(x**2)
        s = mpmath.log(x)
        piece = int(s / step)
        v, p = (horner(c, s - piece * step) for c in pieces[piece])
        return 2 * s - mpmath.log(p), v

    return solution


@pytest.mark.parametrize("y1", [1e-3, 0.3, 3.0])
def test_isothermal_core(y1):
    """Density and mass meet at r₁, and the table is that of the density."""
    table = sidm.isothermal_nfw_tables(jnp.array([y1]))
    with mpmath.workdps(25):
        solution = isothermal_sphere()
        y = mpmath.mpf(y1)
        target = (mpmath.log1p(y) - y / (1 + y)) * (1 + y) ** 2 / y**2

        def mass_over_density(x):
            h, v = solution(x)
            return v * mpmath.exp(h) / x**2

        x1 = mpmath.findroot(lambda x: mass_over_density(x) - target, (3, 5) if y1 < 1 else (11, 13))
        edge, _ = solution(x1)

        def density(r):
            if r > 1:
                return 1 / (r * y * (1 + r * y) ** 2)
            return mpmath.exp(edge - solution(x1 * r)[0]) / (y * (1 + y) ** 2)

        for x, tol in (
            (1e-5, 1e-13),
            (0.1, 1e-13),
            (0.5, 1e-13),
            (0.93, 3e-9),
            (0.9999, 3e-8),
            (1.0001, 1e-13),
            (20, 1e-13),
        ):
            g = mean_convergence(density, mpmath.mpf(x), [0.1, 0.3, 1])
            assert relative(tables.evaluate(table, 0, float(x) ** 2), g) < tol


def test_isothermal_halos():
    """Far out it is the NFW halo, whatever the core; without a solution it is NaN, alone."""
    centre = jnp.zeros((3, 2))
    kappa_s, scale, r1 = jnp.array([0.01, 0.02, 0.03]), jnp.array([0.1, 0.2, 0.4]), jnp.array([0.1, 0.1, 1.7])
    halos = sidm.isothermal_nfw(centre, kappa_s, scale, r1)
    radius = 2.0
    g = tables.evaluate(halos.tables, jnp.arange(3), (radius / halos.scale) ** 2) * halos.amplitude
    u = (radius / scale) ** 2
    expected = kappa_s * profiles.mean_convergence(profiles.Profile.NFW, u, 1.0, 1.0)
    np.testing.assert_allclose(g[:2], expected[:2], rtol=1e-13)
    assert jnp.isnan(halos.tables.values[2]).all()
    cut = sidm.isothermal_nfw(centre, kappa_s, scale, r1, truncation_radius=3 * scale)
    assert (
        tables.evaluate(cut.tables, jnp.arange(2), 100.0) < tables.evaluate(halos.tables, jnp.arange(2), 100.0)
    ).all()


def test_derivatives():
    u = jnp.array([0.01, 0.7, 30.0])

    def parametric(fraction, truncation):
        table = sidm.parametric_sidm_tables(fraction[None], truncation[None])
        return tables.evaluate(table, 0, u).sum()

    def isothermal(y1, truncation):
        table = sidm.isothermal_nfw_tables(y1[None], truncation[None])
        return tables.evaluate(table, 0, u).sum()

    for function, point in ((parametric, (0.3, 2.5)), (isothermal, (0.6, 4.0))):
        point = [jnp.asarray(x) for x in point]
        compiled = jax.jit(function)
        for i, slope in enumerate(jax.jit(jax.grad(function, (0, 1)))(*point)):
            step = 1e-3
            ends = [compiled(*(x + s * step * (k == i) for k, x in enumerate(point))) for s in (-2, -1, 1, 2)]
            expected = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * step)
            assert relative(slope, float(expected)) < 1e-8
    start = jax.jit(jax.grad(lambda t: tables.evaluate(sidm.parametric_sidm_tables(t[None]), 0, u).sum()))
    at_start = start(jnp.asarray(0.0))
    assert jnp.isfinite(at_start)


def test_batch_and_float32():
    t = jnp.array([0.1, 0.5, 0.9])
    single = sidm.parametric_sidm_tables(t.astype(jnp.float32))
    assert single.values.dtype == jnp.float32
    np.testing.assert_allclose(single.values, sidm.parametric_sidm_tables(t).values, rtol=1e-5)
    batched = jax.vmap(lambda t: sidm.parametric_sidm_tables(t[None]).values[0])(t)
    np.testing.assert_allclose(batched, sidm.parametric_sidm_tables(t).values, rtol=1e-13)
    y = jnp.array([0.1, 1.0, 2.0])
    single = sidm.isothermal_nfw_tables(y.astype(jnp.float32))
    np.testing.assert_allclose(single.values, sidm.isothermal_nfw_tables(y).values, rtol=1e-5)


def test_times_and_radii():
    """In SI units."""
    rho_s, r_s, cross_section, age = 2.2e7, 0.59, 3.0, 8.0
    density = rho_s * constants.SOLAR_MASS / constants.KPC**3
    length, time, per_mass = r_s * constants.KPC, age * 3.15576e16, cross_section * 0.1
    rate = np.sqrt(4 * np.pi * constants.G * density)
    collapse = 150 / 0.75 / (per_mass * density * length * rate)
    assert relative(sidm.collapse_fraction(rho_s, r_s, cross_section, age), time / collapse) < 1e-13
    radius = float(sidm.interaction_radius(rho_s, r_s, cross_section, age)) / r_s
    mass = 4 * np.pi * density * length**3 * (np.log1p(radius) - radius / (1 + radius))
    speed = np.sqrt(constants.G * mass / (radius * length))
    assert relative(per_mass * density / (radius * (1 + radius) ** 2) * speed * time, 1) < 1e-12
    y = np.linspace(2.1, 2.2, 100001)
    peak = np.sqrt(((np.log1p(y) - y / (1 + y)) / y).max()) * length * rate / 1e3
    v = np.linspace(0, 60 * peak, 200001)
    weight = v**2 * np.exp(-(v**2) / (4 * (0.64 * peak) ** 2)) * v**5
    for exponent in (0.0, 1.0, 3.5):
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = (np.nan_to_num((v / 10.0) ** -exponent) * weight).sum() / weight.sum()
        value = sidm.effective_cross_section(rho_s, r_s, cross_section, exponent, 10.0)
        assert relative(value, cross_section * mean) < 1e-9
    assert jnp.isnan(sidm.effective_cross_section(rho_s, r_s, cross_section, 8.0, 10.0))
    assert jnp.isfinite(jax.grad(sidm.interaction_radius, (0, 1, 2, 3))(rho_s, r_s, cross_section, age)[2])


def test_against_autogalaxy():
    """The parameters of its profiles; its deflections are quadratures of some 1e-3."""
    theirs = pytest.importorskip("autogalaxy.profiles.mass.dark.yang24")
    mcr = pytest.importorskip("autogalaxy.profiles.mass.dark.yang24_mcr")
    jeans = pytest.importorskip("autogalaxy.profiles.mass.dark.kaplinghat_mcr")
    for fraction in (0.01, 0.5, 1.0):
        expected = theirs._yang24_parameter_ratios_from(fraction)
        np.testing.assert_allclose(sidm.parametric_sidm_ratios(fraction), expected, rtol=1e-13)
    rho_s, r_s, cross_section, age = 2.2e7, 0.59, 3.0, 8.0
    expected = mcr._tau_from(cross_section, age, rho_s, r_s)
    assert relative(sidm.collapse_fraction(rho_s, r_s, cross_section, age), expected) < 1e-4
    speed = mcr._nu_eff_km_s_from(rho_s, r_s)
    expected = mcr._sigma_eff_over_m_from(cross_section, 2.0, 10.0, speed)
    assert relative(sidm.effective_cross_section(rho_s, r_s, cross_section, 2.0, 10.0), expected) < 1e-4
    expected = jeans._interaction_radius_kpc_from(cross_section, age, rho_s, r_s, 100.0)
    assert relative(sidm.interaction_radius(rho_s, r_s, cross_section, age), expected) < 1e-4


def test_bad_input():
    centre = jnp.zeros((3, 2))
    with pytest.raises(ValueError, match="collapse_fraction: got parameters of shape"):
        sidm.parametric_sidm(centre, 0.1, 1.0, jnp.ones(2))
    with pytest.raises(ValueError, match="interaction_radius: got parameters of shape"):
        sidm.isothermal_nfw(centre, 0.1, 1.0, jnp.ones((3, 1)))
    with pytest.raises(ValueError, match="scale_radius: got -1"):
        sidm.parametric_sidm(centre, 0.1, -1.0, 0.5)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: sidm.parametric_sidm(jnp.zeros((1, 2)), 0.1, 0.5, 0.3, truncation_radius=-1.0), "truncation_radius"),
        (lambda: sidm.parametric_sidm(jnp.zeros((1, 2)), 0.1, 0.5, jnp.nan), "collapse_fraction"),
        (lambda: sidm.isothermal_nfw(jnp.zeros((1, 2)), 0.1, 0.5, 0.0), "interaction_radius"),
        (lambda: sidm.isothermal_nfw(jnp.zeros((1, 2)), 0.1, 0.5, 0.2, truncation_radius=-1.0), "truncation_radius"),
    ],
)
def test_known_lengths_out_of_range(make, name):
    with pytest.raises(ValueError, match=f"{name}: got"):
        make()

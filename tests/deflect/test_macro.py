"""The elliptical power law and its companions: against 40-digit values, finite differences and each other."""

from functools import partial

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import backends
from lenskern.deflect.macro import ExternalShear, Isothermal, MassSheet, PowerLaw

mpmath = pytest.importorskip("mpmath")

RADII = np.array([1e-6, 1e-3, 0.03, 0.4, 1.0, 2.5, 40.0])
TOLERANCE = {np.float64: 1e-14, np.float32: 1.5e-6}


@pytest.fixture(params=["reference", "cpp"])
def backend(request, available):
    return available(request.param)


def rays(dtype, centre=(0.1, -0.2), seed=0):
    """Positions around a centre over eight decades in radius, the axes among them, in (y, x) order."""
    angles = np.concatenate([[0, np.pi / 2, np.pi], np.random.default_rng(seed).uniform(-np.pi, np.pi, 4)])
    offsets = RADII[:, None, None] * np.stack([np.sin(angles), np.cos(angles)], -1)
    return (offsets.reshape(-1, 2) + np.asarray(centre)).astype(dtype)


def ell_comps(q, angle, dtype=np.float64):
    f = (1 - q) / (1 + q)
    return (f * np.array([np.sin(2 * angle), np.cos(2 * angle)])).astype(dtype)


def exact(grid, centre, ell, einstein_radius, slope):
    """Deflection and convergence of autogalaxy's power law in 40 digits, in the rotated frame of the papers."""
    with mpmath.workdps(40):
        number = lambda x: mpmath.mpf(float(x))  # noqa: E731
        ey, ex, t = number(ell[0]), number(ell[1]), number(slope) - 1
        f = mpmath.sqrt(ex**2 + ey**2)
        q = (1 - f) / (1 + f)
        turn = mpmath.expj(mpmath.atan2(ey, ex) / 2)
        b = 2 * q / (1 + q) * number(einstein_radius)
        values = []
        for y, x in grid:
            z = mpmath.mpc(number(x) - number(centre[1]), number(y) - number(centre[0])) / turn
            z = mpmath.mpc(q * z.real, z.imag)
            R = abs(z)
            omega = z / R * mpmath.hyp2f1(1, t / 2, 2 - t / 2, -f * (z / R) ** 2)
            # autogalaxy scales its Einstein radius by ((1 + q)/2)^(t - 1).
            scale = ((1 + q) / 2) ** (t - 1) * (b / R) ** (t - 1)
            alpha = 2 * b / (1 + q) * scale * omega * turn
            kappa = (2 - t) / 2 * scale * b / R
            values.append([float(alpha.imag), float(alpha.real), float(kappa)])
    values = np.array(values)
    return values[:, :2], values[:, 2]


def relative(got, want):
    return (np.linalg.norm(np.float64(got) - want, axis=-1) / np.linalg.norm(want, axis=-1)).max()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("q", [1 - 1e-9, 0.99, 0.8, 0.5, 0.3, 0.2, 0.1])
def test_power_law_matches_quadruple_precision(q, dtype, backend):
    for k, slope in enumerate([1.2, 1.6, 2.0, 2.3, 2.8]):
        centre, ell = np.array([0.1, -0.2], dtype), ell_comps(q, 0.3 + k, dtype)
        lens = PowerLaw(centre, ell, dtype(1.3), dtype(slope))
        grid = rays(dtype, centre, seed=k)
        alpha, kappa = exact(grid, centre, ell, dtype(1.3), dtype(slope))
        assert relative(lens.deflection(grid, backend=backend), alpha) < TOLERANCE[dtype]
        np.testing.assert_allclose(lens.convergence(grid), kappa, rtol=5 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("q", [1 - 1e-9, 0.99, 0.8, 0.5, 0.3, 0.2, 0.1])
def test_isothermal_matches_quadruple_precision(q, dtype, backend):
    centre, ell = np.array([0.1, -0.2], dtype), ell_comps(q, 1.0, dtype)
    grid = rays(dtype, centre)
    alpha, _ = exact(grid, centre, ell, dtype(1.3), 2)
    assert relative(Isothermal(centre, ell, dtype(1.3)).deflection(grid, backend=backend), alpha) < TOLERANCE[dtype]


@pytest.mark.parametrize("q", [0.02, 0.005])
def test_flatter_than_the_papers_still_converges(q, backend):
    ell = ell_comps(q, 0.4)
    grid = rays(np.float64, (0, 0))
    alpha, _ = exact(grid, (0, 0), ell, 1.0, 2.2)
    assert relative(PowerLaw((0.0, 0.0), ell, 1.0, 2.2).deflection(grid, backend=backend), alpha) < 1e-12


def test_ellipticity_is_clamped():
    grid = rays(np.float64)
    lens, clamped = PowerLaw(ell_comps=(0.9, 0.9)), PowerLaw(ell_comps=(0.999 / 2**0.5, 0.999 / 2**0.5))
    np.testing.assert_allclose(lens.deflection(grid), clamped.deflection(grid), rtol=1e-9)
    gradient = jax.jit(jax.grad(lambda lens: lens.deflection(grid).sum()))(lens)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_power_law_at_slope_two_is_the_isothermal():
    ell = (0.1, -0.3)
    grid = rays(np.float64)
    power_law, isothermal = PowerLaw((0.1, -0.2), ell, 1.3, 2.0), Isothermal((0.1, -0.2), ell, 1.3)
    for method in ("deflection", "convergence", "potential", "jacobian"):
        got, want = getattr(isothermal, method)(grid), getattr(power_law, method)(grid)
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-13)


def test_round_limit_is_the_sphere():
    grid = rays(np.float64, (0, 0))
    R = np.linalg.norm(grid, axis=-1, keepdims=True)
    for ell in [(0.0, 0.0), (1e-14, 0.0), (0.0, -1e-200)]:
        power_law, isothermal = PowerLaw(ell_comps=ell, einstein_radius=1.2, slope=2.4), Isothermal(ell_comps=ell)
        assert relative(power_law.deflection(grid), 1.2 * (R / 1.2) ** -0.4 * grid / R) < 1e-13
        assert relative(isothermal.deflection(grid), grid / R) < 1e-13


MODELS = [
    PowerLaw((0.1, -0.2), (0.1, 0.2), 1.3, 2.2),
    PowerLaw((0.1, -0.2), (-0.2, 0.1), 1.3, 1.7),
    Isothermal((0.1, -0.2), (0.1, 0.2), 1.3),
    Isothermal((0.1, -0.2), (-0.01, 0.02), 1.3),
    ExternalShear(0.03, -0.05, (0.1, -0.2)),
    MassSheet(-0.04, (0.1, -0.2)),
]


@pytest.mark.parametrize("lens", MODELS)
def test_fields_are_derivatives_of_each_other(lens):
    grid = np.random.default_rng(1).uniform(-2, 2, (20, 2))
    jacobian, alpha = lens.jacobian(grid), lens.deflection(grid)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(lens.potential)))(grid), alpha, atol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.jacfwd(lens.deflection)))(grid), jacobian, atol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.jacrev(lens.deflection)))(grid), jacobian, atol=1e-12)
    np.testing.assert_allclose(jnp.trace(jacobian, axis1=-2, axis2=-1), 2 * lens.convergence(grid), atol=1e-12)


def along(function, x, v):
    """Directional derivative from finite differences of fourth order."""
    steps = [np.float64(function(x + 1e-4 * k * v)) for k in (-2, -1, 1, 2)]
    return (steps[0] - 8 * steps[1] + 8 * steps[2] - steps[3]) / 12e-4


@pytest.mark.parametrize("lens", MODELS)
def test_derivatives_match_finite_differences(lens):
    rng = np.random.default_rng(2)
    grid, weights = rng.uniform(-2, 2, (6, 2)), rng.normal(size=(6, 8))
    flat, build = jax.flatten_util.ravel_pytree((lens, grid))

    def loss(x):
        lens, grid = build(x)
        parts = lens.deflection(grid), lens.jacobian(grid).reshape(6, 4)
        return (
            weights * jnp.concatenate([*parts, lens.convergence(grid)[:, None], lens.potential(grid)[:, None]], -1)
        ).sum()

    v = rng.normal(size=flat.shape)
    numeric = along(jax.jit(loss), flat, v)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(flat) @ v, numeric, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(jax.jit(lambda x: jax.jvp(loss, (x,), (v,))[1])(flat), numeric, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("lens", [MODELS[0], MODELS[2]])
def test_second_derivatives_match_finite_differences(lens):
    rng = np.random.default_rng(3)
    grid, weights = rng.uniform(-2, 2, (6, 2)), rng.normal(size=(6, 2))
    flat, build = jax.flatten_util.ravel_pytree((lens, grid))
    gradient = jax.grad(lambda x: (weights * build(x)[0].deflection(build(x)[1])).sum())
    v = rng.normal(size=flat.shape)
    numeric = along(jax.jit(gradient), flat, v)
    np.testing.assert_allclose(jax.jit(jax.grad(lambda x: gradient(x) @ v))(flat), numeric, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(jax.jit(lambda x: jax.jvp(gradient, (x,), (v,))[1])(flat), numeric, rtol=1e-7, atol=1e-7)


def test_derivatives_by_parameters_are_accurate():
    grid = rays(np.float64, (0, 0))[7:]

    def alpha(parameters):
        ey, ex, radius, slope = parameters
        return exact(grid, (0, 0), (ey, ex), radius, slope)[0]

    parameters = np.array([0.2, -0.1, 1.2, 2.2])
    jacobian = jax.jit(jax.jacfwd(lambda p: PowerLaw((0.0, 0.0), p[:2], p[2], p[3]).deflection(grid)))(parameters)
    for k in range(4):
        step = 1e-4 * np.eye(4)[k]
        steps = [alpha(parameters + m * step) for m in (-2, -1, 1, 2)]
        numeric = (steps[0] - 8 * steps[1] + 8 * steps[2] - steps[3]) / (12e-4)
        np.testing.assert_allclose(jacobian[..., k], numeric, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("model", [PowerLaw, Isothermal])
def test_all_is_finite_at_the_centre(model, dtype):
    grid = np.array([[0.1, 0.2]], dtype)

    @jax.jit
    def evaluate(lens):
        fields = lambda lens, grid: sum(  # noqa: E731
            getattr(lens, method)(grid).sum() for method in ("deflection", "convergence", "potential", "jacobian")
        )
        return lens.deflection(grid), jax.value_and_grad(fields, argnums=(0, 1))(lens, grid)

    for ell in [(0.0, 0.0), (0.2, 0.1), (0.999, 0.0)]:
        for slope in [1.2, 2.0, 2.8] if model is PowerLaw else [()]:
            alpha, rest = evaluate(model((0.1, 0.2), ell, 1.0, *np.atleast_1d(slope).tolist()))
            np.testing.assert_array_equal(alpha, 0)
            assert all(np.isfinite(x).all() for x in jax.tree.leaves(rest))


def test_no_einstein_radius_no_deflection():
    grid = rays(np.float64)
    lens = PowerLaw(einstein_radius=0.0, slope=2.0, ell_comps=(0.1, 0.2))
    np.testing.assert_array_equal(lens.deflection(grid), 0)
    slope = jax.jit(jax.jacfwd(lambda r: PowerLaw((0.0, 0.0), (0.1, 0.2), r, 2.0).deflection(grid)))(0.0)
    np.testing.assert_allclose(slope, PowerLaw(slope=2.0, ell_comps=(0.1, 0.2)).deflection(grid), rtol=1e-12)


@pytest.mark.skipif(not backends.availability("cpp").available, reason=backends.availability("cpp").reason)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("model", [MODELS[0], MODELS[2]])
def test_backends_agree(model, dtype):
    model = jax.tree.map(dtype, model)
    # Rays that fill no whole number of tiles.
    grid = np.random.default_rng(4).uniform(-2, 2, (5063, 2)).astype(dtype)

    def both(lens, grid, backend):
        deflection = lambda lens, grid: lens.deflection(grid, backend=backend)  # noqa: E731
        alpha, pull = jax.vjp(deflection, lens, grid)
        return alpha, pull(jnp.cos(alpha)), jax.jvp(deflection, (lens, grid), (lens, jnp.sin(grid)))[1]

    got, want = (jax.jit(partial(both, backend=name))(model, grid) for name in ("cpp", "reference"))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=20 * TOLERANCE[dtype], atol=len(grid) * TOLERANCE[dtype])
    alone, among = model.deflection(grid[:1], backend="cpp"), model.deflection(grid, backend="cpp")[:1]
    np.testing.assert_array_equal(alone, among)


def test_batches(backend):
    grid = rays(np.float64)
    slopes, ells = np.array([1.7, 2.0, 2.4]), np.array([[0.0, 0.0], [0.3, 0.1], [-0.7, 0.5]])
    lenses = PowerLaw(np.zeros((3, 2)), ells, np.array([1.0, 1.1, 1.2]), slopes)
    each = [PowerLaw((0.0, 0.0), ells[k], 1 + k / 10, slopes[k]) for k in range(3)]
    batched = jax.vmap(lambda lens: lens.deflection(grid, backend=backend))(lenses)
    np.testing.assert_allclose(batched, [lens.deflection(grid, backend=backend) for lens in each], rtol=1e-13)
    deflection = partial(PowerLaw.deflection, backend=backend)
    by_grid = jax.vmap(jax.vmap(deflection, (None, 0)), (0, None))(lenses, grid.reshape(7, 7, 2))
    np.testing.assert_allclose(by_grid.reshape(3, 49, 2), batched, rtol=1e-13)
    loss = lambda lens, grid: (lens.deflection(grid, backend=backend) ** 2).sum()  # noqa: E731
    gradient = jax.jit(jax.grad(loss, (0, 1)))
    gradients = jax.jit(jax.vmap(gradient, (0, None)))(lenses, grid)
    for k, lens in enumerate(each):
        one, ours = gradient(lens, grid), jax.tree.map(lambda x: x[k], gradients)  # noqa: B023
        np.testing.assert_allclose(ours[0].slope, one[0].slope, rtol=1e-10)
        np.testing.assert_allclose(ours[0].einstein_radius, one[0].einstein_radius, rtol=1e-10)
        np.testing.assert_allclose(ours[1], one[1], rtol=1e-10)


def test_shapes():
    lens = PowerLaw()
    assert lens.deflection(jnp.zeros((0, 2))).shape == (0, 2)
    assert lens.deflection(jnp.ones((3, 4, 2))).shape == (3, 4, 2)
    assert lens.convergence(jnp.ones(2)).shape == ()
    assert lens.jacobian(jnp.ones((3, 2))).shape == (3, 2, 2)
    assert PowerLaw().deflection(jnp.ones((1, 2), jnp.float32)).dtype == jnp.float32


def test_bad_input():
    grid = jnp.ones((3, 2))
    with pytest.raises(ValueError, match=r"slope: got 3.1, expected more than 1 and less than 3"):
        PowerLaw(slope=3.1).deflection(grid)
    with pytest.raises(ValueError, match=r"einstein_radius: got -1"):
        Isothermal(einstein_radius=-1).convergence(grid)
    with pytest.raises(ValueError, match=r"gamma: got 0.5"):
        PowerLaw.from_lenstronomy(1.0, 0.5, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"grid: got shape \(3,\), expected \(..., 2\)"):
        PowerLaw().deflection(jnp.ones(3))
    with pytest.raises(ValueError, match=r"centre: got shape \(3,\), expected \(2,\)"):
        PowerLaw(centre=jnp.zeros(3)).deflection(grid)
    with pytest.raises(ValueError, match=r"slope: got dtype float32, expected the dtype of grid, float64"):
        PowerLaw(slope=jnp.float32(2)).deflection(grid)
    with pytest.raises(NotImplementedError, match="'pallas' has no kernel"):
        PowerLaw().deflection(grid, backend="pallas")


def test_invalid_lanes_are_nan_alone():
    slopes, radii = np.array([2.0, 0.9, 2.0, 3.0]), np.array([1.0, 1.0, -1.0, 1.0])
    alpha = jax.vmap(lambda r, s: PowerLaw(einstein_radius=r, slope=s).deflection(jnp.ones((3, 2))))(radii, slopes)
    np.testing.assert_array_equal(np.isnan(alpha).all((1, 2)), [False, True, True, True])
    np.testing.assert_array_equal(np.isnan(alpha).any((1, 2)), [False, True, True, True])
    grid = jnp.array([[0.1, 0.2], [jnp.nan, 1.0], [1.0, 2.0]])
    bad = np.isnan(PowerLaw(ell_comps=(0.1, 0.1)).deflection(grid))
    np.testing.assert_array_equal(bad.any(-1), [False, True, False])


def test_from_lenstronomy_is_smooth_in_the_ellipticity():
    # The intermediate-axis convention has no cusp at e = 0.
    grid = rays(np.float64, (0, 0))
    by_e1 = jax.jit(jax.jacfwd(lambda e: PowerLaw.from_lenstronomy(1.0, 1.6, e, 0.0).deflection(grid)))
    np.testing.assert_allclose(by_e1(0.0), by_e1(1e-9), rtol=1e-6, atol=1e-6)


def test_external_shear_constructors():
    a, b = ExternalShear.from_polar(0.05, 0.3), ExternalShear.from_lenstronomy(0.05 * np.cos(0.6), 0.05 * np.sin(0.6))
    grid = rays(np.float64)
    np.testing.assert_allclose(a.deflection(grid), b.deflection(grid), rtol=1e-13)
    np.testing.assert_allclose(ExternalShear(0.1, 0.0).deflection(np.array([2.0, 3.0])), [-0.2, 0.3])

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import nnls as scipy_nnls

from lenskern.bench import lensing, meshes, oracle, problems

KINDS = problems.KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_inversions_are_what_the_solver_expects(small, kind):
    system = small(kind)
    assert system.Q.dtype == system.q.dtype == np.float64
    np.testing.assert_array_equal(system.Q, system.Q.T)
    np.linalg.cholesky(system.Q)
    assert np.isfinite(system.q).all()


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_give_equal_systems(small, kind):
    once, again, other, draw = small(kind), small(kind), small(kind, seed=1), small(kind, draw=1)
    np.testing.assert_array_equal(once.Q, again.Q)
    np.testing.assert_array_equal(once.q, again.q)
    assert not np.array_equal(once.q, other.q)
    assert not np.array_equal(once.q, draw.q)
    np.testing.assert_array_equal(once.sky.data, draw.sky.data)  # another model of the same observation


def test_sizes(small):
    assert len(small("mge").q) == 2 * 12
    assert len(small("rect").q) == 12 + 9 * 9
    assert len(small("delaunay").q) == 12 + 90


@pytest.mark.parametrize("kind", KINDS)
def test_model_is_the_linear_map_of_the_normal_equations(small, kind):
    system = small(kind)
    x = np.random.default_rng(0).uniform(size=len(system.q))
    noise = system.sky.noise
    np.testing.assert_allclose(system.q @ x, (system.sky.data / noise**2) @ system.model(x), rtol=1e-9)
    smoothing = 1e-3 * (x[: system.light.shape[1]] ** 2).sum()
    if system.mesh is not None:
        source = x[system.lens_gaussians :]
        smoothing += source @ system.mesh.regularisation @ source
    np.testing.assert_allclose(x @ system.Q @ x, ((system.model(x) / noise) ** 2).sum() + smoothing, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_true_model_fits(small, kind):
    system = problems.solved(small(kind, seed=3, style="truth"))
    residuals = (system.sky.data - system.model(system.x)) / system.sky.noise
    assert np.mean(residuals**2) < 1.6


def test_production_systems_are_as_ill_conditioned_as_those_of_pyautolens():
    system = problems.inversion("rect", 0)
    d = 1 / np.sqrt(np.diag(system.Q))
    S = system.Q * d[:, None] * d
    assert len(system.q) == 1149
    assert 1e10 < np.linalg.cond(system.Q) < 1e12
    assert 5e10 < np.linalg.cond(S) < 1e12
    assert 0.1 < np.mean(np.abs(S) > 1e-14) < 0.5
    exact = oracle.exact(system.Q, system.q)
    assert 0.5 < np.mean(exact.x > 0) < 0.98
    assert exact.violation < 1e-12


@pytest.mark.parametrize("kind", ["lens", "Rect", None])
def test_unknown_kind(kind):
    with pytest.raises(ValueError, match=r"kind: expected one of mge, rect, delaunay"):
        problems.inversion(kind, 0)


def test_unknown_style():
    with pytest.raises(ValueError, match="style"):
        problems.inversion("mge", 0, style="posteriour")


@pytest.mark.parametrize("kind", KINDS)
def test_oracle_agrees_with_scipy(small, kind):
    system = small(kind)
    exact = oracle.exact(system.Q, system.q)
    assert (exact.x >= 0).all() and (exact.z >= 0).all()
    assert exact.x @ exact.z == 0
    assert exact.violation < 1e-12
    assert oracle.kkt_residual(system.Q, system.q, exact.x) < 1e-12
    # ||L'x - L^-1 q||^2 is the same problem with the root of the condition number
    d = 1 / np.sqrt(np.diag(system.Q))
    L = np.linalg.cholesky(system.Q * d[:, None] * d)
    y, _ = scipy_nnls(L.T, np.linalg.solve(L, system.q * d), maxiter=3000)
    objective = [0.5 * x @ system.Q @ x - system.q @ x for x in (exact.x, y * d)]
    assert objective[0] <= objective[1] + 1e-9 * abs(objective[1])


def test_oracle_takes_its_own_answer_as_fixed_point():
    rng = np.random.default_rng(1)
    A = rng.standard_normal((30, 20))
    Q, x = A.T @ A, np.maximum(rng.standard_normal(20), 0)
    z = np.where(x > 0, 0, rng.uniform(1, 2, 20))
    exact = oracle.exact(Q, Q @ x - z)
    np.testing.assert_allclose(exact.x, x, rtol=0, atol=1e-11)
    np.testing.assert_allclose(exact.z, z, rtol=0, atol=1e-10)


def test_kkt_residual_sees_every_violation():
    Q, q = np.diag([1.0, 4.0]), np.array([1.0, -2.0])
    assert oracle.kkt_residual(Q, q, np.array([1.0, 0.0])) == 0
    assert oracle.kkt_residual(Q, q, np.array([0.5, 0.0])) > 0.1  # not stationary
    assert oracle.kkt_residual(Q, q, np.array([1.0, 0.5])) > 0.1  # should be zero
    assert oracle.kkt_residual(Q, q, np.array([1.0, -0.5])) > 0.1  # negative
    assert np.isnan(oracle.kkt_residual(Q, q, np.array([np.nan, 0.0])))


def test_load(tmp_path, small, monkeypatch):
    system = small("mge")
    lower = np.tril_indices(len(system.q))
    np.savez(tmp_path / "mge_0.npz", Q_lower=system.Q[lower], q=system.q)
    np.savez(tmp_path / "rect_3.npz", Q=system.Q, q=system.q, x=system.q)
    np.savez(tmp_path / "other.npz", Q=system.Q, q=system.q)
    mge, rect = problems.load(tmp_path)
    assert (mge.name, mge.kind, mge.x) == ("mge_0", "mge", None)
    np.testing.assert_array_equal(mge.Q, system.Q)
    np.testing.assert_array_equal(rect.x, system.q)
    assert [s.kind for s in problems.load(tmp_path, ["rect"])] == ["rect"]
    monkeypatch.setenv("LENSKERN_PROBLEMS", str(tmp_path))
    assert len(problems.load()) == 2
    monkeypatch.delenv("LENSKERN_PROBLEMS")
    assert problems.load() == []
    with pytest.raises(ValueError, match="expected a directory"):
        problems.load(tmp_path / "missing")


def test_mapping_spreads_every_traced_pixel_over_the_source():
    rng = np.random.default_rng(0)
    traced = rng.uniform(-1, 1, (200, 4, 2))
    inside = np.arange(200)
    vertices = rng.uniform(-1, 1, (60, 2))
    angle = np.arange(12) / 6 * np.pi
    edge = 3 * np.stack([np.sin(angle), np.cos(angle)], -1)
    mesh = meshes.delaunay(traced, inside, 200, vertices, edge, (1, 1), lambda p: np.ones(len(p)))
    weights = mesh.mapping.sum(1)
    assert weights.max() <= 1 + 1e-12 and mesh.mapping.min() >= 0
    np.testing.assert_allclose(weights.mean(), 1, atol=0.15)  # the rest lies towards the edge, which is held at zero
    np.linalg.cholesky(mesh.regularisation)


def test_a_rectangular_mesh_interpolates_linear_brightness():
    rng = np.random.default_rng(0)
    traced = rng.uniform(-1, 1, (3000, 1, 2))
    mesh = meshes.rectangular(traced, np.arange(3000), 3000, np.ones(3000), 21, (1, 1), lambda p: np.ones(len(p)))
    image = mesh.mapping @ (2 + mesh.vertices @ [0.3, -0.5])
    middle = np.abs(traced[:, 0]).max(1) < 0.8
    np.testing.assert_allclose(image[middle], (2 + traced[:, 0] @ [0.3, -0.5])[middle], atol=0.02)
    assert mesh.mapping.shape == (3000, 19 * 19)
    assert len(mesh.edges[0]) == 20 and (np.diff(mesh.edges[0]) > 0).all()


def test_isothermal_deflection_is_the_integral_of_its_convergence():
    # spherical: constant size, radial; elliptical: Gauss' law on the mean of the deflection along a circle
    sphere = lensing.Lens(einstein_radius=1.3, ell_comps=(0.0, 0.0))
    points = np.array([[0.3, 0.4], [-2.0, 1.0]])
    expected = 1.3 * points / np.hypot(*points.T)[:, None]
    np.testing.assert_allclose(sphere.deflection(points), expected, rtol=1e-4)

    lens = lensing.Lens(einstein_radius=1.3, ell_comps=(0.1, 0.2))
    q, phi = lensing.axis_ratio_and_angle(lens.ell_comps)
    radius = 0.7

    def outward(angle):
        direction = np.array([np.sin(angle), np.cos(angle)])
        return lens.deflection(radius * direction) @ direction

    def convergence(angle):  # times the radius
        c, s = np.cos(angle - phi), np.sin(angle - phi)
        return 1.3 / (2 * np.sqrt(q * c**2 + s**2 / q))

    flux = radius * quad(outward, 0, 2 * np.pi)[0]
    mass = 2 * radius * quad(convergence, 0, 2 * np.pi)[0]
    np.testing.assert_allclose(flux, mass, rtol=1e-8)


def test_shear_and_centre():
    lens = lensing.Lens(centre=(0.1, -0.2), einstein_radius=1e-9, shear=(0.03, 0.05))
    point = np.array([0.7, 0.4])
    np.testing.assert_allclose(lens.deflection(point), [0.03 * 0.4 - 0.05 * 0.7, 0.05 * 0.4 + 0.03 * 0.7], atol=1e-8)


def test_blurring_keeps_the_flux_inside():
    grid = lensing.Grid(pixel_scale=0.1, mask_radius=2.0)
    along_y, along_x = lensing.psf(grid, sigma=0.15, half_width=3)
    image = np.zeros((grid.side, grid.side))
    image[20, 18] = 1
    blurred = (along_x @ (along_y @ image.ravel())).reshape(image.shape)
    assert blurred.sum() == pytest.approx(1)
    assert blurred[20, 18] == blurred.max()
    assert blurred[17, 18] == pytest.approx(blurred[20, 15]) and blurred[16, 18] == 0

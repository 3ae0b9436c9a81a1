"""The rows of the CPU kernel against closed forms, and its far field against its direct sum."""

import jax
import numpy as np
import pytest

from lenskern import backends, deflect
from lenskern.deflect.profiles import Profile

if not backends.availability("cpp").available:
    pytest.skip(f"backend cpp: {backends.availability('cpp').reason}", allow_module_level=True)

from lenskern._kernels import _cpp

# Shapes on both sides of the branches of the closed forms.
CASES = [
    (Profile.NFW, 0, 0),
    *((Profile.TNFW, tau, 0) for tau in (0.1, 0.9, 1.1, 30.0)),
    *((Profile.CNFW, b, 0) for b in (0, 0.01, 0.7, 3.0)),
    *((Profile.TNFWC, b, tau) for b, tau in ((0.01, 0.3), (0.3, 0.9), (1.0, 1.0), (0.05, 10.0), (5.0, 2.0))),
    *((Profile.DPIE, p, 0) for p in (0, 0.1, 0.99)),
    (Profile.POINT, 0.1, 0),
    (Profile.SIS, 0, 0),
    (Profile.SHEET, 0, 0),
]


@pytest.mark.parametrize(("profile", "p", "q"), CASES, ids=lambda x: getattr(x, "name", str(x)))
@pytest.mark.parametrize("tol", [1e-11, 1e-9, 1e-5])
def test_tolerance(profile, p, q, tol):
    # Rows of a lower degree where the tolerance allows it, and not where it does not: the sum of the peaks is about 10.
    rng = np.random.default_rng(2)
    number = 200
    halos = deflect.Halos(
        profile=np.full(number, int(profile), np.int32),
        centre=rng.uniform(-3, 3, (number, 2)),
        amplitude=rng.uniform(0.02, 0.1, number),
        scale=rng.uniform(0.5, 1.5, number),
        shape=np.tile([p, q], (number, 1)).astype(float),
        mask=np.ones(number, bool),
        tables=None,
        profiles=(profile,),
    )
    grid = rng.uniform(-2, 2, (3000, 2))
    direct, far = (deflect.plane(halos, grid, tol=t, backend="cpp") for t in (0, tol))
    assert np.abs(far - direct).max() <= tol


@pytest.mark.parametrize(("profile", "p", "q"), CASES, ids=lambda x: getattr(x, "name", str(x)))
def test_derivatives_with_a_tolerance(profile, p, q):
    rng = np.random.default_rng(3)
    centre, amplitude, scale, shape = (
        np.array([[0.7, 1.3]]),
        np.array([0.5]),
        np.array([0.8]),
        np.array([[p, q]], float),
    )
    grid = rng.uniform(-2, 2, (3000, 2))
    weights = rng.standard_normal((3000, 2))

    def total(tol, centre, amplitude, scale, grid):
        halos = deflect.Halos(
            profile=np.array([int(profile)], np.int32),
            centre=centre,
            amplitude=amplitude,
            scale=scale,
            shape=shape,
            mask=np.ones(1, bool),
            tables=None,
            profiles=(profile,),
        )
        return (weights * deflect.plane(halos, grid, tol=tol, backend="cpp")).sum()

    for tol, allowed in ((1e-9, 1e-9), (None, 1e-10)):
        direct, far = (jax.grad(total, (1, 2, 3, 4))(t, centre, amplitude, scale, grid) for t in (0.0, tol))
        for a, b in zip(far, direct, strict=True):
            # A sum over rays of either sign is compared with what one ray may add.
            most = max(np.abs(direct[3]).max(), np.abs(direct[1]).max() / len(grid))
            assert np.abs(a - b).max() <= allowed * most * (len(grid) ** 0.5 if a.size < grid.size else 1)


@pytest.mark.parametrize(("profile", "p", "q"), CASES, ids=lambda x: getattr(x, "name", str(x)))
def test_deflection_and_jacobian(profile, p, q):
    # Three decades of radius, in a narrow band, so that some blocks share a row and others do not.
    rng = np.random.default_rng(1)
    R, angle = 10 ** rng.uniform(-1.5, 1.5, 3000), rng.uniform(-0.05, 0.05, 3000)
    d = np.stack([R * np.sin(angle), R * np.cos(angle)], -1)
    g, k, _, g_p, g_q = _cpp.profile(int(profile), R**2, np.full_like(R, p), np.full_like(R, q))
    halos = deflect.Halos(
        profile=np.array([int(profile)], np.int32),
        centre=np.zeros((1, 2)),
        amplitude=np.ones(1),
        scale=np.ones(1),
        shape=np.array([[p, q]], float),
        mask=np.ones(1, bool),
        tables=None,
        profiles=(profile,),
    )

    def by_shape(shape):
        return deflect.plane(deflect.Halos(**{**vars(halos), "shape": shape}), d, tol=0, backend="cpp")

    alpha, along_p = jax.jvp(by_shape, (halos.shape,), (np.array([[1.0, 0.0]]),))
    _, along_q = jax.jvp(by_shape, (halos.shape,), (np.array([[0.0, 1.0]]),))
    scale = R * np.abs(g)
    assert np.max(np.abs(alpha - g[:, None] * d).max(-1) / scale) < 1e-14
    A = deflect.jacobian(halos, d, tol=0, backend="cpp")
    assert np.max(np.abs(np.trace(A, axis1=-2, axis2=-1) - 2 * k) / (np.abs(g) + np.abs(k))) < 2e-12
    for got, exact in ((along_p, g_p), (along_q, g_q)):
        assert np.max(np.abs(got - exact[:, None] * d).max(-1)) <= 1e-14 * np.max(R * (np.abs(exact) + np.abs(g)))

"""The catalogues, the reference of 40 digits, and the conventions of every peer."""

import dataclasses

import jax
import numpy as np
import pytest

pytest.importorskip("mpmath")

from scipy.integrate import quad

from lenskern.bench import deflect_oracle, subhaloes
from lenskern.bench.deflect_peers import Peer, peers

# Largest error in arcsec: of the rounding of positions; by interpolated or summed distances; of single precision.
PLANE = {"paltax": 1e-6}
TRACE = {"caustics": 1e-6, "autolens": 1e-10}


@pytest.fixture(scope="module")
def haloes():
    return subhaloes.subhaloes(20)


@pytest.fixture(scope="module")
def cone():
    return subhaloes.cone(4)


@pytest.fixture(scope="module")
def rays():
    return subhaloes.rays(40)


FEW = slice(7, None, 237)


@pytest.fixture(params=peers(), ids=lambda peer: f"{peer.name}-{peer.backend}")
def peer(request):
    calls = request.param.load()
    if calls is None:
        pytest.skip(f"{request.param.name} is not installed")
    return request.param, calls


def test_catalogues_are_realistic_and_repeatable():
    haloes = subhaloes.subhaloes(3000, seed=4)
    assert len(haloes) == 3000
    np.testing.assert_array_equal(haloes.centre, subhaloes.subhaloes(3000, seed=4).centre)
    tau = haloes.truncation_radius / haloes.scale_radius
    assert 5e-3 < haloes.scale_radius.min() and haloes.scale_radius.max() < 0.5
    assert 1 <= tau.min() < 1.1 and 29 < tau.max() <= 30
    assert np.abs(haloes.centre).max() <= subhaloes.FIELD / 2
    assert 1e-4 < haloes.kappa_s.min() and haloes.kappa_s.max() < 0.1
    cone = subhaloes.cone(5)
    assert len(cone.haloes) == len(cone.redshifts) == 8
    assert not np.array_equal(cone.haloes[0].centre, cone.haloes[1].centre)


def test_rays_are_pixel_centres_from_the_top_left():
    rays = subhaloes.rays(4)
    assert rays.shape == (16, 2)
    np.testing.assert_allclose(
        rays[[0, 1, 4, -1]], [[1.875, -1.875], [1.875, -0.625], [0.625, -1.875], [-1.875, 1.875]]
    )


def test_distances_agree_with_astropy():
    cosmology = pytest.importorskip("astropy.cosmology").FlatLambdaCDM(subhaloes.H0, subhaloes.OMEGA_M, Tcmb0=0)
    for z in (0.15, 2.0):
        expected = cosmology.comoving_distance(z).to_value("kpc")
        assert subhaloes.comoving_distance(z) == pytest.approx(expected, rel=1e-12)


def test_oracle_is_the_integral_of_the_density():
    haloes = subhaloes.Haloes(np.array([[0.1, -0.2]]), np.array([0.3]), np.array([0.7]), np.array([1.6]))
    tau, radius = 1.6 / 0.7, 1.9

    def surface(x):
        def density(s):
            r = np.hypot(s, x)
            return tau**2 / (tau**2 + r**2) / (r * (1 + r) ** 2)

        return 2 * 0.3 * (quad(density, 0, x)[0] + quad(density, x, np.inf)[0])

    x = radius / 0.7
    mean = quad(lambda x: 2 * x * surface(x), 0, 1, epsabs=1e-11)[0] + quad(lambda x: 2 * x * surface(x), 1, x)[0]
    angle = 2.3
    ray = haloes.centre + radius * np.array([[np.sin(angle), np.cos(angle)]])
    expected = mean / x**2 * (ray - haloes.centre)
    np.testing.assert_allclose(deflect_oracle.plane(haloes, ray), expected, rtol=1e-8)
    np.testing.assert_array_equal(deflect_oracle.plane(haloes, haloes.centre), 0)


def test_oracle_of_one_lens_is_the_lens_equation(cone):
    nothing = subhaloes.Haloes(np.zeros((0, 2)), *3 * [np.zeros(0)])
    lens = subhaloes.PowerLaw(axis_ratio=0.5, angle=0.4, slope=2.3)
    empty = dataclasses.replace(cone, haloes=8 * (nothing,), power_law=lens)

    def trace(ray, **changes):
        return deflect_oracle.trace(dataclasses.replace(empty, **changes), np.array([ray]))[0]

    ray, h = np.array([1.1, 0.6]), 1e-5
    by_y, by_x = ((trace(ray + step) - trace(ray - step)) / (2 * h) for step in h * np.eye(2))
    dy, dx = ray - lens.centre
    u, v = (np.cos(0.4) * dx + np.sin(0.4) * dy, np.cos(0.4) * dy - np.sin(0.4) * dx)
    kappa = 0.7 / 2 * (1.2 / np.sqrt(0.5 * u**2 + v**2 / 0.5)) ** 1.3
    assert 1 - (by_y[0] + by_x[1]) / 2 == pytest.approx(kappa, rel=1e-8)
    assert by_y[1] == pytest.approx(by_x[0], rel=1e-8)
    sheared = trace(ray, shear=(0.05, 0.02)) - trace(ray, shear=(0.0, 0.0))
    np.testing.assert_allclose(sheared, [-0.02 * 0.6 + 0.05 * 1.1, -0.05 * 0.6 - 0.02 * 1.1], atol=1e-14)


def test_an_absent_peer_is_not_loaded():
    def make():
        raise ImportError("no such package")

    assert Peer("other", "numpy", "float64", "pip install other", make).load() is None


@pytest.mark.filterwarnings("ignore")
def test_deflection_of_a_peer(peer, haloes, rays):
    peer, calls = peer
    found = np.asarray(calls.plane(haloes, rays)())
    assert found.shape == rays.shape and found.dtype == peer.dtype
    expected = deflect_oracle.plane(haloes, rays[FEW])
    np.testing.assert_allclose(found[FEW], expected, rtol=0, atol=PLANE.get(peer.name, 1e-14))


@pytest.mark.filterwarnings("ignore")
def test_positions_of_a_peer(peer, cone, rays):
    peer, calls = peer
    if calls.trace is None:
        pytest.skip(f"{peer.name} is not measured on light cones")
    found = np.asarray(calls.trace(cone, rays)())
    expected = deflect_oracle.trace(cone, rays[FEW])
    np.testing.assert_allclose(found[FEW], expected, rtol=0, atol=TRACE.get(peer.name, 1e-13))


@pytest.mark.filterwarnings("ignore")
def test_derivatives_of_a_peer(peer, haloes, rays):
    peer, calls = peer
    if calls.gradient is None:
        pytest.skip(f"{peer.name} has no derivatives")
    if peer.name == "jaxtronomy":
        pytest.xfail("NaN: the branches of its profile are not kept apart in derivatives")
    weights = np.random.default_rng(0).standard_normal(rays.shape)
    value, of_haloes, of_rays = jax.block_until_ready(calls.gradient(haloes, rays, weights)())
    assert float(value) == pytest.approx(float(np.sum(weights * np.asarray(calls.plane(haloes, rays)()))))
    assert len(jax.tree.leaves(of_haloes)) > 0
    which, h = 731, 1e-6
    for axis in (0, 1):
        moved = np.repeat(rays[which : which + 1], 2, 0) + h * np.array([[1], [-1]]) * np.eye(2)[axis]
        ahead, behind = deflect_oracle.plane(haloes, moved)
        expected = weights[which] @ (ahead - behind) / (2 * h)
        assert np.asarray(of_rays)[which, axis] == pytest.approx(expected, rel=1e-6, abs=1e-8)

"""Distribution functions of rectangular meshes, by interpolation."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import erf

from lenskern.interop import _rectangular, autoarray

PIXELS = 9


def distribution(p, w, h):
    """The sum that the interpolant stands for, of each column."""
    return lambda q: jnp.sum(w * (1 + erf((q[:, None] - p) / (h * 2**0.5))) / 2, axis=1)


@pytest.fixture
def points():
    """Clumped ones, their weights, and where to evaluate: between the first and the last, and there."""
    rng = np.random.default_rng(1)
    p = np.concatenate([rng.normal(size=(150, 2)), rng.normal(2, 0.05, size=(50, 2))])
    w = rng.uniform(0.1, 1, len(p))
    q = np.concatenate([rng.uniform(p.min(0), p.max(0), size=(1000, 2)), p.min(0)[None], p.max(0)[None]])
    return jnp.asarray(p), jnp.asarray(w / w.sum()), jnp.asarray(q)


def both(p, w, q):
    """The interpolant of the sum over few points, and the sum over all."""
    low, high = p.min(0), p.max(0)
    h = (high - low) / PIXELS
    few = distribution(*_rectangular.condensed(p, w, low, high, PIXELS), h)
    return _rectangular.interpolated(few, low, high, PIXELS)(q), distribution(p, w[:, None], h)(q)


def test_it_is_the_sum(points):
    found, wanted = jax.jit(both)(*points)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-14)
    found, wanted = jax.jit(both)(*(x.astype("float32") for x in points))
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)


def test_derivatives_are_those_of_the_sum(points):
    """With respect to the points, the ends and the width among them, to their weights and to where it is evaluated."""
    p, w, q = points
    q = q[:-2]  # at the ends themselves the interpolant has one side

    def total(which, p, w, q):
        return jnp.sum(both(p, w, q)[which] * jnp.cos(jnp.arange(len(q))[:, None]))

    found, wanted = (jax.jit(jax.grad(total, (1, 2, 3)), static_argnums=0)(which, p, w, q) for which in (0, 1))
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(b).max())


@pytest.fixture
def mesh():
    """autoarray's module of rectangular meshes, as it is before and after."""
    pytest.importorskip("autoarray", reason="autoarray is not installed: pip install 'lenskern[autolens]'")
    from autoarray.inversion.mesh.interpolator import rectangular

    autoarray.unregister()
    yield rectangular
    autoarray.unregister()


@pytest.mark.parametrize(("weighted", "bandwidth"), [(False, 1.0), (True, 0.3)])
def test_mappings_are_autoarrays(mesh, points, weighted, bandwidth):
    p, w, q = points
    q = 1.1 * q  # some of them beyond the first and the last

    def matrix(p, w, q):
        indices, weights = mesh.adaptive_rectangular_mappings_weights_via_interpolation_from(
            PIXELS, p, q, w if weighted else None, bandwidth=bandwidth, xp=jnp
        )
        return jnp.zeros((len(q), PIXELS**2)).at[jnp.arange(len(q))[:, None], indices].add(weights)

    wanted = jax.jit(matrix)(p, w, q)
    own = mesh.create_transforms
    with autoarray.registered():
        assert mesh.create_transforms is not own
        found = jax.jit(lambda *x: matrix(*x))(p, w, q)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    assert mesh.create_transforms is own


def test_sums_are_few(mesh, points):
    """As many as there are points of the interpolant, however many are mapped or added up; on NumPy nothing changes."""
    p, _, q = points
    many = jnp.tile(q, (50, 1))

    def trips(transforms):
        """Of the loops over blocks of points to evaluate at, and the most numbers that there are at a time."""
        program = jax.make_jaxpr(lambda p, q: transforms(p, PIXELS, xp=jnp)[0](q))(jnp.tile(p, (50, 1)), many)
        text = str(program)
        sizes = [np.prod([int(n) for n in found.split(",")]) for found in re.findall(r"f64\[([\d,]+)\]", text)]
        return sorted(map(int, re.findall(r"scan\[.*?length=(\d+)", text, re.DOTALL))), max(sizes)

    ours = _rectangular._interpolating(mesh.create_transforms)
    few = PIXELS * _rectangular.POINTS + 2
    assert trips(mesh.create_transforms) == ([1, 98], 512 * 50 * len(p) * 2)
    found, largest = trips(ours)
    assert found == [1, 1, 1, 1] and largest <= max(512 * few * 2, 2 * len(many) * _rectangular.POINTS)
    forward, inverse = ours(np.asarray(p), PIXELS)
    wanted, wanted_inverse = mesh.create_transforms(np.asarray(p), PIXELS)
    np.testing.assert_array_equal(forward(np.asarray(q)), wanted(np.asarray(q)))
    at = np.linspace(0, 1, 5)[:, None] * np.ones(2)
    np.testing.assert_array_equal(inverse(at), wanted_inverse(at))


@pytest.mark.parametrize("change", ["signature", "caller"])
def test_another_autoarray_is_refused(mesh, monkeypatch, change):
    if change == "signature":
        monkeypatch.setattr(mesh, "create_transforms", lambda points, xp=np: None)
    else:
        monkeypatch.setattr(mesh, "_transforms_from", lambda **keywords: None)
    with pytest.raises(RuntimeError, match="create_transforms.*Known to work: autoarray"):
        autoarray.register()
    assert not autoarray.is_registered()

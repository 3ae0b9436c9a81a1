"""The mathematics of the spherical profiles against 40 digits, in jnp and in C++."""

import functools

import jax
import numpy as np
import pytest

from lenskern.deflect import profiles
from lenskern.deflect.profiles import Profile

pytest.importorskip("mpmath", reason="the references have 40 digits: pip install mpmath")

from lenskern.bench import profile_oracle as oracle

NAMED = [profile for profile in Profile if profile != Profile.TABLE]

# A centre, x from 1e-6 to 1e4, where branches meet, and where the textbook formulas are singular.
RADII = np.concatenate(
    [[0, 1e-30], 10.0 ** np.linspace(-12, 8, 11), [0.49, 0.5, 0.51, 1 - 1e-6, 1, 1 + 1e-6, 1.01, 1.99, 2, 2.01, 7]]
)
TRUNCATIONS = (10**-1.5, 0.3, 0.74, 0.76, 0.99, 1 - 1e-7, 1, 1.001, 1.3, 1.4, 5, 10**1.5)
CORES = (0, 1e-5, 10**-1.5, 0.3, 0.39, 0.45, 0.9, 1 - 1e-7, 1, 1.001, 1.9, 2.4, 2.6, 10**1.5)
SHAPES = {
    Profile.TNFW: [(tau, 0) for tau in TRUNCATIONS],
    Profile.CNFW: [(b, 0) for b in CORES],
    # each core with three truncations, and some with an equal one
    Profile.TNFWC: [(b, TRUNCATIONS[(5 * i + j) % 12]) for i, b in enumerate(CORES) for j in (0, 4, 7)]
    + [(tau, tau) for tau in TRUNCATIONS[::3]],
    Profile.DPIE: [(p, 0) for p in (0, 1e-5, 0.03, 0.5, 0.9, 0.9999)],
    Profile.POINT: [(0, 0), (0.1, 0)],
}
# How many of the radii each of the shapes takes; the next one starts one later.
EVERY = {Profile.TNFWC: 3}

# Largest relative error of g, of k, and of dg/dp and dg/dq, that of the last against max(|d ln g / d ln p|, 0.01).
ALLOWED = {np.float64: (1e-14, 2e-14, 2e-12), np.float32: (4e-6, 8e-6, 2e-3)}
DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
EACH = pytest.mark.parametrize("profile", NAMED, ids=lambda profile: profile.name)


def points(profile, dtype):
    """u, p and q, as the dtype rounds them."""
    every = EVERY.get(profile, 1)
    shapes = SHAPES.get(profile, [(0, 0)])
    at = [(u, *shape) for i, shape in enumerate(shapes) for u in RADII[i % every :: every]]
    return tuple(np.array(column, dtype) for column in zip(*at, strict=True))


@functools.cache
def computed(profile, dtype):
    """g, k, dg/du, dg/dp and dg/dq of the jnp functions at `points`."""

    def one(u, p, q):
        g, slopes = jax.value_and_grad(functools.partial(profiles.mean_convergence, profile), (0, 1, 2))(u, p, q)
        return g, profiles.convergence(profile, u, p, q), *slopes

    # the longest of them compiles in a third of the time if nothing is fused
    options = {"xla_disable_hlo_passes": "fusion"} if profile == Profile.TNFWC else {}
    return [np.asarray(x) for x in jax.jit(jax.vmap(one), compiler_options=options)(*points(profile, dtype))]


@functools.cache
def exact(profile, dtype):
    """g and k of the reference at `points`."""
    least = profiles.U_MIN[np.dtype(dtype)]
    at = [(max(float(u), least), float(p), float(q)) for u, p, q in zip(*points(profile, dtype), strict=True)]
    return tuple(np.array([function(profile, *point) for point in at]) for function in (oracle.mean, oracle.local))


def check(values, reference, allowed, at, scale=None):
    """Require small errors, relative or against a scale."""
    values = np.array([oracle.mpf(float(value)) for value in values])
    scale = np.abs(reference) if scale is None else scale
    wrong = np.array([float(e / s) if e else 0.0 for e, s in zip(np.abs(values - reference), scale, strict=True)])
    i = int(np.argmax(np.where(np.isnan(wrong), np.inf, wrong)))
    assert wrong[i] < allowed, f"{wrong[i]:.1e} at u = {at[0][i]:.6g}, p = {at[1][i]:.6g}, q = {at[2][i]:.6g}"


@DTYPES
@EACH
def test_deflection_convergence_and_shear(profile, dtype):
    at = points(profile, dtype)
    g, k, *_ = computed(profile, dtype)
    assert g.dtype == k.dtype == dtype
    mean, local = exact(profile, dtype)
    of_g, of_k, _ = ALLOWED[dtype]
    check(g, mean, of_g, at)
    check(k, local, of_k, at)
    # the Jacobian is made of k and k - g, whose scale is the larger of the two
    check(k.astype(float) - g.astype(float), local - mean, of_k, at, np.maximum(mean, local))


@DTYPES
@EACH
def test_derivatives(profile, dtype):
    u, p, q = at = points(profile, dtype)
    g, k, by_u, by_p, by_q = computed(profile, dtype)
    least = profiles.U_MIN[np.dtype(dtype)]
    assert (by_u[u <= least] == 0).all()
    wrong = np.abs(by_u * u.astype(float) - (k.astype(float) - g)) / np.maximum(k, g)
    assert wrong[u > least].max() < 4 * np.finfo(dtype).eps
    for index, (slope, shape) in enumerate(((by_p, p), (by_q, q)), start=1):
        assert np.isfinite(slope).all()
        if profile not in SHAPES if index == 1 else profile != Profile.TNFWC:
            assert (slope == 0).all()
            continue
        # some of them, for the reference takes two more evaluations of each
        chosen = np.flatnonzero((np.arange(len(u)) % 5 == index) & (shape > 0) & (u > least))
        few = [x[chosen] for x in at]
        reference = [
            oracle.derivative(oracle.mean, profile, tuple(map(float, point)), index) for point in zip(*few, strict=True)
        ]
        scale = np.maximum(np.abs(np.array(reference)), g[chosen].astype(float) / few[index] / 100)
        check(slope[chosen], np.array(reference), ALLOWED[dtype][2], few, scale)


@pytest.mark.parametrize("profile", [Profile.NFW, Profile.TNFW, Profile.CNFW], ids=lambda profile: profile.name)
def test_second_derivatives(profile):
    """In forward mode over reverse mode."""
    at = [(1e-4, 0.3, 2.0), (0.3, 1.0, 1.0), (1.0, 1.0, 1.0), (1.7, 0.45, 0.9), (50.0, 3.0, 3.0)]
    local = jax.vmap(jax.grad(functools.partial(profiles.convergence, profile)))
    curved = jax.vmap(jax.jacfwd(jax.grad(functools.partial(profiles.mean_convergence, profile))))
    columns = (np.array(column) for column in zip(*at, strict=True))
    for point, slope, curve in zip(at, *jax.jit(lambda *x: (local(*x), curved(*x)))(*columns), strict=True):
        u = point[0]
        expected = float(oracle.derivative(oracle.local, profile, point, 0))
        assert slope == pytest.approx(expected, rel=1e-12), point
        mean, shear = float(oracle.mean(profile, *point)), float(oracle.shear(profile, *point))
        assert abs(curve - (expected - 2 * shear / u) / u) < 1e-12 * mean / u**2, point


@EACH
def test_potential(profile):
    shapes = {Profile.TNFW: [(2.0, 0)], Profile.CNFW: [(0.3, 0), (1, 0)], Profile.TNFWC: [(0.3, 2.0)]}
    shapes |= {Profile.DPIE: [(0.3, 0), (0.99, 0)], Profile.POINT: [(0.3, 0)]}
    at = [(u, *shape) for shape in shapes.get(profile, [(0, 0)]) for u in (0.3, 1e6)]
    u, p, q = (np.array(column) for column in zip(*at, strict=True))
    function = functools.partial(profiles.potential, profile)
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(function)))(u, p, q)
    reference = np.array([oracle.potential(profile, *map(float, point)) for point in zip(u, p, q, strict=True)])
    check(value, reference, 1e-12, (u, p, q))
    mean = np.array([float(oracle.mean(profile, *map(float, point))) for point in zip(u, p, q, strict=True)])
    np.testing.assert_allclose(slope, mean / 2, rtol=1e-14)


@EACH
def test_no_gradient_is_nan_in_float32(profile):
    """Not at a centre, not without a core, not far away."""
    at = points(profile, np.float32)

    def slopes(*at):
        return [
            jax.vmap(jax.grad(functools.partial(function, profile), (0, 1, 2)))(*at)
            for function in (profiles.convergence, profiles.potential)
            if (function, profile) != (profiles.potential, Profile.TNFWC)  # a quadrature, slow to compile
        ]

    quick = {"xla_backend_optimization_level": 0}
    found = jax.jit(slopes, compiler_options=quick)(*at)
    assert all(np.isfinite(slope).all() for slope in jax.tree.leaves(found))


def test_cored_nfw_deflects_inwards_and_has_convergence():
    """Elsewhere its deflection changes sign with the core, and its convergence is zero."""
    u, b = (x.ravel() for x in np.meshgrid(10.0 ** np.linspace(-12, 8, 81), 10.0 ** np.linspace(-3, 3, 61)))
    q = np.zeros_like(u)
    g, k, centre = jax.jit(
        lambda u, b, q: (
            profiles.mean_convergence(Profile.CNFW, u, b, q),
            profiles.convergence(Profile.CNFW, u, b, q),
            profiles.convergence(Profile.CNFW, 0 * u, b, q),
        )
    )(u, b, q)
    assert (g > 0).all() and (k > 0).all() and (g >= k * (1 - 1e-14)).all()
    apart = np.abs(b - 1) > 1e-3
    expected = np.where(apart, 2 * (b - 1 - np.log(b)) / np.where(apart, b - 1, 1) ** 2, 1)
    np.testing.assert_allclose(centre, expected, rtol=1e-10)


def test_without_a_core_it_is_nfw():
    u, zero = RADII, np.zeros_like(RADII)
    nfw, cored = (
        jax.jit(functools.partial(profiles.mean_convergence, profile))(u, zero, zero)
        for profile in (Profile.NFW, Profile.CNFW)
    )
    np.testing.assert_allclose(cored, nfw, rtol=5e-15)


@pytest.mark.parametrize("profile", [p for p in NAMED if p in oracle.WITH_DENSITY], ids=lambda profile: profile.name)
def test_the_reference_agrees_with_the_density(profile):
    shapes = {Profile.TNFW: [(0.3, 0), (20, 0)], Profile.CNFW: [(0.05, 0), (1, 0)], Profile.DPIE: [(0.1, 0)]}
    shapes |= {Profile.TNFWC: [(0.05, 5), (2, 0.5), (1, 1)]}
    for p, q in shapes.get(profile, [(0, 0)]):
        for u in (1e-4, 1.0, 60.0):
            with oracle.mp.workdps(30):
                mean = oracle.mean_from_density(profile, u, p, q)
                assert abs(oracle.mean(profile, u, p, q) / mean - 1) < 1e-20, (u, p, q)
                local = oracle.local_from_density(profile, u, p, q)
                assert abs(oracle.local(profile, u, p, q) / local - 1) < 1e-20, (u, p, q)


@DTYPES
@EACH
def test_compiled_kernels_have_the_same_mathematics(profile, dtype, available):
    available("cpp")
    from lenskern._kernels import _cpp

    at = points(profile, dtype)
    g, k, w, by_p, by_q = _cpp.profile(int(profile), *at)
    reference = computed(profile, dtype)
    mean, local = exact(profile, dtype)
    check(g, mean, ALLOWED[dtype][0], at)
    check(k, local, ALLOWED[dtype][1], at)
    eps = np.finfo(dtype).eps
    for ours, theirs, shape in ((by_p, reference[3], at[1]), (by_q, reference[4], at[2])):
        allowed = 500 * eps * np.maximum(np.abs(theirs), np.abs(g) / np.maximum(shape, 0.01))
        assert (np.abs(ours - theirs) <= allowed).all()
    outside = at[0] > profiles.U_MIN[np.dtype(dtype)]
    w, at = w[outside], [x[outside] for x in at]
    if dtype is np.float64:
        expected = jax.jit(functools.partial(profiles.potential, profile))(*at)
    else:
        expected = _cpp.profile(int(profile), *(x.astype(float) for x in at))[2]
    np.testing.assert_allclose(w, expected, rtol=1000 * eps, atol=10 * eps if profile == Profile.POINT else 0)


def test_unknown_profile():
    with pytest.raises(ValueError, match="TABLE"):
        profiles.mean_convergence(Profile.TABLE, 1.0, 0.0, 0.0)

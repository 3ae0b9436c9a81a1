"""Derivatives: against finite differences, a direct solve, and jaxnnls."""

from functools import partial

import jax
import jax.numpy as jnp
import jaxnnls
import numpy as np
import pytest

from lenskern import nnls

C = np.array([0.3, -1.2, 0.7, 0.4, -0.5, 1.1, 0.2, -0.9])
KINDS = ("exact", "relaxed")


@pytest.fixture(scope="module", params=["reference", "cpp"])
def backend(request, available):
    """The backends with linear solves of their own; the parity tests differentiate the others."""
    return available(request.param)


@pytest.fixture(scope="module")
def small(make_systems):
    Q, q = make_systems(K=len(C), seed=2, condition=100)
    return Q, q


def loss(Q, q, **options):
    return jnp.sum(nnls.solve(Q, q, **options) * C)


def close(a, b, tolerance):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def difference(function, Q, q, dQ, dq, step):
    above, below = function(Q + step * dQ, q + step * dq), function(Q - step * dQ, q - step * dq)
    return jax.tree.map(lambda a, b: (a - b) / (2 * step), above, below)


@pytest.fixture(scope="module")
def direction():
    rng = np.random.default_rng(7)
    dQ = rng.normal(size=(len(C), len(C)))
    return dQ + dQ.T, rng.normal(size=len(C))


def test_exact_matches_finite_differences(backend, small, direction):
    @jax.jit
    def solve(Q, q):
        found = nnls.solution(Q, q, backend=backend)
        return found.x, found.z

    _, tangent = jax.jvp(solve, small, direction)
    wanted = difference(solve, *small, *direction, 1e-6)
    for a, b in zip(tangent, wanted, strict=True):
        close(a, b, 1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_and_reverse_agree(backend, small, direction, kind):
    function = partial(loss, backend=backend, gradient=kind)
    _, tangent = jax.jvp(function, small, direction)
    reverse = jax.grad(function, argnums=(0, 1))(*small)
    close(sum(np.sum(g * d) for g, d in zip(reverse, direction, strict=True)), tangent, 1e-11)
    np.testing.assert_allclose(reverse[0], reverse[0].T, rtol=0, atol=1e-14 * np.abs(reverse[0]).max())


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives(small, direction, kind):
    # The relaxed x itself is exact, so only a function that is linear in it has a consistent second derivative.
    power = {"exact": 2, "relaxed": 1}[kind]

    def function(Q, q):
        return jnp.sum(nnls.solve(Q, q, gradient=kind) ** power * C)

    function = jax.jit(jax.grad(function, argnums=(0, 1)))
    _, tangent = jax.jvp(function, small, direction)
    for a, b in zip(tangent, difference(function, *small, *direction, 1e-5), strict=True):
        close(a, b, 1e-6)


def test_hessian_and_batched_jacobian(small):
    Q, q = small
    solve = partial(nnls.solve)
    hessian = jax.hessian(lambda q: 0.5 * jnp.sum(solve(Q, q) ** 2))(q)
    x, jacobian = solve(Q, q), jax.jacfwd(solve, argnums=1)(Q, q)
    F = np.nonzero(x)[0]
    close(jacobian[np.ix_(F, F)], np.linalg.inv(Q[np.ix_(F, F)]), 1e-10)
    close(jax.jacrev(solve, argnums=1)(Q, q), jacobian, 1e-12)
    close(hessian, jacobian.T @ jacobian, 1e-10)
    lanes = jax.vmap(jax.jacfwd(solve, argnums=1), in_axes=(None, 0))(Q, np.stack([q, -q]))
    close(lanes[0], jacobian, 1e-12)


@pytest.mark.parametrize("kappa", [1e-5, 1e-3, 1e-1])
def test_relaxed_is_that_of_jaxnnls(small, kappa):
    found = jax.grad(partial(loss, gradient="relaxed", target_kappa=kappa), argnums=(0, 1))(*small)
    wanted = jax.grad(lambda Q, q: jnp.sum(jaxnnls.solve_nnls_primal(Q, q, kappa) * C), argnums=(0, 1))(*small)
    for a, b in zip(found, wanted, strict=True):
        close(a, b, 1e-9)


def central_gradient(Q, q, c, kappa):
    """Gradient with respect to q at the central point, which a slow and safe path following finds, in NumPy."""
    d = 1 / np.sqrt(np.diag(Q))
    S, scale = Q * d[:, None] * d, np.abs(d * q).max()
    h, kappa = d * q / scale, kappa / scale**2
    y = np.ones(len(q))
    for target in kappa * 4.0 ** np.arange(60, -1, -1):
        for _ in range(100):
            step = np.linalg.solve(S + np.diag(target / y**2), h + target / y - S @ y)
            ratio = np.max(np.abs(step) / y)
            y = y + step / (1 + ratio)
            if ratio < 1e-10:
                break
    return np.linalg.solve(S + np.diag(kappa / y**2), c * d) * d


@pytest.mark.parametrize("kappa", [1e-3, 1.0])
def test_relaxed_on_real_systems(mge_system, kappa):
    # jaxnnls itself gives NaN on some of these: its iterations for the central point run into its cap.
    c = np.cos(np.arange(len(mge_system.q)))
    function = partial(nnls.solve, mge_system.Q, gradient="relaxed", target_kappa=kappa)
    found = jax.grad(lambda q: jnp.sum(function(q) * c))(mge_system.q)
    close(found, central_gradient(mge_system.Q, mge_system.q, c, kappa), 1e-5)
    theirs = jax.grad(lambda q: jnp.sum(jaxnnls.solve_nnls_primal(mge_system.Q, q, kappa) * c))(mge_system.q)
    if np.isfinite(theirs).all():
        close(found, theirs, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_finite_on_ill_conditioned_systems(backend, mge_system, kind):
    Q, q, x = mge_system
    c = np.cos(np.arange(len(q)))
    found = jax.grad(lambda Q, q: jnp.sum(nnls.solve(Q, q, backend=backend, gradient=kind) * c), argnums=(0, 1))(Q, q)
    for g in found:
        assert np.isfinite(g).all()
    if kind == "exact":
        d = 1 / np.sqrt(np.diag(Q))
        F = np.nonzero(nnls.solve(Q, q, backend=backend))[0]
        direct = np.zeros(len(q))
        direct[F] = np.linalg.solve((Q * d[:, None] * d)[np.ix_(F, F)], (c * d)[F]) * d[F]
        close(found[1], direct, 1e-6)
        close(found[0], -0.5 * (np.outer(direct, x) + np.outer(x, direct)), 1e-6)


def test_traced_kappa(small):
    static = jax.grad(partial(loss, gradient="relaxed", target_kappa=0.01), argnums=1)(*small)
    traced = jax.jit(
        lambda Q, q, kappa: jax.grad(partial(loss, gradient="relaxed", target_kappa=kappa), argnums=1)(Q, q)
    )(*small, 0.01)
    close(traced, static, 1e-12)
    with pytest.raises(ValueError, match="target_kappa: got shape"):
        jax.jit(lambda k: nnls.solve(*small, target_kappa=k))(np.ones(2))


def test_guess_has_no_derivative(small):
    gradient = jax.grad(lambda x0: jnp.sum(nnls.solve(*small, x0=x0)))(np.ones(len(C)))
    np.testing.assert_array_equal(gradient, 0)

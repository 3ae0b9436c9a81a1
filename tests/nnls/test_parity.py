"""Every backend against the reference, under every transform, at the tolerances of one table."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import nnls

# Largest difference, relative to the largest entry of the result.
TOLERANCES = {"float64": 1e-9, "float32": 3e-5}


def weights(K):
    return np.cos(np.arange(K))


def value(solve, c, Q, q):
    return solve(Q, q) @ c


def on_lanes(solve, Q, q):
    return jnp.stack([solve(Q[i], q[i]) for i in range(len(q))])


# Each takes a solver of one problem and three problems.
TRANSFORMS = {
    "eager": on_lanes,
    "jit": lambda solve, Q, q: on_lanes(jax.jit(solve), Q, q),
    "vmap": lambda solve, Q, q: jax.vmap(solve)(Q, q),
    "jit of vmap": lambda solve, Q, q: jax.jit(jax.vmap(solve))(Q, q),
    "vmap of vmap": lambda solve, Q, q: jax.vmap(jax.vmap(solve))(jnp.stack([Q, 2 * Q]), jnp.stack([q, q[:, ::-1]])),
    "vmap over the last axis": lambda solve, Q, q: jax.vmap(solve, in_axes=(2, 1), out_axes=1)(
        Q.transpose(1, 2, 0), q.T
    ),
    "shared Q": lambda solve, Q, q: jax.vmap(solve, in_axes=(None, 0))(Q[0], q),
    "shared q": lambda solve, Q, q: jax.vmap(solve, in_axes=(0, None))(Q, q[0]),
    "every pair": lambda solve, Q, q: jax.vmap(jax.vmap(solve, in_axes=(None, 0)), in_axes=(0, None))(Q, q),
    "grad": lambda solve, Q, q: jax.grad(partial(value, solve, weights(q.shape[1])), argnums=(0, 1))(Q[0], q[0]),
    "vmap of grad": lambda solve, Q, q: jax.jit(
        jax.vmap(jax.grad(partial(value, solve, weights(q.shape[1])), argnums=(0, 1)))
    )(Q, q),
    "grad of vmap, shared Q": lambda solve, Q, q: jax.grad(
        lambda Q, q: jnp.sum(jax.vmap(solve, in_axes=(None, 0))(Q, q) @ weights(q.shape[1])), argnums=(0, 1)
    )(Q[0], q),
    "jvp": lambda solve, Q, q: jax.jvp(solve, (Q[0], q[0]), (Q[1], q[1])),
}

CASES = [("float64", name) for name in TRANSFORMS] + [("float32", name) for name in ("eager", "vmap of grad")]


def expected(transform, Q, q):
    """The transform written out for the reference, lane by lane, in float64."""
    solve = partial(nnls.solve, backend="reference")
    c = weights(q.shape[1])
    lanes = range(len(q))
    grad = jax.grad(partial(value, solve, c), argnums=(0, 1))
    match transform:
        case "vmap of vmap":
            return np.stack([on_lanes(solve, Q, q), on_lanes(solve, 2 * Q, q[:, ::-1])])
        case "vmap over the last axis":
            return on_lanes(solve, Q, q).T
        case "shared Q":
            return np.stack([solve(Q[0], q[i]) for i in lanes])
        case "shared q":
            return np.stack([solve(Q[i], q[0]) for i in lanes])
        case "every pair":
            return np.stack([[solve(Q[i], q[j]) for j in lanes] for i in lanes])
        case "grad":
            return grad(Q[0], q[0])
        case "vmap of grad":
            return jax.tree.map(lambda *a: np.stack(a), *[grad(Q[i], q[i]) for i in lanes])
        case "grad of vmap, shared Q":
            each = [grad(Q[0], q[i]) for i in lanes]
            return sum(g[0] for g in each), np.stack([g[1] for g in each])
        case "jvp":
            return jax.jvp(solve, (Q[0], q[0]), (Q[1], q[1]))
    return on_lanes(solve, Q, q)


@pytest.mark.parametrize(("dtype", "transform"), CASES)
def test_agrees_with_reference(backend, dtype, transform, make_systems):
    Q, q = (a.astype(dtype) for a in make_systems(3, condition=1e4 if dtype == "float64" else 10))
    found = TRANSFORMS[transform](partial(nnls.solve, backend=backend), Q, q)
    wanted = expected(transform, Q.astype("float64"), q.astype("float64"))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCES[dtype] * np.abs(b).max())


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_whole_solution_agrees_with_reference(backend, dtype, make_systems):
    Q, q = (a.astype(dtype) for a in make_systems(3, condition=1e4 if dtype == "float64" else 10))
    found = jax.vmap(partial(nnls.solution, backend=backend))(Q, q)
    wanted = jax.vmap(partial(nnls.solution, backend="reference"))(Q.astype("float64"), q.astype("float64"))
    assert found.certified.all()
    assert found.x.dtype == found.z.dtype == found.residual.dtype == dtype
    assert found.status.dtype == found.iterations.dtype == found.passes.dtype == np.int32
    np.testing.assert_array_equal(found.x > 0, wanted.x > 0)
    for name in ("x", "z"):
        a, b = getattr(found, name), getattr(wanted, name)
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCES[dtype] * np.abs(b).max())
        assert np.all(np.asarray(a) >= 0)
    assert np.all((found.x == 0) | (found.z == 0))


def test_guess_gives_the_same_solution(backend, make_systems):
    Q, q = make_systems(3)
    cold = jax.vmap(partial(nnls.solution, backend=backend))(Q, q)
    guess = jax.vmap(lambda Q, q, x0: nnls.solution(Q, q, x0=x0, backend=backend))
    for x0 in (cold.x, np.ones_like(q), np.where(np.arange(q.shape[1]) % 5, cold.x, np.nan)):
        warm = guess(Q, q, x0)
        assert warm.certified.all()
        np.testing.assert_allclose(warm.x, cold.x, rtol=0, atol=1e-9 * np.abs(cold.x).max())
    assert np.all(guess(Q, q, cold.x).iterations == 0)


def test_lanes_do_not_depend_on_their_neighbours(backend, make_systems):
    Q, q = make_systems(4)
    solve = jax.jit(jax.vmap(partial(nnls.solution, backend=backend)))
    grad = jax.jit(jax.vmap(jax.grad(partial(value, partial(nnls.solve, backend=backend), weights(q.shape[1])))))
    clean, clean_grad = solve(Q, q), grad(Q, q)
    for spoil in ("nan", "indefinite", "asymmetric", "unbounded"):
        bad = Q.copy()
        match spoil:
            case "nan":
                bad[1, 3, 3] = np.nan
            case "indefinite":
                bad[1] -= 2 * np.diag(np.diag(bad[1]))
            case "asymmetric":
                bad[1, 0, 1] += bad[1, 0, 0]
            case "unbounded":
                bad[1] = np.eye(q.shape[1])
                bad[1, :2, :2] = [[1, -1], [-1, 1]]
        dirty, dirty_grad = solve(bad, q), grad(bad, q)
        good = np.array([0, 2, 3])
        assert not dirty.certified[1] or spoil == "unbounded"
        for a, b in zip(jax.tree.leaves((clean, clean_grad)), jax.tree.leaves((dirty, dirty_grad)), strict=True):
            np.testing.assert_array_equal(np.asarray(a)[good], np.asarray(b)[good])


def test_no_lanes(backend):
    found = jax.vmap(partial(nnls.solution, backend=backend))(np.zeros((0, 5, 5)), np.zeros((0, 5)))
    assert found.x.shape == (0, 5)
    assert found.status.shape == (0,)

"""Cholesky factors of scaled matrices and refined solves with them, in plain jnp."""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve


def factor(A, tries=4):
    """Lower Cholesky factor of a matrix with a diagonal of 1 or more.

    Where the factorisation breaks down, a multiple of the unit matrix is added: K·eps first, then 100 times more each
    time. Whoever solves with the factor refines against A itself.

    Returns
    -------
    L : (K, K) array
    ok : bool scalar array
        False if every try broke down; L is NaN then.
    """
    K = A.shape[0]
    unit = K * jnp.finfo(A.dtype).eps

    def shifted(k):
        return jax.lax.linalg.cholesky(
            A + jnp.where(k > 0, unit * 100.0 ** (k - 1), 0) * jnp.eye(K, dtype=A.dtype), symmetrize_input=False
        )

    def works(L):
        return jnp.isfinite(jnp.diagonal(L)).all()

    def retry(state):
        k, _ = state
        return k + 1, shifted(k + 1)

    _, L = jax.lax.while_loop(lambda s: ~works(s[1]) & (s[0] < tries - 1), retry, (0, shifted(0)))
    return L, works(L)


def is_semidefinite(A, slack):
    """Whether A, of unit diagonal, has no eigenvalue below about −slack."""
    L = jax.lax.linalg.cholesky(A + slack * jnp.eye(A.shape[0], dtype=A.dtype), symmetrize_input=False)
    return jnp.isfinite(jnp.diagonal(L)).all()


def solve(L, b):
    """Solve L Lᵀ y = b for one right-hand side."""
    return cho_solve((L, True), b)


def restricted(A, free):
    """A on the free rows and columns, the unit matrix on the others."""
    return jnp.where(free[:, None] & free[None, :], A, jnp.eye(A.shape[0], dtype=A.dtype))


def refined_solve(A, L, b, rounds=20):
    """Solve A y = b with a factor L of (nearly) A, by iterative refinement until the residual stops halving.

    A singular A with b in its range is solved too, more slowly; the point of the smallest residual is returned.
    """
    K = A.shape[0]
    floor = jnp.finfo(A.dtype).eps * jnp.max(jnp.abs(b))

    def residual(y):
        r = b - jnp.dot(A, y, precision="highest")
        return r, jnp.max(jnp.abs(r))

    def improve(state):
        k, y, r, size, _ = state
        trial = y + solve(L, r)
        trial_r, trial_size = residual(trial)
        better = trial_size < size
        go_on = (trial_size < 0.5 * size) & (trial_size > floor)
        return k + 1, jnp.where(better, trial, y), jnp.where(better, trial_r, r), jnp.minimum(trial_size, size), go_on

    start = jnp.zeros(K, A.dtype)
    # Not better than the zero vector (a factor that overflowed, say): keep zero, whose residual is known.
    state = (0, start, b, jnp.max(jnp.abs(b)), jnp.bool_(True))
    return jax.lax.while_loop(lambda s: s[4] & (s[0] < rounds), improve, state)[1]

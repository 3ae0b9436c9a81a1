"""Exact solutions of small non-negative quadratic programs, by other means than the solver under test.

A float64 interior point guesses the active set, an exchange of violators corrects it, and the reduced system is refined
with residuals in extended precision until the solution is exact to float64. NumPy and SciPy only.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve


@dataclass(frozen=True)
class Exact:
    """Solution with its proof.

    Parameters
    ----------
    x, z : ndarray, shape (K,)
        Minimiser of x'Qx / 2 - q'x over x >= 0 and its gradient; zero outside and inside the support.
    violation : float
        Largest violation of the optimality conditions on the Jacobi-scaled problem with max |q| = 1.
    iterations : int
        Interior-point iterations.
    exchanges : int
        Reduced systems solved.
    """

    x: np.ndarray
    z: np.ndarray
    violation: float
    iterations: int
    exchanges: int


def kkt_residual(Q, q, x):
    """How far x is from optimal, whatever solver it comes from: max |min(y / max|y|, S y - h)| on the scaled problem.

    The scaled problem has S = DQD with unit diagonal and h = Dq / max |Dq|; zero exactly at the solution.

    Parameters
    ----------
    Q : ndarray, shape (K, K)
    q, x : ndarray, shape (K,)

    Returns
    -------
    float
        NaN where x has a NaN.
    """
    d = 1 / np.sqrt(np.diag(Q))
    scale = max(np.abs(q * d).max(), 1e-300)
    y = x / d
    gradient = (Q @ x - q) * d / scale
    return float(np.abs(np.minimum(y / max(np.abs(y).max(), 1e-300), gradient)).max())


def exact(Q, q, tol=1e-15, max_exchanges=2000):
    """Solve min x'Qx / 2 - q'x, x >= 0 for symmetric positive-definite Q, exactly to float64.

    Parameters
    ----------
    Q : ndarray, shape (K, K)
    q : ndarray, shape (K,)
    tol : float
        Violations of the scaled optimality conditions up to this are rounding.
    max_exchanges : int
        Limit of the exchanges.

    Raises
    ------
    ArithmeticError
        When no active set could be proved optimal.
    """
    # powers of two: the scaling itself rounds nothing
    d = 2.0 ** -np.round(0.5 * np.log2(np.diag(Q)))
    S, h = Q * d[:, None] * d, q * d
    scale = 2.0 ** np.round(np.log2(max(np.abs(h).max(), 1e-300)))
    h = h / scale
    support, iterations = _interior_point(S, h)
    extended = S.astype(np.longdouble)

    fewest, patience = len(q) + 1, 8
    for exchanges in range(1, max_exchanges + 1):
        y, gradient = _reduced(S, extended, h, support)
        wrong = (support & (y < 0)) | (~support & (gradient < -tol))
        if not wrong.any():
            x, z = y * d * scale, np.where(support, 0, np.maximum(gradient, 0)) / d * scale
            violation = max(np.abs(gradient[support]).max(initial=0), -gradient.min(initial=0))
            return Exact(x, z, float(violation), iterations, exchanges)
        # block exchange while it helps, then one at a time, the last index first, which cannot cycle (Murty 1974)
        if wrong.sum() < fewest:
            fewest, patience = wrong.sum(), 8
        else:
            patience -= 1
        if patience < 0:
            last = np.nonzero(wrong)[0][-1]
            wrong[:] = False
            wrong[last] = True
        support = support ^ wrong
    raise ArithmeticError(f"no active set proved optimal in {max_exchanges} exchanges")


def _interior_point(S, h, max_iter=60):
    """Mehrotra's predictor-corrector until complementarity separates x from z: the support, and the iterations."""
    n = len(h)
    x = np.maximum(cho_solve(cho_factor(S + np.eye(n)), h), 0)
    g = S @ x - h
    z = np.maximum(g, 0) + 0.5 * max(np.abs(g).mean(), 1e-8)
    x = x + 0.5 * max(x.mean(), 1e-8)
    iterations = 0
    while iterations < max_iter and x @ z / n > 1e-15:
        mu = x @ z / n
        r = S @ x - h - z
        try:
            factor = cho_factor(S + np.diag(z / x))
        except LinAlgError:
            break
        dx, dz = _newton(factor, x, z, r, -x * z)
        a = min(_longest(x, dx), _longest(z, dz))
        sigma = ((x + a * dx) @ (z + a * dz) / n / mu) ** 3
        dx, dz = _newton(factor, x, z, r, -x * z + sigma * mu - dx * dz)
        a = 0.99 * min(_longest(x, dx), _longest(z, dz))
        x, z = x + a * dx, z + a * dz
        iterations += 1
    return x > z, iterations


def _newton(factor, x, z, r, target):
    """Direction with S dx - dz = -r and z dx + x dz = target."""
    dx = cho_solve(factor, -r + target / x)
    return dx, (target - z * dx) / x


def _longest(a, step):
    """Longest step up to 1 that keeps a >= 0."""
    shrinks = step < 0
    return min(1.0, np.min(-a[shrinks] / step[shrinks])) if shrinks.any() else 1.0


def _reduced(S, extended, h, support):
    """Solve S[F, F] y = h[F] to float64 by refinement with residuals in extended precision."""
    index = np.nonzero(support)[0]
    factor = cho_factor(S[np.ix_(index, index)])
    rows = extended[:, index]
    y = np.zeros(len(index), np.longdouble)
    before = np.inf
    for _ in range(20):
        gradient = rows @ y - h
        step = cho_solve(factor, -gradient[index].astype(float))
        size = np.abs(step).max(initial=0)
        if size >= 0.5 * before:
            break
        y, before = y + step, size
    full = np.zeros(len(h))
    full[index] = y
    return full, (rows @ y - h).astype(float)

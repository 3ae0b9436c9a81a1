"""The public functions: `solve` and `solution`."""

import jax
import jax.numpy as jnp

from .. import _checks
from . import gradient as _gradient
from .options import Options
from .primitive import no_guess
from .solution import Solution


def solve(
    Q,
    q,
    *,
    x0=None,
    method="crossover",
    tol=None,
    max_iter=50,
    backend=None,
    gradient="exact",
    target_kappa=1e-3,
):
    """Minimise ½ xᵀQx − qᵀx subject to x ≥ 0, for a symmetric positive-definite Q.

    One problem; use `jax.vmap` for a batch. Works under `jax.jit`, `jax.vmap`, `jax.grad`, `jax.jvp` and their
    combinations. A problem that cannot be solved gives NaN in its own lane; `solution` says why.

    Parameters
    ----------
    Q : (K, K) array
        float32 or float64. Only the lower triangle enters the solution; the upper one must agree with it.
    q : (K,) array
        Of the dtype of Q.
    x0 : (K,) array, optional
        A guess. The entries above 0 are tried as the support of x first, by up to four exact solves: it pays where few
        of them are wrong, as for the solution of a neighbouring problem, and costs little where it does not work.
    method : {"crossover", "pdip", "admm", "fista", "bpp"}
        "crossover" finds the support by a short interior-point phase and then solves exactly on it, with a certificate.
        The others are for comparison: the interior point alone, two first-order methods that need thousands of
        iterations, and block principal pivoting.
    tol : float, optional
        Largest KKT residual that is certified, dimensionless; 1e-12 for float64 and 1e-6 for float32 data by default
        (looser for the methods that do not end in an exact solve).
    max_iter : int
        Cap on the iterations.
    backend : {None, "reference", "cpp", "cuda", "pallas", "triton"}
        What runs the solve; None takes the fastest that is available for the platform. A named one runs or raises.
        "pallas" is interpreted on the CPU.
    gradient : {"exact", "relaxed"}
        "exact" differentiates the solution on its support; "relaxed" takes the derivative at the point where
        x∘(Qx − q) = target_kappa, as jaxnnls does, which is smooth where the support changes.
    target_kappa : float
        For gradient="relaxed", in the units of q·x.

    Returns
    -------
    x : (K,) array
        The solution, exactly 0 outside its support.

    Raises
    ------
    ValueError
        For an argument of the wrong shape, dtype or value.
    NotImplementedError
        For a backend that cannot run the method or the size.
    RuntimeError
        For a named backend that is not available.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from lenskern import nnls
    >>> Q = jnp.array([[2.0, 1.0], [1.0, 2.0]])
    >>> q = jnp.array([1.0, -1.0])
    >>> print(nnls.solve(Q, q))
    [0.5 0. ]
    """
    return solution(
        Q,
        q,
        x0=x0,
        method=method,
        tol=tol,
        max_iter=max_iter,
        backend=backend,
        gradient=gradient,
        target_kappa=target_kappa,
    ).x


def solution(
    Q,
    q,
    *,
    x0=None,
    method="crossover",
    tol=None,
    max_iter=50,
    backend=None,
    gradient="exact",
    target_kappa=1e-3,
) -> Solution:
    """Solve as `solve` does, and say how it went.

    Parameters
    ----------
    Q, q, x0, method, tol, max_iter, backend, gradient, target_kappa
        As for `solve`.

    Returns
    -------
    Solution
        x and z can be differentiated, the rest is constant.

    Raises
    ------
    ValueError, NotImplementedError, RuntimeError
        As `solve`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from lenskern import nnls
    >>> bad = nnls.solution(jnp.array([[1.0, 0.0], [0.0, -1.0]]), jnp.ones(2))
    >>> bool(bad.certified), bad.message()
    (False, 'Q is not positive definite (a diagonal entry that is not positive, or a negative eigenvalue).')
    """
    options = Options(method=method, tol=tol, max_iter=max_iter, backend=backend, gradient=gradient)
    Q, q, x0 = _check_problem(Q, q, x0)
    kappa = _check_kappa(target_kappa)
    return Solution(*_gradient.solve(options, Q, q, x0, kappa))


def _check_problem(Q, q, x0):
    hint = "; use jax.vmap for a batch"
    Q = _checks.float_array("Q", Q)
    _checks.square_matrix("Q", Q, hint)
    q = _checks.float_array("q", q)
    _checks.shape("q", q, Q.shape[:1], hint)
    _checks.same_dtype("Q", Q, "q", q)
    if x0 is None:
        return Q, q, no_guess(q)
    x0 = _checks.float_array("x0", x0)
    _checks.shape("x0", x0, q.shape, hint)
    _checks.same_dtype("q", q, "x0", x0)
    # A guess cannot make a problem invalid.
    return Q, q, jnp.where(jnp.isfinite(x0), x0, 0)


def _check_kappa(kappa):
    if not isinstance(kappa, jax.core.Tracer):
        return _checks.positive_float("target_kappa", kappa)
    if kappa.shape != ():
        raise ValueError(f"target_kappa: got shape {kappa.shape}, expected a scalar")
    return kappa

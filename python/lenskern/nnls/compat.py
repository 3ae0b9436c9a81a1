"""The two functions of jaxnnls: ``from lenskern.nnls import compat as jaxnnls`` replaces ``import jaxnnls``."""

from . import api


def solve_nnls(Q, q):
    """Solve the non-negative least-squares problem.

    Parameters
    ----------
    Q : (K, K) array
        Symmetric positive-definite matrix.
    q : (K,) array

    Returns
    -------
    x, s, z : (K,) arrays
        Solution, slack (equal to x, which is exact here) and multipliers.
    converged : int scalar array
        1 for a certified solution, 0 otherwise.
    iterations : int scalar array
    """
    found = api.solution(Q, q)
    return found.x, found.x, found.z, found.certified.astype(int), found.iterations.astype(int)


def solve_nnls_primal(Q, q, target_kappa=1e-3):
    """Solve the non-negative least-squares problem, with the gradient of the relaxed problem.

    Parameters
    ----------
    Q : (K, K) array
        Symmetric positive-definite matrix.
    q : (K,) array
    target_kappa : float
        Complementarity of the relaxed problem, in the units of q·x.

    Returns
    -------
    (K,) array
    """
    return api.solve(Q, q, gradient="relaxed", target_kappa=target_kappa)

"""Other solvers of the same problem, each called as its users call it."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp


@dataclass(frozen=True)
class Peer:
    """A solver to compare with.

    Parameters
    ----------
    name : str
        Its package.
    install : str
        The command that installs it.
    make : callable
        Imports it and returns ``solve(Q, q) -> (x, converged, iterations)`` for one problem.
    """

    name: str
    install: str
    make: Callable

    def load(self):
        """``solve``, or None where the package is not installed."""
        try:
            return self.make()
        except ImportError:
            return None


def peers():
    """All known peers: list of Peer."""
    return [
        Peer("jaxnnls", "pip install jaxnnls", _jaxnnls),
        Peer("autoarray", "pip install autolens", _autoarray),
    ]


def _jacobi(solver):
    """Scale Q to unit diagonal around a solver, as PyAutoLens does before it calls one."""

    def solve(Q, q):
        d = 1 / jnp.sqrt(jnp.diagonal(Q))
        x, *rest = solver(Q * d[:, None] * d, q * d)
        return x * d, *rest

    return solve


def _jaxnnls():
    import jaxnnls

    def solve(Q, q):
        x, _, _, converged, iterations = jaxnnls.solve_nnls(Q, q)
        return x, converged == 1, iterations

    return _jacobi(solve)


def _autoarray():
    from autoarray.util.jax_active_set import solve_certified

    return _jacobi(solve_certified)

"""The result of a solve: a pytree of arrays, and what its status codes mean."""

from dataclasses import dataclass
from enum import IntEnum

import jax
import numpy as np


class Status(IntEnum):
    """How a solve ended."""

    CERTIFIED = 0
    CONVERGED = 1
    MAX_ITER = 2
    NOT_POSITIVE_DEFINITE = 3
    NOT_SYMMETRIC = 4
    NOT_FINITE = 5
    STALLED = 6

    @property
    def sentence(self) -> str:
        """What the status means, in one sentence."""
        match self:
            case Status.CERTIFIED:
                return "The KKT conditions hold to the tolerance: x is the solution."
            case Status.CONVERGED:
                return "The method met its own tolerance, but the KKT conditions do not hold to it: x is approximate."
            case Status.MAX_ITER:
                return "The iteration cap was reached: x is the best point found; see residual."
            case Status.NOT_POSITIVE_DEFINITE:
                return "Q is not positive definite (a diagonal entry that is not positive, or a negative eigenvalue)."
            case Status.NOT_SYMMETRIC:
                return "Q is not symmetric."
            case Status.NOT_FINITE:
                return "Q or q has a NaN or infinite entry, or overflows when Q is scaled to unit diagonal."
            case Status.STALLED:
                return "No more progress in working precision: x is the best point found; see residual."


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Solution:
    """Solution of min ½ xᵀQx − qᵀx, x ≥ 0, with how it was reached. A pytree; under `jax.vmap` every array is batched.

    Attributes
    ----------
    x : (K,) array
        The solution; exactly 0 outside its support. NaN where `status` says that the input was no valid problem.
    z : (K,) array
        The multipliers Qx − q ≥ 0; exactly 0 on the support of x.
    status : int32 scalar array
        A `Status`.
    iterations : int32 scalar array
        Iterations of the method (for "crossover" and "pdip" those of the interior point).
    passes : int32 scalar array
        Exact solves on a candidate active set.
    residual : scalar array
        Largest violation of the KKT conditions of the problem scaled to a unit diagonal of Q and max|q| = 1,
        dimensionless. It is evaluated in float64 where 64-bit types are enabled, for float32 data before x is rounded
        to float32; else for the x returned, in compensated float32.
    """

    x: jax.Array
    z: jax.Array
    status: jax.Array
    iterations: jax.Array
    passes: jax.Array
    residual: jax.Array

    @property
    def certified(self) -> jax.Array:
        """True where the KKT conditions hold to the tolerance."""
        return self.status == int(Status.CERTIFIED)

    def message(self):
        """The status in words: a string, or nested lists of strings for a batch. Not for traced arrays."""

        def words(status):
            return [words(s) for s in status] if isinstance(status, list) else Status(status).sentence

        return words(np.asarray(self.status).tolist())

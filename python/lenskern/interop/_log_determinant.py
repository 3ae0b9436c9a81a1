"""The determinants in the evidence of PyAutoArray's inversions on the CPU, past the zeros of a regularization matrix.

On JAX autoarray factorises two matrices of the size of the source for them, both as if they were full, though a pixel
is regularized by few others.
"""

import functools

import jax
import numpy as np

from .. import nnls
from ._known import arguments_of, known

_KNOWN = ("self", "matrix", "sparse")


def patches(mismatch):
    """(owner, name, value) of what `register` replaces around determinants; `mismatch` as for `known`."""
    from autoarray.inversion.inversion.abstract import AbstractInversion

    name = "_log_det_symmetric_from"
    return [(AbstractInversion, name, _by_lenskern(known(AbstractInversion, name, _KNOWN, mismatch)))]


def _by_lenskern(own):
    """autoarray's ln det by Cholesky, from lenskern where JAX runs on the CPU in float64."""
    given = arguments_of(own)

    @functools.wraps(own)
    def _log_det_symmetric_from(*args, **kwargs):
        inversion, matrix, _ = given(args, kwargs)
        # GPUs have no kernel for this.
        on_cpu = inversion._xp is not np and jax.default_backend() == "cpu"
        if not on_cpu or matrix.dtype != np.float64 or inversion.settings.log_det_method != "cholesky":
            return own(*args, **kwargs)
        return nnls.log_determinant(matrix)

    return _log_det_symmetric_from

"""lenskern as the positive-only solver of autoarray on JAX, and so of PyAutoLens and PyAutoGalaxy.

autoarray has no registry of solvers: `reconstruction_positive_only_from` imports them from two of its modules each time
it is traced. `register` rebinds them there.
"""

import contextlib
import importlib.util
import inspect
import logging
import os
import warnings
from importlib import metadata
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import nnls
from . import _delaunay, _log_determinant, _mapping, _rectangular, autofit

__all__ = ["KNOWN_VERSIONS", "is_registered", "register", "registered", "unregister"]

KNOWN_VERSIONS = ("2026.10.26.1",)
"""The versions of autoarray that `register` was tested with."""

logger = logging.getLogger(__name__)


class Patch(NamedTuple):
    """An attribute to rebind: the module or class that holds it, its name, the new value."""

    owner: Any
    name: str
    value: Any


# What was there before: the patches that undo those in force.
_undo: list[Patch] = []
# How often autoarray's own solvers had been used when somebody was last told.
_known_uses = 0


def register():
    """Make lenskern the positive-only solver of autoarray on JAX.

    Call it after ``import autolens`` and before the first fit: a function that JAX has traced keeps the solver it was
    traced with. Registering twice does nothing. The solver on NumPy, autoarray's active-set search, stays as it is.

    The settings and the configuration of autoarray keep their meaning, but that every answer is exact where one can be
    had:

    - ``Settings.nnls_solver_tol``: largest KKT residual of the system scaled to a unit diagonal and max|q| = 1; 1e-12
      by default. It decides what is reported as converged, and never makes an answer less exact.
    - ``Settings.nnls_max_iter``: cap on the iterations, 50 by default.
    - ``Settings.positive_only_solver``: with "pdip" gradients are those of the relaxed problem, at the configuration's
      ``nnls_target_kappa``; with "certified" they are exact, and ``stats`` has ``certified`` and ``passes``.
    - ``nnls_jacobi_preconditioning`` and ``Settings.nnls_preconditioning_no_mapper`` choose the variables in which
      ``nnls_target_kappa`` counts; the solution is the same.

    ``stats["converged"]`` and ``stats["iterations"]`` are filled as autoarray does.

    Rectangular meshes that adapt by a smooth distribution function (``RectangularRTU...``) get the same one from a few
    hundred of its points instead of one sum over all image pixels for each over-sampled pixel.

    On the CPU mapping matrices are blurred, and multiplied for the curvature matrix, past their zeros, and points are
    found in Delaunay meshes without all distances in memory. The determinants of the evidence (``log_det_method`` is
    "cholesky") pass over the zeros of a regularization matrix.

    Where PyAutoFit is installed, its searches share one compiled fit between likelihood and visualization from then on:
    see `lenskern.interop.autofit.patches`.

    Raises
    ------
    ImportError
        Where autoarray is not installed.
    RuntimeError
        For an autoarray whose functions are not those that lenskern replaces; it names the versions known to work.
    """
    in_force = {(undo.owner, undo.name) for undo in _undo}
    patches = [patch for patch in _patches() if (patch.owner, patch.name) not in in_force]
    if not _undo:
        _warn_of_traced()
        _warn_of_single_precision()
        logger.info("lenskern solves the positive-only inversions of autoarray on JAX.")
    for patch in patches:
        _undo.append(patch._replace(value=getattr(patch.owner, patch.name)))
        setattr(*patch)


def unregister():
    """Give autoarray its own solvers back. Functions that were traced while lenskern was registered keep it."""
    global _known_uses
    if not _undo:
        return
    while _undo:
        setattr(*_undo.pop())
    _known_uses = _uses()


def is_registered() -> bool:
    """Whether lenskern is the positive-only solver of autoarray."""
    return bool(_undo)


@contextlib.contextmanager
def registered():
    """Register lenskern for a while, as `register` and `unregister` do.

    What is traced inside keeps lenskern, and what was traced before keeps autoarray's solver. Inside another
    registration it changes nothing.

    Examples
    --------
    >>> from lenskern.interop import autoarray
    >>> with autoarray.registered():  # doctest: +SKIP
    ...     value = jax.jit(likelihood)(parameters)
    """
    outer = is_registered()
    register()
    try:
        yield
    finally:
        if not outer:
            unregister()


def _patches():
    """All that `register` rebinds; each part looks first at whether the functions are those that it knows."""
    found = _solver_patches()  # the first, which says best if autoarray is not there
    try:
        parts = [part.patches(_mismatch) for part in (_mapping, _delaunay, _rectangular, _log_determinant)]
    except ImportError as error:
        raise _mismatch(str(error)) from error
    if importlib.util.find_spec("autofit"):
        parts.append(autofit.patches())
    return found + [Patch(*patch) for part in parts for patch in part]


def _solver_patches():
    """The solvers to replace, after a look at whether they are those that lenskern knows."""
    import autoarray  # noqa: F401 - if it is not there, Python's own error says so best

    try:
        from autoarray.inversion.inversion import inversion_util
        from autoarray.util import jax_active_set, jax_nnls
    except ImportError as error:
        raise _mismatch(str(error)) from error
    patches = [
        Patch(jax_nnls, "solve_nnls_primal_with_status", _solve_with_status),
        Patch(jax_nnls, "solve_nnls_primal_raw_forward", _solve_raw_forward),
        Patch(jax_nnls, "solve_nnls_primal", _solve),
        Patch(jax_active_set, "solve_certified_with_fallback", _solve_certified),
    ]
    for owner, name, value in patches:
        theirs = getattr(owner, name, None)
        if theirs is None:
            raise _mismatch(f"{owner.__name__} has no {name}")
        if _parameters(theirs) != _parameters(value):
            raise _mismatch(f"{name}{inspect.signature(theirs)} is not {name}{inspect.signature(value)}")
    callers = inversion_util.reconstruction_positive_only_from, inversion_util._certified_positive_only_from
    for patch, caller in zip(patches, (callers[0], callers[0], callers[1], callers[1]), strict=True):
        # Imported when it is called: a function that holds its own reference would not see the new one.
        if patch.name not in caller.__code__.co_varnames + caller.__code__.co_cellvars:
            raise _mismatch(f"{caller.__name__} does not import {patch.name} when it is called")
    return patches


def _parameters(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def _mismatch(what):
    try:
        version = metadata.version("autoarray")
    except metadata.PackageNotFoundError:
        version = "of an unknown version"
    return RuntimeError(
        f"autoarray {version} is not one that lenskern can be registered with: {what}. Known to work: autoarray "
        f"{', '.join(KNOWN_VERSIONS)}."
    )


def _uses():
    """How often autoarray has made use of its own solvers in this process."""
    from autoarray.util import jax_nnls

    caches = (getattr(jax_nnls, name, None) for name in ("_solve_nnls_primal_with", "_solve_nnls_raw_forward_with"))
    counts = [cache.cache_info() for cache in caches if hasattr(cache, "cache_info")]
    return sum(count.hits + count.misses for count in counts)


def _warn_of_traced():
    global _known_uses
    if _uses() > _known_uses:
        warnings.warn(
            "autoarray's own solver has been used in this process: functions that JAX has traced with it keep it. "
            "Register lenskern before the first fit, or call jax.clear_caches() and make the likelihoods anew.",
            stacklevel=3,
        )
    _known_uses = _uses()


def _warn_of_single_precision():
    # autoarray switches 64-bit numbers on by a variable that JAX reads when it is imported, and lenskern imports JAX.
    wanted = os.environ.get("JAX_ENABLE_X64", "").lower() in ("1", "true", "on", "yes")
    if wanted and not jax.config.jax_enable_x64:
        warnings.warn(
            "JAX computes in 32 bits, because it was imported before autoarray could choose 64: import autolens before "
            "lenskern and jax, or call jax.config.update('jax_enable_x64', True).",
            stacklevel=3,
        )


def _solve_with_status(Q, q, target_kappa=1e-3, solver_tol=None, max_iter=50):
    """The solution, whether it converged, and the iterations, with the gradient of the relaxed problem."""
    found = _solution(Q, q, solver_tol, max_iter, gradient="relaxed", target_kappa=target_kappa)
    return found.x, _converged(found, solver_tol), found.iterations.astype(int)


def _solve(Q, q, target_kappa=1e-3, solver_tol=None, max_iter=50):
    return _solve_with_status(Q, q, target_kappa, solver_tol, max_iter)[0]


def _solve_raw_forward(Q_pc, q_pc, Q, q, D, target_kappa=1e-3, solver_tol=None, max_iter=50):
    # The two systems are one in other variables, y = x / D, and lenskern scales what it gets.
    return _solve_with_status(Q_pc, q_pc, target_kappa, solver_tol, max_iter)


def _solve_certified(Q, q, pdip_fn, fallback=True, pass_budget=16, tau_rel=1.0e-9, permanent=None):
    if permanent is not None:
        raise NotImplementedError("permanent: got indices held at zero, expected None, as autoarray's inversions do")
    # An answer that is certified needs no fallback, and one that is not has none that is better.
    found = _solution(Q, q, tau_rel, 50, gradient="exact")
    return found.x, found.certified | (_converged(found, tau_rel) == 1), found.passes.astype(int)


def _solution(Q, q, tol, max_iter, **options):
    Q, q = jnp.asarray(Q), jnp.asarray(q)
    default = nnls.Options().tolerance(q.dtype)
    return nnls.solution(Q, q, tol=default if tol is None else min(float(tol), default), max_iter=max_iter, **options)


def _converged(found, tol):
    """1 for a solution that is certified or meets a looser tolerance, 0 otherwise."""
    good = found.certified if tol is None else found.certified | (found.residual <= tol)
    return good.astype(int)

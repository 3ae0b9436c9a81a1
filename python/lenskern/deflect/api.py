"""The public functions of one lens plane: deflection, convergence, potential and Jacobian."""

import math

import jax.numpy as jnp

from .. import _checks, backends
from . import gradient as _gradient
from .halos import Halos


def plane(halos, grid, *, tol=None, backend=None):
    """Sum the deflections of many haloes on one lens plane.

    One fused operation: nothing of size rays x haloes exists, forward or backward. Use `jax.vmap` for a batch of
    haloes, of grids, or of both; an argument that is not mapped is not copied. Works under `jax.jit`, `jax.vmap`,
    `jax.grad`, `jax.jvp` and their combinations.

    Parameters
    ----------
    halos : Halos
        Any mix of profiles. A masked halo contributes nothing, and its derivatives are 0.
    grid : (..., 2) array
        Positions (y, x) in arcsec, of the dtype of the haloes. A position that is not finite gives NaN there.
    tol : float, optional
        Largest absolute error of the deflection in arcsec that the far field may add. None stays at the level of the
        rounding errors of the sum; 0 sums directly.
    backend : {None, "reference", "cpp", "cuda", "pallas", "triton"}
        What runs the sum; None takes the fastest that is available for the platform. A named one runs or raises.
        "pallas" and "triton" sum directly and leave derivatives to the reference; on the CPU "pallas" is interpreted.

    Returns
    -------
    (..., 2) array
        α (y, x) in arcsec; the lens equation is β = θ − α. All NaN where one of the haloes that are not masked is
        invalid (see `Halos.status`).

    Raises
    ------
    ValueError
        For an argument of the wrong shape, dtype or value.
    NotImplementedError
        For a backend that cannot run it.
    RuntimeError
        For a named backend that is not available.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from lenskern import deflect
    >>> lens = deflect.sis(jnp.array([[0.0, 0.0]]), einstein_radius=1.5)
    >>> print(deflect.plane(lens, jnp.array([[0.0, 3.0]])))
    [[0.  1.5]]
    """
    return _evaluate(halos, grid, "deflection", tol, backend)


def convergence(halos, grid, *, tol=None, backend=None):
    """Sum the convergences of many haloes on one lens plane.

    Parameters
    ----------
    halos, grid, tol, backend
        As for `plane`; the far field adds an error of the order of `tol` over the distance of the nearest haloes that
        it takes in.

    Returns
    -------
    (...) array
        κ = Σ/Σ_cr.

    Raises
    ------
    ValueError, NotImplementedError, RuntimeError
        As `plane`.
    """
    return _evaluate(halos, grid, "convergence", tol, backend)[..., 0]


def potential(halos, grid, *, tol=None, backend=None):
    """Sum the lensing potentials of many haloes on one lens plane.

    Parameters
    ----------
    halos, grid, tol, backend
        As for `plane`.

    Returns
    -------
    (...) array
        ψ in arcsec², with α = ∇ψ. That of each halo is 0 at its centre, except for a point mass without softening.

    Raises
    ------
    ValueError, NotImplementedError, RuntimeError
        As `plane`.
    """
    return _evaluate(halos, grid, "potential", tol, backend)[..., 0]


def jacobian(halos, grid, *, tol=None, backend=None):
    """Sum the Jacobian matrices of the deflection of many haloes on one lens plane.

    Parameters
    ----------
    halos, grid, tol, backend
        As for `convergence`.

    Returns
    -------
    (..., 2, 2) array
        ∂α_i/∂θ_j in (y, x) order, symmetric: its trace is 2 κ, xx − yy is 2 γ₁ and yx is γ₂.

    Raises
    ------
    ValueError, NotImplementedError, RuntimeError
        As `plane`.
    """
    parts = _evaluate(halos, grid, "jacobian", tol, backend)
    yy, yx, xx = jnp.moveaxis(parts, -1, 0)
    return jnp.stack([jnp.stack([yy, yx], -1), jnp.stack([yx, xx], -1)], -2)


def _evaluate(halos, grid, kind, tol, backend):
    halos, grid = _check(halos, grid)
    if backend is not None:
        backends.require(backend)
    values = _gradient.evaluate(halos, grid.reshape(-1, 2), kind, _checks.tolerance("tol", tol), backend)
    return values.reshape(*grid.shape[:-1], values.shape[-1])


def _check(halos, grid):
    if not isinstance(halos, Halos):
        raise ValueError(f"halos: got {type(halos).__name__}, expected lenskern.deflect.Halos")
    grid = _checks.float_array("grid", grid)
    if grid.ndim < 1 or grid.shape[-1] != 2:
        raise ValueError(f"grid: got shape {grid.shape}, expected (..., 2), positions (y, x)")
    _checks.same_dtype("halos", halos.centre, "grid", grid)
    centre = halos.centre
    if centre.ndim != 2:
        raise ValueError(f"halos: got centres of shape {centre.shape}, expected (N, 2); use jax.vmap for a batch")
    n = centre.shape[0]
    shapes = {"profile": (n,), "centre": (n, 2), "amplitude": (n,), "scale": (n,), "shape": (n, 2), "mask": (n,)}
    for name, shape in shapes.items():
        array = getattr(halos, name)
        _checks.shape(f"halos.{name}", array, shape)
        expected = {"profile": "int32", "mask": "bool"}.get(name)
        if expected is not None and array.dtype != expected:
            raise ValueError(f"halos.{name}: got dtype {array.dtype}, expected {expected}")
        if name not in ("profile", "mask"):
            _checks.same_dtype("halos.centre", centre, f"halos.{name}", getattr(halos, name))
    if math.prod(grid.shape) >= 2**31:
        raise ValueError(f"grid: got shape {grid.shape}, expected fewer than 2**30 positions")
    return halos, grid

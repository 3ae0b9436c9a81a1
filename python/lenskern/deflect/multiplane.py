"""Ray tracing through many lens planes."""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks, backends
from .._primitive import vary_alike
from . import cosmology as distances
from .api import jacobian, plane
from .halos import Halos, concatenate
from .macro import Macro

__all__ = ["Planes", "planes", "trace", "trace_jacobian"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Planes:
    """Lens planes in the order of their redshifts, the nearest first; made by `planes`.

    A pytree: its arrays can be batched by `jax.vmap` and differentiated.

    Attributes
    ----------
    halos : Halos or None
        With a leading plane axis, (P, N), padded with masked ones; the tables have none.
    sheets : (P,) array
        Convergence of a uniform sheet on each plane.
    macros : tuple
        Models with the methods ``deflection(grid)`` and ``jacobian(grid)``, as those of `lenskern.deflect.macro`.
    transport : (P, 2) array
        Weights of the displacements on the plane before and on the source, of which that on a plane is the sum.
    macro_planes : tuple of int
        The plane of each macro model; static.
    """

    halos: Halos | None
    sheets: jax.Array
    macros: tuple
    transport: jax.Array
    macro_planes: tuple[int, ...] = dataclasses.field(default=(), metadata={"static": True})

    def __len__(self):
        return self.transport.shape[-2]


def planes(redshifts, source_redshift, cosmology, *, halos=None, macros=(), sheets=None, bucket=None):
    """Lens planes from their redshifts and what is on them.

    All deflections are reduced ones, those that the plane alone would give to the source: a convergence is in units of
    the critical surface density between the plane and the source.

    Parameters
    ----------
    redshifts : sequence of P scalars
        In increasing order, above 0 and below that of the source. They can be traced, with a `Cosmology` of ours.
    source_redshift : scalar
    cosmology : Cosmology or astropy.cosmology.FLRW
        Flat or curved. Distances are computed here, once; for an object of astropy by astropy.
    halos : sequence of P Halos or None, optional
        The haloes of each plane, None for none.
    macros : sequence of (int, model)
        Plane index and what is there besides haloes: a `macro.PowerLaw`, `macro.ExternalShear`, ...
    sheets : (P,) array, optional
        Convergence of a uniform sheet on each plane, centred on (0, 0); below 0 to make up for the mean density that
        the haloes stand for.
    bucket : int, optional
        Number of haloes to which each plane is padded. By default the next of 1, 1.25, 1.5, 1.75 times a power of 2;
        there is no recompilation for another population with the same number.

    Returns
    -------
    Planes

    Raises
    ------
    ValueError
        For an argument of the wrong shape, dtype or value.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from lenskern import deflect
    >>> universe = deflect.flat_lambda_cdm(H0=70.0, Om0=0.3)
    >>> perturber = deflect.nfw(jnp.array([[0.3, 1.1]]), kappa_s=0.01, scale_radius=0.5)
    >>> lens = deflect.planes([0.3, 0.5], 1.5, universe, halos=[perturber, None], macros=[(1, deflect.Isothermal())])
    >>> deflect.trace(lens, jnp.array([[0.5, 1.0], [0.0, 1.5]])).shape
    (2, 2)
    """
    redshifts = _redshifts(redshifts, source_redshift)
    count = len(redshifts) - 1
    halos = _padded(halos, count, bucket)
    dtype = jnp.result_type(float) if halos is None else halos.dtype
    sheets = jnp.zeros(count, dtype) if sheets is None else sheets
    sheets = _checks.float_array("sheets", sheets if hasattr(sheets, "dtype") else jnp.asarray(sheets, dtype))
    _checks.shape("sheets", sheets, (count,))
    _checks.same_dtype("halos", jnp.zeros(0, dtype), "sheets", sheets)
    indices, models = [], []
    for item in macros:
        index, model = _macro(item, count, dtype)
        indices.append(index)
        models.append(model)
    return Planes(halos, sheets, tuple(models), _transport(redshifts, cosmology), tuple(indices))


def trace(planes, grid, *, positions="physical", all_planes=False, tol=None, backend=None):
    """Trace rays from the observer through all lens planes to the source.

    Between planes the transverse comoving position of a ray is x = x_i S_js/S_is + x_s S_ij/S_is, with the transverse
    comoving distances S from plane to plane and x_s where it would meet the source: exactly, for x'' = −K x in flat and
    curved space. A plane moves x_s/T_s by its reduced deflection −α(x_i/T_i), so that β = θ − Σ α_i(θ_i). Four numbers
    per ray are carried, the displacements x/T from the undeflected ray on a plane and on the source, which keep their
    digits in float32.

    Parameters
    ----------
    planes : Planes
    grid : (..., 2) array
        Image-plane positions (y, x) in arcsec, of the dtype of the haloes.
    positions : {"physical", "observed"}
        What the centres of the haloes are: angles x/T on their plane, or where they are seen, through all that is in
        front of them; then they are traced along with the rays.
    all_planes : bool
        Whether to return the positions on every plane.
    tol, backend
        As for `plane`, for each plane. A backend that has no kernel for the macro models leaves those to the default.

    Returns
    -------
    (..., 2) array, or (P + 1, ..., 2)
        Positions (y, x) in arcsec on the source plane, or on every plane with the source last.

    Raises
    ------
    ValueError, NotImplementedError, RuntimeError
        As `plane`.
    """
    options = _options(planes, grid, positions, tol, backend)
    grid = jnp.asarray(grid)
    every, _ = _trace(planes, grid.reshape(-1, 2), *options, backend, all_planes=all_planes)
    return every.reshape(*every.shape[:-2], *grid.shape)


def trace_jacobian(planes, grid, *, positions="physical", tol=None, backend=None):
    """Trace rays as `trace` does, with the Jacobian matrix of their source positions.

    It is carried along: A_i = ∂θ_i/∂θ follows the recursion of θ_i, with (∂α_i/∂θ_i) A_i in place of α_i.

    Parameters
    ----------
    planes, grid, positions, tol, backend
        As for `trace`.

    Returns
    -------
    source : (..., 2) array
        Positions (y, x) in arcsec on the source plane.
    jacobian : (..., 2, 2) array
        ∂β_i/∂θ_j in (y, x) order; the magnification is 1/|det|. It is not symmetric: more than one plane rotates.

    Raises
    ------
    ValueError, NotImplementedError, RuntimeError
        As `plane`.
    """
    options = _options(planes, grid, positions, tol, backend)
    grid = jnp.asarray(grid)
    source, slopes = _trace(planes, grid.reshape(-1, 2), *options, backend, slopes=True)
    return source.reshape(grid.shape), slopes.reshape(*grid.shape, 2)


def _options(planes, grid, positions, tol, backend):
    """Check the arguments of a trace; whether positions are observed, and the tolerance."""
    if not isinstance(planes, Planes):
        raise ValueError(f"planes: got {type(planes).__name__}, expected lenskern.deflect.Planes")
    _checks.choice("positions", positions, ("physical", "observed"))
    grid = _checks.float_array("grid", grid)
    if grid.ndim < 1 or grid.shape[-1] != 2:
        raise ValueError(f"grid: got shape {grid.shape}, expected (..., 2), positions (y, x)")
    if planes.halos is not None:
        _checks.same_dtype("planes", planes.halos.centre, "grid", grid)
    if backend is not None:
        backends.require(backend)
    return positions == "observed", _checks.tolerance("tol", tol)


@partial(jax.jit, static_argnames=("observed", "tol", "backend", "all_planes", "slopes"))
def _trace(planes, grid, observed, tol, backend, all_planes=False, slopes=False):
    """Positions on the source or on all planes, and the derivative of those on the source or None."""
    leaves, structure = jax.tree.flatten((planes, grid))
    planes, grid = jax.tree.unflatten(structure, vary_alike(*leaves))  # for the loop over planes
    n, count, halos = len(grid), len(planes), planes.halos
    rays = grid
    if observed and halos is not None:
        # A masked halo may be anywhere, even at NaN, which must not get into a derivative.
        centres = jnp.where(halos.mask[..., None], halos.centre, 0)
        rays = jnp.concatenate([rays, centres.reshape(-1, 2)])
    unit = jnp.eye(2, dtype=grid.dtype)

    def bend(away, total, alpha, jacobian):
        # A pair of a displacement and, where slopes are wanted, its derivative by the position in the image plane.
        if not slopes:
            return total[0] + alpha, None
        return total[0] + alpha, total[1] + (jacobian()[..., None] * (unit - away[1])[:, None]).sum(-2)

    def cross(carry, step):
        k, (stay, lean), sheet, arrays = step
        away, total = carry
        away = jax.tree.map(lambda here, source: stay * here + lean * source, away, total)
        here = rays - away[0]
        total = bend(away, total, sheet * here, lambda: jnp.broadcast_to(sheet * unit, (len(rays), 2, 2)))
        if halos is not None:
            population = Halos(*arrays, halos.tables, halos.profiles)
            if observed:
                centre = jax.lax.dynamic_slice_in_dim(here, n + k * len(population), len(population))
                population = dataclasses.replace(population, centre=centre)
            alpha = plane(population, here, tol=tol, backend=backend)
            total = bend(away, total, alpha, lambda: jacobian(population, here, tol=tol, backend=backend))
        return (away, total), here[:n] if all_planes else None

    arrays = None if halos is None else halos._arrays()
    steps = (jnp.arange(count), planes.transport.astype(grid.dtype), planes.sheets.astype(grid.dtype), arrays)
    nothing = jnp.zeros_like(rays), jnp.repeat(jnp.zeros_like(rays)[..., None], 2, -1) if slopes else None
    away, total, visited, start = nothing, nothing, [], 0
    # A macro model is outside the loop over planes, and so costs nothing on the others.
    for end in sorted({*planes.macro_planes, count - 1}):
        steps_here = jax.tree.map(lambda x: x[start : end + 1], steps)  # noqa: B023
        (away, total), seen = jax.lax.scan(cross, (away, total), steps_here)
        visited.append(seen)
        start = end + 1
        for index, model in zip(planes.macro_planes, planes.macros, strict=True):
            if index == end:
                alpha = _macro_deflection(model, rays, away[0], backend)
                total = bend(away, total, alpha, partial(_macro_jacobian, model, rays - away[0], backend))
    source = grid - total[0][:n]
    source = jnp.concatenate([*visited, source[None]]) if all_planes else source
    return source, unit - total[1][:n] if slopes else None


def _macro_deflection(model, rays, away, backend):
    if not isinstance(model, Macro):
        return model.deflection(rays - away)
    return model.displaced(rays, away, _of_macros(backend))


def _macro_jacobian(model, grid, backend):
    return model.jacobian(grid, backend=_of_macros(backend)) if isinstance(model, Macro) else model.jacobian(grid)


def _of_macros(backend):
    """The backend, if it has kernels for macro models."""
    return backend if backend in ("reference", "cpp", "cuda") else None


def bucket_size(n):
    """The next of 1, 1.25, 1.5, 1.75 times a power of 2.

    Parameters
    ----------
    n : int

    Returns
    -------
    int
        At least n and at least 1, at most a fourth above n where n > 4.
    """
    power = 1 << max(0, (max(n, 1) - 1).bit_length() - 1)
    sizes = [power * k / 4 for k in (4, 5, 6, 7, 8)]
    return next(int(size) for size in sizes if size >= max(n, 1) and size == int(size))


def _redshifts(redshifts, source):
    try:
        values = [*redshifts, source]
    except TypeError:
        raise ValueError(f"redshifts: got {type(redshifts).__name__}, expected a sequence of scalars") from None
    for i, z in enumerate(values):
        if np.ndim(z) != 0:
            raise ValueError(f"redshifts: got shape {np.shape(z)}, expected scalars; use jax.vmap for a batch")
        before = values[i - 1] if i else 0
        if any(isinstance(x, jax.core.Tracer) for x in (before, z)):
            continue
        if not (math.isfinite(z) and (z > 0 if i == 0 else z >= before)) or (i == len(values) - 1 and z == before):
            name = "source_redshift" if i == len(values) - 1 else "redshifts"
            raise ValueError(f"{name}: got {z} after {before}, expected increasing redshifts above 0")
    return values


def _padded(halos, count, bucket):
    if isinstance(halos, Halos):
        raise ValueError("halos: got Halos, expected a sequence of them, one for each redshift")
    if halos is None or all(x is None for x in halos):
        return None
    if len(halos) != count:
        raise ValueError(f"halos: got {len(halos)} entries, expected one for each of {count} redshifts")
    given = [x for x in halos if x is not None]
    for x in given:
        if not isinstance(x, Halos):
            raise ValueError(f"halos: got {type(x).__name__}, expected lenskern.deflect.Halos or None")
    most = max(len(x) for x in given)
    size = bucket_size(most) if bucket is None else _checks.positive_int("bucket", bucket)
    if size < most:
        raise ValueError(f"bucket: got {bucket}, expected at least the number of haloes on a plane, {most}")
    parts = [(given[0][:0] if x is None else x).pad(size) for x in halos]
    shared = given[0].tables
    if all(x.tables is shared for x in given):
        # One copy of tables that all planes share.
        parts = [dataclasses.replace(x, tables=None) for x in parts]
    merged = concatenate(parts)
    arrays = [x.reshape(count, size, *x.shape[1:]) for x in merged._arrays()]
    return Halos(*arrays, shared if merged.tables is None else merged.tables, merged.profiles)


def _macro(item, count, dtype):
    try:
        index, model = item
    except (TypeError, ValueError):
        raise ValueError(f"macros: got {item!r}, expected pairs of a plane index and a model") from None
    index = _checks.index("macros", "plane index", index, count)
    if not callable(getattr(model, "deflection", None)):
        raise ValueError(f"macros: got {type(model).__name__}, expected a model with a method deflection(grid)")
    # What is wrong with it is said now rather than inside a trace.
    jax.eval_shape(model.deflection, jax.ShapeDtypeStruct((1, 2), dtype))
    return index, model


def _transport(redshifts, cosmology):
    """See `Planes.transport`."""
    if not isinstance(cosmology, distances.Cosmology) and not hasattr(cosmology, "comoving_transverse_distance"):
        cosmology = distances.from_astropy(cosmology)
    if isinstance(cosmology, distances.Cosmology):
        return _traced_transport(cosmology, jnp.stack([jnp.asarray(x, jnp.result_type(float)) for x in redshifts]))
    # By astropy in double precision, whether or not jax has it.
    z = np.array([0.0, *map(float, redshifts)])
    return jnp.asarray(_transport_weights(partial(_astropy_between, cosmology), z, np.stack))


@jax.jit  # operation by operation it takes seconds
def _traced_transport(cosmology, redshifts):
    z = jnp.concatenate([jnp.zeros(1, redshifts.dtype), redshifts])
    return _transport_weights(partial(distances.transverse_comoving_distance_between, cosmology), z, jnp.stack)


def _transport_weights(between, z, stack):
    T, left = between(0.0, z), between(z[:-1], z[-1])
    stay = T[:-2] / T[1:-1] * left[1:] / left[:-1]
    lean = T[-1] / T[1:-1] * between(z[:-2], z[1:-1]) / left[:-1]
    return stack([stay, lean], -1)


def _astropy_between(cosmology, z1, z2):
    """Transverse comoving distance in Mpc."""
    chi = cosmology.comoving_distance(z2).to_value("Mpc") - cosmology.comoving_distance(z1).to_value("Mpc")
    root = np.sqrt(complex(-float(cosmology.Ok0))) / cosmology.hubble_distance.to_value("Mpc")
    return chi if root == 0 else (np.sin(root * chi) / root).real

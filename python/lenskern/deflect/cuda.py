"""Calls of the CUDA kernels. What these take beside the operands of the primitives is made here, in JAX."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from .. import _ffi, _primitive
from .curve import hilbert_order
from .projection import to_coefficients

# With fewer rays or haloes a far field would cost more than it saves.
LEAST_RAYS, LEAST_HALOS = 1 << 13, 64


def fields(parts, rest, shapes, *, kind, **params):
    """Sum a field of the haloes.

    Parameters
    ----------
    parts : Operands
        Of the primitive, with batch axes as `rest` and the results.
    rest : sequence of arrays
        The primitive's other operands.
    shapes : sequence of jax.ShapeDtypeStruct
        Of the primitive's results.
    kind : int
        Code of the field.
    **params
        ``bounds``, range of ln u of the radial tables or None, and ``tol``.

    Returns
    -------
    list of arrays
        The primitive's results.
    """
    return _call("lenskern_deflect_fields_cuda", parts, rest, shapes, kind=np.int32(kind), **params)


def tangent(parts, rest, shapes, **params):
    """Tangent of the deflection, without radial tables; arguments as for `fields`."""
    centre, amplitude, scale, shape, _, grid = rest
    return _call("lenskern_deflect_tangent_cuda", parts, (centre, amplitude, scale, shape, grid), shapes, **params)


def adjoint(parts, rest, shapes, **params):
    """Its transpose, without radial tables; arguments as for `fields`."""
    centre, amplitude, scale, shape, tables, grid = shapes
    # Scratch memory is a result, so that XLA plans it with everything else.
    numbers = _ffi.load_cuda().adjoint_scratch(parts.grid.shape[-2], parts.profile.shape[-1])
    scratch = jax.ShapeDtypeStruct((*grid.shape[:-2], numbers), grid.dtype)
    shapes = (centre, amplitude, scale, shape, grid, scratch)
    *halos, rays, _ = _call("lenskern_deflect_adjoint_cuda", parts, rest, shapes, **params)
    return [*halos, jnp.zeros(tables.shape, tables.dtype), rays]


def power_law_adjoint(grid, parameters, cotangent):
    """Transpose of the tangent of an elliptical power law.

    Parameters
    ----------
    grid, parameters, cotangent : arrays
        As for `macro_reference.adjoint`, with batch axes.

    Returns
    -------
    list of arrays
        The primitive's results.
    """
    batch, n = _primitive.batch_shape((grid, parameters, cotangent), (2, 1, 2)), grid.shape[-2]
    size = _ffi.load_cuda().power_law_scratch(math.prod(batch), n)
    shapes = [((*batch, n, 2), grid.dtype), ((*batch, parameters.shape[-1]), grid.dtype), ((size,), jnp.uint8)]
    results = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    return jax.ffi.ffi_call("lenskern_macro_adjoint_cuda", results)(grid, parameters, cotangent)[:-1]


def _call(target, parts, rest, shapes, *, bounds, tol, **attributes):
    low, high = bounds or (0.0, 1.0)
    numbers = {"ln_u_min": low, "ln_u_max": high, "tol": -1.0 if tol is None else tol}
    attributes |= {name: np.float64(value) for name, value in numbers.items()}
    tables, grid = parts.tables, parts.grid
    if bounds is None:
        tables = tables[..., :0]
    else:
        matrix = to_coefficients(tables.shape[-1]).astype(tables.dtype)
        tables = jnp.matmul(tables, matrix, precision=jax.lax.Precision.HIGHEST)
    far = tol != 0 and grid.shape[-2] >= LEAST_RAYS and parts.profile.shape[-1] >= LEAST_HALOS
    order = hilbert_order(grid) if far else jnp.zeros((*grid.shape[:-2], 0), jnp.int32)
    return jax.ffi.ffi_call(target, list(shapes))(*parts._replace(tables=tables), order, *rest, **attributes)

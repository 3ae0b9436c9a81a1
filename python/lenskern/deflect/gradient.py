"""Derivatives of the sums over haloes, in closed form."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from .._primitive import vary_alike
from . import reference
from .halos import Halos
from .primitive import Linear, Operands, fields_p, operands, tangent_p
from .tables import RadialTables


def evaluate(halos, grid, kind, tol, backend):
    """A field of the haloes on a flat grid, differentiable with respect to both.

    Parameters
    ----------
    halos : Halos
    grid : (n, 2) array
    kind : {"deflection", "convergence", "potential", "jacobian"}
    tol : float or None
    backend : str or None

    Returns
    -------
    (n, components) array
        As `lenskern.deflect.reference.fields`.
    """
    parts, static = operands(halos, grid)
    parts = vary_alike(*parts)
    static = (kind, tol, backend, static["profiles"], static["bounds"])
    return (_deflection if kind == "deflection" else _field)(static, *parts)


def _bind(primitive, static, *parts, **more):
    _, tol, backend, profiles, bounds = static
    return primitive.bind(*parts, profiles=profiles, bounds=bounds, tol=tol, backend=backend, **more)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _deflection(static, *parts):
    return _bind(fields_p, static, *parts, kind="deflection")[0]


@partial(_deflection.defjvp, symbolic_zeros=True)
def _deflection_jvp(static, primals, tangents):
    # α = Σ f d with d = θ − c and f = A g(u; p, q), u = |d|²/s²:
    #     dα = J (dθ − dc) + Σ df d,   J = Σ f 1 + 2 f' d dᵀ   (symmetric),
    # df being that of A, s, p, q and the tables. It is one linear operation, whose transpose is one fused pass too.
    parts = Operands(*primals)
    tangent = Operands(*tangents)
    value = _deflection(static, *parts)
    names = Linear._fields
    if all(isinstance(getattr(tangent, name), SymbolicZero) for name in names if name != "grid"):
        yy, yx, xx = jnp.moveaxis(_field(("jacobian", *static[1:]), *parts), -1, 0)
        dy, dx = jnp.moveaxis(tangent.grid, -1, 0)
        return value, jnp.stack([yy * dy + yx * dx, yx * dy + xx * dx], -1)
    linear = [_dense(getattr(tangent, name)) for name in names]
    return value, _bind(tangent_p, static, *parts, *linear)[0]


def _dense(tangent):
    return jnp.zeros(tangent.shape, tangent.dtype) if isinstance(tangent, SymbolicZero) else tangent


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _field(static, *parts):
    return _bind(fields_p, static, *parts, kind=static[0])[0]


@_field.defjvp
def _field_jvp(static, primals, tangents):
    # Derivatives of the other fields are taken of the reference.
    kind, _, _, profiles, bounds = static
    primals, tangents = Operands(*primals), Operands(*tangents)

    def by_reference(*reals):
        parts = primals._replace(**dict(zip(Linear._fields, reals, strict=True)))
        tables = None if bounds is None else RadialTables(parts.tables, *bounds)
        return reference.fields(Halos(*parts[:6], tables, profiles), parts.grid, kind)

    real = [tuple(getattr(x, name) for name in Linear._fields) for x in (primals, tangents)]
    return _field(static, *primals), jax.jvp(by_reference, *real)[1]

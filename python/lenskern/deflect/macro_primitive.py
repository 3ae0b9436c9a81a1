"""The primitives of the elliptical power law, which kernel runs them, and their derivatives."""

from functools import partial

import jax
from jax.interpreters import ad, mlir

from .. import _ffi, _primitive
from . import cuda
from . import macro_reference as reference


def deflection(grid, parameters, isothermal=False, backend=None):
    """Deflection of an elliptical power law, differentiable by the rays and the parameters.

    Parameters
    ----------
    grid, parameters
        As for `macro_reference.deflection`, |f| being at most `lenskern._parameters.LARGEST`.
    isothermal : bool
        True where t is 1: a closed form may be used, and there is no derivative by t.
    backend : {None, "reference", "cpp", "cuda"}

    Returns
    -------
    (n, 2) array
        α (y, x) in arcsec.
    """
    return deflection_p.bind(grid, parameters, isothermal=isothermal, backend=backend)[0]


def _deflection_lane(grid, parameters, isothermal):
    return (reference.deflection(grid, parameters, isothermal),)


def _tangent_lane(grid, parameters, dgrid, dparameters, isothermal):
    return (reference.tangent(grid, parameters, dgrid, dparameters, isothermal),)


def _adjoint_lane(grid, parameters, cotangent, isothermal):
    return tuple(reference.adjoint(grid, parameters, cotangent, isothermal))


def _choose(target, lane, ndims, platform, *avals, isothermal, backend):
    if backend not in (None, "reference", "cpp", "cuda"):
        raise NotImplementedError(f"backend {backend!r} has no kernel for an elliptical power law; use backend=None")
    compiled = _ffi.compiled_backend(platform, backend)
    if compiled == "cuda" and lane is _adjoint_lane:
        return mlir.lower_fun(cuda.power_law_adjoint)
    if compiled is not None:
        return jax.ffi.ffi_lowering({"cpp": target, "cuda": f"{target}_cuda"}[compiled])
    lanes = _primitive.on_lanes(partial(lane, isothermal=isothermal), ndims, sequential=platform == "cpu")
    return mlir.lower_fun(lanes)


def _batched(target, lane, ndims, results):
    def shapes(*operands, **params):
        return [(operands[k].shape, operands[k].dtype) for k in results]

    return _primitive.batched_primitive(target, ndims, shapes, partial(_choose, target, lane, ndims))


_NDIMS = (2, 1)

# Rays and parameters to the deflection.
deflection_p = _batched("lenskern_macro_deflection", _deflection_lane, _NDIMS, (0,))

# Rays, parameters and their tangents to the tangent of the deflection; linear in the tangents.
tangent_p = _batched("lenskern_macro_tangent", _tangent_lane, (*_NDIMS, *_NDIMS), (0,))

# Its transpose: rays, parameters and the cotangent of the deflection to the cotangents of rays and parameters.
adjoint_p = _batched("lenskern_macro_adjoint", _adjoint_lane, (*_NDIMS, 2), (0, 1))


def _differentiate(primals, tangents, **params):
    linear = map(ad.instantiate_zeros, tangents)
    return deflection_p.bind(*primals, **params), tangent_p.bind(*primals, *linear, **params)


def _transpose_tangent(cotangents, grid, parameters, *linear, **params):
    results = adjoint_p.bind(grid, parameters, ad.instantiate_zeros(cotangents[0]), **params)
    return [None, None, *map(_primitive.summed, results, linear)]


def _transpose_adjoint(cotangents, grid, parameters, cotangent, **params):
    (result,) = tangent_p.bind(grid, parameters, *map(ad.instantiate_zeros, cotangents), **params)
    return [None, None, _primitive.summed(result, cotangent)]


def _by_reference(lane, ndims):
    """The derivative of a derivative: that of the jnp reference, whatever the kernel."""

    def rule(primals, tangents, *, isothermal, backend):
        function = _primitive.on_lanes(partial(lane, isothermal=isothermal), ndims, sequential=False)
        return jax.jvp(function, tuple(primals), tuple(map(ad.instantiate_zeros, tangents)))

    return rule


ad.primitive_jvps[deflection_p] = _differentiate
ad.primitive_transposes[tangent_p] = _transpose_tangent
ad.primitive_transposes[adjoint_p] = _transpose_adjoint
ad.primitive_jvps[tangent_p] = _by_reference(_tangent_lane, (*_NDIMS, *_NDIMS))
ad.primitive_jvps[adjoint_p] = _by_reference(_adjoint_lane, (*_NDIMS, 2))

"""The primitives of the package, one for each method, and which kernel runs them.

All take an image and what the method made of the kernel, and are linear in the image: the transpose of a convolution is
the same primitive with the other value of `transposed`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.interpreters import ad, mlir

from .. import _ffi, _primitive
from . import reference

_LANES = {"fft": reference.fft, "direct": reference.direct, "separable": reference.separable}
# What can run a method besides the reference.
BACKENDS = {"fft": ("pallas", "triton"), "direct": ("cpp",), "separable": ("cpp",)}
_NDIMS = {"fft": (2, 2), "direct": (2, 2), "separable": (2, 2, 2)}


def convolve(image, factors, *, method, transposed=False, backend=None):
    """Convolve with a kernel in the form that a method takes.

    Parameters
    ----------
    image : (..., H, W) array
    factors : tuple of array
        For "fft" the transform of the kernel, for "direct" the kernel, for "separable" its factors, as the functions of
        `reference` take them.
    method : {"fft", "direct", "separable"}
    transposed : bool
    backend : {None, "reference", "cpp", "pallas", "triton"}

    Returns
    -------
    (..., H, W) array
    """
    operands = _primitive.with_lanes((image, *factors), (2,) * (1 + len(factors)))
    return PRIMITIVES[method].bind(*operands, transposed=transposed, backend=backend)[0]


def check(method, backend):
    """Raise `NotImplementedError` unless a backend runs a method."""
    if backend not in (None, "reference", *BACKENDS[method]):
        runs = " or ".join(repr(name) for name, names in BACKENDS.items() if backend in names) or "no method"
        raise NotImplementedError(f"backend {backend!r} runs {runs}, got method {method!r}; use backend=None")


def _choose(method, platform, *avals, transposed, backend):
    check(method, backend)
    if _ffi.compiled_backend(platform, backend, BACKENDS[method]):
        return partial(jax.ffi.ffi_lowering(f"lenskern_convolve_{method}"), transposed=transposed)
    if backend == "pallas":
        from lenskern._kernels.pallas import convolve as pallas

        kernel = partial(pallas.convolve, transposed=transposed, interpret=platform != "cuda")
        return mlir.lower_fun(_primitive.on_flat_lanes(kernel, _NDIMS[method]))
    if backend == "triton":
        if platform != "cuda":
            raise NotImplementedError("backend 'triton' runs on NVIDIA GPUs only; use backend=None on this device")
        from lenskern._kernels.triton import convolve as triton

        kernel = partial(triton.convolve, transposed=transposed)
        return mlir.lower_fun(_primitive.on_flat_lanes(kernel, _NDIMS[method]))
    lanes = _LANES[method]
    return mlir.lower_fun(lambda *operands: [lanes(*operands, transposed=transposed)])


def _results(image, *factors, **params):
    return [(image.shape, image.dtype)]


def _tangent_kernel(method, shape, factors, tangents):
    """The transform of the tangent of a kernel, from the tangents of what a method made of it."""
    if method == "fft":
        return tangents[0]
    if method == "direct":
        (kernel,) = tangents
    else:
        (y, x), (dy, dx) = factors, tangents
        kernel = reference.outer(dy, x) + reference.outer(y, dx)
    return reference.transform(kernel, reference.fft_shape(shape, kernel.shape[-2:]))


def _differentiate(method, primals, tangents, **params):
    """d(k * x) = k * dx + dk * x, the second by the reference whatever the kernel: it is no hot path."""
    primitive, (image, *factors), (dimage, *dfactors) = PRIMITIVES[method], primals, tangents
    out = primitive.bind(image, *factors, **params)
    parts = []
    if type(dimage) is not ad.Zero:
        parts += primitive.bind(dimage, *factors, **params)
    if any(type(x) is not ad.Zero for x in dfactors):
        dkernel = _tangent_kernel(method, image.shape[-2:], factors, list(map(ad.instantiate_zeros, dfactors)))
        parts.append(reference.fft(image, dkernel, params["transposed"]))
    return out, [sum(parts[1:], parts[0])]


def _transpose(method, cotangents, image, *factors, transposed, backend):
    cotangent = ad.instantiate_zeros(cotangents[0])
    (result,) = PRIMITIVES[method].bind(cotangent, *factors, transposed=not transposed, backend=backend)
    shared = [i for i, (n, m) in enumerate(zip(result.shape, image.aval.shape, strict=True)) if m == 1 and n != 1]
    # The cotangent of an image that lanes share is the sum over them.
    return [jnp.sum(result, shared, keepdims=True) if shared else result, *(None for _ in factors)]


def _primitive_of(method):
    primitive = _primitive.batched_primitive(
        f"lenskern_convolve_{method}", _NDIMS[method], _results, partial(_choose, method)
    )
    ad.primitive_jvps[primitive] = partial(_differentiate, method)
    ad.primitive_transposes[primitive] = partial(_transpose, method)
    return primitive


PRIMITIVES = {method: _primitive_of(method) for method in _LANES}

"""The public functions: convolve images, and make a kernel ready for many."""

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks, backends
from . import cost, kernels, primitive, reference
from .kernels import Separable
from .plan import METHODS, Plan


def convolve(image, kernel, *, mask=None, normalize=False, method=None, backend=None):
    """Convolve images with a kernel, to images of the same shape.

    The result is that of `scipy.signal.fftconvolve` with ``mode="same"``: beyond its edge an image is 0, and the centre
    of a kernel with n entries in a dimension is entry (n − 1) // 2. Works under `jax.jit`, `jax.vmap` and `jax.grad`,
    by the image and by the kernel. For one kernel and many calls, `plan` does what can be done once.

    Parameters
    ----------
    image : (..., H, W) array
        float32 or float64. A pixel that is not finite can make all of them NaN.
    kernel : (..., kh, kw) array, Separable or Plan
        Of the dtype of the image and of any size. Leading axes are broadcast against those of the image.
    mask : (H, W) bool array, optional
        True where there are no data, as in PyAutoLens. The result is 0 there, and only pixels that are not masked or
        whose light reaches one that is not (see `blurring_mask`) are read.
    normalize : bool
        Divide the kernel by its sum.
    method : {None, "fft", "direct", "separable"}
        None takes the one that should be fastest. "separable" needs a kernel that is a sum of few products of a column
        and a row: a `Separable`, or an array whose values are known when the function is traced.
    backend : {None, "reference", "cpp", "cuda", "pallas", "triton"}
        What runs it; None takes the fastest that is available for the platform. A named one runs or raises.

    Returns
    -------
    (..., H, W) array

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
    >>> from lenskern import convolve
    >>> image = jnp.zeros((3, 5)).at[1, 2].set(4.0)
    >>> print(convolve.convolve(image, jnp.array([[0.25, 0.5, 0.25]]), method="direct")[1])
    [0. 1. 2. 1. 0.]
    """
    hint, image = _checks.native_hint(image), _checks.float_array("image", image)
    if image.ndim < 2 or 0 in image.shape[-2:]:
        raise ValueError(f"image: got shape {image.shape}, expected (..., H, W) with H, W > 0{hint}")
    if not isinstance(kernel, Plan):
        kernel = plan(kernel, image.shape[-2:], normalize=normalize, method=method, backend=backend)
    elif normalize or method is not None or backend is not None:
        raise ValueError("kernel: got a Plan, which has its own normalisation, method and backend")
    return kernel(image, mask)


def plan(kernel, shape, *, normalize=False, method=None, dtype=None, backend=None):
    """Make a kernel ready for images of one shape: choose a method, and transform or factor the kernel once.

    Parameters
    ----------
    kernel : (..., kh, kw) array or Separable
    shape : tuple of int
        (H, W) of the images.
    normalize, method, backend
        As for `convolve`.
    dtype : {None, "float32", "float64"}
        Of the images; None is that of the kernel.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError, NotImplementedError, RuntimeError
        As `convolve`.

    Examples
    --------
    >>> from lenskern import convolve
    >>> blur = convolve.plan(convolve.gaussian(0.15, 0.05), (100, 100))
    >>> blur.method
    'separable'
    """
    shape = _image_shape(shape)
    _checks.choice("method", method, (None, *METHODS))
    if backend is not None:
        backends.require(backend)
    if isinstance(kernel, Separable):
        factors, dtype = _separable(kernel, dtype, normalize)
        factors = tuple(reference.within_reach(x, -1, n) for x, n in zip(factors, shape, strict=True))
        array, kernel_shape = None, tuple(x.shape[-1] for x in factors)
    else:
        array, dtype = _array(kernel, dtype, normalize)
        array = reference.within_reach(reference.within_reach(array, -2, shape[0]), -1, shape[1])
        kernel_shape = array.shape[-2:]
        factors = None
        if method in (None, "separable") and isinstance(array, np.ndarray) and array.ndim == 2:
            factors = kernels.factors(array, dtype)
    if method is None:
        rank = None if factors is None else factors[0].shape[-2]
        method = cost.cheapest(shape, kernel_shape, rank, dtype, backend)
    primitive.check(method, backend)
    if method == "separable" and factors is None:
        raise ValueError(
            f"method: got 'separable' with a kernel that is not known, when the function is traced, to be a sum of at "
            f"most {kernels.LARGEST_RANK} products of a column and a row; expected 'fft' or 'direct', or a Separable"
        )
    if method != "separable":
        array = reference.outer(*factors) if array is None else array
        factors = (array,)
    if method == "fft":
        xp = np if isinstance(array, np.ndarray) else jnp
        factors = (reference.transform(array, reference.fft_shape(shape, kernel_shape), xp),)
    out = np.result_type(dtype, np.complex64) if method == "fft" else dtype
    return Plan(tuple(jnp.asarray(x, out) for x in factors), shape, kernel_shape, method, backend)


def _image_shape(shape):
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise ValueError(f"shape: got {shape!r}, expected (H, W)")
    return tuple(_checks.positive_int("shape", n) for n in shape)


def _separable(kernel, dtype, normalize):
    """Factors of a `Separable`, checked and normalised, and their dtype."""
    (y, dtype), (x, of_x) = _numbers("kernel.y", kernel.y, dtype), _numbers("kernel.x", kernel.x, dtype)
    if of_x != dtype:
        raise ValueError(f"kernel.x: got dtype {of_x}, expected the dtype of kernel.y, {dtype}")
    if y.ndim < 2 or y.shape[:-1] != x.shape[:-1] or 0 in (*y.shape[-2:], *x.shape[-1:]):
        raise ValueError(f"kernel: got factors of shapes {y.shape} and {x.shape}, expected (R, kh) and (R, kw)")
    if normalize:
        y = y / (y.sum(-1) * x.sum(-1)).sum(-1)[..., None, None]
    return (y, x), dtype


def _array(kernel, dtype, normalize):
    """A kernel, checked and normalised, and its dtype."""
    kernel, dtype = _numbers("kernel", kernel, dtype)
    if kernel.ndim < 2 or 0 in kernel.shape[-2:]:
        raise ValueError(f"kernel: got shape {kernel.shape}, expected (..., kh, kw) with kh, kw > 0")
    return kernel / kernel.sum((-2, -1), keepdims=True) if normalize else kernel, dtype


def _numbers(name, value, dtype):
    """An array to work on, in float64 on the host unless it is traced, and the dtype that the result is to have."""
    _checks.nothing_masked(name, value)
    if dtype is not None:
        dtype = np.dtype(dtype)
        value = value.astype(dtype) if isinstance(value, jax.core.Tracer) else np.asarray(value, dtype)
    if isinstance(value, jax.core.Tracer):
        value = _checks.float_array(name, value)
        return value, value.dtype
    if isinstance(value, Plan):
        raise ValueError(f"{name}: got Plan, expected an array or Separable")
    if getattr(value, "dtype", None) is None:
        value = np.asarray(value, jnp.zeros(0).dtype)
    dtype = np.dtype(value.dtype)
    _checks.float_array(name, np.zeros(0, dtype))
    return np.asarray(value, np.float64), dtype

"""The choice of a method by what each costs, by the measurements of `python -m lenskern.bench convolve`."""

import math

import jax

from .. import backends
from . import primitive, reference

# Microseconds on one core of an AMD EPYC with AVX-512, for float32 and float64: of a method per number of its
# transforms, per product of a pixel and an entry of the kernel, or per product of a matrix product; and per pixel.
_RATES = {
    ("fft", "reference"): ((5.5e-3, 7e-3), 0),
    ("direct", "cpp"): ((1.05e-5, 2.1e-5), 2e-4),
    ("direct", "reference"): ((1e-4, 1.4e-4), 1e-3),
    ("separable", "cpp"): ((2.5e-5, 5e-5), 6e-4),
    ("separable", "reference"): ((1.4e-5, 2.4e-5), 2e-3),
}


def cheapest(shape, kernel_shape, rank, dtype, backend):
    """The method that takes the least time on the platform that JAX computes on.

    Parameters
    ----------
    shape, kernel_shape : tuple of int
    rank : int or None
        Products that the kernel is a sum of, None where they are not known.
    dtype : numpy.dtype
    backend : str or None

    Returns
    -------
    {"fft", "direct", "separable"}
    """
    if backend not in (None, "reference"):
        methods = [method for method, names in primitive.BACKENDS.items() if backend in names] or ["fft"]
    elif jax.default_backend() == "cpu":
        methods = list(primitive.BACKENDS)
    else:
        # A GPU has far more products to spare than a transform of this size takes.
        methods = ["fft"]
    compiled = backend != "reference" and backends.availability("cpp").available
    costs = estimates(shape, kernel_shape, rank, dtype.itemsize, compiled)
    return min((method for method in methods if method in costs), key=costs.get)


def estimates(shape, kernel_shape, rank, itemsize, compiled):
    """Microseconds that the methods take for one image on one core, by the compiled kernels where they are there."""
    pixels = math.prod(shape)
    products = {"fft": math.prod(reference.fft_shape(shape, kernel_shape))}
    if compiled or math.prod(kernel_shape) <= reference.UNROLLED:
        products["direct"] = pixels * math.prod(kernel_shape)
    if rank is not None:
        products["separable"] = pixels * rank * sum(kernel_shape if compiled else shape)
    costs = {}
    for method, count in products.items():
        name = "cpp" if compiled and method != "fft" else "reference"
        rates, of_pixel = _RATES[method, name]
        costs[method] = count * rates[itemsize == 8] + of_pixel * pixels
    return costs

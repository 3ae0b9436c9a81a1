"""The choice of a method by what each costs, by the measurements of `python -m lenskern.bench convolve`."""

import math

from . import reference


def cheapest(shape, kernel_shape, rank, dtype, backend):
    """The method that takes the least time.

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
    costs = estimates(shape, kernel_shape, rank)
    return min(costs, key=costs.get)


def estimates(shape, kernel_shape, rank):
    """Microseconds that each method takes for one of many images."""
    (height, width), pixels = shape, math.prod(shape)
    entries = math.prod(reference.fft_shape(shape, kernel_shape))
    costs = {"fft": 1.7e-4 * entries * math.log2(entries)}
    if math.prod(kernel_shape) <= reference.UNROLLED:
        costs["direct"] = 5e-5 * pixels * math.prod(kernel_shape)
    if rank is not None:
        costs["separable"] = 1.2e-5 * rank * pixels * (height + width)
    return costs

"""Kernels that are sums of few products of a column and a row: Gaussians, and those found to be."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks
from . import reference

# Products that a kernel on the host is tried for.
LARGEST_RANK = 3


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Separable:
    """The kernel Σ_r y[r, i] x[r, j].

    Attributes
    ----------
    y : (R, kh) array
    x : (R, kw) array
    """

    y: jax.Array
    x: jax.Array

    __iter__ = None

    @property
    def dtype(self):
        """float32 or float64."""
        return self.y.dtype

    @property
    def shape(self):
        """(kh, kw)."""
        return (self.y.shape[-1], self.x.shape[-1])

    @property
    def array(self):
        """The kernel itself, a (kh, kw) array."""
        return reference.outer(self.y, self.x)


def gaussian(fwhm, pixel_scale, *, shape=None, truncate=4.0, normalize=True, dtype=None):
    """A Gaussian point spread function, sampled at the centres of the pixels.

    Parameters
    ----------
    fwhm : float or pair of float
        Full width at half maximum in arcsec; a pair is (y, x). May be traced, and differentiated, if `shape` is given.
    pixel_scale : float
        Side of a pixel in arcsec.
    shape : tuple of int, optional
        Entries of the kernel; odd ones have the peak at the centre of one. None reaches to `truncate`.
    truncate : float
        Where the kernel ends, in standard deviations.
    normalize : bool
        Divide by the sum; otherwise the peak is 1.
    dtype : {None, "float32", "float64"}
        None is JAX's default.

    Returns
    -------
    Separable

    Raises
    ------
    ValueError
        For an argument of the wrong shape or value.

    Examples
    --------
    >>> from lenskern import convolve
    >>> convolve.gaussian(0.1, 0.05).shape
    (9, 9)
    """
    scale = _checks.positive_float("pixel_scale", pixel_scale)
    truncate = _checks.positive_float("truncate", truncate)
    dtype = np.dtype(jnp.zeros(0).dtype if dtype is None else dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype: got {dtype}, expected float32 or float64")
    widths = tuple(fwhm) if isinstance(fwhm, tuple | list) else (fwhm, fwhm)
    if len(widths) != 2:
        raise ValueError(f"fwhm: got {len(widths)} numbers, expected one, or two for (y, x)")
    to_sigma = 1 / (math.sqrt(8 * math.log(2)) * scale)
    traced = any(isinstance(width, jax.core.Tracer) for width in widths)
    if shape is None:
        if traced:
            raise ValueError("shape: got None with a traced fwhm, expected the number of entries (kh, kw)")
        sigmas = [_checks.positive_float("fwhm", width) * to_sigma for width in widths]
        shape = tuple(2 * math.ceil(truncate * sigma) + 1 for sigma in sigmas)
    elif not traced:
        widths = [_checks.positive_float("fwhm", width) for width in widths]
    if len(shape) != 2:
        raise ValueError(f"shape: got {shape!r}, expected (kh, kw)")
    sides = []
    for n, width in zip(shape, widths, strict=True):
        xp = jnp if isinstance(width, jax.core.Tracer) else np
        n = _checks.positive_int("shape", n)
        z = (np.arange(n) - (n - 1) / 2) / (width * to_sigma)
        side = xp.exp(-z * z / 2)
        sides.append(jnp.asarray(side / side.sum() if normalize else side, dtype)[None])
    return Separable(*sides)


def factors(kernel, dtype):
    """Factors (R, kh), (R, kw) of a kernel on the host, or None where it has none of low rank.

    Crosses through the largest entry are taken off until rounding errors are left.

    Parameters
    ----------
    kernel : (kh, kw) numpy.ndarray
    dtype : numpy.dtype
        The type whose rounding errors count.
    """
    rest = np.asarray(kernel, np.float64)
    limit = 2 * np.finfo(dtype).eps * np.abs(rest).max(initial=0)
    if not np.isfinite(limit):
        return None
    columns, rows = [], []
    while np.abs(rest).max(initial=0) > limit or not rows:
        if len(rows) == LARGEST_RANK:
            return None
        i, j = np.unravel_index(np.argmax(np.abs(rest)), rest.shape)
        pivot = rest[i, j] if rest[i, j] != 0 else 1.0
        columns.append(rest[:, j] / pivot)
        rows.append(rest[i])
        rest = rest - np.outer(columns[-1], rows[-1])
    return np.array(columns), np.array(rows)

"""Convolution of the pixels that a mask leaves, as one-dimensional arrays."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks
from . import columns, entries
from .api import plan
from .kernels import Separable
from .mask import blurring_mask, checked
from .plan import Plan


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Masked:
    """A kernel made ready for the pixels that a mask leaves: what autoarray's Convolver does. Made by `masked`.

    Attributes
    ----------
    plan : Plan
        For the smallest rectangle that holds the pixels and what is blurred into them.
    pixels : (N, 2) int array
        (y, x) indices in the image of the pixels that are not masked, row by row.
    blurring_pixels : (M, 2) int array
        Those of the blurring region, row by row; it can extend beyond the image.
    source : (h, w) int array
        Where each pixel of the rectangle is among the N, the M and a zero.
    origin : (2,) int array
        Indices in the image of the first pixel of the rectangle.
    kernel : (kh, kw) array or None
        For mapping matrices; None where a method or a backend was asked for that has nothing for them.
    """

    plan: Plan
    pixels: jax.Array
    blurring_pixels: jax.Array
    source: jax.Array
    origin: jax.Array
    kernel: jax.Array | None

    def __call__(self, image, blurring_image=None):
        """Convolve images.

        Parameters
        ----------
        image : (..., N) array
            The pixels that are not masked, of the dtype of the plan.
        blurring_image : (..., M) array, optional
            Those of the blurring region; None is no light there.

        Returns
        -------
        (..., N) array
        """
        image = self._checked("image", image, len(self.pixels))
        blurring = jnp.zeros((*image.shape[:-1], len(self.blurring_pixels)), image.dtype)
        if blurring_image is not None:
            more = self._checked("blurring_image", blurring_image, len(self.blurring_pixels))
            if more.shape[:-1] != image.shape[:-1]:
                raise ValueError(
                    f"blurring_image: got shape {more.shape}, expected the leading axes of image, {image.shape[:-1]}"
                )
            blurring = more
        zero = jnp.zeros((*image.shape[:-1], 1), image.dtype)
        values = jnp.concatenate([image, blurring, zero], -1)
        y, x = (self.pixels - self.origin).T
        return self.plan(values[..., self.source])[..., y, x]

    def mapping_matrix(self, matrix, blurring_matrix=None):
        """Convolve each column of a matrix that maps the pixels of a source to those of the image.

        On the CPU this takes time in proportion to the entries that are not zero, unless a method was asked for.

        Parameters
        ----------
        matrix : (..., N, S) array
        blurring_matrix : (..., M, S) array, optional

        Returns
        -------
        (..., N, S) array
        """
        matrix, more = self._checked("matrix", matrix, len(self.pixels), axis=-2), None
        if blurring_matrix is not None:
            more = self._checked("blurring_matrix", blurring_matrix, len(self.blurring_pixels), axis=-2)
            expected = (*matrix.shape[:-2], len(self.blurring_pixels), matrix.shape[-1])
            _checks.shape("blurring_matrix", more, expected, ", as the matrix has it")
        if self.kernel is None:
            more = None if more is None else jnp.swapaxes(more, -2, -1)
            return jnp.swapaxes(self(jnp.swapaxes(matrix, -2, -1), more), -2, -1)
        inputs = outputs = self.pixels - self.origin
        if more is not None:
            matrix = jnp.concatenate([matrix, more], -2)
            inputs = jnp.concatenate([inputs, self.blurring_pixels - self.origin])
        return columns.convolve(matrix, self.kernel, inputs, outputs, self.plan.shape, backend=self.plan.backend)

    def mapping_matrix_of(self, values, rows, columns, size):
        """Convolve each column of a matrix that is given by its entries, as `mapping_matrix` does.

        On the CPU that matrix is never made, unless a method was asked for: neither going forward nor in a gradient.

        Parameters
        ----------
        values : (..., E) array
            Added up where a place of the matrix has several.
        rows, columns : (..., E) int arrays
            The pixel of the image, among the N, and that of the source, of each. Those that are not there, such as -1,
            count for nothing.
        size : int
            S, how many pixels the source has.

        Returns
        -------
        (..., N, S) array

        Examples
        --------
        >>> import jax.numpy as jnp
        >>> from lenskern import convolve
        >>> blur = convolve.masked(jnp.array([[1.0, 2.0, 1.0]]), [[False, False, False]])
        >>> print(blur.mapping_matrix_of(jnp.array([1.0, 3.0]), jnp.array([0, 2]), jnp.array([0, 1]), 2))
        [[2. 0.]
         [1. 3.]
         [0. 6.]]
        """
        values = _checks.float_array("values", values)
        if values.dtype != self.plan.dtype:
            raise ValueError(f"values: got dtype {values.dtype}, expected the dtype of the kernel, {self.plan.dtype}")
        if values.ndim == 0:
            raise ValueError("values: got shape (), expected (..., E)")
        size = _checks.positive_int("size", size)
        places = []
        for name, index in (("rows", rows), ("columns", columns)):
            index = jnp.asarray(index)
            if not jnp.issubdtype(index.dtype, jnp.integer) or index.shape[-1:] != values.shape[-1:]:
                expected = f"(..., {values.shape[-1]}) of integers"
                raise ValueError(f"{name}: got shape {index.shape}, dtype {index.dtype}, expected {expected}")
            places.append(index.astype(jnp.int32))
        if self.kernel is None:
            shape = jnp.broadcast_shapes(values.shape, *(x.shape for x in places))
            values, *places = (jnp.broadcast_to(x, shape) for x in (values, *places))
            scatter = jnp.vectorize(
                partial(entries.scatter, shape=(len(self.pixels), size)), signature="(e),(e),(e)->(n,s)"
            )
            return self.mapping_matrix(scatter(values, *places))
        pixels = self.pixels - self.origin
        return entries.convolve(values, *places, self.kernel, pixels, self.plan.shape, size, backend=self.plan.backend)

    def _checked(self, name, value, n, axis=-1):
        value = _checks.float_array(name, value)
        if value.dtype != self.plan.dtype:
            raise ValueError(f"{name}: got dtype {value.dtype}, expected the dtype of the kernel, {self.plan.dtype}")
        if value.ndim < -axis or value.shape[axis] != n:
            raise ValueError(f"{name}: got shape {value.shape}, expected (..., {n}{', S' if axis == -2 else ''})")
        return value


def masked(kernel, mask, *, normalize=False, method=None, dtype=None, backend=None):
    """Make a kernel ready for images of which a mask leaves some pixels.

    Parameters
    ----------
    kernel, normalize, method, dtype, backend
        As for `lenskern.convolve.plan`.
    mask : (H, W) bool array
        True where masked, known when the function is traced.

    Returns
    -------
    Masked

    Raises
    ------
    ValueError, NotImplementedError, RuntimeError
        As `lenskern.convolve.plan`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from lenskern import convolve
    >>> blur = convolve.masked(jnp.array([[1.0, 2.0, 1.0]]), [[True, False, False, True]])
    >>> print(blur(jnp.array([1.0, 0.0]), jnp.array([0.0, 10.0])))
    [ 2. 11.]
    """
    if isinstance(mask, jax.core.Tracer):
        raise ValueError("mask: got a traced array, expected one whose values are known")
    mask = checked(mask)
    if mask.all():
        raise ValueError("mask: got one that leaves no pixel, expected False somewhere")
    kernel_shape = (kernel.shape if hasattr(kernel, "shape") else np.shape(kernel))[-2:]
    pixels = np.argwhere(~mask)
    origin = pixels.min(0) - [k // 2 for k in kernel_shape]
    height, width = pixels.max(0) + [(k - 1) // 2 + 1 for k in kernel_shape] - origin
    inside = np.ones((height, width), bool)
    inside[tuple((pixels - origin).T)] = False
    around = np.argwhere(~blurring_mask(inside, kernel_shape))
    source = np.full((height, width), len(pixels) + len(around))
    source[~inside] = np.arange(len(pixels))
    source[tuple(around.T)] = len(pixels) + np.arange(len(around))
    ready = plan(kernel, (int(height), int(width)), normalize=normalize, method=method, dtype=dtype, backend=backend)
    whole = None
    if method is None and backend in (None, "reference", *columns.BACKENDS):
        whole = jnp.asarray(kernel.array if isinstance(kernel, Separable) else kernel, ready.dtype)
        whole = whole / whole.sum((-2, -1), keepdims=True) if normalize else whole
    return Masked(ready, *(jnp.asarray(x, jnp.int32) for x in (pixels, around + origin, source, origin)), whole)

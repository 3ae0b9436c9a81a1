"""A kernel made ready for images of one shape."""

import dataclasses

import jax
import jax.numpy as jnp

from .. import _checks, backends
from . import primitive
from .mask import blurring_mask, checked

METHODS = ("fft", "direct", "separable")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A kernel made ready for images of one shape: call it with an image.

    It is a pytree, so it can be an argument of a jitted function, and `jax.vmap` maps over kernels. Made by
    `lenskern.convolve.plan`.

    Attributes
    ----------
    factors : tuple of array
        What the method made of the kernel: for "fft" its transform, for "direct" itself, for "separable" its columns
        and rows.
    shape : tuple of int
        (H, W) of the images.
    kernel_shape : tuple of int
        (kh, kw) of the kernel, without what cannot reach from one pixel of an image to another.
    method : {"fft", "direct", "separable"}
    backend : {None, "reference", "cpp", "pallas", "triton"}
    """

    factors: tuple[jax.Array, ...]
    shape: tuple[int, int] = dataclasses.field(metadata={"static": True})
    kernel_shape: tuple[int, int] = dataclasses.field(metadata={"static": True})
    method: str = dataclasses.field(metadata={"static": True})
    backend: str | None = dataclasses.field(metadata={"static": True})

    @property
    def dtype(self):
        """Of the images: float32 or float64."""
        return jnp.finfo(self.factors[0].dtype).dtype

    def __call__(self, image, mask=None):
        """Convolve images.

        Parameters
        ----------
        image : (..., H, W) array
            Of the dtype of the plan. Leading axes are broadcast against those of the kernel.
        mask : (H, W) bool array, optional
            As for `lenskern.convolve.convolve`.

        Returns
        -------
        (..., H, W) array
        """
        return self._apply(image, mask, transposed=False)

    def transpose(self, image):
        """Apply the transposed map: the correlation of images with the kernel.

        Parameters
        ----------
        image : (..., H, W) array

        Returns
        -------
        (..., H, W) array
        """
        return self._apply(image, None, transposed=True)

    def _apply(self, image, mask, transposed):
        image = _checks.float_array("image", image)
        if image.shape[-2:] != self.shape:
            raise ValueError(f"image: got shape {image.shape}, expected (..., {self.shape[0]}, {self.shape[1]})")
        if image.dtype != self.dtype:
            raise ValueError(f"image: got dtype {image.dtype}, expected the dtype of the kernel, {self.dtype}")
        if mask is not None:
            mask = checked(mask, self.shape)
            image = jnp.where(mask & blurring_mask(mask, self.kernel_shape), 0, image)
        if self.backend is not None:
            backends.require(self.backend)
        out = primitive.convolve(image, self.factors, method=self.method, transposed=transposed, backend=self.backend)
        return out if mask is None else jnp.where(mask, 0, out)

"""Convolution of images with a point spread function."""

from .api import convolve, plan
from .kernels import Separable, gaussian
from .mask import blurring_mask
from .masked import Masked, masked
from .plan import Plan

__all__ = ["Masked", "Plan", "Separable", "blurring_mask", "convolve", "gaussian", "masked", "plan"]

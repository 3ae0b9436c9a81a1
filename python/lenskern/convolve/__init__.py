"""Convolution of images with a point spread function."""

from .api import convolve, plan
from .kernels import Separable, gaussian
from .mask import blurring_mask
from .plan import Plan

__all__ = ["Plan", "Separable", "blurring_mask", "convolve", "gaussian", "plan"]

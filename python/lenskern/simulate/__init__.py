"""Images of lensed sources from parameters and a key."""

from .image import System, simulate
from .light import Gaussian, ImageSource, Sersic, SersicCore
from .scene import Scene, radial_over_sampling

__all__ = [
    "Gaussian",
    "ImageSource",
    "Scene",
    "Sersic",
    "SersicCore",
    "System",
    "radial_over_sampling",
    "simulate",
]

"""Images of lensed sources from parameters and a key."""

from .batches import batch
from .halo_model import HaloModel, Truncation
from .image import System, simulate
from .light import Gaussian, ImageSource, Sersic, SersicCore
from .line_of_sight import LineOfSight, plane_redshifts
from .mass_function import WarmSuppression, half_mode_mass, sheth_tormen
from .population import Population
from .regions import Disc, ProjectedNFW, Rectangle
from .scene import Scene, radial_over_sampling
from .subhalos import Subhalos
from .substructure import Substructure, substructure

__all__ = [
    "Disc",
    "Gaussian",
    "HaloModel",
    "ImageSource",
    "LineOfSight",
    "Population",
    "ProjectedNFW",
    "Rectangle",
    "Scene",
    "Sersic",
    "SersicCore",
    "Subhalos",
    "Substructure",
    "System",
    "Truncation",
    "WarmSuppression",
    "batch",
    "half_mode_mass",
    "plane_redshifts",
    "radial_over_sampling",
    "sheth_tormen",
    "simulate",
    "substructure",
]

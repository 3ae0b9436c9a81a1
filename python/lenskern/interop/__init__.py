"""Catalogues and systems of other programs, as those of lenskern."""

from . import autoarray, autolens
from .catalogues import Catalogue, catalogue_from_arrays, catalogue_from_lenstronomy, planes_from_catalogue
from .galaxies import planes_from_galaxies

__all__ = [
    "Catalogue",
    "autoarray",
    "autolens",
    "catalogue_from_arrays",
    "catalogue_from_lenstronomy",
    "planes_from_catalogue",
    "planes_from_galaxies",
]

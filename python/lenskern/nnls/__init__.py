"""Non-negative least squares: minimise ½ xᵀQx − qᵀx subject to x ≥ 0."""

from . import compat
from .api import solution, solve
from .determinant import log_determinant
from .normal import normal_matrix, tile_order
from .options import Options
from .solution import Solution, Status

__all__ = [
    "Options",
    "Solution",
    "Status",
    "compat",
    "log_determinant",
    "normal_matrix",
    "solution",
    "solve",
    "tile_order",
]

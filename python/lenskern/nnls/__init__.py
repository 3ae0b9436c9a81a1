"""Non-negative least squares: minimise ½ xᵀQx − qᵀx subject to x ≥ 0."""

from . import compat
from .api import solution, solve
from .options import Options
from .solution import Solution, Status

__all__ = ["Options", "Solution", "Status", "compat", "solution", "solve"]

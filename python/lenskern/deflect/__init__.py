"""Light deflection by many haloes: fused sums over one plane and ray tracing through many."""

from .api import convergence, jacobian, plane, potential
from .halos import (
    Halos,
    HaloStatus,
    cnfw,
    concatenate,
    dpie,
    from_table,
    mass_sheet,
    nfw,
    point_mass,
    sis,
    tnfw,
    tnfwc,
)
from .profiles import Profile
from .tables import RadialTables

__all__ = [
    "HaloStatus",
    "Halos",
    "Profile",
    "RadialTables",
    "cnfw",
    "concatenate",
    "convergence",
    "dpie",
    "from_table",
    "jacobian",
    "mass_sheet",
    "nfw",
    "plane",
    "point_mass",
    "potential",
    "sis",
    "tnfw",
    "tnfwc",
]

"""Light deflection by many haloes: fused sums over one plane and ray tracing through many."""

from . import cosmology, physical, sidm, tables
from .api import convergence, jacobian, plane, potential
from .cosmology import Cosmology, flat_lambda_cdm, from_astropy, lambda_cdm
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
from .macro import ExternalShear, Isothermal, MassSheet, PowerLaw
from .multiplane import Planes, planes, trace, trace_jacobian
from .physical import (
    from_m200_concentration,
    from_m200_ludlow16,
    ludlow16_concentration,
    m200_scales,
    negative_sheet,
    total_mass,
)
from .profiles import Profile
from .sidm import isothermal_nfw, parametric_sidm
from .tables import RadialTables

# In the order of a reader: fields, tracing, haloes, macro models, haloes from masses, cosmology, submodules.
__all__ = [  # noqa: RUF022
    "plane",
    "convergence",
    "potential",
    "jacobian",
    "Planes",
    "planes",
    "trace",
    "trace_jacobian",
    "Halos",
    "HaloStatus",
    "Profile",
    "RadialTables",
    "concatenate",
    "nfw",
    "tnfw",
    "cnfw",
    "tnfwc",
    "dpie",
    "point_mass",
    "sis",
    "mass_sheet",
    "from_table",
    "parametric_sidm",
    "isothermal_nfw",
    "PowerLaw",
    "Isothermal",
    "ExternalShear",
    "MassSheet",
    "from_m200_concentration",
    "from_m200_ludlow16",
    "ludlow16_concentration",
    "m200_scales",
    "total_mass",
    "negative_sheet",
    "Cosmology",
    "flat_lambda_cdm",
    "lambda_cdm",
    "from_astropy",
    "cosmology",
    "physical",
    "sidm",
    "tables",
]

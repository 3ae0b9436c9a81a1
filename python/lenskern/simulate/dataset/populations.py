"""The parts of a config about populations of haloes."""

from itertools import pairwise

from .parameters import flag, one_of, positive

__all__ = ["read_line_of_sight", "read_subhalos"]

_TRUNCATIONS = ("overdensity", "r_s", "r200")
_FITS = ("schneider12", "lovell20")


def read_subhalos(value, parameters):
    """The arguments of `Subhalos.create`."""
    names = ("number", "sigma_sub", "fraction", "host_convergence", "slope", "pivot")
    return _population("subhalos", value, parameters, names, ("disc", "rectangle", "projected_nfw"), {})


def read_line_of_sight(value, parameters):
    """The arguments of `LineOfSight.create`."""

    def increasing(x):
        found = [z.number(0) for z in x.items()]
        if any(b <= a for a, b in pairwise(found)):
            raise x.error(f"got {found}, expected increasing redshifts")
        return found

    fixed = {
        "planes": lambda x: x.integer(1, 1000),
        "redshifts": increasing,
        "boundaries": increasing,
        "geometry": lambda x: x.choice(("cone", "cylinder")),
        "closing": lambda x: x.number(0, 1),
    }
    names = ("amplitude", "tilt", "pivot")
    return _population("line_of_sight", value, parameters, names, ("disc", "rectangle"), fixed)


def _population(kind, value, parameters, names, regions, fixed):
    """What the two populations share."""

    def region(x):
        kind, inner = one_of(x, regions)
        names = {
            "disc": ("radius", "centre"),
            "rectangle": ("height", "width", "centre"),
            "projected_nfw": ("radius", "scale_radius", "centre"),
        }[kind]
        inner.mapping(names, [name for name in names if name != "centre"])
        return parameters.block(kind, inner, names)

    def mass_range(x):
        if len(x.items()) != 2:
            raise x.wrong("a list of 2 masses")
        low, high = (positive(m) for m in x.items())
        if low >= high:
            raise x.wrong("the lower mass first")
        return low, high

    def suppression(x):
        x.mapping(("fit", "log10_half_mode", "concentrations"), ("log10_half_mode",))
        fixed = {"fit": lambda y: y.choice(_FITS), "concentrations": flag}
        return parameters.block("suppression", x, ("log10_half_mode",), fixed)

    def truncation(x):
        if x.data is None:
            return None
        kinds = tuple(k for k in x.mapping((*_TRUNCATIONS, "scatter_dex")) if k != "scatter_dex")
        if len(kinds) != 1:
            raise x.error(f"got {len(kinds)} of {', '.join(_TRUNCATIONS)}, expected one of them")
        return parameters.block(kinds[0], x, (kinds[0], "scatter_dex"))

    def halos(x):
        return parameters.block("halos", x, ("scatter_dex", "core_fraction"), {"truncation": truncation})

    shared = {
        "region": region,
        "mass_range": mass_range,
        "suppression": suppression,
        "halos": halos,
        "capacity": lambda x: x.integer(1, 2**20),
        "poisson": flag,
        "sheet": flag,
    }
    return parameters.block(kind, value, names, shared | fixed)

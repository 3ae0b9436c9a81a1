"""The parts of a config that describe a lens: mappings with places to frozen dataclasses."""

import dataclasses

from ... import deflect
from ...backends import NAMES
from .. import light
from ..scene import UNITS
from .parameters import Block, Parameters, flag, one_of, positive
from .populations import read_line_of_sight, read_subhalos
from .priors import Prior

__all__ = ["LIGHT", "MASS", "Model", "read_model"]

MASS = {
    "power_law": deflect.PowerLaw,
    "isothermal": deflect.Isothermal,
    "external_shear": deflect.ExternalShear,
    "mass_sheet": deflect.MassSheet,
}
LIGHT = {"sersic": light.Sersic, "sersic_core": light.SersicCore, "gaussian": light.Gaussian}
IMAGE = ("file", "pixel_scale", "centre")


@dataclasses.dataclass(frozen=True)
class Model:
    """What a config says about the scene and the lens.

    Attributes
    ----------
    scene, cosmology : Block
    redshift, source_redshift : float or None
        None without a lens.
    mass, lens_light, source_light : tuple of Block
    subhalos, line_of_sight : Block or None
    priors : dict of str to Prior
    """

    scene: Block
    cosmology: Block
    redshift: float | None
    source_redshift: float | None
    mass: tuple[Block, ...]
    lens_light: tuple[Block, ...]
    source_light: tuple[Block, ...]
    subhalos: Block | None
    line_of_sight: Block | None
    priors: dict[str, Prior]


def read_model(entries, priors, read_file):
    """Read what describes the scene and the lens.

    Parameters
    ----------
    entries : dict of str to Value
        Of the whole config.
    priors : dict of str to Prior
    read_file : callable
        From the `Value` of a path to an array.

    Returns
    -------
    Model
    """
    parameters = Parameters(priors)
    scene = _scene(entries["scene"], parameters, read_file)
    cosmology = entries.get("cosmology")
    names = ("H0", "Om0", "Ode0", "Tcmb0", "Neff", "m_nu")
    plain = {} if cosmology is None else cosmology.mapping(names, required=("H0", "Om0"))
    cosmology = Block("cosmology", {k: x.number(0) for k, x in plain.items()}, cosmology or entries["scene"])
    lens = entries["lens"].mapping(("redshift", "mass", "light"), ("redshift",)) if "lens" in entries else {}
    source = entries["source"].mapping(("redshift", "light"), ("light",)) if "source" in entries else {}
    redshift = lens["redshift"].number(0, open_low=True) if lens else None
    source_redshift = source["redshift"].number(0, open_low=True) if "redshift" in source else None
    populations = {name: entries[name] for name in ("subhalos", "line_of_sight") if name in entries}
    for value in populations.values():
        if redshift is None:
            raise value.error("got it without a lens, expected the key 'lens'")
    if redshift is not None:
        if source_redshift is None:
            raise entries.get("source", entries["lens"]).error("the redshift of the source is missing")
        if source_redshift <= redshift:
            raise source["redshift"].wrong(f"a redshift above that of the lens, {redshift:g}")
    found = Model(
        scene,
        cosmology,
        redshift,
        source_redshift,
        _profiles(lens.get("mass"), MASS, parameters),
        _profiles(lens.get("light"), LIGHT, parameters, read_file),
        _profiles(source.get("light"), LIGHT, parameters, read_file),
        read_subhalos(populations["subhalos"], parameters) if "subhalos" in populations else None,
        read_line_of_sight(populations["line_of_sight"], parameters) if "line_of_sight" in populations else None,
        priors,
    )
    for name in priors:
        if name not in parameters.used:
            raise entries["theta"].data[name].error("nothing in the config refers to this parameter")
    return found


def _profiles(value, kinds, parameters, read_file=None):
    """Blocks of a list of mappings with one entry, the kind."""
    if value is None:
        return ()
    blocks = []
    for item in value.items():
        kind, inner = one_of(item, (*kinds, "image") if read_file else tuple(kinds))
        if kind == "image":
            inner.mapping(IMAGE, ("file", "pixel_scale"))
            blocks.append(parameters.block(kind, inner, IMAGE[1:], {"file": read_file}))
        else:
            blocks.append(parameters.block(kind, inner, [field.name for field in dataclasses.fields(kinds[kind])]))
    return tuple(blocks)


def _scene(value, parameters, read_file):
    """The arguments of `Scene`; exposure time, background and read noise can be parameters."""

    def psf(x):
        kind, inner = one_of(x, ("gaussian", "file"))
        if kind == "file":
            return read_file(inner)
        inner.mapping(("fwhm", "truncate"), ("fwhm",))
        return {name: positive(entry) for name, entry in inner.data.items()}

    def over_sampling(x):
        if not isinstance(x.data, dict):
            return x.integer(1, 64)
        radial = x.mapping(("radii", "sizes"), ("radii", "sizes"))
        radii = [positive(r) for r in radial["radii"].items()]
        sizes = [s.integer(1, 64) for s in radial["sizes"].items()]
        if len(radii) != len(sizes):
            raise radial["sizes"].wrong(f"one for each of {len(radii)} radii")
        return {"radii": radii, "sizes": sizes}

    def shape(x):
        if len(x.items()) != 2:
            raise x.wrong("a list of 2, rows and columns")
        return tuple(n.integer(1, 2**14) for n in x.items())

    fixed = {
        "shape": shape,
        "pixel_scale": positive,
        "over_sampling": over_sampling,
        "psf": psf,
        "normalize_psf": flag,
        "margin_over_sampling": lambda x: x.integer(1, 64),
        "subtract_background": flag,
        "unit": lambda x: x.choice(UNITS),
        "noise": flag,
        "positions": lambda x: x.choice(("physical", "observed")),
        "tol": lambda x: x.number(0),
        "backend": lambda x: x.choice(NAMES),
    }
    value.mapping((*fixed, "exposure_time", "background", "read_noise"), required=("shape", "pixel_scale"))
    found = parameters.block("scene", value, ("exposure_time", "background", "read_noise"), fixed)
    if found.values.get("noise", True) and "exposure_time" not in found.values:
        raise value.error("the key 'exposure_time' is missing, or noise: false")
    return found

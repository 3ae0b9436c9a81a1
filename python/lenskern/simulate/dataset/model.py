"""The function from parameters and a key to an image that a config describes."""

import copy
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from ... import convolve, deflect
from .. import light
from ..halo_model import HaloModel, Truncation
from ..image import System, simulate
from ..line_of_sight import LineOfSight
from ..mass_function import WarmSuppression
from ..microbatch import in_pieces
from ..population import default_capacity
from ..regions import Disc, ProjectedNFW, Rectangle
from ..scene import Scene, radial_over_sampling
from ..subhalos import Subhalos
from ..substructure import substructure
from .parameters import AxisRatio, Block, Number, Pair
from .schema import LIGHT, MASS

__all__ = ["build"]

# Planck Collaboration XIII (2016), as autogalaxy's default.
_COSMOLOGY = {"H0": 67.74, "Om0": 0.3075}

_REGIONS = {"disc": Disc, "rectangle": Rectangle, "projected_nfw": ProjectedNFW}
_FITS = {
    ("schneider12", "subhalos"): WarmSuppression,
    ("schneider12", "line_of_sight"): WarmSuppression,
    ("lovell20", "subhalos"): WarmSuppression.lovell20_subhalos,
    ("lovell20", "line_of_sight"): WarmSuppression.lovell20_field,
}

# Of all draws of a parameter, those that are not looked at on either side.
_RARE = 1e-8


def build(model, dtype):
    """The function of a config, with all that does not change from image to image.

    Parameters
    ----------
    model : Model
    dtype : str
        "float32" or "float64"; to be called with 64-bit types off or on accordingly.

    Returns
    -------
    jax.tree_util.Partial
        ``image(theta, key)`` gives an (H, W) array and the number of haloes that had no room.

    Raises
    ------
    ConfigError
        For values that do not fit together.
    """
    arguments = _COSMOLOGY | model.cosmology.values
    make = deflect.lambda_cdm if "Ode0" in arguments else deflect.flat_lambda_cdm
    universe = _placed(model.cosmology.where, make, **arguments)
    populations = {}
    for kind, cls in (("subhalos", Subhalos), ("line_of_sight", LineOfSight)):
        block = getattr(model, kind)
        populations[kind] = None if block is None else _population(cls, block, model, universe, dtype)
    scene = _scene(model.scene, dtype)
    files = [[_file(block, dtype) for block in part] for part in (model.lens_light, model.source_light)]
    return Partial(partial(_image, model, universe), scene, populations, files)


def _image(model, universe, scene, populations, files, theta, key):
    def one(scene, populations, files, theta, key):
        # The keys of `simulate`, so that it gives the same image for the model.
        system = _system(model, universe, populations, files, theta, jax.random.fold_in(key, 0))
        seen = copy.copy(scene)
        for name in ("exposure_time", "background", "read_noise"):
            if name in model.scene.values:
                setattr(seen, name, jnp.asarray(model.scene.values[name].at(theta), scene.dtype))
        return simulate(seen, system, key, noise=model.scene.values.get("noise", True)), system.overflow

    return in_pieces(one)(scene, populations, files, theta, key)


def _system(model, universe, populations, files, theta, key):
    planes, overflow = None, jnp.int32(0)
    macros = [_placed(block.where, MASS[block.kind], **block.at(theta)) for block in model.mass]
    drawn = {
        kind: population.replace(**_traced(getattr(model, kind), theta))
        for kind, population in populations.items()
        if population is not None
    }
    if drawn:
        # Overflows are counted for the set; the image is NaN for them anyway.
        found = substructure(key, macros=macros, **drawn)
        planes, overflow = found.planes, found.overflow
    elif macros:
        planes = deflect.planes([model.redshift], model.source_redshift, universe, macros=[(0, m) for m in macros])
    lens_light, sources = (
        tuple(_light(block, image, theta) for block, image in zip(blocks, images, strict=True))
        for blocks, images in zip((model.lens_light, model.source_light), files, strict=True)
    )
    return System(planes, sources, lens_light, overflow)


def _light(block, image, theta):
    values = block.at(theta)
    if image is None:
        return _placed(block.where, LIGHT[block.kind], **values)
    values.pop("file")
    return _placed(block.where, light.ImageSource, image, **values)


def _file(block, dtype):
    return jnp.asarray(block.values["file"], dtype) if block.kind == "image" else None


def _scene(block, dtype):
    values = {name: x.value if isinstance(x, Number) else x for name, x in block.values.items() if name != "noise"}
    # A parameter takes the place of these later.
    for name in ("exposure_time", "background", "read_noise"):
        if isinstance(values.get(name), str):
            values[name] = 1.0
    psf, sizes = values.get("psf"), values.get("over_sampling")
    if isinstance(psf, dict):
        where, scale = block.where.data["psf"].data["gaussian"], values["pixel_scale"]
        values["psf"] = _placed(where, convolve.gaussian, pixel_scale=scale, dtype=dtype, **psf)
    if isinstance(sizes, dict):
        where, fixed = block.where.data["over_sampling"], {name: values[name] for name in ("shape", "pixel_scale")}
        values["over_sampling"] = _placed(where, radial_over_sampling, **fixed, **sizes)
    return _placed(block.where, Scene, dtype=dtype, **values)


def _traced(block, theta):
    """The attributes of a population that are numbers, for the parameters of an image."""
    values = {name: x.at(theta) for name, x in block.values.items() if isinstance(x, Number)}
    if "region" in block.values:
        region = block.values["region"]
        values["region"] = _REGIONS[region.kind](**region.at(theta))
    if "suppression" in block.values:
        suppression = block.values["suppression"].at(theta)
        make = _FITS[suppression.pop("fit", "schneider12"), block.kind]
        values["suppression"] = make(**suppression)
    if "halos" in block.values:
        halos = block.values["halos"]
        shape, truncation = halos.at(theta), halos.values.get("truncation")
        if truncation is not None:
            end = truncation.at(theta)
            shape["truncation"] = Truncation(end.pop(truncation.kind), truncation.kind, **end)
        values["model"] = HaloModel(**shape)
    return values


def _population(cls, block, model, universe, dtype):
    """A population with room for all that the priors allow, but for a few draws in 1e8.

    The mean number is convex or monotonic in each parameter, so that it is largest in a corner of their ranges.
    """
    ends = {name: _ends(model.priors[name]) for name in sorted(_names(block))}
    fixed = {
        name: x
        for name, x in block.values.items()
        if not isinstance(x, Number) and name not in ("region", "suppression", "halos")
    }
    make = partial(cls.create, model.redshift, model.source_redshift, universe, dtype=dtype)
    middle = {name: float(np.mean(x)) for name, x in ends.items()}
    found = _placed(block.where, make, **fixed, **_traced(block, middle))
    if "capacity" in fixed:
        return found

    @jax.jit
    def mean(theta):
        population = found.replace(**_traced(block, theta))
        return population.mean_number() if cls is Subhalos else population.mean_numbers().max()

    corners = (dict(zip(ends, corner, strict=True)) for corner in itertools.product(*ends.values()))
    most = max(float(mean(corner)) for corner in corners)
    return found.replace(capacity=default_capacity(most) if found.poisson else max(1, round(most)))


def _names(block):
    """The parameters that a block refers to."""
    if isinstance(block, Number):
        return {block.value} if isinstance(block.value, str) else set()
    inner = block.values.values() if isinstance(block, Block) else vars(block).values()
    return set().union(*(_names(x) for x in inner if isinstance(x, Number | Pair | AxisRatio | Block)))


def _ends(prior):
    """Two numbers between which nearly all draws are."""
    with jax.enable_x64(True):
        return tuple(float(x) for x in prior.quantile(np.array([_RARE, 1 - _RARE])))


def _placed(where, make, *arguments, **named):
    """Call a function; what it finds wrong with an argument becomes an error with the line of that key."""
    try:
        return make(*arguments, **named)
    except ValueError as error:
        name, _, message = str(error).partition(": ")
        if isinstance(where.data, dict) and name in where.data:
            raise where.data[name].error(message) from None
        raise where.error(str(error)) from None

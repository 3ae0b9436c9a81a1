"""Lens planes with all that is on them: macro models, subhaloes, haloes of the line of sight, and their sheets."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .. import _checks, deflect
from .line_of_sight import LineOfSight
from .population import Population
from .subhalos import Subhalos

__all__ = ["Substructure", "substructure"]


class Substructure(NamedTuple):
    """Lens planes and the populations that are on them.

    Attributes
    ----------
    planes : lenskern.deflect.Planes
    subhalos, line_of_sight : Population or None
    overflow : int32 array
        Haloes of all planes that did not fit.
    """

    planes: deflect.Planes
    subhalos: Population | None
    line_of_sight: Population | None
    overflow: jax.Array


def substructure(key, *, macros=(), subhalos=None, line_of_sight=None, overflow="nan"):
    """Draw populations and put them on lens planes, with their sheets and the macro models of the lens.

    A pure function of the key and of all parameters, for a call inside of `jax.jit`, `jax.vmap` and `jax.grad`.

    Parameters
    ----------
    key : PRNG key
    macros : sequence of models, or of pairs of a redshift and a model
        What is on the plane of the lens besides haloes: a `lenskern.deflect.PowerLaw`, `ExternalShear`, ...
    subhalos : Subhalos, optional
    line_of_sight : LineOfSight, optional
        At least one of the two.
    overflow : {"nan", "drop"}
        What to do if haloes do not fit: make all deflections NaN, or leave out those of the lowest masses. Either way
        the number is returned.

    Returns
    -------
    Substructure

    Raises
    ------
    ValueError
        For populations that do not belong to one lens and source, or an argument of the wrong value.

    Examples
    --------
    >>> import jax
    >>> from lenskern import deflect, simulate
    >>> universe = deflect.flat_lambda_cdm(H0=67.7, Om0=0.31)
    >>> subhalos = simulate.Subhalos.create(0.5, 1.5, universe, number=20.0)
    >>> lens = simulate.substructure(jax.random.key(0), macros=[deflect.Isothermal()], subhalos=subhalos)
    >>> deflect.trace(lens.planes, jax.numpy.array([[0.5, 1.0]])).shape
    (1, 2)
    """
    _checks.choice("overflow", overflow, ("nan", "drop"))
    for name, value, kind in (("subhalos", subhalos, Subhalos), ("line_of_sight", line_of_sight, LineOfSight)):
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"{name}: got {type(value).__name__}, expected lenskern.simulate.{kind.__name__}")
    if subhalos is None and line_of_sight is None:
        raise ValueError("subhalos: got None and no line of sight, expected at least one of them")
    first = line_of_sight if subhalos is None else subhalos
    lens, source = (first.lens_redshift if subhalos is None else first.redshift), first.source_redshift
    if subhalos is not None and line_of_sight is not None:
        theirs = line_of_sight.lens_redshift, line_of_sight.source_redshift
        if (lens, source) != theirs:
            raise ValueError(f"line_of_sight: got redshifts of lens and source {theirs}, expected {(lens, source)}")
    macros = [item if isinstance(item, tuple) else (lens, item) for item in macros]

    keys = jax.random.split(key)
    on_planes, drawn = {}, {"subhalos": None, "line_of_sight": None}
    if line_of_sight is not None:
        drawn["line_of_sight"] = population = line_of_sight.draw(keys[0])
        for i, z in enumerate(line_of_sight.redshifts):
            on_planes.setdefault(z, []).append(jax.tree.map(lambda x: x[i], (population.halos, population.sheet)))  # noqa: B023
    if subhalos is not None:
        drawn["subhalos"] = population = subhalos.draw(keys[1])
        on_planes.setdefault(lens, []).append((population.halos, population.sheet))
    for z, _ in macros:
        on_planes.setdefault(z, [])

    redshifts = sorted(on_planes)
    parts = [on_planes[z] for z in redshifts]
    dtype = population.halos.dtype
    halos = [deflect.concatenate([h for h, _ in part]) if part else None for part in parts]
    sheets = jnp.stack([sum((s for _, s in part), jnp.zeros((), dtype)) for part in parts])
    lost = sum(p.overflow.sum() for p in drawn.values() if p is not None)
    if overflow == "nan":
        sheets = jnp.where(lost > 0, jnp.nan, sheets)
    macros = [(redshifts.index(z), model) for z, model in macros]
    planes = deflect.planes(redshifts, source, first.cosmology, halos=halos, macros=macros, sheets=sheets)
    return Substructure(planes, drawn["subhalos"], drawn["line_of_sight"], lost)

"""What the deflection benchmark measures: lenskern in several settings, and its peers."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np

from lenskern import backends, deflect
from lenskern.bench import deflect_oracle, subhaloes
from lenskern.bench.deflect_peers import Calls, peers
from lenskern.deflect import cosmology, macro, multiplane

KINDS = ("plane", "cone", "gradient", "batch")

# Whose versions are in the records, besides those of all benchmarks.
PACKAGES = ("jaxtronomy", "lenstronomy", "caustics", "torch", "paltax")


@dataclass(frozen=True)
class Case:
    """One problem.

    Parameters
    ----------
    kind : str
        One of `KINDS`: the deflection on one plane, the positions behind a light cone, the value and the derivatives of
        sum(weights * deflection), the deflections by many catalogues.
    side : int
        The rays are side x side.
    haloes : int
        On the plane, or on each of 8 planes of a cone.
    batch : int
        Number of catalogues.
    alone : bool
        Of the compiled kernels alone. Peers keep rays x haloes numbers for derivatives and for batches.
    """

    kind: str
    side: int
    haloes: int
    batch: int = 1
    alone: bool = False

    @property
    def name(self):
        """As in the records."""
        many = {"cone": "8 x ", "batch": f"{self.batch} x "}.get(self.kind, "")
        return f"{self.kind}: {many}{self.haloes} haloes, {self.side}x{self.side} rays"

    @property
    def fields(self):
        """Arguments that make it again."""
        return asdict(self)

    @property
    def pairs(self):
        """Number of pairs of a ray and a halo."""
        return self.side**2 * self.haloes * self.batch * (8 if self.kind == "cone" else 1)

    @cached_property
    def problem(self):
        """The haloes: `subhaloes.Haloes`, a list of them, or a `subhaloes.Cone`."""
        match self.kind:
            case "cone":
                return subhaloes.cone(self.haloes)
            case "batch":
                return [subhaloes.subhaloes(self.haloes, seed) for seed in range(self.batch)]
        return subhaloes.subhaloes(self.haloes)

    @cached_property
    def rays(self):
        """Shape (side * side, 2), in arcsec."""
        return subhaloes.rays(self.side)

    def takes(self, system, calls):
        """Whether a system takes part."""
        if getattr(calls, "trace" if self.kind == "cone" else self.kind) is None:
            return False
        if system.name == "lenskern" and system.backend == "reference":
            return not self.alone and self.pairs <= 5e7  # it takes as long as the slowest peers
        return system.name == "lenskern" or not self.alone

    def call(self, calls):
        """Set a system up; returns its call without arguments."""
        match self.kind:
            case "cone":
                return calls.trace(self.problem, self.rays)
            case "gradient":
                weights = np.random.default_rng(1).standard_normal(self.rays.shape)
                return calls.gradient(self.problem, self.rays, weights)
        return getattr(calls, self.kind)(self.problem, self.rays)

    def oracle(self, which):
        """What is right at some of the rays, in arithmetic of 40 digits."""
        function = deflect_oracle.trace if self.kind == "cone" else deflect_oracle.plane
        return function(self.problem, self.rays[which])


@dataclass(frozen=True)
class System:
    """What is measured: a program, with what it computes and how.

    Parameters
    ----------
    name, backend, dtype : str
    tol : float, optional
        That of lenskern, in arcsec: 0 for the direct sum, None for its default.
    load : callable
        Gives its `Calls`, or None where it is not installed.
    install : str
        The command that installs it.
    """

    name: str
    backend: str
    dtype: str
    tol: float | None
    load: Callable
    install: str = "pip install lenskern"

    @property
    def key(self):
        """A string that names it."""
        parts = [self.name, self.backend, self.dtype]
        return "/".join(parts + ([] if self.name != "lenskern" else [str(self.tol)]))


def systems():
    """All of them, lenskern first: list of System."""
    settings = [
        ("cpp", "float64", 0.0),
        ("cpp", "float64", 1e-9),
        ("cpp", "float64", None),
        ("cpp", "float32", 0.0),
        ("cpp", "float32", None),
        ("reference", "float64", 0.0),
    ]
    ours = [System("lenskern", *setting, partial(_lenskern, *setting)) for setting in settings]
    return ours + [System(p.name, p.backend, p.dtype, None, p.load, p.install) for p in peers()]


def reference():
    """The system that the others are compared with."""
    (found,) = [system for system in systems() if system.backend == "reference"]
    return found


def _lenskern(backend, dtype, tol):
    if not backends.availability(backend).available:
        return None
    options = {"tol": tol, "backend": backend}
    dtype = np.dtype(dtype)

    def compiled(function, *arguments):
        """Compiled now, so that neither a clock nor a count of memory sees it."""
        return partial(jax.jit(function).lower(*arguments).compile(), *arguments)

    def plane(haloes, rays):
        return compiled(partial(deflect.plane, **options), halos(haloes, dtype), jnp.asarray(rays, dtype))

    def gradient(haloes, rays, weights):
        weights = jnp.asarray(weights, dtype)

        def total(halos, grid):
            return jnp.sum(weights * deflect.plane(halos, grid, **options))

        def function(halos, grid):
            value, (of_halos, of_grid) = jax.value_and_grad(total, (0, 1), allow_int=True)(halos, grid)
            return value, [of_halos.centre, of_halos.amplitude, of_halos.scale, of_halos.shape], of_grid

        return compiled(function, halos(haloes, dtype), jnp.asarray(rays, dtype))

    def trace(cone, rays):
        return compiled(partial(multiplane.trace, **options), planes(cone, dtype), jnp.asarray(rays, dtype))

    def batch(catalogues, rays):
        many = jax.tree.map(lambda *parts: jnp.stack(parts), *(halos(haloes, dtype) for haloes in catalogues))
        function = jax.vmap(partial(deflect.plane, **options), in_axes=(0, None))
        return compiled(function, many, jnp.asarray(rays, dtype))

    return Calls(plane, trace, gradient, batch)


def halos(haloes, dtype=np.float64):
    """`deflect.Halos` of a catalogue."""
    columns = haloes.centre, haloes.kappa_s, haloes.scale_radius, haloes.truncation_radius
    return deflect.tnfw(*(jnp.asarray(column, dtype) for column in columns))


def planes(cone, dtype=np.float64):
    """`deflect.Planes` of a light cone."""
    lens, f = cone.power_law, (1 - cone.power_law.axis_ratio) / (1 + cone.power_law.axis_ratio)
    power_law = macro.PowerLaw.from_lenstronomy(
        lens.einstein_radius,
        lens.slope,
        float(f * np.cos(2 * lens.angle)),
        float(f * np.sin(2 * lens.angle)),
        center_x=lens.centre[1],
        center_y=lens.centre[0],
    )
    shear = macro.ExternalShear.from_lenstronomy(*cone.shear)
    return multiplane.planes(
        cone.redshifts,
        cone.source_redshift,
        cosmology.flat_lambda_cdm(subhaloes.H0, subhaloes.OMEGA_M),
        halos=[halos(haloes, dtype) for haloes in cone.haloes],
        macros=[(cone.lens_plane, power_law), (cone.lens_plane, shear)],
    )

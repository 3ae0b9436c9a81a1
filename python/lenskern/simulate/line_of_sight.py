"""Haloes along the line of sight, in a light cone cut into planes."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks, deflect
from ..deflect import cosmology as distances
from .halo_model import ConcentrationTable, HaloModel
from .mass_function import MassTable, WarmSuppression, sheth_tormen
from .population import (
    Population,
    check_cosmology,
    check_mass_range,
    check_model,
    check_redshifts,
    default_capacity,
    draw_population,
    mean_convergence,
)
from .regions import Disc, Rectangle

__all__ = ["LineOfSight", "plane_redshifts"]

_NODES = 257
_ARCSEC = math.pi / (180 * 3600)
_QUADRATURE = np.polynomial.legendre.leggauss(32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class LineOfSight:
    """Haloes between the observer and the source, on P planes; see `create`.

    A pytree: what is not static can be traced, batched and differentiated; `replace` sets it.

    Attributes
    ----------
    region : Disc or Rectangle
        At the lens.
    amplitude : scalar or (P,) array
        Factor on the mass function.
    tilt : scalar
        Added to the logarithmic slope of the mass function, about the pivot.
    pivot : scalar
        M_sun.
    suppression : WarmSuppression or None
    model : HaloModel
    table : MassTable
        ln_number is (P, K): haloes on the plane per arcsec² and ln m.
    relation : ConcentrationTable
        For the P redshifts.
    stretch : (P,) array
        Size of the region on each plane over that at the lens.
    cosmology : Cosmology
    redshifts : tuple of P floats
        Static.
    lens_redshift, source_redshift : float
        Static.
    capacity : int
        Number of haloes that there is room for on each plane; static.
    poisson : bool
        Whether the numbers are random ones, or the means, rounded; static.
    sheet : bool
        Whether the mean convergence is taken away again; static.
    """

    region: Disc | Rectangle
    amplitude: jax.Array
    tilt: jax.Array
    pivot: jax.Array
    suppression: WarmSuppression | None
    model: HaloModel
    table: MassTable
    relation: ConcentrationTable
    stretch: jax.Array
    cosmology: deflect.Cosmology
    redshifts: tuple[float, ...] = dataclasses.field(metadata={"static": True})
    lens_redshift: float = dataclasses.field(metadata={"static": True})
    source_redshift: float = dataclasses.field(metadata={"static": True})
    capacity: int = dataclasses.field(metadata={"static": True})
    poisson: bool = dataclasses.field(default=True, metadata={"static": True})
    sheet: bool = dataclasses.field(default=True, metadata={"static": True})

    @classmethod
    def create(
        cls,
        lens_redshift,
        source_redshift,
        cosmology,
        *,
        planes=8,
        redshifts=None,
        boundaries=None,
        region=None,
        geometry="cone",
        closing=0.95,
        amplitude=1.0,
        tilt=0.0,
        pivot=1e8,
        mass_range=(1e6, 1e10),
        mass_function=sheth_tormen,
        suppression=None,
        model=None,
        relation=deflect.ludlow16_concentration,
        capacity=None,
        poisson=True,
        sheet=True,
        dtype=None,
    ):
        """A light cone with everything that does not change from draw to draw: tables, distances and volumes.

        On each plane the haloes per arcsec² are those of its slab of the universe.

        Parameters
        ----------
        lens_redshift, source_redshift : floats
        cosmology : Cosmology or astropy.cosmology.FLRW
        planes : int
            Number of planes, if `redshifts` is not given: see `plane_redshifts`.
        redshifts : sequence of P floats, optional
            Of the planes, increasing.
        boundaries : sequence of P + 1 floats, optional
            Redshifts between which the haloes are put on a plane. By default half-way between the planes in comoving
            distance, from 0 to the source.
        region : Disc or Rectangle, optional
            At the lens; a disc of 3 arcsec by default.
        geometry : {"cone", "cylinder"}
            A cone has the same angles in front of the lens, and closes behind it; a cylinder is as wide in comoving
            distance everywhere.
        closing : float
            How far a cone has closed at the source: its angular size is 1 − closing D_lz D_s/(D_z D_ls) of that at the
            lens. 0 is a cone that does not close; where rays are bent by θ_E, all that are inside of a disc at the lens
            stay inside for θ_E over its radius; rays that meet the source stay inside for 1.
        amplitude, tilt, pivot, suppression, poisson, sheet
            See the attributes.
        mass_range : tuple of two floats
            M₂₀₀ in M_sun.
        mass_function : callable or tuple of two arrays
            ``mass_function(mass, redshift)``, haloes per comoving Mpc³ and ln m for two (P, K) arrays; or masses (K,)
            in M_sun that include the mass range, and values (P, K) or (K,), between which it is a power law.
        model : HaloModel, optional
        relation : callable
            ``relation(mass, redshift)``: the median concentration.
        capacity : int, optional
            On each plane. By default enough for the values given here, but for one draw in 1e8.
        dtype : dtype, optional

        Returns
        -------
        LineOfSight

        Raises
        ------
        ValueError
            For an argument of the wrong value.

        Examples
        --------
        >>> from lenskern import deflect, simulate
        >>> universe = deflect.flat_lambda_cdm(H0=67.7, Om0=0.31)
        >>> cone = simulate.LineOfSight.create(0.5, 1.5, universe, planes=4, mass_range=(1e7, 1e10))
        >>> print([round(z, 3) for z in cone.redshifts], f"{cone.mean_numbers().sum():.0f} haloes")
        [0.233, 0.5, 0.773, 1.099] 301 haloes
        """
        lens_redshift, source_redshift = check_redshifts(lens_redshift, source_redshift)
        cosmology, mass_range = check_cosmology(cosmology), check_mass_range(mass_range)
        _checks.choice("geometry", geometry, ("cone", "cylinder"))
        if not 0 <= closing <= 1:
            raise ValueError(f"closing: got {closing}, expected a number from 0 to 1")
        if redshifts is None:
            redshifts = plane_redshifts(lens_redshift, source_redshift, cosmology, planes)
        redshifts = tuple(map(float, redshifts))
        edges = _boundaries(redshifts, boundaries, source_redshift, cosmology)
        stretch = _stretch(redshifts, lens_redshift, source_redshift, cosmology, geometry, closing)
        dtype = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
        ln_mass, ln_density = _tabulate(mass_function, mass_range, redshifts, dtype)
        ln_number = ln_density + np.log(_volume_per_arcsec2(edges, cosmology))[:, None]
        self = cls(
            region=Disc(3.0) if region is None else region,
            amplitude=amplitude,
            tilt=tilt,
            pivot=pivot,
            suppression=suppression,
            model=HaloModel() if model is None else model,
            table=MassTable(jnp.asarray(ln_mass, dtype), jnp.asarray(ln_number, dtype)),
            relation=ConcentrationTable.create(relation, mass_range, redshifts, dtype),
            stretch=jnp.asarray(stretch, dtype),
            cosmology=cosmology,
            redshifts=redshifts,
            lens_redshift=lens_redshift,
            source_redshift=source_redshift,
            capacity=1,
            poisson=bool(poisson),
            sheet=bool(sheet),
        )
        if capacity is None:
            capacity = default_capacity(float(jax.jit(cls.mean_numbers)(self).max()))
        return self.replace(capacity=_checks.positive_int("capacity", capacity))

    def replace(self, **changes):
        """With other attributes.

        Returns
        -------
        LineOfSight

        Raises
        ------
        ValueError
            For a sheet and haloes without a truncation.
        """
        changed = dataclasses.replace(self, **changes)
        check_model(changed.model, changed.sheet)
        return changed

    def mean_numbers(self):
        """Mean number of haloes on each plane, (P,)."""
        numbers = jax.vmap(lambda lane: self._table(lane[0]).numbers().sum())(self._lanes())
        return self.amplitude * self.region.area() * self.stretch**2 * numbers

    @jax.jit  # operation by operation it takes half a minute
    def draw(self, key):
        """Draw a population.

        Parameters
        ----------
        key : PRNG key

        Returns
        -------
        Population
            Of haloes on P planes.
        """
        dtype = self.table.ln_number.dtype
        count = len(self.redshifts)
        amplitude = jnp.broadcast_to(jnp.asarray(self.amplitude, dtype), (count,))

        def one(key, lane, amplitude, stretch):
            ln_number, coefficients, redshift = lane
            table = self._table(ln_number)
            relation = dataclasses.replace(self.relation, coefficients=coefficients)
            place = redshift, self.source_redshift, self.cosmology
            halos, mass, concentration, overflow = draw_population(
                key,
                table,
                amplitude * self.region.area() * stretch**2,
                self.region,
                stretch,
                relation,
                self.suppression,
                self.model,
                place,
                self.capacity,
                self.poisson,
            )
            sheet = jnp.zeros((), dtype)
            if self.sheet:
                sheet = -mean_convergence(table, amplitude, relation, self.suppression, self.model, place)
            return Population(halos, mass, concentration, sheet.astype(dtype), overflow)

        return jax.vmap(one)(jax.random.split(key, count), self._lanes(), amplitude, self.stretch)

    def _lanes(self):
        dtype = self.table.ln_number.dtype
        return self.table.ln_number, self.relation.coefficients, jnp.asarray(self.redshifts, dtype)

    def _table(self, ln_number):
        """The mass function of one plane per arcsec², without its amplitude."""
        ln_mass = self.table.ln_mass
        ln_number = ln_number + self.tilt * (ln_mass - jnp.log(self.pivot))
        if self.suppression is not None:
            ln_number = ln_number + self.suppression.ln_abundance(ln_mass)
        return MassTable(ln_mass, ln_number.astype(ln_mass.dtype))


def plane_redshifts(lens_redshift, source_redshift, cosmology, planes=8):
    """Redshifts of lens planes, one of them that of the lens, at equal comoving distances in front of it and behind it.

    Parameters
    ----------
    lens_redshift, source_redshift : floats
    cosmology : Cosmology or astropy.cosmology.FLRW
    planes : int

    Returns
    -------
    tuple of floats
    """
    lens_redshift, source_redshift = check_redshifts(lens_redshift, source_redshift)
    cosmology, planes = check_cosmology(cosmology), _checks.positive_int("planes", planes)
    lens, source = map(float, distances.comoving_distance(cosmology, np.array([lens_redshift, source_redshift])))
    before = round((planes + 1) * lens / source) - 1
    before = min(max(before, 0), planes - 1)
    front = lens * np.arange(1, before + 1) / (before + 1)
    behind = lens + (source - lens) * np.arange(1, planes - before) / (planes - before)
    z = _redshifts_at(np.concatenate([front, behind]), source_redshift, cosmology)
    return (*map(float, z[:before]), lens_redshift, *map(float, z[before:]))


def _redshifts_at(chi, last, cosmology):
    """Redshifts below the last at comoving distances in Mpc."""
    grid = np.linspace(0, last, 129)
    z = np.interp(chi, distances.comoving_distance(cosmology, grid), grid)
    # Newton's method from so near needs no more.
    for _ in range(3):
        z = z - np.asarray(_excess(cosmology, z, chi))
    return z


@jax.jit
def _excess(cosmology, z, chi):
    slope = distances.hubble_distance(cosmology) / distances.expansion(cosmology, z)
    return (distances.comoving_distance(cosmology, z) - chi) / slope


def _boundaries(redshifts, boundaries, source, cosmology):
    steps = np.diff([0.0, *redshifts, source])
    if not redshifts or not (steps > 0).all():
        raise ValueError(
            f"redshifts: got {redshifts}, expected increasing ones above 0 and below the source's, {source}"
        )
    if boundaries is not None:
        edges = np.asarray(boundaries, float)
        if edges.shape != (len(redshifts) + 1,) or not (np.diff(edges) > 0).all() or not 0 <= edges[0]:
            raise ValueError(f"boundaries: got {boundaries}, expected {len(redshifts) + 1} increasing redshifts")
        return edges
    chi = np.asarray(distances.comoving_distance(cosmology, np.asarray(redshifts)))
    edges = _redshifts_at((chi[1:] + chi[:-1]) / 2, source, cosmology)
    return np.concatenate([[0.0], edges, [source]])


def _stretch(redshifts, lens, source, cosmology, geometry, closing):
    """Angular size of the region on each plane over that at the lens."""
    if geometry == "cylinder":
        chi = distances.comoving_distance(cosmology, np.array([lens, *redshifts]))
        return np.asarray(chi[0] / chi[1:], float)
    ratio = np.asarray(_lens_to_plane(cosmology, lens, np.array([*redshifts, source])), float)
    return 1 - closing * np.maximum(ratio[:-1] / ratio[-1], 0)


@jax.jit
def _lens_to_plane(cosmology, lens, z):
    """D_lz/D_z."""
    between = distances.transverse_comoving_distance_between(cosmology, lens, z)
    return between / distances.transverse_comoving_distance(cosmology, z)


def _volume_per_arcsec2(edges, cosmology):
    """Comoving volume in Mpc³ per arcsec² of each slab, (P,): ∫ S² dχ."""
    nodes, weights = (_QUADRATURE[0] + 1) / 2, _QUADRATURE[1] / 2
    z = edges[:-1, None] + np.diff(edges)[:, None] * nodes
    return (np.asarray(_volume_density(cosmology, z), float) * weights).sum(-1) * np.diff(edges) * _ARCSEC**2


@jax.jit
def _volume_density(cosmology, z):
    """dV/dz per steradian in Mpc³."""
    square = distances.transverse_comoving_distance(cosmology, z) ** 2
    return distances.hubble_distance(cosmology) * square / distances.expansion(cosmology, z)


def _tabulate(mass_function, mass_range, redshifts, dtype):
    """ln m (K,), and ln dn/d(ln m) in Mpc⁻³ there, (P, K)."""
    ln_mass, count = np.linspace(*np.log(mass_range), _NODES), len(redshifts)
    if callable(mass_function):
        shape = (count, _NODES)
        masses, z = np.broadcast_to(np.exp(ln_mass), shape), np.broadcast_to(np.asarray(redshifts)[:, None], shape)
        values = np.asarray(mass_function(jnp.asarray(masses, dtype), jnp.asarray(z, dtype)), float)
        if values.shape != shape or not (values > 0).all():
            raise ValueError(f"mass_function: got values that are not all above 0, or of another shape than {shape}")
        return ln_mass, np.log(values)
    try:
        masses, values = (np.asarray(x, float) for x in mass_function)
    except (TypeError, ValueError):
        raise ValueError("mass_function: got neither a callable nor two arrays") from None
    if masses.ndim != 1 or values.shape not in ((len(masses),), (count, len(masses))) or not (values > 0).all():
        raise ValueError(
            f"mass_function: got masses of shape {masses.shape} and values of shape {values.shape}, expected (K,) and "
            f"(K,) or ({count}, K), above 0"
        )
    if not (np.diff(masses) > 0).all() or masses[0] > mass_range[0] or masses[-1] < mass_range[1]:
        raise ValueError(f"mass_function: got masses that do not increase or do not include the range {mass_range}")
    inside = (masses > mass_range[0]) & (masses < mass_range[1])
    # All of the masses given, so that the function is theirs; others in between for what multiplies it.
    ln_mass = np.union1d(ln_mass, np.log(masses[inside]))
    rows = np.broadcast_to(values, (count, len(masses)))
    return ln_mass, np.stack([np.interp(ln_mass, np.log(masses), np.log(row)) for row in rows])

"""Subhaloes of the main lens."""

import dataclasses

import jax
import jax.numpy as jnp

from .. import _checks, deflect
from ..deflect import cosmology as distances
from .halo_model import ConcentrationTable, HaloModel
from .mass_function import MassTable, WarmSuppression
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
from .regions import Disc, ProjectedNFW, Rectangle

__all__ = ["Subhalos"]

_NODES = 257


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Subhalos:
    """Subhaloes of the main lens, d²N/(dA d ln m) = Σ_sub (m/m_pivot)^(slope + 1) times a suppression; see `create`.

    A pytree: what is not static can be traced, batched and differentiated; `replace` sets it.

    Attributes
    ----------
    region : Disc, Rectangle or ProjectedNFW
    slope : scalar
        Of dN/dm.
    pivot : scalar
        M_sun.
    mass_range : tuple of two scalars
        M₂₀₀ at infall in M_sun, inside the range that the concentrations were made for.
    sigma_sub : scalar or None
        Σ_sub in kpc⁻² (proper).
    number : scalar or None
        Mean number of subhaloes in the region.
    fraction : scalar or None
        Part of the mean convergence `host_convergence` that is in subhaloes. Of these three, one is not None.
    host_convergence : scalar
        Of dark matter in the region.
    suppression : WarmSuppression or None
    model : HaloModel
    relation : ConcentrationTable
    cosmology : Cosmology
    redshift, source_redshift : float
        Static.
    capacity : int
        Number of haloes that there is room for; static.
    poisson : bool
        Whether the number is a random one, or the mean, rounded; static.
    sheet : bool
        Whether the mean convergence is taken away again; static.
    """

    region: Disc | Rectangle | ProjectedNFW
    slope: jax.Array
    pivot: jax.Array
    mass_range: tuple
    sigma_sub: jax.Array | None
    number: jax.Array | None
    fraction: jax.Array | None
    host_convergence: jax.Array
    suppression: WarmSuppression | None
    model: HaloModel
    relation: ConcentrationTable
    cosmology: deflect.Cosmology
    redshift: float = dataclasses.field(metadata={"static": True})
    source_redshift: float = dataclasses.field(metadata={"static": True})
    capacity: int = dataclasses.field(metadata={"static": True})
    poisson: bool = dataclasses.field(default=True, metadata={"static": True})
    sheet: bool = dataclasses.field(default=True, metadata={"static": True})

    @classmethod
    def create(
        cls,
        redshift,
        source_redshift,
        cosmology,
        *,
        region=None,
        sigma_sub=None,
        number=None,
        fraction=None,
        host_convergence=0.5,
        slope=-1.9,
        pivot=1e8,
        mass_range=(1e6, 1e10),
        suppression=None,
        model=None,
        relation=deflect.ludlow16_concentration,
        capacity=None,
        poisson=True,
        sheet=True,
        dtype=None,
    ):
        """Subhaloes with everything that does not change from draw to draw.

        Parameters
        ----------
        redshift, source_redshift : floats
            Of the lens and of the source.
        cosmology : Cosmology or astropy.cosmology.FLRW
        region : Disc, Rectangle or ProjectedNFW, optional
            On the sky; a disc of 3 arcsec by default.
        sigma_sub, number, fraction : scalar, optional
            How many there are: one of the three. By default sigma_sub = 0.025 kpc⁻².
        host_convergence, slope, pivot, mass_range, suppression, poisson, sheet
            See the attributes.
        model : HaloModel, optional
        relation : callable
            ``relation(mass, redshift)``: the median concentration.
        capacity : int, optional
            By default enough for the values given here, but for one draw in 1e8.
        dtype : dtype, optional

        Returns
        -------
        Subhalos

        Raises
        ------
        ValueError
            For an argument of the wrong value.

        Examples
        --------
        >>> import jax
        >>> from lenskern import deflect, simulate
        >>> universe = deflect.flat_lambda_cdm(H0=67.7, Om0=0.31)
        >>> subhalos = simulate.Subhalos.create(0.5, 1.5, universe, number=20.0, capacity=64)
        >>> population = subhalos.draw(jax.random.key(1))
        >>> population.halos.centre.shape, int(population.overflow)
        ((64, 2), 0)
        """
        redshift, source_redshift = check_redshifts(redshift, source_redshift)
        cosmology, mass_range = check_cosmology(cosmology), check_mass_range(mass_range)
        amounts = {"sigma_sub": sigma_sub, "number": number, "fraction": fraction}
        amounts = {name: value for name, value in amounts.items() if value is not None} or {"sigma_sub": 0.025}
        dtype = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
        relation = ConcentrationTable.create(relation, mass_range, redshift, dtype)
        self = cls(
            region=Disc(3.0) if region is None else region,
            slope=slope,
            pivot=pivot,
            mass_range=mass_range,
            sigma_sub=None,
            number=None,
            fraction=None,
            host_convergence=host_convergence,
            suppression=suppression,
            model=HaloModel() if model is None else model,
            relation=relation,
            cosmology=cosmology,
            redshift=redshift,
            source_redshift=source_redshift,
            capacity=1,
            poisson=bool(poisson),
            sheet=bool(sheet),
        ).replace(**amounts)
        if capacity is None:
            capacity = default_capacity(float(jax.jit(cls.mean_number)(self)))
        return self.replace(capacity=_checks.positive_int("capacity", capacity))

    def replace(self, **changes):
        """With other attributes; one of sigma_sub, number and fraction takes the place of the others.

        Returns
        -------
        Subhalos

        Raises
        ------
        ValueError
            For two ways of saying how many there are.
        """
        given = [name for name in ("sigma_sub", "number", "fraction") if changes.get(name) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[1]}: got it together with {given[0]}, expected one of them")
        if given:
            changes = {"sigma_sub": None, "number": None, "fraction": None} | changes
        changed = dataclasses.replace(self, **changes)
        check_model(changed.model, changed.sheet)
        return changed

    def mean_number(self):
        """Mean number of subhaloes in the region."""
        table = self._table()
        return self._per_area(table) * self.region.area() * table.numbers().sum()

    @jax.jit  # operation by operation it takes a quarter of a minute
    def draw(self, key):
        """Draw a population.

        Parameters
        ----------
        key : PRNG key

        Returns
        -------
        Population
            Of haloes on one plane.
        """
        table = self._table()
        per_area = self._per_area(table)
        halos, mass, concentration, overflow = draw_population(
            key,
            table,
            per_area * self.region.area(),
            self.region,
            1.0,
            self.relation,
            self.suppression,
            self.model,
            self._place,
            self.capacity,
            self.poisson,
        )
        sheet = -self._convergence(table, per_area) if self.sheet else jnp.zeros((), halos.dtype)
        return Population(halos, mass, concentration, sheet.astype(halos.dtype), overflow)

    @property
    def _place(self):
        return self.redshift, self.source_redshift, self.cosmology

    def _table(self):
        """Number per Σ_sub = 1 of these units: (m/m_pivot)^(slope + 1) and the suppression."""
        low, high = (jnp.log(jnp.asarray(m, self.relation.coefficients.dtype)) for m in self.mass_range)
        ln_mass = jnp.linspace(low, high, _NODES)
        ln_number = (self.slope + 1) * (ln_mass - jnp.log(self.pivot))
        if self.suppression is not None:
            ln_number = ln_number + self.suppression.ln_abundance(ln_mass)
        return MassTable(ln_mass, ln_number.astype(ln_mass.dtype))

    def _per_area(self, table):
        """Σ_sub in arcsec⁻²."""
        if self.number is not None:
            return self.number / (self.region.area() * table.numbers().sum())
        if self.fraction is not None:
            return self.fraction * self.host_convergence / self._convergence(table, 1.0)
        return self.sigma_sub / distances.arcsec_per_kpc(self.cosmology, self.redshift) ** 2

    def _convergence(self, table, per_area):
        return mean_convergence(table, per_area, self.relation, self.suppression, self.model, self._place)

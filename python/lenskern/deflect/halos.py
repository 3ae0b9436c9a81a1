"""Haloes on one lens plane: a struct of arrays with a profile code and a mask for each."""

import dataclasses
from enum import IntEnum

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks
from .profiles import Profile
from .tables import RadialTables

__all__ = [
    "HaloStatus",
    "Halos",
    "cnfw",
    "concatenate",
    "dpie",
    "from_table",
    "mass_sheet",
    "nfw",
    "point_mass",
    "sis",
    "tnfw",
    "tnfwc",
]


class HaloStatus(IntEnum):
    """What is wrong with a halo."""

    VALID = 0
    NOT_FINITE = 1
    BAD_SCALE = 2
    BAD_SHAPE = 3
    UNKNOWN_PROFILE = 4
    BAD_TABLE = 5

    @property
    def sentence(self):
        """The status in words."""
        return {
            HaloStatus.VALID: "The halo is valid.",
            HaloStatus.NOT_FINITE: "A parameter of the halo is NaN or infinite.",
            HaloStatus.BAD_SCALE: "The scale of the halo is not above 0.",
            HaloStatus.BAD_SHAPE: "A shape parameter of the halo is out of range: a truncation radius not above 0, a "
            "core below 0 or, for the dual pseudo-isothermal profile, not below the truncation radius.",
            HaloStatus.UNKNOWN_PROFILE: "The profile code of the halo is not one of `Halos.profiles`, or there is no "
            "such radial table.",
            HaloStatus.BAD_TABLE: "The radial table of the halo holds NaN or infinity.",
        }[self]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Halos:
    """Spherical haloes, each with its own profile.

    A halo of centre c deflects by α = A g(u; p, q) d with d = θ − c and u = |d|²/s²; A g is the mean convergence inside
    the radius. `lenskern.deflect.Profile` says what A, s, p and q are for each profile; use the constructors (`nfw`,
    `tnfw`, ...) rather than this class.

    Attributes
    ----------
    profile : (N,) int32 array
        `Profile` codes; ``Profile.TABLE + k`` for row k of `tables`.
    centre : (N, 2) array
        (y, x) in arcsec.
    amplitude : (N,) array
        A, dimensionless.
    scale : (N,) array
        s, arcsec.
    shape : (N, 2) array
        p and q, dimensionless.
    mask : (N,) bool array
        False for a halo that contributes nothing, whatever it holds.
    tables : RadialTables or None
    profiles : tuple of Profile
        The profiles that can occur; static, so that only these are compiled.
    """

    profile: jax.Array
    centre: jax.Array
    amplitude: jax.Array
    scale: jax.Array
    shape: jax.Array
    mask: jax.Array
    tables: RadialTables | None = None
    profiles: tuple[Profile, ...] = dataclasses.field(default=(), metadata={"static": True})

    # A struct of arrays, not a sequence: list(halos) would mean nothing.
    __iter__ = None

    def __len__(self):
        return self.centre.shape[-2]

    @property
    def dtype(self):
        """float32 or float64."""
        return self.centre.dtype

    def __getitem__(self, index):
        """The haloes of a slice or of an array of numbers or booleans, with the same tables."""
        if not isinstance(index, slice):
            if jnp.ndim(index) != 1:
                raise ValueError(f"index: got {index!r}, expected a slice or an array of one axis")
            every = np.arange(len(self))
            if isinstance(index, jax.core.Tracer):
                index = jnp.asarray(every)[index]
            else:  # NumPy, unlike JAX, refuses numbers beyond the end
                index = every[np.asarray(index, None if np.size(index) else int)]
        return self._with(*(x[index] for x in self._arrays()))

    def pad(self, n):
        """Append masked haloes up to a length of n.

        Parameters
        ----------
        n : int
            At least the length.

        Returns
        -------
        Halos

        Raises
        ------
        ValueError
            If there are more than n haloes already.
        """
        more = _checks.positive_int("n", n) - len(self)
        if more < 0:
            raise ValueError(f"n: got {n}, expected at least the number of haloes, {len(self)}")
        fill = (int(self.profiles[0]) if self.profiles else 0, 0, 0, 1, 1, False)
        return self._with(
            *(
                jnp.pad(x, ((0, more),) + ((0, 0),) * (x.ndim - 1), constant_values=value)
                for x, value in zip(self._arrays(), fill, strict=True)
            )
        )

    def status(self):
        """Say for each halo whether it can be evaluated; a masked one always can.

        Returns
        -------
        (N,) int32 array
            `HaloStatus` codes.
        """
        p, q = self.shape[..., 0], self.shape[..., 1]
        numbers = [self.centre[..., 0], self.centre[..., 1], self.amplitude, self.scale, p, q]
        finite = jnp.stack([jnp.isfinite(x) for x in numbers]).all(0)
        known = jnp.zeros(self.mask.shape, bool)
        shaped = tabulated = jnp.ones(self.mask.shape, bool)
        for kind in self.profiles:
            here = self.profile == kind
            if kind == Profile.TABLE:
                rows = jnp.ones(0, bool) if self.tables is None else jnp.isfinite(self.tables.values).all((-2, -1))
                here = (self.profile >= kind) & (self.profile < kind + len(rows))
                if len(rows):
                    tabulated &= ~here | rows[jnp.clip(self.profile - kind, 0, len(rows) - 1)]
            known |= here
            shaped &= ~here | _shape_in_range(kind, p, q)
        status = jnp.where(tabulated, HaloStatus.VALID, HaloStatus.BAD_TABLE)
        status = jnp.where(shaped, status, HaloStatus.BAD_SHAPE)
        status = jnp.where(self.scale > 0, status, HaloStatus.BAD_SCALE)
        status = jnp.where(finite, status, HaloStatus.NOT_FINITE)
        status = jnp.where(known, status, HaloStatus.UNKNOWN_PROFILE)
        return jnp.where(self.mask, status, HaloStatus.VALID).astype(jnp.int32)

    def _arrays(self):
        return self.profile, self.centre, self.amplitude, self.scale, self.shape, self.mask

    def _with(self, profile, centre, amplitude, scale, shape, mask):
        return Halos(profile, centre, amplitude, scale, shape, mask, self.tables, self.profiles)


def _shape_in_range(kind, p, q):
    match kind:
        case Profile.TNFW:
            return p > 0
        case Profile.CNFW:
            return p >= 0
        case Profile.TNFWC:
            return (p >= 0) & (q > 0)
        case Profile.DPIE:
            return (p >= 0) & (p < 1)
        case Profile.POINT:
            return p >= 0
    return jnp.ones(p.shape, bool)


def nfw(centre, kappa_s, scale_radius):
    """Navarro, Frenk & White (1997): ρ ∝ 1/(y (1 + y)²), y = r/r_s.

    Parameters
    ----------
    centre : (N, 2) array
        (y, x) in arcsec.
    kappa_s : scalar or (N,) array
        ρ_s r_s / Σ_cr.
    scale_radius : scalar or (N,) array
        r_s in arcsec, above 0.

    Returns
    -------
    Halos

    Raises
    ------
    ValueError
        For an argument of the wrong shape, dtype or, where it is known at trace time, value.
    """
    return _halos(Profile.NFW, centre, {"kappa_s": kappa_s}, {"scale_radius": scale_radius})


def tnfw(centre, kappa_s, scale_radius, truncation_radius):
    """NFW with the truncation of Baltz, Marshall & Oguri (2009), n = 1: ρ_NFW τ²/(τ² + y²), τ = r_t/r_s.

    Parameters
    ----------
    centre, kappa_s, scale_radius
        As for `nfw`.
    truncation_radius : scalar or (N,) array
        r_t in arcsec, above 0.

    Returns
    -------
    Halos

    Raises
    ------
    ValueError
        As `nfw`.
    """
    scale, truncation = {"scale_radius": scale_radius}, {"truncation_radius": truncation_radius}
    return _halos(Profile.TNFW, centre, {"kappa_s": kappa_s}, scale, truncation)


def cnfw(centre, kappa_s, scale_radius, core_radius):
    """Cored NFW: ρ ∝ 1/((b + y) (1 + y)²), b = r_c/r_s (Peñarrubia et al. 2012).

    Parameters
    ----------
    centre, kappa_s, scale_radius
        As for `nfw`.
    core_radius : scalar or (N,) array
        r_c in arcsec, at least 0.

    Returns
    -------
    Halos

    Raises
    ------
    ValueError
        As `nfw`.
    """
    scale, core = {"scale_radius": scale_radius}, {"core_radius": core_radius}
    return _halos(Profile.CNFW, centre, {"kappa_s": kappa_s}, scale, core)


def tnfwc(centre, kappa_s, scale_radius, core_radius, truncation_radius):
    """Cored and truncated NFW-like profile: ρ ∝ 1/(√(b² + y²) (1 + y²) (1 + y²/τ²)), as lenstronomy's TNFWC.

    Parameters
    ----------
    centre, kappa_s, scale_radius
        As for `nfw`.
    core_radius : scalar or (N,) array
        In arcsec, at least 0.
    truncation_radius : scalar or (N,) array
        In arcsec, above 0.

    Returns
    -------
    Halos

    Raises
    ------
    ValueError
        As `nfw`.
    """
    shapes = ({"core_radius": core_radius}, {"truncation_radius": truncation_radius})
    return _halos(Profile.TNFWC, centre, {"kappa_s": kappa_s}, {"scale_radius": scale_radius}, *shapes)


def dpie(centre, strength, core_radius, truncation_radius):
    """Dual pseudo-isothermal profile (pseudo-Jaffe): κ = (E/2) (1/√(s² + R²) − 1/√(a² + R²)).

    Parameters
    ----------
    centre : (N, 2) array
        (y, x) in arcsec.
    strength : scalar or (N,) array
        E in arcsec: the deflection at s ≪ R ≪ a. The total mass is π Σ_cr E (a − s).
    core_radius : scalar or (N,) array
        s in arcsec, at least 0.
    truncation_radius : scalar or (N,) array
        a in arcsec, above s.

    Returns
    -------
    Halos

    Raises
    ------
    ValueError
        As `nfw`.
    """
    amplitude, scale, core = (
        {"strength": strength},
        {"truncation_radius": truncation_radius},
        {"core_radius": core_radius},
    )
    return _halos(Profile.DPIE, centre, amplitude, scale, core, amplitude_per_scale=True)


def point_mass(centre, einstein_radius, softening=0.0):
    """Point mass: α = θ_E² R/(R² + ε²).

    Parameters
    ----------
    centre : (N, 2) array
        (y, x) in arcsec.
    einstein_radius : scalar or (N,) array
        θ_E in arcsec, above 0.
    softening : scalar or (N,) array
        ε in arcsec, at least 0.

    Returns
    -------
    Halos

    Raises
    ------
    ValueError
        As `nfw`.
    """
    return _halos(Profile.POINT, centre, {}, {"einstein_radius": einstein_radius}, {"softening": softening})


def sis(centre, einstein_radius):
    """Singular isothermal sphere: α = θ_E away from the centre.

    Parameters
    ----------
    centre : (N, 2) array
        (y, x) in arcsec.
    einstein_radius : scalar or (N,) array
        θ_E in arcsec, above 0.

    Returns
    -------
    Halos

    Raises
    ------
    ValueError
        As `nfw`.
    """
    return _halos(Profile.SIS, centre, {}, {"einstein_radius": einstein_radius})


def mass_sheet(centre, convergence):
    """Sheet of constant convergence: α = κ (θ − c).

    Parameters
    ----------
    centre : (N, 2) array
        (y, x) in arcsec: where its deflection is 0.
    convergence : scalar or (N,) array
        κ, of either sign.

    Returns
    -------
    Halos

    Raises
    ------
    ValueError
        As `nfw`.
    """
    return _halos(Profile.SHEET, centre, {"convergence": convergence}, {})


def from_table(centre, amplitude, scale_radius, tables, index=None):
    """Haloes whose profiles are radial tables.

    Parameters
    ----------
    centre : (N, 2) array
        (y, x) in arcsec.
    amplitude : scalar or (N,) array
        A: the mean convergence inside the radius R is A g(R²/s²), g being the table.
    scale_radius : scalar or (N,) array
        s in arcsec, above 0.
    tables : RadialTables
    index : (N,) int array, optional
        Row of `tables` of each halo; halo k has row k by default, or all have row 0 where there is only one.

    Returns
    -------
    Halos

    Raises
    ------
    ValueError
        As `nfw`.
    """
    halos = _halos(Profile.TABLE, centre, {"amplitude": amplitude}, {"scale_radius": scale_radius})
    if not isinstance(tables, RadialTables):
        raise ValueError(f"tables: got {type(tables).__name__}, expected RadialTables")
    rows = tables.values.shape[-3]
    if tables.values.dtype != halos.dtype:
        raise ValueError(f"tables: got dtype {tables.values.dtype}, expected the dtype of the haloes, {halos.dtype}")
    if index is None:
        if rows not in (1, len(halos)):
            raise ValueError(f"index: expected it for {len(halos)} haloes and {rows} tables, got None")
        index = jnp.arange(len(halos)) % rows
    if not isinstance(index, jax.core.Tracer):
        index = np.asarray(index, None if np.size(index) else int)
    if not jnp.issubdtype(index.dtype, jnp.integer):
        raise ValueError(f"index: got dtype {index.dtype}, expected integers")
    if index.shape not in ((), (len(halos),)):
        raise ValueError(f"index: got shape {index.shape}, expected ({len(halos)},)")
    if isinstance(index, np.ndarray):
        outside = index[(index < 0) | (index >= rows)]
        if outside.size:
            raise ValueError(f"index: got {outside[0]}, expected integers from 0 to {rows - 1}")
    # One that is traced and out of range is of no profile, and stays so beside other tables.
    profile = jnp.where((index >= 0) & (index < rows), halos.profile + index, -1).astype(jnp.int32)
    return dataclasses.replace(halos, profile=profile, tables=tables)


def concatenate(parts):
    """One population out of several, of any profiles.

    Parameters
    ----------
    parts : sequence of Halos
        Of one dtype; at least one. Their radial tables must have the same grid.

    Returns
    -------
    Halos

    Raises
    ------
    ValueError
        For no parts, different dtypes, or tables that do not fit together.
    """
    if isinstance(parts, Halos):
        raise ValueError("parts: got Halos, expected a sequence of them")
    parts = list(parts)
    if not parts:
        raise ValueError("parts: got an empty sequence, expected at least one Halos")
    for part in parts:
        if not isinstance(part, Halos):
            raise ValueError(f"parts: got {type(part).__name__}, expected Halos")
        if part.dtype != parts[0].dtype:
            raise ValueError(f"parts: got dtypes {parts[0].dtype} and {part.dtype}, expected one dtype")
    tables, codes = None, []
    for part in parts:
        rows = 0 if tables is None else tables.values.shape[-3]
        codes.append(part.profile + jnp.where(part.profile >= Profile.TABLE, rows, 0))
        if part.tables is None:
            continue
        tables = part.tables if tables is None else tables.append(part.tables)
    arrays = [jnp.concatenate(x) for x in zip(*(part._arrays() for part in parts), strict=True)]
    kinds = tuple(sorted({kind for part in parts for kind in part.profiles}))
    return Halos(jnp.concatenate(codes).astype(jnp.int32), *arrays[1:], tables, kinds)


def _halos(kind, centre, amplitude, scale, *shapes, amplitude_per_scale=False):
    """Haloes of one profile from named parameters; lengths among the shapes are divided by the scale."""
    named = {"centre": centre, **amplitude, **scale}
    for shape in shapes:
        named |= shape
    dtypes = {str(x.dtype) for x in named.values() if hasattr(x, "dtype")}
    default = next(iter(dtypes)) if len(dtypes) == 1 else None
    arrays = {}
    for name, value in named.items():
        if not hasattr(value, "dtype"):
            value = jnp.asarray(value, default or jnp.result_type(float))
        arrays[name] = _checks.float_array(name, value)
        _checks.same_dtype("centre", arrays["centre"], name, arrays[name])
    centre = arrays.pop("centre")
    if not isinstance(centre, jax.core.Tracer) and not np.isfinite(np.asarray(centre)).all():
        raise ValueError("centre: got NaN or infinity, expected finite numbers")
    if centre.ndim != 2 or centre.shape[1] != 2:
        raise ValueError(f"centre: got shape {centre.shape}, expected (N, 2); use jax.vmap for a batch")
    n = centre.shape[0]
    for name, value in arrays.items():
        if value.shape not in ((), (n,)):
            raise ValueError(f"{name}: got shape {value.shape}, expected () or ({n},)")
        arrays[name] = jnp.broadcast_to(value, (n,))
    ones = jnp.ones(n, centre.dtype)
    A = arrays[next(iter(amplitude))] if amplitude else ones
    s = arrays[next(iter(scale))] if scale else ones
    p, q = [arrays[name] / s for shape in shapes for name in shape] + [ones] * (2 - len(shapes))
    _check_values(kind, arrays, scale, shapes)
    return Halos(
        profile=jnp.full(n, int(kind), jnp.int32),
        centre=centre,
        amplitude=A / s if amplitude_per_scale else A,
        scale=s,
        shape=jnp.stack([p, q], -1),
        mask=jnp.ones(n, bool),
        profiles=(kind,),
    )


def _check_values(kind, arrays, scale, shapes):
    """Refuse lengths that are out of range and known now; those that are traced are left to `Halos.status`."""
    for name, array in arrays.items():
        length = name in scale or any(name in shape for shape in shapes)
        _checks.known_values(name, array, length, name in ("core_radius", "softening"))
    known = [x for x in arrays.values() if not isinstance(x, jax.core.Tracer)]
    if kind == Profile.DPIE and len(known) == len(arrays):
        core, outer = np.asarray(arrays["core_radius"]), np.asarray(arrays["truncation_radius"])
        if (core >= outer).any():
            raise ValueError(f"core_radius: got {core[core >= outer][0]}, expected less than truncation_radius")

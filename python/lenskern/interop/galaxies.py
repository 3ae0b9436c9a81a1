"""Galaxies of autolens as lens planes."""

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks, deflect
from ..simulate.population import check_cosmology
from .autogalaxy import AutogalaxyMass

__all__ = ["planes_from_galaxies"]

UNSUPPORTED = ("error", "autogalaxy", "autogalaxy-numpy")


def planes_from_galaxies(
    galaxies,
    cosmology=None,
    *,
    fields=(),
    source_redshift=None,
    unsupported="error",
    every_plane=False,
    bucket=None,
):
    """Lens planes from galaxies of autolens, as ``autolens.Tracer`` takes them; so those of its `LOSSampler`.

    Parameters of profiles, redshifts and sheets can be traced. As in autolens, galaxies are taken in the order given
    where a redshift is traced: then it must be that of the redshifts, and each galaxy with a traced one has a plane of
    its own.

    Parameters
    ----------
    galaxies : sequence of autogalaxy.Galaxy
        In any order. Those at the redshift of the source and beyond do not deflect.
    cosmology : autogalaxy or astropy cosmology, or Cosmology, optional
        autolens's Planck15 by default, as for the tracer.
    fields : sequence of autogalaxy.MassField
    source_redshift : float, optional
        By default that of the most distant galaxy. Convergences must be in units of the critical surface density for a
        source there.
    unsupported : {"error", "autogalaxy", "autogalaxy-numpy"}
        What becomes of a profile that lenskern has not: an error, or a component that autogalaxy itself evaluates, by
        JAX where it can, or always by NumPy, as a tracer does; see `lenskern.interop.autogalaxy.AutogalaxyMass`.
    every_plane : bool
        Whether redshifts without mass become planes too, as in a tracer; by default they are left out.
    bucket : int, optional
        As for `lenskern.deflect.planes`.

    Returns
    -------
    lenskern.deflect.Planes

    Raises
    ------
    NotImplementedError
        For a mass profile that is none of NFWSph, NFWTruncatedSph, cNFWSph, IsothermalSph, PointMass, dPIEMassB0Sph,
        PowerLaw, PowerLawSph, Isothermal, ExternalShear, MassSheet, and none that is made from other parameters and has
        their deflections, as NFWMCRLudlowSph and dPIEMassSph; unless it is left to autogalaxy. NFW is taken where it is
        spherical.
    ValueError
        For no galaxies in front of the source.
    """
    _checks.choice("unsupported", unsupported, UNSUPPORTED)
    named = [(f"galaxies[{i}]", galaxy) for i, galaxy in enumerate(galaxies)]
    named += [(f"fields[{i}]", field) for i, field in enumerate(fields)]
    if not named:
        raise ValueError("galaxies: got none, expected at least one")
    planes = by_redshift(named)
    source = planes[-1][0] if source_redshift is None else source_redshift
    planes = [(z, _Content(members, unsupported)) for z, members in planes if _in_front(z, source)]
    planes = [(z, content) for z, content in planes if every_plane or content]
    if not planes:
        hint = "" if source_redshift is not None else ", the last of theirs; where all are lenses, give source_redshift"
        raise ValueError(f"galaxies: got none with mass in front of the source at redshift {source}{hint}")
    if cosmology is None:
        import autogalaxy

        cosmology = autogalaxy.cosmo.Planck15()
    return deflect.planes(
        [z for z, _ in planes],
        source,
        check_cosmology(cosmology),
        halos=[content.halos() for _, content in planes],
        macros=[(k, model) for k, (_, content) in enumerate(planes) for model in content.macros],
        sheets=_column([content.kappa for _, content in planes]),
        bucket=bucket,
    )


def by_redshift(named):
    """Planes of a tracer: (redshift, [(name, galaxy), ...]) in the order of autolens."""
    planes = []
    if not any(_traced(galaxy.redshift) for _, galaxy in named):
        named = sorted(named, key=lambda item: float(item[1].redshift))
    for name, galaxy in named:
        z = number(galaxy.redshift)
        here = None if _traced(z) else next((m for other, m in planes if not _traced(other) and other == z), None)
        if here is None:
            planes.append((z, [(name, galaxy)]))
        else:
            here.append((name, galaxy))
    return planes


def number(value):
    """A Python float, or what is traced as it is."""
    return value if _traced(value) else float(value)


def pair(values):
    """Two numbers."""
    first, second = values
    return number(first), number(second)


def describe(name, part, galaxy):
    """Where a profile is, for an error."""
    return f"{part!r} of {name} at redshift {galaxy.redshift}"


def _in_front(z, source):
    return z < source if not (_traced(z) or _traced(source)) else z is not source


def _traced(value):
    return isinstance(value, jax.core.Tracer)


class _Content:
    """What is on a plane."""

    def __init__(self, members, unsupported):
        self.macros, self.kappa, self._groups = [], 0.0, {}
        self._empty = True
        for name, galaxy in members:
            for part, profile in _mass_profiles(galaxy):
                self._empty = False
                self._add(profile, unsupported, describe(name, part, galaxy))

    def __bool__(self):
        return not self._empty

    def halos(self):
        """Halos or None."""
        parts = []
        for kind, profiles in self._groups.items():
            make, parameters = _HALOS[kind]
            columns = [_column([get(p) if callable(get) else getattr(p, get) for p in profiles]) for get in parameters]
            parts.append(make(_column([tuple(p.centre) for p in profiles]), *columns))
        return deflect.concatenate(parts) if parts else None

    def _add(self, profile, unsupported, where):
        kind = _kind(profile)
        if kind in _HALOS:
            self._groups.setdefault(kind, []).append(profile)
        elif kind == "MassSheet":
            centre = pair(profile.centre)
            if not any(map(_traced, centre)) and centre == (0.0, 0.0):
                self.kappa = self.kappa + number(profile.kappa)
            else:
                self.macros.append(deflect.MassSheet(number(profile.kappa), centre))
        elif kind in _MACROS:
            self.macros.append(_MACROS[kind](profile))
        elif unsupported != "error":
            self.macros.append(AutogalaxyMass(profile, by_numpy=unsupported == "autogalaxy-numpy"))
        else:
            known = ", ".join([*_HALOS, *_MACROS, "MassSheet"])
            raise NotImplementedError(
                f"galaxies: got the profile {type(profile).__name__} as {where}, expected one of {known}; "
                "unsupported='autogalaxy' has autogalaxy evaluate it"
            )


def _mass_profiles(galaxy):
    """(name, profile) of every component with mass; those that are sums are taken apart."""
    import autogalaxy

    waiting = [(name, value) for name, value in vars(galaxy).items()]
    while waiting:
        name, value = waiting.pop(0)
        if isinstance(value, autogalaxy.lp_basis.Basis):
            waiting = [(name, part) for part in value.profile_list] + waiting
        elif isinstance(value, autogalaxy.mp.SMBHBinary):
            waiting = [(name, value.smbh_0), (name, value.smbh_1), *waiting]
        elif isinstance(value, autogalaxy.mp.MassProfile):
            yield name, value


def _kind(profile):
    """The name of the class among those known whose deflections the profile has."""
    for base in type(profile).__mro__:
        if base.__name__ in _HALOS or base.__name__ in _MACROS or base.__name__ in ("MassSheet", "NFW"):
            if type(profile).deflections_yx_2d_from is not base.deflections_yx_2d_from:
                return None
            if base.__name__ == "NFW":
                ell = pair(profile.ell_comps)
                return "NFWSph" if not any(map(_traced, ell)) and ell == (0.0, 0.0) else None
            return base.__name__
    return None


def _column(values):
    """An array of numbers or of pairs, of JAX's default float."""
    dtype = jnp.result_type(float)
    if any(map(_traced, jax.tree.leaves(values))):
        return jnp.stack([jnp.stack([jnp.asarray(x, dtype) for x in v]) if isinstance(v, tuple) else v for v in values])
    return np.asarray(values, dtype)


def _dpie_strength(profile):
    """E of κ = (E/2) (1/√(s² + R²) − 1/√(a² + R²)): autogalaxy's b0 lacks a factor a/(a − s)."""
    return profile.b0 * profile.rs / (profile.rs - profile.ra)


def _power_law(profile):
    # The radius of the major axis; PowerLawIntermediate keeps another one.
    radius = profile.einstein_radius_major_from(xp=jnp if _traced(profile.einstein_radius) else np)
    return deflect.PowerLaw(pair(profile.centre), pair(profile.ell_comps), number(radius), number(profile.slope))


_HALOS = {
    "NFWSph": (deflect.nfw, ("kappa_s", "scale_radius")),
    "NFWTruncatedSph": (deflect.tnfw, ("kappa_s", "scale_radius", "truncation_radius")),
    "cNFWSph": (deflect.cnfw, ("kappa_s", "scale_radius", "core_radius")),
    "IsothermalSph": (deflect.sis, ("einstein_radius",)),
    "PointMass": (deflect.point_mass, ("einstein_radius",)),
    "dPIEMassB0Sph": (deflect.dpie, (_dpie_strength, "ra", "rs")),
}
_MACROS = {
    "PowerLaw": _power_law,
    "PowerLawSph": lambda p: deflect.PowerLaw(pair(p.centre), (0.0, 0.0), number(p.einstein_radius), number(p.slope)),
    "Isothermal": lambda p: deflect.Isothermal(pair(p.centre), pair(p.ell_comps), number(p.einstein_radius)),
    "ExternalShear": lambda p: deflect.ExternalShear(number(p.gamma_1), number(p.gamma_2)),
}

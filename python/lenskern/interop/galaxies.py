"""Galaxies of autolens as lens planes."""

import numpy as np

from .. import deflect
from ..simulate.population import check_cosmology
from .catalogues import _Planes, planes_from_catalogue

__all__ = ["planes_from_galaxies"]


def planes_from_galaxies(galaxies, cosmology=None, *, fields=(), source_redshift=None, bucket=None):
    """Lens planes from galaxies of autolens, as ``autolens.Tracer`` takes them; so those of its `LOSSampler`.

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
    bucket : int, optional
        As for `lenskern.deflect.planes`.

    Returns
    -------
    lenskern.deflect.Planes

    Raises
    ------
    NotImplementedError
        For a mass profile that is none of NFWSph, NFWTruncatedSph, cNFWSph, IsothermalSph, PointMass, PowerLaw,
        PowerLawSph, Isothermal, ExternalShear, MassSheet, and none that is made from masses and has their deflections.
    ValueError
        For no galaxies in front of the source.
    """
    import autogalaxy

    galaxies = [*galaxies, *fields]
    if not galaxies:
        raise ValueError("galaxies: got none, expected at least one")
    source = max(float(g.redshift) for g in galaxies) if source_redshift is None else float(source_redshift)
    cosmology = autogalaxy.cosmo.Planck15() if cosmology is None else cosmology
    planes, groups = _Planes(), {}
    for galaxy in galaxies:
        z = float(galaxy.redshift)
        if z >= source:
            continue
        for profile in galaxy.cls_list_from(cls=autogalaxy.mp.MassProfile):
            base = _base(profile)
            if base in _HALOS:
                groups.setdefault((z, base), []).append(profile)
            elif base == "MassSheet":
                planes.at(z).sheet(profile.kappa, profile.centre)
            elif base in _MACROS:
                planes.at(z).macros.append(_MACROS[base](profile))
            else:
                known = ", ".join([*_HALOS, *_MACROS, "MassSheet"])
                raise NotImplementedError(
                    f"galaxies: got the profile {type(profile).__name__}, expected one of {known}"
                )
    for (z, base), profiles in groups.items():
        make, names = _HALOS[base]
        columns = [np.array([float(getattr(p, name)) for p in profiles]) for name in names]
        planes.at(z).halos.append(make(np.array([p.centre for p in profiles], float), *columns))
    catalogue = planes.catalogue()
    if not catalogue.redshifts:
        raise ValueError(f"galaxies: got none with mass in front of the source at redshift {source}")
    return planes_from_catalogue(catalogue, source, check_cosmology(cosmology), bucket=bucket)


def _base(profile):
    """The name of the class among those known whose deflections the profile has."""
    kind = type(profile)
    for base in kind.__mro__:
        if base.__name__ in _HALOS or base.__name__ in _MACROS or base.__name__ == "MassSheet":
            same = kind.deflections_yx_2d_from is base.deflections_yx_2d_from
            return base.__name__ if same else None
    return None


def _pair(values):
    return tuple(map(float, values))


_HALOS = {
    "NFWSph": (deflect.nfw, ("kappa_s", "scale_radius")),
    "NFWTruncatedSph": (deflect.tnfw, ("kappa_s", "scale_radius", "truncation_radius")),
    "cNFWSph": (deflect.cnfw, ("kappa_s", "scale_radius", "core_radius")),
    "IsothermalSph": (deflect.sis, ("einstein_radius",)),
    "PointMass": (deflect.point_mass, ("einstein_radius",)),
}
_MACROS = {
    "PowerLaw": lambda p: deflect.PowerLaw(
        _pair(p.centre), _pair(p.ell_comps), float(p.einstein_radius), float(p.slope)
    ),
    "PowerLawSph": lambda p: deflect.PowerLaw(_pair(p.centre), (0.0, 0.0), float(p.einstein_radius), float(p.slope)),
    "Isothermal": lambda p: deflect.Isothermal(_pair(p.centre), _pair(p.ell_comps), float(p.einstein_radius)),
    "ExternalShear": lambda p: deflect.ExternalShear(float(p.gamma_1), float(p.gamma_2)),
}

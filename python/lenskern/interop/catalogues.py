"""Catalogues of haloes at many redshifts, from arrays as pyHalo's and from lenstronomy's lists of models."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from .. import deflect
from ..deflect.cosmology import arcsec_per_kpc, critical_density
from ..deflect.profiles import Profile, mean_convergence
from ..simulate.population import check_cosmology

__all__ = ["Catalogue", "catalogue_from_arrays", "catalogue_from_lenstronomy", "planes_from_catalogue"]


class Catalogue(NamedTuple):
    """Haloes by redshift, and what else is there.

    Attributes
    ----------
    redshifts : tuple of P floats
        Increasing.
    halos : tuple of P Halos or None
    macros : tuple of (int, model)
        Plane index and model.
    sheets : (P,) array
        Convergences.
    """

    redshifts: tuple
    halos: tuple
    macros: tuple
    sheets: np.ndarray


def catalogue_from_arrays(
    x,
    y,
    redshift,
    mass,
    concentration,
    source_redshift,
    cosmology,
    *,
    definition_redshift=None,
    truncation_kpc=None,
    tau=None,
    core_fraction=None,
    **options,
):
    """Haloes from the arrays of a realization of pyHalo, or of a simulation.

    Parameters
    ----------
    x, y : (N,) arrays
        arcsec.
    redshift : (N,) array
    mass : (N,) array
        M₂₀₀ in M_sun, with respect to the critical density.
    concentration : (N,) array
        r₂₀₀/r_s.
    source_redshift : float
    cosmology : Cosmology or astropy.cosmology.FLRW
    definition_redshift : (N,) array, optional
        At which the mean density inside of r₂₀₀ was 200 times the critical one: the infall redshift of pyHalo's
        subhaloes, its ``z_eval``. By default the redshift where they are.
    truncation_kpc, tau : (N,) array, optional
        Truncation radius in kpc (proper), or in units of r_s: at most one of them.
    core_fraction : (N,) array, optional
        Core radius in units of r_s.
    **options
        `mass_of` of `lenskern.deflect.from_m200_concentration`.

    Returns
    -------
    Catalogue

    Raises
    ------
    ValueError
        For arrays of different lengths, or values out of range.

    Examples
    --------
    >>> from lenskern import deflect, interop
    >>> universe = deflect.flat_lambda_cdm(H0=67.7, Om0=0.31)
    >>> positions = dict(x=[0.3, -1.0, 0.2], y=[1.1, 0.4, -0.7], redshift=[0.5, 0.3, 0.5])
    >>> halos = interop.catalogue_from_arrays(
    ...     **positions, mass=[1e8, 1e7, 3e8], concentration=[14.0, 16.0, 13.0], tau=[5.0, 8.0, 4.0],
    ...     source_redshift=1.5, cosmology=universe)
    >>> halos.redshifts, [len(h) for h in halos.halos]
    ((0.3, 0.5), [1, 2])
    """
    if truncation_kpc is not None and tau is not None:
        raise ValueError("tau: got it together with truncation_kpc, expected one of them")
    columns = {"x": x, "y": y, "redshift": redshift, "mass": mass, "concentration": concentration}
    columns |= {
        "definition_redshift": definition_redshift,
        "truncation_kpc": truncation_kpc,
        "tau": tau,
        "core_fraction": core_fraction,
    }
    columns = {name: _column(name, value) for name, value in columns.items() if value is not None}
    n = len(columns["x"])
    for name, column in columns.items():
        if len(column) != n:
            raise ValueError(f"{name}: got {len(column)} numbers, expected one for each of {n} haloes")
        if name not in ("x", "y") and not (column > 0).all() and not (name == "core_fraction" and (column >= 0).all()):
            raise ValueError(f"{name}: got {column.min()}, expected numbers above 0")
    if n and columns["redshift"].max() >= source_redshift:
        raise ValueError(
            f"redshift: got {columns['redshift'].max()}, expected less than the source's, {source_redshift}"
        )
    planes, cosmology = _Planes(), check_cosmology(cosmology)
    for z in map(float, np.unique(columns["redshift"])):
        here = {name: column[columns["redshift"] == z] for name, column in columns.items()}
        place = here["mass"], here["concentration"], z, source_redshift, cosmology
        # For the same M₂₀₀ and c, r_s ∝ ρ^(-1/3) and ρ_s r_s ∝ ρ^(2/3) with the critical density ρ.
        ratio = np.ones(len(here["mass"]))
        if definition_redshift is not None:
            density = critical_density(cosmology, np.append(here["definition_redshift"], z))
            ratio = np.asarray(density[:-1] / density[-1])
        shape = {name: here[name] for name in ("tau", "core_fraction") if name in here}
        if truncation_kpc is not None:
            scale = deflect.m200_scales(*place).scale_radius * ratio ** (-1 / 3)
            shape["tau"] = here["truncation_kpc"] * np.asarray(arcsec_per_kpc(cosmology, z) / scale)
        halos = deflect.from_m200_concentration(np.stack([here["y"], here["x"]], -1), *place, **shape, **options)
        sizes = {"amplitude": halos.amplitude * ratio ** (2 / 3), "scale": halos.scale * ratio ** (-1 / 3)}
        planes.at(z).halos.append(dataclasses.replace(halos, **sizes))
    return planes.catalogue()


def catalogue_from_lenstronomy(lens_model_list, redshift_list, kwargs_lens):
    """Haloes, macro models and sheets from the lists that make a multi-plane `LensModel` of lenstronomy.

    Those are what ``realization.lensing_quantities()`` of pyHalo gives, followed by those of the main lens. All
    deflections must be reduced ones to the source, as is lenstronomy's custom.

    Parameters
    ----------
    lens_model_list : sequence of str
        Of NFW, TNFW, CNFW, TNFWC, PJAFFE, SIS, POINT_MASS, CONVERGENCE, EPL, SIE and SHEAR.
    redshift_list : sequence of floats
    kwargs_lens : sequence of dict

    Returns
    -------
    Catalogue

    Raises
    ------
    ValueError
        For lists of different lengths.
    NotImplementedError
        For another model.
    """
    names, redshifts, keywords = list(lens_model_list), list(redshift_list), list(kwargs_lens)
    if not len(names) == len(redshifts) == len(keywords):
        raise ValueError(
            f"kwargs_lens: got {len(names)} models, {len(redshifts)} redshifts and {len(keywords)} sets of parameters, "
            "expected the same number of each"
        )
    planes, groups = _Planes(), {}
    for name, z, parameters in zip(names, redshifts, keywords, strict=True):
        if name in _LENSTRONOMY_HALOS:
            groups.setdefault((float(z), name), []).append(parameters)
        elif name == "CONVERGENCE":
            planes.at(z).sheet(parameters["kappa"], (parameters.get("dec_0", 0.0), parameters.get("ra_0", 0.0)))
        elif name in _LENSTRONOMY_MACROS:
            planes.at(z).macros.append(_LENSTRONOMY_MACROS[name].from_lenstronomy(**parameters))
        else:
            known = ", ".join([*_LENSTRONOMY_HALOS, "CONVERGENCE", *_LENSTRONOMY_MACROS])
            raise NotImplementedError(f"lens_model_list: got {name!r}, expected one of {known}")
    for (z, name), rows in groups.items():
        columns = {
            key: np.array([float(row.get(key, 0.0)) for row in rows]) for key in {key for r in rows for key in r}
        }
        zero = np.zeros(len(rows))
        centre = np.stack([columns.pop("center_y", zero), columns.pop("center_x", zero)], -1)
        planes.at(z).halos.append(_LENSTRONOMY_HALOS[name](centre, **columns))
    return planes.catalogue()


def planes_from_catalogue(catalogue, source_redshift, cosmology, *, bucket=None):
    """Lens planes of a catalogue.

    Parameters
    ----------
    catalogue : Catalogue
    source_redshift, cosmology, bucket
        As for `lenskern.deflect.planes`.

    Returns
    -------
    lenskern.deflect.Planes

    Raises
    ------
    ValueError
        As `lenskern.deflect.planes`.
    """
    return deflect.planes(
        catalogue.redshifts,
        source_redshift,
        cosmology,
        halos=list(catalogue.halos),
        macros=catalogue.macros,
        sheets=catalogue.sheets,
        bucket=bucket,
    )


class _Plane:
    def __init__(self):
        self.halos, self.macros, self.kappa = [], [], 0.0

    def sheet(self, kappa, centre=(0.0, 0.0)):
        if tuple(centre) == (0.0, 0.0):
            self.kappa += float(kappa)
        else:
            self.macros.append(deflect.MassSheet(float(kappa), tuple(map(float, centre))))


class _Planes:
    """What is at each redshift, to be sorted."""

    def __init__(self):
        self._planes = {}

    def at(self, z):
        return self._planes.setdefault(float(z), _Plane())

    def catalogue(self):
        redshifts = tuple(sorted(self._planes))
        planes = [self._planes[z] for z in redshifts]
        halos = tuple(deflect.concatenate(p.halos) if p.halos else None for p in planes)
        macros = tuple((i, model) for i, p in enumerate(planes) for model in p.macros)
        return Catalogue(redshifts, halos, macros, np.array([p.kappa for p in planes]))


def _column(name, value):
    try:
        column = np.asarray(value, float)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: got {value!r}, expected an array of numbers") from None
    if column.ndim != 1 or not np.isfinite(column).all():
        raise ValueError(
            f"{name}: got shape {column.shape} or numbers that are not finite, expected (N,) finite numbers"
        )
    return column


def _kappa_s(profile, Rs, alpha_Rs, p, q):
    """The amplitude with which the deflection at r_s is alpha_Rs."""
    u = np.ones_like(Rs)
    return alpha_Rs / (Rs * np.asarray(mean_convergence(profile, u, p, q)))


def _nfw(centre, Rs, alpha_Rs):
    return deflect.nfw(centre, alpha_Rs / (4 * Rs * (1 - math.log(2))), Rs)


def _tnfw(centre, Rs, alpha_Rs, r_trunc):
    # alpha_Rs is that of the profile without a truncation.
    return deflect.tnfw(centre, alpha_Rs / (4 * Rs * (1 - math.log(2))), Rs, r_trunc)


def _cnfw(centre, Rs, alpha_Rs, r_core):
    return deflect.cnfw(centre, _kappa_s(Profile.CNFW, Rs, alpha_Rs, r_core / Rs, np.ones_like(Rs)), Rs, r_core)


def _tnfwc(centre, Rs, alpha_Rs, r_core, r_trunc):
    kappa_s = _kappa_s(Profile.TNFWC, Rs, alpha_Rs, r_core / Rs, r_trunc / Rs)
    return deflect.tnfwc(centre, kappa_s, Rs, r_core, r_trunc)


def _pjaffe(centre, sigma0, Ra, Rs):
    Ra, Rs = np.minimum(Ra, Rs), np.maximum(Ra, Rs)
    return deflect.dpie(centre, 2 * sigma0 * Ra * Rs / (Rs - Ra), Ra, Rs)


_LENSTRONOMY_HALOS = {
    "NFW": _nfw,
    "TNFW": _tnfw,
    "CNFW": _cnfw,
    "TNFWC": _tnfwc,
    "PJAFFE": _pjaffe,
    "SIS": lambda centre, theta_E: deflect.sis(centre, theta_E),
    "POINT_MASS": lambda centre, theta_E: deflect.point_mass(centre, theta_E),
}
_LENSTRONOMY_MACROS = {"EPL": deflect.PowerLaw, "SIE": deflect.Isothermal, "SHEAR": deflect.ExternalShear}

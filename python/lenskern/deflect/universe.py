"""The parameters of a ΛCDM universe, and where they come from."""

import dataclasses
import math

import jax
import numpy as np

# CODATA 2022, IAU 2015 resolutions B2 and B3 (as in astropy.constants).
G = 6.67430e-11  # m3 / (kg s2)
C = 299792458.0  # m / s
SOLAR_MASS = 1.988409870698051e30  # kg
KPC = 3.0856775814913675e19  # m
_STEFAN_BOLTZMANN = 5.6703744191844314e-08  # W / (m2 K4)
_BOLTZMANN = 8.617333262145179e-05  # eV / K

# Combined here, in double precision, so that no intermediate leaves the range of float32.
_HUBBLE_RATE = 100e3 / (1e3 * KPC)  # 100 km/s/Mpc in 1 / s
CRITICAL_DENSITY = 3 * _HUBBLE_RATE**2 / (8 * math.pi * G)  # for h = 1, kg / m3
_PHOTONS = 4 * _STEFAN_BOLTZMANN / C**3 / CRITICAL_DENSITY  # Ω_γ h² / K4

# Neutrinos: the fit of Komatsu et al. (2011), eq. 26, with the digits astropy uses.
_NEUTRINO_TEMPERATURE = 0.7137658555036082  # (4/11)^(1/3)
_FERMI_DIRAC = 0.22710731766  # 7/8 (4/11)^(4/3)
_FIT_POWER, _FIT_INVERSE_POWER, _FIT_SCALE = 1.83, 0.54644808743, 0.3173


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cosmology:
    """Expansion history E² = Ω_Λ + Ω_k (1+z)² + Ω_m (1+z)³ + [Ω_r + Σ Ω_ν,i f(y_i/(1+z))] (1+z)⁴.

    A pytree of numbers: each can be traced. Use `lambda_cdm`, `flat_lambda_cdm` or `from_astropy` to make one.

    Attributes
    ----------
    H0 : float
        km/s/Mpc.
    Om0 : float
        Matter without massive neutrinos, in units of the critical density today, as all the densities here.
    Ode0 : float
        Cosmological constant.
    Or0 : float
        Photons and whatever else is always relativistic.
    Onu0 : tuple of float
        Of each neutrino species, the density today that it would have without a mass.
    nu_y : tuple of float
        m c²/(k T) today of each species; f(y) = (1 + (0.3173 y)^1.83)^(1/1.83).
    """

    H0: float
    Om0: float
    Ode0: float
    Or0: float = 0.0
    Onu0: tuple = ()
    nu_y: tuple = ()

    @property
    def Ok0(self):
        """Curvature density Ω_k = 1 − Σ Ω today."""
        massive = sum(o * massive_neutrino_factor(y) for o, y in zip(self.Onu0, self.nu_y, strict=True))
        return 1.0 - (self.Om0 + self.Ode0 + self.Or0 + massive)


def lambda_cdm(H0, Om0, Ode0, Tcmb0=0.0, Neff=3.04, m_nu=0.0):
    """ΛCDM universe with curvature, photons and neutrinos, as astropy's LambdaCDM.

    Parameters
    ----------
    H0 : float
        km/s/Mpc, above 0.
    Om0 : float
        Ω of matter without massive neutrinos.
    Ode0 : float
        Ω of the cosmological constant.
    Tcmb0 : float
        Temperature of the microwave background today in K; 0 turns photons and neutrinos off.
    Neff : float
        Effective number of neutrino species, a Python number. It is shared equally among floor(Neff) species.
    m_nu : float or sequence of floor(Neff) floats
        Neutrino masses in eV; one number is for every species.

    Returns
    -------
    Cosmology

    Raises
    ------
    ValueError
        For values out of range that are known at trace time, or a wrong number of masses.
    """
    H0 = _number("H0", H0, above=True)
    Om0, Ode0 = _number("Om0", Om0), _number("Ode0", Ode0, signed=True)
    radiation, neutrinos, ratios = _relativistic(H0, _number("Tcmb0", Tcmb0), Neff, m_nu)
    return Cosmology(H0, Om0, Ode0, radiation, neutrinos, ratios)


def flat_lambda_cdm(H0, Om0, Tcmb0=0.0, Neff=3.04, m_nu=0.0):
    """ΛCDM universe without curvature, as astropy's FlatLambdaCDM.

    Parameters
    ----------
    H0, Om0, Tcmb0, Neff, m_nu
        As for `lambda_cdm`.

    Returns
    -------
    Cosmology

    Raises
    ------
    ValueError
        As `lambda_cdm`.

    Examples
    --------
    >>> from lenskern.deflect import cosmology
    >>> planck = cosmology.flat_lambda_cdm(67.74, 0.3075, Tcmb0=2.7255, Neff=3.046, m_nu=[0.0, 0.0, 0.06])
    >>> print(f"{cosmology.angular_diameter_distance(planck, 0.5):.1f} Mpc")
    1297.0 Mpc
    """
    open_ = lambda_cdm(H0, Om0, 0.0, Tcmb0, Neff, m_nu)
    return dataclasses.replace(open_, Ode0=open_.Ok0)


def from_astropy(cosmology):
    """Convert a cosmology of astropy, or of autogalaxy/autolens.

    The cosmologies of autolens are no astropy objects: they treat massive neutrinos as matter and round constants,
    which moves distances by some 1e-6. Their own expansion history is taken over, so that distances agree with theirs.

    Parameters
    ----------
    cosmology : astropy.cosmology.LambdaCDM or FlatLambdaCDM, or autolens's FlatLambdaCDM (``al.cosmo.Planck15()``)

    Returns
    -------
    Cosmology

    Raises
    ------
    NotImplementedError
        For a dark energy that is not a cosmological constant.
    ValueError
        For anything that is no cosmology.
    """
    if hasattr(cosmology, "angular_diameter_distance_kpc_z1z2"):
        return _from_autolens(cosmology)
    from astropy.cosmology import FLRW, FlatLambdaCDM, LambdaCDM

    if not isinstance(cosmology, FLRW):
        raise ValueError(f"cosmology: got {type(cosmology).__name__}, expected an astropy.cosmology.LambdaCDM")
    if not isinstance(cosmology, LambdaCDM):
        raise NotImplementedError(
            f"cosmology: got {type(cosmology).__name__}, expected LambdaCDM or FlatLambdaCDM: the only dark "
            "energy available is a cosmological constant"
        )
    masses = 0.0 if cosmology.m_nu is None else [float(m) for m in cosmology.m_nu.to_value("eV")]
    arguments = float(cosmology.Tcmb0.to_value("K")), float(cosmology.Neff), masses
    H0 = float(cosmology.H0.to_value("km/(s Mpc)"))
    if isinstance(cosmology, FlatLambdaCDM):
        return flat_lambda_cdm(H0, float(cosmology.Om0), *arguments)
    return lambda_cdm(H0, float(cosmology.Om0), float(cosmology.Ode0), *arguments)


def massive_neutrino_factor(y):
    """Density of neutrinos with m c²/(k T) = y over that of massless ones (Komatsu et al. 2011, eq. 26)."""
    return (1.0 + (_FIT_SCALE * y) ** _FIT_POWER) ** _FIT_INVERSE_POWER


def _relativistic(H0, Tcmb0, Neff, m_nu):
    """Ω of photons, and Ω and m/T of each neutrino species."""
    photons = _PHOTONS * Tcmb0**4 / (H0 / 100) ** 2
    try:
        Neff = float(Neff)
    except (TypeError, jax.errors.JAXTypeError):
        Neff = math.nan
    if not (Neff >= 0 and math.isfinite(Neff)):
        raise ValueError(f"Neff: got {Neff}, expected a Python number of at least 0")
    species = math.floor(Neff)
    masses = list(m_nu) if isinstance(m_nu, list | tuple) or getattr(m_nu, "ndim", 0) else [m_nu] * species
    if not isinstance(Tcmb0, jax.core.Tracer) and Tcmb0 == 0:
        return 0.0, (), ()
    if len(masses) != species:
        raise ValueError(f"m_nu: got {len(masses)} masses, expected one, or {species} (floor of Neff)")
    if species == 0:
        return photons * (1 + _FERMI_DIRAC * Neff), (), ()
    masses = [_number("m_nu", m) for m in masses]
    share = photons * _FERMI_DIRAC * Neff / species
    temperature = _BOLTZMANN * _NEUTRINO_TEMPERATURE * Tcmb0
    heavy = [m for m in masses if isinstance(m, jax.core.Tracer) or m > 0]
    radiation = photons + share * (species - len(heavy))
    return radiation, (share,) * len(heavy), tuple(m / temperature for m in heavy)


def _from_autolens(cosmology):
    """The expansion history of autogalaxy's FlatLambdaCDM, whose massive neutrinos are matter."""
    if getattr(cosmology, "w0", -1.0) != -1.0:
        raise NotImplementedError(f"cosmology: got w0 = {cosmology.w0}, expected -1: a cosmological constant")
    h2 = (cosmology.H0 / 100) ** 2
    masses = np.asarray(cosmology.m_nu, float)
    total = masses.sum() if masses.ndim else masses * math.floor(cosmology.Neff)
    massless = max(cosmology.Neff - int((masses > 0).sum()), 0.0)
    radiation = 2.469e-5 * (cosmology.Tcmb0 / 2.7255) ** 4 / h2 * (1 + 0.2271 * massless)
    matter = cosmology.Om0 + float(total) / 93.14 / h2
    return Cosmology(float(cosmology.H0), float(matter), float(1 - matter - radiation), float(radiation))


def _number(name, value, above=False, signed=False):
    """A real scalar, checked where it is known."""
    if isinstance(value, jax.core.Tracer):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: got {value!r}, expected a number") from None
    if not math.isfinite(number) or (above and number <= 0) or (not signed and number < 0):
        bound = "" if signed else " above 0" if above else " of at least 0"
        raise ValueError(f"{name}: got {value!r}, expected a finite number{bound}")
    return value if hasattr(value, "dtype") else number

"""Elliptical lenses and the tidal field: the macro model of a lens plane."""

import dataclasses

import jax
import jax.numpy as jnp

from .. import _parameters
from .._parameters import check_grid as _check_grid
from .._parameters import scalar as _scalar
from .._parameters import vector as _vector
from . import macro_primitive as primitive
from . import macro_reference as reference

__all__ = ["ExternalShear", "Isothermal", "MassSheet", "PowerLaw"]


class Macro:
    """What the models share: each has `_deflection`, `_convergence`, `_potential` and `_shear` for a flat grid."""

    def deflection(self, grid, *, backend=None):
        """Deflection at positions on the lens plane.

        Parameters
        ----------
        grid : (..., 2) array
            Positions (y, x) in arcsec.
        backend : {None, "reference", "cpp", "cuda"}
            What runs an elliptical power law; None takes the fastest that is available for the platform.

        Returns
        -------
        (..., 2) array
            α (y, x) in arcsec; 0 at a centre. NaN where the parameters are out of range and traced.

        Raises
        ------
        ValueError
            For an argument of the wrong shape or dtype, or a Python or NumPy number out of range.
        """
        grid = _check_grid(grid)
        return self._deflection(grid.reshape(-1, 2), backend).reshape(grid.shape)

    def convergence(self, grid):
        """Convergence at positions on the lens plane.

        Parameters
        ----------
        grid : (..., 2) array
            Positions (y, x) in arcsec.

        Returns
        -------
        (...) array
            κ; large but finite at the centre of a singular model.
        """
        grid = _check_grid(grid)
        return self._convergence(grid.reshape(-1, 2)).reshape(grid.shape[:-1])

    def potential(self, grid, *, backend=None):
        """Lensing potential at positions on the lens plane.

        Parameters
        ----------
        grid, backend
            As for `deflection`.

        Returns
        -------
        (...) array
            ψ in arcsec², with α = ∇ψ and ψ = 0 at the centre.
        """
        grid = _check_grid(grid)
        return self._potential(grid.reshape(-1, 2), backend).reshape(grid.shape[:-1])

    def jacobian(self, grid, *, backend=None):
        """Jacobian matrix of the deflection at positions on the lens plane.

        Parameters
        ----------
        grid, backend
            As for `deflection`.

        Returns
        -------
        (..., 2, 2) array
            ∂α_i/∂θ_j in (y, x) order, symmetric: its trace is 2 κ, xx − yy is 2 γ₁ and yx is γ₂.
        """
        grid = _check_grid(grid)
        flat = grid.reshape(-1, 2)
        kappa, gamma = self._convergence(flat), self._shear(flat, backend)
        rows = [[kappa - gamma.real, gamma.imag], [gamma.imag, kappa + gamma.real]]
        return jnp.stack([jnp.stack(row, -1) for row in rows], -2).reshape(*grid.shape, 2)

    def displaced(self, grid, away, backend=None):
        """Deflection at ``grid - away`` for a flat grid: digits are kept where the two differ little.

        Parameters
        ----------
        grid : (n, 2) array
            Positions (y, x) in arcsec.
        away : (n, 2) array
            In arcsec.
        backend
            As for `deflection`.

        Returns
        -------
        (n, 2) array
            α (y, x) in arcsec.
        """
        offset = (grid - _vector("centre", self.centre, grid)) - away
        return dataclasses.replace(self, centre=(0.0, 0.0))._deflection(offset, backend)


class _Elliptical(Macro):
    """What the elliptical models share."""

    def _parameters(self, grid):
        """Those of `macro_reference.deflection`."""
        centre, ell = _vector("centre", self.centre, grid), _vector("ell_comps", self.ell_comps, grid)
        radius, slope = _scalar("einstein_radius", self.einstein_radius, grid), _scalar("slope", self.slope, grid)
        _check_radius("einstein_radius", self.einstein_radius)
        _check_slope("slope", self.slope)
        t = slope - 1
        f, ell = _parameters.clamped(ell)
        valid = (radius >= 0) & (t > 0) & (t < 2)
        # B = (1 − f)^t (1 + f) θ_E^t: the elliptical radius that θ_E scales is the major axis.
        strength = jnp.where(valid, (1 + f) * ((1 - f) * jnp.where(valid, radius, 1)) ** t, jnp.nan)
        return jnp.stack([*centre, *ell, strength, jnp.where(valid, t, 1)])

    def _deflection(self, grid, backend):
        return primitive.deflection(grid, self._parameters(grid), self._isothermal, backend)

    def _convergence(self, grid):
        return reference.convergence(grid, self._parameters(grid))

    def _potential(self, grid, backend):
        # Homogeneous of degree 2 − t.
        parameters = self._parameters(grid)
        values = primitive.deflection(grid, parameters, self._isothermal, backend)
        return ((grid - parameters[:2]) * values).sum(-1) / (2 - parameters[5])

    def _shear(self, grid, backend):
        parameters = self._parameters(grid)
        values = primitive.deflection(grid, parameters, self._isothermal, backend)
        return reference.shear(grid, parameters, values, reference.convergence(grid, parameters))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PowerLaw(_Elliptical):
    """Elliptical power law (Tessore & Metcalf 2015), with the parameters of autogalaxy's `PowerLaw`.

    κ = (3 − γ)/(1 + q) (θ_E/ξ)^(γ − 1), ξ² = x² + y²/q² along the principal axes. The relative error of the deflection
    is of the order of rounding for every axis ratio and slope.

    Attributes
    ----------
    centre : (2,) array or pair
        (y, x) in arcsec.
    ell_comps : (2,) array or pair
        f (sin 2φ, cos 2φ), f = (1 − q)/(1 + q), φ counterclockwise from x to the major axis. f is clamped to 0.999. At
        f = 0 the terms of B linear in f are taken to have derivative 0.
    einstein_radius : scalar
        θ_E in arcsec, at least 0.
    slope : scalar
        γ, in (1, 3); 2 is isothermal.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from lenskern import deflect
    >>> lens = deflect.PowerLaw(ell_comps=(0.1, 0.0), einstein_radius=1.2, slope=2.1)
    >>> alpha = lens.deflection(jnp.array([[0.0, 2.0], [0.5, 0.5]]))
    >>> alpha.shape
    (2, 2)
    """

    centre: jax.Array = (0.0, 0.0)
    ell_comps: jax.Array = (0.0, 0.0)
    einstein_radius: jax.Array = 1.0
    slope: jax.Array = 2.0

    _isothermal = False

    @classmethod
    def from_lenstronomy(cls, theta_E, gamma, e1, e2, center_x=0.0, center_y=0.0):
        """The model that lenstronomy's `EPL` gives for these parameters.

        Parameters
        ----------
        theta_E : scalar
            Einstein radius along the intermediate axis in arcsec: κ = (3 − γ)/2 (θ_E/√(q x² + y²/q))^(γ − 1).
        gamma : scalar
            γ, in (1, 3).
        e1, e2 : scalars
            f cos 2φ and f sin 2φ.
        center_x, center_y : scalars
            In arcsec.

        Returns
        -------
        PowerLaw
        """
        _check_radius("theta_E", theta_E)
        _check_slope("gamma", gamma)
        return cls((center_y, center_x), (e2, e1), _major_radius(theta_E, gamma, e1, e2), gamma)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Isothermal(_Elliptical):
    """Singular isothermal ellipsoid, the power law of slope 2 in closed form (Kormann, Schneider & Bartelmann 1994).

    κ = θ_E/((1 + q) ξ), ξ² = x² + y²/q² along the principal axes, as autogalaxy's `Isothermal`.

    Attributes
    ----------
    centre : (2,) array or pair
        (y, x) in arcsec.
    ell_comps : (2,) array or pair
        As for `PowerLaw`.
    einstein_radius : scalar
        θ_E in arcsec, at least 0.
    """

    centre: jax.Array = (0.0, 0.0)
    ell_comps: jax.Array = (0.0, 0.0)
    einstein_radius: jax.Array = 1.0

    _isothermal = True
    slope = 2.0

    @classmethod
    def from_lenstronomy(cls, theta_E, e1, e2, center_x=0.0, center_y=0.0):
        """The model that lenstronomy's `SIE` gives for these parameters.

        Parameters
        ----------
        theta_E, e1, e2, center_x, center_y
            As for `PowerLaw.from_lenstronomy`.

        Returns
        -------
        Isothermal
        """
        _check_radius("theta_E", theta_E)
        return cls((center_y, center_x), (e2, e1), _major_radius(theta_E, 2.0, e1, e2))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ExternalShear(Macro):
    """Constant shear: α_x = γ₁ x + γ₂ y, α_y = γ₂ x − γ₁ y, in autogalaxy's and lenstronomy's convention alike.

    Attributes
    ----------
    gamma_1, gamma_2 : scalars
        γ cos 2φ and γ sin 2φ, φ being the direction in which images are stretched.
    centre : (2,) array or pair
        (y, x) in arcsec: where the deflection is 0.
    """

    gamma_1: jax.Array = 0.0
    gamma_2: jax.Array = 0.0
    centre: jax.Array = (0.0, 0.0)

    @classmethod
    def from_lenstronomy(cls, gamma1, gamma2, ra_0=0.0, dec_0=0.0):
        """The model that lenstronomy's `SHEAR` gives for these parameters.

        Parameters
        ----------
        gamma1, gamma2 : scalars
        ra_0, dec_0 : scalars
            x and y in arcsec where the deflection is 0.

        Returns
        -------
        ExternalShear
        """
        return cls(gamma1, gamma2, (dec_0, ra_0))

    @classmethod
    def from_polar(cls, gamma, angle, centre=(0.0, 0.0)):
        """Shear from its size and direction.

        Parameters
        ----------
        gamma : scalar
        angle : scalar
            φ in radians, counterclockwise from x; lenstronomy's ``psi_ext``.
        centre : (2,) array or pair
            (y, x) in arcsec.

        Returns
        -------
        ExternalShear
        """
        return cls(gamma * jnp.cos(2 * angle), gamma * jnp.sin(2 * angle), centre)

    def _parts(self, grid):
        offset = grid - _vector("centre", self.centre, grid)
        gamma_1, gamma_2 = _scalar("gamma_1", self.gamma_1, grid), _scalar("gamma_2", self.gamma_2, grid)
        return offset[:, 0], offset[:, 1], gamma_1, gamma_2

    def _deflection(self, grid, backend):
        y, x, gamma_1, gamma_2 = self._parts(grid)
        return jnp.stack([gamma_2 * x - gamma_1 * y, gamma_1 * x + gamma_2 * y], -1)

    def _convergence(self, grid):
        return jnp.zeros_like(grid[:, 0])

    def _potential(self, grid, backend):
        y, x, gamma_1, gamma_2 = self._parts(grid)
        return gamma_1 * (x - y) * (x + y) / 2 + gamma_2 * x * y

    def _shear(self, grid, backend):
        y, _, gamma_1, gamma_2 = self._parts(grid)
        return jnp.broadcast_to(jax.lax.complex(gamma_1, gamma_2), y.shape)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MassSheet(Macro):
    """Sheet of constant convergence: α = κ (θ − c).

    Attributes
    ----------
    kappa : scalar
        Of either sign.
    centre : (2,) array or pair
        (y, x) in arcsec: where the deflection is 0.
    """

    kappa: jax.Array = 0.0
    centre: jax.Array = (0.0, 0.0)

    def _deflection(self, grid, backend):
        return _scalar("kappa", self.kappa, grid) * (grid - _vector("centre", self.centre, grid))

    def _convergence(self, grid):
        return jnp.broadcast_to(_scalar("kappa", self.kappa, grid), grid.shape[:1])

    def _potential(self, grid, backend):
        offset = grid - _vector("centre", self.centre, grid)
        return _scalar("kappa", self.kappa, grid) * (offset**2).sum(-1) / 2

    def _shear(self, grid, backend):
        zero = jnp.zeros_like(grid[:, 0])
        return jax.lax.complex(zero, zero)


def _major_radius(theta_E, gamma, e1, e2):
    """Einstein radius of the major axis, from lenstronomy's of the intermediate axis."""
    f = jnp.minimum(_parameters.size(e2, e1), _parameters.LARGEST)
    return theta_E * jnp.sqrt((1 + f) / (1 - f)) * (1 + f) ** (-1 / (gamma - 1))


def _check_radius(name, value):
    _parameters.check_range(name, value, lambda x: x >= 0, "at least 0 arcsec")


def _check_slope(name, value):
    _parameters.check_range(name, value, lambda x: (x > 1) & (x < 3), "more than 1 and less than 3")

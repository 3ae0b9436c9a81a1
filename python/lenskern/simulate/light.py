"""Light profiles, in autogalaxy's parameters, and an image as a source."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from .. import _checks
from .._parameters import check_grid, check_range, clamped, scalar, vector

__all__ = ["Gaussian", "ImageSource", "Sersic", "SersicCore"]

# Here rays are multiplied by inverses: divisions of an array by a scalar XLA rounds in one way or another.

# Radii below these times the effective radius or the break radius count as the centre, where derivatives are 0.
_CENTRE = 1e-15
_CORE_CENTRE = 1e-6


class Light:
    """What the profiles share: each has `_brightness` for a flat grid."""

    def brightness(self, grid):
        """Surface brightness at positions on the profile's plane.

        Parameters
        ----------
        grid : (..., 2) array
            Positions (y, x) in arcsec.

        Returns
        -------
        (...) array
            In the units of the intensity; finite at the centre, with finite derivatives. NaN where the parameters are
            out of range and traced, or the position is not finite.

        Raises
        ------
        ValueError
            For an argument of the wrong shape or dtype, or a Python or NumPy number out of range.
        """
        grid = check_grid(grid)
        return self._brightness(grid.reshape(-1, 2)).reshape(grid.shape[:-1])

    def _ellipse(self, grid):
        """f and (1 + f)² (x'² q² + y'²), squares along the major and minor axes."""
        y, x = (grid - vector("centre", self.centre, grid)).T
        f, (ey, ex) = clamped(vector("ell_comps", self.ell_comps, grid))
        size = 1 + ey**2 + ex**2
        return f, (size - 2 * ex) * x**2 - 4 * ey * x * y + (size + 2 * ex) * y**2

    def _positive(self, grid, *names):
        """Parameters that must be above 0, and whether they are."""
        values = []
        for name in names:
            check_range(name, getattr(self, name), lambda x: x > 0, "more than 0")
            values.append(scalar(name, getattr(self, name), grid))
        valid = jnp.all(jnp.stack([x > 0 for x in values]))
        return [jnp.where(valid, x, 1) for x in values], jnp.where(valid, 1, jnp.asarray(jnp.nan, grid.dtype))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sersic(Light):
    """Sérsic (1968) profile: I = I_e exp(−b_n ((ξ/R_e)^(1/n) − 1)), ξ² = q x² + y²/q along the principal axes.

    b_n is the series of Ciotti & Bertin (1999) to n⁻⁴, as in autogalaxy: the light within R_e is half of all to 1e-4 at
    n = 0.6, 2e-5 at n = 1 and 1e-7 at n = 4.

    Attributes
    ----------
    centre : (2,) array or pair
        (y, x) in arcsec.
    ell_comps : (2,) array or pair
        f (sin 2φ, cos 2φ), f = (1 − q)/(1 + q), φ counterclockwise from x to the major axis. f is clamped to 0.999.
    intensity : scalar
        I_e, for example in electrons per second and pixel.
    effective_radius : scalar
        R_e in arcsec, above 0: that of the circle of the same area.
    sersic_index : scalar
        n, above 0.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from lenskern import simulate
    >>> source = simulate.Sersic(intensity=2.0, effective_radius=0.5, sersic_index=1.0)
    >>> print(source.brightness(jnp.array([[0.0, 0.5], [0.3, -0.4]])))
    [2. 2.]
    """

    centre: jax.Array = (0.0, 0.0)
    ell_comps: jax.Array = (0.0, 0.0)
    intensity: jax.Array = 0.1
    effective_radius: jax.Array = 0.6
    sersic_index: jax.Array = 4.0

    def _brightness(self, grid):
        (radius, n), valid = self._positive(grid, "effective_radius", "sersic_index")
        f, square = self._ellipse(grid)
        log, at_centre = _log(square * (1 / ((1 - f**2) * radius**2)), _CENTRE)
        power = jnp.where(at_centre, 0, jnp.exp(log * (0.5 / n)))
        return scalar("intensity", self.intensity, grid) * valid * jnp.exp(-_b(n) * (power - 1))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SersicCore(Light):
    """Cored Sérsic profile (Graham et al. 2003) with autogalaxy's parameters.

    I′ (1 + (r_b/ξ)^α)^(γ/α) exp(−b_n ((ξ^α + r_b^α)/R_e^α)^(1/(α n))),
    I′ = I 2^(−γ/α) exp(b_n (2^(1/α) r_b/R_e)^(1/n)).
    The cusp ξ^(−γ) ends at 1e-6 r_b, so that the brightness of the centre is finite.

    Attributes
    ----------
    centre, ell_comps, effective_radius, sersic_index
        As for `Sersic`.
    radius_break : scalar
        r_b in arcsec, above 0.
    intensity : scalar
        I, that at the break radius.
    gamma : scalar
        Logarithmic slope of the core.
    alpha : scalar
        Sharpness of the break, above 0.
    """

    centre: jax.Array = (0.0, 0.0)
    ell_comps: jax.Array = (0.0, 0.0)
    effective_radius: jax.Array = 0.6
    sersic_index: jax.Array = 4.0
    radius_break: jax.Array = 0.025
    intensity: jax.Array = 0.05
    gamma: jax.Array = 0.25
    alpha: jax.Array = 3.0

    def _brightness(self, grid):
        names = ("effective_radius", "sersic_index", "radius_break", "alpha")
        (radius, n, radius_break, alpha), valid = self._positive(grid, *names)
        f, square = self._ellipse(grid)
        log, _ = _log(square * (1 / ((1 - f**2) * radius_break**2)), _CORE_CENTRE)
        # In logarithms of 1 + (ξ/r_b)^α, which neither overflow nor cancel.
        log = alpha / 2 * log
        outer = jnp.logaddexp(log, 0)
        core = scalar("gamma", self.gamma, grid) / alpha * (outer - log - math.log(2))
        scale, at_break = _b(n) * (radius_break / radius) ** (1 / n), 2 ** (1 / (alpha * n))
        exponent = core - scale * (jnp.exp(outer * (1 / (alpha * n))) - at_break)
        return scalar("intensity", self.intensity, grid) * valid * jnp.exp(exponent)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gaussian(Light):
    """Elliptical Gaussian with autogalaxy's parameters: I exp(−(q² x² + y²)/(2 σ²)) along the principal axes.

    Attributes
    ----------
    centre, ell_comps
        As for `Sersic`.
    intensity : scalar
        I, that of the centre.
    sigma : scalar
        σ of the minor axis in arcsec, above 0.
    """

    centre: jax.Array = (0.0, 0.0)
    ell_comps: jax.Array = (0.0, 0.0)
    intensity: jax.Array = 0.1
    sigma: jax.Array = 1.0

    def _brightness(self, grid):
        (sigma,), valid = self._positive(grid, "sigma")
        f, square = self._ellipse(grid)
        exponent = square * (-0.5 / ((1 + f) * sigma) ** 2)
        return scalar("intensity", self.intensity, grid) * valid * jnp.exp(exponent)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ImageSource(Light):
    """An image as a source: bilinear between the centres of its pixels, 0 outside.

    It falls to 0 within one pixel of the outermost centres, so that it is continuous and keeps its flux. The value is
    that of the image, whatever the pixel scale. Derivatives with respect to the image are exact.

    Attributes
    ----------
    image : (H, W) array
        Row 0 is the top, that of largest y.
    pixel_scale : scalar
        In arcsec, above 0.
    centre : (2,) array or pair
        (y, x) of the middle of the image in arcsec.
    """

    image: jax.Array
    pixel_scale: jax.Array
    centre: jax.Array = (0.0, 0.0)

    def _brightness(self, grid):
        image = _checks.float_array("image", self.image)
        _checks.same_dtype("grid", grid, "image", image)
        if image.ndim != 2 or 0 in image.shape:
            raise ValueError(f"image: got shape {image.shape}, expected (H, W); use jax.vmap for a batch")
        (pixel_scale,), valid = self._positive(grid, "pixel_scale")
        y, x = ((grid - vector("centre", self.centre, grid)) * (1 / pixel_scale)).T
        # A border of zeros around the image; all that is farther out is clamped to it.
        height, width = image.shape
        row, down = _cell((height + 1) / 2 - y, height + 1)
        column, right = _cell((width + 1) / 2 + x, width + 1)
        padded = jnp.pad(image, 1).reshape(-1)
        first = row * (width + 2) + column
        corners = [padded.at[first + step].get(mode="clip") for step in (0, 1, width + 2, width + 3)]
        above, below = (left * (1 - right) + beside * right for left, beside in (corners[:2], corners[2:]))
        return valid * (above * (1 - down) + below * down)


def _log(ratio, floor):
    """Logarithm of a squared radius, and where it is replaced by that of the floor, without derivative."""
    at_centre = ratio <= floor**2
    return jnp.log(jnp.where(at_centre, floor**2, ratio)), at_centre


def _b(n):
    """b_n of Ciotti & Bertin (1999), equation 18."""
    value, inverse = 0.0, 1 / n
    for term in (-2194697 / 30690717750, 131 / 1148175, 46 / 25515, 4 / 405, -1 / 3):
        value = value * inverse + term
    return 2 * n + value


def _cell(position, last):
    """The pixel before a position and the fraction beyond it, the position being clamped to 0 ... last."""
    position = jnp.where(position < 0, 0, jnp.where(position > last, last, position))
    cell = jnp.clip(jnp.floor(position), 0, last - 1)
    return cell.astype(jnp.int32), position - cell

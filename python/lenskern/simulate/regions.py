"""Where haloes are: regions of the sky with a density of positions."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from ..deflect.profiles import Profile, mean_convergence
from ..deflect.roots import increasing_root

__all__ = ["Disc", "ProjectedNFW", "Rectangle"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Disc:
    """Positions uniform in a disc.

    Attributes
    ----------
    radius : scalar
        arcsec.
    centre : (2,) array or tuple
        (y, x) in arcsec.
    """

    radius: jax.Array
    centre: jax.Array = (0.0, 0.0)

    def area(self):
        """In arcsec²."""
        return math.pi * self.radius**2

    def positions(self, unit):
        """(n, 2) positions (y, x) in arcsec, from (n, 2) numbers uniform between 0 and 1."""
        return _polar(self.radius * jnp.sqrt(unit[:, 0]), unit[:, 1], self.centre)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rectangle:
    """Positions uniform in a rectangle.

    Attributes
    ----------
    height, width : scalars
        Full sides along y and x in arcsec.
    centre : (2,) array or tuple
        (y, x) in arcsec.
    """

    height: jax.Array
    width: jax.Array
    centre: jax.Array = (0.0, 0.0)

    def area(self):
        """In arcsec²."""
        return self.height * self.width

    def positions(self, unit):
        """(n, 2) positions (y, x) in arcsec, from (n, 2) numbers uniform between 0 and 1."""
        return _pair(self.centre, unit.dtype) + (unit - 0.5) * _pair((self.height, self.width), unit.dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ProjectedNFW:
    """Positions in a disc, with the projected density of an NFW profile: subhaloes that trace their host.

    Attributes
    ----------
    radius : scalar
        Of the disc in arcsec.
    scale_radius : scalar
        Of the host in arcsec.
    centre : (2,) array or tuple
        (y, x) in arcsec.
    """

    radius: jax.Array
    scale_radius: jax.Array
    centre: jax.Array = (0.0, 0.0)

    def area(self):
        """In arcsec²."""
        return math.pi * self.radius**2

    def positions(self, unit):
        """(n, 2) positions (y, x) in arcsec, from (n, 2) numbers uniform between 0 and 1."""
        last = jnp.asarray(jnp.log(self.radius / self.scale_radius), unit.dtype)
        target = jnp.log(unit[:, 0]) + _ln_projected_mass(last)
        # 22 e-folds of the radius hold the smallest random number; rounding must not lose the root at the edge.
        low, high = jnp.full(len(unit), last - 22), jnp.full(len(unit), last + 1e-3)
        ln_x = increasing_root(lambda x: _ln_projected_mass(x) - target, low, high)
        return _polar(self.scale_radius * jnp.exp(jnp.minimum(ln_x, last)), unit[:, 1], self.centre)


def _ln_projected_mass(ln_x):
    u = jnp.exp(2 * ln_x)
    return 2 * ln_x + jnp.log(mean_convergence(Profile.NFW, u, jnp.ones_like(u), jnp.ones_like(u)))


def _polar(radius, turns, centre):
    angle = 2 * math.pi * turns
    return _pair(centre, radius.dtype) + radius[:, None] * jnp.stack([jnp.sin(angle), jnp.cos(angle)], -1)


def _pair(values, dtype):
    y, x = values
    return jnp.stack([jnp.asarray(y, dtype), jnp.asarray(x, dtype)])

"""One pure function from parameters and a key to an image."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .. import deflect
from .microbatch import in_pieces
from .scene import Scene

__all__ = ["System", "simulate"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class System:
    """A lens and a source.

    Attributes
    ----------
    planes : lenskern.deflect.Planes or None
        The lens; None for none.
    sources : tuple
        Light profiles in the source plane, with a method ``brightness(grid)``.
    lens_light : tuple
        Light profiles of the lens.
    overflow : scalar integer
        Number of haloes for which there was no room. The image is NaN unless it is 0.
    lens_light_plane : int or None
        The plane of the lens light, seen through what is in front of it; None takes its positions as those in the
        image. Static.
    """

    planes: deflect.Planes | None
    sources: tuple = ()
    lens_light: tuple = ()
    overflow: Any = 0
    lens_light_plane: int | None = dataclasses.field(default=None, metadata={"static": True})


def simulate(scene, theta, key, *, noise=True):
    """Simulate the image of a lensed source.

    A pure function: compiled, and to be used under `jax.jit`, `jax.vmap`, `jax.grad` and `jax.jvp`. Same key, same
    image. A batch is taken in pieces of bounded memory, whatever its size.

    Parameters
    ----------
    scene : Scene
    theta : pytree
        What ``scene.model`` takes; a `System` if that is None.
    key : jax.Array
        Key of `jax.random`, for the populations that the model draws and for the noise.
    noise : bool
        False gives the mean image.

    Returns
    -------
    (H, W) array
        Image in ``scene.unit``; NaN where haloes did not fit (`System.overflow`) or parameters are out of range.

    Raises
    ------
    ValueError, NotImplementedError, RuntimeError
        For an argument of the wrong type, shape, dtype or value; see also `lenskern.deflect.trace`.
    """
    if not isinstance(scene, Scene):
        raise ValueError(f"scene: got {type(scene).__name__}, expected lenskern.simulate.Scene")
    return _simulate(scene, theta, key, bool(noise))


@partial(jax.jit, static_argnames="noise")
def _simulate(scene, theta, key, noise):
    return in_pieces(partial(_image, noise=noise))(scene, theta, key)


def _image(scene, theta, key, noise):
    # Streams of their own, so that no noise depends on what a model draws.
    of_model, _ = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    system = theta if scene.model is None else scene.model(theta, of_model)
    if not isinstance(system, System):
        raise ValueError(f"{'theta' if scene.model is None else 'model'}: got {type(system).__name__}, expected System")
    image = _convolved(scene, _binned(scene, _light(scene, system)))
    image = jnp.where(jnp.asarray(system.overflow) > 0, jnp.nan, image)
    if noise:
        raise NotImplementedError("noise: not there yet, use noise=False")
    return image


def _light(scene, system):
    """Brightness of every ray."""
    total, planes = jnp.zeros(len(scene.rays), scene.dtype), system.planes
    source = seen = scene.rays
    if planes is not None:
        through = system.lens_light and system.lens_light_plane is not None
        options = {"positions": scene.positions, "tol": scene.tol, "backend": scene.backend}
        source = deflect.trace(planes, scene.rays, all_planes=bool(through), **options)
        if through:
            seen, source = source[system.lens_light_plane], source[-1]
    for profile in system.sources:
        total = total + profile.brightness(source)
    for profile in system.lens_light:
        total = total + profile.brightness(seen)
    return total


def _binned(scene, light):
    """Means over the rays of each pixel, margins included."""
    means, start = [], 0
    for size, count in scene.groups:
        end = start + size**2 * count
        means.append(light[start:end].reshape(count, size**2).mean(-1))
        start = end
    return jnp.concatenate(means)[scene.order].reshape(scene.padded_shape)


def _convolved(scene, image):
    if scene.psf is None:
        return image
    return jax.scipy.signal.fftconvolve(image, scene.psf, mode="valid")

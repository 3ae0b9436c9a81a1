"""One pure function from parameters and a key to an image."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .. import _checks, deflect
from .microbatch import in_pieces
from .noise import add_noise
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
    lens_light_plane : int, tuple of int, or None
        The plane of the lens light, seen through what is in front of it, or one for each of its profiles; None takes
        its positions as those in the image. Static.
    """

    planes: deflect.Planes | None
    sources: tuple = ()
    lens_light: tuple = ()
    overflow: Any = 0
    lens_light_plane: int | tuple[int, ...] | None = dataclasses.field(default=None, metadata={"static": True})


def simulate(scene, theta, key, *, noise=True, with_overflow=False):
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
    with_overflow : bool
        Whether `System.overflow` is returned too.

    Returns
    -------
    (H, W) array, or a pair of it and a scalar integer
        Image in ``scene.unit``; NaN where haloes did not fit (`System.overflow`), parameters are out of range, or the
        light with the sky is negative and noise is asked for.

    Raises
    ------
    ValueError, NotImplementedError, RuntimeError
        For an argument of the wrong type, shape, dtype or value; see also `lenskern.deflect.trace`.
    """
    if not isinstance(scene, Scene):
        raise ValueError(f"scene: got {type(scene).__name__}, expected lenskern.simulate.Scene")
    if not hasattr(key, "dtype"):
        raise ValueError(f"key: got {type(key).__name__}, expected a key, as jax.random.key(seed) makes")
    if scene.model is None:
        _require_system("theta", theta, scene.dtype)
    image, overflow = _simulate(scene, theta, key, bool(noise))
    return (image, overflow) if with_overflow else image


@partial(jax.jit, static_argnames="noise")
def _simulate(scene, theta, key, noise):
    return in_pieces(partial(_image, noise=noise))(scene, theta, key)


def _image(scene, theta, key, noise):
    # Streams of their own, so that no noise depends on what a model draws.
    of_model, of_noise = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    system = theta if scene.model is None else scene.model(theta, of_model)
    _require_system("model", system, scene.dtype)
    image = _convolved(scene, _binned(scene, _light(scene, system)))
    overflow = jnp.asarray(system.overflow)
    image = jnp.where(overflow > 0, jnp.nan, image)
    return _observed(scene, image, of_noise if noise else None), overflow


def _require_system(name, value, dtype):
    if not isinstance(value, System):
        raise ValueError(f"{name}: got {type(value).__name__}, expected lenskern.simulate.System")
    halos = None if value.planes is None else value.planes.halos
    if halos is not None and halos.dtype != dtype:
        raise ValueError(f"{name}.planes: got haloes of dtype {halos.dtype}, expected that of the scene, {dtype}")
    for part in ("sources", "lens_light"):
        profiles = getattr(value, part)
        if not isinstance(profiles, tuple | list):
            raise ValueError(f"{name}.{part}: got {type(profiles).__name__}, expected a tuple of light profiles")
        for profile in profiles:
            if not callable(getattr(profile, "brightness", None)):
                raise ValueError(f"{name}.{part}: got {type(profile).__name__}, expected profiles with a brightness")


def _light(scene, system):
    """Brightness of every ray."""
    total, planes = jnp.zeros(len(scene.rays), scene.dtype), system.planes
    source, seen = scene.rays, [scene.rays] * len(system.lens_light)
    if planes is not None:
        through = system.lens_light and system.lens_light_plane is not None
        options = {"positions": scene.positions, "tol": scene.tol, "backend": scene.backend}
        source = deflect.trace(planes, scene.rays, all_planes=bool(through), **options)
        if through:
            seen, source = [source[k] for k in _light_planes(system)], source[-1]
    for profile in system.sources:
        total = total + profile.brightness(source)
    for profile, positions in zip(system.lens_light, seen, strict=True):
        total = total + profile.brightness(positions)
    return total


def _light_planes(system):
    """The plane of each profile of the lens light."""
    planes, count = system.lens_light_plane, len(system.lens_light)
    planes = planes if isinstance(planes, tuple) else (planes,) * count
    if len(planes) != count:
        raise ValueError(f"lens_light_plane: got {len(planes)} planes, expected one for each of {count} profiles")
    return [_checks.index("lens_light_plane", "index", plane, len(system.planes)) for plane in planes]


def _binned(scene, light):
    """Means over the rays of each pixel, margins included."""
    means, start = [], 0
    for size, count in scene.groups:
        end = start + size**2 * count
        means.append(light[start:end].reshape(count, size**2).sum(-1) * (1 / size**2))
        start = end
    return jnp.concatenate(means)[scene.order].reshape(scene.padded_shape)


def _convolved(scene, image):
    if scene.psf is None:
        return image
    (top, _), (left, _) = scene.margins
    return scene.psf(image)[top : top + scene.shape[0], left : left + scene.shape[1]]


def _observed(scene, image, key):
    """The image in the unit of the scene; with noise unless there is no key."""
    background = scene.background
    if scene.unit == "counts" or key is not None:
        if scene.exposure_time is None:
            raise ValueError("scene.exposure_time: got None, expected seconds, or noise=False")
        image, background = image * scene.exposure_time, background * scene.exposure_time
    if key is not None:
        options = {"read_noise": scene.read_noise, "subtract_background": scene.subtract_background}
        image = add_noise(image, key, background=background, unit="counts", **options)
    elif not scene.subtract_background:
        image = image + background
    return image * (1 / scene.exposure_time) if scene.unit != "counts" and key is not None else image

"""From the number of an image to its parameters and pixels, the same in every run."""

import contextlib
import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from .priors import Prior, draw
from .store import ImageStatus

__all__ = ["Recipe", "deterministic", "program"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What the images of a set are made by.

    Image i has the key ``fold_in(key(seed), i)``; ``fold_in(..., 0)`` of it is for the parameters and
    ``fold_in(..., 1)`` for the image.

    Attributes
    ----------
    priors : dict of str to Prior
    image : callable
        ``image(theta, key)`` gives an (H, W) array, or a pair of it and the number of haloes that had no room. theta is
        a dict of scalars.
    seed : int
    dtype : str
        "float32" or "float64".
    batch : int
        Images that a device makes at a time.
    """

    priors: dict[str, Prior] = dataclasses.field(hash=False)
    image: Callable
    seed: int
    dtype: str
    batch: int

    @property
    def shape(self):
        """(H, W) of the images; found without simulating one."""
        with deterministic(self.dtype):
            shape = jax.eval_shape(self.one, self.root(), jnp.uint32(0))["image"].shape
        if len(shape) != 2:
            raise ValueError(f"image: got shape {shape} from the function, expected (H, W)")
        return shape

    def root(self):
        """The key of the seed."""
        return jax.random.key(self.seed, impl="threefry2x32")

    def one(self, root, number):
        """An image and what is stored with it.

        Parameters
        ----------
        root : key array of shape ()
        number : integer array of shape ()

        Returns
        -------
        dict
            `image`, `theta`, `status` and `overflow`.
        """
        key, dtype = jax.random.fold_in(root, number), np.dtype(self.dtype)
        theta = draw(self.priors, jax.random.fold_in(key, 0), dtype)
        found = self.image(theta, jax.random.fold_in(key, 1))
        image, overflow = found if isinstance(found, tuple) else (found, 0)
        if image.dtype != dtype:
            raise ValueError(f"image: got dtype {image.dtype} from the function, expected {dtype}")
        overflow = jnp.asarray(overflow, jnp.int32)
        status = jnp.where(jnp.isfinite(image).all(), ImageStatus.VALID, ImageStatus.NOT_FINITE)
        return {
            "image": image,
            "theta": jnp.stack(list(theta.values())) if theta else jnp.zeros(0, dtype),
            "status": jnp.where(overflow > 0, ImageStatus.OVERFLOW, status).astype(jnp.int32),
            "overflow": overflow,
        }


@contextlib.contextmanager
def deterministic(dtype):
    """Settings of JAX under which a program gives the same bits, whatever the caller's are.

    Parameters
    ----------
    dtype : str
        64-bit types are on for "float64" and off for "float32".
    """
    with (
        jax.enable_x64(dtype == "float64"),
        jax.threefry_partitionable(True),
        jax.default_matmul_precision("highest"),
    ):
        yield


@lru_cache(maxsize=8)
def program(recipe, devices):
    """The compiled function of a recipe on some devices.

    Each device runs the same program on `recipe.batch` images, so that an image does not depend on their number.

    Parameters
    ----------
    recipe : Recipe
    devices : tuple of jax.Device

    Returns
    -------
    callable
        From (len(devices) * batch,) numbers of images to what `Recipe.one` gives for each. To be called inside
        `deterministic`.
    """
    mesh = Mesh(np.asarray(devices), ("batch",))
    spread, everywhere = PartitionSpec("batch"), PartitionSpec()
    batched = jax.vmap(recipe.one, in_axes=(None, 0))
    run = jax.shard_map(batched, mesh=mesh, in_specs=(everywhere, spread), out_specs=spread, check_vma=False)
    return partial(jax.jit(run), recipe.root())

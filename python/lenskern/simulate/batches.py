"""Batches over several devices."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .image import simulate

__all__ = ["batch"]


def batch(scene, thetas, keys, *, noise=True, devices=None):
    """Simulate the images of many thetas, each device taking its share.

    On one device it is ``jax.vmap(simulate, (None, 0, 0))``, which takes a batch in pieces of bounded memory; on
    several the batch axis is sharded.

    Parameters
    ----------
    scene : Scene
    thetas : pytree
        With a leading batch axis on every array.
    keys : (B,) array of keys
    noise : bool
        As for `simulate`.
    devices : sequence of jax.Device, optional
        All that JAX computes on by default.

    Returns
    -------
    (B, H, W) array
        Sharded over the devices. Each image is the one that `simulate` gives for its theta and key.

    Raises
    ------
    ValueError, NotImplementedError, RuntimeError
        As `simulate`; for arrays of different lengths.
    """
    if jnp.ndim(keys) == 0:
        raise ValueError("keys: got one, expected (B,) of them, as jax.random.split(key, B) makes")
    count = len(keys)
    for leaf in jax.tree.leaves(thetas):
        if jnp.ndim(leaf) == 0 or len(leaf) != count:
            raise ValueError(
                f"thetas: got an array of shape {jnp.shape(leaf)}, expected ({count}, ...), one for each key"
            )
    mesh = Mesh(jax.devices() if devices is None else list(devices), "batch")
    # The last lane is repeated until the batch can be shared out.
    missing = -count % mesh.size if count else 0
    thetas, keys = jax.tree.map(lambda x: _lengthened(jnp.asarray(x), missing), (thetas, keys))
    scene = jax.device_put(scene, NamedSharding(mesh, PartitionSpec()))
    thetas, keys = jax.device_put((thetas, keys), NamedSharding(mesh, PartitionSpec("batch" if count else None)))
    images = _sharded(scene, thetas, keys, bool(noise), mesh)
    return images[:count] if missing else images


def _lengthened(x, missing):
    return jnp.concatenate([x, *[x[-1:]] * missing]) if missing else x


@partial(jax.jit, static_argnames=("noise", "mesh"))
def _sharded(scene, thetas, keys, noise, mesh):
    lanes = jax.vmap(partial(simulate, noise=noise), (None, 0, 0))
    if mesh.size == 1 or not len(keys):
        return lanes(scene, thetas, keys)
    # A loop over lanes is not for the compiler to share out.
    along = PartitionSpec("batch")
    return jax.shard_map(lanes, mesh=mesh, in_specs=(PartitionSpec(), along, along), out_specs=along, check_vma=False)(
        scene, thetas, keys
    )

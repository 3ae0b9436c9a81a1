"""Small functions in place of a simulator; the tests of data sets name them in their configs."""

import jax
import jax.numpy as jnp


def blob(theta, key):
    """A noisy Gaussian; one that is far to the right counts as an overflow."""
    x = jnp.linspace(-1, 1, 6).astype(theta["width"].dtype)
    image = jnp.exp(-((x[:5, None] ** 2) + (x - theta["centre"]) ** 2) / (2 * theta["width"] ** 2))
    image = image + jax.random.uniform(key, image.shape, image.dtype)
    image = jnp.where(theta["centre"] < -0.9, jnp.nan, image)
    return image, jnp.where(theta["centre"] > 0.9, 7, 0)


def vector(theta, key):
    """No image."""
    return jnp.zeros(3)

"""Versions and device of a run: what may change the last bits of an image."""

import platform
from importlib import metadata

from ...bench.report import device

__all__ = ["environment"]


def environment():
    """Versions of Python and of the packages that compute or store, and the device that JAX computes on.

    Returns
    -------
    dict
    """
    versions = {"python": platform.python_version()}
    for package in ("lenskern", "jax", "jaxlib", "numpy", "zarr"):
        versions[package] = metadata.version(package)
    found = device()
    return {"versions": versions, "device": {name: found[name] for name in ("platform", "model")}}

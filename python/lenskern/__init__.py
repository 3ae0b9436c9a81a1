"""Fast batched kernels for strong gravitational lens modelling in JAX."""

import re
from importlib import metadata

__all__ = ["convolve", "deflect", "interop", "nnls", "simulate"]
__version__ = metadata.version("lenskern")

JAX_OLDEST = (0, 11, 1)
JAX_TOO_NEW = (0, 13)


def _jax_problem(version):
    """Say what is wrong with a jax version.

    Parameters
    ----------
    version : str or None
        The installed version, None if jax is not installed.

    Returns
    -------
    str or None
        One sentence that says what to install, None for a supported version.
    """
    fix = "install a supported one with: pip install 'jax>={},<{}'".format(
        ".".join(map(str, JAX_OLDEST)), ".".join(map(str, JAX_TOO_NEW))
    )
    if version is None:
        return f"lenskern needs jax, which is not installed; {fix}"
    numbers = tuple(int(n) for n in re.match(r"\d+(?:\.\d+)*", version)[0].split("."))
    if not JAX_OLDEST <= numbers < JAX_TOO_NEW:
        return f"lenskern {__version__} does not support jax {version}; {fix}"
    return None


def _require_jax():
    try:
        version = metadata.version("jax")
    except metadata.PackageNotFoundError:
        version = None
    problem = _jax_problem(version)
    if problem is not None:
        raise ImportError(problem)


_require_jax()

# After the jax check, whose sentence is clearer than a failed import.
from . import convolve, deflect, interop, nnls, simulate  # noqa: E402

"""The optional packages that data sets need."""

import importlib

_EXTRAS = dict.fromkeys(("yaml", "zarr", "tqdm", "matplotlib"), "simulate") | {"distributed": "cluster"}


def require(name):
    """Import an optional package.

    Parameters
    ----------
    name : str
        Of the package, or of a module of it.

    Returns
    -------
    module

    Raises
    ------
    ModuleNotFoundError
        That says what to install.
    """
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ModuleNotFoundError(
            f"data sets need {package}: pip install 'lenskern[{_EXTRAS[package]}]'", name=package
        ) from None

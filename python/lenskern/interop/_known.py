"""A look at the functions of autoarray that `lenskern.interop.autoarray.register` replaces: are they those it knows?"""

import inspect


def known(owner, name, parameters, mismatch):
    """A function to replace.

    Parameters
    ----------
    owner : module or class
    name : str
    parameters : tuple of str
        The names of those that it has to have.
    mismatch : callable
        Makes the error for an autoarray that is not as expected, of what is different.

    Returns
    -------
    callable
    """
    function = getattr(owner, name, None)
    if function is None or tuple(inspect.signature(function).parameters) != parameters:
        raise mismatch(f"{owner.__name__} has no {name}({', '.join(parameters)})")
    return function


def calls(owner, caller, name, mismatch):
    """Make sure that a function looks a replaced one up when it is called."""
    function = getattr(owner, caller, None)
    if function is None or name not in function.__code__.co_names:
        raise mismatch(f"{owner.__name__}.{caller} does not call {name}")

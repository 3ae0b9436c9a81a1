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


def arguments_of(function):
    """Of a call of a function: what all of its parameters are, in their order, from the arguments as they came.

    Parameters
    ----------
    function : callable

    Returns
    -------
    callable
        Of the tuple and the dict of arguments.
    """
    signature = inspect.signature(function)

    def of(args, kwargs):
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        return tuple(given.arguments.values())

    return of


def calls(owner, caller, name, mismatch):
    """Make sure that a function looks a replaced one up when it is called."""
    function = getattr(owner, caller, None)
    if function is None or name not in function.__code__.co_names:
        raise mismatch(f"{owner.__name__}.{caller} does not call {name}")

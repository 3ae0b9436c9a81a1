"""The parts of a run, in the order of a run."""

import importlib

# Name, what it is, and the seconds that one case of it may take, compilation included.
PARTS = {
    "parity": ("every kernel against the reference on the CPU", 120),
    "ceilings": ("what the device can do: the least times that the others are judged by", 60),
    "nnls": ("inversions", 75),
    "deflect": ("sums over haloes", 60),
    "simulate": ("images of the users' model", 90),
    "convolve": ("convolution with a point spread function", 40),
}


def cases(part, dry_run):
    """The cases of a part.

    Parameters
    ----------
    part : str
        One of `PARTS`.
    dry_run : bool
        Tiny ones, for a machine without a GPU.

    Returns
    -------
    dict of str to callable
        From the name of a case to what measures it: ``measure(guard) -> list of records``.
    """
    return importlib.import_module(f"lenskern.bench.gpu.{part}").cases(dry_run)

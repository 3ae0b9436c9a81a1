"""``python -m lenskern.bench gpu``: on an NVIDIA GPU, the kernels against the reference, and their times beside others.

Everything runs in a process of its own that may crash or hang: a kernel that does costs its own record and no other.
The results are saved after every case, so that a run that was cut short goes on where it was.
"""

from .command import add_arguments, run

__all__ = ["add_arguments", "run"]

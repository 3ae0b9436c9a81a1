"""`lenskern autolens SCRIPT ARGS...`: run a script of PyAutoLens with lenskern as its solver."""

import os
import site
import sys
from pathlib import Path

__all__ = ["VARIABLE", "add_arguments", "run"]

VARIABLE = "LENSKERN_AUTOLENS"
"""Set to 1, the environment variable that registers lenskern in a Python process and in all that it starts."""


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("script", metavar="SCRIPT", help="the script, as python would run it")
    parser.add_argument("arguments", nargs="...", metavar="ARGS", help="its arguments").required = False


def run(arguments):
    """Become the interpreter that runs the script; returns, with an exit code, only where that cannot be.

    Parameters
    ----------
    arguments : argparse.Namespace
        From a parser that went through `add_arguments`.

    Returns
    -------
    int
    """
    problem = _problem(arguments.script)
    if problem:
        print(f"lenskern autolens: {problem}", file=sys.stderr)
        return 2
    # A new interpreter, because this one has imported JAX before autolens could configure it.
    command = [sys.executable, arguments.script, *arguments.arguments]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, os.environ | {VARIABLE: "1"})


def _problem(script):
    if not Path(script).is_file():
        return f"SCRIPT: got {script!r}, expected a file"
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    if not any((Path(folder) / "lenskern_startup.pth").is_file() for folder in folders):
        return (
            f"lenskern_startup.pth is in none of {', '.join(folders)}, so that {VARIABLE} has no effect; install "
            "lenskern with pip into this Python, or call lenskern.interop.autoarray.register() in the script"
        )
    return None

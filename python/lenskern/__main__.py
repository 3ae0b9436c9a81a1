"""`lenskern COMMAND` or `python -m lenskern COMMAND`: the command-line tools of lenskern."""

import argparse
import sys

from . import __version__, info
from .interop import autolens_command
from .interop.probe import command as probe
from .simulate.dataset import commands as dataset


def main(argv=None):
    """Run one subcommand.

    Parameters
    ----------
    argv : list of str, optional
        Arguments, those of the process by default.

    Returns
    -------
    int
        Exit code.
    """
    parser = argparse.ArgumentParser(prog="lenskern", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"lenskern {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    info.add_arguments(commands.add_parser("info", help="versions, devices and a self-check of every backend"))
    probe.add_arguments(
        commands.add_parser("probe", help="where the time of a likelihood of PyAutoLens goes, single and under vmap")
    )
    dataset.add_commands(commands)
    autolens_command.add_arguments(
        commands.add_parser("autolens", help="run a script of PyAutoLens with lenskern as its solver")
    )
    arguments = parser.parse_args(argv)
    modules = {"info": info, "probe": probe, "autolens": autolens_command}
    return modules.get(arguments.command, dataset).run(arguments)


if __name__ == "__main__":
    sys.exit(main())

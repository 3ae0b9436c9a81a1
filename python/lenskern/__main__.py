"""`python -m lenskern COMMAND`: the command-line tools of lenskern."""

import argparse
import sys

from . import __version__, info


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
    parser = argparse.ArgumentParser(prog="python -m lenskern", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"lenskern {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    info.add_arguments(commands.add_parser("info", help="versions, devices and a self-check of every backend"))
    return info.run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())

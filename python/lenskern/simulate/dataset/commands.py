"""The subcommands `simulate`, `view` and `verify` of the command line."""

import os
import sys
from importlib import import_module

__all__ = ["COMMANDS", "add_commands", "run"]

COMMANDS = {
    "simulate": "fill a data set with simulated images, or go on with one",
    "view": "draw a contact sheet of a data set",
    "verify": "check that a data set is whole, and simulate some of its images again",
}


def add_commands(commands):
    """Add the subcommands to those of an argparse parser."""
    parsers = {
        name: commands.add_parser(name, help=what, description=what.capitalize() + ".")
        for name, what in COMMANDS.items()
    }
    simulate, view, verify = parsers.values()
    simulate.add_argument("config", metavar="CONFIG", help="a YAML file, or a data set, whose config is taken")
    simulate.add_argument("--n", type=int, required=True, metavar="N", help="images that the set is to have")
    simulate.add_argument("--out", required=True, metavar="SET", help="the Zarr group, new or begun earlier")
    simulate.add_argument("--seed", type=int, help="in place of that of the config")
    simulate.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask scheduler, whose workers do the work")
    simulate.add_argument("--quiet", action="store_true", help="no progress bar")
    view.add_argument("set", metavar="SET", help="a data set")
    view.add_argument("--out", metavar="PNG", help="the picture; by default beside the set")
    chosen = view.add_mutually_exclusive_group()
    chosen.add_argument("--n", type=int, default=16, metavar="N", help="the first N images (default: %(default)s)")
    chosen.add_argument("--images", type=int, nargs="+", metavar="I", help="the images with these numbers")
    view.add_argument("--columns", type=int, metavar="N")
    view.add_argument("--captions", nargs="+", default=(), metavar="NAME", help="parameters to write below the images")
    verify.add_argument("set", metavar="SET", help="a data set")
    verify.add_argument("--sample", type=int, default=256, metavar="N", help="images to repeat (default: %(default)s)")


def run(arguments):
    """Run a subcommand; returns the exit code."""
    command = {"simulate": _simulate, "view": _view, "verify": _verify}[arguments.command]
    try:
        return command(import_module("lenskern.simulate.dataset"), arguments)
    except (ValueError, NotImplementedError, ModuleNotFoundError, OSError) as error:
        print(f"lenskern {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        goes_on = "; the same command goes on" if arguments.command == "simulate" else ""
        print(f"lenskern {arguments.command}: stopped{goes_on}", file=sys.stderr)
        return 130


def _simulate(dataset, arguments):
    # As `python -m` does: a function that a config names may be in a file here.
    sys.path.insert(0, os.getcwd())
    found = dataset.fill(
        arguments.config,
        arguments.out,
        arguments.n,
        seed=arguments.seed,
        scheduler=arguments.scheduler,
        progress=not arguments.quiet,
    )
    rate = f" in {found.seconds:.1f} s, {found.simulated / found.seconds:.1f} images/s" if found.simulated else ""
    print(f"{found.path}: {found.images} images, {found.simulated} of them simulated now{rate}")
    for count, code in ((found.not_finite, "NOT_FINITE"), (found.overflow, "OVERFLOW")):
        if count:
            print(f"{count} images are {code}: {dataset.ImageStatus[code].sentence}")
    return 0


def _view(dataset, arguments):
    images = arguments.n if arguments.images is None else arguments.images
    print(
        dataset.sheet(
            arguments.set, arguments.out, images=images, columns=arguments.columns, captions=arguments.captions
        )
    )
    return 0


def _verify(dataset, arguments):
    found = dataset.verify(arguments.set, sample=arguments.sample)
    print(found)
    return int(not found.passed)

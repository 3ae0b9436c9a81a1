"""``python -m lenskern.bench NAME``: the benchmarks."""

import argparse
import sys
from importlib import import_module

NAMES = {
    "nnls": "non-negative systems of lens inversions, beside jaxnnls and autoarray",
    "deflect": "ray shooting through many haloes, beside JAXtronomy, lenstronomy, caustics, autolens and paltax",
    "tracer": "a tracer of autolens with a thousand haloes on nine planes, beside its conversion",
    "accuracy": "deflection, convergence and shear of every halo profile against 40 digits, beside other packages",
    "convolve": "convolution with a point spread function, beside jax.scipy, SciPy and autoarray",
    "mapping": "mapping matrices of pixelised sources, blurred and multiplied, beside autoarray",
    "simulate": "noisy images of lenses with a thousand haloes, beside autolens, JAXtronomy and paltax",
    "visualize": "the images that a PyAutoLens search shows while it runs, before and after",
    "upstream": "the tests of PyAutoLens, with its own solver of inversions and with lenskern's",
    "robustness": "several hundred generated systems: what is certified, and is it right",
    "cholesky": "the CPU kernels' factorisation beside LAPACK's",
    "autolens": "whole likelihoods of PyAutoLens, with its own solver of inversions and with lenskern's",
    "poisson": "Poisson draws of images, beside jax.random and NumPy",
    "survey": "all methods, tolerances and iteration caps on the same systems",
    "gpu": "the kernels for NVIDIA GPUs: are they right, and their times beside others and the ceilings",
    "dataset": "a data set of 100,000 images, killed twice, resumed and verified",
    "render": "write the results in benchmarks/ as a page of the documentation",
}


def main(argv=None):
    """Run one benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lenskern.bench", description="Benchmarks of lenskern.")
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    modules = {}
    for name, what in NAMES.items():
        try:
            modules[name] = import_module(f"lenskern.bench.{name}")
        except ModuleNotFoundError as error:
            if error.name.partition(".")[0] not in ("scipy", "tqdm"):
                raise
            print(f"lenskern.bench needs {error.name}: pip install 'lenskern[bench]'", file=sys.stderr)
            return 1
        modules[name].add_arguments(commands.add_parser(name, help=what, description=modules[name].__doc__))
    arguments = parser.parse_args(argv)
    return modules[arguments.name].run(arguments)


if __name__ == "__main__":
    sys.exit(main())

"""The inversions that are measured, with their exact solutions: generated once, by all cores, and kept in a folder."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from lenskern.bench import lensing, nnls, problems, report

FOLDER = Path("build/gpu/problems")
# Kind and size of the mesh, which give K; 60 Gaussians come with a mesh, 20 and 20 without one.
SHAPES = {40: ("mge", None), 1149: ("rect", 35), 1261: ("delaunay", 1201), 1581: ("rect", 41)}
# A dry run's: the same construction on coarse images.
COARSE = {"grid": lensing.Grid(pixel_scale=0.1, mask_radius=2.5), "gaussians": 12}
# Different ones of a size; a larger batch repeats them.
DISTINCT = {40: 128, 1149: 8, 1261: 8, 1581: 8}


def systems(K, count, dry_run=False):
    """So many inversions of K parameters.

    Parameters
    ----------
    K, count : int
    dry_run : bool
        Small ones, whatever K.

    Returns
    -------
    tuple of array
        Q (count, K, K), q (count, K) and the exact x (count, K), float64.
    """
    distinct = min(count, 2 if dry_run else DISTINCT[K])
    if dry_run:
        made = [_solved(K, i, coarse=True) for i in range(distinct)]
    else:
        made = _kept(K, distinct)
    return tuple(np.stack([made[i % distinct][part] for i in range(count)]) for part in range(3))


def _kept(K, count):
    """The first ``count`` distinct systems of a size."""
    generate({K: count})
    found = []
    for i in range(count):
        with np.load(_path(K, i)) as parts:
            found.append(tuple(parts.values()))
    return found


def _path(K, i):
    return FOLDER / f"{K}_{i}.npz"


def generate(counts):
    """Put systems into the folder, those that it does not have yet.

    Parameters
    ----------
    counts : dict of int to int
        How many of each K.
    """
    missing = [
        (K, i) for K, count in sorted(counts.items(), reverse=True) for i in range(count) if not _path(K, i).exists()
    ]
    if not missing:
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    # Processes of their own, each with one thread: a fork would take the device along.
    with _environment(JAX_PLATFORMS="cpu", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"):
        with ProcessPoolExecutor(min(report.usable_cores(), len(missing)), get_context("spawn")) as pool:
            for (K, i), parts in zip(missing, pool.map(_solved, *zip(*missing, strict=True)), strict=True):
                np.savez(_path(K, i), *parts)


class _environment:
    """Variables of the environment for a while."""

    def __init__(self, **variables):
        self._variables = variables

    def __enter__(self):
        self._before = {name: os.environ.get(name) for name in self._variables}
        os.environ.update(self._variables)

    def __exit__(self, *error):
        for name, value in self._before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _solved(K, i, coarse=False):
    """(Q, q, x) of one system."""
    kind, mesh_size = SHAPES[K]
    options = COARSE if coarse else {}
    if kind == "mge":
        seed, draw = divmod(i, nnls.DRAWS)
    else:
        seed, draw, options = i, 0, options | {"mesh_size": 9 if coarse and kind == "rect" else mesh_size}
    system = nnls.solved(problems.inversion(kind, seed, draw, **options))
    return system.Q, system.q, system.x

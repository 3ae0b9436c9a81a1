import pytest

pytest.importorskip("scipy")

from lenskern.bench import lensing, problems

# Coarse images and small meshes: the same construction at a hundredth of the cost.
GRID = lensing.Grid(pixel_scale=0.1, mask_radius=2.5)
SIZES = {
    "mge": {"gaussians": 12},
    "rect": {"gaussians": 12, "mesh_size": 11},
    "delaunay": {"gaussians": 12, "mesh_size": 90},
}


@pytest.fixture(scope="session")
def small():
    """A function that makes a small inversion of a kind."""

    def make(kind, seed=0, draw=0, **options):
        return problems.inversion(kind, seed, draw, **({"grid": GRID} | SIZES[kind] | options))

    return make


@pytest.fixture(scope="session")
def sizes():
    """Options of `problems.inversion` that make a small system of each kind."""
    return {kind: {"grid": GRID} | options for kind, options in SIZES.items()}

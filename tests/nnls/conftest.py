import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from lenskern import backends


class System(NamedTuple):
    Q: np.ndarray
    q: np.ndarray
    x: np.ndarray


def load_system(path):
    with np.load(path) as data:
        K = len(data["q"])
        Q = np.zeros((K, K))
        Q[np.tril_indices(K)] = data["Q_lower"]
        return System(Q + np.tril(Q, -1).T, data["q"], data["x"])


def random_systems(*batch, K=12, seed=0, condition=1e4):
    """Systems of which about half of the variables are zero in the solution."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(*batch, 2 * K, K)) * np.geomspace(1, condition**0.5, K)
    Q = np.swapaxes(A, -1, -2) @ A
    q = np.einsum("...ij,...i->...j", A, A @ rng.normal(size=K) + 5 * rng.normal(size=(*batch, 2 * K)))
    return Q, q


@pytest.fixture(scope="session")
def make_systems():
    return random_systems


@pytest.fixture(scope="session", params=[name for name in backends.NAMES if name not in ("cuda", "triton")])
def backend(request):
    """Every backend by name; skipped, with the reason, where it is not available."""
    status = backends.availability(request.param)
    if not status.available:
        pytest.skip(f"backend {request.param}: {status.reason}")
    return request.param


@pytest.fixture(scope="session", params=["mge_0", "mge_4"])
def mge_system(request):
    """A real lens inversion of K = 40, from `tests/data`."""
    return load_system(Path(__file__).parents[1] / "data" / f"{request.param}.npz")


@pytest.fixture(scope="session", params=["rect_0", "rect_1", "delaunay_0", "delaunay_5"])
def large_system(request):
    """A real lens inversion of K above 1100, where there are any: they are too large to ship."""
    beside = Path(__file__).parents[3] / "shared" / "problems"
    folder = Path(os.environ.get("LENSKERN_PROBLEMS", beside))
    path = folder / f"{request.param}.npz"
    if not path.is_file():
        pytest.skip(f"no {path}; LENSKERN_PROBLEMS names the folder of the real systems")
    return load_system(path)

import ctypes
import os
import types
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from lenskern import _ffi, backends
from lenskern.nnls import primitive


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


NAMES = [name for name in backends.NAMES if name != "triton"]  # it has no inversions


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


@pytest.fixture(scope="session")
def emulated_cuda(emulate):
    """Patches lenskern so that ``backend="cuda"`` runs the CUDA kernels emulated on the CPU."""
    loaded = emulate("emulate_nnls.cc", {"lenskern_nnls_solve_cuda": "LenskernNnlsSolveCuda"})
    scratch = loaded.lenskern_nnls_scratch
    scratch.restype, scratch.argtypes = ctypes.c_int64, (ctypes.c_int64,) * 2
    module = types.SimpleNamespace(
        nnls_most_unknowns=loaded.lenskern_nnls_most_unknowns(),
        nnls_shared=loaded.lenskern_nnls_small_shared,
        nnls_scratch=scratch,
        emulate_processors=loaded.lenskern_emulate_processors,
    )
    choose = primitive._kernel

    def kernel(platform, K, method, backend):
        return choose("cuda" if backend == "cuda" else platform, K, method, backend)

    def apply(patch):
        patch.setattr(primitive, "_kernel", kernel)
        patch.setattr(backends, "require", lambda name: None)
        patch.setattr(_ffi, "load_cuda", lambda: module)
        patch.setattr(_ffi, "register_cuda", lambda: None)

    return apply


def provide(name, request, patch):
    """Make a backend run here, or skip with the reason; the CUDA kernels are emulated where there is no GPU."""
    if name == "cuda" and not (backends.availability(name).available and jax.default_backend() == "gpu"):
        request.getfixturevalue("emulated_cuda")(patch)
        return name
    return request.getfixturevalue("available")(name)


@pytest.fixture(params=NAMES)
def backend(request, monkeypatch):
    """Every backend by name; skipped, with the reason, where it is not available."""
    return provide(request.param, request, monkeypatch)


@pytest.fixture(scope="module", params=NAMES)
def module_backend(request):
    """The same for what is made once for a module."""
    with pytest.MonkeyPatch.context() as patch:
        yield provide(request.param, request, patch)


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

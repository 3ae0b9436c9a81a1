import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import jax
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# float64 is for the caller to switch on; the library never does.
jax.config.update("jax_enable_x64", True)

# A first example compiles, so time says nothing; fixed examples, so that a run can be repeated.
settings.register_profile("lenskern", deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "lenskern"))


@pytest.fixture(scope="session")
def emulate(tmp_path_factory):
    """Compiles a file of tests/cuda, the CUDA kernels of an operation for the CPU, and registers its handlers there."""

    def build(source, targets):
        compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
        if compiler is None:
            pytest.skip("no C++ compiler")
        library = tmp_path_factory.mktemp("emulation") / "emulation.so"
        folders = (ROOT / "tests/cuda", ROOT / "kernels/include", ROOT / "kernels/cuda", jax.ffi.include_dir())
        # Fibers jump between stacks, which fortified jumps forbid.
        flags = ["-std=c++20", "-O1", "-w", "-shared", "-fPIC", "-U_FORTIFY_SOURCE"]
        flags += [f"-I{folder}" for folder in folders]
        command = [compiler, *flags, str(ROOT / "tests/cuda" / source), "-o", str(library)]
        built = subprocess.run(command, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        loaded = ctypes.CDLL(str(library))
        for target, symbol in targets.items():
            jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(loaded, symbol)), platform="cpu")
        return loaded

    return build

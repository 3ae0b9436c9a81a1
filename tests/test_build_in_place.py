"""scripts/build_in_place.py: a build that installs nothing, with and without pybind11, as far as it costs little."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "scripts").is_dir(), reason="no scripts/ in this copy of the project")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("build_in_place", ROOT / "scripts/build_in_place.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_package_without_kernels_runs_from_its_folder(script, tmp_path):
    assert script.main([str(tmp_path), "--no-kernels"]) == 0
    # An editable installation would come first.
    code = (
        "import sys; sys.meta_path = [x for x in sys.meta_path if 'Redirect' not in type(x).__name__]\n"
        "import lenskern, importlib.metadata\n"
        "from lenskern import backends\n"
        "print(lenskern.__file__, lenskern.__version__, backends.availability('cuda').reason)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(tmp_path / "site" / "lenskern")) and "LENSKERN_CUDA=ON" in done.stdout
    assert (tmp_path / "site" / "lenskern" / "_kernels" / "pallas" / "nnls.py").exists()


def test_what_is_missing_is_said_at_once(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CXX", "CUDACXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(script, "find_cmake", lambda: None)
    monkeypatch.setattr(script, "find_nvcc", lambda: None)
    assert script.main([str(tmp_path / "build"), "--cuda", "ON"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lenskern: ") and all(x in line for x in ("CMake 3.25", "C++20 compiler", "nvcc"))
    assert not (tmp_path / "build").exists()
    monkeypatch.setattr(script.metadata, "version", lambda name: "0.10.2")
    assert script.main([str(tmp_path / "build")]) == 1
    assert "has jax 0.10.2, and 0.11 is needed" in capsys.readouterr().err


def test_the_handlers_are_found_without_pybind11(cxx, tmp_path):
    (tmp_path / "cuda_runtime.h").write_text(
        f'#pragma once\n#include "{ROOT}/tests/cuda/cuda_runtime.h"\n#define CUDART_VERSION 13000\n'
        "inline cudaError_t cudaDriverGetVersion(int* version) { *version = 12040; return cudaSuccess; }\n"
    )
    (tmp_path / "stubs.cc").write_text(
        '#include "handlers.h"\n'
        "#define STUB(target, symbol) XLA_FFI_Error* symbol(XLA_FFI_CallFrame*) { return nullptr; }\n"
        "LENSKERN_FOR_EACH_CUDA_HANDLER(STUB)\n"
        "namespace lenskern::cuda { int nnls_small_shared(int n) { return 8 * n; } }\n"
    )
    folders = (tmp_path, ROOT / "kernels/include", ROOT / "kernels/cuda", jax.ffi.include_dir())
    flags = ["-std=c++20", "-w", "-shared", "-fPIC", "-fvisibility=hidden", *(f"-I{folder}" for folder in folders)]
    flags.append('-DLENSKERN_CUDA_ARCHITECTURES="sm_90"')
    sources = [str(ROOT / "kernels/cuda/plain.cc"), str(tmp_path / "stubs.cc")]
    command = [cxx, *flags, *sources, "-o", str(tmp_path / "_cuda_library.so")]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    shutil.copy(ROOT / "kernels/cuda/plain.py", tmp_path / "_cuda.py")
    spec = importlib.util.spec_from_file_location("_cuda", tmp_path / "_cuda.py")
    cuda = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cuda)

    named = re.findall(r'LENSKERN_HANDLER\("(\w+)"', (ROOT / "kernels/cuda/handlers.h").read_text())
    assert named and set(cuda.targets()) == set(named)
    assert all(type(x).__name__ == "PyCapsule" for x in cuda.targets().values())
    assert (cuda.cuda_version, cuda.driver_version(), cuda.architectures) == ((13, 0), (12, 4), "sm_90")
    assert cuda.ffi_version[0] == 0 and cuda.ffi_version[1] >= 4
    assert cuda.adjoint_scratch(10_000, 300) == 36_000 and cuda.power_law_scratch(3, 1025) == 3 * 2 * 48
    assert cuda.nnls_shared(40) == 320 and cuda.nnls_most_unknowns > 1581
    assert cuda.nnls_scratch(3, 1261) > 3 * 1261**2
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cuda.nothing  # noqa: B018


def test_both_bindings_offer_the_same_functions():
    with_pybind11 = (ROOT / "kernels/cuda/module.cc").read_text()
    plain = (ROOT / "kernels/cuda/plain.cc").read_text() + (ROOT / "kernels/cuda/plain.py").read_text()
    for name in re.findall(r'm\.def\(\s*"(\w+)"', with_pybind11):
        assert f"lenskern_{name}(" in plain, name
    for name in re.findall(r'm\.attr\("(\w+)"\)', with_pybind11):
        assert re.search(rf"^(\w+, )*{name}\b.* = ", plain, re.MULTILINE), name

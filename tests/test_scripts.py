"""The scripts and the CMake options, as far as they can be tried without a second build."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command, **environment):
    environment = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    return subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)


def sentence(done):
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("lenskern: ")
    return line


@pytest.fixture
def bare_path(tmp_path):
    """A PATH with the basic tools and neither Python nor a compiler."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "cat", "dirname"):
        (tools / tool).symlink_to(shutil.which(tool))
    return str(tools)


def stub(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_named_python_is_used(bare_path):
    done = run("sh", ROOT / "scripts/find_python.sh", PYTHON=sys.executable, PATH=bare_path)
    assert done.stdout.strip() == sys.executable


def test_named_python_that_does_not_fit_is_refused():
    done = run("sh", ROOT / "scripts/find_python.sh", PYTHON="/nonexistent/python")
    assert "PYTHON=/nonexistent/python is not a Python 3.12 or newer" in sentence(done)


def test_no_python(bare_path, tmp_path):
    done = run("sh", ROOT / "scripts/find_python.sh", PYTHON=None, PYENV_ROOT=None, HOME=tmp_path, PATH=bare_path)
    assert "no Python 3.12 or newer was found; install one" in sentence(done)


def test_shim_that_fails_is_passed_over_for_a_pyenv_version(bare_path, tmp_path):
    stub(Path(bare_path) / "python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    pyenv = tmp_path / "pyenv root"
    stub(pyenv / "versions/3.12.1/bin/python", f'exec "{sys.executable}" "$@"')
    done = run("sh", ROOT / "scripts/find_python.sh", PYTHON=None, PYENV_ROOT=pyenv, HOME=tmp_path, PATH=bare_path)
    assert done.stdout.strip() == sys.executable and not done.stderr


def test_python_without_venv_is_named(bare_path, tmp_path):
    stub(Path(bare_path) / "python3.12", 'case "$2" in *venv*) exit 1;; esac')
    done = run("sh", ROOT / "scripts/find_python.sh", PYTHON=None, PYENV_ROOT=None, HOME=tmp_path, PATH=bare_path)
    assert "python3.12 cannot make virtual environments" in sentence(done)


@pytest.mark.parametrize("environment", [{"CXX": "/nonexistent/g++"}, {"CXX": None, "PATH": "bare"}])
def test_install_without_compiler_stops_before_it_starts(bare_path, tmp_path, environment):
    if environment.get("PATH") == "bare":
        environment = {**environment, "PATH": bare_path}
    done = run("sh", ROOT / "scripts/install.sh", tmp_path / "venv", LENSKERN_CPP=None, **environment)
    line = sentence(done)
    assert "no working C++20 compiler" in line and "LENSKERN_CPP=OFF" in line
    assert not (tmp_path / "venv").exists()


def test_install_without_nvcc_stops_before_it_starts_where_the_cuda_kernels_are_demanded(tmp_path):
    done = run(
        "sh", ROOT / "scripts/install.sh", tmp_path / "venv", LENSKERN_CPP="OFF", LENSKERN_CUDA="ON", CUDACXX="/no/nvcc"
    )
    line = sentence(done)
    assert "no nvcc was found (CUDACXX=/no/nvcc)" in line and "LENSKERN_CUDA=OFF" in line
    assert not (tmp_path / "venv").exists()


def test_install_leaves_a_folder_that_is_no_environment_alone(tmp_path):
    precious = tmp_path / "data" / "precious"
    precious.parent.mkdir()
    precious.touch()
    done = run("sh", ROOT / "scripts/install.sh", tmp_path / "data", LENSKERN_CPP="OFF")
    assert "is not a virtual environment" in sentence(done)
    assert precious.exists()


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")
@pytest.mark.parametrize(("option", "succeeds"), [("OFF", True), ("AUTO", True), ("ON", False)])
def test_cmake_without_compiler(tmp_path, option, succeeds):
    done = run("cmake", "-S", ROOT, "-B", tmp_path / "build", f"-DLENSKERN_CPP={option}", CXX="/nonexistent/g++")
    assert (done.returncode == 0) == succeeds, done.stderr
    assert ("installing without the compiled kernels" in done.stdout) == succeeds
    assert ("no working C++ compiler was found" in " ".join(done.stderr.split())) == (not succeeds)


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")
def test_cmake_builds_no_cuda_kernels_without_the_others(tmp_path):
    options = ("-DLENSKERN_CPP=OFF", "-DLENSKERN_CUDA=ON")
    done = run("cmake", "-S", ROOT, "-B", tmp_path / "build", *options)
    assert done.returncode != 0 and "the CUDA kernels need the C++ ones" in " ".join(done.stderr.split())

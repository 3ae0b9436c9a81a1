"""build_in_place.py FOLDER: lenskern with its compiled kernels in FOLDER/site, to be named in PYTHONPATH.

Nothing is fetched and nothing is installed: it takes the Python that runs it, which must have jax, the CMake, compiler
and nvcc that are found, and pybind11 where that Python has it. Without pybind11 the CUDA kernels are built alone.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CMAKE_OLDEST = (3, 25)


class Missing(Exception):
    """What this machine lacks, in sentences."""


def main(argv=None):
    """Build; returns the exit code."""
    parser = argparse.ArgumentParser(prog="build_in_place.py", description=__doc__.partition(": ")[2])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cuda", choices=("AUTO", "ON", "OFF"), default="AUTO", help="AUTO: where there is an nvcc")
    parser.add_argument("--architectures", help="for CMAKE_CUDA_ARCHITECTURES, by default those of a release")
    parser.add_argument("--no-kernels", action="store_true", help="the Python code alone")
    arguments = parser.parse_args(argv)
    try:
        build(arguments.folder, arguments.cuda, arguments.architectures, not arguments.no_kernels)
    except Missing as missing:
        print(f"lenskern: {missing}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as failed:
        print(f"lenskern: {failed.cmd[0]} failed; what it said stands above.", file=sys.stderr)
        return 1
    return 0


def build(folder, cuda="AUTO", architectures=None, kernels=True):
    """Lay out the package and build its kernels.

    Parameters
    ----------
    folder : pathlib.Path
        Gets ``site``, made anew, and ``cmake``, which is kept, so that a second build compiles what has changed.
    cuda : {"AUTO", "ON", "OFF"}
    architectures : str, optional
    kernels : bool

    Returns
    -------
    pathlib.Path
        The folder for PYTHONPATH.
    """
    require_jax()
    options = tools(cuda) if kernels else None
    site = folder.resolve() / "site"
    shutil.rmtree(site, ignore_errors=True)
    # What an editable installation may have left between the sources is not for this Python.
    ignore = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "python" / "lenskern", site / "lenskern", ignore=ignore)
    shutil.copytree(
        ROOT / "kernels" / "pallas", site / "lenskern" / "_kernels" / "pallas", ignore=ignore, dirs_exist_ok=True
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    about = site / f"lenskern-{project['version']}.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text(f"Metadata-Version: 2.1\nName: lenskern\nVersion: {project['version']}\n")
    if kernels:
        compile_kernels(folder.resolve() / "cmake", site, options, architectures)
    return site


def require_jax():
    """Raise `Missing` unless this Python can run lenskern."""
    try:
        version = metadata.version("jax")
    except metadata.PackageNotFoundError:
        raise Missing(
            f"{sys.executable} has no jax; set PYTHON to a Python that has, or install jax into it."
        ) from None
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < (0, 11):
        raise Missing(
            f"{sys.executable} has jax {version}, and 0.11 is needed; set PYTHON to a Python with a newer one."
        )


def tools(cuda):
    """What there is to build with, as a dict; raises `Missing` with all that is lacking."""
    lacking = []
    found = {"cmake": find_cmake(), "nvcc": None if cuda == "OFF" else find_nvcc(), "pybind11": find_pybind11()}
    if found["cmake"] is None:
        lacking.append(f"CMake {'.'.join(map(str, CMAKE_OLDEST))} or newer (pip install cmake)")
    compilers = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    if not any(shutil.which(compiler.split()[0]) for compiler in compilers):
        lacking.append("a C++20 compiler (g++ or clang++, or its path in CXX)")
    if found["nvcc"] is None and cuda == "ON":
        lacking.append("nvcc, the CUDA compiler, of CUDA 12 or newer (its path in CUDACXX)")
    if found["nvcc"] is None and found["pybind11"] is None:
        lacking.append("nvcc for the CUDA kernels, or pybind11 and Python's C headers for those of the CPU")
    if lacking:
        raise Missing("there is nothing to build the kernels with; install: " + "; ".join(lacking) + ".")
    return found


def find_cmake():
    """Path of a CMake that is new enough, on the PATH or as a Python package; None where there is none."""
    candidates = [shutil.which("cmake")]
    package = importlib.util.find_spec("cmake")
    if package is not None:
        candidates.append(str(Path(package.origin).parent / "data" / "bin" / "cmake"))
    for cmake in filter(None, candidates):
        try:
            said = subprocess.run([cmake, "--version"], capture_output=True, text=True).stdout
        except OSError:
            continue
        version = re.search(r"(\d+)\.(\d+)", said)
        if version and tuple(map(int, version.groups())) >= CMAKE_OLDEST:
            return cmake
    return None


def find_nvcc():
    """Path of nvcc, None where there is none."""
    if os.environ.get("CUDACXX"):
        return shutil.which(os.environ["CUDACXX"])
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def find_pybind11():
    """Folder of pybind11's CMake files, None without it or without Python's C headers."""
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return None
    package = importlib.util.find_spec("pybind11")
    folder = package and Path(package.origin).parent / "share" / "cmake" / "pybind11"
    return str(folder) if folder and folder.is_dir() else None


def compile_kernels(work, site, found, architectures):
    """Run CMake; ends with the modules in the site folder."""
    cmake, generator = found["cmake"], ["-G", "Ninja"] if shutil.which("ninja") else []
    pybind11 = found["pybind11"]
    defined = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_INSTALL_PREFIX": site,
        "Python_EXECUTABLE": sys.executable,
        "LENSKERN_BINDINGS": "pybind11" if pybind11 else "ctypes",
        "LENSKERN_CPP": "ON",
        "LENSKERN_CUDA": "ON" if found["nvcc"] else "OFF",
    }
    if pybind11:
        defined["pybind11_DIR"] = pybind11
    if found["nvcc"]:
        defined["CMAKE_CUDA_COMPILER"] = found["nvcc"]
    if architectures:
        defined["LENSKERN_CUDA_ARCHITECTURES"] = architectures
    if not (work / "CMakeCache.txt").exists():
        # A build folder keeps its generator.
        work.mkdir(parents=True, exist_ok=True)
    else:
        generator = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    options = [f"-D{name}={value}" for name, value in defined.items()]
    quiet = ["--log-level=WARNING"]
    subprocess.run([cmake, "-S", str(ROOT), "-B", str(work), *generator, *quiet, *options], check=True)
    subprocess.run([cmake, "--build", str(work), "--parallel", str(cores)], check=True, stdout=sys.stderr)
    subprocess.run([cmake, "--install", str(work)], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())

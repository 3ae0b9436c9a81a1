import ctypes
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import pytest
from hypothesis import settings

from lenskern import backends

ROOT = Path(__file__).resolve().parents[1]

# float64 is for the caller to switch on; the library never does.
jax.config.update("jax_enable_x64", True)

# What one process of a run has compiled serves the others, and their children.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    programs = tempfile.TemporaryDirectory()  # removed at the end of the process that starts the others
    for name, value in (
        ("jax_compilation_cache_dir", programs.name),
        ("jax_persistent_cache_min_compile_time_secs", 0.0),
        ("jax_persistent_cache_min_entry_size_bytes", -1),
    ):
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)

# A first example compiles, so time says nothing; fixed examples, so that a run can be repeated.
settings.register_profile("lenskern", deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "lenskern"))


def pytest_addoption(parser):
    parser.addoption("--thorough", action="store_true", help="run what tests/thorough.txt names as well")


def pytest_collection_modifyitems(config, items):
    """Leave out what tests/thorough.txt names."""
    if config.getoption("--thorough"):
        return
    pattern = re.compile("|".join(f"(?:{line})" for line in thorough_lines()))
    chosen, left_out = [], []
    for item in items:
        name = f"{item.path.relative_to(ROOT / 'tests').as_posix()}::{item.nodeid.partition('::')[2]}"
        (left_out if pattern.fullmatch(name) else chosen).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = chosen


def thorough_lines():
    """The regular expressions of tests/thorough.txt."""
    lines = (ROOT / "tests/thorough.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pytest_generate_tests(metafunc):
    if "thorough_line" in metafunc.fixturenames:
        metafunc.parametrize("thorough_line", thorough_lines())


@pytest.fixture(scope="module", autouse=True)
def few_mappings():
    """Forget compiled programs before there are too many: each maps memory a dozen times, and Linux allows 65530."""
    yield
    mapped = Path("/proc/self/maps")
    if mapped.exists() and mapped.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()


@pytest.fixture(scope="session")
def available():
    """Gives the name of a backend back; skips, with the reason, where it does not run."""

    def check(name):
        status = backends.availability(name)
        if not status.available:
            pytest.skip(f"backend {name}: {status.reason}")
        return name

    return check


@pytest.fixture(scope="session")
def compile_once(tmp_path_factory):
    """Runs a compiler once for all processes of a run: the command without its output; gives that and its messages."""
    # Of the folders of a run, those of pytest-xdist's processes are inside of one.
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def build(command):
        output = folder / f"compiled-{hashlib.sha256(repr(command).encode()).hexdigest()[:16]}"
        messages = output.with_suffix(".log")
        with open(output.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not messages.exists():
                done = subprocess.run([*command, "-o", str(output)], capture_output=True, text=True)
                assert done.returncode == 0, done.stderr
                messages.write_text(done.stderr)
        return output, messages.read_text()

    return build


@pytest.fixture(scope="session")
def cxx():
    """Path of the C++ compiler."""
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    return compiler


@pytest.fixture
def run_sanitized(cxx, tmp_path):
    """Builds a program of this repository with a sanitizer of the compiler, runs it, and demands that it succeeds."""

    def run(sanitizer, sources, folders, arguments=(), timeout=400):
        program = tmp_path / "sanitized"
        flags = ["-std=c++20", "-O1", "-g", "-w", f"-fsanitize={sanitizer}", "-pthread"]
        flags += [f"-I{ROOT / folder}" for folder in folders]
        command = [cxx, *flags, *(str(ROOT / source) for source in sources), "-o", str(program)]
        built = subprocess.run(command, capture_output=True, text=True)
        if built.returncode != 0 and "sanit" in built.stderr:
            pytest.skip(f"{cxx} has no runtime for -fsanitize={sanitizer}")
        assert built.returncode == 0, built.stderr
        ran = subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=timeout)
        if "unexpected memory mapping" in ran.stderr:
            pytest.skip("ThreadSanitizer does not run in this address-space layout")
        assert ran.returncode == 0, ran.stdout + ran.stderr

    return run


@pytest.fixture(scope="session")
def emulate(cxx, compile_once):
    """Compiles a file of tests/cuda, the CUDA kernels of an operation for the CPU, and registers its handlers there."""

    def build(source, targets):
        folders = (ROOT / "tests/cuda", ROOT / "kernels/include", ROOT / "kernels/cuda", jax.ffi.include_dir())
        # Fibers jump between stacks, which fortified jumps forbid.
        flags = ["-std=c++20", "-O1", "-w", "-shared", "-fPIC", "-U_FORTIFY_SOURCE"]
        flags += [f"-I{folder}" for folder in folders]
        library, _ = compile_once([cxx, *flags, str(ROOT / "tests/cuda" / source)])
        loaded = ctypes.CDLL(str(library))
        for target, symbol in targets.items():
            jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(loaded, symbol)), platform="cpu")
        return loaded

    return build


@pytest.fixture(scope="session")
def h200():
    """Sharding that makes programs compile for an H200; skipped, with the reason, without a compiler for it."""
    pytest.importorskip(
        "jax_plugins.xla_cuda13",
        reason="no GPU compiler here; pip install jax-cuda13-plugin jax-cuda13-pjrt of the version of jax",
    )
    from jax.experimental import topologies

    target = (ROOT / "tests/data/h200.txtpb").read_text(encoding="utf-8")
    try:
        topology = topologies.get_topology_desc(platform="cuda", target_config=target, topology="1x1x1")
    except NotImplementedError as error:
        pytest.skip(f"the GPU compiler did not load: {error}; JAX_PLATFORMS=cpu lets it do without cuDNN")
    return jax.sharding.SingleDeviceSharding(topology.devices[0])


class Resources(NamedTuple):
    """What a device function takes: registers (None but for a kernel), and bytes that it spills and shares."""

    registers: int | None
    spilled: int
    shared: int


@pytest.fixture(scope="session")
def cuda_resources(compile_once):
    """Compiles a file of kernels/cuda for an architecture; gives the `Resources` of each device function in it."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc")

    def build(source, architecture):
        # As kernels/cuda/build.cmake has them.
        flags = f"-std=c++17 -O3 -rdc=true -arch={architecture} -maxrregcount=128 -Xptxas=-v -cubin".split()
        folders = [f"-I{ROOT / 'kernels/include'}", f"-I{ROOT / 'kernels/cuda'}"]
        _, messages = compile_once([nvcc, *flags, *folders, str(ROOT / "kernels/cuda" / source)])
        pattern = (
            r"Function properties for (\w+)\n.* (\d+) bytes spill stores.*"  # and, for a kernel, in the next line:
            r"(?:\n.*Used (\d+) registers(?:.* (\d+) bytes smem)?)?"
        )
        return {
            name: Resources(int(registers) if registers else None, int(spilled), int(shared or 0))
            for name, spilled, registers, shared in re.findall(pattern, messages)
        }

    return build

"""The kernels' work sharing under ThreadSanitizer, with real threads."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_every_piece_runs_once_without_a_race(sanitizer, tmp_path):
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    program = tmp_path / "crew_test"
    flags = ["-std=c++20", "-O1", "-g", f"-fsanitize={sanitizer}", "-I", str(ROOT / "kernels/cpp"), "-pthread"]
    sources = [str(ROOT / "tests/cpp/crew_test.cc"), str(ROOT / "kernels/cpp/crew.cc")]
    built = subprocess.run([compiler, *flags, *sources, "-o", str(program)], capture_output=True, text=True)
    if built.returncode != 0 and "sanit" in built.stderr:
        pytest.skip(f"{compiler} has no runtime for -fsanitize={sanitizer}")
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([str(program)], capture_output=True, text=True, timeout=120)
    if "unexpected memory mapping" in ran.stderr:
        pytest.skip("ThreadSanitizer does not run in this address-space layout")
    assert ran.returncode == 0, ran.stdout + ran.stderr

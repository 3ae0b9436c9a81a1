"""The examples of the documentation run: the Python blocks of its pages, and the doctests of the modules."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lenskern import convolve, deflect, interop, nnls, simulate

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [
    x.name
    for package in (convolve, deflect, interop, nnls, simulate)
    for x in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def with_blocks():
    return [page for page in PAGES if page.exists() and blocks(page)]


def test_pages_with_examples_are_found():
    if not (ROOT / "docs").is_dir():
        pytest.skip("this copy of the source comes without docs")
    assert {page.name for page in with_blocks()} >= {"README.md", "deflect.md"}


@pytest.mark.parametrize("page", with_blocks(), ids=lambda page: page.name)
def test_the_examples_of_a_page_run_one_after_the_other(page):
    # In a process of their own: they switch float64 on themselves, as a reader would.
    code = "\n".join(blocks(page))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_give_what_they_say(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_importing_the_package_touches_no_device_and_no_optional_dependency():
    code = (
        "import sys, lenskern\n"
        "assert not {'astropy', 'autolens', 'jax.experimental.pallas'} & set(sys.modules)\n"
        "import jax\n"
        "jax.config.update('jax_platforms', 'nowhere')\n"
        "try:\n"
        "    jax.devices()\n"
        "except RuntimeError:\n"
        "    sys.exit(0)\n"
        "sys.exit('the backends of jax had been started by the import')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr[-2000:]


def test_every_public_name_of_deflect_exists_once():
    assert len(set(deflect.__all__)) == len(deflect.__all__)
    assert all(hasattr(deflect, name) for name in deflect.__all__)

"""The Python blocks of the documentation run, and say what their comments promise."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def with_blocks():
    return [page for page in PAGES if page.exists() and blocks(page)]


def test_pages_with_examples_are_found():
    assert {page.name for page in with_blocks()} >= {"README.md", "deflect.md"}


@pytest.mark.parametrize("page", with_blocks(), ids=lambda page: page.name)
def test_the_examples_of_a_page_run_one_after_the_other(page):
    # In a process of their own: they switch float64 on themselves, as a reader would.
    code = "\n".join(blocks(page))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]

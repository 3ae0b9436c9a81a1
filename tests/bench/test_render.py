"""The page of measurements is what the records in benchmarks/ say."""

from pathlib import Path

import pytest

from lenskern.bench import render

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_in_the_documentation_is_up_to_date():
    if not (ROOT / "docs/benchmarks.md").exists():
        pytest.skip("no docs/ in this copy of the project")
    assert (ROOT / "docs/benchmarks.md").read_text() == render.page(ROOT / "benchmarks")


def test_every_result_file_is_on_the_page():
    names = {path.stem for path in (ROOT / "benchmarks").glob("*.json")}
    assert names <= {name for name, _, _ in render.PAGES}

"""The list of tests that a run leaves out names tests that there are."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
TEXT = (FOLDER / "thorough.txt").read_text(encoding="utf-8")
LINES = [line for line in TEXT.splitlines() if line[:1] not in ("", "#")]


@pytest.mark.parametrize("line", LINES)
def test_a_line_names_tests(line):
    function = line.partition(r"\[")[0]
    found = [
        name
        for path in FOLDER.rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        if re.match(f"(?:{function})$", f"{path.relative_to(FOLDER).as_posix()}::{name}")
    ]
    assert found

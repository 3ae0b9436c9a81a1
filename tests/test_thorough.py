"""The list of tests that a run leaves out names tests that there are."""

import re
from pathlib import Path

FOLDER = Path(__file__).parent


def test_a_line_names_tests(thorough_line):
    function = thorough_line.partition(r"\[")[0]
    assert any(
        re.fullmatch(function, f"{path.relative_to(FOLDER).as_posix()}::{name}")
        for path in FOLDER.rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    )

"""The runner of other packages' tests, on small repositories made here."""

import argparse

import pytest

from lenskern.bench import upstream


@pytest.fixture
def clones(tmp_path):
    package = tmp_path / "PyAutoThing/test_autothing"
    (package / "inversion").mkdir(parents=True)
    # The package itself, which has to be left out: this one cannot be imported.
    (tmp_path / "PyAutoThing/autothing.py").write_text("raise ImportError\n")
    (package / "inversion/test_one.py").write_text(
        "import os, pytest\n"
        "def test_right(): pass\n"
        "def test_wrong(): assert 1 == 2, 'one is not two'\n"
        "def test_left(): pytest.skip('not today')\n"
        "def test_alone():\n    with pytest.raises(ModuleNotFoundError):\n        import autothing\n"
        "def test_registered(): assert 'LENSKERN_AUTOLENS' in os.environ\n"
    )
    scripts = tmp_path / upstream.WORKSPACE / "scripts/some"
    scripts.mkdir(parents=True)
    (scripts / "right.py").write_text("import scripts.some.part\n")
    (scripts / "part.py").write_text("")
    (scripts / "wrong.py").write_text("import time\nassert 0.5 > 1, 'small'\n")
    (scripts / "differs.py").write_text("raise AssertionError('\\nNot equal\\n 2 of 3')\n")
    (scripts / "slow.py").write_text("import time\ntime.sleep(60)\n")
    return tmp_path


TESTS = upstream.Tests("PyAutoThing", "test_autothing", ("inversion", "absent"))
PREFIX = "test_autothing.inversion.test_one::"


def test_outcomes_of_tests(clones):
    found = TESTS.run(clones, "autoarray", 60)
    assert {name.removeprefix(PREFIX): outcome for name, (outcome, _) in found.items()} == {
        "test_right": "passed",
        "test_wrong": "failed",
        "test_left": "skipped",
        "test_alone": "passed",
        "test_registered": "failed",
    }
    assert "one is not two" in found[PREFIX + "test_wrong"][1]
    assert TESTS.run(clones, "lenskern", 60)[PREFIX + "test_registered"] == ("passed", "")


def test_tests_that_do_not_end(clones):
    (clones / "PyAutoThing/test_autothing/inversion/test_one.py").write_text("import time\ntime.sleep(60)\n")
    assert TESTS.run(clones, "autoarray", 1) == {"test_autothing": ("failed", "did not end in 1 s")}


def test_outcomes_of_scripts(clones):
    found = upstream.Scripts("some", ("right", "wrong", "differs", "gone")).run(clones, "lenskern", 60)
    assert found == {
        "some/right": ("passed", ""),
        "some/wrong": ("failed", "AssertionError: small"),
        "some/differs": ("failed", "AssertionError: Not equal 2 of 3"),
        "some/gone": ("skipped", "not in this version of the workspace"),
    }
    assert upstream.Scripts("some", ("slow",)).run(clones, "autoarray", 1)["some/slow"][1] == "did not end in 1 s"


def test_what_lenskern_breaks_is_told(clones, monkeypatch, capsys):
    def record(system, failures):
        return {"case": "group", "system": system, "passed": 3, "failures": failures, "skips": {}}

    records = [record("autoarray", {"a": "AssertionError: x"}), record("lenskern", {"b": "ValueError: y"})]
    shown = upstream.text(records)
    assert "fails with lenskern only: b: ValueError: y" in shown
    assert "fails without lenskern only: a: AssertionError: x" in shown

    arguments = argparse.Namespace(clones=clones, groups="tracing", limit=1.0, json=None)
    monkeypatch.setattr(upstream, "measure", lambda *_: records)
    assert upstream.run(arguments) == 1
    monkeypatch.setattr(upstream, "measure", lambda *_: [records[0], records[0] | {"system": "lenskern"}])
    assert upstream.run(arguments) == 0


def test_missing_clones(tmp_path, capsys):
    arguments = argparse.Namespace(clones=tmp_path, groups="autoarray", limit=1.0, json=None)
    assert upstream.run(arguments) == 2
    assert "expected a clone of PyAutoArray" in capsys.readouterr().err

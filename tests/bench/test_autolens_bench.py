"""The benchmark of whole likelihoods, on small data; no time is checked."""

import json
import os
import subprocess
import sys

import pytest

from lenskern.bench import __main__ as command
from lenskern.bench import autolens as bench
from lenskern.bench import autolens_lenses as lenses
from lenskern.bench import report


def records():
    """What a case may give, from numbers made up."""
    made = []
    for batch in (1, 3):
        for system, seconds in (("lenskern", 0.1), ("jaxnnls", 0.4), ("autolens on NumPy", 0.3))[
            : 3 if batch == 1 else 2
        ]:
            made.append(
                report.record(
                    benchmark="autolens",
                    case="imaging-mge",
                    system=system,
                    batch=batch,
                    K=80,
                    data=15380,
                    median_s=seconds * batch,
                    evidence_err=3e-12,
                    pipeline_err=2e-12,
                    gradient_s=0.7 if batch == 1 and system != "autolens on NumPy" else None,
                    gradient_finite=system == "lenskern",
                )
            )
    return made


def test_table():
    table = bench.text(records())
    single, vmapped = (line for line in table.splitlines() if line.startswith("imaging-mge"))
    assert single.split()[3:9] == ["1", "100", "ms", "400", "ms", "4.00"]
    assert "700 ms, not finite" in single
    assert vmapped.split()[3:9] == ["3", "100", "ms", "400", "ms", "4.00"]
    assert "not finite" not in vmapped


def test_options_that_are_wrong():
    for wrong in (["--cases", "imaging-none"], ["--batch", "1"]):
        with pytest.raises(SystemExit, match="got"):
            command.main(["autolens", *wrong])


def test_cases_that_are_there_are_not_repeated(tmp_path, monkeypatch, capsys):
    pytest.importorskip("autolens", reason="autolens is not installed: pip install 'lenskern[autolens]'")
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    monkeypatch.setattr(bench, "measure", lambda case, *_, **__: pytest.fail(f"{case} was measured again"))
    path = tmp_path / "records.json"
    report.write(path, [record | {"quick": False} for record in records()])
    assert command.main(["autolens", "--cases", "imaging-mge", "--json", str(path)]) == 0
    assert "imaging-mge: in" in capsys.readouterr().out


def test_without_autolens(monkeypatch, capsys):
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    monkeypatch.setitem(sys.modules, "autolens", None)
    assert command.main(["autolens"]) == 0
    assert "pip install" in capsys.readouterr().out


def test_a_small_likelihood(tmp_path):
    """Measured in a process of its own, which must not hang; it writes nothing where it runs."""
    pytest.importorskip("autolens", reason="autolens is not installed: pip install 'lenskern[autolens]'")
    path = tmp_path / "records.json"
    folder = tmp_path / "empty"
    folder.mkdir()
    subprocess.run(
        [sys.executable, "-m", "lenskern.bench", "autolens", "--quick", "--cases", "imaging-mge", "--json", str(path)],
        cwd=folder,
        check=True,
        timeout=900,
    )
    found = json.loads(path.read_text())
    assert {(r["system"], r["batch"]) for r in found} == {
        ("lenskern", 1),
        ("lenskern", 3),
        ("jaxnnls", 1),
        ("jaxnnls", 3),
        ("autolens on NumPy", 1),
    }
    ours = [record for record in found if record["system"] == "lenskern"]
    assert all(record["evidence_err"] < max(1e-8, 10 * record["pipeline_err"]) for record in ours)
    assert ours[0]["gradient_finite"]
    assert not list(folder.iterdir())


def test_draws_are_repeatable():
    pytest.importorskip("autolens", reason="autolens is not installed: pip install 'lenskern[autolens]'")
    lens = lenses.lens("interferometer-mge", lenses.QUICK)
    first, again = lens.parameters(3), lens.parameters(3)
    assert first.shape == (3, lens.model.prior_count)
    assert (first == again).all()
    assert (first[1:] != first[0]).all()

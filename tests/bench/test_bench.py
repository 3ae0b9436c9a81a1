import math

import numpy as np
import pytest

from lenskern import nnls
from lenskern.bench import __main__ as command
from lenskern.bench import demo, peers, problems, report, robustness, survey, timing
from lenskern.bench import nnls as bench

RATES = timing.Rates(1e11, 5e10)


@pytest.fixture(scope="module")
def systems(small):
    return [problems.solved(small("mge", draw=i)) for i in range(3)]


def solvers():
    jaxnnls = pytest.importorskip("jaxnnls") and peers.peers()[0].load()
    return {("lenskern", "reference"): bench.ours("reference"), ("jaxnnls", "jax"): jaxnnls}


def test_a_measured_batch(systems):
    ticks = []
    records, solutions = bench.measure_batch("mge", systems, solvers(), 5, RATES, lambda: ticks.append(1))
    mine, theirs = records
    assert set(report.FIELDS) <= set(mine)
    assert (mine["system"], mine["backend"], mine["batch"], mine["K"]) == ("lenskern", "reference", 3, 24)
    assert mine["solved"] == 3 and mine["max_rel_err"] < 1e-8 and mine["kkt_residual"] < 1e-11
    assert mine["floor_s"] == pytest.approx(mine["single_flops"] / RATES.single + mine["double_flops"] / RATES.double)
    assert theirs["floor_s"] is None and theirs["max_rel_err"] < 1e-2
    assert len(ticks) == 2 * (5 + 1)
    assert solutions["lenskern", "reference"].shape == (3, 24)
    text = bench.text([*records, report.absent("nnls", "autoarray", "pip install autolens")])
    assert bench.text([theirs | {"max_rel_err": None, "kkt_residual": math.nan}]).count("inf") == 2
    assert "3/3" in text and "autoarray is not installed: pip install autolens" in text


def test_the_backend_is_read_from_the_program():
    assert bench.used_backend("custom_call @lenskern_nnls_solve(%arg0)") == "cpp"
    assert bench.used_backend("stablehlo.while") == "reference"


def test_an_absent_peer_is_not_loaded():
    def make():
        raise ImportError("no such package")

    assert peers.Peer("other", "pip install other", make).load() is None


def test_stored_systems_are_used_in_rotation(tmp_path, small):
    for i in range(2):
        system = small("mge", seed=i)
        np.savez(tmp_path / f"mge_{i}.npz", Q=system.Q, q=system.q)
    found = bench.systems_of("mge", 3, tmp_path)
    assert [s.name for s in found] == ["mge_0", "mge_1", "mge_0"]
    assert all(s.x is not None for s in found)
    with pytest.raises(SystemExit, match="no rect_"):
        bench.systems_of("rect", 1, tmp_path)


def test_unknown_case():
    with pytest.raises(SystemExit, match="--cases: got 'disc'"):
        bench.choices("--cases", "rect,disc", problems.KINDS)


def test_robustness_counts_and_judges(sizes):
    records = robustness.measure(["mge"], 3, backend="reference", with_peers=False, **sizes["mge"])
    assert len(records) == 3 and all(r["certified"] and not robustness.dishonest(r) for r in records)
    assert {"iterations", "passes", "status", "residual", "proof"} <= set(records[0])
    text = robustness.text(records)
    assert "all" in text and "NOT" not in text
    wrong = records[0] | {"max_rel_err": 1e-3}
    assert robustness.dishonest(wrong) and "CERTIFIED AND WRONG" in robustness.text([wrong])
    assert robustness.dishonest(records[0] | {"max_rel_err": math.nan})
    assert "inf" in robustness.text([records[0] | {"residual": None, "max_rel_err": None}])
    capped = records[0] | {"certified": False, "status": "MAX_ITER", "max_rel_err": 1e-3}
    assert not robustness.dishonest(capped) and "MAX_ITER" in robustness.text([capped])


def test_robustness_mixes_kinds_in_proportion():
    found = list(robustness.sequence(problems.KINDS, 8, first=5))
    assert [kind for kind, _ in found].count("mge") == 4
    assert found[:2] == [("mge", 5), ("mge", 6)]
    assert len(set(found)) == 8


def test_survey_compares_methods(systems):
    tried = [("crossover", "reference", 1e-12, 50), ("bpp", "reference", 1e-12, 50)]
    records = survey.measure(systems[:1], tried, with_peers=False, runs=1)
    assert [r["method"] for r in records] == ["crossover", "bpp"]
    assert all(r["certified"] and abs(r["objective_err"]) < 1e-12 for r in records)
    text = survey.text(records, markdown=True)
    assert "| crossover" in text and "### mge" in text and "- `bpp`" in text


def test_survey_tries_every_method():
    methods = {method for method, *_ in survey.settings()}
    assert methods == set(survey.GOOD_FOR) == {"crossover", "pdip", "admm", "fista", "bpp"}
    for method, backend, tol, cap in survey.settings():
        nnls.Options(method=method, backend=backend, tol=tol, max_iter=cap)


def test_objective_error_has_no_cancellation(systems):
    system = systems[0]
    assert survey.objective_error(system, system.x) == pytest.approx(0, abs=1e-25)
    step = 1e-9 * system.x
    expected = 0.5 * step @ system.Q @ step / abs(0.5 * system.q @ system.x)
    assert survey.objective_error(system, system.x + step) == pytest.approx(expected, rel=1e-3)


def test_demo_draws_its_picture(tmp_path, sizes):
    pytest.importorskip("matplotlib")
    from lenskern.bench import figure

    records, shown = [], []
    for kind in problems.KINDS:
        found, pictured = demo.run({kind: 2}, **sizes[kind])
        records += found
        shown += pictured
    assert {r["case"] for r in records if not r.get("absent")} == set(problems.KINDS)
    assert "2 of 2 certified" in demo.text(records)
    figure.draw(shown, tmp_path / "demo.png")
    assert (tmp_path / "demo.png").stat().st_size > 50_000


def test_command_line_lists_the_benchmarks(capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert set(command.NAMES) <= set(capsys.readouterr().out.replace(",", " ").split())

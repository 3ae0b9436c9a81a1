"""The deflection benchmark on small problems; no time is checked."""

import numpy as np
import pytest

pytest.importorskip("mpmath")

from lenskern.bench import deflect as bench
from lenskern.bench import deflect_systems, memory, report, timing
from lenskern.bench.deflect_peers import Calls
from lenskern.bench.deflect_systems import Case, System

RATES = timing.Rates(1e11, 5e10)
PLANE = Case("plane", 12, 20)


def own(kind="plane"):
    loaded = {system: system.load() for system in deflect_systems.systems() if system.name == "lenskern"}
    case = Case(kind, 1, 1)
    return {s: calls for s, calls in loaded.items() if calls is not None and case.takes(s, calls)}


def test_deflections_are_measured_and_checked():
    ticks = []
    records = bench.measure_case(PLANE, own(), 5, RATES, lambda: ticks.append(1), rest=0, oracle_rays=5)
    assert len(records) == len(own()) and len(ticks) == timing.steps(own())
    for record in records:
        assert set(report.FIELDS) <= set(record)
        single = record["dtype"] == "float32"
        assert record["max_abs_err"] <= max(1e-6 if single else 1e-15, record["tol"] or 0)
        assert record["oracle_err"] <= max(1e-6 if single else 1e-15, record["tol"] or 0)
        assert record["reference_err"] < 1e-16
        assert record["pairs"] == 144 * 20
    text = bench.text([*records, report.absent("deflect", "caustics (torch)", "pip install caustics")])
    assert PLANE.name in text and "caustics (torch) is not installed: pip install caustics" in text


def test_light_cones_are_measured_and_checked():
    records = bench.measure_case(Case("cone", 10, 6), own("cone"), 5, RATES, rest=0, oracle_rays=4)
    assert len(records) == len(own("cone"))
    for record in records:
        limit = 1e-6 if record["dtype"] == "float32" else max(1e-14, 30 * (record["tol"] or 0))
        assert record["max_abs_err"] <= limit and record["oracle_err"] <= limit
        assert record["pairs"] == 100 * 8 * 6


def test_floor_of_the_direct_sum():
    system = System("lenskern", "cpp", "float64", 0.0, None)
    record = bench._record(PLANE, system, RATES)
    assert record["floor_s"] == pytest.approx(144 * 20 * bench.FLOPS_PER_PAIR / 5e10)
    far = System("lenskern", "cpp", "float64", 1e-9, None)
    assert bench._record(PLANE, far, RATES)["floor_s"] is None


def test_a_gradient_is_compared_with_its_value():
    case = Case("gradient", 8, 10)
    systems = own("gradient")
    records = bench.measure_case(case, systems, 5, RATES, rest=0)
    assert all(r["value_s"] > 0 and r["oracle_err"] is None for r in records)
    assert all(r["max_abs_err"] < (1e-2 if r["dtype"] == "float32" else 1e-9) for r in records)
    assert "over value" in bench.text(records)


def test_nan_is_infinitely_wrong():
    broken = Calls(lambda haloes, rays: lambda: np.full(rays.shape, np.nan))
    system = System("other", "numpy", "float64", None, None)
    (record,) = bench.measure_case(PLANE, {system: broken}, 5, RATES, rest=0, oracle_rays=2)
    assert record["max_abs_err"] == record["oracle_err"] == np.inf
    assert "inf" in bench.text([record])


def test_batches_are_left_to_the_compiled_kernels():
    case = Case("batch", 4, 5, batch=3, alone=True)
    calls = Calls(None, batch=lambda *arguments: None)
    assert case.takes(System("lenskern", "cpp", "float64", None, None), calls)
    assert not case.takes(System("lenskern", "reference", "float64", 0.0, None), calls)
    assert len(case.problem) == 3 and case.pairs == 3 * 16 * 5
    many = np.asarray(case.call(deflect_systems.reference().load())())
    assert many.shape == (3, 16, 2)
    np.testing.assert_allclose(many[0][[3]], deflect_systems.deflect_oracle.plane(case.problem[0], case.rays[[3]]))


def test_a_child_measures_memory_and_time(capsys):
    system = deflect_systems.reference()
    found = bench.child(PLANE, system)
    assert 0 <= found["peak_bytes"] < 1e9 and found["seconds"] > 0
    nothing = System("nothing", "numpy", "float64", None, None)
    assert bench.child(PLANE, nothing) == {"peak_bytes": None, "seconds": None}
    assert "nothing/numpy/float64" in capsys.readouterr().err


def test_a_batch_is_measured_in_a_child():
    found = bench.child(Case("batch", 6, 5, batch=3), deflect_systems.reference())
    assert found["oracle_err"] < 1e-15 and found["seconds"] > 0


def test_peak_memory_leaves_the_result_out():
    def call():
        scratch = np.ones(40_000_000 // 8)
        return scratch[: 16_000_000 // 8] + 1

    result, growth = memory.peak_growth(call)
    assert result.nbytes == 16_000_000
    assert 35e6 < growth < 60e6


def test_systems_have_names_of_their_own():
    keys = [system.key for system in deflect_systems.systems()]
    assert len(set(keys)) == len(keys)
    assert {"jaxtronomy", "lenstronomy", "caustics", "autolens", "paltax"} < {k.split("/")[0] for k in keys}


def test_the_command_runs(capsys, tmp_path):
    from lenskern.bench.__main__ import main

    options = [
        "--quick",
        "--systems",
        "lenskern",
        "--no-memory",
        "--cases",
        "plane",
        "--json",
        str(tmp_path / "records.json"),
    ]
    assert main(["deflect", *options]) == 0
    assert "48x48 rays" in capsys.readouterr().out
    assert report.read(tmp_path / "records.json")[0]["benchmark"] == "deflect"

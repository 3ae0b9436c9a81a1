"""The benchmark of convolutions on small images; no time is checked."""

import pytest

from lenskern.bench import convolve as bench
from lenskern.bench import report


@pytest.mark.parametrize("kind", ["gradient", "masked"])
def test_methods_are_measured_and_checked(kind):
    records = bench.measure([bench.Case(kind, 12, 3, 1 if kind == "masked" else 2)], runs=5, rest=0)
    measured = [r for r in records if not r.get("absent")]
    assert {r["dtype"] for r in measured} == {"float32", "float64"}
    assert {r["method"] for r in measured if r["system"] == "lenskern"} == {"fft", "direct", "separable"}
    for record in measured:
        assert set(report.FIELDS) <= set(record)
        assert record["max_abs_err"] < (1e-6 if record["dtype"] == "float32" else 1e-14)
        assert 0 < record["min_s"] <= record["median_s"]
    for dtype in ("float32", "float64"):
        assert sum(r["chosen"] for r in measured if r["dtype"] == dtype) == 1
    assert f"12², {kind} 3²" in bench.text(records)

"""The benchmark of tracers; skipped where autolens is not installed."""

import sys

import pytest

from lenskern.bench import report, tracer


def test_records():
    pytest.importorskip("autolens")
    records = tracer.measure([(18, 4)], oracle_rays=2)
    assert [(r["system"], r["backend"], r["tol"]) for r in records] == [
        ("autolens", "numpy", None),
        ("lenskern", "cpp", 0.0),
        ("lenskern", "cpp", None),
    ]
    assert all(set(report.FIELDS) <= set(r) and r["oracle_err"] < 1e-10 and r["difference"] < 1e-10 for r in records)
    assert "18 haloes on 9 planes, 4x4 rays" in tracer.text(records)


def test_without_autolens(monkeypatch):
    monkeypatch.setitem(sys.modules, "autolens", None)
    records = tracer.measure([(18, 4)])
    assert "autolens is not installed: pip install 'lenskern[autolens]'" in tracer.text(records)


def test_haloes_of_the_cone():
    cone = tracer.cone(1000)
    assert [len(haloes) for haloes in cone.haloes] == [112] + [111] * 8 and cone.redshifts[cone.lens_plane] == 0.5

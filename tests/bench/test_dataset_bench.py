"""The record of a data set that is killed and resumed, on a small one; no time is checked."""

import json
import os
import sys
from pathlib import Path

import pytest

from lenskern.bench import dataset as bench
from lenskern.bench import report

pytest.importorskip("zarr", reason="data sets need zarr: pip install 'lenskern[simulate]'")
pytest.importorskip("yaml", reason="configs need PyYAML: pip install 'lenskern[simulate]'")


def test_a_set_that_was_killed_is_verified(tmp_path, monkeypatch):
    toys = str(Path(__file__).parents[1] / "simulate")
    monkeypatch.syspath_prepend(toys)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([toys, *sys.path]))
    theta = {"width": {"uniform": [0.2, 0.5]}, "centre": {"uniform": [-0.5, 0.5]}}
    config = {"batch": 4, "chunk": 4, "theta": theta, "function": "toy_images:blob"}
    (tmp_path / "toy.yaml").write_text(json.dumps(config))
    record = bench.measure(tmp_path / "toy.yaml", tmp_path / "set.zarr", 800, kills=1, sample=40, seed=1)
    assert record["passed"] and set(report.FIELDS) <= set(record)
    assert [p["exit_code"] for p in record["processes"]] == [-9, 0]
    assert 0 < record["processes"][1]["chunks_before"] < record["chunks"] == 200
    assert record["repeated"] == 40 and record["distinct_thetas"] == 800
    assert "killed" in bench.text([record]) and "passed" in bench.text([record])

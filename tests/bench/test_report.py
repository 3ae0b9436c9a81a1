import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from lenskern.bench import report, timing


def test_records_have_every_field_and_survive_json(tmp_path):
    record = report.record(benchmark="nnls", case="mge", system="lenskern", batch=4, median_s=0.5, extra=[1, 2.5])
    assert set(report.FIELDS) <= set(record)
    assert record["extra"] == [1, 2.5] and record["floor_s"] is None
    assert set(record["device"]) == {"platform", "model", "count", "cores"}
    assert record["versions"]["jax"] and "jaxnnls" in record["versions"]
    path = tmp_path / "folder" / "records.json"
    report.write(path, [record])
    assert report.read(path) == json.loads(json.dumps([record]))
    report.write(path, [{"error": math.nan, "lanes": [math.inf, 1]}])
    assert report.read(path) == [{"error": None, "lanes": [None, 1]}]


def test_update_keeps_other_cases(tmp_path):
    path = tmp_path / "records.json"
    first = [report.record(benchmark="b", case=case, system="s", runs=1) for case in ("kept", "replaced")]
    report.update(path, first)
    report.update(path, [report.record(benchmark="b", case="replaced", system="s", runs=2)])
    assert {record["case"]: record["runs"] for record in report.read(path)} == {"kept": 1, "replaced": 2}


def test_records_do_not_name_the_machine():
    import socket

    assert socket.gethostname() not in json.dumps(report.record(benchmark="nnls"))


def test_absent_peers_name_the_command_that_installs_them():
    record = report.absent("nnls", "jaxnnls", "pip install jaxnnls")
    assert record["absent"] and record["install"] == "pip install jaxnnls" and record["median_s"] is None


def test_table():
    text = report.table(["<name", "time"], [["rect", "1.5 ms"], ["mge", None]])
    assert text.splitlines() == ["name    time", "----  ------", "rect  1.5 ms", "mge        -"]


def test_markdown_table():
    text = report.table(["<name", "time"], [["rect", 12]], markdown=True)
    assert text.splitlines() == ["| name | time |", "| :--- | ---: |", "| rect |   12 |"]


@pytest.mark.parametrize(
    ("value", "expected"), [(2.345, "2.35 s"), (0.0123, "12.3 ms"), (4.2e-5, "42 us"), (5e-8, "50 ns"), (None, None)]
)
def test_seconds(value, expected):
    assert report.seconds(value) == expected


def test_progress_counts(capsys):
    with report.progress(3, "work") as tick:
        for _ in range(3):
            tick("note")
    assert "work" in capsys.readouterr().err


def test_calls_alternate():
    order = []

    def call(name):
        order.append(name)
        return jnp.zeros(())

    ticks = []
    calls = {name: lambda name=name: call(name) for name in "ab"}
    times = timing.alternate(calls, runs=5, warmups=1, rest=0, tick=lambda: ticks.append(1))
    assert "".join(order) == "ab" + "abbaabbaab"
    assert len(ticks) == timing.steps(calls, runs=5, warmups=1) == 12
    assert all(len(t.seconds) == 5 and 0 <= t.minimum <= t.median for t in times.values())


def test_too_few_runs():
    with pytest.raises(ValueError, match="runs: expected at least 5, got 3"):
        timing.alternate({}, runs=3)


def test_dense_flops_follow_the_counts():
    one = timing.dense_flops(1000, 800, 1, 0)
    assert one.single == pytest.approx(1000**3 / 3, rel=0.05)
    ten = timing.dense_flops(1000, 800, 10, 0)
    assert ten.single == pytest.approx(10 * one.single) and ten.double == pytest.approx(10 * one.double)
    finish = timing.dense_flops(1000, 800, 0, 1)
    assert finish.single == pytest.approx(800**3 / 3, rel=0.06)
    assert timing.Flops(2e9, 1e9).seconds(timing.Rates(1e9, 0.5e9)) == pytest.approx(4)


def test_shortest_returns_the_result():
    result, seconds = timing.shortest(lambda: jnp.arange(3), runs=2)
    np.testing.assert_array_equal(result, [0, 1, 2])
    assert seconds > 0


def test_rates_are_positive():
    rates = timing.measure_rates(size=64, repeats=1)
    assert rates.single > 0 and rates.double > 0

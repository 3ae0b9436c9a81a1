"""The benchmark of the Poisson draws runs, and shows all of its systems."""

from lenskern.bench import poisson


def test_all_systems_are_measured_and_shown():
    records = poisson.measure([], [2], runs=5, dtypes=["float32"])
    assert {r["system"] for r in records} == {"lenskern", "jax", "numpy", "normal"}
    assert all(r["median_s"] > 0 for r in records)
    lines = poisson.text(records).splitlines()
    assert sum(line.startswith("mixed") for line in lines) == len(records)

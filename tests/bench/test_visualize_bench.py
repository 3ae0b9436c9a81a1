"""The benchmark of visualization, as far as it does without autolens; tests/interop/test_autofit.py has the rest."""

import contextlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern.bench import autolens_lenses, report, visualize


def test_difference():
    """Relative to the panel; whatever is not there on both sides is infinite."""
    theirs = {(0, 0, "values 0"): np.array([1.0, np.nan, -4.0]), (0, 1, "line 0"): np.zeros((0, 2))}
    ours = {key: value.copy() for key, value in theirs.items()}
    assert visualize.difference(ours, theirs) == 0
    ours[0, 0, "values 0"][0] += 1e-3
    assert visualize.difference(ours, theirs) == pytest.approx(2.5e-4)
    for wrong in (np.array([1.0, 0.0, -4.0]), np.zeros(2)):
        assert visualize.difference(ours | {(0, 0, "values 0"): wrong}, theirs) == np.inf
    assert visualize.difference({}, theirs) == np.inf


def test_compilations_are_counted():
    @jax.jit
    def program(x):
        return jnp.sin(x) * 3

    with visualize.compilations() as first:
        program(np.arange(3.0))
    with visualize.compilations() as again:
        program(np.ones(3))
    program(np.ones(4))
    assert len(first) == 1 and again == []


def test_text():
    fields = {name: 1.0 for name in ("warmup_s", "first_s", "median_s", "model_data_s", "curves_s", "figure_s")}
    counts = {name: 7 for name in ("warmup_compilations", "first_compilations", "later_compilations")}
    record = report.record(benchmark="visualize", case="imaging-mge", system="lenskern", **fields, **counts)
    shown = visualize.text([record | {"max_abs_err": 3e-12}])
    assert "7 in 1 s" in shown and "3e-12" in shown
    assert visualize.INSTALL in visualize.text([report.absent("visualize", "autolens", visualize.INSTALL)])


def test_records_of_a_case(monkeypatch):
    """The warm-up and the first update count for themselves, and the last column is the worst of all figures."""
    lens = SimpleNamespace(
        dataset=SimpleNamespace(data=np.zeros(9)),
        model=None,
        parameters=lambda count: range(count),
        analysis=SimpleNamespace,
    )
    shared = SimpleNamespace(fit=None, start=None)

    def update(analysis, model, vector, warm_up=False):
        ours = hasattr(analysis, "fit_for_visualization")
        drawn = {} if warm_up else {(0, 0, "values 0"): np.array([1.0 + 1e-12 * ours * vector])}
        return visualize.Update(total=1.0 + vector, model_data=0.5, curves=0.25, compilations=5 - vector, drawn=drawn)

    monkeypatch.setattr(autolens_lenses, "lens", lambda case, size: lens)
    monkeypatch.setattr(visualize.interop_autofit, "SharedFit", lambda analysis, model: shared)
    monkeypatch.setattr(visualize, "update", update)
    registered = []

    @contextlib.contextmanager
    def register():
        registered.append(True)
        yield
        registered.append(False)

    monkeypatch.setattr(visualize.interop_autoarray, "registered", register)
    theirs, fit, ours = visualize.measure_case("imaging-mge", None, 3)
    assert [r["system"] for r in (theirs, fit, ours)] == ["autolens", "lenskern, fit", "lenskern"]
    assert registered == [True, False] and fit["max_abs_err"] == ours["max_abs_err"]
    assert theirs["max_abs_err"] is None and ours["max_abs_err"] == pytest.approx(3e-12, rel=1e-3)
    assert (ours["warmup_s"], ours["first_s"], ours["median_s"], ours["runs"]) == (1.0, 2.0, 3.5, 2)
    assert (ours["warmup_compilations"], ours["first_compilations"], ours["later_compilations"]) == (5, 4, 3)
    assert ours["figure_s"] == 2.75 and ours["pixels"] == 9


def test_triangles_count_in_any_order():
    collections = pytest.importorskip("matplotlib.collections")
    rng = np.random.default_rng(0)
    triangles, values, order = rng.random((20, 3, 2)), rng.random(20), rng.permutation(20)
    first = collections.PolyCollection(triangles, array=values)
    again = collections.PolyCollection(triangles[order][:, [1, 2, 0]], array=values[order])
    assert np.array_equal(visualize.values_of(first), visualize.values_of(again))
    other = collections.PolyCollection(triangles, array=values[order])
    assert not np.array_equal(visualize.values_of(first), visualize.values_of(other))


def test_bad_options(capsys):
    arguments = type("Arguments", (), {"cases": "imaging-mge", "updates": 1, "quick": True, "json": None})
    assert visualize.run(arguments) == 2
    assert "--updates: expected at least 2, got 1" in capsys.readouterr().err

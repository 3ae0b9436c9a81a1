"""The benchmark of mapping matrices runs, and its systems agree."""

import importlib.util

import numpy as np

from lenskern import backends
from lenskern.bench import mapping


def test_all_systems_are_measured_and_agree():
    records = mapping.measure([(6, 5)], batch=2, runs=5, rest=0)
    measured = [r for r in records if not r.get("absent")]
    systems = {("lenskern", name) for name in ("cpp", "reference") if backends.availability(name).available}
    if importlib.util.find_spec("autoarray"):
        systems.add(("autoarray", "jax"))
    else:
        assert [r["system"] for r in records if r.get("absent")] == ["autoarray"]
    for operation in ("blur", "from entries", "from entries, gradient", "curvature"):
        for lanes in (1, 2):
            found = [r for r in measured if (r["case"], r["batch"]) == (operation, lanes)]
            assert {(r["system"], r["backend"]) for r in found} == systems
            assert all(r["median_s"] > 0 and r["max_abs_err"] < 1e-12 for r in found)
    lines = mapping.text(records).splitlines()
    assert sum(line.startswith(("blur", "from entries", "curvature")) for line in lines) == len(measured)


def test_a_lens_maps_all_of_a_pixel():
    mask, _, matrices = mapping.lens(7, 6, 2)
    assert matrices.shape == (2, (~mask).sum(), 36)
    np.testing.assert_allclose(matrices.sum(-1), 1, rtol=0, atol=1e-13)
    assert 0 < (np.asarray(matrices) != 0).sum(-1).max() <= 4
    assert np.abs(matrices[0] - matrices[1]).max() > 1e-3

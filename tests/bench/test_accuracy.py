import math

import numpy as np
import pytest

pytest.importorskip("mpmath", reason="the references have 40 digits: pip install mpmath")

from lenskern.bench import accuracy, report
from lenskern.deflect import Profile


@pytest.fixture(scope="module")
def records():
    return accuracy.measure(4, 5, with_peers=False, profiles=(Profile.DPIE, Profile.POINT))


def test_errors_are_those_of_rounding(records):
    allowed = {"float64": 1e-13, "float32": 5e-6}
    assert {r["case"] for r in records} == {"DPIE", "POINT"}
    assert {r["dtype"] for r in records} == set(allowed)
    for r in records:
        assert all(len(errors) == len(accuracy.BINS) for errors in r["errors"].values())
        assert max(map(max, r["errors"].values())) < allowed[r["dtype"]]


def test_a_wrong_value_is_found():
    x, at = accuracy.radii(4), np.zeros((1, 2))
    (deflection, scale), *_ = accuracy._reference(Profile.SIS, x, at)
    values = np.ones((1, *x.shape))
    assert accuracy._errors(values, deflection, scale).max() == 0
    values[0, 3, 1], values[0, 3, 2] = 1 + 1e-9, np.nan
    wrong = accuracy._errors(values, deflection, scale)
    assert wrong[0, 3, 1] == pytest.approx(1e-9) and wrong[0, 3, 2] == math.inf


def test_shapes_hold_what_is_singular():
    cells = accuracy.cells(Profile.TNFWC, 5)
    assert (cells["equal", (-1.5, 1.5)][:, 0] == cells["equal", (-1.5, 1.5)][:, 1]).all()
    assert 1 in cells[(-1.5, 1.5), "near 1"][:, 1]
    assert (cells[0, (-1.5, 1.5)][:, 0] == 0).all()
    decades = [cell for name, cell in cells.items() if all(isinstance(part, tuple) for part in name)]
    assert len(decades) == 9
    assert np.concatenate(decades).min() < 10**-1.1 and np.concatenate(decades).max() > 10**1.1


def test_tables(records, tmp_path):
    missing = dict.fromkeys(accuracy.QUANTITIES) | {"deflection": [math.inf] * len(accuracy.BINS)}
    other = records[0] | {"system": "other", "errors": missing}
    report.write(tmp_path / "accuracy.json", [*records, other, report.absent("accuracy", "absent", "pip install it")])
    text = accuracy.text(report.read(tmp_path / "accuracy.json"))
    row = next(line for line in text.splitlines() if "other" in line).split()
    assert row[4:] == ["inf"] * 6 + ["-", "-"]
    assert "near 1" in text and "absent is not installed: pip install it" in text

"""The benchmark of the simulator on small problems; no time is checked."""

import numpy as np
import pytest

from lenskern.bench import report, simulate, simulate_peers, simulate_systems
from lenskern.bench.simulate_systems import Case, Source

CASE = Case(2, 2, side=16, haloes=4)
# Largest difference of the mean image from ours, over its brightest pixel: rounding, or single precision.
ERRORS = {"autolens": 1e-7, "jaxtronomy": 1e-7, "paltax": 1e-5}


def test_images_are_measured_and_compared():
    own = {system: system.load() for system in simulate_systems.own()[:2]}
    records = simulate.measure_case(CASE, own, 5, rest=0)
    for record in records:
        assert set(report.FIELDS) <= set(record) and record["images_per_s"] > 0
        assert record["max_abs_err"] < (1e-4 if record["dtype"] == "float32" else 1e-7)
    left_out = simulate._record(CASE, simulate_peers.peers()[0], left_out="does not fit in 24 GB")
    text = simulate.text([*records, left_out, report.absent("simulate", "paltax (jax)", "pip install paltax")])
    assert CASE.name in text and "does not fit" in text and "paltax (jax) is not installed" in text


def test_the_same_source_for_another_b():
    source = Source()
    intensity, radius = source.with_b(3.0)
    r = np.linspace(0.1, 1.0, 5)
    grid = np.stack([source.centre[0] + r, np.full(5, source.centre[1])], -1)
    expected = intensity * np.exp(-3.0 * ((r / radius) ** (1 / source.index) - 1))
    np.testing.assert_allclose(source.profile().brightness(grid), expected, rtol=1e-12)


@pytest.mark.parametrize("peer", simulate_peers.peers(), ids=lambda peer: peer.name)
def test_peers_show_the_same_image(peer):
    setup = peer.load()
    if setup is None:
        pytest.skip(f"{peer.name} is not installed")
    theirs, ours = setup(CASE), simulate_systems.own()[1].load()(CASE)
    mean = np.asarray(ours.mean())
    assert np.abs(np.asarray(theirs.mean()) - mean).max() < ERRORS[peer.name] * mean.max()
    noisy, expected = np.asarray(theirs.images()), np.asarray(ours.images())
    # Poisson noise of 1000 s and, at the edges, light that a PSF brings in from outside.
    assert np.abs(noisy - expected)[:, 4:-4, 4:-4].max() < 8 * np.sqrt(expected.max() / 1000)

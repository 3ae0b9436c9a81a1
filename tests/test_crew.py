"""The kernels' work sharing under ThreadSanitizer, with real threads."""

import pytest


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_every_piece_runs_once_without_a_race(sanitizer, run_sanitized):
    run_sanitized(sanitizer, ["tests/cpp/crew_test.cc", "kernels/cpp/crew.cc"], ["kernels/cpp"], timeout=120)

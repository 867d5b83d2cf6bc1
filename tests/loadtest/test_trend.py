from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from loadtest._trend import Trend, drift, trend, trend_rows


@given(st.integers(3, 2000), st.floats(-50, 50))
def test_a_line_has_its_slope(count: int, per_second: float) -> None:
    found = trend([(float(t), 7.0 + per_second * t) for t in range(count)])
    assert found is not None
    for slope in (found.per_hour, found.low, found.high):
        assert abs(slope - per_second * 3600) < 1e-3


def test_outliers_do_not_move_it() -> None:
    points = [(float(t), 100.0 + (5000.0 if t % 7 == 0 else 0.0)) for t in range(60)]
    found = trend(points)
    assert found == Trend(0.0, 0.0, 0.0, 59.0)


def test_the_true_slope_lies_in_its_interval_nearly_always() -> None:
    rng = random.Random(7)
    missed = 0
    for _ in range(40):
        found = trend([(t * 10.0, t * 10.0 / 360 + rng.gauss(0, 3)) for t in range(60)])
        assert found is not None
        missed += not found.low <= 10.0 <= found.high
    assert missed <= 5


def test_two_looks_tell_nothing() -> None:
    assert trend([(0.0, 1.0), (1.0, 2.0)]) is None
    assert trend_rows("x", "things", [(0.0, 1.0), (1.0, 2.0)], "") == []


def test_a_short_run_says_that_its_slope_means_little() -> None:
    short, long = (
        trend_rows("rss_slope_mb_h", "memory", [(float(t), t / 3600) for t in range(seconds)], "MB")[0]
        for seconds in (600, 602)
    )
    assert short.value == "1.0 MB (1.0 to 1.0, too short to mean much)"
    assert long.value == "1.0 MB (1.0 to 1.0)"
    assert (long.key, long.better) == ("rss_slope_mb_h", "less")


def test_drift_compares_the_ends() -> None:
    assert drift([1.0] * 9) is None
    assert drift([2.0, *[50.0] * 8, 3.0]) == 1.5
    assert drift([0.0] * 20) is None

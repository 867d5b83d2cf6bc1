"""The histogram of durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.telemetry import Latencies

SECONDS = st.floats(2**-20, 2**12, exclude_min=True)


def made(*seconds: float) -> Latencies:
    latencies = Latencies()
    for each in seconds:
        latencies.add(each)
    return latencies


@given(SECONDS)
def test_a_duration_is_known_to_seven_percent(seconds: float) -> None:
    assert made(seconds).quantile(0.5) == pytest.approx(seconds, rel=0.07)


@given(st.lists(SECONDS, min_size=1), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_share_of_the_calls_took_at_most_its_quantile(seconds: list[float], q: float) -> None:
    latencies = made(*seconds)
    assert latencies.count == len(seconds)
    assert latencies.sum == pytest.approx(sum(seconds))
    within = sum(each <= latencies.quantile(q) * 1.07 for each in seconds)
    assert within >= q * len(seconds)


@given(st.lists(SECONDS), st.integers(-19, 11))
def test_powers_of_two_are_exact_bounds(seconds: list[float], exponent: int) -> None:
    bound = 2.0**exponent
    latencies = made(*seconds, bound)
    assert latencies.below(exponent) == sum(each <= bound for each in [*seconds, bound])


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 2.0**12, 1e6])
def test_what_is_beyond_the_range_is_counted(seconds: float) -> None:
    assert made(seconds).count == 1
    assert made(seconds).quantile(0.5) > 0


def test_without_calls_everything_is_zero() -> None:
    assert (made().count, made().sum, made().quantile(0.99)) == (0, 0.0, 0.0)

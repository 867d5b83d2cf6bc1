from __future__ import annotations

from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.contrib.locust.histogram import Histogram
from loadtest._ladder import Ladder, broke
from loadtest._profile import HealthLimits
from loadtest._result import Health, Second
from loadtest._words import parse_mix

_FINE = Second(at=1.0, users=1, wanted=10.0, generator=Health(cpu=0.5, schedule_lag_ms=1.0, loop_lag_ms=1.0))
_WORN = Second(at=1.0, users=1, wanted=10.0, generator=Health(cpu=0.5, schedule_lag_ms=9.0, loop_lag_ms=1.0))


def test_each_step_has_its_rate_and_its_time() -> None:
    ladder = Ladder(rate=100.0, factor=2.0, begin=3.0, step=2.0)
    assert [ladder.number(at) for at in (0.0, 2.9, 3.0, 4.9, 5.0, 7.0)] == [-1, -1, 0, 0, 1, 2]
    assert [ladder.rate_of(number) for number in (-1, 0, 1, 2)] == [100.0, 100.0, 200.0, 400.0]
    due = list(takewhile(lambda at: at < 59.0, ladder.times(50.0, None)))
    assert [sum(low <= at < high for at in due) for low, high in ((50, 53), (53, 55), (55, 57), (57, 59))] == [
        300,
        200,
        400,
        800,
    ]


@given(st.floats(1, 500), st.floats(1.1, 3), st.floats(0, 3), st.floats(2, 5), st.sampled_from([None, "s"]))
def test_moments_ascend_and_are_the_same_again(
    rate: float, factor: float, begin: float, step: float, seed: str | None
) -> None:
    ladder = Ladder(rate, factor, begin, step)
    first, again = (list(takewhile(lambda at: at < begin + 2 * step, ladder.times(0.0, seed))) for _ in range(2))
    assert first == again == sorted(first)
    last = sum(due >= ladder.end_of(0) for due in first)
    assert abs(ladder.due_in(1, seed) - last) <= 1


def _done(count: int, seconds: float) -> Histogram:
    histogram = Histogram()
    for _ in range(count):
        histogram.add(seconds)
    return histogram


@pytest.mark.parametrize(
    ("count", "seconds", "of_it", "gated", "why", "generator"),
    [
        (100, 0.010, [_FINE], True, "", False),
        (98, 0.010, [_FINE], True, "", False),
        (97, 0.010, [_FINE], True, "97 of 100 done", False),
        (100, 0.051, [_FINE], True, "p99 51.0 ms", False),
        (100, 0.010, [_FINE, Second(at=2.0, users=1, wanted=10.0, failed=3)], True, "3 failed", False),
        (100, 0.010, [_FINE, _WORN, _WORN], True, "the load generator: its schedule", True),
        (100, 0.010, [_FINE, _WORN, _WORN], False, "", True),
        (97, 0.010, [_WORN], False, "97 of 100 done, the load generator: its schedule", True),
        (100, 0.010, [_FINE, _FINE, _WORN], True, "", False),
        (0, 0.010, [], True, "0 of 100 done", False),
    ],
)
def test_a_step_holds_or_says_what_gave_way(
    count: int, seconds: float, of_it: list[Second], gated: bool, why: str, generator: bool
) -> None:
    assert broke(_done(count, seconds), 100, 50.0, of_it, HealthLimits(), gated=gated) == (why, generator)


def test_a_mix_is_four_shares() -> None:
    assert parse_mix("60/25/10/5") == [0.6, 0.25, 0.1, 0.05]
    for wrong in ("60/25/10", "1/1/1/0", "a/1/1/1", "1/1/1/inf"):
        with pytest.raises(ValueError, match="60/25/10/5"):
            parse_mix(wrong)

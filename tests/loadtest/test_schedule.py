from __future__ import annotations

from itertools import islice

import pytest

from liverpc.contrib.locust.schedule import due_times


def test_a_constant_rate_does_not_drift() -> None:
    times = list(islice(due_times(30, 100.0), 30_001))
    assert times[0] == 100.0
    assert times[-1] == 1100.0


def test_random_arrivals_have_the_rate_and_repeat_with_the_seed() -> None:
    times = list(islice(due_times(50, 0.0, "s"), 10_000))
    assert times == list(islice(due_times(50, 0.0, "s"), 10_000))
    assert times != list(islice(due_times(50, 0.0, "t"), 10_000))
    assert times == sorted(times)
    assert times[-1] == pytest.approx(200, rel=0.05)


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_is_positive(rate: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        due_times(rate, 0.0)

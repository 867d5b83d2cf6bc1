"""More and more load: when each step is, and whether it held."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from itertools import count, takewhile

import msgspec

from liverpc.contrib.locust.histogram import Histogram
from liverpc.contrib.locust.schedule import due_times
from loadtest._profile import HealthLimits
from loadtest._result import Second

__all__ = ["Ladder", "broke"]

_DONE = 0.99  # of the operations that were due


class Ladder(msgspec.Struct, frozen=True):
    """The rates of a run, decided before it.

    What is before the first step, such as a warm-up, has its rate.
    """

    rate: float  #: of the first step
    factor: float
    begin: float  #: of the first step, in seconds
    step: float  #: seconds of each

    def number(self, at: float) -> int:
        """Of the step that a moment lies in; -1: before the first one."""
        return max(-1, int((at - self.begin) // self.step))

    def rate_of(self, number: int) -> float:
        """Operations per second of a step."""
        return self.rate * self.factor ** max(0, number)

    def end_of(self, number: int) -> float:
        """When a step ends."""
        return self.begin + (number + 1) * self.step

    def times(self, start: float, seed: str | None) -> Iterator[float]:
        """When operations are due; as of ``due_times``."""
        for number in count(-1):
            yield from self._times_in(number, start, seed)

    def due_in(self, number: int, seed: str | None) -> int:
        """How many operations are due in a step; perhaps one more or less, for moments are rounded."""
        return sum(1 for _ in self._times_in(number, 0.0, seed))

    def _times_in(self, number: int, start: float, seed: str | None) -> Iterator[float]:
        begin = start if number < 0 else start + self.end_of(number - 1)
        end = start + self.end_of(number)
        times = due_times(self.rate_of(number), begin, seed and f"{seed}/{number}")
        return takewhile(lambda due: due < end, times)


def broke(
    done: Histogram, wanted: int, limit: float, seconds: Sequence[Second], health: HealthLimits, *, gated: bool
) -> tuple[str, bool]:
    """Why a step did not hold, and whether that is for the load generator to answer for; empty: it held.

    Args:
        done: The latencies of what was due in it.
        wanted: How many they should be, give or take one.
        limit: Of their p99, in milliseconds.
        seconds: Of the step, and after it while its answers were awaited.
        health: What the load generator may need.
        gated: Whether a step does not hold, either, when it needs more and nothing else gave way.
    """
    p99 = done.percentile(0.99) * 1000
    failed = sum(second.failed for second in seconds)
    reasons = [
        f"{failed} failed" if failed else "",
        f"{done.count} of {wanted} done" if done.count + 1 < _DONE * wanted else "",
        f"p99 {p99:.1f} ms" if p99 > limit else "",
    ]
    worn = [what for what, name, most in _health(health) if _median(seconds, name) > most]
    if worn and (gated or any(reasons)):
        reasons.append(f"the load generator: {', '.join(worn)}")
    return ", ".join(each for each in reasons if each), bool(worn)


def _health(limits: HealthLimits) -> list[tuple[str, str, float]]:
    """What of the load generator may give way, the field of ``Health`` that tells, and its limit."""
    return [
        ("its CPU", "cpu", limits.cpu_max),
        ("its schedule", "schedule_lag_ms", limits.schedule_lag_p99_ms),
        ("its timers", "loop_lag_ms", limits.loop_lag_p99_ms),
    ]


def _median(seconds: Sequence[Second], name: str) -> float:
    values: list[float] = [getattr(each.generator, name) for each in seconds if each.generator is not None]
    return statistics.median(values) if values else 0.0

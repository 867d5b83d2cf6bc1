"""What all processes of a run told about its seconds, put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from liverpc.contrib.locust.histogram import Histogram
from loadtest._gate import healthy, told
from loadtest._profile import HealthLimits
from loadtest._report import COLUMNS, series
from loadtest._result import Health, Row, Second, Series, ServerSecond
from loadtest._run import unpacked

__all__ = ["Gathered", "milliseconds"]


def milliseconds(histogram: Histogram, share: float) -> float:
    """A percentile."""
    return round(histogram.percentile(share) * 1000, 4)


class Gathered:
    """The latencies, failures and health of all processes.

    Attributes:
        totals: Latencies that count, by kind and name.
        failures: All, by kind, name and code.
        lost: Connections of users.
    """

    def __init__(self) -> None:
        self.totals: dict[tuple[str, str], Histogram] = {}
        self.failures: Counter[tuple[str, str, str]] = Counter()
        self.lost = 0
        self._interval: dict[tuple[str, str], Histogram] = {}
        self._failed = 0
        self._health: dict[str, Health] = {}
        self._lag, self._loop_lag = Histogram(), Histogram()
        self._cpu: dict[str, tuple[float, float]] = {}  # seconds of CPU, and of time

    def take(self, data: Mapping[str, Any]) -> None:
        """Take in what a process told of itself, and whether its latencies count and its health matters by then."""
        lag, loop_lag = unpacked(data["lag"]), unpacked(data["loop_lag"])
        cpu = data["cpu"] / max(data["seconds"], 1e-9)
        self._health[data["node"]] = Health(round(cpu, 4), milliseconds(lag, 0.99), milliseconds(loop_lag, 0.99))
        if data["measured"]:
            self._lag.merge(lag)
            self._loop_lag.merge(loop_lag)
            used, passed = self._cpu.get(data["node"], (0.0, 0.0))
            self._cpu[data["node"]] = (used + data["cpu"], passed + data["seconds"])
        for kind, name, numbers in data["series"]:
            histogram = unpacked(numbers)
            self._interval.setdefault((kind, name), Histogram()).merge(histogram)
            if data["counts"]:
                self.totals.setdefault((kind, name), Histogram()).merge(histogram)
        self.lost += data["lost"]
        for kind, name, code, number in data["failures"]:
            self.failures[kind, name, code] += number
            self._failed += number

    def second(self, *, at: float, users: int, wanted: float, server: ServerSecond | None) -> Second:
        """What was taken in since the last call."""
        interval, self._interval = self._interval, {}
        failed, self._failed = self._failed, 0
        health, self._health = list(self._health.values()), {}
        named = {f"{kind} {name}": histogram for (kind, name), histogram in interval.items()}
        return Second(
            at=round(at, 3),
            users=users,
            wanted=wanted,
            done={name: histogram.count for name, histogram in named.items()},
            p50={name: milliseconds(histogram, 0.5) for name, histogram in named.items()},
            p99={name: milliseconds(histogram, 0.99) for name, histogram in named.items()},
            failed=failed,
            generator=_worst(health) if health else None,
            server=server,
        )

    def smallest(self, kind: str) -> float | None:
        """The smallest median of the series of a kind, in milliseconds; None when there are none."""
        return min((milliseconds(each, 0.5) for (of, _), each in self.totals.items() if of == kind), default=None)

    def latencies(self) -> dict[str, Series]:
        """All series with their failures, by kind and name."""
        failures: dict[str, dict[str, int]] = {}
        for (kind, name, code), number in self.failures.items():
            failures.setdefault(f"{kind} {name}", {})[code] = number
        found = {f"{kind} {name}": histogram for (kind, name), histogram in self.totals.items()}
        names = sorted(found.keys() | failures.keys())
        return {name: series(found.get(name, Histogram()), failures.get(name, {})) for name in names}

    def headline_rows(self, name: str) -> list[Row]:
        """The percentiles of a series as figures; none when it has no samples."""
        main = next((each for (kind, rest), each in self.totals.items() if f"{kind} {rest}" == name), None)
        if main is None:
            return []
        shown = series(main, {})
        return [
            told(f"{share}_ms", f"{name}: {text}", getattr(shown, share), "ms", better="less")
            for share, text in COLUMNS.items()
        ]

    def health_rows(self, limits: HealthLimits, *, gated: bool) -> list[Row]:
        """How the load generator was; of several processes the one that was busiest."""
        cpu = max((used / passed for used, passed in self._cpu.values() if passed), default=0.0)
        lag, loop_lag = milliseconds(self._lag, 0.99), milliseconds(self._loop_lag, 0.99)
        return [
            healthy(f"generator_{key}", f"generator: {what}", value, limit, unit, gated=gated)
            for key, what, value, limit, unit in (
                ("cpu", "cpu", cpu * 100, limits.cpu_max * 100, "%"),
                ("schedule_lag_p99_ms", "schedule lag p99", lag, limits.schedule_lag_p99_ms, "ms"),
                ("loop_lag_p99_ms", "loop lag p99", loop_lag, limits.loop_lag_p99_ms, "ms"),
            )
        ]


def _worst(health: list[Health]) -> Health:
    return Health(
        max(each.cpu for each in health),
        max(each.schedule_lag_ms for each in health),
        max(each.loop_lag_ms for each in health),
    )

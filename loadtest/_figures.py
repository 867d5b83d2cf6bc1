"""The figures of a run in the form in which systems collect them: counters, gauges and histograms with labels."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from liverpc.contrib.locust.histogram import Histogram
from liverpc.dispatch.metrics import Family, Sample
from liverpc.dispatch.metrics import Histogram as Buckets
from loadtest._outlets import Failures, Totals
from loadtest._result import Result, Second

__all__ = ["Figures"]

_BOUNDS = [float(f"{step}e{power}") for power in range(-4, 2) for step in (1, 2, 3, 5)]  # of buckets, in seconds
_SERIES_MAX = 50  # told apart in a run; those that come later are told together, as _OTHER
_CODES_MAX = 50
_OTHER = "other"


class Figures:
    """The latest figures of a run, which take what an outlet is told."""

    def __init__(self, scenario: str) -> None:
        self._scenario = scenario
        self.begin()

    def begin(self) -> None:
        self._second: Second | None = None
        self._totals: Totals = {}
        self._failures: Failures = {}
        self._result: Result | None = None
        self._series: set[str] = set()
        self._codes: set[str] = set()

    def second(self, second: Second, totals: Totals, failures: Failures) -> None:
        self._second, self._totals, self._failures = second, totals, failures

    def finished(self, result: Result) -> None:
        self._result = result

    def families(self) -> Iterator[Family]:
        """Everything, as it is now: totals, the last second, and the result once there is one."""
        yield _family("run", "gauge", "1, with the scenario that runs.", [((self._scenario,), 1)], ("scenario",))
        yield from self._operations()
        if self._second is not None:
            yield from _of_second(self._second)
        if self._result is not None:
            yield from _of_result(self._result)

    def _operations(self) -> Iterator[Family]:
        done: dict[str, Histogram] = {}
        for (kind, name), histogram in list(self._totals.items()):
            done.setdefault(self._label(kind, name), Histogram()).merge(histogram)
        failed: dict[tuple[str, str], int] = {}
        for (kind, name, code), count in list(self._failures.items()):
            key = (self._label(kind, name), _kept(code, self._codes, _CODES_MAX))
            failed[key] = failed.get(key, 0) + count
        label = ("series",)
        counts = [((series,), histogram.count) for series, histogram in done.items()]
        yield _family("operations", "counter", "Operations that succeeded.", counts, label)
        yield _family("failures", "counter", "Operations that failed.", failed.items(), ("series", "code"))
        times = [((series,), _buckets(histogram)) for series, histogram in done.items()]
        yield _family("latency_seconds", "histogram", "How long operations took.", times, label)

    def _label(self, kind: str, name: str) -> str:
        return _kept(f"{kind} {name}", self._series, _SERIES_MAX)


def _of_second(second: Second) -> Iterator[Family]:
    yield _gauge("users", "Users that run.", second.users)
    yield _gauge("wanted_per_second", "Operations per second that are due.", second.wanted)
    if second.generator is not None:
        health = second.generator
        yield _gauge("generator_cpu_ratio", "CPU of the load generator, of one core.", health.cpu)
        text = "How late operations were started, p99 of the last second."
        yield _gauge("generator_schedule_lag_seconds", text, health.schedule_lag_ms / 1000)
        text = "How late the load generator's own timers were, p99 of the last second."
        yield _gauge("generator_loop_lag_seconds", text, health.loop_lag_ms / 1000)
    if second.server is not None:
        server = second.server
        told = (
            ("lag_seconds", "How late the server's event loop was, at worst in the last second.", _ms(server.lag_ms)),
            ("handler_seconds", "Time in the server's functions, p99 of the last second.", _ms(server.handler_ms)),
            ("outbox_bytes", "Not yet taken by the server's sockets.", server.outbox_bytes),
            ("connections", "Connections that the server has.", server.connections),
            ("resident_memory_bytes", "Memory of the server.", server.rss_bytes),
            ("cpu_ratio", "CPU of the server, of one core.", server.cpu),
            ("open_fds", "File descriptors that the server has open.", server.fds),
        )
        for name, text, value in told:
            if value is not None:
                yield _gauge(f"server_{name}", text, value)


def _of_result(result: Result) -> Iterator[Family]:
    yield _gauge("exit_code", "Of the run that is over: 0 passed.", result.exit_code)
    numbers = {row.key: row.number for row in result.rows if row.number is not None}
    if "lost" in numbers:
        yield _family("lost", "counter", "Messages that did not arrive.", [((), numbers["lost"])])
    figures = [((key,), number) for key, number in numbers.items()]
    yield _family("figure", "gauge", "What the verdict is made of, by key.", figures, ("key",))


def _family(
    name: str,
    kind: Any,
    text: str,
    samples: Iterable[tuple[tuple[str, ...], float | Buckets]],
    labels: tuple[str, ...] = (),
) -> Family:
    return Family(f"liverpc_load_{name}", kind, text, labels, [Sample(values, value) for values, value in samples])


def _gauge(name: str, text: str, value: float) -> Family:
    return _family(name, "gauge", text, [((), value)])


def _ms(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _kept(name: str, known: set[str], most: int) -> str:
    """``name``, or ``other`` when there are as many names as are told apart."""
    if name not in known and len(known) < most:
        known.add(name)
    return name if name in known else _OTHER


def _buckets(histogram: Histogram) -> Buckets:
    counts = [0] * (len(_BOUNDS) + 1)
    for nanos, count in histogram.counts.items():
        counts[bisect.bisect_left(_BOUNDS, nanos / 1e9)] += count
    at_most = list(zip(_BOUNDS, itertools.accumulate(counts), strict=False))
    return Buckets(at_most, histogram.count, histogram.total)

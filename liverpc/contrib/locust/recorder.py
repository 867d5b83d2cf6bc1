"""Latencies on their way into Locust's statistics.

Locust rounds every response time to whole milliseconds and spends several microseconds on each. Here a
sample costs a fraction of one, and is kept within 1 %; once a second everything new is merged into Locust's
entries, so that its tables, charts and files work as always. From the first :class:`Recorder` on, Locust
keeps response times finer than whole milliseconds, in the whole process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import gevent
from locust import stats as locust_stats

from liverpc.contrib.locust.histogram import Histogram
from liverpc.contrib.locust.words import printable

__all__ = ["Recorder", "recorder_of"]

_FLUSH_SECONDS = 1.0
_CODES_MAX = 100  # failures told apart; those of other kinds have the code _OTHER, for servers make up codes
_CODE_MAX = 64  # characters
_OTHER = "other"


def _bucket(ms: float) -> float:
    return round(ms, 2 if ms < 10 else 1 if ms < 100 else 0)


class Recorder:
    """The latencies of one Locust environment; made by :func:`recorder_of`.

    Attributes:
        totals: All samples since the test started, by kind and name, except those of the last second.
        lost: Connections that users lost since the test started.
        failures: Failures since the test started, by kind, name and code.
        on_flush: Called with the new samples, by kind and name, each time they were merged: once a second and at
            the end, also when there are none.
    """

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._new: dict[tuple[str, str], Histogram] = {}
        self._bytes: dict[tuple[str, str], int] = {}
        self._parts: set[tuple[str, str]] = set()
        self.totals: dict[tuple[str, str], Histogram] = {}
        self.lost = 0
        self.failures: dict[tuple[str, str, str], int] = {}
        self.on_flush: Callable[[Mapping[tuple[str, str], Histogram]], object] | None = None
        events = environment.events
        events.test_start.add_listener(self._restart)
        for event in (events.test_stopping, events.test_stop, events.quitting):
            event.add_listener(self._flush)
        environment.runner.greenlet.spawn(self._run)
        locust_stats.bucket_response_time = _bucket

    def add(self, kind: str, name: str, seconds: float, size: int = 0, *, part: bool = False) -> None:
        """Take one success: what Locust calls request type, name, response time and response length.

        ``part``: it is a step of an operation, or another view of it, that is recorded under another name;
        Locust's "Aggregated" row leaves it out.
        """
        key = (kind, name)
        histogram = self._new.get(key)
        if histogram is None:
            histogram = self._new[key] = Histogram()
            self._bytes[key] = 0
            if part:
                self._parts.add(key)
        histogram.add(seconds)
        self._bytes[key] += size

    def fail(self, kind: str, name: str, seconds: float, code: str) -> None:
        """Take one failure. ``code`` is one of few words, for Locust keeps a row for each; above 100, ``other``."""
        key = (kind, name, code)
        if key not in self.failures:
            # Locust takes a failure without a name for a success.
            code = (printable(code, _CODE_MAX) or _OTHER) if len(self.failures) < _CODES_MAX else _OTHER
            key = (kind, name, code)
        self.failures[key] = self.failures.get(key, 0) + 1
        self._environment.events.request.fire(
            request_type=kind, name=name, response_time=seconds * 1000, response_length=0, exception=code, context={}
        )

    def flush(self) -> None:
        """Merge what is new into Locust's statistics and the totals."""
        new, self._new = self._new, {}
        sizes, self._bytes = self._bytes, {}
        stats = self._environment.stats
        for (kind, name), histogram in new.items():
            _merge(stats.get(name, kind), histogram, sizes[kind, name])
            if (kind, name) not in self._parts:
                _merge(stats.total, histogram, sizes[kind, name])
            self.totals.setdefault((kind, name), Histogram()).merge(histogram)
        if self.on_flush is not None:
            self.on_flush(new)

    def _flush(self, **_: Any) -> None:
        self.flush()

    def _run(self) -> None:
        while True:
            gevent.sleep(_FLUSH_SECONDS)
            self.flush()

    def _restart(self, **_: Any) -> None:
        self._new, self._bytes, self.totals, self.failures, self.lost = {}, {}, {}, {}, 0


def _merge(entry: Any, histogram: Histogram, size: int) -> None:
    now = time.time()
    second = int(now)
    if entry.use_response_times_cache:
        entry._cache_response_times(second)
    entry.num_requests += histogram.count
    entry.total_response_time += histogram.total * 1000
    entry.total_content_length += size
    least = histogram.min * 1000
    entry.min_response_time = least if entry.min_response_time is None else min(entry.min_response_time, least)
    entry.max_response_time = max(entry.max_response_time, histogram.max * 1000)
    entry.last_request_timestamp = now
    entry.num_reqs_per_sec[second] += histogram.count
    for nanos, count in histogram.counts.items():
        entry.response_times[_bucket(nanos / 1e6)] += count


def recorder_of(environment: Any) -> Recorder:
    """The recorder of a Locust environment, which must have a runner; made at the first call."""
    recorder: Recorder | None = getattr(environment, "liverpc_recorder", None)
    if recorder is None:
        recorder = environment.liverpc_recorder = Recorder(environment)
    return recorder

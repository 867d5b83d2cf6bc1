"""What a server can be measured by, for systems that collect figures.

It is read from what the server counts anyway, when somebody asks: a system that fails cannot make a call fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from typing import Literal, Protocol

import msgspec

from liverpc.declare.registry import Registry
from liverpc.hub.hub import Hub
from liverpc.policies.running import RunningPolicies
from liverpc.telemetry import Counters, Latencies, Tally, Telemetry
from liverpc.uploads.uploads import Uploads

__all__ = ["BUCKETS", "Family", "Histogram", "Metrics", "MetricsSink", "Sample"]

BUCKETS = range(-12, 6)  # powers of two, in seconds: from 0.2 ms to 32 s
NO_STREAM = "__topic__"  # the path of subscriptions to topics without a stream, rooms of contracts among them
_STATES = ("closed", "half-open", "open")  # of breakers; the position is the figure
_TOLD_BY_PATH = ("calls", "call_errors")


class Histogram(msgspec.Struct, frozen=True):
    """How many calls took how long."""

    buckets: list[tuple[float, int]]  #: upper bound in seconds, inclusive, and how many took at most so long
    count: int
    sum: float  #: seconds


class Sample(msgspec.Struct, frozen=True):
    """One figure of a family."""

    labels: tuple[str, ...]  #: the values of the family's labels
    value: float | Histogram


class Family(msgspec.Struct, frozen=True):
    """Figures that mean the same."""

    name: str  #: begins with ``liverpc_``; that of a counter does not end with ``_total``
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...]
    samples: list[Sample]


class MetricsSink(Protocol):
    """A system that collects figures; what ``LiveServer.metrics`` takes."""

    @property
    def content_type(self) -> str:
        """Of what :meth:`render` returns."""
        ...

    def bind(self, source: Metrics, /) -> None:
        """Called once, by ``LiveServer.metrics``: whose figures it collects."""
        ...

    def render(self) -> bytes:
        """The body of an answer to ``GET /metrics``. What it raises is logged, and the answer 500."""
        ...


class Metrics:
    """The figures of one server. Labels have few values: paths as declared, codes up to a limit, fixed names."""

    def __init__(
        self, hub: Hub, registry: Registry, telemetry: Telemetry, uploads: Uploads, policies: RunningPolicies
    ) -> None:
        self._hub = hub
        self._registry = registry
        self._telemetry = telemetry
        self._uploads = uploads
        self._policies = policies

    def families(self) -> Iterator[Family]:
        """Everything, as it is now. May be asked from any thread."""
        telemetry = self._telemetry
        yield from self._calls()
        yield from self._gauges()
        violations = [Sample((category,), count) for category, count in list(telemetry.violations.items())]
        yield Family("liverpc_assertion_violations", "counter", "Violated invariants.", ("category",), violations)
        for field in fields(Counters):
            if field.name not in _TOLD_BY_PATH:
                text = f"{field.name.replace('_', ' ').capitalize()}."
                samples = [Sample((), getattr(telemetry.counters, field.name))]
                yield Family(f"liverpc_{field.name}", "counter", text, (), samples)

    def _calls(self) -> Iterator[Family]:
        total: list[Sample] = []
        errors: list[Sample] = []
        seconds: list[Sample] = []
        for path, tally in self._tallies():
            total.append(Sample((path, "ok"), tally.calls - tally.errors))
            total.append(Sample((path, "error"), tally.errors))
            errors += [Sample((path, code), count) for code, count in list(tally.codes.items())]
            if tally.latencies is not None:
                seconds.append(Sample((path,), _histogram(tally.latencies)))
        text = "Calls and stream requests that ended."
        yield Family("liverpc_rpc", "counter", text, ("path", "status"), total)
        yield Family("liverpc_rpc_errors", "counter", "Those that failed, by error code.", ("path", "code"), errors)
        text = "How long calls and stream requests took."
        yield Family("liverpc_rpc_duration_seconds", "histogram", text, ("path",), seconds)

    def _tallies(self) -> Iterator[tuple[str, Tally]]:
        for entry in self._registry.entries:
            yield entry.path, entry
        yield from self._telemetry.strays.items()

    def _gauges(self) -> Iterator[Family]:
        hub = self._hub
        topics, connections = list(hub.topics.values()), list(hub.connections.values())
        subscriptions = Counter({entry.path: 0 for entry in self._registry.entries if entry.is_stream})
        for topic in topics:
            subscriptions[topic.path or NO_STREAM] += len(topic.subscriptions)
        samples = [Sample((path,), count) for path, count in subscriptions.items()]
        text = "Connections subscribed to topics, by the stream that each topic was first subscribed to by."
        yield Family("liverpc_stream_subscriptions", "gauge", text, ("path",), samples)
        running = sum(connection.calls.running for connection in connections)
        yield _gauge("connections", "Open connections.", len(connections))
        yield _gauge("topics", "Topics with subscribers.", len(topics))
        faults = 0 if hub.faults is None else hub.faults.active
        yield _gauge("chaos_active", "Faults injected on purpose that are in force.", faults)
        yield _gauge("calls_running", "Unfinished calls, uploads aside.", running)
        yield _gauge("uploads_running", "Unfinished uploads.", len(self._uploads.running))
        yield _gauge("upload_buffered_bytes", "Received, and not yet taken by handlers.", self._uploads.buffered)
        rows = [Sample((row.name,), _STATES.index(row.state)) for row in self._policies.breakers.rows()]
        text = "0: calls run, 1: it tries whether they work again, 2: they are refused."
        yield Family("liverpc_breaker_state", "gauge", text, ("breaker",), rows)


def _gauge(name: str, text: str, value: float) -> Family:
    return Family(f"liverpc_{name}", "gauge", text, (), [Sample((), value)])


def _histogram(latencies: Latencies) -> Histogram:
    buckets = [(2.0**exponent, latencies.below(exponent)) for exponent in BUCKETS]
    return Histogram(buckets, latencies.count, latencies.sum)

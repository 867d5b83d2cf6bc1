"""The figures of a run for OpenTelemetry, through the exporter that the environment names."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from importlib.metadata import entry_points, version
from itertools import pairwise
from typing import Any

import gevent
from gevent.event import Event

from liverpc.dispatch.metrics import Family
from liverpc.dispatch.metrics import Histogram as Buckets
from liverpc.errors import ConfigError, MissingExtraError
from loadtest._figures import Figures
from loadtest._outlets import Failures, Totals
from loadtest._result import Result, Second

try:
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        Gauge,
        HistogramDataPoint,
        Metric,
        MetricExporter,
        MetricsData,
        NumberDataPoint,
        ResourceMetrics,
        ScopeMetrics,
        Sum,
    )
    from opentelemetry.sdk.metrics.export import Histogram as OtelHistogram
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "opentelemetry":
        raise
    raise MissingExtraError("opentelemetry-sdk", extra="otel", what="--otlp") from None

__all__ = ["OpenTelemetry"]

log = logging.getLogger("loadtest")

_INTERVAL_MS = 5000  # unless OTEL_METRIC_EXPORT_INTERVAL says something else
_EXPORT_MS = 10_000
_CLOSE_SECONDS = 5.0  # for the last export
_UNITS = {"seconds": "s", "bytes": "By", "ratio": "1"}  # by the last word of a name


class OpenTelemetry:
    """An outlet that exports what ``/metrics`` of ``--prometheus`` shows, every five seconds and at the end.

    ``OTEL_METRICS_EXPORTER`` names the exporter: ``otlp``, the default, is OTLP over HTTP to
    ``OTEL_EXPORTER_OTLP_ENDPOINT``. Exports run in a greenlet of their own: while one hangs, newer figures replace
    older ones, and the end of the process waits five seconds at most.

    Args:
        scenario: Its name.

    Raises:
        ConfigError: There is no such exporter, or it cannot be used.
    """

    def __init__(self, scenario: str) -> None:
        self._figures = Figures(scenario)
        self._start = time.time_ns()
        self._interval = _interval()
        self._exporter = _exporter()
        service = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "liverpc-load"}
        self._resource = Resource.create(service)
        self._scope = InstrumentationScope("liverpc.load", version("liverpc"))
        self._news = Event()
        self._closing = False
        self._greenlet = gevent.spawn(self._run)

    def begin(self) -> None:
        self._figures.begin()
        self._start = time.time_ns()

    def second(self, second: Second, totals: Totals, failures: Failures, /) -> None:
        self._figures.second(second, totals, failures)

    def finished(self, result: Result, /) -> None:
        self._figures.finished(result)
        self._news.set()

    def close(self) -> None:
        self._closing = True
        self._news.set()
        self._greenlet.join(_CLOSE_SECONDS)
        if not self._greenlet.ready():
            log.warning("the last figures could not be exported within %g seconds", _CLOSE_SECONDS)
            self._greenlet.kill(block=False)

    def _run(self) -> None:
        complained = False
        while not self._closing:
            self._news.wait(self._interval)
            self._news.clear()
            try:
                self._exporter.export(self._data(), timeout_millis=_EXPORT_MS)
            except Exception:
                if not complained:
                    complained = True
                    log.exception("figures cannot be exported; the run goes on, further failures are not logged")
        self._exporter.shutdown()

    def _data(self) -> MetricsData:
        now = time.time_ns()
        metrics = [_metric(family, self._start, now) for family in self._figures.families() if family.samples]
        return MetricsData([ResourceMetrics(self._resource, [ScopeMetrics(self._scope, metrics, "")], "")])


def _metric(family: Family, start: int, now: int) -> Metric:
    unit = _UNITS.get(family.name.rpartition("_")[2], "")
    cumulative = AggregationTemporality.CUMULATIVE
    data: Any
    if family.kind == "histogram":
        data = OtelHistogram(list(_histogram_points(family, start, now)), cumulative)
    else:
        points = [
            NumberDataPoint(dict(zip(family.labels, sample.labels, strict=True)), start, now, sample.value)
            for sample in family.samples
            if not isinstance(sample.value, Buckets)
        ]
        data = Sum(points, cumulative, is_monotonic=True) if family.kind == "counter" else Gauge(points)
    return Metric(family.name, family.help, unit, data)


def _histogram_points(family: Family, start: int, now: int) -> Iterator[HistogramDataPoint]:
    unknown: Any = None  # OTLP lets minimum and maximum out
    for sample in family.samples:
        value = sample.value
        if isinstance(value, Buckets):
            at_most = [0, *(count for _, count in value.buckets), value.count]
            yield HistogramDataPoint(
                attributes=dict(zip(family.labels, sample.labels, strict=True)),
                start_time_unix_nano=start,
                time_unix_nano=now,
                count=value.count,
                sum=value.sum,
                bucket_counts=[more - fewer for fewer, more in pairwise(at_most)],
                explicit_bounds=[bound for bound, _ in value.buckets],
                min=unknown,
                max=unknown,
            )


def _interval() -> float:
    text = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL") or str(_INTERVAL_MS)
    if not text.isdecimal() or not int(text):
        raise ConfigError(f"OTEL_METRIC_EXPORT_INTERVAL={text} is not a number of milliseconds")
    return int(text) / 1000


def _exporter() -> MetricExporter:
    name = os.environ.get("OTEL_METRICS_EXPORTER") or "otlp"
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    missing = f"no installed package has the exporter that OTEL_METRICS_EXPORTER={name} names"
    if name == "otlp":
        if protocol not in (None, "http/protobuf"):
            raise ConfigError(f"--otlp sends http/protobuf, for {protocol} would stop gevent: unset the OTLP protocol")
        name = "otlp_proto_http"
        missing = "--otlp needs an exporter, which is not installed: pip install opentelemetry-exporter-otlp-proto-http"
    found = next(iter(entry_points(group="opentelemetry_metrics_exporter", name=name)), None)
    if found is None:
        raise ConfigError(missing)
    try:
        exporter: MetricExporter = found.load()()
    except Exception as error:
        raise ConfigError(f"--otlp cannot use the exporter {name!r}: {error}") from error
    return exporter

"""A server's figures for Prometheus; needs ``pip install 'liverpc[prometheus]'``."""

from __future__ import annotations

from collections.abc import Iterator

from liverpc.dispatch.metrics import Family, Histogram, Metrics
from liverpc.errors import ConfigError, MissingExtraError

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
    from prometheus_client.registry import Collector
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "prometheus_client":
        raise
    raise MissingExtraError("prometheus-client", extra="prometheus", what="liverpc.contrib.prometheus") from None

__all__ = ["PrometheusSink"]


class PrometheusSink:
    """What ``LiveServer.metrics`` takes: ``server.metrics(PrometheusSink())``; docs/observability.md lists the figures.

    Args:
        registry: Where the figures go, and what ``/metrics`` shows all of. Default: one of its own. With
            ``prometheus_client.REGISTRY`` the application's own figures and those of the process are on the page, too.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._bound = False

    def bind(self, source: Metrics, /) -> None:
        """Collect the figures of a server.

        Raises:
            ConfigError: It collects those of one already, or its registry has those of another.
        """
        if self._bound:
            raise ConfigError("a PrometheusSink collects the figures of one server; make another for another server")
        try:
            self.registry.register(_Collector(source))
        except ValueError:
            raise ConfigError("this registry has the figures of a server already; give each server its own") from None
        self._bound = True

    def render(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self.registry)


class _Collector(Collector):
    def __init__(self, source: Metrics) -> None:
        self._source = source

    def describe(self) -> Iterator[Metric]:
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        for family in self._source.families():
            yield _metric(family)


def _metric(family: Family) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for sample in family.samples:
            if isinstance(sample.value, Histogram):
                buckets = [(repr(bound), float(count)) for bound, count in sample.value.buckets]
                histogram.add_metric(sample.labels, [*buckets, ("+Inf", sample.value.count)], sample.value.sum)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for sample in family.samples:
        if not isinstance(sample.value, Histogram):
            metric.add_metric(sample.labels, sample.value)
    return metric

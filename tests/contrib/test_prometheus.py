"""The page that Prometheus reads, as its own parser understands it. acceptance 235, 236"""

from __future__ import annotations

import sys

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families

from liverpc import ConfigError, HttpRequest, LiveServer, MissingExtraError, RpcError, remote
from liverpc.contrib.prometheus import PrometheusSink
from liverpc.testing import TestEnv
from tests.contrib.contrib_kit import make_server

Page = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def page(server: LiveServer) -> Page:
    request = HttpRequest("GET", "/metrics", "", {"host": "localhost"}, b"", "127.0.0.1")
    answer = await server.http(request)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def figure(found: Page, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


async def test_the_page_has_calls_errors_durations_and_gauges() -> None:
    server = make_server()
    server.metrics(PrometheusSink())
    async with TestEnv(server) as env:
        client = env.connect()
        await client.call(remote("m/echo"), 1)
        with pytest.raises(RpcError):
            await client.call(remote("m/fail"), 'odd "code"\\\n')
        rows = await client.subscribe(remote("m/rows"))
        found = await page(server)
        assert figure(found, "liverpc_rpc_total", path="m/echo", status="ok") == 1
        assert figure(found, "liverpc_rpc_total", path="m/echo", status="error") == 0
        assert figure(found, "liverpc_rpc_errors_total", path="m/fail", code='odd "code"\\\n') == 1
        assert figure(found, "liverpc_rpc_duration_seconds_count", path="m/echo") == 1
        assert figure(found, "liverpc_rpc_duration_seconds_bucket", path="m/echo", le="0.5") == 1
        assert figure(found, "liverpc_rpc_duration_seconds_bucket", path="m/echo", le="+Inf") == 1
        assert figure(found, "liverpc_stream_subscriptions", path="m/rows") == 1
        assert figure(found, "liverpc_connections") == 1
        assert figure(found, "liverpc_connections_opened_total") == 1
        await rows.aclose()
        await env.settle()
        assert figure(await page(server), "liverpc_stream_subscriptions", path="m/rows") == 0


async def test_the_applications_own_registry_may_be_shown_too() -> None:
    registry = CollectorRegistry()
    Gauge("shop_orders", "Orders that wait.", registry=registry).set(7)
    server = make_server()
    server.metrics(PrometheusSink(registry))
    async with TestEnv(server):
        found = await page(server)
        assert figure(found, "shop_orders") == 7
        assert figure(found, "liverpc_connections") == 0
        with pytest.raises(ConfigError, match="already"):  # two servers would be one figure
            make_server().metrics(PrometheusSink(registry))


def test_a_sink_is_for_one_server() -> None:
    sink = PrometheusSink()
    make_server().metrics(sink)
    with pytest.raises(ConfigError, match="another"):
        make_server().metrics(sink)


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("prometheus", "prometheus_client", "prometheus"),
        ("opentelemetry", "opentelemetry", "otel"),
        ("structlog", "structlog.contextvars", "structlog"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for loaded in [each for each in sys.modules if each == package or each.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.delitem(sys.modules, f"liverpc.contrib.{name}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"liverpc\[{extra}\]"):
        __import__(f"liverpc.contrib.{name}")

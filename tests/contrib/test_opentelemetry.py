"""Spans of calls and connections, through the real SDK. acceptance 236"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.context import Context as OtelContext
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from liverpc import RpcError, remote
from liverpc.contrib.opentelemetry import trace
from liverpc.testing import TestEnv
from tests.contrib.contrib_kit import make_server


class Kept(SpanExporter):
    """Keeps what is exported."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS

    def of(self, name: str) -> ReadableSpan:
        [span] = [each for each in self.spans if each.name == name]
        return span


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def provider(kept: Kept) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return provider


async def test_each_kind_of_call_has_a_span_linked_to_its_connection(kept: Kept, provider: TracerProvider) -> None:
    def inside() -> None:
        with provider.get_tracer("application").start_as_current_span("query"):
            pass

    server = make_server(inside)
    trace(server, provider)
    async with TestEnv(server) as env:
        client = env.connect()
        await client.call(remote("m/echo"), "a secret argument")
        await client.binary(remote("m/size"), b"abc")
        await client.upload(remote("m/keep"), b"abc")
        await client.subscribe(remote("m/rows"))
        await client.aclose()
        await env.settle()
    connection = kept.of("connection")
    assert dict(connection.attributes or {})["liverpc.close_code"] == 1000
    for path in ("m/echo", "m/size", "m/keep", "m/rows"):
        span = kept.of(path)
        attributes = dict(span.attributes or {})
        assert attributes.keys() == {"rpc.system", "rpc.method", "liverpc.request_id"}
        assert (attributes["rpc.system"], attributes["rpc.method"]) == ("liverpc", path)
        assert span.parent is None
        [link] = span.links
        assert link.context.span_id == connection.context.span_id
        [child] = [each for each in kept.spans if each.parent and each.parent.span_id == span.context.span_id]
        assert child.name == "query"
    assert "secret" not in "".join(span.to_json() for span in kept.spans)


async def test_a_span_says_what_went_wrong_but_no_data(kept: Kept, provider: TracerProvider) -> None:
    server = make_server()
    trace(server, provider)
    async with TestEnv(server) as env:
        client = env.connect()
        for path, word in (("m/fail", "NO_CARD"), ("m/crash", "hunter2"), ("made/up", "x")):
            with pytest.raises(RpcError):
                await client.call(remote(path), word)
        client.fire(remote("m/wait"))
        await env.settle()
        await client.aclose()
        await env.settle()
    refused, crashed, left = kept.of("m/fail"), kept.of("m/crash"), kept.of("m/wait")
    assert (refused.attributes or {})["error.type"] == "NO_CARD"
    assert refused.status.status_code is StatusCode.UNSET
    assert (left.attributes or {})["error.type"] == "DISCONNECTED"
    assert (crashed.attributes or {})["error.type"] == "INTERNAL_ERROR"
    assert crashed.status.status_code is StatusCode.ERROR
    [event] = crashed.events
    assert dict(event.attributes or {}) == {"exception.type": "builtins.ValueError"}
    told = "".join(span.to_json() for span in kept.spans)
    assert not [word for word in ("hunter2", "4111", "made/up") if word in told]


async def test_messages_are_recorded_when_asked_for(kept: Kept, provider: TracerProvider) -> None:
    server = make_server()
    trace(server, provider, messages=True)
    async with TestEnv(server) as env:
        with pytest.raises(RpcError):
            await env.connect().call(remote("m/crash"), "hunter2")
    assert "hunter2" in kept.of("m/crash").to_json()


class Broken(SpanProcessor):
    def __init__(self, *, on: str) -> None:
        self.on = on

    def on_start(self, span: Span, parent_context: OtelContext | None = None) -> None:
        if self.on == "start":
            raise RuntimeError("the collector is down")

    def on_end(self, span: ReadableSpan) -> None:
        if self.on == "end":
            raise RuntimeError("the collector is down")


@pytest.mark.parametrize("on", ["start", "end"])
async def test_tracing_that_fails_fails_no_call(on: str, caplog: pytest.LogCaptureFixture) -> None:
    provider = TracerProvider(shutdown_on_exit=False)  # acceptance 236
    provider.add_span_processor(Broken(on=on))
    server = make_server()
    trace(server, provider)
    async with TestEnv(server) as env:
        client = env.connect()
        results: list[Any] = [await client.call(remote("m/echo"), n) for n in range(3)]
        assert results == [0, 1, 2]
        with pytest.raises(RpcError, match="NO_CARD"):
            await client.call(remote("m/fail"), "NO_CARD")
    assert len([each for each in caplog.records if each.name == "liverpc.tracing"]) == 1

"""What a server tells about itself: every call once, gauges that come back, labels with few values."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import (
    ConfigError,
    Context,
    HttpRequest,
    Inspect,
    LiveError,
    LiveServer,
    RpcError,
    Token,
    UploadContext,
    live,
    public,
    remote,
)
from liverpc.dispatch.metrics import Histogram, Metrics
from liverpc.telemetry import OTHER
from liverpc.testing import TestEnv
from tests.uploads.upload_kit import Sender

Figures = dict[tuple[str, ...], Any]


class Sink:
    """Renders what it is told to, or raises."""

    content_type = "text/x-figures"
    page: bytes | Exception = b"figures"

    def bind(self, source: Metrics, /) -> None:
        self.source = source

    def render(self) -> bytes:
        if isinstance(self.page, Exception):
            raise self.page
        return self.page

    def of(self, family: str) -> Figures:
        """The figures of a family by their labels, those that are 0 left out."""
        [found] = [each for each in self.source.families() if each.name == f"liverpc_{family}"]
        return {sample.labels: sample.value for sample in found.samples if sample.value}


def module() -> SimpleNamespace:
    @live
    def echo(ctx: Context[Any], value: int = 0) -> int:
        return value

    @live
    async def fail(ctx: Context[Any], code: str = "NOPE") -> None:
        raise LiveError(code)

    @live
    async def crash(ctx: Context[Any]) -> None:
        raise ValueError("the password is hunter2")

    @live
    async def sleep(ctx: Context[Any], seconds: float) -> None:
        await asyncio.sleep(seconds)

    @live.binary()
    async def size(ctx: Context[Any], data: bytes) -> int:
        return len(data)

    @live.upload()
    async def keep(ctx: UploadContext[Any]) -> int:
        return sum([len(chunk) async for chunk in ctx.upload])

    @live.stream("rows:{name}")
    async def rows(ctx: Context[Any], name: str) -> list[Any]:
        await asyncio.sleep(0)
        if name == "bad":
            raise LiveError("NOPE")
        return []

    return SimpleNamespace(**locals(), _guard=public())


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def server(sink: Sink) -> LiveServer:
    server = LiveServer({"m": module()})
    server.metrics(sink)
    return server


async def test_every_call_is_counted_once_whatever_becomes_of_it(server: LiveServer, sink: Sink) -> None:
    async with TestEnv(server) as env:  # acceptance 235
        peer = Sender(server)
        peer.say(rpc="m/echo", id="1", args=[1])
        peer.say(rpc="m/echo", id="2", args=["no number"])
        peer.say(rpc="m/echo", args=[1])  # fire and forget
        peer.say(rpc="m/fail", id="3", args=[])
        peer.say(rpc="m/crash", id="4", args=[])
        for number in range(100):
            peer.say(rpc=f"made/up{number}", id="5", args=[])
        peer.say(rpc="m/rows", id="6", args=["a"])  # a stream, called as a function
        peer.say(rpc="m/echo", id="7", args=[], stream=True)
        peer.binary("m/size", b"abc")
        peer.binary("m/size", b"abc", "surplus")
        peer.binary("m/echo", b"abc")
        peer.begin(1, data=b"abc", last=True)
        peer.begin(2, "m/echo", data=b"abc", last=True)
        peer.begin(3, data=b"abc")
        peer.give_up(3)
        peer.say(rpc="m/rows", id="8", args=["b"], stream=True)
        peer.say(rpc="m/rows", id="9", args=["bad"], stream=True)
        peer.say(batch=[{"rpc": "m/echo", "id": str(n), "args": []} for n in range(2)])
        peer.say(batch=[{"rpc": "m/echo", "id": str(n), "args": []} for n in range(51)])
        peer.say(rpc="m/sleep", id="10", args=[100.0])
        await env.settle()
        peer.leave()
        await env.settle()
        assert sink.of("rpc") == {
            ("m/echo", "ok"): 5,
            ("m/echo", "error"): 1,
            ("m/fail", "error"): 1,
            ("m/crash", "error"): 1,
            ("m/rows", "ok"): 1,
            ("m/rows", "error"): 2,
            ("m/size", "ok"): 2,
            ("m/keep", "ok"): 1,
            ("m/keep", "error"): 1,
            ("m/sleep", "error"): 1,
            ("__unknown__", "error"): 100,
            ("__invalid__", "error"): 3,  # bytes for a function, an upload of one, and the long batch
        }
        assert sum(sink.of("rpc").values()) == server.counters.calls
        errors = sink.of("rpc_errors")
        assert sum(errors.values()) == server.counters.call_errors
        assert errors["m/echo", "VALIDATION"] == 1
        assert errors["m/fail", "NOPE"] == 1
        assert errors["m/crash", "INTERNAL_ERROR"] == 1
        assert errors["m/sleep", "DISCONNECTED"] == 1
        assert errors["m/keep", "CANCELLED"] == 1
        assert errors["__unknown__", "NOT_FOUND"] == 100


async def test_durations_are_seconds(server: LiveServer, sink: Sink) -> None:
    async with TestEnv(server) as env:  # acceptance 235
        client = env.connect()
        for seconds in (0.5, 0.75, 3.0):
            await client.call(remote("m/sleep"), seconds)
        found = sink.of("rpc_duration_seconds")["m/sleep",]
        assert isinstance(found, Histogram)
        assert found.count == 3
        assert found.sum == pytest.approx(4.25)
        at_most = dict(found.buckets)
        assert [at_most[bound] for bound in (0.25, 0.5, 1.0, 2.0, 4.0)] == [0, 1, 2, 2, 3]


async def test_without_a_sink_no_durations_are_kept() -> None:
    server = LiveServer({"m": module()})
    async with TestEnv(server) as env:
        await env.connect().call(remote("m/echo"))
        [entry] = [each for each in server.registry.entries if each.path == "m/echo"]
        assert (entry.calls, entry.latencies) == (1, None)
        server.metrics(Sink())  # while it runs
        await env.connect().call(remote("m/echo"))
        assert entry.latencies is not None
        assert (entry.calls, entry.latencies.count) == (2, 1)


async def test_the_gauge_of_subscriptions_comes_back_to_zero(server: LiveServer, sink: Sink) -> None:
    async with TestEnv(server) as env:  # acceptance 235
        client, other = env.connect(), env.connect()
        first = await client.subscribe(remote("m/rows"), "a")
        await client.subscribe(remote("m/rows"), "b")
        await other.subscribe(remote("m/rows"), "a")
        assert sink.of("stream_subscriptions") == {("m/rows",): 3}
        with pytest.raises(RpcError):
            await client.subscribe(remote("m/rows"), "bad")  # rolled back
        assert sink.of("stream_subscriptions") == {("m/rows",): 3}
        await first.aclose()
        await env.settle()
        assert sink.of("stream_subscriptions") == {("m/rows",): 2}
        await other.aclose()
        await client.aclose()
        await env.settle()
        assert (sink.of("stream_subscriptions"), sink.of("connections")) == ({}, {})

        peer = Sender(server)
        peer.say(rpc="m/rows", id="1", args=["a"], stream=True)
        await env.settle()
        assert sink.of("stream_subscriptions") == {("m/rows",): 1}
        for _ in range(2):
            peer.say(type="unsubscribe", topic="rows:a")
        await env.settle()
        assert sink.of("stream_subscriptions") == {}
        peer.leave()


async def test_codes_that_handlers_make_up_are_few_labels(server: LiveServer, sink: Sink) -> None:
    async with TestEnv(server) as env:
        client = env.connect()
        for number in range(40):
            with pytest.raises(RpcError):
                await client.call(remote("m/fail"), f"CODE{number}")
        found = sink.of("rpc_errors")
        assert len(found) == 33
        assert found["m/fail", OTHER] == 8


async def test_every_counter_is_a_figure(server: LiveServer, sink: Sink) -> None:
    async with TestEnv(server) as env:
        await env.connect().subscribe(remote("m/rows"), "a")
        server.publish_nowait("rows:a", "created", {"id": 1})
        assert sink.of("published") == sink.of("deliveries") == {(): 1}
        names = [family.name for family in sink.source.families()]
        assert len(set(names)) == len(names)
        assert {"liverpc_rate_limited", "liverpc_lock_timeouts", "liverpc_breaker_openings"} <= set(names)


async def test_what_policies_refuse_is_among_the_errors_and_has_counters(sink: Sink) -> None:
    @live.rate_limit(points=1, per=10.0)
    async def limited(ctx: Context[Any]) -> None: ...

    @live.breaker(name="bank", failures=1)
    async def broken(ctx: Context[Any]) -> None:
        raise ValueError

    server = LiveServer({"m": SimpleNamespace(limited=live(limited), broken=live(broken), _guard=public())})
    server.metrics(sink)
    async with TestEnv(server) as env:
        assert sink.of("breaker_state") == {}
        for path in ("m/limited", "m/broken") * 2:
            with suppress(RpcError):
                await env.connect(user={"id": "ann"}).call(remote(path))
        assert sink.of("rpc_errors") == {
            ("m/limited", "RATE_LIMITED"): 1,
            ("m/broken", "INTERNAL_ERROR"): 1,
            ("m/broken", "SERVICE_UNAVAILABLE"): 1,
        }
        for counter in ("rate_limited", "breaker_openings", "breaker_refusals"):
            assert sink.of(counter) == {(): 1}
        assert sink.of("breaker_state") == {("bank",): 2}


# -- /metrics


SECRET = "a-token-for-the-metrics"


async def ask(server: LiveServer, address: str = "127.0.0.1", method: str = "GET", **headers: str) -> tuple[int, bytes]:
    given = {"host": "localhost:8000"} | {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await server.http(HttpRequest(method, "/metrics", "", given, b"", address))
    return answer.status, answer.body


async def test_a_sink_that_raises_fails_no_call(
    server: LiveServer, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    async with TestEnv(server) as env:  # acceptance 236
        sink.page = RuntimeError("the backend is down")
        assert await ask(server) == (500, b"internal error\n")
        assert "the metrics sink failed" in caplog.text
        assert await env.connect().call(remote("m/echo"), 7) == 7
        sink.page = b"well again"
        assert await ask(server) == (200, b"well again")


async def test_without_a_sink_there_is_no_page() -> None:
    async with TestEnv(LiveServer()) as env:
        assert (await ask(env.server))[0] == 404


def test_a_server_has_one_sink(server: LiveServer) -> None:
    with pytest.raises(ConfigError, match="one"):
        server.metrics(Sink())


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {"host": "[::1]:8000"}, 200),
        ("127.0.0.1", {"host": "LOCALHOST"}, 200),
        ("192.0.2.7", {}, 401),
        ("", {}, 401),  # a Unix socket: who knows who is behind it
        ("127.0.0.1", {"host": "evil.example"}, 401),  # DNS rebinding
        ("127.0.0.1", {"x_forwarded_for": "127.0.0.1"}, 401),
        ("127.0.0.1", {"forwarded": "for=127.0.0.1"}, 401),
        ("127.0.0.1", {"x_real_ip": "127.0.0.1"}, 401),
    ],
)
async def test_only_programs_on_the_same_machine_need_no_token(
    server: LiveServer, address: str, headers: dict[str, str], status: int
) -> None:
    async with TestEnv(server):
        assert (await ask(server, address, **headers))[0] == status


async def test_a_token_of_the_devtools_opens_the_metrics(sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    tokens = (Token(secret=SECRET, level="metrics"), Token(secret="only-for-some-topics", topics=("a:*",)))
    server = LiveServer(inspect=Inspect(tokens=tokens))
    server.metrics(sink)
    async with TestEnv(server):
        address = "192.0.2.7"
        assert (await ask(server, address, authorization=f"Bearer {SECRET}"))[0] == 200
        assert (await ask(server, address, "POST", authorization=f"Bearer {SECRET}"))[0] == 405
        assert (await ask(server, address, authorization="Bearer only-for-some-topics"))[0] == 403
        assert (await ask(server, address, authorization=f"Basic {SECRET}"))[0] == 401
        assert (await ask(server, "127.0.0.1", authorization="Bearer guessed-by-somebody"))[0] == 401
        for _ in range(4):
            await ask(server, address, authorization="Bearer guessed-by-somebody")
        assert (await ask(server, address, authorization=f"Bearer {SECRET}"))[0] == 429
        await asyncio.sleep(61)
        assert (await ask(server, address, authorization=f"Bearer {SECRET}"))[0] == 200
    assert SECRET not in caplog.text
    assert "guessed" not in caplog.text


async def test_the_page_is_there_under_asgi_too(server: LiveServer, sink: Sink) -> None:
    async def receive() -> dict[str, Any]:
        if asked:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # never ends
        asked.append(True)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async with server.lifespan():
        for client, status in (("127.0.0.1", 200), ("192.0.2.7", 401)):
            asked: list[bool] = []
            sent: list[Any] = []
            scope = {"type": "http", "method": "GET", "path": "/metrics", "headers": [(b"host", b"localhost:8000")]}
            await server.asgi()(scope | {"client": (client, 1234)}, receive, send)
            assert sent[0]["status"] == status
            assert (sent[1]["body"] == b"figures") is (status == 200)


# -- the log, and invariants


async def test_a_failed_call_is_logged_with_what_it_was(server: LiveServer, caplog: pytest.LogCaptureFixture) -> None:
    async with TestEnv(server) as env:
        with pytest.raises(RpcError):
            await env.connect(user={"id": "ann"}).call(remote("m/crash"))
        [record] = [each for each in caplog.records if each.name == "liverpc.calls"]
        connection = server.connections[0]
        assert (record.path, record.user) == ("m/crash", "ann")  # type: ignore[attr-defined]  # from extra=
        assert (record.connection, record.request_id) == (connection.id, connection.request_id)  # type: ignore[attr-defined]  # likewise


async def test_a_violated_invariant_is_counted_and_logged_and_the_work_goes_on(
    server: LiveServer, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry = server.telemetry
    telemetry.strict = False
    async with server.lifespan():
        telemetry.invariant(True, "stock", "never said")
        for _ in range(100):
            telemetry.invariant(False, "stock", "%d left of %s", -1, "milk")
        assert telemetry.violations == {"stock": 100}
        assert sink.of("assertion_violations") == {("stock",): 100}
        lines = [each for each in caplog.records if each.levelno == logging.ERROR]
        assert len(lines) == 13  # the first ten, 16, 32 and 64
        assert "-1 left of milk" in lines[0].getMessage()
        assert lines[0].category == "stock"  # type: ignore[attr-defined]  # from extra=
        for number in range(100):
            telemetry.invariant(False, f"made up {number}", "wrong")
        assert len(telemetry.violations) == 33


async def test_a_violated_invariant_fails_a_test(server: LiveServer) -> None:
    with pytest.raises(AssertionError, match="stock"):
        async with TestEnv(server):
            with pytest.raises(AssertionError, match="-1 left"):
                server.telemetry.invariant(False, "stock", "%d left", -1)


async def test_what_a_stopped_server_still_has_is_a_violation(server: LiveServer) -> None:
    with pytest.raises(AssertionError, match="a stopped server has 7 upload bytes"):
        async with server.lifespan():
            server.uploads.buffered += 7
    async with server.lifespan():  # it can be started again
        server.uploads.buffered = 0

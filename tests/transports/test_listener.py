"""The owner of the sockets: listening, ending in order, and leaving nothing behind."""

from __future__ import annotations

import asyncio
import contextvars
import ssl as tls
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from liverpc.config import Limits
from liverpc.errors import ConfigError
from liverpc.hub.link import HttpRequest, HttpResponse, Refuse
from liverpc.transports import reading
from liverpc.transports.listener import Listener
from liverpc.wire.framing import text_frame
from tests.transports.transport_kit import HEAD, TEXT, EchoApplication, EchoSession, Served, frame, serving, until

pytestmark = pytest.mark.realtime

PEM = Path(__file__).with_name("localhost.pem")
QUICK = Limits(close_seconds=0.3, linger_seconds=0.2, drain_seconds=0.4)


async def goodbye(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as closed:
        await socket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


async def test_it_listens_on_several_addresses_and_names_their_ports() -> None:
    application = EchoApplication(QUICK)
    listener = Listener(application)
    await listener.listen("127.0.0.1", 0)
    await listener.listen("127.0.0.1", 0)
    (one_host, one), (_, other) = listener.addresses
    assert one_host == "127.0.0.1"
    assert one != other
    for port in (one, other):
        async with connect(f"ws://127.0.0.1:{port}/ws") as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
    await listener.aclose()
    assert listener.addresses == []
    for port in (one, other):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_a_port_in_use_is_refused_with_the_cure() -> None:
    async with serving(EchoApplication(QUICK)) as served:
        second = Listener(EchoApplication(QUICK))
        with pytest.raises(ConfigError, match=r"in use.*choose another port"):
            await second.listen("127.0.0.1", served.port)
        await second.aclose()


async def test_a_drain_says_goodbye_to_everyone_and_refuses_newcomers() -> None:
    application = EchoApplication(QUICK)
    async with serving(application) as served:
        sockets = [await connect(served.url) for _ in range(5)]
        served.listener.begin_drain()
        with pytest.raises(InvalidStatus) as refused:
            await connect(served.url)
        assert refused.value.response.status_code == 503
        assert (await served.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"ok\n")
        begin = time.monotonic()
        _, *ends = await asyncio.gather(served.listener.drain(), *map(goodbye, sockets))
        assert ends == [(1001, "server going away")] * 5
        assert time.monotonic() - begin < 0.3  # five are not worth rounds
        assert [session.ended for session in application.sessions] == [[(1001, "server going away")]] * 5
        with pytest.raises(ConnectionRefusedError):
            await connect(served.url)


async def test_a_drain_without_connections_takes_no_time() -> None:
    async with serving(EchoApplication(Limits(drain_seconds=60, close_seconds=60))) as served:
        begin = time.monotonic()
        await served.listener.drain()
        assert time.monotonic() - begin < 0.5


async def test_many_connections_are_closed_in_rounds() -> None:
    async with serving(EchoApplication(Limits(drain_seconds=1.6))) as served:
        sockets = [await connect(served.url) for _ in range(200)]
        when: list[float] = []

        async def one(socket: ClientConnection) -> None:
            assert (await goodbye(socket))[0] == 1001
            when.append(time.monotonic())

        await asyncio.gather(served.listener.drain(), *map(one, sockets))
        assert 0.2 < max(when) - min(when) < 2


async def test_a_drain_drops_who_does_not_answer() -> None:
    application = EchoApplication(QUICK)
    async with serving(application) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(HEAD % b"")
        await reader.readuntil(b"\r\n\r\n")
        _, silent = await asyncio.open_connection("127.0.0.1", served.port)  # never asks for anything
        begin = time.monotonic()
        await served.listener.drain()
        assert time.monotonic() - begin < 2
        assert not served.listener.connections
        assert application.sessions[0].ended == [(1001, "server going away")]
        writer.close()
        silent.close()


async def test_a_drain_answers_who_is_still_being_decided_about() -> None:
    application = EchoApplication(QUICK)

    deciding: list[object] = []

    async def decide(request: object) -> None:
        deciding.append(request)
        await asyncio.sleep(60)

    application.echo.decision = decide
    async with serving(application) as served:
        task = asyncio.create_task(served.raw(HEAD % b""))
        await until(lambda: deciding)
        await served.listener.drain()
        assert (await task).startswith(b"HTTP/1.1 503 ")


async def test_a_drain_lets_a_plain_request_finish() -> None:
    application = EchoApplication(QUICK)

    may_finish = asyncio.Event()

    async def page(asked: HttpRequest) -> HttpResponse:
        await may_finish.wait()
        return HttpResponse(200, b"finished")

    application.page = page
    async with serving(application) as served:
        task = asyncio.create_task(served.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
        await until(lambda: application.requests)
        drain = asyncio.create_task(served.listener.drain())
        await until(lambda: served.listener.draining)
        may_finish.set()
        await drain
        assert (await task).endswith(b"finished")


async def test_closing_drops_everything_at_once() -> None:
    application = EchoApplication()
    cancelled: list[str] = []

    async def forever(what: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append(what)

    async def page(asked: HttpRequest) -> HttpResponse:
        await forever("http")
        return HttpResponse(200)

    application.page = page
    async with serving(application) as served:
        before = asyncio.all_tasks()
        socket = await connect(served.url)
        application.echo.decision = lambda request: forever("decide")
        writers = []
        for data in (HEAD % b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET"):
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(data)
            writers.append(writer)
        await until(lambda: len(served.listener._tasks) == 2 and len(served.listener.connections) == 4)
        await served.listener.aclose()
        await served.listener.aclose()
        assert sorted(cancelled) == ["decide", "http"]
        assert application.sessions[0].ended == [(1006, "")]
        assert not served.listener.connections
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        for writer in writers:
            writer.close()
        await until(lambda: asyncio.all_tasks() <= before)


async def test_context_variables_of_a_call_do_not_leak_into_the_next(fast: bool) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("clean")
    application = EchoApplication(Limits(calls_in_flight=8))

    def soil() -> bytes:
        seen = variable.get()
        variable.set("dirty")
        return seen.encode() + b"z" * 3000

    async def decide(request: object) -> None:
        variable.set("dirty")
        await asyncio.sleep(0)

    application.soil = soil
    application.echo.decision = decide
    async with serving(application, fast=fast) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 14)
        writer.write(HEAD % b"")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame(TEXT, b"soil") * 1000)
        # The answers fill every buffer: reading and writing stop and are resumed from within tasks.
        await until(lambda: application.sessions[0].link.buffered > 100_000 or application.sessions[0].held)
        got = await reader.readexactly(1000 * len(text_frame(b"clean" + b"z" * 3000)))
        assert got.count(b"clean") == 1000
        assert application.sessions[0].peak <= 8 + application.limits.frames_per_turn
        writer.close()


@pytest.mark.parametrize(("variable", "expected"), [(None, True), ("1", True), ("0", False)])
async def test_the_environment_turns_the_fast_path_off(
    variable: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIVERPC_FAST_PATH", raising=False)
    if variable is not None:
        monkeypatch.setenv("LIVERPC_FAST_PATH", variable)
    assert Listener(EchoApplication()).fast is expected
    assert Listener(EchoApplication(), fast=True).fast
    assert not Listener(EchoApplication(), fast=False).fast


async def test_small_limits_leave_the_fast_path_on() -> None:
    assert Listener(EchoApplication(Limits(message_bytes=100, frames_per_turn=1)), fast=True).fast


async def test_a_library_that_behaves_differently_turns_the_fast_path_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reading, "apply_mask", lambda data, mask: bytes(data))
    application = EchoApplication(QUICK)
    async with serving(application) as served:
        assert not served.listener.fast
        assert "the fast path" in caplog.text
        async with connect(served.url) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"


async def test_tls_carries_websockets_refusals_and_plain_http() -> None:
    context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    trust = tls.create_default_context(cafile=str(PEM))
    application = EchoApplication(Limits(outbox_bytes=8 << 20, linger_seconds=0.1, close_seconds=1))
    async with serving(application, ssl=context) as served:
        url = f"wss://localhost:{served.port}/ws"
        async with connect(url, ssl=trust, max_size=None) as socket:
            for _ in range(100):
                await socket.send("task")
            assert [await socket.recv() for _ in range(100)] == ["task"] * 100
            await socket.send("big:3000000")
            assert len(await socket.recv()) == 3_000_000
        assert socket.close_code == 1000
        assert application.sessions[0].request.secure
        application.echo.refusal = Refuse(401, "no")
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, ssl=trust)
        assert (refused.value.response.status_code, refused.value.response.body) == (401, b"no\n")
        application.echo.refusal = Refuse(4401, "no")
        async with connect(url, ssl=trust) as socket:
            assert await goodbye(socket) == (4401, "no")
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=trust, server_hostname="localhost")
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")  # on a connection that is kept
        assert (await reader.readuntil(b"\r\n\r\nok\n")).startswith(b"HTTP/1.1 200")
        writer.write(b"POST /hook HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")
        assert (await reader.read()).endswith(b"\r\n\r\n3")
        writer.close()
        await until(lambda: not served.listener.connections)


async def end_by_goodbye(client: ClientConnection, served: Served) -> int:
    await client.close(4000)
    return 4000


async def end_by_loss(client: ClientConnection, served: Served) -> int:
    client.transport.abort()
    return 1006


async def end_by_half_close(client: ClientConnection, served: Served) -> int:
    client.transport.write_eof()
    return 1006


async def end_by_garbage(client: ClientConnection, served: Served) -> int:
    client.transport.write(b"\xff" * 20)
    return 1002


async def end_by_a_large_message(client: ClientConnection, served: Served) -> int:
    await client.send("x" * 2001)
    return 1009


async def end_by_a_failing_session(client: ClientConnection, served: Served) -> int:
    await client.send("boom")
    return 1011


async def end_by_the_server(client: ClientConnection, served: Served) -> int:
    served.application.sessions[0].link.close(4001)
    return 4001


async def end_by_a_drain(client: ClientConnection, served: Served) -> int:
    await served.listener.drain()
    return 1001


async def end_by_closing(client: ClientConnection, served: Served) -> int:
    await served.listener.aclose()
    return 1006


@pytest.mark.parametrize(
    "end",
    [
        end_by_goodbye,
        end_by_loss,
        end_by_half_close,
        end_by_garbage,
        end_by_a_large_message,
        end_by_a_failing_session,
        end_by_the_server,
        end_by_a_drain,
        end_by_closing,
    ],
)
async def test_a_session_hears_of_its_end_once_and_last(
    end: Callable[[ClientConnection, Served], Awaitable[int]], fast: bool
) -> None:
    application = EchoApplication(Limits(message_bytes=2000, close_seconds=0.3, linger_seconds=0.2, drain_seconds=0.2))
    heard: list[str] = []

    def opened(session: EchoSession) -> None:
        heard.append("opened")
        receive, closed = session.receive, session.closed

        def receive_and_tell(payload: bytes, text: bool) -> None:
            heard.append(payload.decode())
            receive(payload, text)

        def closed_and_tell(code: int, reason: str) -> None:
            heard.append(f"closed {code}")
            closed(code, reason)

        session.receive = receive_and_tell  # type: ignore[method-assign]
        session.closed = closed_and_tell  # type: ignore[method-assign]

    application.echo.on_open = opened
    async with serving(application, fast=fast) as served:
        client = await connect(served.url)
        for number in range(3):
            await client.send(f"{number}")
            await client.recv()
        code = await end(client, served)
        await until(lambda: not served.listener.connections)
        assert len(served.listener.wheel) == 0
        assert not served.listener._tasks - {served.listener._draining}
        assert [word for word in heard if word != "boom"] == ["opened", "0", "1", "2", f"closed {code}"]
        client.transport.abort()
        await client.wait_closed()

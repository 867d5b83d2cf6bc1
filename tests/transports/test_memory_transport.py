"""Connections without sockets: the same seam, on virtual time."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from liverpc.client.socket import HandshakeRefused, Socket, SocketClosed
from liverpc.config import Limits
from liverpc.hub.link import ConnectRequest, Refuse
from liverpc.transports.memory import MemoryTransport
from liverpc.wire.framing import text_frame
from tests.transports.transport_kit import EchoApplication, EchoEndpoint, turns


@asynccontextmanager
async def transported(application: EchoApplication, *, latency: float = 0.0) -> AsyncIterator[MemoryTransport]:
    transport = MemoryTransport(application, latency=latency)
    try:
        yield transport
    finally:
        await transport.aclose()
        assert transport.links == set()
        assert all(len(session.ended) == 1 for session in application.sessions)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert not tasks


async def ending(socket: Socket) -> tuple[int, str]:
    with pytest.raises(SocketClosed) as closed:
        while True:
            await socket.recv()
    return closed.value.code, closed.value.reason


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("latency", [0.0, 0.1])
async def test_messages_arrive_in_order_and_come_back(latency: float) -> None:
    async with transported(EchoApplication(), latency=latency) as transport:
        socket = await transport.connect()
        begin = now()
        for number in range(100):
            await socket.send(f"é{number}")
        assert [await socket.recv() for _ in range(100)] == [f"é{number}" for number in range(100)]
        assert now() - begin == pytest.approx(2 * latency)


async def test_latency_delays_each_message_by_itself() -> None:
    async with transported(EchoApplication(), latency=1.0) as transport:
        begin = now()
        socket = await transport.connect()
        assert now() - begin == pytest.approx(2)
        when = []
        for _ in range(3):
            await socket.send("x")
            await asyncio.sleep(0.25)
        for _ in range(3):
            await socket.recv()
            when.append(now() - begin)
        assert when == pytest.approx([4, 4.25, 4.5])


async def test_the_request_reaches_the_endpoint() -> None:
    application = EchoApplication()
    async with transported(application) as transport:
        await transport.connect("/ws", query="token=a%20b", headers={"X-Who": "me"}, address="192.0.2.1")
        request = application.sessions[0].request
    assert (request.path, request.query, request.headers["x-who"], request.address) == (
        "/ws",
        {"token": "a b"},
        "me",
        "192.0.2.1",
    )


async def slow_refusal(request: ConnectRequest) -> Refuse:
    await asyncio.sleep(1)
    return Refuse(401, "who are you")


async def failing(request: ConnectRequest) -> None:
    raise RuntimeError("secret")


@pytest.mark.parametrize(
    ("decision", "status", "text"),
    [
        (lambda request: Refuse(403, "no"), 403, "no"),
        (slow_refusal, 401, "who are you"),
        (failing, 500, "internal error"),
        (lambda request: asyncio.sleep(60), 503, "timed out"),
    ],
)
async def test_a_refusal_is_raised(
    decision: Callable[[ConnectRequest], Any], status: int, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    application = EchoApplication()
    application.echo.decision = decision
    async with transported(application) as transport:
        with pytest.raises(HandshakeRefused) as refused:
            await transport.connect()
        assert (refused.value.status, refused.value.text) == (status, text)
        with pytest.raises(HandshakeRefused) as refused:
            await transport.connect("/nothing")
        assert refused.value.status == 404
    assert application.sessions == []
    assert application.counters.handshakes_refused == 2


async def test_a_refusal_with_a_close_code_is_a_closed_socket() -> None:
    application = EchoApplication()
    application.echo.refusal = Refuse(4403, "not you")
    async with transported(application, latency=0.1) as transport:
        socket = await transport.connect()
        assert await ending(socket) == (4403, "not you")
        with pytest.raises(SocketClosed):
            await socket.send("late")
    assert application.counters.handshakes_refused == 1


async def test_an_endpoint_with_a_subprotocol_wants_it_offered() -> None:
    application = EchoApplication()

    class Endpoint(EchoEndpoint):
        subprotocol = "liverpc.test"

    application.echo = Endpoint(application)
    async with transported(application) as transport:
        with pytest.raises(HandshakeRefused, match="speaks liverpc"):
            await transport.connect()
        await transport.connect(headers={"Sec-WebSocket-Protocol": "liverpc.test"})


async def test_who_stops_connecting_cancels_the_decision() -> None:
    application = EchoApplication()
    cancelled = asyncio.Event()

    async def decide(request: ConnectRequest) -> None:
        try:
            await asyncio.sleep(5)
        finally:
            cancelled.set()

    application.echo.decision = decide
    async with transported(application, latency=1) as transport:
        for patience in (0.5, 3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(transport.connect(), patience)
        await turns()
        assert cancelled.is_set()
        application.echo.decision = lambda request: None
        with pytest.raises(TimeoutError):  # the answer is under way
            await asyncio.wait_for(transport.connect(), 1.5)
        await turns()
        assert application.sessions[0].ended == [(1006, "")]


@pytest.mark.parametrize("latency", [0.0, 0.1])
async def test_the_client_closes(latency: float) -> None:
    application = EchoApplication()
    async with transported(application, latency=latency) as transport:
        socket = await transport.connect()
        await socket.send("last")
        begin = now()
        await socket.close(4000, "€" * 100)
        assert now() - begin == pytest.approx(2 * latency)
        await socket.close()
        assert await socket.recv() == "last"
        assert await ending(socket) == (4000, "€" * 41)
        with pytest.raises(SocketClosed):
            await socket.send("late")
        assert application.sessions[0].received == [(b"last", True)]
        assert application.sessions[0].ended == [(4000, "€" * 41)]
        assert not application.sessions[0].link.send(text_frame(b"late"))


@pytest.mark.parametrize("latency", [0.0, 0.1])
async def test_the_server_closes(latency: float) -> None:
    application = EchoApplication()
    async with transported(application, latency=latency) as transport:
        socket = await transport.connect()
        session = application.sessions[0]
        assert session.link.send(text_frame(b"last"))
        session.link.close(4000, "bye")
        session.link.close(4001, "again")
        assert not session.link.send(text_frame(b"late"))
        assert session.ended == []
        assert await socket.recv() == "last"
        assert await ending(socket) == (4000, "bye")
        await asyncio.sleep(latency)
        await turns()
        assert session.ended == [(4000, "bye")]


async def test_both_close_at_once() -> None:
    application = EchoApplication()
    async with transported(application, latency=1) as transport:
        socket = await transport.connect()
        application.sessions[0].link.close(4000, "server")
        await socket.close(4001, "client")
        assert await ending(socket) == (4000, "server")
        assert application.sessions[0].ended == [(4000, "server")]


async def test_a_cut_connection_is_1006_on_both_sides() -> None:
    application = EchoApplication()
    async with transported(application, latency=1) as transport:
        socket = await transport.connect()
        session = application.sessions[0]
        session.link.send(text_frame(b"lost"))
        await socket.send("lost")
        socket.stall()
        socket.cut()
        socket.cut()
        assert not session.link.send(text_frame(b"late"))
        assert session.ended == []
        assert await ending(socket) == (1006, "")
        with pytest.raises(SocketClosed):
            await socket.send("late")
        await socket.close()
        await turns()
        assert session.ended == [(1006, "")]
        assert session.received == []


@pytest.mark.parametrize("above", [0, 1])
async def test_what_a_stalled_client_does_not_read_is_bounded(above: int) -> None:
    application = EchoApplication(Limits(outbox_bytes=1000))
    async with transported(application) as transport:
        socket = await transport.connect()
        session = application.sessions[0]
        socket.stall()
        assert session.link.send(text_frame(b"x" * 500))
        await turns()
        assert session.link.send(text_frame(b"x" * (500 + above))) is (above == 0)
        assert session.ended == []
        assert session.link.buffered == (500 if above else 1000)
        assert application.counters.outbox_overflows == above
        socket.resume()
        assert len(await socket.recv()) == 500
        if above:
            assert await ending(socket) == (1013, "too slow")
            await turns()
            assert session.ended == [(1013, "too slow")]
        else:
            assert len(await socket.recv()) == 500
            assert session.link.buffered == 0


async def test_a_client_that_never_asks_for_its_messages_is_bounded_too() -> None:
    application = EchoApplication(Limits(outbox_bytes=1000))
    async with transported(application) as transport:
        await transport.connect()
        link = application.sessions[0].link
        sent = 0
        while link.send(text_frame(b"x" * 100)):
            sent += 1
            await turns()
        assert sent == 10


async def test_a_stalled_client_is_dropped_when_it_does_not_answer_a_close() -> None:
    application = EchoApplication(Limits(close_seconds=5))
    async with transported(application) as transport:
        socket = await transport.connect()
        socket.stall()
        application.sessions[0].link.close(4000, "bye")
        await asyncio.sleep(4.9)
        assert application.sessions[0].ended == []
        await asyncio.sleep(0.2)
        assert application.sessions[0].ended == [(4000, "bye")]
        assert await ending(socket) == (4000, "bye")
    assert application.counters.deadline_aborts == 1


async def test_a_stalled_client_receives_nothing_until_it_resumes() -> None:
    application = EchoApplication()
    async with transported(application) as transport:
        socket = await transport.connect()
        receiving = asyncio.create_task(socket.recv())
        await turns()
        socket.stall()
        application.sessions[0].link.send(text_frame(b"event"))
        await asyncio.sleep(100)
        assert not receiving.done()
        socket.resume()
        assert await receiving == "event"


@pytest.mark.parametrize("extra", [-1, 0, 1])
async def test_a_message_may_be_as_long_as_the_limit(extra: int) -> None:
    application = EchoApplication(Limits(message_bytes=1000))
    async with transported(application) as transport:
        socket = await transport.connect()
        await socket.send("x" * (1000 + extra))
        if extra > 0:
            assert await ending(socket) == (1009, "message too big")
            assert application.sessions[0].received == []
        else:
            assert await socket.recv() == "x" * (1000 + extra)


async def test_a_session_that_raises_is_closed_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    application = EchoApplication()
    async with transported(application) as transport:
        socket = await transport.connect()
        await socket.send("boom")
        await socket.send("behind")
        assert await ending(socket) == (1011, "internal error")
        application.echo.on_open = lambda session: 1 / 0
        assert await ending(await transport.connect()) == (1011, "internal error")
        application.sessions.pop()  # it never was one
    assert "secret" in caplog.text


async def test_a_held_session_gets_nothing_and_its_client_waits() -> None:
    application = EchoApplication(Limits(early_bytes=100))
    async with transported(application) as transport:
        socket = await transport.connect()
        session = application.sessions[0]
        session.link.hold()

        async def send_much() -> None:
            for _ in range(20):
                await socket.send("x" * 10)

        sending = asyncio.create_task(send_much())
        await asyncio.sleep(10)
        assert session.received == []
        assert not sending.done()
        session.link.release()
        assert session.received == []  # never from within release()
        await sending
        await turns()
        assert len(session.received) == 20


async def test_a_held_session_can_still_say_goodbye() -> None:
    application = EchoApplication()
    async with transported(application) as transport:
        socket = await transport.connect()
        session = application.sessions[0]
        session.link.hold()
        await socket.send("unheard")
        session.link.close(4000, "enough")
        assert await ending(socket) == (4000, "enough")
        await turns()
        assert session.ended == [(4000, "enough")]
        assert session.received == []


async def test_a_client_waiting_to_send_learns_of_the_end() -> None:
    application = EchoApplication(Limits(early_bytes=10))
    async with transported(application) as transport:
        socket = await transport.connect()
        application.sessions[0].link.hold()
        await socket.send("x" * 11)
        sending = asyncio.create_task(socket.send("y"))
        await turns()
        assert not sending.done()
        socket.cut()
        with pytest.raises(SocketClosed):
            await sending


async def test_a_client_whose_goodbye_is_not_read_gives_up() -> None:
    application = EchoApplication(Limits(close_seconds=5))
    async with transported(application) as transport:
        socket = await transport.connect()
        application.sessions[0].link.hold()
        begin = now()
        await socket.close()
        assert now() - begin == pytest.approx(5)
        await turns()
        assert application.sessions[0].ended == [(1006, "")]


@pytest.mark.parametrize("latency", [0.0, 0.1])
async def test_closing_the_transport_says_goodbye_to_everyone(latency: float) -> None:
    application = EchoApplication(Limits(close_seconds=5))
    async with transported(application, latency=latency) as transport:
        sockets = [await transport.connect() for _ in range(3)]
        sockets[2].stall()
        begin = now()
        await transport.aclose()
        assert now() - begin == pytest.approx(5)
        assert [await ending(socket) for socket in sockets] == [(1001, "server going away")] * 3
        assert [session.ended for session in application.sessions] == [[(1001, "server going away")]] * 3
        with pytest.raises(HandshakeRefused) as refused:
            await transport.connect()
        assert refused.value.status == 503


async def test_context_variables_of_the_client_do_not_reach_the_session() -> None:
    variable = contextvars.ContextVar("variable", default="clean")
    application = EchoApplication()
    seen: list[str] = []

    def opened(session: Any) -> None:
        seen.append(variable.get())
        receive = session.receive

        def look_first(payload: bytes, text: bool) -> None:
            seen.append(variable.get())
            receive(payload, text)

        session.receive = look_first

    application.echo.on_open = opened
    async with transported(application) as transport:
        variable.set("dirty")
        socket = await transport.connect()
        await socket.send("x")
        await socket.recv()
    assert seen == ["clean", "clean"]

"""The asyncio client of websockets against the server, over real sockets."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from liverpc.config import Limits
from liverpc.hub.link import Refuse
from liverpc.wire.framing import text_frame
from tests.transports.transport_kit import (
    HEAD,
    TEXT,
    EchoApplication,
    EchoEndpoint,
    frame,
    serving,
    until,
)

pytestmark = pytest.mark.realtime

QUICK = Limits(close_seconds=0.3, linger_seconds=0.2)


async def test_messages_of_every_size_come_back(fast: bool) -> None:
    async with serving(EchoApplication(QUICK), fast=fast) as served:
        async with connect(served.url, max_size=None) as socket:
            for size in (0, 1, 30, 125, 126, 200, 65_535, 65_536, 100_000):
                text = "é" * (size // 2) + "x" * (size % 2)
                await socket.send(text)
                assert await socket.recv() == text
                await socket.send(b"\xff" * size)
                assert await socket.recv() == f'{{"binary":{size}}}'
        assert socket.close_code == 1000
        await until(lambda: not served.listener.connections)
        assert len(served.listener.wheel) == 0


async def test_fragments_become_one_message(fast: bool) -> None:
    async with serving(EchoApplication(QUICK), fast=fast) as served, connect(served.url) as socket:
        await socket.send(iter(["one, ", "two, ", "", "three"]))
        assert await socket.recv() == "one, two, three"
        await socket.send([b"ab", b"cd", b"e"])
        assert await socket.recv() == '{"binary":5}'


async def test_pings_are_answered_both_ways(fast: bool) -> None:
    limits = Limits(ping_seconds=0.05, pong_seconds=0.05, close_seconds=0.3, linger_seconds=0.2)
    application = EchoApplication(limits)
    async with serving(application, fast=fast) as served:
        deaf = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(5)]
        for _, writer in deaf:
            writer.write(HEAD % b"")
        async with connect(served.url) as socket:
            await (await socket.ping(b"payload"))
            await until(lambda: application.counters.ping_timeouts == 5)
            await socket.send("still here")
            assert await socket.recv() == "still here"
        for _, writer in deaf:
            writer.close()


async def test_many_calls_are_answered_in_order(fast: bool) -> None:
    application = EchoApplication(Limits(frames_per_turn=10, calls_in_flight=16, linger_seconds=0.2))
    async with serving(application, fast=fast) as served, connect(served.url) as socket:
        for command in ("plain", "task", "sleep"):
            for number in range(300):
                await socket.send(f"{command}:{number}")
            got = [await socket.recv() for _ in range(300)]
            wanted = [f"{command}:{number}" for number in range(300)]
            assert got == wanted if command != "sleep" else sorted(map(str, got)) == sorted(wanted)
        assert application.sessions[0].peak <= 16 + 10


async def test_offered_compression_is_not_negotiated() -> None:
    async with serving(EchoApplication(QUICK)) as served, connect(served.url, compression="deflate") as socket:
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers
        await socket.send("x" * 10_000)
        assert await socket.recv() == "x" * 10_000


async def test_the_subprotocol_is_echoed() -> None:
    application = EchoApplication(QUICK)

    class Endpoint(EchoEndpoint):
        subprotocol = "liverpc.test"

    application.echo = Endpoint(application)
    async with serving(application) as served:
        async with connect(served.url, subprotocols=[Subprotocol("other"), Subprotocol("liverpc.test")]) as socket:
            assert socket.subprotocol == "liverpc.test"
        with pytest.raises(InvalidStatus) as refused:
            await connect(served.url)
        assert refused.value.response.status_code == 400


async def test_refusals_reach_the_client() -> None:
    application = EchoApplication(QUICK)
    async with serving(application) as served:
        application.echo.refusal = Refuse(403, "no", {"Retry-After": "3"})
        with pytest.raises(InvalidStatus) as refused:
            await connect(served.url)
        response = refused.value.response
        assert (response.status_code, response.body) == (403, b"no\n")
        assert response.headers["Retry-After"] == "3"
        application.echo.refusal = Refuse(4401, "who are you")
        async with connect(served.url) as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "who are you")


async def test_both_sides_can_close(fast: bool) -> None:
    application = EchoApplication(QUICK)
    async with serving(application, fast=fast) as served:
        async with connect(served.url) as socket:
            await socket.send("close:4000")
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd_then_sent) == (4000, True)
        async with connect(served.url) as socket:
            await socket.close(4321, "done")
        await until(lambda: not served.listener.connections)
        assert [session.ended for session in application.sessions] == [[(4000, "bye")], [(4321, "done")]]


async def test_a_reset_and_an_end_of_stream_are_1006(fast: bool) -> None:
    application = EchoApplication(QUICK)
    async with serving(application, fast=fast) as served:
        assert (await served.raw(HEAD % b"" + frame(TEXT, b"last"), eof=True)).endswith(text_frame(b"last"))
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(HEAD % b"")
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        await until(lambda: not served.listener.connections)
        assert [session.ended for session in application.sessions] == [[(1006, "")]] * 2


async def test_a_client_that_does_not_read_is_bounded_and_closed() -> None:
    limits = Limits(outbox_bytes=1 << 20, close_seconds=0.2, pong_seconds=0.3)
    application = EchoApplication(limits)
    async with serving(application) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 12)
        writer.write(HEAD % b"")
        await reader.readuntil(b"\r\n\r\n")
        link = application.sessions[0].link
        peak = 0
        while link.send(text_frame(b"x" * 50_000)):
            peak = max(peak, link.buffered)
            await asyncio.sleep(0)
        assert peak <= (1 << 20) + 50_004
        assert application.counters.outbox_overflows == 1
        await until(lambda: not served.listener.connections)
        assert application.sessions[0].ended == [(1013, "too slow")]
        writer.close()


async def test_a_client_that_asks_without_reading_is_stopped_and_gets_everything_later(fast: bool) -> None:
    application = EchoApplication(Limits(outbox_bytes=64 << 20, frames_per_turn=16))
    async with serving(application, fast=fast) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 12)
        writer.write(HEAD % b"")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame(TEXT, b"big:100000") * 1000)
        session = application.sessions[0]
        await until(lambda: session.link.buffered > 65_536)
        assert session.link.buffered < 8 << 20
        await reader.readexactly(1000 * 100_010)
        assert len(session.received) == 1000
        writer.close()

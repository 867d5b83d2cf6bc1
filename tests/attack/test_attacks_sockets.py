"""Attacks that need real sockets."""

import asyncio
import json
import logging
import socket as sockets
import struct
import time
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, Inspect, Limits, LiveServer, Token, live, public
from liverpc.hub.tasks import RunningCalls
from liverpc.inspector.protocol import ATTACH_PATH, SUBPROTOCOL
from tests.transports.transport_kit import until

QUICK = Limits(close_seconds=0.5, linger_seconds=0.2, drain_seconds=0.1)
OPEN = Inspect(enabled=True, chaos=True, tokens=(Token(secret="token-for-observers"),))
HEAD = (
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n"
)


def frame(payload: Any, opcode: int = 1) -> bytes:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    size = bytes([128 | len(data)]) if len(data) < 126 else bytes([254]) + struct.pack("!H", len(data))
    return bytes([128 | opcode]) + size + bytes(4) + data


ATTACH = HEAD % (
    ATTACH_PATH.encode(),
    b"Authorization: Bearer token-for-observers\r\nSec-WebSocket-Protocol: " + SUBPROTOCOL.encode() + b"\r\n",
)
HELLO = frame({"t": "hello", "v": 1, "client": "test", "want": "observe"})


@pytest.mark.realtime
async def test_reset_behind_many_subscribes_leaves_no_topic() -> None:
    @live.stream("room:{n}")
    def room(ctx: Context[Any], n: int) -> list[str]:
        return ["x" * 2000]  # the answers do not fit into the socket: the reset is noticed while writing

    server = LiveServer({"m": SimpleNamespace(room=room, _guard=public())}, limits=QUICK)
    loop = asyncio.get_running_loop()
    async with server.serve(port=0) as at:
        for k in range(10):
            peer = sockets.socket()
            peer.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
            peer.setblocking(False)
            await loop.sock_connect(peer, (at.host, at.port))
            await loop.sock_sendall(peer, HEAD % (b"/ws", b""))
            await loop.sock_recv(peer, 10)
            requests = ({"rpc": "m/room", "id": "1", "args": [k * 9999 + i], "stream": True} for i in range(1500))
            await loop.sock_sendall(peer, b"".join(map(frame, requests)))
            peer.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
        await until(lambda: server.counters.connections_closed == 10 and not server._background)
        assert not server.connections
        assert not server._hub.topics


@pytest.mark.realtime
async def test_observer_that_comes_while_the_server_stops_leaves_no_task() -> None:
    server = LiveServer({}, limits=QUICK, inspect=OPEN)
    before = asyncio.all_tasks()
    writers = []
    async with server.serve(port=0) as at:
        reader, writer = await asyncio.open_connection(at.host, at.port)
        writer.write(ATTACH + HELLO)
        await reader.readuntil(b'"welcome"')
        writers.append(writer)
        writers += [(await asyncio.open_connection(at.host, at.port))[1] for _ in range(3)]
        for writer in writers[1:]:
            writer.write(ATTACH)
        time.sleep(0.05)  # they are read in the first turn of the shutdown
    left = [task for task in asyncio.all_tasks() - before if task.get_name() == "liverpc inspector"]
    for writer in writers:
        writer.close()
    assert not left
    assert server._hub.touched is None


@pytest.mark.realtime
async def test_observer_may_send_broken_utf8_in_a_binary_message(caplog: Any) -> None:
    server = LiveServer({}, limits=QUICK, inspect=OPEN)
    async with server.serve(port=0) as at:
        reader, writer = await asyncio.open_connection(at.host, at.port)
        writer.write(ATTACH + HELLO + frame(b'{"t":"get","id":1,"ref":["\xff"]}', 2) + frame({"t": "ping", "at": 7.0}))
        async with asyncio.timeout(2):
            await reader.readuntil(b'"at":7.0')
        writer.close()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.realtime
async def test_server_cancelled_while_it_stops_can_start_again() -> None:
    server = LiveServer({}, limits=QUICK)
    where: list[Any] = []

    async def run() -> None:
        async with server.serve(port=0) as at:
            where.append(at)
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await until(lambda: where)
    _, writer = await asyncio.open_connection(where[0].host, where[0].port)
    writer.write(HEAD % (b"/ws", b""))  # and never answers the goodbye
    await until(lambda: server.connections)
    task.cancel()
    await until(lambda: server._listener is not None and server._listener.draining)
    task.cancel()
    await asyncio.wait([task])
    writer.close()
    async with server.serve(port=0):
        pass


@pytest.mark.realtime
async def test_hook_that_raises_a_base_exception_ends_no_other_hook_nor_leaves_topics() -> None:
    class Panic(BaseException):
        pass

    def panic(ctx: Context[Any], topic: str, left: int) -> None:
        raise Panic

    @live.stream("t:{n}", on_unsubscribe=panic)
    async def rows(ctx: Context[Any], n: int) -> list[Any]:
        return []

    server = LiveServer({"m": SimpleNamespace(rows=rows, _guard=public())}, limits=QUICK)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    async with server.serve(port=0) as at:
        _, writer = await asyncio.open_connection(at.host, at.port)
        writer.write(HEAD % (b"/ws", b""))
        for n in range(3):
            writer.write(frame({"rpc": "m/rows", "id": str(n), "args": [n], "stream": True}))
        await until(lambda: len(server._hub.topics) == 3)
        writer.close()
        await until(lambda: server.counters.connections_closed == 1)
        assert not server._hub.topics


async def test_call_cancelled_before_its_first_step_does_not_keep_aclose_busy() -> None:
    import contextvars

    from liverpc.testing import create_test_context

    calls: RunningCalls[int] = RunningCalls(contextvars.copy_context(), create_test_context().connection.link, 64)

    async def work() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            calls.finished(1)

    calls.start(1, work())
    for task in calls.of.values():
        task.cancel()
    turns = asyncio.create_task(calls.aclose())
    for _ in range(10):
        await asyncio.sleep(0)
    done = turns.done()
    turns.cancel()
    await asyncio.wait([turns])
    assert done

"""Clients that come and go, stay silent, drip, flood and smuggle, on real sockets."""

import asyncio
import gc
import json
import struct
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, HttpRequest, HttpResponse, Limits, LiveServer, guard, live, public
from liverpc.testing import TestEnv
from tests.attack.attack_kit import what_is_left
from tests.attack.test_attacks_sockets import HEAD, QUICK, frame
from tests.transports.transport_kit import turns, until

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
AUTH = b"POST /__ws/auth HTTP/1.1\r\nHost: localhost\r\nX-Requested-With: XMLHttpRequest\r\n%s\r\n"
CYCLES = 1000


@live.stream("row:{n}")
async def row(ctx: Context[Any], n: int) -> list[int]:
    for _ in range(n % 7):
        await asyncio.sleep(0)
    return [n]


def serve(_guard: Any = None, *, functions: dict[str, Any] | None = None, **options: Any) -> LiveServer:
    module = SimpleNamespace(**({"row": row} | (functions or {})), _guard=_guard or public())
    return LiveServer({"m": module}, **({"limits": QUICK} | options))


async def come(at: Any, more: bytes = b"", path: bytes = b"/ws") -> Streams:
    reader, writer = await asyncio.open_connection(at.host, at.port)
    writer.write(HEAD % (path, more))
    return reader, writer


async def nothing_is_left(server: LiveServer) -> None:
    await until(lambda: not what_is_left(server))


# -- coming and going


@pytest.mark.realtime
@pytest.mark.parametrize("fast", [True, False])
async def test_thousand_clients_that_come_and_go_leave_nothing(fast: bool) -> None:
    server = serve(fast_path=fast)
    async with server.serve(port=0) as at:
        tasks = asyncio.all_tasks()
        objects: list[int] = []
        for n in range(CYCLES):
            reader, writer = await come(at)
            writer.write(frame({"rpc": "m/row", "id": "1", "args": [n], "stream": True}))
            await reader.readuntil(b'"ok":true')
            if n % 3 == 0:
                writer.write(frame(struct.pack("!H", 1000), 8))
                await reader.read()
            elif n % 3 == 1:
                writer.transport.abort()
            writer.close()
            if n in (CYCLES // 2 - 1, CYCLES - 1):
                await nothing_is_left(server)
                await until(lambda: asyncio.all_tasks() == tasks)
                gc.collect()
                objects.append(len(gc.get_objects()))
        assert objects[1] - objects[0] < CYCLES // 4  # less than one object for two clients


async def test_thousand_clients_in_memory_that_come_and_go_leave_nothing() -> None:
    async with TestEnv(serve()) as env:
        tasks = asyncio.all_tasks()
        objects: list[int] = []
        for n in range(CYCLES):
            socket = await env.transport.connect("/ws")
            await socket.send(json.dumps({"rpc": "m/row", "id": "1", "args": [n], "stream": True}))
            if n % 3:
                await socket.recv()
            if n % 2:
                await socket.close()
            else:
                socket.cut()
            if n in (CYCLES // 2 - 1, CYCLES - 1):
                await env.settle()
                assert not what_is_left(env.server)
                assert not env.transport.links
                assert asyncio.all_tasks() == tasks
                gc.collect()
                objects.append(len(gc.get_objects()))
        assert objects[1] - objects[0] < CYCLES // 4


@pytest.mark.realtime
@pytest.mark.parametrize("sequential", [False, True])
async def test_disconnect_at_any_moment_of_a_batch_of_streams_leaves_nothing(sequential: bool) -> None:
    server = serve()
    calls = [{"rpc": "m/row", "id": str(n), "args": [n], "stream": True} for n in range(50)]
    async with server.serve(port=0) as at:
        for moment in range(30):
            reader, writer = await come(at)
            await reader.readuntil(b"welcome")
            writer.write(frame({"batch": calls, "sequential": sequential}))
            await turns(moment)
            writer.transport.abort()
        await until(lambda: server.counters.connections_closed == 30)
        await nothing_is_left(server)


@pytest.mark.realtime
async def test_batch_whose_call_cuts_the_client_off_ends_with_it() -> None:
    began: list[str] = []

    @live
    async def cut(ctx: Context[Any]) -> None:
        ctx.connection.link.transport.abort()  # type: ignore[attr-defined]

    @live
    async def work(ctx: Context[Any]) -> None:
        began.append("work")

    server = serve(functions={"cut": cut, "work": work})
    async with server.serve(port=0) as at:
        reader, writer = await come(at)
        await reader.readuntil(b"welcome")
        batch = [{"rpc": "m/cut", "id": "1"}, *({"rpc": "m/work", "id": str(n)} for n in range(5))]
        writer.write(frame({"batch": batch, "sequential": True}))
        await until(lambda: server.counters.connections_closed)
        await nothing_is_left(server)
        writer.close()
    assert not began


# -- before the connection is accepted


@pytest.mark.realtime
@pytest.mark.parametrize("leaves", [False, True])
async def test_flood_before_the_connection_is_accepted_is_bounded_and_answered_later(leaves: bool) -> None:
    gate = asyncio.Event()
    cancelled: list[bool] = []

    async def on_connect(request: Any) -> None:
        try:
            await gate.wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    server = serve(on_connect=on_connect, limits=Limits(early_bytes=1000, close_seconds=0.5, linger_seconds=0.2))
    async with server.serve(port=0) as at:
        reader, writer = await come(at)
        number = 10 if leaves else 20_000
        writer.write(frame({"rpc": "m/nothing", "id": "early"}) * number)
        assert server.listener is not None
        deciding = server.listener.admission.deciding
        await until(lambda: deciding)
        if leaves:
            writer.transport.abort()
            await until(lambda: cancelled)
        else:
            gate.set()
            got = 0
            while got < number:
                got += (await asyncio.wait_for(reader.readuntil(b"}}"), 5)).count(b'"event":"early"')
            writer.close()
        await until(lambda: not deciding)
        await nothing_is_left(server)


# -- subscribes that are decided slowly


@pytest.mark.realtime
@pytest.mark.parametrize("unsubscribes", [False, True])
async def test_leaving_while_many_topics_are_decided_cancels_the_decisions(unsubscribes: bool) -> None:
    pending = 0

    async def on_topic(ctx: Context[Any], topic: str) -> bool:
        nonlocal pending
        pending += 1
        try:
            await asyncio.sleep(1000)
        finally:
            pending -= 1
        return True

    server = serve(on_topic=on_topic)
    topics = [f"t{n}" for n in range(256)]
    async with server.serve(port=0) as at:
        _, writer = await come(at)
        for _ in range(20):
            writer.write(frame({"type": "subscribe-batch", "topics": topics, "ref": 1}))
        if unsubscribes:
            writer.write(b"".join(frame({"type": "unsubscribe", "topic": topic}) for topic in topics))
        await until(lambda: pending == 20)
        writer.transport.abort()
        await until(lambda: not pending)
        await nothing_is_left(server)


@pytest.mark.realtime
async def test_thousand_pending_decisions_are_bounded_for_each_client_and_all_answered() -> None:
    gate = asyncio.Event()
    asked = 0

    async def on_topic(ctx: Context[Any], topic: str) -> bool:
        nonlocal asked
        asked += 1
        await gate.wait()
        return True

    server = serve(on_topic=on_topic)
    async with server.serve(port=0) as at:
        clients = [await come(at) for _ in range(18)]
        most = server.limits.calls_in_flight
        for k, (_, writer) in enumerate(clients):
            topics = range(most - 1 if k < 9 else 100)  # who has as many as it may is not read from
            writer.write(b"".join(frame({"type": "subscribe", "topic": f"t{n}", "ref": n}) for n in topics))
        await until(lambda: asked == 9 * (most - 1) + 9 * most)
        for _, writer in clients[:9]:
            writer.transport.abort()
        await until(lambda: len(server.connections) == 9)
        gate.set()
        for reader, writer in clients[9:]:
            await reader.readuntil(b'"ref":99}')
            writer.close()
        await nothing_is_left(server)


@pytest.mark.realtime
async def test_flood_of_resumes_is_answered_at_the_pace_of_the_hook() -> None:
    at_once = most = 0

    async def on_resume(ctx: Context[Any], session: str, seqs: dict[str, int]) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await turns(3)
        at_once -= 1

    server = serve(on_resume=on_resume)
    async with server.serve(port=0) as at:
        reader, writer = await come(at)
        writer.write(frame({"type": "resume", "sessionId": "x", "lastSeenSeqs": {"t": 1}}) * 1000)
        got = b""
        while got.count(b'"resumed"') < 1000:
            got += await asyncio.wait_for(reader.read(65536), 5)
        assert most <= server.limits.calls_in_flight
        writer.close()
        await nothing_is_left(server)


@pytest.mark.realtime
async def test_only_the_client_that_was_asked_can_answer_and_only_by_its_number() -> None:
    server = serve()
    async with server.serve(port=0) as at:
        (asked, its_writer), (other, other_writer) = await come(at), await come(at)
        await asked.readuntil(b"sessionId")
        await other.readuntil(b"sessionId")
        first = server.connections[0]
        asking = asyncio.create_task(first.ask("what"))
        data = await asked.readuntil(b'"event":"what"')
        ref = json.loads(data[data.index(b'"ref":') + 6 :].split(b",")[0])
        for wrong in (ref, float(ref), True, str(ref), None, [ref], ref + 1):
            other_writer.write(frame({"type": "reply", "ref": wrong, "data": "wrong"}))
        for wrong in (True, str(ref), None, [ref], {"ref": ref}, ref + 1):
            its_writer.write(frame({"type": "reply", "ref": wrong, "data": "wrong"}))
        other_writer.write(frame({"rpc": "m/nothing", "id": "done"}))
        await other.readuntil(b'"done"')
        its_writer.write(frame({"type": "reply", "ref": ref, "data": "right"}))
        assert await asking == "right"
        its_writer.close()
        other_writer.close()
        await nothing_is_left(server)


# -- stopping


@pytest.mark.realtime
async def test_stop_waits_for_begun_calls_and_guards_and_for_no_handshake() -> None:
    gate = asyncio.Event()

    async def check(ctx: Context[Any]) -> None:
        await gate.wait()

    async def on_connect(request: Any) -> None:
        if "slow" in request.query:
            await asyncio.sleep(1000)

    @live
    async def work(ctx: Context[Any]) -> int:
        return 1

    limits = Limits(drain_seconds=5, close_seconds=0.5, linger_seconds=0.2)
    server = serve(guard(check), functions={"work": work}, limits=limits, on_connect=on_connect)
    before = asyncio.all_tasks()
    async with server.serve(port=0) as at:
        calls, _ = first = await come(at)
        first[1].write(frame({"rpc": "m/work", "id": "1"}))
        batch, _ = second = await come(at)
        second[1].write(frame({"batch": [{"rpc": "m/work", "id": str(n)} for n in range(3)], "sequential": True}))
        undecided, _ = third = await come(at, path=b"/ws?slow=1")
        await until(lambda: sum(c.calls.running for c in server.connections) == 2)
        asyncio.get_running_loop().call_later(0.1, gate.set)
    assert b'"ok":true' in await calls.read()
    assert (await batch.read()).count(b'"ok":true') == 3
    assert b" 503 " in await undecided.read()
    for _, writer in (first, second, third):
        writer.close()
    assert asyncio.all_tasks() == before
    assert not what_is_left(server)


# -- HTTP


@pytest.mark.realtime
@pytest.mark.parametrize(
    ("first", "drops"),
    [
        (b"", b"GET /ws HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (b"", b"\r\n" * 20),
        (AUTH % b"Content-Length: 60000\r\n", b"a" * 40),
        (AUTH % b"Transfer-Encoding: chunked\r\n", b"1\r\na\r\n" * 7),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /ws HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n" * 20),
    ],
    ids=["head", "blank lines", "body", "chunks", "next head", "next blank lines"],
)
async def test_request_that_comes_in_drops_is_given_up(first: bytes, drops: bytes) -> None:
    limits = Limits(connect_seconds=0.3, keep_alive_seconds=0.3, close_seconds=0.2, linger_seconds=0.2)
    server = serve(limits=limits)
    async with server.serve(port=0) as at:
        _, writer = await asyncio.open_connection(at.host, at.port)
        writer.write(first)
        for drop in drops:
            if writer.transport.is_closing():
                break
            writer.write(bytes([drop]))
            await asyncio.sleep(0.05)  # the dripping itself
        assert writer.transport.is_closing()
        writer.close()


@pytest.mark.realtime
async def test_requests_in_a_row_and_an_upgrade_behind_them_are_all_answered() -> None:
    server = serve()
    async with server.serve(port=0) as at:
        reader, writer = await asyncio.open_connection(at.host, at.port)
        call = frame({"rpc": "m/row", "id": "1", "args": [1], "stream": True})
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3 + HEAD % (b"/ws", b"") + call)
        answers = await asyncio.wait_for(reader.readuntil(b'"ok":true'), 5)
        assert answers.count(b"HTTP/1.1 200") == 3
        writer.close()
        await nothing_is_left(server)


@pytest.mark.realtime
@pytest.mark.parametrize(
    "lengths",
    [
        b"Content-Length: %d\r\n" % len(b"0\r\n\r\n" + HEAD % (b"/ws", b"")),
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: " + b"9" * 19 + b"\r\n",
        b"Content-Length: " + b"9" * 5000 + b"\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
    ],
    ids=lambda lengths: repr(lengths[:40]),
)
async def test_body_of_a_doubtful_length_smuggles_no_upgrade(lengths: bytes) -> None:
    server = serve()
    async with server.serve(port=0) as at:
        reader, writer = await asyncio.open_connection(at.host, at.port)
        writer.write(AUTH % lengths + b"0\r\n\r\n" + HEAD % (b"/ws", b""))
        await reader.read()  # until it is closed
        assert server.counters.connections_opened == 0
        writer.close()


class Panic(BaseException):
    """As the panics of Rust extensions are."""


async def cancelled_inside(request: HttpRequest) -> None:
    inner = asyncio.ensure_future(asyncio.sleep(10))
    asyncio.get_running_loop().call_soon(inner.cancel)
    await inner


async def panics(request: HttpRequest) -> None:
    raise Panic("secret")


def gives_a_line_break(request: HttpRequest) -> HttpResponse:
    return HttpResponse(204, cookies=("a=1\r\nX-Secret: 1",))


@pytest.mark.realtime
@pytest.mark.parametrize("authenticate", [cancelled_inside, panics, gives_a_line_break])
async def test_auth_endpoint_answers_however_the_application_fails(
    authenticate: Callable[[HttpRequest], Awaitable[None] | HttpResponse],
) -> None:
    async with serve(authenticate=authenticate).serve(port=0) as at:
        reader, writer = await asyncio.open_connection(at.host, at.port)
        writer.write(AUTH % b"")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 500 ")
        assert b"ecret" not in head
        writer.close()


@pytest.mark.realtime
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Origin: http://localhost\r\n", 204),
        (b"Origin: http://LOCALHOST:80\r\n", 204),
        (b"Origin: null\r\n", 403),
        (b"Origin: \r\n", 403),
        (b"Origin: http://localhost.\r\n", 403),
        (b"Origin: http://localhost:8080\r\n", 403),
        (b"Origin: http://localhost:99999\r\n", 403),
        (b"Origin: http://localhost@evil.example\r\n", 403),
        (b"Origin: http://localhost%00.evil.example\r\n", 403),
        (b"Origin: http://localhost\\.evil.example\r\n", 403),
        (b"Origin: http://evil.example?localhost\r\n", 403),
        (b"Origin: http://localhost, http://evil.example\r\n", 403),
        (b"Origin: http://localhost\r\nOrigin: http://evil.example\r\n", 403),
        (b"Origin: ftp://localhost\r\n", 403),
        (b"Origin: //localhost\r\n", 403),
        (b"Origin: http://[::1\r\n", 403),
        (b"Sec-Fetch-Site: same-site\r\n", 403),
        (b"Sec-Fetch-Site: none\r\n", 403),
        (b"Sec-Fetch-Site: same-origin, cross-site\r\n", 403),
        (b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Site: same-origin\r\n", 403),
        (b"Origin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n", 403),
        (b"", 403),
    ],
    ids=repr,
)
async def test_auth_endpoint_takes_requests_of_its_own_pages_only(headers: bytes, status: int) -> None:
    async with serve().serve(port=0) as at:
        reader, writer = await asyncio.open_connection(at.host, at.port)
        writer.write(b"POST /__ws/auth HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % headers)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert (b"Access-Control-Allow-Origin" in head) == (status == 204)
        writer.close()


@pytest.mark.realtime
async def test_client_that_is_not_read_from_is_noticed_when_it_leaves() -> None:
    @live
    async def slow(ctx: Context[Any]) -> None:
        await asyncio.sleep(1000)

    limits = Limits(calls_in_flight=4, ping_seconds=0.2, close_seconds=0.5, linger_seconds=0.2, drain_seconds=0.1)
    server = serve(functions={"slow": slow}, limits=limits)
    async with server.serve(port=0) as at:
        _, writer = await come(at)
        writer.write(frame({"rpc": "m/slow", "id": "1"}) * 4)
        await until(lambda: server.connections != [] and server.connections[0].calls.running == 4)
        writer.transport.abort()
        await nothing_is_left(server)

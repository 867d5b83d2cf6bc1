"""The end of a server: what was begun is answered, nothing is begun, and it ends in time."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed

from liverpc import ClientConfig, RpcError, remote
from liverpc.client import connect
from liverpc.client.socket import HandshakeRefused, SocketClosed
from liverpc.config import Limits
from liverpc.transports.drain import see_off
from liverpc.transports.memory import MemoryTransport
from liverpc.transports.writing import Phase
from tests.transports.transport_kit import (
    CLOSE,
    HEAD,
    TEXT,
    EchoApplication,
    Peer,
    frame,
    serving,
    turns,
    until,
    without_sockets,
)

LIMITS = Limits(drain_seconds=4, close_seconds=2, upgrades_per_address=1000)
GOODBYE = frame(CLOSE, b"\x03\xe9")


def now() -> float:
    return asyncio.get_running_loop().time()


# Rounds


class Visitor:
    """A guest whose calls end at a certain time."""

    def __init__(self, busy_until: float = 0.0) -> None:
        self.busy_until = busy_until
        self.asked: float | None = None
        self.left: float | None = None

    def wind_up(self) -> bool:
        if self.asked is None:
            self.asked = now()
        if now() < self.busy_until:
            return False
        self.go_away()
        return True

    def go_away(self) -> None:
        if self.left is None:
            self.left = now()


async def test_many_leave_in_rounds_over_half_of_the_time() -> None:
    visitors = [Visitor() for _ in range(1000)]
    begin = now()
    await see_off(visitors, LIMITS, asyncio.Event())
    rounds = Counter(visitor.left for visitor in visitors)
    assert len(rounds) == 20
    assert set(rounds.values()) == {50}
    last = max(visitor.left or 0 for visitor in visitors) - begin
    assert 1 < last <= 2.5
    assert now() - begin == pytest.approx(last + LIMITS.close_seconds)


@pytest.mark.parametrize(("count", "rounds"), [(0, 0), (1, 1), (99, 1), (100, 2), (149, 2), (100_000, 20)])
async def test_few_need_few_rounds(count: int, rounds: int) -> None:
    visitors = [Visitor() for _ in range(count)]
    await see_off(visitors, LIMITS, asyncio.Event())
    assert len({visitor.left for visitor in visitors}) == rounds


async def test_a_busy_one_leaves_when_it_has_finished_and_keeps_nobody_up() -> None:
    begin = now()
    busy, idle, endless = Visitor(begin + 1.5), Visitor(), Visitor(begin + 1e9)
    await see_off([busy, idle, endless], LIMITS, asyncio.Event())
    assert idle.left == begin
    assert busy.left == pytest.approx(begin + 1.5, abs=0.05)
    assert endless.left == pytest.approx(begin + LIMITS.drain_seconds)
    assert now() - begin == pytest.approx(LIMITS.drain_seconds + LIMITS.close_seconds)


async def test_it_ends_when_nobody_is_left() -> None:
    begin = now()
    empty = asyncio.Event()
    asyncio.get_running_loop().call_later(0.5, empty.set)
    await see_off([Visitor(begin + 1e9)], LIMITS, empty)
    assert now() - begin == pytest.approx(0.5)


# A connection


async def test_calls_under_way_are_answered_before_the_goodbye(fast: bool) -> None:
    application = EchoApplication(LIMITS)
    async with without_sockets(application, fast=fast) as listener:
        busy, idle = Peer(listener), Peer(listener)
        busy.feed(frame(TEXT, b"wait:1") + frame(TEXT, b"wait:2"))
        begin = now()
        drain = asyncio.create_task(listener.drain())
        await turns()
        assert listener.draining
        assert idle.close_code == 1001
        assert not busy.transport.reading
        busy.feed(frame(TEXT, b"too late"))  # it was on its way
        await asyncio.sleep(1.5)
        assert busy.texts == [b"wait:1"]
        await asyncio.sleep(0.6)
        assert busy.frames == [(0x81, b"wait:1"), (0x81, b"wait:2"), (0x88, b"\x03\xe9server going away")]
        assert busy.transport.reading  # for the answer
        assert application.sessions[0].received == [(b"wait:1", True), (b"wait:2", True)]
        for peer in (busy, idle):
            peer.feed(GOODBYE)
            peer.lose()
        await drain
        assert now() - begin < 2.5
        assert [session.ended for session in application.sessions] == [[(1001, "server going away")]] * 2


async def test_who_waits_for_its_round_is_served() -> None:
    application = EchoApplication(LIMITS)
    async with without_sockets(application) as listener:
        peers = [Peer(listener) for _ in range(200)]
        drain = asyncio.create_task(listener.drain())
        await turns()
        waiting = [peer for peer in peers if peer.phase is Phase.OPEN]
        assert len(waiting) == 150
        for peer in waiting:
            peer.feed(frame(TEXT, b"wait:0.9"))
        await asyncio.sleep(3.5)
        for peer in waiting:
            assert (peer.texts, peer.close_code) == ([b"wait:0.9"], 1001)
        for peer in peers:
            peer.lose()
        await drain


async def test_a_call_that_takes_too_long_does_not_delay_the_end() -> None:
    application = EchoApplication(LIMITS)
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        peer.feed(frame(TEXT, b"wait:1000"))
        begin = now()
        drain = asyncio.create_task(listener.drain())
        await asyncio.sleep(3.9)
        assert peer.frames == []
        await asyncio.sleep(0.2)
        assert peer.close_code == 1001
        await asyncio.sleep(2.1)
        assert peer.transport.events[-1] == "abort"
        assert now() - begin < 6.5
        peer.lose()
        await drain


async def test_a_session_that_releases_its_hold_is_not_read_again() -> None:
    application = EchoApplication(LIMITS)
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        peer.feed(frame(TEXT, b"wait:1"))
        link = application.sessions[0].link
        link.hold()
        drain = asyncio.create_task(listener.drain())
        await turns()
        link.release()
        await turns()
        peer.feed(frame(TEXT, b"too late"))
        await turns()
        assert not peer.transport.reading
        assert len(application.sessions[0].received) == 1
        peer.lose()
        await drain


async def test_another_owner_begins_the_drain_through_any_connection() -> None:
    application = EchoApplication(LIMITS)
    registry: set[object] = set()
    async with without_sockets(application) as listener:
        peers = [Peer(listener, registry=registry) for _ in range(3)]
        for peer in peers:
            peer.protocol.shutdown()
        await turns()
        assert [peer.close_code for peer in peers] == [1001] * 3
        assert Peer(listener, registry=registry).transport.sent.startswith(b"HTTP/1.1 503 ")
        waiting = [asyncio.create_task(listener.drain()) for _ in range(2)]
        await turns()
        assert not any(task.done() for task in waiting)
        for connection in list(registry):
            assert isinstance(connection, type(peers[0].protocol))
            connection.connection_lost(None)
        await asyncio.gather(*waiting)
        assert registry == set()
        await listener.drain()  # again, and at once


async def test_a_drain_that_nobody_waits_for_ends_with_the_listener() -> None:
    async with without_sockets(EchoApplication(LIMITS)) as listener:
        peer = Peer(listener)
        listener.shutdown()
        await turns()
        closing = asyncio.create_task(listener.aclose())
        await turns()
        peer.lose()
        await closing
        await listener.drain()
        listener.shutdown()
        assert not listener._tasks


# In memory


async def test_memory_answers_calls_under_way_before_the_goodbye() -> None:
    application = EchoApplication(LIMITS)
    transport = MemoryTransport(application, latency=0.1)
    busy, idle, endless = [await transport.connect() for _ in range(3)]
    await busy.send("wait:1")
    await endless.send("wait:1000")
    await asyncio.sleep(0.2)
    begin = now()
    drain = asyncio.create_task(transport.drain())
    await turns()
    await busy.send("too late")
    with pytest.raises(HandshakeRefused) as refused:
        await transport.connect()
    assert refused.value.status == 503
    with pytest.raises(SocketClosed) as closed:
        await idle.recv()
    assert now() - begin < 0.5
    assert closed.value.code == 1001
    assert await busy.recv() == "wait:1"
    with pytest.raises(SocketClosed):
        await busy.recv()
    assert now() - begin < 1.5
    with pytest.raises(SocketClosed):
        await endless.recv()
    await drain
    assert LIMITS.drain_seconds < now() - begin < LIMITS.drain_seconds + 0.5
    assert [len(session.received) for session in application.sessions] == [1, 0, 1]
    assert [session.ended for session in application.sessions] == [[(1001, "server going away")]] * 3
    assert transport.links == set()
    await transport.aclose()


# Real sockets


@pytest.mark.realtime
async def test_a_long_call_is_answered_on_a_real_socket() -> None:
    application = EchoApplication(Limits(drain_seconds=5, close_seconds=1, linger_seconds=0.2))
    async with serving(application) as served:
        async with open_websocket(served.url) as client:
            await client.send("wait:0.3")
            await until(lambda: application.sessions[0].running)
            drain = asyncio.create_task(served.listener.drain())
            await until(lambda: served.listener.draining)
            for _ in range(100):
                await client.send("too late")
            assert await client.recv() == "wait:0.3"
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        await drain
        assert [payload for payload, _ in application.sessions[0].received] == [b"wait:0.3"]


@pytest.mark.realtime
async def test_an_upgrade_that_was_being_sent_is_refused() -> None:
    application = EchoApplication(Limits(drain_seconds=1, close_seconds=0.5, linger_seconds=0.2))
    async with serving(application) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(HEAD[:-4])
        await until(lambda: served.listener.connections)
        served.listener.begin_drain()
        writer.write((HEAD % b"")[len(HEAD) - 4 :])
        assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
        writer.close()


SCRIPT = Path(__file__).with_name("ledger_server.py")


async def start(ledger: Path, port: int) -> tuple[Process, int]:
    process = await asyncio.create_subprocess_exec(sys.executable, str(SCRIPT), str(ledger), str(port), stdout=PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return process, int(await process.stdout.readline())


@pytest.mark.realtime
async def test_a_restart_under_load_answers_every_call_it_ran(tmp_path: Path) -> None:
    first_ledger, second_ledger = tmp_path / "first", tmp_path / "second"
    first, port = await start(first_ledger, 0)
    answered: list[int] = []
    lost: list[int] = []
    numbers = iter(range(1_000_000))
    done = asyncio.Event()

    async def call(url: str) -> None:
        """Calls all the time, several at once, and never twice with the same number."""
        async with connect(url, config=ClientConfig(backoff_base=0.05, backoff_max=0.2)) as client:

            async def one_after_the_other() -> None:
                while not done.is_set():
                    number = next(numbers)
                    try:
                        assert await client.call(remote("ledger/work"), number) == number
                        answered.append(number)
                    except RpcError as error:
                        assert error.code == "DISCONNECTED"
                        lost.append(number)

            await asyncio.gather(*(one_after_the_other() for _ in range(4)))

    clients = [asyncio.create_task(call(f"ws://127.0.0.1:{port}/ws")) for _ in range(8)]
    await until(lambda: len(answered) > 200, seconds=20)
    first.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    async with asyncio.timeout(10):
        code = await first.wait()
    assert code == 0
    assert time.monotonic() - begin < 2 + 1 + 1  # drain_seconds, close_seconds, and the process itself
    second, _ = await start(second_ledger, port)
    before = len(answered)
    await until(lambda: len(answered) > before + 200, seconds=20)
    done.set()
    await asyncio.gather(*clients)
    second.send_signal(signal.SIGTERM)
    assert await second.wait() == 0

    ran = Counter((first_ledger.read_text() + second_ledger.read_text()).splitlines())
    # Each call that was answered ran once, and each that ran was answered: none was begun and left.
    assert ran == Counter(f"{step} {number}" for number in answered for step in ("begin", "end"))
    assert not set(answered) & set(lost)

"""What waits for a peer that does not read: how much, in which order, and what is left out."""

from __future__ import annotations

import asyncio
import socket

import pytest
from websockets.asyncio.client import ClientConnection, connect

from liverpc.client.socket import SocketClosed
from liverpc.config import Limits
from liverpc.hub.link import Link
from liverpc.transports.memory import MemoryTransport
from liverpc.transports.ws import LiveProtocol
from liverpc.wire.framing import text_frame
from tests.transports.transport_kit import (
    HEAD,
    EchoApplication,
    Peer,
    Tallied,
    serving,
    turns,
    until,
    without_sockets,
)


def stall(peer: Peer, stuck: int = 70_000) -> None:
    peer.transport.stuck = stuck
    peer.protocol.pause_writing()


def recover(peer: Peer) -> None:
    peer.transport.stuck = 0
    peer.protocol.resume_writing()


def publish(link: Link, count: int) -> int:
    """``count`` events, for two keys in turn; returns how many of them took the place of another one."""
    tally = Tallied()
    for number in range(count):
        key = "ab"[number % 2]
        assert link.send_latest(tally, key, text_frame(f"{key}{number}".encode()))
    return tally.coalesced


# The number of frames


@pytest.mark.parametrize("extra", [-1, 0, 1])
async def test_so_many_frames_may_wait_for_a_full_socket(extra: int) -> None:
    application = EchoApplication(Limits(outbox_frames=10))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        stall(peer)
        link = application.sessions[0].link
        accepted = [link.send(text_frame(b"x")) for _ in range(10 + extra)]
        assert accepted == [True] * min(10, 10 + extra) + [False] * max(0, extra)
        assert application.counters.outbox_frame_overflows == max(0, extra)
        assert application.counters.outbox_overflows == 0
        recover(peer)
        assert peer.close_code == (1013 if extra > 0 else None)


async def test_frames_that_leave_are_not_counted() -> None:
    application = EchoApplication(Limits(outbox_frames=10))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        for _ in range(100):
            assert application.sessions[0].link.send(text_frame(b"x"))
        await turns(1)
        assert len(peer.texts) == 100
        assert peer.transport.events[1:] == [300]


async def test_a_stalled_client_in_memory_may_wait_for_so_many() -> None:
    application = EchoApplication(Limits(outbox_frames=10))
    transport = MemoryTransport(application)
    client = await transport.connect()
    client.stall()
    link = application.sessions[0].link
    assert [link.send(text_frame(b"x")) for _ in range(11)] == [True] * 10 + [False]
    assert application.counters.outbox_frame_overflows == 1
    await transport.aclose()


# One frame larger than everything


async def test_a_frame_larger_than_the_outbox_is_delivered_when_nothing_waits() -> None:
    application = EchoApplication(Limits(outbox_bytes=10_000))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        assert application.sessions[0].link.send(text_frame(b"x" * 100_000))
        await turns(1)
        assert len(peer.texts[0]) == 100_000


async def test_a_frame_larger_than_the_outbox_may_fill_the_socket() -> None:
    application = EchoApplication(Limits(outbox_bytes=10_000))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        write = peer.transport.write

        def fill(data: bytes | bytearray | memoryview[int]) -> None:
            write(data)
            stall(peer, 100_000)

        peer.transport.write = fill  # type: ignore[method-assign]  # the peer takes nothing of it at once
        assert application.sessions[0].link.send(text_frame(b"x" * 100_000))
        assert not application.sessions[0].link.send(text_frame(b"behind it"))
    assert application.counters.outbox_overflows == 1


async def test_memory_delivers_it_as_well() -> None:
    application = EchoApplication(Limits(outbox_bytes=10_000))
    transport = MemoryTransport(application)
    client = await transport.connect()
    link = application.sessions[0].link
    assert link.send(text_frame(b"welcome"))
    assert link.send(text_frame(b"x" * 100_000))
    assert not link.send(text_frame(b"behind it"))
    assert await client.recv() == "welcome"
    assert len(await client.recv()) == 100_000
    await transport.aclose()


# Volatile frames, and the latest of each key


async def test_a_fast_socket_gets_every_volatile_frame_and_all_of_every_key() -> None:
    application = EchoApplication()
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        link = application.sessions[0].link
        publish(link, 100)
        assert link.send_volatile(Tallied(), text_frame(b"cursor"))
        await turns(1)
        assert peer.texts == [f"{'ab'[n % 2]}{n}".encode() for n in range(100)] + [b"cursor"]
    assert application.counters.latest_replaced == application.counters.volatile_drops == 0


async def test_a_full_socket_loses_volatile_frames_only() -> None:
    application = EchoApplication()
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        stall(peer)
        link, tally = application.sessions[0].link, Tallied()
        for number in range(10):
            assert link.send_volatile(tally, text_frame(b"cursor"))
            assert link.send(text_frame(b"%d" % number))
        recover(peer)
        assert peer.texts == [b"%d" % number for number in range(10)]
        assert link.send_volatile(tally, text_frame(b"cursor"))
        await turns(1)
        assert peer.texts[-1] == b"cursor"
    assert application.counters.volatile_drops == tally.volatile_drops == 10


async def test_only_the_latest_of_each_key_waits_for_a_full_socket() -> None:  # acceptance 93
    application = EchoApplication(Limits(outbox_frames=5))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        link = application.sessions[0].link
        assert publish(link, 2) == 0
        stall(peer)
        assert publish(link, 100) == 98
        assert link.buffered == 70_000 + 2 * 4 + 2 * 5
        link.send(text_frame(b"reply"))
        recover(peer)
        await turns(1)
        assert peer.texts == [b"a0", b"b1", b"reply", b"a98", b"b99"]
        publish(link, 2)
        await turns(1)
        assert peer.texts[5:] == [b"a0", b"b1"]
        assert link.buffered == 0
    assert application.counters.latest_replaced == 98


async def test_only_the_latest_of_each_key_waits_for_a_stalled_client_in_memory() -> None:  # acceptance 93
    application = EchoApplication(Limits(outbox_frames=3))
    transport = MemoryTransport(application, latency=0.1)
    client = await transport.connect()
    link = application.sessions[0].link
    client.stall()
    link.send(text_frame(b"reply"))
    publish(link, 100)
    assert link.send_volatile(Tallied(), text_frame(b"cursor"))
    assert link.buffered == 11
    client.resume()
    assert [await client.recv() for _ in range(3)] == ["reply", "a98", "b99"]
    assert link.buffered == 0
    publish(link, 2)
    assert [await client.recv() for _ in range(2)] == ["a0", "b1"]
    assert (application.counters.latest_replaced, application.counters.volatile_drops) == (98, 1)
    await transport.aclose()


async def test_a_client_in_memory_that_has_much_unread_counts_as_full_until_it_reads() -> None:
    application = EchoApplication(Limits(outbox_bytes=10_000))
    transport = MemoryTransport(application)
    client = await transport.connect()
    link = application.sessions[0].link
    link.send(text_frame(b"x" * 5_001))
    publish(link, 100)
    assert len(await client.recv()) == 5_001
    assert [await client.recv() for _ in range(2)] == ["a98", "b99"]
    await transport.aclose()


@pytest.mark.parametrize("above", [0, 1])
async def test_what_waits_by_key_counts_as_waiting(above: int) -> None:
    application = EchoApplication(Limits(outbox_bytes=100_000))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        stall(peer, 40_000)
        link = application.sessions[0].link
        for _ in range(3):  # replaced: counted once
            assert link.send_latest(Tallied(), "a", text_frame(b"x" * 29_996))
        assert link.send(text_frame(b"x" * 9_996))
        assert link.send_latest(Tallied(), "b", text_frame(b"x" * (19_996 + above))) is (above == 0)
        assert application.counters.outbox_overflows == above


@pytest.mark.parametrize("above", [0, 1])
async def test_what_waits_by_key_in_memory_counts_as_waiting(above: int) -> None:
    application = EchoApplication(Limits(outbox_bytes=1000))
    transport = MemoryTransport(application)
    client = await transport.connect()
    client.stall()
    link = application.sessions[0].link
    for size in (900, 300, 500):
        assert link.send_latest(Tallied(), "a", text_frame(b"x" * size))
    assert link.send_latest(Tallied(), "b", text_frame(b"x" * (500 + above))) is (above == 0)
    assert application.counters.outbox_overflows == above
    await transport.aclose()


async def test_many_keys_are_bounded_by_the_number_of_frames() -> None:
    application = EchoApplication(Limits(outbox_frames=10))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        stall(peer)
        link = application.sessions[0].link
        assert [link.send_latest(Tallied(), number, text_frame(b"x")) for number in range(11)] == [True] * 10 + [False]
    assert application.counters.outbox_frame_overflows == 1


async def test_what_waits_by_key_leaves_before_a_close_and_never_behind_it() -> None:
    application = EchoApplication()
    async with without_sockets(application) as listener:
        peers = [Peer(listener) for _ in range(2)]
        for peer, session in zip(peers, application.sessions, strict=True):
            stall(peer)
            session.link.send_latest(Tallied(), "a", text_frame(b"event"))
        application.sessions[0].link.close(4000, "bye")
        application.sessions[1].link.release()
        peers[1].protocol._fail(1011, "broken")
        for peer in peers:
            recover(peer)
        await turns()
        assert peers[0].frames == [(0x81, b"event"), (0x88, b"\x0f\xa0bye")]
        assert [first for first, _ in peers[1].frames] == [0x88]


async def test_what_waits_by_key_in_memory_leaves_before_a_close() -> None:
    application = EchoApplication()
    transport = MemoryTransport(application)
    client = await transport.connect()
    client.stall()
    link = application.sessions[0].link
    link.send_latest(Tallied(), "a", text_frame(b"event"))
    link.close(4000, "bye")
    assert not link.send_latest(Tallied(), "a", text_frame(b"late"))
    assert not link.send_volatile(Tallied(), text_frame(b"late"))
    client.resume()
    assert await client.recv() == "event"
    with pytest.raises(SocketClosed):
        await client.recv()
    await transport.aclose()


async def test_what_waits_by_key_in_memory_is_lost_when_the_client_leaves() -> None:
    application = EchoApplication(Limits(close_seconds=1))
    transport = MemoryTransport(application)
    client = await transport.connect()
    link = application.sessions[0].link
    link.send(text_frame(b"x" * 600_000))
    link.send_latest(Tallied(), "a", text_frame(b"event"))
    await client.close()
    assert len(await client.recv()) == 600_000
    with pytest.raises(SocketClosed):
        await client.recv()
    await transport.aclose()


async def test_a_closed_socket_takes_nothing() -> None:
    application = EchoApplication()
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        stall(peer)
        link = application.sessions[0].link
        link.send_latest(Tallied(), "a", text_frame(b"lost"))
        peer.lose()
        assert not link.send_volatile(Tallied(), text_frame(b"late"))
        assert not link.send_latest(Tallied(), "a", text_frame(b"late"))
    assert application.counters.volatile_drops == 0


# Real sockets


@pytest.mark.realtime
async def test_stalled_subscribers_are_closed_and_the_others_miss_nothing() -> None:
    application = EchoApplication(Limits(outbox_bytes=200_000, close_seconds=0.3, linger_seconds=0.2))
    async with serving(application) as served:
        _, stalled = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)  # one of twenty
        stalled.write(HEAD % b"")
        await until(lambda: application.sessions)
        slow = application.sessions[0].link
        assert isinstance(slow, LiveProtocol)
        slow.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        clients = [await connect(served.url) for _ in range(19)]

        async def collect(client: ClientConnection) -> list[str | bytes]:
            return [(await client.recv())[:4] for _ in range(400)]

        collecting = [asyncio.create_task(collect(client)) for client in clients]
        for number in range(200):
            for session in application.sessions:
                session.link.send(text_frame(b"%04d" % number + b"x" * 20_000))
                session.link.send_latest(Tallied(), "key", text_frame(b"%04d" % number))
            await asyncio.sleep(0)
        expected = [f"{number // 2:04d}" for number in range(400)]
        assert await asyncio.gather(*collecting) == [expected] * 19
        await until(lambda: application.sessions[0].ended)
        assert application.sessions[0].ended == [(1013, "too slow")]
        assert application.counters.outbox_overflows == 1
        assert not any(session.ended for session in application.sessions[1:])
        await asyncio.gather(*(client.close() for client in clients))
        stalled.close()

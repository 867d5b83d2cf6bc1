"""An open connection: its writes, its keep-alive, slow peers, and every way it can end. No sockets."""

from __future__ import annotations

import asyncio
import struct

import pytest

from liverpc.config import Limits
from liverpc.transports.writing import Phase
from liverpc.wire.framing import text_frame
from tests.transports.transport_kit import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    EchoApplication,
    Peer,
    frame,
    turns,
    without_sockets,
)

IDLE = b'{"type":"ping"}'


def goodbye(code: int) -> bytes:
    return frame(CLOSE, struct.pack("!H", code))


# Writes


async def test_answers_to_one_read_leave_in_one_write(fast: bool) -> None:
    async with without_sockets(EchoApplication(), fast=fast) as listener:
        peer = Peer(listener)
        peer.transport.events.clear()
        peer.feed(frame(TEXT, b"m") * 20 + frame(PING, b"p"))
        assert len(peer.transport.events) == 1
        assert len(peer.texts) == 20


async def test_everything_sent_in_one_turn_leaves_in_one_write() -> None:
    application = EchoApplication()
    async with without_sockets(application) as listener:
        peers = [Peer(listener) for _ in range(3)]
        for _ in range(20):
            for session in application.sessions:
                assert session.link.send(text_frame(b"event"))
        assert application.sessions[0].link.buffered == 20 * 7
        await turns(1)
        for peer in peers:
            assert len(peer.transport.events) == 2  # the 101 was the first
            assert peer.texts == [b"event"] * 20
        assert application.sessions[0].link.buffered == 0


async def test_answers_of_tasks_that_do_not_wait_leave_in_the_same_write(fast: bool) -> None:
    async with without_sockets(EchoApplication(), fast=fast) as listener:
        peer = Peer(listener)
        peer.transport.events.clear()
        peer.feed((frame(TEXT, b"plain") + frame(TEXT, b"task")) * 20)
        await turns(1)
        assert len(peer.transport.events) == 1
        assert sorted(peer.texts) == [b"plain"] * 20 + [b"task"] * 20


async def test_nothing_is_sent_behind_a_close() -> None:
    application = EchoApplication()
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        link = application.sessions[0].link
        assert link.send(text_frame(b"before"))
        link.close(4000, "bye")
        link.close(4001, "again")
        assert not link.send(text_frame(b"after"))
        await turns(1)
        assert peer.frames == [(0x81, b"before"), (0x88, b"\x0f\xa0bye")]
        assert application.sessions[0].ended == []  # not before the peer has answered
        peer.feed(goodbye(4000))
        assert application.sessions[0].ended == [(4000, "bye")]
        assert not link.send(text_frame(b"after"))


@pytest.mark.parametrize(
    ("reason", "expected"), [("x" * 123, "x" * 123), ("x" * 124, "x" * 123), ("€" * 100, "€" * 41)]
)
async def test_a_long_reason_is_clipped_between_characters(reason: str, expected: str) -> None:
    application = EchoApplication()
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        application.sessions[0].link.close(4000, reason)
        await turns(1)
        assert peer.frames[-1] == (0x88, b"\x0f\xa0" + expected.encode())


# Endings


async def test_a_socket_accepted_after_the_end_is_dropped() -> None:
    application = EchoApplication()
    async with without_sockets(application) as listener:
        await listener.aclose()
        peer = Peer(listener, head=b"")
        assert peer.transport.events == ["abort"]
        peer.lose()


@pytest.mark.parametrize(
    ("data", "ended"),
    [(goodbye(1000), (1000, "")), (frame(CLOSE, b"\x0f\xa0bye"), (4000, "bye")), (frame(CLOSE), (1005, ""))],
)
async def test_the_session_learns_the_peers_close_code(data: bytes, ended: tuple[int, str], fast: bool) -> None:
    application = EchoApplication()
    async with without_sockets(application, fast=fast) as listener:
        peer = Peer(listener)
        peer.feed(data)
        assert peer.phase is Phase.LINGER
        peer.lose()
        assert application.sessions[0].ended == [ended]


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
async def test_a_lost_connection_is_1006(error: Exception | None) -> None:
    application = EchoApplication()
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        peer.lose(error)
        assert application.sessions[0].ended == [(1006, "")]
        assert not application.sessions[0].link.send(text_frame(b"late"))
        application.sessions[0].link.close(1000)
        application.sessions[0].link.hold()
        application.sessions[0].link.release()
        await turns()
        assert application.sessions[0].ended == [(1006, "")]


async def test_an_end_of_stream_without_a_close_frame_is_1006_and_answers_still_leave(fast: bool) -> None:
    application = EchoApplication()
    async with without_sockets(application, fast=fast) as listener:
        peer = Peer(listener)
        peer.feed(frame(TEXT, b"last words") + frame(TEXT, b"half a fra")[:-3])
        peer.protocol.eof_received()
        assert peer.texts == [b"last words"]
        assert peer.transport.events[-1] == "eof"
        assert application.sessions[0].ended == [(1006, "")]


async def test_a_peer_that_never_answers_the_close_is_dropped() -> None:
    application = EchoApplication(Limits(close_seconds=5))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        application.sessions[0].link.close(4000, "bye")
        await asyncio.sleep(4.9)
        peer.feed(frame(PING, b"still here"))  # anything but a close frame does not help
        assert peer.transport.events[-1] != "abort"
        await asyncio.sleep(1)
        assert peer.transport.events[-1] == "abort"
        peer.lose()
        assert application.sessions[0].ended == [(4000, "bye")]
    assert application.counters.deadline_aborts == 1


async def test_a_peer_that_keeps_its_side_open_is_dropped_after_the_goodbyes() -> None:
    application = EchoApplication(Limits(linger_seconds=2))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        peer.feed(goodbye(1000))
        await asyncio.sleep(1.9)
        assert peer.transport.events[-1] == "eof"
        await asyncio.sleep(1)
        assert peer.transport.events[-1] == "abort"


async def test_a_session_that_raises_at_its_end_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    application = EchoApplication()

    def fail(code: int, reason: str) -> None:
        raise RuntimeError("at the end")

    application.echo.on_open = lambda session: setattr(session, "closed", fail)
    async with without_sockets(application) as listener:
        Peer(listener).lose()
        assert not listener.connections
    assert "at the end" in caplog.text


# Keep-alive


async def test_silence_brings_a_ping_and_more_silence_the_end() -> None:
    application = EchoApplication(Limits(ping_seconds=20, pong_seconds=20))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        await asyncio.sleep(14)
        assert peer.frames == []
        await asyncio.sleep(7)
        assert peer.frames == [(0x89, b"")]
        await asyncio.sleep(13)
        assert peer.close_code is None
        await asyncio.sleep(7)
        assert peer.close_code == 1011
        assert application.sessions[0].ended == [(1011, "keepalive ping timeout")]
    assert application.counters.ping_timeouts == 1


LONG = frame(TEXT, b"x" * 100)


@pytest.mark.parametrize("pong_seconds", [1, 20, 60])
@pytest.mark.parametrize(
    "signs",
    [[frame(PONG)] * 20, [frame(TEXT)] * 20, [LONG[at : at + 1] for at in range(20)]],
    ids=["pongs", "messages", "single bytes"],
)
async def test_any_byte_is_a_sign_of_life(signs: list[bytes], pong_seconds: float) -> None:
    application = EchoApplication(Limits(ping_seconds=20, pong_seconds=pong_seconds))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        for count, sign in enumerate(signs, 1):
            while peer.frames.count((0x89, b"")) < count:
                await asyncio.sleep(0.1)
            peer.feed(sign)
        assert peer.phase is Phase.OPEN
    assert application.counters.ping_timeouts == 0


async def test_a_peer_that_talks_gets_no_pings() -> None:
    application = EchoApplication(Limits(ping_seconds=20))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        for _ in range(20):
            await asyncio.sleep(14)
            peer.feed(frame(TEXT, b"x"))
        assert (0x89, b"") not in peer.frames


async def test_pings_of_many_connections_are_spread() -> None:
    async with without_sockets(EchoApplication(Limits(ping_seconds=20))) as listener:
        peers = [Peer(listener) for _ in range(50)]
        await asyncio.sleep(18)
        pinged = sum((0x89, b"") in peer.frames for peer in peers)
        assert 0 < pinged < 50


async def test_a_held_peer_is_not_taken_for_dead() -> None:
    application = EchoApplication(Limits(ping_seconds=20, pong_seconds=20))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        await asyncio.sleep(21)
        application.sessions[0].link.hold()  # its pong stays unread
        await asyncio.sleep(200)
        application.sessions[0].link.release()
        await turns()
        peer.feed(frame(PONG))
        await asyncio.sleep(1)
        assert peer.phase is Phase.OPEN
    assert application.counters.ping_timeouts == 0


async def test_a_peer_gets_the_time_to_answer_a_ping_that_a_hold_cost() -> None:
    application = EchoApplication(Limits(ping_seconds=20, pong_seconds=20))
    for use_hold in (True, False):
        async with without_sockets(application) as listener:
            peer = Peer(listener)
            while (0x89, b"") not in peer.frames:
                await asyncio.sleep(0.1)
            link = application.sessions[-1].link
            if use_hold:
                link.hold()
            else:
                await asyncio.sleep(1)
                stall(peer)
            await asyncio.sleep(19.5)
            if use_hold:
                link.release()
            else:
                recover(peer)
            await asyncio.sleep(1)
            assert peer.phase is Phase.OPEN
    assert application.counters.ping_timeouts == 0


async def test_an_open_connection_without_text_gets_an_idle_text() -> None:
    application = EchoApplication(Limits(idle_text_seconds=90, ping_seconds=20))
    async with without_sockets(application) as listener:
        peer = Peer(listener)

        async def answer_pings(seconds: int) -> None:
            for _ in range(seconds):
                await asyncio.sleep(1)
                peer.feed(frame(PONG))

        await answer_pings(89)
        assert peer.texts == []
        await answer_pings(2)
        assert peer.texts == [IDLE]
        await answer_pings(80)
        application.sessions[0].link.send(text_frame(b"event"))
        await answer_pings(80)
        assert peer.texts == [IDLE, b"event"]
        await answer_pings(11)
        assert peer.texts == [IDLE, b"event", IDLE]


# Slow peers


def stall(peer: Peer, stuck: int = 70_000) -> None:
    peer.transport.stuck = stuck
    peer.protocol.pause_writing()


def recover(peer: Peer) -> None:
    peer.transport.stuck = 0
    peer.protocol.resume_writing()


@pytest.mark.parametrize("above", [0, 1])
async def test_the_outbox_of_a_stalled_peer_is_bounded(above: int) -> None:
    application = EchoApplication(Limits(outbox_bytes=100_000))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        stall(peer, 40_000)
        session = application.sessions[0]
        for _ in range(5):
            assert session.link.send(text_frame(b"x" * 9_996))  # 10,000 with the header
        accepted = session.link.send(text_frame(b"x" * (9_996 + above)))
        assert accepted is (above == 0)
        assert session.ended == []  # never from within send
        assert application.counters.outbox_overflows == above
        assert session.link.buffered <= 100_000
        recover(peer)
        assert peer.close_code == (1013 if above else None)
        assert len(peer.texts) == (0 if above else 6)
        if above:
            assert not session.link.send(text_frame(b"late"))
            peer.feed(goodbye(1013))
            assert session.ended == [(1013, "too slow")]


async def test_much_in_one_turn_is_no_overflow_while_the_peer_takes_it() -> None:
    application = EchoApplication(Limits(outbox_bytes=100_000))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        for _ in range(100):
            assert application.sessions[0].link.send(text_frame(b"x" * 50_000))
        await turns(1)
        assert len(peer.texts) == 100
    assert application.counters.outbox_overflows == 0


async def test_a_peer_that_takes_nothing_is_dropped_without_a_goodbye() -> None:
    application = EchoApplication(Limits(pong_seconds=20))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        stall(peer)
        await asyncio.sleep(19)
        assert peer.transport.events[-1] != "abort"
        await asyncio.sleep(2)
        assert peer.transport.events[-1] == "abort"
        peer.lose()
        assert application.sessions[0].ended == [(1006, "")]
    assert application.counters.deadline_aborts == 1


async def test_a_slow_peer_that_takes_something_is_kept() -> None:
    application = EchoApplication(Limits(pong_seconds=20))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        stall(peer)
        for _ in range(10):
            await asyncio.sleep(19)
            peer.transport.stuck -= 1000
        assert "abort" not in peer.transport.events
        recover(peer)
        await asyncio.sleep(1)
        assert peer.phase is Phase.OPEN


async def test_who_does_not_take_answers_is_not_read() -> None:
    application = EchoApplication()
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        stall(peer)
        assert not peer.transport.reading
        peer.feed(frame(TEXT, b"was under way"))
        session = application.sessions[0]
        recover(peer)
        await turns()
        assert session.received == [(b"was under way", True)]
        assert peer.transport.reading


async def test_an_overflown_peer_that_never_recovers_is_dropped() -> None:
    application = EchoApplication(Limits(outbox_bytes=1000, close_seconds=5))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        stall(peer)
        assert not application.sessions[0].link.send(text_frame(b"x"))
        await asyncio.sleep(6)
        assert peer.transport.events[-1] == "abort"
        peer.lose()
        assert application.sessions[0].ended == [(1013, "too slow")]


async def test_the_goodbye_waits_for_a_peer_that_takes_the_rest_slowly() -> None:
    application = EchoApplication(Limits(linger_seconds=2))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        peer.transport.stuck = 50_000
        peer.feed(goodbye(1000))
        for _ in range(10):
            await asyncio.sleep(1.9)
            peer.transport.stuck -= 5000
        assert "abort" not in peer.transport.events
        await asyncio.sleep(5)
        assert peer.transport.events[-1] == "abort"

"""Bytes to messages: every split, hostile frames, and both ways of reading giving the same."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liverpc.config import Limits
from liverpc.transports.writing import Phase
from liverpc.wire.framing import text_frame
from tests.transports.transport_kit import (
    BINARY,
    CLOSE,
    HEAD,
    PING,
    PONG,
    TEXT,
    EchoApplication,
    Peer,
    frame,
    turns,
    without_sockets,
)

MIXED = b"".join(
    (
        frame(TEXT, b"hello"),
        frame(PING, b"abc"),
        frame(TEXT, b"w" * 200),
        frame(TEXT, b"fr", fin=False),
        frame(PING, b"mid"),
        frame(0, b"ag", fin=False),
        frame(0, b"ment"),
        frame(BINARY, b"\x00\xff\xfe"),
        frame(TEXT, "grüß".encode()),
        frame(PONG, b"unasked"),
        frame(BINARY, b"z" * 300),
        frame(TEXT, b"last"),
    )
)
ANSWERS = b"".join(
    (
        text_frame(b"hello"),
        b"\x8a\x03abc",
        text_frame(b"w" * 200),
        b"\x8a\x03mid",
        text_frame(b"fragment"),
        text_frame(b'{"binary":3}'),
        text_frame("grüß".encode()),
        text_frame(b'{"binary":300}'),
        text_frame(b"last"),
    )
)


async def test_any_two_pieces_give_the_same_answers(fast: bool) -> None:
    async with without_sockets(EchoApplication(), fast=fast) as listener:
        for cut in range(1, len(MIXED)):
            peer = Peer(listener)
            peer.feed(MIXED[:cut])
            peer.feed(MIXED[cut:])
            assert peer.after_head == ANSWERS, cut


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
async def test_small_pieces_give_the_same_answers(fast: bool, step: int) -> None:
    async with without_sockets(EchoApplication(), fast=fast) as listener:
        peer = Peer(listener)
        peer.feed(MIXED, step=step)
        assert peer.after_head == ANSWERS


@pytest.mark.parametrize("size", [65_535, 65_536, 300_000])
async def test_large_frames_in_pieces_come_whole_and_between_others(fast: bool, size: int) -> None:
    data = b"".join((frame(BINARY, b"\xff" * size), frame(TEXT, "ü".encode() * (size // 2)), frame(TEXT, b"small")))
    async with without_sockets(EchoApplication(), fast=fast) as listener:
        for step in (4_093, 65_537, 2 * size):
            peer = Peer(listener)
            peer.feed(data[:3], step=1)
            peer.feed(data[3:], step=step)
            assert peer.texts == [b'{"binary":%d}' % size, "ü".encode() * (size // 2), b"small"]


async def test_a_message_of_exactly_the_limit_comes_and_a_larger_one_closes(fast: bool) -> None:
    async with without_sockets(EchoApplication(Limits(message_bytes=100_000)), fast=fast) as listener:
        peer = Peer(listener)
        peer.feed(frame(BINARY, bytes(100_000)), step=65_536)
        assert peer.texts == [b'{"binary":100000}']
        peer.feed(frame(BINARY, bytes(100_001))[:14])  # its announcement is enough
        assert peer.close_code == 1009


async def test_frames_behind_the_head_wait_for_the_decision_at_any_split(fast: bool) -> None:
    application = EchoApplication()

    async def decide(request: object) -> None:
        await turns(2)

    application.echo.decision = decide
    data = HEAD % b"" + MIXED
    async with without_sockets(application, fast=fast) as listener:
        for cut in range(1, len(data)):
            peer = Peer(listener, head=b"")
            peer.feed(data[:cut])
            peer.feed(data[cut:])
            await turns(6)
            assert peer.transport.sent.startswith(b"HTTP/1.1 101")
            assert peer.after_head == ANSWERS, cut


async def test_too_many_early_bytes_stop_reading_until_the_decision(fast: bool) -> None:
    application = EchoApplication(Limits(early_bytes=100))
    application.echo.decision = lambda request: turns(2)
    async with without_sockets(application, fast=fast) as listener:
        at_limit = Peer(listener)
        at_limit.feed(frame(TEXT, b"x" * 94))
        assert at_limit.transport.reading
        above = Peer(listener)
        above.feed(frame(TEXT, b"x" * 95))
        assert not above.transport.reading
        await turns(8)
        assert above.transport.reading
        assert above.texts == [b"x" * 95]


LIMIT = 100_000
HOSTILE: dict[str, tuple[bytes, int | None]] = {  # bytes, close code; None: stays open
    "rsv1": (frame(TEXT, b"x", rsv=4), 1002),
    "rsv2": (frame(TEXT, b"x", rsv=2), 1002),
    "rsv3 on ping": (frame(PING, b"x", rsv=1), 1002),
    "rsv1 binary": (frame(BINARY, b"x", rsv=4), 1002),
    **{f"opcode {n}": (frame(n, b"x"), 1002) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "unmasked text": (frame(TEXT, b"hello", mask=b""), 1002),
    "unmasked ping": (frame(PING, b"", mask=b""), 1002),
    "unmasked close": (frame(CLOSE, b"\x03\xe8", mask=b""), 1002),
    "unmasked empty": (b"\x81\x00", 1002),
    "fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "fragmented close": (frame(CLOSE, b"", fin=False), 1002),
    "ping of 125": (frame(PING, b"x" * 125), None),
    "ping of 126": (frame(PING, b"x" * 126), 1002),
    "ping announces 2^40": (frame(PING, b"", length=1 << 40), 1002),
    "close of 126": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "continuation first": (frame(0, b"x"), 1002),
    "continuation first, open": (frame(0, b"x", fin=False), 1002),
    "text inside a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "binary inside a message": (frame(TEXT, b"a", fin=False) + frame(BINARY, b"b"), 1002),
    "continuation after the end": (frame(TEXT, b"a", fin=False) + frame(0, b"b") + frame(0, b"c"), 1002),
    "close inside a message": (frame(TEXT, b"a", fin=False) + frame(CLOSE, b"\x03\xe8"), 1002),
    "close of 1 byte": (frame(CLOSE, b"\x03"), 1002),
    **{f"close {n}": (frame(CLOSE, struct.pack("!H", n)), 1002) for n in (999, 1004, 1005, 1006, 5000)},
    "close with a reason that is not UTF-8": (frame(CLOSE, b"\x03\xe8\xff\xfe"), 1007),
    "close empty": (frame(CLOSE), 1005),
    "close 1000": (frame(CLOSE, b"\x03\xe8bye"), 1000),
    "close 4000": (frame(CLOSE, struct.pack("!H", 4000)), 4000),
    "bad UTF-8": (frame(TEXT, b"\xff\xfe"), 1007),
    "overlong UTF-8": (frame(TEXT, b"\xc0\xaf"), 1007),
    "surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "cut UTF-8": (frame(TEXT, b"ab\xc3"), 1007),
    "bad UTF-8, 400 bytes": (frame(TEXT, b"a" * 400 + b"\xff"), 1007),
    "bad UTF-8, 70,000 bytes": (frame(TEXT, b"a" * 70_000 + b"\xff"), 1007),
    "bad UTF-8 over fragments": (frame(TEXT, b"\xc3", fin=False) + frame(0, b"("), 1007),
    "a character cut by fragments": (frame(TEXT, b"\xc3", fin=False) + frame(0, b"\xa9"), None),
    "below the limit": (frame(BINARY, b"x" * (LIMIT - 1)), None),
    "at the limit": (frame(BINARY, b"x" * LIMIT), None),
    "above the limit": (frame(BINARY, b"", length=LIMIT + 1), 1009),
    "announces 2^62": (frame(TEXT, b"", length=1 << 62), 1009),
    "announces 2^63": (frame(TEXT, b"", length=1 << 63), 1009),
    "at the limit in fragments": (frame(BINARY, b"x" * (LIMIT - 9), fin=False) + frame(0, b"y" * 9), None),
    "above it in fragments": (frame(BINARY, b"x" * (LIMIT - 9), fin=False) + frame(0, b"y" * 10), 1009),
    "empty text": (frame(TEXT), None),
    "empty binary": (frame(BINARY), None),
    "a length that is not minimal": (bytes([0x82, 128 | 126, 0, 3]) + b"\0\0\0\0abc", None),
    "pong unasked": (frame(PONG, b"?"), None),
    "2,000 empty fragments": (
        frame(TEXT, fin=False) + frame(0, fin=False) * 2000 + frame(0, b"{}"),
        None,
    ),
    "HTTP instead of frames": (b"GET / HTTP/1.1\r\n\r\n", 1002),
}


@pytest.mark.parametrize("between_good_frames", [False, True], ids=["alone", "between"])
@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_frames_end_with_the_right_code(name: str, fast: bool, between_good_frames: bool) -> None:
    data, code = HOSTILE[name]
    if between_good_frames:
        data = frame(TEXT, b"good") + data + frame(TEXT, b"good")
    application = EchoApplication(Limits(message_bytes=LIMIT))
    async with without_sockets(application, fast=fast) as listener:
        for step in (len(data), 1 if len(data) < 700 else 9_001):
            peer = Peer(listener)
            peer.feed(data, step=step)
            await turns(20)
            assert peer.close_code == code
            if between_good_frames:
                assert peer.texts.count(b"good") == (2 if code is None else 1)
            if code is None:
                assert peer.phase is Phase.OPEN
                assert application.sessions[-1].ended == []
            else:
                assert peer.transport.events[-1] == "eof"
                assert peer.frames[-1][0] == 0x88  # nothing behind the close frame
                assert [ended for ended, _ in application.sessions[-1].ended] == [code]


@pytest.mark.parametrize("extra", [-1, 0, 1])
async def test_a_message_limit_below_64_kib_holds_on_the_fast_path(fast: bool, extra: int) -> None:
    application = EchoApplication(Limits(message_bytes=1000))
    async with without_sockets(application, fast=fast) as listener:
        peer = Peer(listener)
        peer.feed(frame(TEXT, b"x" * (1000 + extra)))
        assert peer.close_code == (1009 if extra > 0 else None)


async def test_a_session_that_raises_is_closed_without_details(fast: bool, caplog: pytest.LogCaptureFixture) -> None:
    application = EchoApplication()
    async with without_sockets(application, fast=fast) as listener:
        peer = Peer(listener)
        peer.feed(frame(TEXT, b"boom") + frame(TEXT, b"behind"))
        assert peer.close_code == 1011
        assert b"secret" not in peer.transport.sent
        assert application.sessions[0].ended == [(1011, "internal error")]
        assert application.sessions[0].received == [(b"boom", True)]
    assert "secret" in caplog.text


async def test_frames_behind_a_sessions_own_close_are_dropped(fast: bool) -> None:
    application = EchoApplication()
    async with without_sockets(application, fast=fast) as listener:
        peer = Peer(listener)
        peer.feed(frame(TEXT, b"close:4000") + frame(TEXT, b"behind") + frame(CLOSE, b"\x0f\xa0"))
        assert peer.close_code == 4000
        assert peer.texts == []
        assert peer.phase is Phase.LINGER
        assert application.sessions[0].ended == [(4000, "bye")]


async def test_one_read_of_many_frames_is_taken_in_turns(fast: bool) -> None:
    application = EchoApplication(Limits(frames_per_turn=10))
    async with without_sockets(application, fast=fast) as listener:
        peer = Peer(listener)
        peer.feed(frame(TEXT, b"m") * 21)
        assert len(peer.texts) == 10
        assert not peer.transport.reading
        await turns(1)
        assert len(peer.texts) == 20
        await turns(2)
        assert len(peer.texts) == 21
        assert peer.transport.reading


async def test_a_held_session_gets_no_more_than_what_was_being_read(fast: bool) -> None:
    application = EchoApplication()
    async with without_sockets(application, fast=fast) as listener:
        peer = Peer(listener)
        session = application.sessions[0]
        session.link.hold()
        assert not peer.transport.reading
        peer.feed(frame(TEXT, b"a"))
        peer.feed(frame(TEXT, b"b"))
        assert session.received == []
        session.link.release()
        session.link.hold()  # the release has not taken effect yet
        await turns()
        assert session.received == []
        session.link.release()
        assert session.received == []  # never from within release()
        await turns()
        assert session.received == [(b"a", True), (b"b", True)]
        assert peer.transport.reading


async def test_a_held_session_can_still_say_goodbye(fast: bool) -> None:
    application = EchoApplication()
    async with without_sockets(application, fast=fast) as listener:
        peer = Peer(listener)
        session = application.sessions[0]
        session.link.hold()
        peer.feed(frame(TEXT, b"unheard"))
        session.link.close(4000, "enough")
        await turns()
        assert peer.transport.reading
        peer.feed(frame(CLOSE, b"\x0f\xa0"))
        assert session.ended == [(4000, "enough")]
        assert session.received == []


_payloads = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=100).map(str.encode),
    st.sampled_from([b"hello", b"close:4000", b"y" * 125, b"y" * 126, b"y" * 65535, b"y" * 65536]),
)
_small_hostile = sorted(name for name, (data, _) in HOSTILE.items() if len(data) < 700)
_pieces = st.one_of(
    st.builds(
        lambda opcode, data, mask: frame(opcode, data, mask=mask),
        st.sampled_from([TEXT, TEXT, BINARY]),
        _payloads,
        st.binary(min_size=4, max_size=4),
    ),
    st.builds(lambda opcode, data: frame(opcode, data[:125]), st.sampled_from([PING, PONG]), _payloads),
    st.builds(lambda data: frame(TEXT, data[:3], fin=False) + frame(PING, b"i") + frame(0, data[3:]), _payloads),
    st.sampled_from(_small_hostile).map(lambda name: HOSTILE[name][0]),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stream=st.lists(_pieces, min_size=1, max_size=10).map(b"".join), seed=st.integers(0, 1 << 32))
async def test_both_ways_of_reading_agree_on_any_stream(stream: bytes, seed: int) -> None:
    application = EchoApplication()
    ends = []
    for fast in (True, False):
        async with without_sockets(application, fast=fast) as listener:
            cuts = random.Random(seed + fast)
            peer, at = Peer(listener), 0
            while at < len(stream):
                size = cuts.choice((1, 3, 17, 400, 5_000, 100_000))
                peer.feed(stream[at : at + size])
                at += size
            session = application.sessions[-1]
            ends.append((peer.frames, session.received, session.ended, peer.phase))
    assert ends[0] == ends[1]


async def test_a_connection_keeps_the_library_only_while_it_is_needed() -> None:
    application = EchoApplication()
    async with without_sockets(application, fast=True) as listener:
        peer = Peer(listener)
        assert peer.protocol._library is None
        for whole in (frame(TEXT, b"fast"), frame(PING, b"p"), frame(PONG), frame(TEXT, b"x" * 70_000)):
            peer.feed(whole, step=1000)
            assert peer.protocol._library is None
        peer.feed(frame(PING, b"ping")[:-1])
        assert peer.protocol._library is None
        peer.feed(frame(PING, b"ping")[-1:])
        assert peer.protocol._library is None
        peer.feed(frame(TEXT, b"one ", fin=False) + frame(PING, b"between"))
        assert peer.protocol._library is not None
        peer.feed(frame(0, b"message"))
        assert peer.protocol._library is None
        assert [data for data, _ in application.sessions[0].received] == [b"fast", b"x" * 70_000, b"one message"]
        assert [data for first, data in peer.frames if first == 0x8A] == [b"p", b"ping", b"between"]
        peer.lose()
        assert peer.protocol._library is None
        assert application.sessions[0].ended == [(1006, "")]

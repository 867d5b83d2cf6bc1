"""The frame reader, fed as badly as a network can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.contrib.locust.frames import BINARY, CLOSE, PING, PONG, TEXT, ClosedBy, FrameReader, client_frame

MAX = 1 << 20


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    size = len(payload)
    head = bytes([opcode | (128 if fin else 0)])
    if size < 126:
        head += bytes([size])
    elif size < 65536:
        head += bytes([126]) + size.to_bytes(2, "big")
    else:
        head += bytes([127]) + size.to_bytes(8, "big")
    return head + payload


def ended(data: bytes, limit: int = MAX) -> ClosedBy:
    reader = FrameReader(limit)
    reader.feed(data)
    assert reader.end is not None
    return reader.end


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[bytes], list[bytes]]:
    """What a server sends, and the messages and pings in it."""
    data, messages, pings = b"", [], []
    for payload in draw(st.lists(st.binary(max_size=300), max_size=6)):
        messages.append(payload)
        parts = draw(st.integers(1, 4))
        cut = [payload[i * len(payload) // parts : (i + 1) * len(payload) // parts] for i in range(parts)]
        for number, part in enumerate(cut):
            opcode = draw(st.sampled_from((TEXT, BINARY))) if number == 0 else 0
            data += frame(opcode, part, fin=number == parts - 1)
            if draw(st.booleans()):
                pings.append(draw(st.binary(max_size=125)))
                data += frame(PING, pings[-1]) + frame(PONG, b"x")
    return data, messages, pings


@given(conversations(), st.data())
def test_it_does_not_matter_how_the_bytes_are_cut(
    conversation: tuple[bytes, list[bytes], list[bytes]], data: st.DataObject
) -> None:
    raw, messages, pings = conversation
    reader = FrameReader(MAX)
    got = []
    while raw:
        size = data.draw(st.integers(1, len(raw)))
        got += reader.feed(raw[:size])
        raw = raw[size:]
    assert (got, reader.ping, reader.end) == (messages, pings[-1] if pings else None, None)


@pytest.mark.parametrize("size", [0, 125, 126, 127, 65535, 65536, 200_000])
def test_all_three_widths_of_lengths_are_read(size: int) -> None:
    payload = bytes(n % 251 for n in range(size))
    reader = FrameReader(MAX)
    raw = frame(BINARY, payload) * 2
    got = [message for i in range(0, len(raw), 4096) for message in reader.feed(raw[i : i + 4096])]
    assert got == [payload, payload]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 100_003])
def test_client_frames_are_masked_and_can_be_undone(size: int) -> None:
    payload, key = bytes(n % 256 for n in range(size)), b"\x01\x80\xff\x7f"
    raw = client_frame(TEXT, payload, key)
    width = 2 if size < 126 else 4 if size < 65536 else 10
    assert raw[0] == 0x81
    assert raw[1] & 0x80
    assert raw[width : width + 4] == key
    assert bytes(byte ^ key[i % 4] for i, byte in enumerate(raw[width + 4 :])) == payload
    unmasked = bytes([raw[0], raw[1] & 0x7F]) + raw[2:width] + payload
    assert FrameReader(MAX).feed(unmasked) == [payload]


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [(b"", 1005, ""), (b"\x03\xe9bye", 1001, "bye"), (b"\x11\x31\xff", 4401, "�")],
    ids=["without code", "with reason", "with broken text"],
)
def test_a_close_frame_ends_it_after_the_messages_before(payload: bytes, code: int, reason: str) -> None:
    reader = FrameReader(MAX)
    assert reader.feed(frame(TEXT, b"last") + frame(CLOSE, payload) + frame(TEXT, b"never")) == [b"last"]
    assert reader.end is not None
    assert (reader.end.code, reader.end.reason, reader.end.violation) == (code, reason, False)
    assert reader.feed(frame(TEXT, b"never")) == []


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x80\x00\x00\x00\x00",
        b"\xc1\x00",
        frame(3, b""),
        frame(11, b""),
        frame(PING, b"", fin=False),
        b"\x89\x7e\x00\x7e" + bytes(126),
        frame(0, b"x"),
        frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
        frame(CLOSE, b"\x03"),
    ],
    ids=[
        "masked",
        "reserved bit",
        "unknown data",
        "unknown control",
        "fragmented ping",
        "long ping",
        "continuation of nothing",
        "message in message",
        "half a close code",
    ],
)
def test_what_breaks_the_protocol_ends_it(data: bytes) -> None:
    end = ended(data)
    assert end.violation
    assert end.code == 1002


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize(("size", "fits"), [(99, True), (100, True), (101, False)])
def test_messages_have_a_largest_size(size: int, fits: bool, cut: int) -> None:
    payload = bytes(size)
    half = size // cut
    raw = frame(TEXT, payload[:half], fin=cut == 1) + (frame(0, payload[half:]) if cut == 2 else b"")
    reader = FrameReader(100)
    if fits:
        assert reader.feed(raw) == [payload]
        assert reader.feed(raw) == [payload]
    else:
        assert ended(raw, 100).code == 1009


def test_a_length_that_is_too_large_ends_it_before_its_bytes_come() -> None:
    assert ended(b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff").code == 1009


def test_control_frames_do_not_count_towards_the_size() -> None:
    reader = FrameReader(10)
    assert reader.feed(frame(TEXT, bytes(8), fin=False) + frame(PING, bytes(100)) + frame(0, bytes(2))) == [bytes(10)]

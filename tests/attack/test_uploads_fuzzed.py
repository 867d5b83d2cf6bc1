"""Whatever bytes a client sends: each binary call and each upload is answered once, and nothing is left of them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from liverpc import Context, Limits, LiveServer, UploadContext, live, public
from liverpc.wire.binary import (
    UPLOAD_CONTROL,
    UploadCancel,
    decode_binary_call,
    decode_upload,
    upload_cancel,
    upload_chunk,
    upload_header,
)
from liverpc.wire.codec import Ignored
from tests.attack.attack_kit import Peer, running, what_is_left

MAX_SIZE = 100
CODES = {
    "INVALID_REQUEST",
    "NOT_FOUND",
    "VALIDATION",
    "PAYLOAD_TOO_LARGE",
    "TOO_MANY_UPLOADS",
    "OVERLOADED",
    "FLOW_BACKPRESSURE",
    "CANCELLED",
}


@live
def echo(ctx: Context[Any], value: Any = None) -> Any:
    return value


@live.binary(max_size=MAX_SIZE)
async def take(ctx: Context[Any], data: bytes, name: Any = None) -> Any:
    await asyncio.sleep(0)
    return [len(data), name]


@live.upload(max_size=MAX_SIZE)
async def keep(ctx: UploadContext[Any], name: Any = None) -> Any:
    return [sum([len(chunk) async for chunk in ctx.upload]), name]


@live.upload(max_size=MAX_SIZE)
async def slow(ctx: UploadContext[Any], count: int = 1) -> int:
    for _ in range(count % 4):
        await asyncio.sleep(3)
        await anext(ctx.upload, b"")
    return count


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[LiveServer, asyncio.Runner]]:
    logging.getLogger("liverpc").setLevel(logging.CRITICAL)
    limits = Limits(upload_buffer_bytes=30, uploads_buffer_bytes=60, uploads_per_connection=2)
    server = LiveServer(
        {"m": SimpleNamespace(echo=echo, take=take, keep=keep, slow=slow, _guard=public())}, limits=limits
    )
    with running(server) as runner:
        yield server, runner
    logging.getLogger("liverpc").setLevel(logging.NOTSET)


# -- what is sent

leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
deep = st.sampled_from([60, 61, 62, 63, 64, 5000]).map(lambda levels: json.loads("[" * levels + "]" * levels))
paths = st.sampled_from(["m/keep", "m/keep", "m/slow", "m/take", "m/take", "m/echo", "m/none", "m", ""])
headers = st.fixed_dictionaries(
    {},
    optional={
        "rpc": st.one_of(paths, paths, paths, values),
        "id": st.one_of(st.text(max_size=3), st.text(max_size=3), values),
        "args": st.one_of(st.lists(values, max_size=2), values),
        "size": st.one_of(st.integers(-1, MAX_SIZE + 1), values),
        "x": values,
    },
).map(lambda header: json.dumps(header, ensure_ascii=False).encode(errors="replace"))
raw_headers = st.one_of(headers, headers, st.binary(max_size=20), st.just(b""))
data = st.binary(max_size=40)
lengths = st.sampled_from([0, 0, 0, 0, 0, 0, 1, -1, 60_000])
streams = st.sampled_from([1, 1, 2, 3, 0, 2**32 - 1])
flags = st.one_of(st.sampled_from([0, 1, 2, 3]), st.integers(0, 255))
seqs = st.sampled_from([0, 1, 2, 3, 2**32 - 1])


def lengthy(header: bytes, wrong: int) -> bytes:
    return max(0, len(header) + wrong).to_bytes(4, "big")[2:] + header


calls = st.builds(lambda header, wrong, rest: b"\x00" + lengthy(header, wrong) + rest, raw_headers, lengths, data)
chunks = st.builds(
    lambda flag, stream, seq, header, wrong, rest: (
        bytes([1, flag])
        + stream.to_bytes(4, "big")
        + seq.to_bytes(4, "big")
        + (lengthy(header, wrong) if seq == 0 else b"")
        + rest
    ),
    flags,
    streams,
    seqs,
    raw_headers,
    lengths,
    data,
)
good_chunks = st.one_of(
    st.builds(
        lambda stream, path, args, size, rest, last: upload_chunk(
            stream, 0, rest, last=last, header=upload_header(path, args, size)
        ),
        st.integers(1, 3),
        st.sampled_from(["m/keep", "m/slow"]),
        st.lists(st.integers(0, 9), max_size=1),
        st.none() | st.integers(0, MAX_SIZE),
        data,
        st.booleans(),
    ),
    st.builds(
        lambda stream, seq, rest, last: upload_chunk(stream, seq, rest, last=last),
        st.integers(1, 3),
        st.integers(1, 4),
        data,
        st.booleans(),
    ),
    st.integers(1, 3).map(upload_cancel),
)
controls = st.builds(
    lambda what, stream, rest: bytes([2, what]) + stream.to_bytes(4, "big") + rest,
    st.sampled_from([0x10, 0x10, 0, 1, 0x11, 255]),
    streams,
    st.binary(max_size=2),
)


def damage(message: bytes) -> st.SearchStrategy[bytes]:
    place = st.integers(0, len(message))
    return st.one_of(
        place.map(lambda end: message[:end]),
        st.tuples(place, st.binary(min_size=1, max_size=3)).map(
            lambda at: message[: at[0]] + at[1] + message[at[0] + len(at[1]) :]
        ),
        st.tuples(place, place).map(lambda at: message[: min(at)] + message[max(at) :]),
    )


good = st.one_of(good_chunks, good_chunks, good_chunks, calls, chunks, controls)
messages = st.one_of(good, good, good.flatmap(damage), st.binary(max_size=30))


# -- what is to be answered


def asks(message: bytes) -> Any:
    """What of the message is answered: the id of a binary call, or the number of an upload."""
    if len(message) < 4 or message[0] > UPLOAD_CONTROL:
        return None
    try:
        if message[0] == 0:
            return decode_binary_call(message).id
        found = decode_upload(message)
    except Ignored:
        return None
    return None if isinstance(found, UploadCancel) or found.frame is None else found.stream


def answers_in(log: list[Any]) -> Counter[Any]:
    for frame in log:
        assert frame["topic"] in ("__rpc", "__upload")
        assert frame["data"]["ok"] or frame["data"]["code"] in CODES
    return Counter(int(frame["event"], 16) if frame["topic"] == "__upload" else frame["event"] for frame in log)


@pytest.mark.timeout(300)
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=st.lists(st.tuples(messages, st.booleans()), min_size=1, max_size=12), cut=st.booleans())
@example(script=[(b"\x00\x00\x02{}", True), (b"\x01" * 10, False), (b"\x02" * 6, False)], cut=False)
def test_what_is_asked_is_answered_once_and_nothing_else_is(
    world: tuple[LiveServer, asyncio.Runner], script: list[tuple[bytes, bool]], cut: bool
) -> None:
    server, runner = world

    async def play() -> Peer:
        peer = Peer(server)
        for message, turn in script:
            peer.feed(message, text=False)
            if turn:
                await asyncio.sleep(0.5)
        if cut:
            peer.leave()
            await asyncio.sleep(30)
            return peer
        await asyncio.sleep(60)
        running_still = {upload.stream for upload in server.uploads.running}
        asked = Counter(ask for ask in (asks(message) for message, _ in script) if ask is not None)
        answered = answers_in(peer.log)
        # An upload whose last chunk never came is not answered yet.
        assert answered + Counter(running_still) == asked
        before = len(peer.log)
        peer.feed(b'{"rpc":"m/echo","id":"alive","args":[1]}')
        assert [frame["data"] for frame in peer.log[before:]] == [{"id": "alive", "ok": True, "data": 1}]
        for stream in running_still:
            peer.feed(upload_cancel(stream), text=False)
        assert answers_in(peer.log) == asked + Counter(["alive"])
        peer.leave()
        await asyncio.sleep(30)
        return peer

    peer = runner.run(play())
    assert not what_is_left(server)
    assert peer.closed_with == 1006, "the server never closed it"


@pytest.mark.parametrize("levels", [61, 62, 63, 500, 10_000])
def test_deep_arguments_cost_no_connection(world: tuple[LiveServer, asyncio.Runner], levels: int) -> None:
    server, runner = world
    args = b"[" * (levels + 1) + b"]" * (levels + 1)
    header = b'{"rpc":"m/%b","id":"b","args":' + args + b"}"

    async def play() -> list[Any]:
        peer = Peer(server)
        for kind, path in ((b"\x00", b"take"), (b"\x01\x03\x00\x00\x00\x01\x00\x00\x00\x00", b"keep")):
            full = header % path
            peer.feed(kind + len(full).to_bytes(2, "big") + full, text=False)
        await asyncio.sleep(1)
        peer.leave()
        await asyncio.sleep(1)
        return peer.log

    codes = [frame["data"].get("code") for frame in runner.run(play())]
    # What the decoder cannot follow is no header; see docs/protocol.md section 11.
    expected = [None] * 2 if levels <= 62 else ["INVALID_REQUEST"] * 2
    assert codes == (expected if levels < 10_000 else [])
    assert not what_is_left(server)

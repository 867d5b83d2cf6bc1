"""Servers that do not say how many bytes they take bound the chunks that their functions have not read."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from liverpc.client.core import ClientCore
from liverpc.wire.binary import UploadChunk, decode_upload
from tests.client.core_kit import Now, opened
from tests.client.test_client_uploads import answer, put_all

CAP = 1 << 20
UNANNOUNCED = 12_288


def silent() -> ClientCore:
    """A client whose server has not said what it takes, and has had its second for that."""
    now = Now()
    core = opened(now)
    now.seconds = 1.0
    core.tick()
    return core


def test_servers_that_count_chunks_get_full_ones_of_the_largest_size() -> None:
    core = silent()
    first = core.uploads.start("m/up", [])
    core.uploads.put(first, b"x", last=True)
    assert len(list(core.outgoing())) == 1
    answer(core, __cap=CAP)
    upload = core.uploads.start("m/up", [])
    sizes = [len(each) for each in put_all(core, upload, bytes(8 * CAP))]
    assert sizes[0] == CAP
    assert len(sizes) <= 9  # such servers fail an upload with 64 unread chunks


def test_small_pieces_wait_until_they_fill_a_chunk_for_servers_that_count_chunks() -> None:
    core = silent()
    upload = core.uploads.start("m/up", [])
    sizes: list[int] = []
    for _ in range(100):
        core.uploads.put(upload, bytes(1_000))
        sizes += [len(each) for each in core.outgoing()]
    assert sizes[0] == UNANNOUNCED
    assert len(sizes) == 100_000 // UNANNOUNCED
    core.uploads.put(upload, b"", last=True)
    assert len(list(core.outgoing())) == 1
    assert upload.sent == 100_000


def test_an_upload_that_waits_hears_when_chunks_may_be_larger() -> None:
    core = silent()
    first = core.uploads.start("m/up", [])
    core.uploads.put(first, b"x", last=True)
    list(core.outgoing())
    changes: list[int] = []
    upload = core.uploads.start("m/up", [], on_change=lambda it: changes.append(core.uploads.room(it)))
    while room := core.uploads.room(upload):
        core.uploads.put(upload, bytes(room))
    answer(core, __cap=CAP)
    assert changes, "who has filled the room before hears of more"
    while not upload.done and (room := core.uploads.room(upload)):
        core.uploads.put(upload, bytes(room))
    assert max(len(each) for each in core.outgoing()) == CAP


@given(
    st.lists(st.lists(st.integers(0, 40_000), max_size=8), min_size=1, max_size=3),
    st.integers(100, 60_000),
    st.integers(0, 20),
    st.integers(),
)
def test_whatever_the_pieces_all_of_it_arrives_in_full_chunks(  # acceptance 183, 192
    pieces: list[list[int]], cap: int, answer_after: int, seed: int
) -> None:
    luck = random.Random(seed)
    core = silent()
    first = core.uploads.start("m/up", [])  # its answer tells the cap, somewhere among the others
    core.uploads.put(first, b"x", last=True)
    list(core.outgoing())
    uploads = [core.uploads.start("m/up", []) for _ in pieces]
    data = [luck.randbytes(sum(each)) for each in pieces]
    left = dict(zip(uploads, data, strict=True))
    sizes = {upload: list(each) for upload, each in zip(uploads, pieces, strict=True)}
    received = {upload.stream: b"" for upload in uploads}
    ended: set[int] = set()
    most, turn, idle = UNANNOUNCED, 0, 0
    while len(ended) < len(uploads):
        assert idle < 3, "nothing comes any more"
        idle += 1
        if turn == answer_after:
            answer(core, __cap=cap)
            most = cap
        turn += 1
        for upload in uploads:
            if not upload.complete and (room := core.uploads.room(upload)):
                piece = left[upload][: min(room, sizes[upload].pop(0) if sizes[upload] else room)]
                left[upload] = left[upload][len(piece) :]
                core.uploads.put(upload, piece, last=not left[upload])
                idle = 0
        if luck.random() < 0.7:
            for message in core.outgoing():
                assert isinstance(message, bytes)
                chunk: Any = decode_upload(message)
                assert isinstance(chunk, UploadChunk)
                assert len(message) <= most
                if not chunk.last:  # the header's place is left free in all but the first
                    assert len(message) >= most - len(uploads[0].header) - 2
                received[chunk.stream] += chunk.data
                if chunk.last:
                    ended.add(chunk.stream)
            idle = 0
        else:
            idle -= 1
    assert list(received.values()) == data


def test_what_waited_to_be_sent_goes_out_when_the_server_begins_to_pace() -> None:
    core = silent()
    upload = core.uploads.start("m/up", [])
    core.uploads.put(upload, b"abc")
    assert list(core.outgoing()) == []
    core.receive('{"type":"upload-limits","frameBytes":100000,"windowBytes":100000}')
    assert len(list(core.outgoing())) == 1
    assert upload.sent == 3

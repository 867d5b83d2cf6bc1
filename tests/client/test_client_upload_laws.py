"""Whatever is uploaded in whatever pieces at whatever pace: the same bytes arrive, in messages of the right size."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from liverpc.client.core import ClientCore
from liverpc.client.uploading import Progress, UploadHandle, UploadTasks
from liverpc.client.uploads import Upload
from liverpc.config import ClientConfig
from liverpc.testing import virtual_loop_factory
from liverpc.wire.binary import UploadCancel, UploadChunk, decode_upload

sizes = st.lists(st.integers(0, 3_000), max_size=12)


class Server:
    """Checks every message, and gives credit when told to."""

    def __init__(self, core: ClientCore, frame_bytes: int, window: int) -> None:
        self.core = core
        self.frame_bytes = frame_bytes
        self.window = window
        self.received: dict[int, bytearray] = {}
        self.next: dict[int, int] = {}
        self.allowed: dict[int, int] = {}
        self.complete: set[int] = set()
        core.connection_opened()
        list(core.outgoing())
        core.receive(json.dumps({"type": "upload-limits", "frameBytes": frame_bytes, "windowBytes": window}))

    def read(self, most: int) -> None:
        for _, message in zip(range(most), self.core.outgoing(), strict=False):
            assert isinstance(message, bytes)
            assert len(message) <= self.frame_bytes  # acceptance 192
            chunk = decode_upload(message)
            assert isinstance(chunk, UploadChunk)
            assert chunk.stream not in self.complete
            assert chunk.seq == self.next.get(chunk.stream, 0)
            self.next[chunk.stream] = chunk.seq + 1
            got = self.received.setdefault(chunk.stream, bytearray())
            got += chunk.data
            assert len(got) <= max(self.window, self.allowed.get(chunk.stream, 0))
            if chunk.last:
                self.complete.add(chunk.stream)

    def give(self, number: int, more: int) -> None:
        got = len(self.received.get(number, b""))
        if got:
            self.allowed[number] = max(self.allowed.get(number, 0), got + more)
            credit = {"type": "upload-credit", "stream": f"{number:08x}", "bytes": self.allowed[number]}
            self.core.receive(json.dumps(credit))


@given(
    st.lists(sizes, min_size=1, max_size=3),
    st.integers(100, 3_000),
    st.integers(100, 3_000),
    st.integers(1, 5_000),
    st.text(max_size=40),
    st.integers(),
)
def test_any_pieces_at_any_pace(  # acceptance 183, 192
    pieces: list[list[int]], frame_bytes: int, configured: int, window: int, text: str, seed: int
) -> None:
    luck = random.Random(seed)
    core = ClientCore(ClientConfig(upload_frame_bytes=configured), monotonic=lambda: 0.0, rng=random.Random(1))
    frame_bytes = max(frame_bytes, 40 + len(json.dumps(text)))
    server = Server(core, frame_bytes, window)
    sent: dict[int, list[int]] = {}
    uploads = [
        core.uploads.start("m/up", [text], on_change=lambda each: sent.setdefault(each.stream, []).append(each.sent))
        for _ in pieces
    ]
    data = {
        upload.stream: [luck.randbytes(size) for size in each] for upload, each in zip(uploads, pieces, strict=True)
    }
    left = {stream: b"".join(each) for stream, each in data.items()}
    unfinished = set(uploads)
    while len(server.complete) < len(uploads):
        for upload in list(unfinished):
            offer = left[upload.stream][: min(core.uploads.room(upload), luck.randint(0, 2_000))]
            rest = left[upload.stream] = left[upload.stream][len(offer) :]
            core.uploads.put(upload, offer, last=not rest)
            if not rest:
                unfinished.discard(upload)
        server.read(luck.randint(0, 5))
        for upload in uploads:
            server.give(upload.stream, luck.randint(1, 3_000))
    for upload in uploads:
        assert server.received[upload.stream] == b"".join(data[upload.stream])
        assert upload.sent == len(server.received[upload.stream])
        assert sent[upload.stream] == sorted(sent[upload.stream])


steps = st.lists(
    st.tuples(
        st.sampled_from(["start", "put", "end", "cancel", "read", "answer", "lose", "open", "limits", "close", "time"]),
        st.integers(0, 5),
    ),
    max_size=40,
)


@given(steps)
def test_each_upload_ends_once_and_is_forgotten(happenings: list[tuple[str, int]]) -> None:
    now = 0.0
    core = ClientCore(ClientConfig(), monotonic=lambda: now, rng=random.Random(1))
    uploads: list[Upload] = []
    ended: list[Upload] = []
    for what, number in happenings:
        upload = uploads[number % len(uploads)] if uploads else None
        if what == "start":
            uploads.append(
                core.uploads.start("m/up", [], on_change=lambda each: ended.append(each) if each.done else None)
            )
        elif what == "open" and core.status in ("connecting", "reconnecting"):
            core.connection_opened()
        elif what == "limits":
            core.receive('{"type":"upload-limits","frameBytes":100,"windowBytes":100}')
        elif what == "lose":
            core.connection_lost(1006)
        elif what == "close":
            core.close()
        elif what == "read":
            for _ in zip(range(number), core.outgoing(), strict=False):
                pass
        elif what == "time":
            now += number
            core.tick()
        elif upload is None:
            continue
        elif what == "answer":
            core.receive(json.dumps({"topic": "__upload", "event": f"{upload.stream:08x}", "data": {"ok": True}}))
        elif what == "cancel":
            core.uploads.cancel(upload)
        elif not upload.complete:
            core.uploads.put(upload, bytes(min(number, core.uploads.room(upload))), last=what == "end")
    core.close()
    assert sorted(map(id, ended)) == sorted(map(id, uploads))
    assert len(core.uploads) == 0
    last_words = [each for each in core.outgoing() if isinstance(each, bytes)]
    assert all(isinstance(decode_upload(each), UploadCancel) for each in last_words)


def made(kind: str, pieces: list[bytes], path: Path) -> Any:
    data = b"".join(pieces)

    async def later() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
            await asyncio.sleep(1.0)

    def now() -> Iterator[bytearray]:
        for piece in pieces:
            yield bytearray(piece)

    if kind == "path":
        path.write_bytes(data)
        return path
    return {"bytes": data, "view": memoryview(data), "generator": now(), "later": later(), "list": pieces}[kind]


@settings(max_examples=40, deadline=None)
@given(sizes, st.sampled_from(["bytes", "view", "path", "generator", "later", "list"]), st.booleans())
def test_any_source_gives_its_bytes(
    tmp_path_factory: Any, pieces: list[int], kind: str, in_thread: bool
) -> None:  # acceptance 183
    luck = random.Random(sum(pieces))
    data = [luck.randbytes(size) for size in pieces]

    async def run() -> None:
        core = ClientCore(ClientConfig(), rng=random.Random(1))
        server = Server(core, 700, 900)
        progress: list[Progress] = []
        tasks = UploadTasks(core, lambda: None)
        source = made(kind, data, tmp_path_factory.getbasetemp() / "source")
        handle: UploadHandle[Any] = UploadHandle(tasks, "m/up", [], source, int, timeout=None, in_thread=in_thread)
        handle.on_progress(progress.append)
        while not server.complete:
            server.read(100)
            server.give(1, luck.randint(1, 2_000))
            await asyncio.sleep(0.1)
        core.receive(json.dumps({"topic": "__upload", "event": "00000001", "data": {"ok": True, "data": 7}}))
        assert await handle == 7
        await tasks.close()
        assert server.received[1] == b"".join(data)
        assert [each.sent for each in progress] == sorted({each.sent for each in progress})
        assert handle.progress.sent == sum(pieces)
        if kind in ("bytes", "view", "path"):
            assert (handle.progress.total, handle.progress.percent) == (sum(pieces), 100.0)

    with asyncio.Runner(loop_factory=virtual_loop_factory) as runner:
        runner.run(run())

"""The context with which an upload's handler is tested alone."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import LiveError, LiveServer, UploadContext, live, public
from liverpc.testing import create_upload_context


@live.upload(path="files/store")
async def store(ctx: UploadContext[Any], name: str) -> dict[str, Any]:
    parts = [chunk async for chunk in ctx.upload]
    ctx.publish("files", "created", {"id": name})
    return {"name": name, "parts": parts, "received": ctx.upload.received, "size": ctx.upload.size}


@pytest.mark.parametrize(
    ("chunks", "parts"), [([], []), ([b""], []), ([b"ab", b"", b"c"], [b"ab", b"c"]), ([b"x" * 300_000] * 2, None)]
)
async def test_a_handler_reads_the_chunks_to_the_end(chunks: list[bytes], parts: list[bytes] | None) -> None:
    ctx = create_upload_context(chunks, size=3, user="ann")
    answer = await store(ctx, "a.txt")
    assert answer["parts"] == (chunks if parts is None else parts)
    assert answer["received"] == sum(map(len, chunks))
    assert answer["size"] == 3
    assert ctx.events == [("files", "created", {"id": "a.txt"})]
    assert (ctx.user, ctx.path, ctx.upload.cancelled) == ("ann", "test/upload", False)


async def test_an_upload_ends_early_behind_its_chunks() -> None:
    seen = bytearray()

    @live.upload()
    async def keep(ctx: UploadContext[Any]) -> None:
        async for chunk in ctx.upload:
            seen.extend(chunk)

    ctx = create_upload_context([b"ab", b"c"], error=LiveError("CANCELLED", "given up"))
    with pytest.raises(LiveError, match="given up") as ended:
        await keep(ctx)
    assert ended.value.code == "CANCELLED"
    assert seen == b"abc"
    assert ctx.upload.cancelled


async def test_chunks_are_made_when_they_are_asked_for() -> None:
    made = 0

    def endless() -> Iterator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield b"x"

    @live.upload()
    async def head(ctx: UploadContext[Any]) -> bytes:
        return await anext(ctx.upload)

    assert await head(create_upload_context(endless())) == b"x"
    assert made == 1


async def test_the_declaration_is_the_one_a_server_takes() -> None:
    server = LiveServer({"files": SimpleNamespace(store=store, _guard=public())})
    assert [(entry.path, entry.kind) for entry in server.registry.entries] == [("files/store", "upload")]

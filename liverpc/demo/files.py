"""Uploads that are counted and forgotten, and a list of the last ones."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import replace

from liverpc import Context, UploadContext, live, public
from liverpc.demo.world import File, Visitor

_guard = public()

KEPT = 20
NEWS_SECONDS = 0.5  # between two news of one upload
Name = Annotated[str, Meta(min_length=1, max_length=200)]
_KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}


class Stored(Struct, frozen=True):
    """What became of an upload."""

    bytes: int
    sha256: str


class Picture(Struct, frozen=True):
    """What is known of a picture."""

    kind: str
    bytes: int
    sha256: str


@live.stream("files", merge="crud", key="key", max=KEPT)
async def recent(ctx: Context[Visitor]) -> list[File]:
    """The last uploads of everybody, and how far those are that still run."""
    return list(ctx.user.world.files.values())


@live.upload(max_size=200_000_000)
async def store(ctx: UploadContext[Visitor], name: Name) -> Stored:
    """Count the bytes of a file and their SHA-256, and keep neither."""
    digest = hashlib.sha256()
    file = File(str(ctx.user.world.next_id()), name, ctx.user.id, ctx.upload.size)
    _add(ctx, file)
    try:
        async for chunk in ctx.upload:
            digest.update(chunk)
            file = _change(ctx, file, bytes=file.bytes + len(chunk))
        file = _change(ctx, file, state="stored")
    finally:
        if file.state == "running":
            _change(ctx, file, state="ended early")
    return Stored(file.bytes, digest.hexdigest())


@live.binary(max_size=262_144)
async def avatar(ctx: Context[Visitor], data: bytes) -> Picture:
    """What kind of picture it is, by its first bytes; it is not kept."""
    kind = next((kind for start, kind in _KINDS.items() if data.startswith(start)), "unknown")
    return Picture(kind, len(data), hashlib.sha256(data).hexdigest())


def _add(ctx: Context[Visitor], file: File) -> None:
    files = ctx.user.world.files
    files[file.key] = file
    ctx.publish(recent.topic(), "created", file)
    if len(files) > KEPT:
        ctx.publish(recent.topic(), "deleted", files.pop(next(iter(files))))


def _change(ctx: Context[Visitor], file: File, **fields: Any) -> File:
    changed = replace(file, **fields)
    if file.key in ctx.user.world.files:  # else it is not among the last ones any more
        ctx.user.world.files[file.key] = changed
        ctx.throttle(recent.topic(), "updated", changed, NEWS_SECONDS)
    return changed

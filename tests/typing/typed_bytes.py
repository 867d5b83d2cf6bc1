"""What the type checkers must infer and refuse of functions that take bytes. Read by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, assert_type

import msgspec

from liverpc import Context, UploadContext, live, public, remote
from liverpc.client import Client, Progress, UploadHandle, sync
from liverpc.testing import TestEnv


class Stored(msgspec.Struct):
    url: str
    size: int


_guard = public()


@live.binary(max_size=1_000)
async def thumb(ctx: Context, data: bytes, name: str, width: int = 64) -> Stored:
    return Stored(name, len(data))


@live.upload(max_size=1_000)
async def put(ctx: UploadContext, name: str) -> Stored:
    assert_type([chunk async for chunk in ctx.upload], list[bytes])
    assert_type(ctx.upload.size, int | None)
    return Stored(name, ctx.upload.received)


@live
async def plain(ctx: Context) -> int:
    return 1


async def asyncio_client(client: Client, env: TestEnv) -> None:
    assert_type(await client.binary(thumb, b"x", "a"), Stored)
    assert_type(await client.binary(thumb, bytearray(1), "a", width=5), Stored)
    assert_type(await client.using(timeout=1.0).binary(thumb, memoryview(b"x"), name="a"), Stored)
    assert_type(await client.binary(remote("a/b", returns=int), b"x", 1, 2), int)
    await client.binary(thumb, b"x", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.binary(thumb, "text", "a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.binary(plain, b"x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]

    handle = client.upload(put, b"x", "a")
    assert_type(handle, UploadHandle[Stored])
    assert_type(await handle, Stored)
    assert_type(handle.progress, Progress)
    handle.on_complete(lambda stored: stored.url)
    handle.on_error(lambda error: error.code)
    client.upload(put, b"x", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.upload(put, "text", "a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.upload(thumb, b"x", "a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert_type(await env.connect().upload(put, b"x", "a"), Stored)


def sources(client: Client, later: AsyncIterator[bytes], now: Iterator[memoryview], anything: Any) -> None:
    with open("file", "rb") as file:
        client.upload(put, file, "a")
    client.upload(put, Path("file"), "a")
    client.upload(put, later, "a")
    client.upload(put, now, "a")
    client.upload(put, [b"x", bytearray(1)], "a")
    client.upload(put, anything, "a")
    with open("file") as text:
        client.upload(put, text, "a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def blocking_client(client: sync.Client) -> None:
    assert_type(client.binary(thumb, b"x", "a"), Stored)
    handle = client.upload(put, Path("file"), "a")
    assert_type(handle, sync.UploadHandle[Stored])
    assert_type(handle.result(timeout=1.0), Stored)
    client.upload(put, b"x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

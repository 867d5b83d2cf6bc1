"""Bytes over a transport, with what only a transport does: it stops reading, and it refuses large messages."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, Limits, LiveServer, UploadContext, live, public
from liverpc.client.socket import SocketClosed
from liverpc.testing import TestEnv
from liverpc.wire.binary import binary_call, upload_cancel, upload_chunk, upload_header
from tests.attack.attack_kit import what_is_left
from tests.streams.raw_client import Raw

ROOM = 1000


@live
def echo(ctx: Context[Any], value: Any = None) -> Any:
    return value


@live.upload()
async def keep(ctx: UploadContext[Any]) -> int:
    return sum([len(chunk) async for chunk in ctx.upload])


@live.upload()
async def deaf(ctx: UploadContext[Any]) -> None:
    await asyncio.sleep(1e6)


@live.binary()
async def take(ctx: Context[Any], data: bytes) -> int:
    return len(data)


def server(**limits: Any) -> LiveServer:
    module = SimpleNamespace(echo=echo, keep=keep, deaf=deaf, take=take, _guard=public())
    return LiveServer({"m": module}, limits=Limits(**limits))


async def begin(raw: Raw, stream: int, path: str, data: bytes = b"", *, last: bool = False) -> None:
    await raw.socket.send(upload_chunk(stream, 0, data, last=last, header=upload_header(path, [], None)))


async def test_uploads_calls_and_giving_up_over_one_connection() -> None:
    async with TestEnv(server()) as env:
        raw = await Raw.open(env)
        await begin(raw, 1, "m/keep", bytes(10))
        await begin(raw, 2, "m/keep", bytes(10))
        await raw.socket.send(binary_call("m/take", "b", [], bytes(7)))
        assert (await raw.recv())["data"]["data"] == 7
        await raw.socket.send(upload_cancel(2))
        assert (await raw.recv())["data"]["code"] == "CANCELLED"
        await raw.socket.send(upload_chunk(1, 1, bytes(10), last=True))
        assert (await raw.recv())["data"]["data"] == 20
        await raw.silent()
        await raw.socket.close()
        await asyncio.sleep(1)
        assert not what_is_left(env.server)


async def test_the_first_bytes_taken_open_the_window() -> None:
    async with TestEnv(server()) as env:
        raw = await Raw.open(env, caps=["upload"])
        assert await raw.recv() == {"type": "upload-limits", "frameBytes": 1 << 20, "windowBytes": 1 << 20}
        await begin(raw, 1, "m/keep", bytes(10))
        assert await raw.recv() == {"type": "upload-credit", "stream": "00000001", "bytes": (4 << 20) + 10}
        await raw.socket.send(upload_chunk(1, 1, bytes(10), last=True))
        assert (await raw.recv())["data"]["data"] == 20


@pytest.mark.parametrize(("size", "taken"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize("kind", ["binary", "upload"])
async def test_a_message_has_so_many_bytes(size: int, taken: bool, kind: str) -> None:  # at, below, above
    async with TestEnv(server(message_bytes=2000)) as env:
        raw = await Raw.open(env)
        if kind == "binary":
            head = len(binary_call("m/take", "b", [], b""))
            await raw.socket.send(binary_call("m/take", "b", [], bytes(2000 - head + size)))
        else:
            head = len(upload_chunk(1, 0, b"", last=True, header=upload_header("m/keep", [], None)))
            await begin(raw, 1, "m/keep", bytes(2000 - head + size), last=True)
        if taken:
            assert (await raw.recv())["data"]["data"] == 2000 - head + size
        else:
            with pytest.raises(SocketClosed) as closed:
                await raw.recv()
            assert closed.value.code == 1009
        await raw.socket.close()
        await asyncio.sleep(1)
        assert not what_is_left(env.server)


async def test_a_client_that_is_not_read_from_waits_and_its_frames_come_later() -> None:
    async with TestEnv(server(upload_buffer_bytes=ROOM)) as env:
        raw = await Raw.open(env)
        await begin(raw, 1, "m/deaf", bytes(ROOM + 1))
        loop = asyncio.get_running_loop()
        start = loop.time()
        sending = asyncio.create_task(raw.send(rpc="m/echo", id="behind", args=[1]))
        frames = [json.loads(await raw.socket.recv()) for _ in range(2)]
        assert loop.time() - start == pytest.approx(10)
        assert [frame["data"].get("code") for frame in frames] == ["FLOW_BACKPRESSURE", None]
        await sending
        await raw.socket.close()
        await asyncio.sleep(20)
        assert not what_is_left(env.server)


@pytest.mark.parametrize("end", ["cut", "closed"])
async def test_a_client_may_leave_while_it_is_not_read_from(end: str) -> None:
    async with TestEnv(server(upload_buffer_bytes=ROOM)) as env:
        raw = await Raw.open(env)
        await begin(raw, 1, "m/deaf", bytes(ROOM + 1))
        await asyncio.sleep(0.1)
        assert [upload.state for upload in env.server.uploads.running] == ["held"]
        if end == "cut":
            raw.socket.cut()
        else:
            await raw.socket.close()
        await asyncio.sleep(30)
        assert not what_is_left(env.server)

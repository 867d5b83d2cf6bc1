"""Uploads behind an ASGI server: while a function does not read, it is asked for nothing; the end waits for it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Limits, LiveServer, UploadContext, live, public
from liverpc.wire.binary import upload_chunk, upload_header
from tests.attack.attack_kit import what_is_left
from tests.transports.asgi_kit import Visit, opened, settle

ROOM = 1000
CHUNK = bytes(ROOM // 2 + 1)


class Reading:
    """A server with a function that takes a chunk when it is told to, and works for a second on what it has got."""

    def __init__(self) -> None:
        self.permits = asyncio.Semaphore(0)
        self.ended: list[str] = []

        @live.upload()
        async def read(ctx: UploadContext[Any]) -> int:
            total = 0
            try:
                while (chunk := await self._next(ctx)) is not None:
                    total += len(chunk)
                await asyncio.sleep(1)
                return total
            finally:
                self.ended.append("cancelled" if ctx.upload.cancelled else "done")

        module = SimpleNamespace(read=read, _guard=public())
        self.server = LiveServer({"m": module}, limits=Limits(upload_buffer_bytes=ROOM))
        self.asgi = self.server.asgi()

    async def _next(self, ctx: UploadContext[Any]) -> bytes | None:
        await self.permits.acquire()
        return await anext(ctx.upload, None)

    async def take(self, chunks: int) -> None:
        for _ in range(chunks):
            self.permits.release()
        await settle()

    async def connect(self) -> Visit:
        return await opened(self)


def chunks(number: int, *, last: bool = True) -> list[bytes]:
    header = upload_header("m/read", [], None)
    return [
        upload_chunk(1, seq, CHUNK, last=last and seq == number - 1, header=b"" if seq else header)
        for seq in range(number)
    ]


def answers(visit: Visit) -> list[Any]:
    frames = [json.loads(text) for text in visit.texts]
    return [frame["data"].get("data", frame["data"].get("code")) for frame in frames if "data" in frame]


async def test_the_asgi_server_is_asked_for_no_more_than_there_is_room_for() -> None:
    reading = Reading()
    async with reading.server.lifespan():
        visit = await reading.connect()
        before = visit.received
        visit.say(*chunks(6))
        await settle()
        assert visit.received - before == 2
        await reading.take(1)
        assert visit.received - before == 2, "more than half still waits"
        await reading.take(1)
        assert visit.received - before == 4
        await reading.take(5)
        await asyncio.sleep(2)
        assert answers(visit) == [6 * len(CHUNK)]
        visit.leave()
        await visit.over()
        assert not what_is_left(reading.server)


async def test_a_client_that_left_meanwhile_is_noticed_when_reading_goes_on() -> None:
    reading = Reading()
    async with reading.server.lifespan():
        visit = await reading.connect()
        visit.say(*chunks(2, last=False))
        visit.leave()
        await settle()
        assert [upload.state for upload in reading.server.uploads.running] == ["held"]
        await reading.take(2)
        await visit.over()
        await reading.take(1)
        await settle()
        assert reading.ended == ["cancelled"]
        assert not what_is_left(reading.server)


@pytest.mark.parametrize(("last", "outcome", "ended"), [(True, [len(CHUNK)], "done"), (False, [], "cancelled")])
async def test_the_end_of_the_server_waits_for_what_has_arrived(last: bool, outcome: list[int], ended: str) -> None:
    reading = Reading()
    await reading.take(2)
    loop = asyncio.get_running_loop()
    async with reading.server.lifespan():
        visit = await reading.connect()
        visit.say(*chunks(1, last=last))
        await settle()
        begin = loop.time()
        asyncio.get_running_loop().call_later(2, visit.leave, 1001)
    assert visit.closing == (1001, "server going away")
    assert answers(visit) == outcome
    assert reading.ended == [ended]
    assert loop.time() - begin < 4
    await visit.over()
    assert not what_is_left(reading.server)


async def test_the_end_of_the_server_ends_those_that_are_held() -> None:
    reading = Reading()
    async with reading.server.lifespan():
        visit = await reading.connect()
        visit.say(*chunks(2, last=False))
        await settle()
        assert [upload.state for upload in reading.server.uploads.running] == ["held"]
        visit.leave(1001)
        await asyncio.sleep(1)
    assert visit.closing == (1001, "server going away")
    assert reading.ended == ["cancelled"]
    await visit.over()
    assert not what_is_left(reading.server)

"""Uploads of which nothing comes any more, and handlers that keep room from others (docs/protocol.md section 8)."""

from __future__ import annotations

import asyncio
from typing import Any

from liverpc import UploadContext, live
from tests.uploads.upload_kit import serving, turns

IDLE = 30.0


async def test_an_upload_of_which_nothing_comes_ends_with_timeout() -> None:
    async with serving(limits={"upload_idle_seconds": IDLE}) as world:
        sender = world.connect()
        sender.begin(1, data=b"a")
        await asyncio.sleep(IDLE - 0.1)
        assert sender.outcomes == []
        await asyncio.sleep(0.2)
        assert sender.outcomes == [(1, "TIMEOUT")]
        await turns()
        world.is_idle()


async def test_each_chunk_begins_the_time_anew() -> None:
    async with serving(limits={"upload_idle_seconds": IDLE}) as world:
        sender = world.connect()
        sender.begin(1)
        for seq in range(1, 6):
            await asyncio.sleep(IDLE - 1)
            sender.more(1, seq, b"a", last=seq == 5)
        await turns()
        assert sender.outcomes == [(1, ["a"] * 5)]


async def test_a_client_that_waits_for_the_handler_is_not_idle() -> None:
    @live.upload()
    async def slow(ctx: UploadContext[Any]) -> int:
        total = 0
        async for chunk in ctx.upload:
            await asyncio.sleep(5 * IDLE)
            total += len(chunk)
        return total

    async with serving(limits={"upload_idle_seconds": IDLE, "upload_buffer_bytes": 10}, slow=slow) as world:
        sender = world.connect(paces=True)
        sender.begin(1, "m/slow", data=bytes(5))
        sender.more(1, 1, bytes(5))
        for _ in range(2):
            sent = len(sender.credit(1))
            while len(sender.credit(1)) == sent:
                await asyncio.sleep(1)
        await asyncio.sleep(IDLE - 2)
        sender.more(1, 2, bytes(5), last=True)
        await asyncio.sleep(12 * IDLE)
        assert sender.outcomes == [(1, 15)]
        world.is_idle()


async def test_a_whole_upload_waits_for_its_handler_as_long_as_nobody_is_turned_away() -> None:
    @live.upload()
    async def later(ctx: UploadContext[Any]) -> int:
        await asyncio.sleep(24 * 3600)
        return sum([len(chunk) async for chunk in ctx.upload])

    async with serving(limits={"uploads_buffer_bytes": 100}, later=later) as world:
        sender = world.connect()
        sender.begin(1, "m/later", data=bytes(100), last=True)
        await asyncio.sleep(25 * 3600)
        assert sender.outcomes == [(1, 100)]
        assert not sender.held
        world.is_idle()


async def test_the_connection_of_a_whole_upload_is_read_from_while_others_are_turned_away() -> None:
    @live.upload()
    async def never(ctx: UploadContext[Any]) -> None:
        await asyncio.sleep(24 * 3600)

    async with serving(limits={"uploads_buffer_bytes": 100, "upload_stall_seconds": 10.0}, never=never) as world:
        sender, other = world.connect(), world.connect()
        sender.begin(1, "m/never", data=bytes(100), last=True)
        other.begin(1, data=b"a", last=True)
        await asyncio.sleep(9)
        assert (other.outcomes, sender.outcomes, sender.held) == ([(1, "OVERLOADED")], [], False)
        await asyncio.sleep(2)
        assert sender.outcomes == [(1, "FLOW_BACKPRESSURE")]
        other.begin(2, data=b"a", last=True)
        await turns()
        assert other.outcomes[1:] == [(2, ["a"])]


async def test_nor_is_one_that_is_not_read_from() -> None:
    @live.upload()
    async def slow(ctx: UploadContext[Any]) -> int:
        total = 0
        async for chunk in ctx.upload:
            await asyncio.sleep(9)
            total += len(chunk)
        return total

    limits = {"upload_idle_seconds": IDLE, "upload_buffer_bytes": 10, "upload_stall_seconds": 10.0}
    async with serving(limits=limits, slow=slow) as world:
        sender = world.connect()
        sender.begin(1, "m/slow")
        sender.begin(2)
        for seq in range(1, 11):
            sender.more(1, seq, bytes(10))
        sender.more(2, 1, b"late", last=True)
        assert sender.held
        await asyncio.sleep(2 * IDLE)
        assert sender.outcomes == []
        await asyncio.sleep(IDLE)
        sender.more(1, 11, last=True)
        await asyncio.sleep(2 * IDLE)
        assert sorted(sender.outcomes) == [(1, 100), (2, ["late"])]

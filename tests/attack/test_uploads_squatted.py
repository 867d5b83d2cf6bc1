"""Uploads that cost a client nothing and would keep everybody else out."""

from __future__ import annotations

import asyncio
from typing import Any

from liverpc import UploadContext, live
from tests.uploads.upload_kit import serving, turns


async def test_a_client_that_sends_nothing_does_not_keep_a_place_for_ever() -> None:
    @live.upload(max_concurrent=2)
    async def scarce(ctx: UploadContext[Any]) -> int:
        return sum([len(chunk) async for chunk in ctx.upload])

    async with serving(scarce=scarce) as world:
        squatter, victim = world.connect(), world.connect()
        squatter.begin(1, "m/scarce")
        squatter.begin(2, "m/scarce")
        await asyncio.sleep(24 * 3600)
        victim.begin(1, "m/scarce", data=b"hi", last=True)
        await turns()
        assert victim.outcomes == [(1, 2)]


async def test_whole_uploads_that_wait_for_one_another_do_not_keep_everybody_out_for_ever() -> None:
    one_at_a_time = asyncio.Semaphore(1)

    @live.upload()
    async def queue(ctx: UploadContext[Any]) -> int:
        async with one_at_a_time:
            return sum([len(chunk) async for chunk in ctx.upload])

    async with serving(limits={"upload_buffer_bytes": 100, "uploads_buffer_bytes": 400}, queue=queue) as world:
        squatter, victim = world.connect(), world.connect()
        squatter.begin(1, "m/queue")
        for other in [world.connect() for _ in range(4)]:
            other.begin(1, "m/queue", data=bytes(100), last=True)
        await turns()
        for number in range(1, 4):
            await asyncio.sleep(3600)
            victim.begin(number, data=b"hi", last=True)
            await turns()
        assert victim.outcomes[-1] == (3, ["hi"])

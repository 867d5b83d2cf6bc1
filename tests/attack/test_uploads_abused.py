"""Uploads that try to cost more than is counted, to pass a guard, to keep others out, or to leave something behind."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import pytest

from liverpc import Context, UploadContext, live
from tests.uploads.upload_kit import serving, turns


@pytest.mark.parametrize("size", [1, 2, 63, 4096])
async def test_small_chunks_that_wait_cost_little_more_than_their_bytes(size: int) -> None:
    @live.upload()
    async def lazy(ctx: UploadContext[Any]) -> int:
        await asyncio.sleep(5)
        return sum([len(chunk) async for chunk in ctx.upload])

    async with serving(lazy=lazy) as world:
        sender = world.connect()
        sender.begin(1, "m/lazy")
        count = min(100_000, 3_000_000 // size)
        for seq in range(1, count + 1):
            sender.more(1, seq, bytes(size))
        chunks = world.server.uploads.running[0].buffer._chunks
        cost = sum(map(sys.getsizeof, chunks)) + 8 * len(chunks)
        sender.more(1, count + 1, last=True)
        assert cost < 1.1 * count * size + 65_536
        await asyncio.sleep(10)
        assert sender.outcomes == [(1, count * size)]


async def test_joined_chunks_are_the_same_bytes_in_the_same_order() -> None:
    @live.upload()
    async def lazy(ctx: UploadContext[Any]) -> str:
        await asyncio.sleep(5)
        return b"".join([chunk async for chunk in ctx.upload]).hex()

    parts = [bytes([number % 256]) * (number * 7 % 90 if number % 50 else 5_000) for number in range(1, 700)]
    async with serving(lazy=lazy) as world:
        sender = world.connect()
        sender.begin(1, "m/lazy")
        for seq, part in enumerate(parts, 1):
            sender.more(1, seq, part)
        sender.more(1, len(parts) + 1, last=True)
        await asyncio.sleep(10)
        assert sender.outcomes == [(1, b"".join(parts).hex())]


async def test_a_guard_that_is_run_again_cannot_be_skipped_by_not_waiting_for_it() -> None:
    allowed, got = True, 0

    async def session_is_alive(ctx: Context[Any]) -> bool:
        await asyncio.sleep(3 if got else 0)
        return allowed

    @live.upload(reauth_every=10)
    async def impatient(ctx: UploadContext[Any]) -> int:
        nonlocal got
        while True:
            try:
                async with asyncio.timeout(1):
                    got += len(await anext(ctx.upload))
            except TimeoutError:  # a quiet client, it thinks
                await asyncio.sleep(0.1)
            except StopAsyncIteration:
                return got

    async with serving(guard=session_is_alive, impatient=impatient) as world:
        sender = world.connect()
        sender.begin(1, "m/impatient", data=bytes(10))
        await asyncio.sleep(0.5)
        assert got == 10
        allowed = False
        sender.more(1, 1, bytes(10))
        await asyncio.sleep(30)
        assert got == 10, "nobody has asked the guard"
        sender.give_up(1)


async def test_what_fails_in_the_cleanup_of_a_cancelled_handler_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @live.upload()
    async def deaf(ctx: UploadContext[Any]) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise OSError("the disk is full")

    async with serving(deaf=deaf) as world:
        sender = world.connect()
        sender.begin(1, "m/deaf")
        await turns()
        sender.give_up(1)
        with caplog.at_level(logging.ERROR, "liverpc"):
            await asyncio.sleep(20)
        assert sender.outcomes == [(1, "CANCELLED")]
        assert "the disk is full" in caplog.text


async def test_uploads_that_wait_for_one_another_do_not_keep_everybody_out_for_ever() -> None:
    one_at_a_time = asyncio.Semaphore(1)

    @live.upload()
    async def queue(ctx: UploadContext[Any]) -> int:
        async with one_at_a_time:
            return sum([len(chunk) async for chunk in ctx.upload])

    async with serving(
        limits={"upload_buffer_bytes": 100, "uploads_buffer_bytes": 400, "upload_stall_seconds": 10}, queue=queue
    ) as world:
        attacker, victim = world.connect(), world.connect()
        attacker.begin(1, "m/queue")  # has the semaphore, and sends nothing
        others = [world.connect() for _ in range(4)]
        for other in others:
            other.begin(1, "m/queue", data=bytes(100))  # as much as is never too much for one
        await turns()
        victim.begin(1, data=b"hi", last=True)
        assert victim.outcomes == [(1, "OVERLOADED")]
        await asyncio.sleep(11)
        victim.begin(2, data=b"hi", last=True)
        await turns()
        assert victim.outcomes[1:] == [(2, ["hi"])]
        assert [other.outcomes for other in others] == [[(1, "FLOW_BACKPRESSURE")]] * 4

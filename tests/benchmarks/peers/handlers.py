"""The functions and streams that the liverpc servers of the benchmarks serve."""

from __future__ import annotations

import asyncio
from typing import Any

from liverpc import Context, UploadContext, live, public
from tests.benchmarks.peers.serving import ROWS, event

_guard = public()

events = live.channel("bench", merge="latest", item=object, max=1)


@live
def echo(ctx: Context[None], text: str) -> str:
    """What came in, from a plain function."""
    return text


@live
async def echo_async(ctx: Context[None], text: str) -> str:
    """What came in, from a coroutine."""
    return text


@live
async def burst(ctx: Context[None], turns: int, per_turn: int, size: int) -> None:
    """Publish ``per_turn`` events in each of ``turns`` turns of the loop."""
    for turn in range(turns):
        for number in range(per_turn):
            ctx.publish("bench", "created", event(turn * per_turn + number, size))
        await asyncio.sleep(0)


@live.upload()
async def sink(ctx: UploadContext[None]) -> int:
    """The number of bytes that came."""
    received = 0
    async for chunk in ctx.upload:
        received += len(chunk)
    return received


@live.stream("cards", merge="crud", key="id")
async def cards(ctx: Context[None]) -> list[dict[str, Any]]:
    """A thousand rows."""
    return ROWS

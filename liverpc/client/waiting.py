"""Waiting for changes on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

__all__ = ["Waiters", "next_change"]


class Waiters:
    """Who wait for the next change of one thing; see :func:`next_change`."""

    def __init__(self) -> None:
        self._futures: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._futures)

    def wake(self) -> None:
        """It has changed."""
        for future in self._futures:
            if not future.done():
                future.set_result(None)


async def next_change(things: Iterable[Waiters]) -> None:
    """Return after the next change of any of these."""
    things = tuple(things)
    future = asyncio.get_running_loop().create_future()
    for each in things:
        each._futures.add(future)
    try:
        await future
    finally:
        for each in things:
            each._futures.discard(future)

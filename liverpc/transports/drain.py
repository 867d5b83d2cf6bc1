"""How a server takes leave of its connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Protocol

from liverpc.config import Limits

__all__ = ["Guest", "see_off"]

_ROUND = 50  # connections closed at once, at least ...
_MAX_ROUNDS = 20  # ... and in no more rounds than this
_LOOK = 0.02  # seconds between two looks at connections whose calls still run


class Guest(Protocol):
    """A connection that is to end."""

    def wind_up(self) -> bool:
        """Begin nothing new. With nothing left to finish, :meth:`go_away` and return True; called again until then."""
        ...

    def go_away(self) -> None:
        """The server ends: say so to the peer, in the way the connection's phase allows. Harmless when closing."""
        ...


async def see_off(guests: Sequence[Guest], limits: Limits, empty: asyncio.Event) -> None:
    """Say goodbye to all, in rounds, and let each finish what it has begun.

    Args:
        guests: Everyone there is.
        limits: ``drain_seconds`` is the time for rounds and unfinished calls together, ``close_seconds`` the
            time for the peers' answers behind it.
        empty: Set when nobody is left, which ends the waiting.
    """
    loop = asyncio.get_running_loop()
    rounds = min(_MAX_ROUNDS, max(1, len(guests) // _ROUND))
    gap = limits.drain_seconds / 2 / rounds
    begin = due = loop.time()
    end = begin + limits.drain_seconds
    number = 0
    busy: list[Guest] = []
    while (number < rounds or busy) and (now := loop.time()) < end:
        if number < rounds and now >= due:
            busy += guests[number::rounds]
            number += 1
            due += gap * random.uniform(0.75, 1.25)  # several servers that end together shall not keep step
        busy = [guest for guest in busy if not guest.wind_up()]
        if number < rounds or busy:
            next_look = now + _LOOK if busy else due
            if await _emptied(empty, min(next_look, end) - now):
                return
    for guest in guests:
        guest.go_away()
    await _emptied(empty, limits.close_seconds)


async def _emptied(empty: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await empty.wait()
    except TimeoutError:
        pass
    return empty.is_set()

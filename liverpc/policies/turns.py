"""Turns: for each key one holder at a time, the others wait in the order of their coming."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

__all__ = ["Crowded", "Held", "Turns"]

OWNERS = 8  # at least so many are needed to fill a queue


class Crowded(Exception):
    """Too many wait for a key."""


class _Waiter:
    __slots__ = ("granted", "owner", "since", "who")

    def __init__(self, who: object, owner: str, since: float) -> None:
        self.who = who
        self.owner = owner
        self.since = since
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Held:
    """A key that somebody holds, since when, and who waits for it."""

    __slots__ = ("_owners", "holder", "since", "waiters")

    def __init__(self, holder: object, since: float) -> None:
        self.holder = holder
        self.since = since
        self.waiters: deque[_Waiter] = deque()
        self._owners: Counter[str] = Counter()  # of those

    def has_room(self, owner: str, most: int) -> bool:
        """Whether one more may wait, of all and of this owner."""
        return len(self.waiters) < most and self._owners[owner] < max(1, most // OWNERS)

    def enqueue(self, waiter: _Waiter) -> None:
        """It waits from now on, behind the others."""
        self.waiters.append(waiter)
        self._owners[waiter.owner] += 1

    def forget(self, waiter: _Waiter) -> None:
        """It waits no more. Harmless when it was forgotten already."""
        if waiter not in self.waiters:
            return
        self.waiters.remove(waiter)
        self._owners[waiter.owner] -= 1
        if not self._owners[waiter.owner]:
            del self._owners[waiter.owner]


class Turns:
    """Who holds which key. A key nobody holds takes no room. A holder that takes it again waits for itself.

    Args:
        now: Loop time.
        most: That wait for one key; an eighth of them may be of one owner, so that nobody can keep all others out.

    Attributes:
        held: By key.
    """

    def __init__(self, now: Callable[[], float], most: int) -> None:
        self._now = now
        self._most = most
        self.held: dict[str, Held] = {}

    def __len__(self) -> int:
        return len(self.held)

    async def take(self, key: str, who: object, max_wait: float | None, *, owner: str) -> None:
        """Become the holder of a key; :meth:`give` has to follow. Cancelled while it waits, it leaves no trace.

        Args:
            key: Any.
            who: For those who look.
            max_wait: Seconds to wait for those before; 0: not at all; None: as long as it takes.
            owner: On whose behalf.

        Raises:
            TimeoutError: It was not free in time.
            Crowded: Too many wait, of all or of this owner.
        """
        held = self.held.get(key)
        if held is None:
            self.held[key] = Held(who, self._now())
            return
        if max_wait == 0:
            raise TimeoutError
        if not held.has_room(owner, self._most):
            raise Crowded
        waiter = _Waiter(who, owner, self._now())
        held.enqueue(waiter)
        try:
            async with asyncio.timeout(max_wait):
                await waiter.granted
        except BaseException:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self.give(key)  # it was granted in the same turn
            else:
                held.forget(waiter)
            raise

    def give(self, key: str) -> None:
        """Hand a key on to the next one who waits."""
        held = self.held[key]
        while held.waiters:
            waiter = held.waiters[0]
            held.forget(waiter)
            if not waiter.granted.done():  # otherwise it was cancelled, and has not run since
                held.holder, held.since = waiter.who, self._now()
                waiter.granted.set_result(None)
                return
        del self.held[key]

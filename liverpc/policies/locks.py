"""Locks of one server: for each key one call at a time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import nlargest, nsmallest

import msgspec

from liverpc.errors import ErrorCode, LiveError
from liverpc.policies.turns import Crowded, Held, Turns
from liverpc.telemetry import Counters

__all__ = ["KEY_MAX", "LockRow", "Locks"]

KEY_MAX = 256


class LockRow(msgspec.Struct, frozen=True):
    """A key that somebody holds, for those who look at a server. Times are those of the event loop."""

    key: str
    holder: object
    since: float
    waiting: int  #: how many
    waiting_since: float  #: the first of them; 0.0: nobody waits


class Locks:
    """Who holds which lock, and who waits for it, in the order of their coming. Locks are not re-entrant.

    Args:
        now: Loop time.
        counters: Of the server.
        most: Waiters of one lock, as for :class:`Turns`.
    """

    def __init__(self, now: Callable[[], float], counters: Counters, most: int) -> None:
        self._turns = Turns(now, most)
        self._counters = counters
        self.release = self._turns.give  #: hands a lock on to the next one who waits
        self.on_wait: Callable[[str, object, object], object] | None = None  #: (key, holder, waiter), for warnings

    def __len__(self) -> int:
        return len(self._turns)

    async def acquire(self, key: str, who: object, max_wait: float | None, *, owner: str) -> None:
        """Become the holder of a lock; ``release(key)`` has to follow. Cancelled while it waits, it leaves no trace.

        Args:
            key: 1 to 256 characters.
            who: For :meth:`rows`.
            max_wait: Seconds to wait for those before; 0: not at all; None: as long as it takes.
            owner: On whose behalf.

        Raises:
            LiveError: ``LOCK_TIMEOUT``: it was not free in time. ``LOCK_QUEUE_FULL``: too many wait.
                ``INVALID_REQUEST``: the key is too long.
        """
        if len(key) > KEY_MAX:
            raise LiveError(ErrorCode.INVALID_REQUEST, f"the name of a lock has at most {KEY_MAX} characters")
        held = self._turns.held.get(key)
        if held is not None:
            self._counters.lock_waits += 1
            if self.on_wait is not None:
                self.on_wait(key, held.holder, who)
        try:
            await self._turns.take(key, who, max_wait, owner=owner)
        except Crowded:
            self._counters.lock_overflows += 1
            raise LiveError(ErrorCode.LOCK_QUEUE_FULL, f"too many calls wait for the lock {key!r} already") from None
        except TimeoutError:
            self._counters.lock_timeouts += 1
            text = f"the lock {key!r} was not free within {max_wait or 0:g} s"
            raise LiveError(ErrorCode.LOCK_TIMEOUT, text) from None

    def rows(self, most: int = 100) -> list[LockRow]:
        """Locks that are held: those most waited for first, then those held longest."""
        held = self._turns.held.items()
        waited = (item for item in held if item[1].waiters)
        found = nlargest(most, waited, lambda item: (len(item[1].waiters), -item[1].since))
        others = (item for item in held if not item[1].waiters)
        found += nsmallest(most - len(found), others, lambda item: item[1].since)
        return [_row(*item) for item in found]

    def awaited_by(self, future: object) -> tuple[LockRow, int] | None:
        """The lock that :meth:`acquire` waits for with this future, and how many come before; None: there is none."""
        for key, held in self._turns.held.items():
            for place, waiter in enumerate(held.waiters):
                if waiter.granted is future:
                    return _row(key, held), place
        return None


def _row(key: str, held: Held) -> LockRow:
    waiters = held.waiters
    return LockRow(key, held.holder, held.since, len(waiters), waiters[0].since if waiters else 0.0)

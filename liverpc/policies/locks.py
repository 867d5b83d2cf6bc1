"""Locks of one server: for each key one holder at a time, the others wait in the order of their coming."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator

import msgspec

from liverpc.errors import ErrorCode, LiveError
from liverpc.telemetry import Counters

__all__ = ["KEY_MAX", "LockRow", "Locks"]

KEY_MAX = 256


class LockRow(msgspec.Struct, frozen=True):
    """A key that somebody holds, for those who look at a server. Times are those of the event loop."""

    key: str
    holder: object
    since: float
    waiters: list[tuple[object, float]]  #: who, and since when; in their order


class _Waiter:
    __slots__ = ("granted", "owner", "since", "who")

    def __init__(self, who: object, owner: str, since: float) -> None:
        self.who = who
        self.owner = owner
        self.since = since
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Held:
    __slots__ = ("holder", "owners", "since", "waiters")

    def __init__(self, holder: object, since: float) -> None:
        self.holder = holder
        self.since = since
        self.waiters: deque[_Waiter] = deque()
        self.owners: Counter[str] = Counter()  # of those

    def forget(self, waiter: _Waiter) -> None:
        """It waits no more. Harmless when it was forgotten already."""
        if waiter not in self.waiters:
            return
        self.waiters.remove(waiter)
        self.owners[waiter.owner] -= 1
        if not self.owners[waiter.owner]:
            del self.owners[waiter.owner]


class Locks:
    """Who holds which key. A key nobody holds takes no room. Locks are not re-entrant.

    Args:
        now: Loop time.
        counters: Of the server.
        most: Waiters of one key; an eighth of them may be of one owner, so that nobody can keep all others out.
    """

    def __init__(self, now: Callable[[], float], counters: Counters, most: int) -> None:
        self._now = now
        self._counters = counters
        self._most = most
        self._held: dict[str, _Held] = {}
        self.on_wait: Callable[[str, object, object], object] | None = None  #: (key, holder, waiter), for warnings

    def __len__(self) -> int:
        return len(self._held)

    async def acquire(self, key: str, who: object, max_wait: float | None, *, owner: str) -> None:
        """Become the holder of a key; :meth:`release` has to follow.

        Cancelled while it waits, it leaves no trace.

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
        held = self._held.get(key)
        if held is None:
            self._held[key] = _Held(who, self._now())
            return
        if max_wait == 0:
            raise self._timeout(key, max_wait)
        if len(held.waiters) >= self._most or held.owners[owner] >= max(1, self._most // 8):
            self._counters.lock_overflows += 1
            raise LiveError(ErrorCode.LOCK_QUEUE_FULL, f"too many calls wait for the lock {key!r} already")
        self._counters.lock_waits += 1
        if self.on_wait is not None:
            self.on_wait(key, held.holder, who)
        waiter = _Waiter(who, owner, self._now())
        held.waiters.append(waiter)
        held.owners[owner] += 1
        patience = asyncio.timeout(max_wait)
        try:
            async with patience:
                await waiter.granted
        except BaseException as error:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self.release(key)  # it was granted in the same turn
            else:
                held.forget(waiter)
            if isinstance(error, TimeoutError) and patience.expired():
                assert max_wait is not None
                raise self._timeout(key, max_wait) from None
            raise

    def release(self, key: str) -> None:
        """Hand a key on to the next one who waits."""
        held = self._held[key]
        while held.waiters:
            waiter = held.waiters[0]
            held.forget(waiter)
            if not waiter.granted.done():  # otherwise it was cancelled, and has not run since
                held.holder, held.since = waiter.who, self._now()
                waiter.granted.set_result(None)
                return
        del self._held[key]

    def _timeout(self, key: str, max_wait: float) -> LiveError:
        self._counters.lock_timeouts += 1
        return LiveError(ErrorCode.LOCK_TIMEOUT, f"the lock {key!r} was not free within {max_wait:g} s")

    def rows(self) -> Iterator[LockRow]:
        """All keys that are held."""
        for key, held in self._held.items():
            waiters = [(each.who, each.since) for each in held.waiters if not each.granted.done()]
            yield LockRow(key, held.holder, held.since, waiters)

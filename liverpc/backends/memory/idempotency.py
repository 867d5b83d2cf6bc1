"""Requests that must not run twice, in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple

from liverpc.backends.memory.expiring import Expiring
from liverpc.backends.ports import Claim
from liverpc.config import Limits

__all__ = ["MemoryIdempotency"]

SWEEP_ABOVE = 1000
OWNERS_SHARE = 64  # one owner's results have so small a part of the bytes
GUESTS_SHARE = 8  # all guests' results together


class _Running(NamedTuple):
    token: str
    fingerprint: str


class _Done(NamedTuple):
    deadline: float
    fingerprint: str
    result: bytes
    owner: str


class MemoryIdempotency:
    """An :class:`~liverpc.backends.ports.IdempotencyStore` whose callers cannot make it forget others' results.

    The results of guests and those of all others are kept apart: ``Limits.idempotency_guests`` in an eighth of
    ``Limits.idempotency_bytes``, and ``Limits.idempotency_results`` in the rest. Of either kind:

    * One owner has at most ``Limits.idempotency_per_caller`` results, in a 64th of ``Limits.idempotency_bytes`` or
      in a single larger one. A result beyond that takes the place of the owner's own oldest.
    * When there are too many results nevertheless, or too many bytes, a tenth of the room is made free: results
      whose time is over go, then the oldest of all. A result that would not fit even alone is not kept.
    * So as long as the owners are few enough to have their full number and share each, what happened to the
      requests of one does not depend on the others. Results of nobody have no such guarantee, and break it.

    What is forgotten before its time is counted in ``evicted``; such a request would run again. Claims in flight are
    never forgotten: there are as many as calls running.
    """

    def __init__(self, new_id: Callable[[], str], monotonic: Callable[[], float], limits: Limits) -> None:
        self._new_id = new_id
        self._monotonic = monotonic
        self._running: Expiring[_Running] = Expiring(monotonic, SWEEP_ABOVE)
        share = limits.idempotency_bytes // OWNERS_SHARE
        guests = limits.idempotency_bytes // GUESTS_SHARE
        per_owner = limits.idempotency_per_caller
        self._known = _Results(limits.idempotency_results, limits.idempotency_bytes - guests, per_owner, share)
        self._guests = _Results(limits.idempotency_guests, guests, per_owner, share)

    @property
    def evicted(self) -> int:
        return self._known.evicted + self._guests.evicted

    async def begin(self, key: str, *, fingerprint: str = "", hold: float = 60.0) -> Claim:
        running = self._running.get(key)
        if running is not None:
            return Claim("in_flight" if running.fingerprint == fingerprint else "mismatch")
        now = self._monotonic()
        done = self._known.find(key, now) or self._guests.find(key, now)
        if done is not None:
            return Claim("done", result=done.result) if done.fingerprint == fingerprint else Claim("mismatch")
        token = self._new_id()
        self._running.put(key, _Running(token, fingerprint), now + hold)
        return Claim("fresh", token)

    async def extend(self, key: str, token: str, hold: float) -> bool:
        running = self._owned(key, token)
        if running is None:
            return False
        self._running.put(key, running, self._monotonic() + hold)
        return True

    async def commit(
        self, key: str, token: str, result: bytes, *, ttl: float = 172_800.0, owner: str = "", guest: bool = False
    ) -> bool:
        running = self._owned(key, token)
        if running is None:
            return False
        self._running.pop(key)
        if ttl > 0:
            now = self._monotonic()
            results = self._guests if guest else self._known
            results.keep(key, _Done(now + ttl, running.fingerprint, result, owner), now)
        return True

    async def abort(self, key: str, token: str) -> bool:
        if self._owned(key, token) is None:
            return False
        self._running.pop(key)
        return True

    def _owned(self, key: str, token: str) -> _Running | None:
        running = self._running.get(key)
        return running if running is not None and running.token == token else None


class _Owned:
    """The results of one owner."""

    __slots__ = ("keys", "size")

    def __init__(self) -> None:
        self.keys: dict[str, None] = {}  # oldest first
        self.size = 0


class _Results:
    """Results within bounds: in all, and of one owner."""

    def __init__(self, cap: int, max_size: int, owner_cap: int, owner_max_size: int) -> None:
        self.evicted = 0
        self._cap = cap
        self._max_size = max_size
        self._owner_cap = owner_cap
        self._owner_max_size = owner_max_size
        self._done: OrderedDict[str, _Done] = OrderedDict()  # oldest first
        self._size = 0
        self._owners: dict[str, _Owned] = {}  # those with results

    def find(self, key: str, now: float) -> _Done | None:
        """The result of a key, unless its time is over; then it goes."""
        done = self._done.get(key)
        if done is not None and done.deadline <= now:
            self._drop(key, now)
            return None
        return done

    def keep(self, key: str, done: _Done, now: float) -> None:
        """Add the result of a key that has none."""
        self._sweep(islice(self._done, 2), now)  # more than come in, so that it shrinks again after a rush
        size = len(done.result)
        if size > self._max_size:
            self.evicted += 1
            return
        if done.owner:
            self._make_room_of_owner(done.owner, size, now)
        if len(self._done) >= self._cap or self._size + size > self._max_size:
            self._make_room(size, now)
        self._done[key] = done
        self._size += size
        if done.owner:
            owned = self._owners.setdefault(done.owner, _Owned())
            owned.keys[key] = None
            owned.size += size

    def _make_room_of_owner(self, owner: str, size: int, now: float) -> None:
        owned = self._owners.get(owner)
        if owned is None or not self._is_too_much_of(owned, size):
            return
        self._sweep(owned.keys, now)
        while owned.keys and self._is_too_much_of(owned, size):
            self._drop(next(iter(owned.keys)), now)

    def _is_too_much_of(self, owned: _Owned, size: int) -> bool:
        return len(owned.keys) >= self._owner_cap or owned.size + size > self._owner_max_size

    def _make_room(self, size: int, now: float) -> None:
        self._sweep(self._done, now)  # takes long, but not soon again: a tenth of all results or bytes comes first
        cap = self._cap - (self._cap // 10 or 1)
        max_size = self._max_size - max(size, self._max_size // 10)
        while len(self._done) > cap or self._size > max_size:
            self._drop(next(iter(self._done)), now)

    def _sweep(self, keys: Iterable[str], now: float) -> None:
        for key in [key for key in keys if self._done[key].deadline <= now]:
            self._drop(key, now)

    def _drop(self, key: str, now: float) -> None:
        done = self._done.pop(key)
        self._size -= len(done.result)
        if done.deadline > now:
            self.evicted += 1
        if done.owner:
            owned = self._owners[done.owner]
            del owned.keys[key]
            owned.size -= len(done.result)
            if not owned.keys:
                del self._owners[done.owner]

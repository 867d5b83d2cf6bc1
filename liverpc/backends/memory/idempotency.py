"""Requests that must not run twice, in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from liverpc.backends.memory.expiring import Expiring
from liverpc.backends.ports import Claim

__all__ = ["MemoryIdempotency"]

MAX_RESULTS = 10_000
SWEEP_ABOVE = 1000


class _Running(NamedTuple):
    token: str
    fingerprint: str


class _Done(NamedTuple):
    deadline: float
    fingerprint: str
    result: bytes


class MemoryIdempotency:
    """An :class:`~liverpc.backends.ports.IdempotencyStore` that keeps 10,000 results.

    One more evicts the oldest tenth of them, counted in ``evicted``; those requests would run again.
    Claims in flight are never evicted: there are as many as calls running.
    """

    def __init__(self, new_id: Callable[[], str], monotonic: Callable[[], float]) -> None:
        self._new_id = new_id
        self._monotonic = monotonic
        self._running: Expiring[_Running] = Expiring(monotonic, SWEEP_ABOVE)
        self._done: OrderedDict[str, _Done] = OrderedDict()  # in the order of finishing
        self.evicted = 0

    async def begin(self, key: str, *, fingerprint: str = "", hold: float = 60.0) -> Claim:
        running = self._running.get(key)
        if running is not None:
            return Claim("in_flight" if running.fingerprint == fingerprint else "mismatch")
        done = self._done.get(key)
        if done is not None:
            if done.deadline > self._monotonic():
                return Claim("done", result=done.result) if done.fingerprint == fingerprint else Claim("mismatch")
            del self._done[key]
        token = self._new_id()
        self._running.put(key, _Running(token, fingerprint), self._monotonic() + hold)
        return Claim("fresh", token)

    async def extend(self, key: str, token: str, hold: float) -> bool:
        running = self._owned(key, token)
        if running is None:
            return False
        self._running.put(key, running, self._monotonic() + hold)
        return True

    async def commit(self, key: str, token: str, result: bytes, *, ttl: float = 172_800.0) -> bool:
        running = self._owned(key, token)
        if running is None:
            return False
        self._running.pop(key)
        if ttl > 0:
            if len(self._done) >= MAX_RESULTS:
                for _ in range(MAX_RESULTS // 10):
                    self._done.popitem(last=False)
                self.evicted += MAX_RESULTS // 10
            self._done[key] = _Done(self._monotonic() + ttl, running.fingerprint, result)
        return True

    async def abort(self, key: str, token: str) -> bool:
        if self._owned(key, token) is None:
            return False
        self._running.pop(key)
        return True

    def _owned(self, key: str, token: str) -> _Running | None:
        running = self._running.get(key)
        return running if running is not None and running.token == token else None

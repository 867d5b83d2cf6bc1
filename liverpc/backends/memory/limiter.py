"""How often something may happen, in memory."""

from __future__ import annotations

from collections.abc import Callable

from liverpc.backends.memory.expiring import SWEEP_SECONDS, Expiring
from liverpc.backends.ports import Decision

__all__ = ["MemoryLimiter"]

MAX_KEYS = 5_000


class MemoryLimiter:
    """A :class:`~liverpc.backends.ports.RateLimiter` by the generic cell rate algorithm: a float per key.

    It remembers 5000 keys, each until its hits no longer count. While that many do, a key it does not know
    is refused, counted in ``refused``.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        # Key to the time at which all its hits will be paid off, at one per ``per / limit`` seconds.
        self._paid_at: Expiring[float] = Expiring(monotonic, MAX_KEYS)
        self.refused = 0

    async def hit(self, key: str, *, limit: int, per: float, cost: int = 1) -> Decision:
        now = self._monotonic()
        known = self._paid_at.get(key)
        if known is None and self._paid_at.is_full():
            self.refused += 1
            return Decision(False, 0, SWEEP_SECONDS)
        step = per / limit
        slack = step / 1000  # sums of floats: the last hit within the limit must not fail by rounding
        debt = 0.0 if known is None else known - now
        after = debt + step * cost
        if after > per + slack:
            return Decision(False, max(0, int((per - debt + slack) / step)), after - per)
        self._paid_at.put(key, now + after, now + after)
        return Decision(True, max(0, int((per - after + slack) / step)), 0.0)

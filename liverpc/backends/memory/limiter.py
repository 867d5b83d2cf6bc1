"""How often something may happen, in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice

from liverpc.backends.ports import Decision
from liverpc.config import Limits

__all__ = ["MemoryLimiter"]


class MemoryLimiter:
    """A :class:`~liverpc.backends.ports.LocalLimiter` by the generic cell rate algorithm: a float per key.

    It remembers ``Limits.rate_limit_keys`` keys, and ``Limits.rate_limit_guests`` that only guests have hit. One
    more makes it forget the one of the same kind that was hit, allowed or not, longest ago. So nobody is refused for
    want of room, the hits of a key count until as many other keys of its kind were hit after it, and guests alone
    make nobody else's hits forgotten. Keys forgotten while their hits counted are counted in ``evicted``.
    """

    def __init__(self, monotonic: Callable[[], float], limits: Limits) -> None:
        self._monotonic = monotonic
        self._known = _Table(limits.rate_limit_keys)
        self._guests = _Table(limits.rate_limit_guests)

    @property
    def evicted(self) -> int:
        return self._known.evicted + self._guests.evicted

    async def hit(self, key: str, *, limit: int, per: float, cost: int = 1, guest: bool = False) -> Decision:
        return self.hit_now(key, limit=limit, per=per, cost=cost, guest=guest)

    def hit_now(self, key: str, *, limit: int, per: float, cost: int = 1, guest: bool = False) -> Decision:
        now = self._monotonic()
        table = self._known
        if key in self._guests:
            if guest:
                table = self._guests
            else:
                table.put(key, self._guests.pop(key), now)
        elif guest and key not in table:
            table = self._guests
        step = per / limit
        slack = step / 1000  # sums of floats: the last hit within the limit must not fail by rounding
        paid_at = table.get(key, now)
        debt = paid_at - now if paid_at > now else 0.0
        after = debt + step * cost
        if after > per + slack:
            if key in table:
                table.move_to_end(key)
            return Decision(False, max(0, int((per - debt + slack) / step)), after - per)
        table.put(key, now + after, now)
        return Decision(True, int((per - after + slack) / step), 0.0)


class _Table(OrderedDict[str, float]):
    """When all hits of a key will be paid off, at one per ``per / limit`` seconds. The key hit longest ago is first."""

    def __init__(self, cap: int) -> None:
        super().__init__()
        self.evicted = 0
        self._cap = cap

    def put(self, key: str, paid_at: float, now: float) -> None:
        """Note a hit. For a new key two that owe nothing may go, so that the table shrinks again after a rush."""
        if key in self:
            self.move_to_end(key)
        else:
            for oldest in list(islice(self, 2)):
                if self[oldest] > now:
                    if len(self) < self._cap:
                        break
                    self.evicted += 1
                del self[oldest]
        self[key] = paid_at

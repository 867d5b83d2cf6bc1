"""Names that one holder at a time has, in memory."""

from __future__ import annotations

from collections.abc import Callable

from liverpc.backends.memory.expiring import Expiring
from liverpc.backends.ports import Grant

__all__ = ["MemoryLeases"]

SWEEP_ABOVE = 1000


class MemoryLeases:
    """A :class:`~liverpc.backends.ports.LeaseStore`; leases that ended are forgotten."""

    def __init__(self, new_id: Callable[[], str], monotonic: Callable[[], float]) -> None:
        self._new_id = new_id
        self._monotonic = monotonic
        self._held: Expiring[Grant] = Expiring(monotonic, SWEEP_ABOVE)
        self._fence = 0  # one for all names: rising for each of them, and no name has to be remembered

    async def acquire(self, name: str, ttl: float) -> Grant | None:
        if self._held.get(name) is not None:
            return None
        self._fence += 1
        return self._put(Grant(name, self._new_id(), self._fence, self._monotonic() + ttl))

    async def renew(self, grant: Grant, ttl: float) -> Grant | None:
        if not self._is_held(grant):
            return None
        return self._put(Grant(grant.name, grant.token, grant.fence, self._monotonic() + ttl))

    async def release(self, grant: Grant) -> bool:
        if not self._is_held(grant):
            return False
        self._held.pop(grant.name)
        return True

    def _is_held(self, grant: Grant) -> bool:
        current = self._held.get(grant.name)
        return current is not None and current.token == grant.token

    def _put(self, grant: Grant) -> Grant:
        self._held.put(grant.name, grant, grant.deadline)
        return grant

"""Which connections users have, in memory."""

from __future__ import annotations

from liverpc.backends.memory.members import Nodes
from liverpc.backends.ports import Where
from liverpc.clock import Clock

__all__ = ["MemoryRegistry"]


class MemoryRegistry:
    """A :class:`~liverpc.backends.ports.Registry`; a user without connections takes no memory."""

    def __init__(self, node: str, nodes: Nodes, users: dict[str, dict[tuple[str, str], Where]], clock: Clock) -> None:
        self._node = node
        self._nodes = nodes
        self._users = users
        self._clock = clock

    async def add(self, user: str, conn: str) -> None:
        rows = self._users.setdefault(user, {})
        row = (self._node, conn)
        rows.pop(row, None)  # the order of the dict is the order of age
        rows[row] = Where(self._node, conn, int(self._clock.wall() * 1000))

    async def remove(self, user: str, conn: str) -> None:
        self._remove(user, (self._node, conn))

    async def locate(self, user: str) -> list[Where]:
        rows = self._users.get(user, {})
        return [where for where in reversed(rows.values()) if self._nodes.is_alive(where.node)]

    async def evict(self, node: str) -> None:
        owned = [(user, row) for user, rows in self._users.items() for row in rows if row[0] == node]
        for user, row in owned:
            self._remove(user, row)

    def _remove(self, user: str, row: tuple[str, str]) -> None:
        rows = self._users.get(user)
        if rows is not None and rows.pop(row, None) is not None and not rows:
            del self._users[user]

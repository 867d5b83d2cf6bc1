"""Who is in which topic, in memory."""

from __future__ import annotations

from liverpc.backends.ports import PresenceChange, Roster

__all__ = ["MemoryPresence", "Rosters"]


class _Topic:
    __slots__ = ("users", "version")

    def __init__(self, version: int) -> None:
        self.version = version
        self.users: dict[str, dict[str, bytes]] = {}  # user, node, meta; the last node is the newest


class Rosters:
    """The rosters of a world. A topic without users is dropped.

    Attributes:
        floor: The highest version of a dropped roster. New ones start there, so that no topic's version
            ever falls although nothing is kept about it.
    """

    def __init__(self) -> None:
        self.topics: dict[str, _Topic] = {}
        self.floor = 0


class MemoryPresence:
    """A :class:`~liverpc.backends.ports.PresenceStore` over the rosters of one world."""

    def __init__(self, node: str, rosters: Rosters) -> None:
        self._node = node
        self._rosters = rosters

    async def enter(self, topic: str, user: str, meta: bytes) -> PresenceChange | None:
        return self._put(topic, user, self._node, meta)

    async def leave(self, topic: str, user: str) -> PresenceChange | None:
        return self._put(topic, user, self._node, None)

    async def roster(self, topic: str) -> Roster:
        here = self._rosters.topics.get(topic)
        if here is None:
            return Roster(self._rosters.floor, {})
        return Roster(here.version, {user: next(reversed(rows.values())) for user, rows in here.users.items()})

    async def evict(self, node: str) -> list[PresenceChange]:
        owned = [
            (topic, user)
            for topic, here in self._rosters.topics.items()
            for user, nodes in here.users.items()
            if node in nodes
        ]
        changes = (self._put(topic, user, node, None) for topic, user in owned)
        return [change for change in changes if change is not None]

    def _put(self, topic: str, user: str, node: str, meta: bytes | None) -> PresenceChange | None:
        """Set or remove one row; the change is what the user shows afterwards, if that differs."""
        here = self._rosters.topics.get(topic)
        if here is None:
            if meta is None:
                return None
            here = self._rosters.topics[topic] = _Topic(self._rosters.floor)
        nodes = here.users.setdefault(user, {})
        before = _shown(nodes)
        if nodes.get(node) != meta:
            nodes.pop(node, None)
            if meta is not None:
                nodes[node] = meta
        after = _shown(nodes)
        if not nodes:
            del here.users[user]
        if before == after:
            return None
        here.version += 1
        if not here.users:
            self._rosters.floor = max(self._rosters.floor, here.version)
            del self._rosters.topics[topic]
        if after is None:
            return PresenceChange(topic, "leave", user, b"null", here.version)
        return PresenceChange(topic, "join" if before is None else "update", user, after, here.version)


def _shown(nodes: dict[str, bytes]) -> bytes | None:
    return next(reversed(nodes.values()), None)

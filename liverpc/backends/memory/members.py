"""Which nodes of one process count as alive."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["MemoryMembers", "Nodes"]

REAPER_SECONDS = 30.0  # then a reaped node that nobody forgot goes to another reaper


class Nodes:
    """The nodes of a world and when they end.

    Attributes:
        alive: Node to the time at which its life ends unless it beats.
        reaped: Dead node to the time from which it may be handed out (again).
    """

    def __init__(self, monotonic: Callable[[], float], ttl: float) -> None:
        self.monotonic = monotonic
        self.ttl = ttl
        self.alive: dict[str, float] = {}
        self.reaped: dict[str, float] = {}

    def is_alive(self, node: str) -> bool:
        return node in self.alive and self.alive[node] > self.monotonic()


class MemoryMembers:
    """A :class:`~liverpc.backends.ports.Membership` over the nodes of one world."""

    def __init__(self, node: str, nodes: Nodes) -> None:
        self._node = node
        self._nodes = nodes

    async def beat(self) -> bool:
        known = self._node in self._nodes.alive
        self._nodes.reaped.pop(self._node, None)
        self._nodes.alive[self._node] = self._nodes.monotonic() + self._nodes.ttl
        return known

    async def reap(self) -> list[str]:
        now = self._nodes.monotonic()
        both = self._nodes.alive | self._nodes.reaped  # no node is in both
        dead = [node for node, ends in both.items() if ends <= now and node != self._node]
        for node in dead:
            self._nodes.alive.pop(node, None)
            self._nodes.reaped[node] = now + REAPER_SECONDS
        return dead

    async def forget(self, node: str) -> None:
        self._nodes.reaped.pop(node, None)

    async def leave(self) -> None:
        if self._nodes.alive.pop(self._node, None) is not None:
            self._nodes.reaped[self._node] = self._nodes.monotonic()

"""What in-process nodes share, and the function that makes one."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from liverpc.backends.memory.bus import MemoryBus
from liverpc.backends.memory.idempotency import MemoryIdempotency
from liverpc.backends.memory.leases import MemoryLeases
from liverpc.backends.memory.limiter import MemoryLimiter
from liverpc.backends.memory.log import MemoryLog
from liverpc.backends.memory.members import MemoryMembers, Nodes
from liverpc.backends.memory.presence import MemoryPresence, Rosters
from liverpc.backends.memory.registry import MemoryRegistry
from liverpc.backends.ports import Cluster, Frame, Where
from liverpc.clock import Clock
from liverpc.config import Limits
from liverpc.errors import ConfigError

__all__ = ["World", "memory_cluster"]


def _loop_time() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()


class World:
    """The state that the nodes of one process share. It belongs to one event loop.

    Args:
        clock: Wall time and ids.
        monotonic: Seconds for everything that expires. Default: the running loop's time, outside of a loop
            ``time.monotonic``. Locks need the default: their blocks end by the loop's time.
        limits: How much the log keeps, how many callers the limiter, and how many results of requests.
        node_ttl: Seconds a node lives after each beat. Default: as long as its process.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        monotonic: Callable[[], float] | None = None,
        limits: Limits | None = None,
        node_ttl: float = math.inf,
    ) -> None:
        self.clock = clock or Clock()
        monotonic = monotonic or _loop_time
        limits = limits or Limits()
        self.buses: dict[str, MemoryBus] = {}
        self.log = MemoryLog(
            self.clock.new_id,
            self._announce,
            events=limits.replay_events,
            topics=limits.replay_topics,
            size=limits.replay_bytes,
            start=self.clock.new_numbers(),
        )
        self.nodes = Nodes(monotonic, node_ttl)
        self.rosters = Rosters()
        self.connections: dict[str, dict[tuple[str, str], Where]] = {}
        self.leases = MemoryLeases(self.clock.new_id, monotonic)
        self.idempotency = MemoryIdempotency(self.clock.new_id, monotonic, limits)
        self.limiter = MemoryLimiter(monotonic, limits)

    def _announce(self, frame: Frame) -> None:
        for bus in list(self.buses.values()):
            bus.announce(frame)


def memory_cluster(
    node: str | None = None,
    world: World | None = None,
    *,
    clock: Clock | None = None,
    monotonic: Callable[[], float] | None = None,
    limits: Limits | None = None,
) -> Cluster:
    """The ports of one in-process node.

    Args:
        node: Its id, new for each start. Default: a random one.
        world: What it shares with other nodes of this process. Default: a new one, so it is alone.
        clock: For a new world.
        monotonic: For a new world.
        limits: For a new world.

    Raises:
        ConfigError: A clock or limits were given for a world that has them.
    """
    if world is None:
        world = World(clock=clock, monotonic=monotonic, limits=limits)
    elif clock is not None or monotonic is not None or limits is not None:
        raise ConfigError("a World has its own clocks and limits: give clock, monotonic and limits to World()")
    node = node or world.clock.new_id()
    return Cluster(
        bus=MemoryBus(node, world.buses),
        log=world.log,
        members=MemoryMembers(node, world.nodes),
        presence=MemoryPresence(node, world.rosters),
        registry=MemoryRegistry(node, world.nodes, world.connections, world.clock),
        leases=world.leases,
        idempotency=world.idempotency,
        limiter=world.limiter,
    )

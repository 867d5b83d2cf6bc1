"""The last events of topics, in memory."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice

from liverpc.backends.ports import Frame, Pos, Slice

__all__ = ["MemoryLog"]

RING_EVENTS = 1000
MAX_TOPICS = 10_000


class _Topic:
    __slots__ = ("epoch", "ids", "ring", "seq")

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.seq = 0
        self.ring: deque[tuple[Frame, str | None]] = deque()
        self.ids: dict[str, Pos] = {}  # of the events in the ring that have one


class MemoryLog:
    """An :class:`~liverpc.backends.ports.EventLog` that holds 1000 events of each of 10,000 topics.

    One topic more drops the log of the one longest unused, counted in ``evicted``; if used again it has a
    new epoch, so its readers load anew.
    """

    def __init__(self, new_id: Callable[[], str], announce: Callable[[Frame], None]) -> None:
        self._new_id = new_id
        self._announce = announce
        self._topics: OrderedDict[str, _Topic] = OrderedDict()
        self.evicted = 0

    async def append(self, topic: str, event: str, data: bytes, *, dedupe: str | None = None) -> Pos:
        log = self._topic(topic)
        if dedupe is not None and (known := log.ids.get(dedupe)) is not None:
            return known
        log.seq += 1
        pos = Pos(log.epoch, log.seq)
        frame = Frame(topic, event, data, pos)
        if len(log.ring) == RING_EVENTS:
            _, forgotten = log.ring.popleft()
            if forgotten is not None:
                del log.ids[forgotten]
        log.ring.append((frame, dedupe))
        if dedupe is not None:
            log.ids[dedupe] = pos
        self._announce(frame)
        return pos

    async def read(self, topic: str, after: Pos | None, limit: int = 1000) -> Slice:
        log = self._topic(topic)
        head = Pos(log.epoch, log.seq)
        oldest = log.seq - len(log.ring)  # the position just before the oldest event held
        if after is None:
            start = oldest
        elif after.epoch != log.epoch or not 0 <= after.seq <= log.seq:
            return Slice("reset", [], head)
        elif after.seq < oldest:
            return Slice("truncated", [], head)
        else:
            start = after.seq
        wanted = islice(log.ring, start - oldest, start - oldest + limit)
        return Slice("ok", [frame for frame, _ in wanted], head)

    def _topic(self, name: str) -> _Topic:
        topic = self._topics.get(name)
        if topic is not None:
            self._topics.move_to_end(name)
            return topic
        if len(self._topics) == MAX_TOPICS:
            self._topics.popitem(last=False)
            self.evicted += 1
        topic = self._topics[name] = _Topic(self._new_id())
        return topic

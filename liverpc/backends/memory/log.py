"""The last events of topics, in memory."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice

from liverpc.backends.ports import Frame, Pos, Slice

__all__ = ["MemoryLog"]

_FRAME_BYTES = 300  # what keeping an event takes besides its data


class _Topic:
    __slots__ = ("bytes", "epoch", "ids", "ring", "seq")

    def __init__(self, epoch: str, seq: int) -> None:
        self.epoch = epoch
        self.seq = seq
        self.bytes = 0
        self.ring: deque[tuple[Frame, str | None]] = deque()
        self.ids: dict[str, Pos] = {}  # of the events in the ring that have one


class MemoryLog:
    """A :class:`~liverpc.backends.ports.LocalLog` with room for so many events of each topic, topics, and bytes.

    What does not fit any more goes with the log of the topic longest unused, counted in ``evicted``; if used again
    that has a new epoch, so its readers load anew. When there is no other topic, the oldest events go.

    Reading takes no room: all topics without an event are at one position, in one epoch, which is another one whenever
    a log was dropped.

    A topic's numbers begin above ``start`` and never again while the process lives, so that a reader who knows no
    epochs is not deceived.
    """

    def __init__(
        self,
        new_id: Callable[[], str],
        announce: Callable[[Frame], None],
        *,
        events: int = 1000,
        topics: int = 10_000,
        size: int = 64 << 20,
        start: int = 0,
    ) -> None:
        self._new_id = new_id
        self._announce = announce
        self._most_events = events
        self._most_topics = topics
        self._most_bytes = size
        self._topics: OrderedDict[str, _Topic] = OrderedDict()
        self._bytes = 0
        self._epoch = new_id()  # of the next log that begins
        self._floor = start  # no log that was dropped had a higher number
        self.evicted = 0

    async def append(self, topic: str, event: str, data: bytes, *, dedupe: str | None = None) -> Pos:
        return self.append_now(topic, event, data, dedupe)

    async def read(self, topic: str, after: Pos | None, limit: int = 1000) -> Slice:
        return self.read_now(topic, after, limit)

    async def clear(self, topic: str) -> None:
        self.clear_now(topic)

    def append_now(self, topic: str, event: str, data: bytes, dedupe: str | None = None) -> Pos:
        log = self._topic(topic)
        if dedupe is not None and (known := log.ids.get(dedupe)) is not None:
            return known
        log.seq += 1
        pos = Pos(log.epoch, log.seq)
        frame = Frame(topic, event, data, pos)
        if len(log.ring) == self._most_events:
            self._forget_oldest(log)
        log.ring.append((frame, dedupe))
        log.bytes += _FRAME_BYTES + len(data)
        self._bytes += _FRAME_BYTES + len(data)
        if dedupe is not None:
            log.ids[dedupe] = pos
        if self._bytes > self._most_bytes:
            self._make_room(log)
        self._announce(frame)
        return pos

    def read_now(self, topic: str, after: Pos | None, limit: int = 1000) -> Slice:
        log = self._topics.get(topic)
        if log is None:
            log = _Topic(self._epoch, self._floor)
        else:
            self._topics.move_to_end(topic)
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

    def clear_now(self, topic: str) -> None:
        self._epoch = self._new_id()  # also when there is none: an event of it may be missing
        log = self._topics.pop(topic, None)
        if log is not None:
            self._bytes -= log.bytes
            self._floor = max(self._floor, log.seq)

    def depth(self, topic: str) -> int:
        log = self._topics.get(topic)
        return 0 if log is None else len(log.ring)

    def _topic(self, name: str) -> _Topic:
        topic = self._topics.get(name)
        if topic is not None:
            self._topics.move_to_end(name)
            return topic
        if len(self._topics) == self._most_topics:
            self._evict()
        topic = self._topics[name] = _Topic(self._epoch, self._floor)
        return topic

    def _make_room(self, newest: _Topic) -> None:
        while self._bytes > self._most_bytes and len(self._topics) > 1:
            self._evict()
        while self._bytes > self._most_bytes and len(newest.ring) > 1:
            self._forget_oldest(newest)

    def _evict(self) -> None:
        self.clear_now(next(iter(self._topics)))
        self.evicted += 1

    def _forget_oldest(self, log: _Topic) -> None:
        frame, name = log.ring.popleft()
        log.bytes -= _FRAME_BYTES + len(frame.data)
        self._bytes -= _FRAME_BYTES + len(frame.data)
        if name is not None:
            del log.ids[name]

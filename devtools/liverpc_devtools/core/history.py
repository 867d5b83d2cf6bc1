"""What is kept of the past: answered calls, and the last events of one topic."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from liverpc.inspector.protocol import CallEvent, Event, PublishEvent

__all__ = ["CallKey", "Calls", "TopicRing", "weight"]

CallKey = tuple[float, str, str, str]

_KEPT = 500
_KEPT_FAILED = 250
_CALLS_BYTES = 32_000_000
_RING_BYTES = 8_000_000  # of one topic
_HELD = 6  # what a decoded event takes, as a multiple of its JSON; measured with nested objects
_BARE = 700  # bytes of an event without payload, with its place in what keeps it


def weight(event: Event | None) -> int:
    """Bytes an event takes in memory, roughly; None: of an entry without one."""
    return _BARE if event is None else _BARE + _HELD * len(msgspec.json.encode(event))


class Calls:
    """The last 500 successful and the last 250 failed calls: failures are not pushed out by successes.

    Args:
        most_bytes: Of all of them, as estimated; the newest one stays whatever it takes.

    Attributes:
        left_out: How many the server kept and did not send; 0 when they would not have been kept here.
    """

    def __init__(self, *, most_bytes: int = _CALLS_BYTES) -> None:
        self.left_out = 0
        self._most_bytes = most_bytes
        self._weight = 0
        self._weights: dict[CallKey, int] = {}
        self._by_key: dict[CallKey, CallEvent] = {}
        self._rings: dict[bool, deque[CallKey]] = {True: deque(), False: deque()}
        self._cleared = 0.0

    @staticmethod
    def key(call: CallEvent) -> CallKey:
        """What identifies a call."""
        return (call.at, call.connection, call.call, call.path)

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[CallEvent]:
        return iter(self._by_key.values())

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return len(self._rings[False])

    def add(self, call: CallEvent) -> None:
        """Keep ``call``, which ended after all the others."""
        key = self.key(call)
        if call.at <= self._cleared or key in self._by_key:
            return
        ring = self._rings[call.ok]
        if len(ring) == (_KEPT if call.ok else _KEPT_FAILED):
            self._drop_oldest(ring)
        ring.append(key)
        self._by_key[key] = call
        self._weights[key] = weight(call)
        self._weight += self._weights[key]
        while self._weight > self._most_bytes and len(self) > 1:
            self._drop_oldest(self._rings[True] if len(self._rings[True]) > call.ok else self._rings[False])

    def _drop_oldest(self, ring: deque[CallKey]) -> None:
        key = ring.popleft()
        del self._by_key[key]
        self._weight -= self._weights.pop(key)
        self.left_out = 0

    def merge(self, calls: Iterable[CallEvent], left_out: int = 0) -> None:
        """Keep ``calls`` too, in the order in which all of them ended; those known already count once."""
        everything = sorted((*calls, *self), key=lambda each: each.at)
        self._forget()
        for call in everything:
            self.add(call)
        self.left_out = left_out

    def clear(self, at: float) -> None:
        """Forget everything that ended until ``at``, also when it arrives later."""
        self._cleared = at
        self.left_out = 0
        self._forget()

    def _forget(self) -> None:
        self._by_key.clear()
        self._weights.clear()
        self._weight = 0
        for ring in self._rings.values():
            ring.clear()


class TopicRing:
    """The last events of one topic, at most 8 MB of them.

    Args:
        topic: Its name.
        size: Events kept at most.
        after: Only those that happened after this moment.
        most_bytes: Of all of them, as estimated; the newest one stays whatever it takes.

    Attributes:
        events: Oldest first.
        left_out: How many the server kept and did not send; 0 when they would not have been kept here.
        paused: New events are left out.
        paused_from: The topic's total of publishes when the pause began.
        watch: The id of the watch that feeds it.
    """

    def __init__(self, topic: str, size: int, *, after: float, most_bytes: int = _RING_BYTES) -> None:
        self.topic = topic
        self._most_bytes = most_bytes
        self._weights: deque[int] = deque()
        self._weight = 0
        self._size = max(size, 1)
        self.events: deque[PublishEvent] = deque()
        self.left_out = 0
        self.paused = False
        self.paused_from = 0
        self.watch = 0
        self._after = after

    def resize(self, size: int) -> None:
        """Keep so many events from now on."""
        self._size = max(size, 1)
        self._make_room()

    def add(self, event: PublishEvent) -> None:
        """Keep ``event`` when it is of this topic and wanted now."""
        if event.topic == self.topic and not self.paused and event.at > self._after:
            self.events.append(event)
            self._weights.append(weight(event))
            self._weight += self._weights[-1]
            self._make_room()

    def _make_room(self) -> None:
        while len(self.events) > self._size or (self._weight > self._most_bytes and len(self.events) > 1):
            self.events.popleft()
            self._weight -= self._weights.popleft()
            self.left_out = 0

    def merge(self, events: Iterable[PublishEvent], left_out: int = 0) -> None:
        """Put what the server kept between what was here before it and what arrived meanwhile."""
        kept = list(events)
        last = kept[-1].at if kept else 0.0
        older = [each for each in self.events if kept and each.at < kept[0].at]
        newer = [each for each in self.events if each.at > last]
        self._forget()
        for each in (*older, *kept, *newer):
            self.add(each)
        self.left_out = left_out

    def clear(self, at: float) -> None:
        """Forget everything published until ``at``, also when it arrives later."""
        self._after = at
        self.left_out = 0
        self._forget()

    def _forget(self) -> None:
        self.events.clear()
        self._weights.clear()
        self._weight = 0

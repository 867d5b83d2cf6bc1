"""The topic that somebody looks at, whose events are kept."""

from __future__ import annotations

from collections.abc import Collection

from liverpc.inspector.protocol import Match, PublishEvent
from liverpc_devtools.core.history import TopicRing
from liverpc_devtools.core.requests import Requests
from liverpc_devtools.core.rows import Rows

__all__ = ["Focus"]

_RING = 20
_PINNED_RING, _MOST_PINNED = 2000, 4


class Focus(Requests):
    """One topic at a time, and those that are pinned: their events are asked for, kept, paused and cleared.

    Attributes:
        rows: Streams, connections and paths.
    """

    def _reset(self) -> None:
        super()._reset()
        self.rows = Rows(self.now())
        self._ring: TopicRing | None = None
        self._pinned: dict[str, TopicRing] = {}
        self._cleared: dict[str, float] = {}
        self._all_cleared = 0.0

    @property
    def topic(self) -> str | None:
        """The topic whose events are kept; None for none."""
        return None if self._ring is None else self._ring.topic

    @property
    def ring(self) -> list[PublishEvent]:
        """The last events of :attr:`topic`, oldest first."""
        return [] if self._ring is None else list(self._ring.events)

    @property
    def left_out(self) -> int:
        """How many older events of :attr:`topic` the server kept and did not send."""
        return 0 if self._ring is None else self._ring.left_out

    @property
    def paused(self) -> bool:
        """Whether the events of :attr:`topic` are left out for now."""
        return self._ring is not None and self._ring.paused

    @property
    def missed(self) -> int:
        """Publishes on :attr:`topic` since the pause began."""
        ring = self._ring
        return self._published(ring.topic) - ring.paused_from if ring is not None and ring.paused else 0

    def look_at(self, topic: str | None) -> None:
        """Keep the events of ``topic`` from now on, beginning with what the server has kept."""
        if topic == self.topic:
            return
        if self._ring is not None and self._ring.topic not in self._pinned:
            self.unwatch(self._ring.watch)
        self._ring = None
        if topic is not None:
            self._ring = self._pinned.get(topic) or self._begin(topic)

    def pin(self, topics: Collection[str]) -> None:
        """Keep up to 2,000 events of each of these topics, and of no others, whichever is looked at; at most four."""
        wanted = list(topics)[:_MOST_PINNED]
        for topic in self._pinned.keys() - set(wanted):
            ring = self._pinned.pop(topic)
            if ring is self._ring:
                ring.resize(self._size)
            else:
                self.unwatch(ring.watch)
        for topic in wanted:
            if topic not in self._pinned:
                ring = self._ring if self._ring is not None and self._ring.topic == topic else self._begin(topic)
                ring.resize(_PINNED_RING)
                self._pinned[topic] = ring

    @property
    def _size(self) -> int:
        return _RING if self.welcome is None else self.welcome.ring

    def _begin(self, topic: str) -> TopicRing:
        ring = TopicRing(topic, self._size, after=max(self._cleared.get(topic, 0.0), self._all_cleared))
        self._follow(ring)
        return ring

    def _rings(self) -> list[TopicRing]:
        others = [ring for ring in self._pinned.values() if ring is not self._ring]
        return others if self._ring is None else [self._ring, *others]

    def _keep(self, event: PublishEvent) -> None:
        for ring in self._rings():
            ring.add(event)

    def _kept(self, topic: str, events: list[PublishEvent], left_out: int) -> None:
        """What the server kept of a topic."""
        for ring in self._rings():
            if ring.topic == topic:
                ring.merge(events, left_out)

    def _drop_rings(self) -> None:
        """Another server: its clock is another one."""
        for ring in self._rings():
            self._watches.pop(ring.watch, None)

    def _fill_rings(self) -> None:
        """Ask again for what the server has kept."""
        for ring in self._rings():
            if not ring.paused:
                self.get("stream", ring.topic)

    def pause(self) -> None:
        """Stop keeping events of :attr:`topic`, or go on with them."""
        ring = self._ring
        if ring is None:
            return
        ring.paused = not ring.paused
        if ring.paused:
            ring.paused_from = self._published(ring.topic)
            self.unwatch(ring.watch)
        else:
            self._follow(ring)

    def clear(self, *, everything: bool = False) -> None:
        """Forget the events of :attr:`topic`, or of all topics, up to now."""
        now = self.now()
        if everything:
            self._all_cleared = now
            self._cleared.clear()
        elif self._ring is not None:
            self._cleared[self._ring.topic] = now
        for ring in self._rings():
            if everything or ring is self._ring:
                ring.clear(now)

    def _follow(self, ring: TopicRing) -> None:
        ring.watch = self.watch(Match(kind=["pub"], topic=[ring.topic]))
        self.get("stream", ring.topic)

    def _published(self, topic: str) -> int:
        return next((each.published.total for each in self.rows.streams.values() if each.info.topic == topic), 0)

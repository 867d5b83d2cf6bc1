"""Everything about one topic, for as long as somebody is subscribed to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from liverpc.hub.connection import Connection
from liverpc.wire.codec import event_head, event_prefix

__all__ = ["Subscription", "TopicState"]

_MAX_HEADS = 64


class TopicState:
    """A topic with subscribers.

    Attributes:
        number: Small id, unique in this server.
        merge, path: Of the stream that was subscribed to first.
        seq: Number of the last event; counts from 1 per process for topics without a log.
        receivers: Where an event goes for each connection: its link, or its buffer while a loader runs.
    """

    __slots__ = (
        "_heads",
        "_prefix",
        "bytes",
        "delivered",
        "dropped",
        "last_at",
        "last_error",
        "last_event",
        "merge",
        "name",
        "number",
        "path",
        "published",
        "receivers",
        "seq",
        "subscriptions",
    )

    def __init__(self, name: str, number: int, *, merge: str, path: str) -> None:
        self.name = name
        self.number = number
        self.merge = merge
        self.path = path
        self.seq = 0
        self.receivers: dict[Connection, Callable[[bytes], object]] = {}
        self.subscriptions: dict[Connection, Subscription] = {}
        self.published = 0
        self.delivered = 0
        self.dropped = 0
        self.bytes = 0
        self.last_event = ""
        self.last_at = 0.0
        self.last_error = ""
        self._prefix = event_prefix(name)
        self._heads: dict[str, bytes] = {}

    def head(self, event: str) -> bytes | None:
        """The frame up to the data for an event name seen before; None for a new one."""
        return self._heads.get(event)

    def new_head(self, event: str) -> bytes:
        """The same for a new, already checked name."""
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        head = self._heads[event] = event_head(self._prefix, event)
        return head


class Subscription:
    """One connection's share in one topic: the streams that want it, and what is held back.

    While any stream of the connection on this topic loads, the topic's events are kept here: a client
    listens to a topic only once it has the loader's answer, so an event sent earlier would be lost
    (docs/protocol.md section 5). They follow the answer in the order of their publishing.

    Attributes:
        streams: The streams layer's own record of each stream, loading or live.
        overflows: How often more was published during a load than may be kept. A load during which this
            number changed has lost events and must fail.
    """

    __slots__ = ("_held", "_held_bytes", "_limit", "_loading", "connection", "overflows", "streams", "topic")

    def __init__(self, connection: Connection, topic: TopicState, limit: int) -> None:
        self.connection = connection
        self.topic = topic
        self.streams: list[Any] = []
        self.overflows = 0
        self._limit = limit
        self._loading = 0
        self._held: list[bytes] = []
        self._held_bytes = 0

    @property
    def held(self) -> int:
        """Events waiting for a loader."""
        return len(self._held)

    def hold(self) -> None:
        """A loader begins: keep events from now on."""
        self._loading += 1
        self.topic.receivers[self.connection] = self._keep

    def release(self) -> None:
        """A loader's answer was sent: let the events follow, unless another loader still runs."""
        self._loading -= 1
        # After an unsubscribe and a new subscribe the table's entry belongs to another object.
        if not self._loading and self.topic.subscriptions.get(self.connection) is self:
            self._flush()

    def _flush(self) -> None:
        send = self.connection.link.send
        held, self._held, self._held_bytes = self._held, [], 0
        self.topic.receivers[self.connection] = send
        for frame in held:
            send(frame)

    def _keep(self, frame: bytes) -> None:
        self._held.append(frame)
        self._held_bytes += len(frame)
        if self._held_bytes > self._limit:
            self.overflows += 1
            if len(self.streams) > self._loading:  # streams that are live already lose nothing
                self._flush()
            else:
                self._held, self._held_bytes = [], 0
                self.topic.receivers[self.connection] = _discard


def _discard(frame: bytes) -> None:
    """Where events go for a load that is bound to fail."""

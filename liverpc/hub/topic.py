"""Everything about one topic, for as long as somebody is subscribed to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from liverpc.hub.connection import Connection
from liverpc.hub.rules import TopicRules
from liverpc.wire.codec import event_head, event_prefix

__all__ = ["Subscription", "TopicState"]

_MAX_HEADS = 64


class TopicState:
    """A topic with subscribers.

    Attributes:
        number: Small id, unique in this server.
        wire: What clients know it as; its name, save for the rooms of contracts, whose names tell too much.
        merge, path: Of the stream that was subscribed to first; empty when that was a bare subscription.
        seq: Number of the last event; counts from 1 per process for topics without a log.
        epoch: Of the log ``seq`` belongs to, once known; empty without a log.
        replay_depth: Events in the log.
        rules: How its events are treated; None: as ordinary ones.
        reloads: How often its value was loaded anew for everybody.
        holding: The subscriptions that hold events back, because a loader runs.
        receivers: Where an event goes for each connection: its link, or its buffer while a loader runs. Called
            with the frame; on a coalesced topic with the event's slot before it.
    """

    __slots__ = (
        "_heads",
        "_prefix",
        "bytes",
        "coalesced",
        "delivered",
        "dropped",
        "epoch",
        "holding",
        "last_at",
        "last_error",
        "last_event",
        "merge",
        "name",
        "number",
        "path",
        "published",
        "receivers",
        "reloads",
        "replay_depth",
        "rules",
        "seq",
        "subscriptions",
        "volatile_drops",
        "wire",
    )

    def __init__(self, name: str, number: int, *, merge: str, path: str, wire: str | None = None) -> None:
        self.name = name
        self.wire = name if wire is None else wire
        self.number = number
        self.merge = merge
        self.path = path
        self.seq = 0
        self.epoch = ""
        self.replay_depth = 0
        self.rules: TopicRules | None = None
        self.receivers: dict[Connection, Callable[..., object]] = {}
        self.subscriptions: dict[Connection, Subscription] = {}
        self.holding: dict[Subscription, None] = {}  # a set takes three times the room, and most are empty
        self.published = 0
        self.delivered = 0
        self.dropped = 0
        self.coalesced = 0  # events that a full socket did not get because a newer one took their place
        self.volatile_drops = 0  # events that a full socket did not get
        self.reloads = 0
        self.bytes = 0
        self.last_event = ""
        self.last_at = 0.0
        self.last_error = ""
        self._prefix = event_prefix(self.wire)
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

    def obey(self, rules: TopicRules | None) -> None:
        """Treat events from now on as a stream wants it; the first that wants anything special decides."""
        if rules is None or self.rules is not None:
            return
        self.rules = rules
        for subscription in self.subscriptions.values():
            subscription.route()

    @property
    def coalesces(self) -> bool:
        """Whether receivers are called with a slot, too."""
        return self.rules is not None and self.rules.coalesce_by is not None

    def sender(self, connection: Connection) -> Callable[..., object]:
        """How events reach a client that is ready for them."""
        link = connection.link
        send: Callable[..., object] = link.send
        if self.coalesces:
            send = partial(link.send_latest, self)
        elif self.rules is not None and self.rules.volatile:
            send = partial(link.send_volatile, self)
        return send if connection.gate is None else connection.gate.through(self, send)


class Subscription:
    """One connection's share in one topic: the streams that want it, and what is held back.

    While any stream of the connection on this topic loads, the topic's events are kept here: a client
    listens to a topic only once it has the loader's answer, so an event sent earlier would be lost
    (docs/protocol.md section 5). They follow the answer in the order of their publishing.

    Attributes:
        streams: The streams layer's own record of each stream, loading or live.
        loading: How many of them are not live yet; counted down by whoever answers or gives up a stream.
        bare: The client subscribed to the topic itself, too.
        overflows: How often more was published during a load than may be kept. A load during which this
            number changed has lost events and must fail.
    """

    __slots__ = (
        "_held",
        "_held_bytes",
        "_holds",
        "_limit",
        "_spilled",
        "bare",
        "connection",
        "loading",
        "overflows",
        "streams",
        "topic",
    )

    def __init__(self, connection: Connection, topic: TopicState, limit: int) -> None:
        self.connection = connection
        self.topic = topic
        self.streams: list[Any] = []
        self.bare = False
        self.overflows = 0
        self.loading = 0
        self._limit = limit
        self._holds = 0
        self._spilled = False  # the running loads have lost events
        self._held: dict[object, bytes] = {}  # by slot
        self._held_bytes = 0

    @property
    def held(self) -> int:
        """Events waiting for a loader."""
        return len(self._held)

    @property
    def live(self) -> bool:
        """Whether the client listens to the topic already."""
        return self.bare or len(self.streams) > self.loading

    def hold(self) -> None:
        """A loader begins: keep events from now on, also those of streams that are live."""
        if self.connection.gate is not None:
            self.connection.gate.loading(self.topic)
        self._holds += 1
        self._spilled = False
        self.topic.holding[self] = None
        self.route()

    def begin_anew(self) -> bool:
        """The loader for which events are held runs again, and will see them: forget them.

        Returns:
            False, and nothing is forgotten, when there are none, or somebody else waits for them.
        """
        if not self._held or self._holds > 1 or self.live:
            return False
        self._held, self._held_bytes = {}, 0
        return True

    def release(self) -> None:
        """A loader's answer was sent: let the events follow, unless another loader still runs."""
        self._holds -= 1
        if not self._holds:
            self.topic.holding.pop(self, None)
        # After an unsubscribe and a new subscribe the table's entry belongs to another object.
        if not self._holds and self.topic.subscriptions.get(self.connection) is self:
            self._flush()
            self.route()

    def route(self) -> None:
        """Enter into the topic's table where its events go now."""
        topic = self.topic
        receive: Callable[..., object]
        if not self._holds or (self._spilled and self.live):
            receive = topic.sender(self.connection)
        elif self._spilled:
            receive = _discard
        else:
            receive = self._keep_latest if topic.coalesces else self._keep
        topic.receivers[self.connection] = receive

    def _flush(self) -> None:
        send = self.topic.sender(self.connection)
        held, self._held, self._held_bytes = self._held, {}, 0
        if self.topic.coalesces:
            for slot, frame in held.items():
                send(slot, frame)
        else:
            for frame in held.values():
                send(frame)

    def _keep(self, frame: bytes) -> None:
        self._keep_latest(object(), frame)

    def _keep_latest(self, slot: object, frame: bytes) -> None:
        self._held_bytes += len(frame) - len(self._held.get(slot, b""))
        self._held[slot] = frame
        if self._held_bytes > self._limit:
            self.overflows += 1
            self._spilled = True
            if self.live:  # what listens already loses nothing
                self._flush()
            else:
                self._held, self._held_bytes = {}, 0
            self.route()


def _discard(*event: object) -> None:
    """Where events go for a load that is bound to fail."""

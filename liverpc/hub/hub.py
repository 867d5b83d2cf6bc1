"""One process's publish path and subscriber table.

``publish`` is the only way an event gets out: topic rules, number, fault gate, encode and frame once, the
outbox of every local subscriber, the bus, telemetry. It never waits: a slow client costs nobody else
anything but the bytes in its own outbox.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

import msgspec

from liverpc.backends.ports import Bus, Frame
from liverpc.config import Limits
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.batch import Numbered, send_together
from liverpc.hub.connection import Connection
from liverpc.hub.requests import Requests
from liverpc.hub.topic import Subscription, TopicState
from liverpc.telemetry import Published, Telemetry, Unsubscribed
from liverpc.wire.codec import encode, event_payload
from liverpc.wire.framing import text_frame
from liverpc.wire.names import topic_fault

__all__ = ["FaultGate", "Hub"]

log = logging.getLogger("liverpc.hub")


# A publish that can go ahead: topic, its name, event, data, encoded data, slot, internal.
_Prepared: TypeAlias = tuple[TopicState | None, str, str, Any, bytes, object, bool]


class FaultGate(Protocol):
    """Decides which publishes get lost on purpose."""

    def drops(self, topic: str) -> bool:
        """Whether this publish is dropped. Called once per publish of an application topic, in order."""
        ...


class Hub:
    """The topics and connections of one server.

    Attributes:
        connections: Open ones by id.
        requests: Unanswered ones of the server to its clients.
        topics: Those with subscribers, by name.
        faults: Asked before every fan-out; None: no fault in force.
        touched: Collects the topics published on, for somebody who empties it; None: nobody does.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        bus: Bus,
        limits: Limits,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connections: dict[str, Connection] = {}
        self.topics: dict[str, TopicState] = {}
        self.faults: FaultGate | None = None
        self.touched: set[str] | None = None
        self.monotonic = monotonic
        self._telemetry = telemetry
        self._counters = telemetry.counters
        self._bus = bus
        self.limits = limits
        self.requests = Requests(limits.requests_in_flight, telemetry.counters)
        self._numbers = 0

    # -- publish

    def publish(self, name: str, event: str, data: Any, *, internal: bool = False) -> None:
        """Send an event to every subscriber of a topic, here and on other nodes. Returns at once.

        Args:
            name: The topic.
            event: What happened, such as ``created``.
            data: Anything with a JSON form. It is encoded now; later changes to it do not matter.
            internal: Allow reserved topics.

        Raises:
            LiveError: ``INVALID_TOPIC``: the topic is reserved, or its name or the event's is malformed.
            TypeError: ``data`` has no JSON form.
        """
        self._publish(self._prepared(name, event, data, internal), None)

    def publish_batch(self, messages: Iterable[tuple[str, str, Any]]) -> None:
        """Publish several ``(topic, event, data)``, in order. Clients that can read it get one frame.

        Each counts, is numbered and may be lost to a fault as if it were published by itself.

        Raises:
            LiveError: As for :meth:`publish`, and TypeError likewise; then none of them was published.
        """
        prepared = [self._prepared(name, event, data, False) for name, event, data in messages]
        together: list[Numbered] = []
        for each in prepared:
            self._publish(each, together)
        if together:
            self._counters.delivered_bytes += send_together(together)

    def _prepared(self, name: str, event: str, data: Any, internal: bool) -> _Prepared:
        """Everything that can go wrong with a publish."""
        topic = self.topics.get(name)
        if topic is None or name[:2] == "__":
            fault = topic_fault(name, reserved=internal)
            if fault is not None:
                raise LiveError(ErrorCode.INVALID_TOPIC, f"the topic {name!r} {fault}")
        if (topic is None or topic.head(event) is None) and (fault := topic_fault(event, reserved=True)) is not None:
            raise LiveError(ErrorCode.INVALID_TOPIC, f"the event {event!r} {fault}")
        try:
            encoded = encode(data)
        except TypeError as error:
            raise TypeError(f"what was published on {name!r} as {event!r} has no JSON form: {error}") from None
        slot = None if topic is None or topic.coalesce_by is None else _slot(name, topic.coalesce_by(data))
        return topic, name, event, data, encoded, slot, internal

    def _publish(self, prepared: _Prepared, together: list[Numbered] | None) -> None:
        topic, name, event, data, encoded, slot, internal = prepared
        self._counters.published += 1
        dropped = self.faults is not None and not internal and self.faults.drops(name)
        self._distribute(name, topic, event, data, encoded, slot, dropped, False, together)
        if not dropped:
            self._bus.publish(Frame(name, event, encoded))

    def deliver(self, frames: list[Frame]) -> None:
        """Hand out what other nodes published. It is neither numbered by them nor published again."""
        for frame in frames:
            topic = self.topics.get(frame.topic)
            if topic is not None:
                slot = None if topic.coalesce_by is None else _remote_slot(topic.coalesce_by, frame)
                self._distribute(frame.topic, topic, frame.event, None, frame.data, slot, False, True, None)

    # Positional: it is called for every publish, and keywords cost.
    def _distribute(
        self,
        name: str,
        topic: TopicState | None,
        event: str,
        data: Any,
        encoded: bytes,
        slot: object,
        dropped: bool,
        remote: bool,
        together: list[Numbered] | None,
    ) -> None:
        """Number an event and hand it out, or into ``together``, to be handed out with others.

        ``slot`` is None on topics that are not coalesced; ``dropped`` says that a fault is to lose the event.
        """
        receivers = 0
        seq: int | None = None
        counters = self._counters
        if topic is not None:
            if slot is None and not topic.volatile:
                topic.seq = seq = topic.seq + 1
            topic.published += 1
            topic.bytes += len(encoded)
            topic.last_event = event
            topic.last_at = self.monotonic()
            if self.touched is not None:
                self.touched.add(name)
            if dropped:
                topic.dropped += 1
            else:
                head = topic.head(event) or topic.new_head(event)
                frame = text_frame(event_payload(head, encoded, seq))
                receivers = len(topic.receivers)
                topic.delivered += receivers
                counters.deliveries += receivers
                if together is not None:
                    together.append((topic, frame, slot))
                else:
                    counters.delivered_bytes += receivers * len(frame)
                    # No receiver leaves the table meanwhile: a link never calls back while it is handed a frame.
                    if slot is None:
                        for receive in topic.receivers.values():
                            receive(frame)
                    else:
                        for receive in topic.receivers.values():
                            receive(slot, frame)
        if dropped:
            counters.fault_drops += 1
        if self._telemetry.published:
            self._telemetry.published.emit(Published(name, event, data, len(encoded), receivers, seq, dropped, remote))

    # -- subscriptions

    def attach(
        self,
        connection: Connection,
        name: str,
        stream: Any,
        *,
        merge: str,
        path: str,
        volatile: bool = False,
        coalesce_by: Callable[[Any], object] | None = None,
    ) -> Subscription:
        """Subscribe a stream of a connection; the topic's events are held back until ``release``.

        Args:
            connection: The subscriber.
            name: A usable topic.
            stream: The caller's own record of the stream.
            merge: Of the stream, for people.
            path: Of the stream, for people.
            volatile: How it wants the topic's events delivered, to everybody; see :class:`TopicState`.
            coalesce_by: Likewise.

        Raises:
            LiveError: ``OVERLOADED``: the connection has as many streams as it may.
        """
        subscription = self._subscription(connection, name, merge, path)
        subscription.topic.deliver(volatile=volatile, coalesce_by=coalesce_by)
        subscription.streams.append(stream)
        subscription.hold()
        return subscription

    def attach_bare(self, connection: Connection, name: str) -> None:
        """Let a connection listen to a topic without a stream, from now on; a second time changes nothing.

        Raises:
            LiveError: ``OVERLOADED``, as for :meth:`attach`.
        """
        subscription = connection.subscriptions.get(name)
        if subscription is None or not subscription.bare:
            subscription = self._subscription(connection, name, "", "")
            subscription.bare = True
            subscription.route()

    def _subscription(self, connection: Connection, name: str, merge: str, path: str) -> Subscription:
        """A connection's share in a topic, for one more purpose."""
        if connection.streams >= self.limits.streams_per_connection:
            self._counters.streams_refused += 1
            raise LiveError(
                ErrorCode.OVERLOADED,
                f"this connection has {self.limits.streams_per_connection} streams open, the limit; leave one first",
            )
        subscription = connection.subscriptions.get(name)
        if subscription is None:
            topic = self.topics.get(name)
            if topic is None:
                self._numbers += 1
                topic = self.topics[name] = TopicState(name, self._numbers, merge=merge, path=path)
            subscription = Subscription(connection, topic, self.limits.held_bytes)
            connection.subscriptions[name] = topic.subscriptions[connection] = subscription
        connection.streams += 1
        return subscription

    def detach(self, subscription: Subscription, stream: Any) -> None:
        """Undo :meth:`attach` for one stream whose loader failed. What else the connection has there stays live."""
        if stream in subscription.streams:
            subscription.streams.remove(stream)
            subscription.connection.streams -= 1
        if not (subscription.streams or subscription.bare):
            self._remove(subscription)  # first: what was held for a refused stream must not be sent
        subscription.release()

    def unsubscribe(self, connection: Connection, name: str) -> list[Any]:
        """End all a connection has on a topic; returns its streams. Unknown topics are no error."""
        subscription = connection.subscriptions.get(name)
        if subscription is None:
            return []
        streams, subscription.streams = subscription.streams, []
        connection.streams -= len(streams) + subscription.bare
        subscription.bare = False
        self._remove(subscription)
        return streams

    def _remove(self, subscription: Subscription) -> None:
        connection, topic = subscription.connection, subscription.topic
        if connection.subscriptions.get(topic.name) is not subscription:
            return
        del connection.subscriptions[topic.name]
        del topic.subscriptions[connection]
        topic.receivers.pop(connection, None)
        ended = not topic.subscriptions
        if ended:
            del self.topics[topic.name]
        if self._telemetry.unsubscribed:
            self._telemetry.unsubscribed.emit(Unsubscribed(topic.name, connection.id, topic.number if ended else None))

    def subscribers(self, name: str) -> int:
        """Connections subscribed to a topic."""
        topic = self.topics.get(name)
        return len(topic.subscriptions) if topic is not None else 0


def _slot(name: str, key: object) -> object:
    """Where an event waits for a full socket: the next one with an equal slot takes its place.

    Raises:
        TypeError: The key cannot be compared, being a list or the like.
    """
    slot = (name, key)
    hash(slot)
    return slot


def _remote_slot(coalesce_by: Callable[[Any], object], frame: Frame) -> object:
    """The same for another node's event, of which only the JSON is known."""
    try:
        return _slot(frame.topic, coalesce_by(msgspec.json.decode(frame.data)))
    except Exception:
        log.debug("coalesce_by of %r failed with another node's event", frame.topic, exc_info=True)
        return object()  # a slot of its own: it displaces nothing

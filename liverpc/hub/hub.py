"""One process's publish path and subscriber table.

``publish`` is the only way an event gets out: topic rules, number, fault gate, encode and frame once, the
outbox of every local subscriber, the bus, telemetry. It never waits: a slow client costs nobody else
anything but the bytes in its own outbox.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from liverpc.backends.ports import Bus, Frame
from liverpc.config import Limits
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.hub.topic import Subscription, TopicState
from liverpc.telemetry import Published, Telemetry, Unsubscribed
from liverpc.wire.codec import encode, event_payload
from liverpc.wire.framing import text_frame
from liverpc.wire.names import topic_fault

__all__ = ["FaultGate", "Hub"]


class FaultGate(Protocol):
    """Decides which publishes get lost on purpose."""

    def drops(self, topic: str) -> bool:
        """Whether this publish is dropped. Called once per publish of an application topic, in order."""
        ...


class Hub:
    """The topics and connections of one server.

    Attributes:
        connections: Open ones by id.
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
        self._limits = limits
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
        self._counters.published += 1
        dropped = self.faults is not None and not internal and self.faults.drops(name)
        self._distribute(name, topic, event, data, encoded, dropped=dropped, remote=False)
        if not dropped:
            self._bus.publish(Frame(name, event, encoded))

    def deliver(self, frames: list[Frame]) -> None:
        """Hand out what other nodes published. It is neither numbered by them nor published again."""
        for frame in frames:
            topic = self.topics.get(frame.topic)
            if topic is not None:
                self._distribute(frame.topic, topic, frame.event, None, frame.data, dropped=False, remote=True)

    def _distribute(
        self,
        name: str,
        topic: TopicState | None,
        event: str,
        data: Any,
        encoded: bytes,
        *,
        dropped: bool,
        remote: bool,
    ) -> None:
        receivers = 0
        seq: int | None = None
        if topic is not None:
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
                # A copy: a receiver that overflows is closed, and must be free to leave the table.
                everyone = list(topic.receivers.values())
                for receive in everyone:
                    receive(frame)
                receivers = len(everyone)
                topic.delivered += receivers
                self._counters.deliveries += receivers
                self._counters.delivered_bytes += receivers * len(frame)
        if dropped:
            self._counters.fault_drops += 1
        if self._telemetry.published:
            self._telemetry.published.emit(Published(name, event, data, len(encoded), receivers, seq, dropped, remote))

    # -- subscriptions

    def attach(self, connection: Connection, name: str, stream: Any, *, merge: str, path: str) -> Subscription:
        """Subscribe a stream of a connection; the topic's events are held back until ``release``.

        Raises:
            LiveError: ``INVALID_REQUEST`` for a malformed or reserved topic, ``OVERLOADED`` when the
                connection has as many streams as it may.
        """
        if connection.streams >= self._limits.streams_per_connection:
            self._counters.streams_refused += 1
            raise LiveError(
                ErrorCode.OVERLOADED,
                f"this connection has {self._limits.streams_per_connection} streams open, the limit; leave one first",
            )
        subscription = connection.subscriptions.get(name)
        if subscription is None:
            if (fault := topic_fault(name)) is not None:
                raise LiveError(ErrorCode.INVALID_REQUEST, f"the stream's topic {fault}")
            topic = self.topics.get(name)
            if topic is None:
                self._numbers += 1
                topic = self.topics[name] = TopicState(name, self._numbers, merge=merge, path=path)
            subscription = Subscription(connection, topic, self._limits.held_bytes)
            connection.subscriptions[name] = topic.subscriptions[connection] = subscription
        subscription.streams.append(stream)
        connection.streams += 1
        subscription.hold()
        return subscription

    def detach(self, subscription: Subscription, stream: Any) -> None:
        """Undo :meth:`attach` for one stream whose loader failed. Other streams on the topic stay live."""
        if stream in subscription.streams:
            subscription.streams.remove(stream)
            subscription.connection.streams -= 1
        if not subscription.streams:
            self._remove(subscription)  # first: what was held for a refused stream must not be sent
        subscription.release()

    def unsubscribe(self, connection: Connection, name: str) -> list[Any]:
        """End all streams of a connection on a topic; returns them. Unknown topics are no error."""
        subscription = connection.subscriptions.get(name)
        if subscription is None:
            return []
        streams, subscription.streams = subscription.streams, []
        connection.streams -= len(streams)
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

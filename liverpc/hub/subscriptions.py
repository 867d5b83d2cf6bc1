"""Who listens to what: the topics and connections of one process."""

from __future__ import annotations

from typing import Any

from liverpc.config import Limits
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.hub.rules import RuleBook, TopicRules
from liverpc.hub.topic import Subscription, TopicState
from liverpc.telemetry import Telemetry, Unsubscribed

__all__ = ["Subscriptions"]


class Subscriptions:
    """The subscriber table of one server.

    Attributes:
        connections: Open ones by id.
        topics: Those with subscribers, by name.
        limits: Of the server.
        rules: Of all topics.
    """

    def __init__(self, telemetry: Telemetry, limits: Limits, rules: RuleBook) -> None:
        self.connections: dict[str, Connection] = {}
        self.topics: dict[str, TopicState] = {}
        self.limits = limits
        self.rules = rules
        self._telemetry = telemetry
        self._counters = telemetry.counters
        self._numbers = 0

    def attach(
        self,
        connection: Connection,
        name: str,
        stream: Any,
        *,
        merge: str,
        path: str,
        rules: TopicRules | None = None,
    ) -> Subscription:
        """Subscribe a stream of a connection; the topic's events are held back until ``release``.

        Args:
            connection: The subscriber.
            name: A usable topic.
            stream: The caller's own record of the stream.
            merge: Of the stream, for people.
            path: Of the stream, for people.
            rules: How it wants the topic's events treated, for everybody.

        Raises:
            LiveError: ``OVERLOADED``: the connection has as many streams as it may.
        """
        subscription = self._subscription(connection, name, merge, path)
        if rules is not None:
            subscription.topic.obey(rules)
        subscription.streams.append(stream)
        subscription.loading += 1
        subscription.hold()
        return subscription

    def attach_bare(self, connection: Connection, name: str, *, wire: str | None = None) -> None:
        """Let a connection listen to a topic without a stream, from now on; a second time changes nothing.

        Args:
            connection: The subscriber.
            name: A usable topic.
            wire: What clients know it as, the same for all of them; default: its name.

        Raises:
            LiveError: ``OVERLOADED``, as for :meth:`attach`.
        """
        subscription = connection.subscriptions.get(name)
        if subscription is None or not subscription.bare:
            subscription = self._subscription(connection, name, "", "", wire)
            subscription.bare = True
            subscription.route()

    def check_room(self, connection: Connection) -> None:
        """Whether a connection may have one more stream.

        Raises:
            LiveError: ``OVERLOADED``: it has as many as it may.
        """
        most = self.limits.streams_per_connection
        if connection.streams >= most:
            self._counters.streams_refused += 1
            raise LiveError(
                ErrorCode.OVERLOADED,
                f"this connection has {most} streams open, the limit; leave one first",
            )

    def _subscription(
        self, connection: Connection, name: str, merge: str, path: str, wire: str | None = None
    ) -> Subscription:
        """A connection's share in a topic, for one more purpose."""
        self.check_room(connection)
        subscription = connection.subscriptions.get(name)
        if subscription is None:
            topic = self.topics.get(name)
            if topic is None:
                self._numbers += 1
                topic = self.topics[name] = TopicState(name, self._numbers, merge=merge, path=path, wire=wire)
                topic.obey(self.rules.take(name))
            subscription = Subscription(connection, topic, self.limits.held_bytes)
            connection.subscriptions[name] = topic.subscriptions[connection] = subscription
        connection.streams += 1
        return subscription

    def detach(self, subscription: Subscription, stream: Any) -> None:
        """Undo :meth:`attach` for one stream whose loader failed. What else the connection has there stays live."""
        subscription.loading -= 1
        if stream in subscription.streams:
            subscription.streams.remove(stream)
            subscription.connection.streams -= 1
        if not (subscription.streams or subscription.bare):
            self._remove(subscription)  # first: what was held for a refused stream must not be sent
        subscription.release()

    def drop(self, subscription: Subscription, stream: Any = None) -> None:
        """End one live stream, or None: the bare subscription. What else the connection has there stays."""
        if stream is None:
            subscription.bare = False
        else:
            subscription.streams.remove(stream)
        subscription.connection.streams -= 1
        if subscription.streams or subscription.bare:
            subscription.route()
        else:
            self._remove(subscription)

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
        topic.holding.pop(subscription, None)  # of a client that is gone some answers are never sent
        ended = not topic.subscriptions
        if ended:
            del self.topics[topic.name]
            if topic.rules is not None:
                self.rules.learn(topic.name, topic.rules)
            told = len(topic.receivers) + len(topic.holding)
            self._telemetry.invariant(not told, "topics", "one without subscribers has %d receivers", told)
        if self._telemetry.unsubscribed:
            number = topic.number if ended else None
            self._telemetry.unsubscribed.emit(Unsubscribed(topic.name, topic.wire, connection.id, number))

    def subscribers(self, name: str) -> int:
        """Connections subscribed to a topic."""
        topic = self.topics.get(name)
        return len(topic.subscriptions) if topic is not None else 0

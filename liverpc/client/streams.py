"""The streams a client listens to, through all its connections."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from liverpc.client.calls import Call, Calls
from liverpc.client.subscription import Subscription
from liverpc.errors import RpcError
from liverpc.wire.codec import control_text
from liverpc.wire.frames import EventFrame, Reply
from liverpc.wire.names import is_reserved

__all__ = ["Streams"]


class Streams:
    """Asks for each stream on each connection, hands it its events, and leaves topics nobody holds.

    Args:
        calls: Where the requests are made and waited for.
        start: Sends a request, now or when there is a connection.
        say: Sends a frame.
    """

    def __init__(self, calls: Calls, start: Callable[[Call], object], say: Callable[[str], object]) -> None:
        self._calls = calls
        self._start = start
        self._say = say
        self._streams: dict[Subscription, None] = {}  # in the order in which they were opened
        self._requests: dict[Subscription, Call] = {}  # of those that wait for their answer
        self._topics: dict[str, dict[Subscription, None]] = {}  # answered on this connection
        self._unheld: set[str] = set()  # topics to leave

    @property
    def quiescent(self) -> bool:
        """Whether every stream has a value or an error of this connection."""
        return not any(stream.status in ("loading", "reconnecting") for stream in self._streams)

    def add(self, subscription: Subscription) -> None:
        """Ask for it, on this and every later connection; TypeError when its arguments have no JSON form."""
        call = self._calls.new(
            subscription.path,
            subscription.args,
            subscription.timeout,
            partial(self._answered, subscription),
            stream=True,
        )
        self._streams[subscription] = None
        self._requests[subscription] = call
        self._start(call)

    def remove(self, subscription: Subscription) -> None:
        """Stop listening. Harmless when done already."""
        if subscription not in self._streams:
            return
        del self._streams[subscription]
        request = self._requests.pop(subscription, None)
        if request is not None:
            self._calls.cancel(request)
        topic = subscription.topic
        if topic is not None and subscription in self._topics.get(topic, ()):
            del self._topics[topic][subscription]
            if not self._topics[topic]:
                del self._topics[topic]
                self._unheld.add(topic)
        self._say_goodbyes()

    # -- the connection

    def reopen(self) -> list[Call]:
        """Ask again for every stream that is not asked for. Returns all unanswered requests."""
        for subscription in self._streams:
            if subscription not in self._requests:
                self.add(subscription)
        return [self._requests[subscription] for subscription in self._streams]

    def forget_connection(self) -> None:
        """The connection is gone, and with it what the server knew of our topics."""
        self._topics.clear()
        self._unheld.clear()

    def opening(self) -> set[Call]:
        """The requests of streams that were never answered; the others are given up.

        Whoever opens a stream waits on when the connection is lost, for as long as was agreed.
        """
        for subscription, request in tuple(self._requests.items()):
            if subscription.answered:
                self._calls.cancel(request)
                del self._requests[subscription]
        return set(self._requests.values())

    def suspend(self) -> None:
        """Tell every stream that the connection is lost."""
        for subscription in tuple(self._streams):
            if subscription in self._streams:  # a callback may have left it, or closed the client
                subscription.suspend()

    def drop(self) -> list[Subscription]:
        """Forget everything. Returns the streams, which nobody keeps up to date any more."""
        for request in self._requests.values():
            self._calls.cancel(request)
        self._requests.clear()
        streams, self._streams = self._streams, {}
        return list(streams)

    # -- frames

    def event(self, frame: EventFrame) -> None:
        for subscription in tuple(self._topics.get(frame.topic, ())):
            subscription.apply(frame)

    def denied(self, topic: str, reason: str) -> None:
        for subscription in tuple(self._topics.get(topic, ())):
            subscription.fail(RpcError(reason, f"the server refuses the topic {topic!r}"))

    def unexpected(self, topic: str) -> None:
        """A request nobody waits for any more was answered: for the server, we listen to this topic."""
        self._unheld.add(topic)
        self._say_goodbyes()

    def _answered(self, subscription: Subscription, call: Call) -> None:
        del self._requests[subscription]
        outcome = call.outcome
        if isinstance(outcome, Reply):
            if outcome.topic is not None:
                self._topics.setdefault(outcome.topic, {})[subscription] = None
                self._unheld.discard(outcome.topic)
            subscription.load(outcome)
        elif outcome is not None:
            subscription.fail(outcome)
        self._say_goodbyes()

    def _say_goodbyes(self) -> None:
        """Unsubscribe from the topics nobody holds.

        Not while a stream request is being answered: it may be about such a topic, and the server might
        handle it before the goodbye.
        """
        if not self._unheld or self._requests:
            return
        for topic in sorted(self._unheld):
            if topic not in self._topics and not is_reserved(topic):
                self._say(control_text("unsubscribe", topic=topic))
        self._unheld.clear()

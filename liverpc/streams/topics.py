"""Who may listen to which topic, and topics that a client listens to without a stream.

``on_topic`` decides both. Without that hook only streams open topics, and a bare subscription to any other is
withheld without an answer: it would bypass the checks of the streams on that topic, and a denial would put an
error on healthy streams, whose clients ask for their topics before they ask for the streams again after a reconnect.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Iterator, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any

import msgspec

from liverpc.declare.context import Context
from liverpc.declare.hooks import Hooks
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.hub.hub import Hub
from liverpc.hub.tasks import EXITS, passes
from liverpc.hub.topic import Subscription
from liverpc.streams.doubts import Doubt
from liverpc.telemetry import Subscribed, Telemetry
from liverpc.wire.codec import encode
from liverpc.wire.names import is_reserved, topic_fault

__all__ = ["BareTopics", "check_topic", "deny_unless_live"]

log = logging.getLogger("liverpc.topics")


async def check_topic(hooks: Hooks, ctx: Context[Any], topic: str) -> None:
    """Ask ``on_topic`` about a stream.

    Raises:
        LiveError: It said no, and with which code.
        Exception: It failed.
    """
    if hooks.on_topic is not None:
        verdict = hooks.on_topic(ctx, topic)
        if isawaitable(verdict):
            verdict = await verdict
        if (code := _denial(verdict)) is not None:
            raise LiveError(code, "you may not listen to this topic")


def _denial(verdict: object) -> str | None:
    """The code a verdict denies with. Whatever is not True denies, lest a forgotten ``return`` opens a topic."""
    if verdict is True:
        return None
    return verdict if isinstance(verdict, str) and verdict else str(ErrorCode.FORBIDDEN)


class _Request:
    """One subscribe frame of a client."""

    __slots__ = ("again", "ctx", "left", "ref", "topics")

    def __init__(self, ctx: Context[Any], topics: list[str], ref: Any) -> None:
        self.ctx = ctx
        self.topics = deque(topics)  # those not decided yet
        self.ref = ref
        self.left: set[str] = set()  # what the client unsubscribed from in the meantime
        self.again = False  # the user was refreshed in the meantime


class BareTopics:
    """Answers the subscribe frames of a server's clients (docs/protocol.md section 4)."""

    def __init__(self, hub: Hub, telemetry: Telemetry, hooks: Hooks) -> None:
        self._hub = hub
        self._telemetry = telemetry
        self._hooks = hooks
        self._waiting: dict[Connection, list[_Request]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def subscribe(self, ctx: Context[Any], topics: Sequence[Any], ref: Any) -> None:
        """Decide about the topics of one frame, in order; first those refused are answered whose names are malformed.

        A decision that waits is a task of the connection, as a call is.

        Args:
            ctx: For the hook.
            topics: As the client sent them.
            ref: Of the answers; without a string or number there are none.
        """
        connection = ctx.connection
        usable: list[str] = []
        for topic in topics:
            if self._is_usable(connection, topic):
                usable.append(topic)
            else:
                _answer(connection, topic, ref, str(ErrorCode.INVALID_TOPIC))
        if self._hooks.on_topic is None:
            for topic in usable:
                if self._listens(connection, topic):
                    _answer(connection, topic, ref, None)
            return
        request = _Request(ctx, usable, ref)
        waiting = self._until_one_waits(request)
        if waiting is not None:
            self._waiting.setdefault(connection, []).append(request)
            connection.calls.start(ctx, self._rest(request, waiting))

    def left(self, connection: Connection, topic: str) -> None:
        """The client wants a topic no more, whatever is decided about it later."""
        for request in self._waiting.get(connection, ()):
            request.left.add(topic)

    def closed(self, connection: Connection) -> None:
        """The client is gone; its decisions are cancelled with its calls."""
        self._waiting.pop(connection, None)

    # -- asking again

    def doubts(self, ctx: Context[Any]) -> Iterator[Doubt]:
        """See :meth:`liverpc.streams.subscribe.Streams.doubts`. What is being decided is asked again as well."""
        for request in self._waiting.get(ctx.connection, ()):
            request.again = True
        if self._hooks.on_topic is None:
            return
        asked = msgspec.structs.replace(ctx, path="__subscribe__")
        for subscription in ctx.connection.subscriptions.values():
            topic = subscription.topic.name
            if subscription.bare and not is_reserved(topic):  # those are rooms of contracts
                yield Doubt(
                    asked,
                    partial(check_topic, self._hooks, asked, topic),
                    lambda _: (),
                    partial(self._take_away, subscription),
                )

    def _take_away(self, subscription: Subscription, error: LiveError) -> None:
        connection, topic = subscription.connection, subscription.topic.name
        if subscription.bare and connection.subscriptions.get(topic) is subscription:
            self._hub.drop(subscription)
            self._telemetry.counters.streams_revoked += 1
            deny_unless_live(subscription, error.code)

    # -- deciding

    def _is_usable(self, connection: Connection, topic: Any) -> bool:
        # A topic the connection holds already is fine whatever characters its stream gave it.
        if isinstance(topic, str) and topic in connection.subscriptions and not is_reserved(topic):
            return True
        return topic_fault(topic) is None and topic.isascii() and "\x7f" not in topic

    def _until_one_waits(self, request: _Request) -> Awaitable[Any] | None:
        while request.topics:
            topic = request.topics[0]
            verdict: Any = True
            if not self._listens(request.ctx.connection, topic):
                assert self._hooks.on_topic is not None
                try:
                    verdict = self._hooks.on_topic(request.ctx, topic)
                except EXITS:
                    raise
                except BaseException as error:  # such as the panics of extensions
                    verdict = _failed(request.ctx, topic, error)
                if isawaitable(verdict):
                    return verdict
            self._decided(request, verdict)
        return None

    async def _rest(self, request: _Request, waiting: Awaitable[Any] | None) -> None:
        ctx = request.ctx
        try:
            while waiting is not None:
                try:
                    verdict = await waiting
                except BaseException as error:  # the client waits for an answer, about the topics behind, too
                    if passes(error, gone=ctx.connection.closed):
                        raise
                    verdict = _failed(ctx, request.topics[0], error)
                if request.again:
                    request.again = False
                else:
                    self._decided(request, verdict)
                waiting = self._until_one_waits(request)
        finally:
            requests = self._waiting.get(ctx.connection)
            if requests is not None:
                requests.remove(request)
                if not requests:
                    del self._waiting[ctx.connection]
            ctx.connection.calls.finished(ctx)

    def _decided(self, request: _Request, verdict: object) -> None:
        topic = request.topics.popleft()
        connection = request.ctx.connection
        if connection.closed or topic in request.left:
            return
        code = _denial(verdict)
        if code is None and not self._listens(connection, topic):
            try:
                self._hub.attach_bare(connection, topic)
            except LiveError as error:
                code = error.code
            else:
                if self._telemetry.subscribed:
                    self._telemetry.subscribed.emit(Subscribed(topic, "", connection.id))
        _answer(connection, topic, request.ref, code)

    def _listens(self, connection: Connection, topic: str) -> bool:
        """Whether the connection was let through to this topic before. A stream that loads may still fail."""
        subscription = connection.subscriptions.get(topic)
        return subscription is not None and subscription.live


def _failed(ctx: Context[Any], topic: str, error: BaseException) -> str:
    if isinstance(error, LiveError):
        return error.code
    log.error("on_topic failed about %r; the client is denied", topic, exc_info=error)
    ctx.services.report(ctx.path, error, ctx)
    return str(ErrorCode.INTERNAL_ERROR)


def _answer(connection: Connection, topic: Any, ref: Any, denial: str | None) -> None:
    if not isinstance(ref, str | int | float) or isinstance(ref, bool):
        return
    frame = {"type": "subscribed", "topic": topic, "ref": ref}
    if denial is not None:
        frame |= {"type": "subscribe-denied", "reason": _reason(denial, topic)}
    connection.send(encode(frame))


def _reason(code: str, topic: Any) -> msgspec.Raw:
    try:
        return msgspec.Raw(encode(code))
    except Exception:
        log.exception("%r is denied with a code that has no JSON form", topic)
        return msgspec.Raw(encode(ErrorCode.INTERNAL_ERROR))


def deny_unless_live(subscription: Subscription, code: str) -> None:
    """Tell a client that it does not listen to a topic any more, which it was let through to before.

    Unless it does: something else of it is live there. What only loads will say itself when it is.
    """
    if not subscription.live:
        topic = subscription.topic.name
        subscription.connection.send(
            encode({"type": "subscribe-denied", "topic": topic, "reason": _reason(code, topic)})
        )

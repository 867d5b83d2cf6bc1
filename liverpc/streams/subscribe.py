"""A subscribe is a plan of named steps, in this order:

validate → topic → access → ``on_topic`` → attach (events are held from here) → load → reply → release held events →
``on_subscribe``. (Guards ran before, as for calls; docs/protocol.md section 5.)

Whatever goes wrong before the reply leaves no trace: the stream is detached, other streams of the same
connection on the same topic stay live, and no hook ran.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from liverpc.declare.access import holds
from liverpc.declare.context import Context
from liverpc.declare.functions import Channel, StreamFunction
from liverpc.declare.guards import denied
from liverpc.declare.hooks import Hooks
from liverpc.declare.registry import Entry
from liverpc.declare.replies import answer, check_size
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.hub.hub import Hub
from liverpc.hub.tasks import Background
from liverpc.hub.topic import Subscription
from liverpc.streams.topics import BareTopics, check_topic
from liverpc.telemetry import StreamFailed, Subscribed, Telemetry
from liverpc.wire.codec import encode, error_body, ok_body
from liverpc.wire.names import topic_fault

__all__ = ["ActiveStream", "Opening", "Streams"]


class ActiveStream:
    """One stream of one connection, from its attach to its end."""

    __slots__ = ("ctx", "declaration", "live")

    def __init__(self, ctx: Context[Any], declaration: StreamFunction[Any, Any, Any, Any] | Channel[Any, Any]) -> None:
        self.ctx = ctx
        self.declaration = declaration
        self.live = False  # its loader was answered; only then its end is reported to on_unsubscribe


class Opening:
    """A stream that is loaded and not answered yet. Either :meth:`answer` or :meth:`abandon` must follow, once.

    Attributes:
        value: What was loaded.
    """

    __slots__ = ("_entry", "_overflows", "_stream", "_streams", "_subscription", "value")

    def __init__(self, streams: Streams, subscription: Subscription, stream: ActiveStream, entry: Entry) -> None:
        self._streams = streams
        self._subscription = subscription
        self._stream = stream
        self._entry = entry
        self._overflows = subscription.overflows
        self.value: Any = None

    def answer(self, largest: int) -> None:
        """Send the reply, and what was held back meanwhile.

        Args:
            largest: What a value may have, in UTF-16 code units.

        Raises:
            LiveError: ``OVERLOADED``: too much was held back. ``PAYLOAD_TOO_LARGE``.
            TypeError: The value has no JSON form.
        """
        try:
            body = self._body(largest)
        except BaseException as error:
            self.abandon(error)
            raise
        answer(self._stream.ctx, body, self)

    def instead(self) -> bytes | None:
        """See :meth:`liverpc.declare.replies.Follower.instead`."""
        error = self._overflow()
        if error is None:
            return None
        self.abandon(error)
        return error_body(self._stream.ctx.call or "", error)

    def follow(self) -> None:
        """See :meth:`liverpc.declare.replies.Follower.follow`."""
        self._streams.settled(self._subscription, self._stream, self._entry)

    def abandon(self, error: BaseException) -> None:
        """Leave no trace, because of ``error``."""
        self._streams.failed(self._subscription, self._stream, self._entry, error)

    def _overflow(self) -> LiveError | None:
        """Why there is no stream when not all of its events could be held back."""
        if self._subscription.overflows == self._overflows:
            return None
        self._streams.counters.held_overflows += 1
        topic = self._subscription.topic.name
        return LiveError(
            ErrorCode.OVERLOADED, f"too much was published on {topic!r} while it was being loaded; try again"
        )

    def _body(self, largest: int) -> bytes:
        if (error := self._overflow()) is not None:
            raise error
        declaration = self._stream.declaration
        options = declaration.options
        extra = [b',"topic":', encode(self._subscription.topic.name), b',"merge":', encode(options.merge)]
        if options.merge == "crud":
            extra += [b',"key":', encode(options.key)]
        if options.prepend:
            extra.append(b',"prepend":true')
        if options.max:
            extra.append(b',"max":%d' % options.max)
        if isinstance(declaration, Channel):
            extra.append(b',"channel":true')
        value = encode(self.value)
        if len(value) > largest:
            check_size(value, largest)
        return ok_body(self._stream.ctx.call or "", value, b"".join(extra))


class Streams:
    """Opens and ends the streams of a server's connections.

    Attributes:
        bare: Opens topics without streams.
    """

    def __init__(self, hub: Hub, telemetry: Telemetry, background: Background, hooks: Hooks) -> None:
        self.bare = BareTopics(hub, telemetry, hooks)
        self._hooks = hooks
        self._hub = hub
        self._telemetry = telemetry
        self.counters = telemetry.counters
        self._background = background

    # -- opening

    async def open(self, entry: Entry, ctx: Context[Any], raw_args: msgspec.Raw) -> Opening:
        """Carry out the plan up to the reply.

        Raises:
            LiveError: The request was refused, or the loader refused; nothing is subscribed.
            Exception: The loader failed; nothing is subscribed.
        """
        declaration: Any = entry.declaration
        arguments = declaration.signature.decode(raw_args)
        topic = self._topic(declaration, ctx, arguments)
        await self._access(declaration, ctx, arguments)
        await check_topic(self._hooks, ctx, topic)
        if ctx.connection.closed:  # the client left meanwhile; what is attached now nobody would ever detach
            raise asyncio.CancelledError
        stream = ActiveStream(ctx, declaration)
        options = declaration.options
        subscription = self._hub.attach(
            ctx.connection,
            topic,
            stream,
            merge=options.merge,
            path=entry.path,
            volatile=options.volatile,
            coalesce_by=options.coalesce_by,
        )
        opening = Opening(self, subscription, stream, entry)
        try:
            opening.value = await self._load(declaration, ctx, arguments)
        except BaseException as error:
            opening.abandon(error)
            raise
        return opening

    def _topic(self, declaration: Any, ctx: Context[Any], arguments: Sequence[Any]) -> str:
        topic: str = declaration.topics.resolve(ctx, arguments)
        if declaration.topics.static is None and (fault := topic_fault(topic)) is not None:
            raise LiveError(ErrorCode.INVALID_REQUEST, f"the stream's topic {fault}")
        return topic

    async def _access(self, declaration: Any, ctx: Context[Any], arguments: Sequence[Any]) -> None:
        predicate = declaration.options.access
        if predicate is not None and not await holds(predicate, ctx, arguments):
            raise denied(ctx)

    async def _load(self, declaration: Any, ctx: Context[Any], arguments: Sequence[Any]) -> Any:
        if isinstance(declaration, Channel):
            return None if declaration.options.merge == "set" else []
        result = declaration.handler(ctx, *arguments)
        return await result if declaration.is_async else result

    def failed(self, subscription: Subscription, stream: ActiveStream, entry: Entry, error: BaseException) -> None:
        """A stream that was attached will not go live."""
        if isinstance(error, asyncio.CancelledError):
            code = str(ErrorCode.DISCONNECTED)  # the client's doing, not the topic's
        else:
            code = error.code if isinstance(error, LiveError) else str(ErrorCode.INTERNAL_ERROR)
            subscription.topic.last_error = code
            self._tell(stream.declaration.options.on_error, stream.ctx, error, stream.ctx, subscription.topic.name)
        self._hub.detach(subscription, stream)
        if self._telemetry.stream_failed:
            self._telemetry.stream_failed.emit(
                StreamFailed(subscription.topic.name, entry.path, stream.ctx.connection.id, code)
            )

    def settled(self, subscription: Subscription, stream: ActiveStream, entry: Entry) -> None:
        """A stream's answer was sent: what was held for it follows."""
        subscription.release()
        if stream not in subscription.streams:  # the client left while the loader ran
            return
        stream.live = True
        if self._telemetry.subscribed:
            self._telemetry.subscribed.emit(Subscribed(subscription.topic.name, entry.path, stream.ctx.connection.id))
        self._tell(stream.declaration.options.on_subscribe, stream.ctx, stream.ctx, subscription.topic.name)

    def _tell(self, hook: Callable[..., object] | None, ctx: Context[Any], *args: Any) -> None:
        """Call a hook of a stream; when it fails, ``on_error`` of the server is told."""
        if hook is not None:
            self._background.hook(hook, *args, failed=lambda error: ctx.services.report(ctx.path, error, ctx))

    # -- ending

    def unsubscribe(self, connection: Connection, topic: str) -> None:
        """End all a connection has on a topic. Unknown topics are no error."""
        self.bare.left(connection, topic)
        streams = self._hub.unsubscribe(connection, topic)
        remaining = self._hub.subscribers(topic)
        for stream in streams:
            if stream.live:
                self._tell(stream.declaration.options.on_unsubscribe, stream.ctx, stream.ctx, topic, remaining)

    def closed(self, connection: Connection) -> None:
        """End everything a connection had, because it is gone."""
        self.bare.closed(connection)
        for topic in list(connection.subscriptions):
            self.unsubscribe(connection, topic)

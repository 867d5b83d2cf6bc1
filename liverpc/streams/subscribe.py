"""A subscribe is a plan of named steps, in this order:

validate → topic → access → attach (events are held from here) → load → reply → release held events →
``on_subscribe``. (Guards ran before, as for calls; docs/protocol.md section 5.)

Whatever goes wrong before the reply leaves no trace: the stream is detached, other streams of the same
connection on the same topic stay live, and no hook ran.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any

import msgspec

from liverpc.declare.context import Context
from liverpc.declare.functions import Channel, StreamFunction
from liverpc.declare.guards import denied
from liverpc.declare.registry import Entry
from liverpc.declare.replies import answer
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.hub.hub import Hub
from liverpc.hub.tasks import Background
from liverpc.hub.topic import Subscription
from liverpc.telemetry import StreamFailed, Subscribed, Telemetry
from liverpc.wire.codec import encode, ok_body

__all__ = ["ActiveStream", "Streams"]


class ActiveStream:
    """One stream of one connection, from its attach to its end."""

    __slots__ = ("ctx", "declaration", "live")

    def __init__(self, ctx: Context[Any], declaration: StreamFunction[Any, Any, Any, Any] | Channel[Any, Any]) -> None:
        self.ctx = ctx
        self.declaration = declaration
        self.live = False  # its loader was answered; only then its end is reported to on_unsubscribe


class Streams:
    """Opens and ends the streams of a server's connections."""

    def __init__(self, hub: Hub, telemetry: Telemetry, background: Background) -> None:
        self._hub = hub
        self._telemetry = telemetry
        self._background = background

    # -- opening

    async def subscribe(self, entry: Entry, ctx: Context[Any], raw_args: msgspec.Raw) -> Any:
        """Carry out the plan; the reply is sent from here, because held events must follow it at once.

        Returns:
            The loaded value.

        Raises:
            LiveError: The request was refused, or the loader refused; nothing is subscribed.
            Exception: The loader failed; nothing is subscribed.
        """
        declaration: Any = entry.declaration
        arguments = declaration.signature.decode(raw_args)
        topic = self._topic(declaration, ctx, arguments)
        await self._access(declaration, ctx, arguments)
        if ctx.connection.closed:  # the client left meanwhile; what is attached now nobody would ever detach
            raise asyncio.CancelledError
        stream = ActiveStream(ctx, declaration)
        subscription = self._hub.attach(ctx.connection, topic, stream, merge=declaration.options.merge, path=entry.path)
        overflows = subscription.overflows
        try:
            value = await self._load(declaration, ctx, arguments)
            if subscription.overflows != overflows:
                self._telemetry.counters.held_overflows += 1
                raise LiveError(
                    ErrorCode.OVERLOADED,
                    f"too much was published on {topic!r} while it was being loaded; try again",
                )
            body = self._body(declaration, topic, ctx.call or "", value)
        except BaseException as error:
            self._failed(subscription, stream, entry, error)
            raise
        answer(ctx, body, partial(self._settled, subscription, stream, entry))
        return value

    def _topic(self, declaration: Any, ctx: Context[Any], arguments: Sequence[Any]) -> str:
        return str(declaration.topics.resolve(ctx, arguments))

    async def _access(self, declaration: Any, ctx: Context[Any], arguments: Sequence[Any]) -> None:
        predicate = declaration.options.access
        if predicate is None:
            return
        allowed = predicate(ctx, *arguments)
        if isinstance(allowed, Awaitable):  # always true: to be awaited before its truth is tested
            allowed = await allowed
        if not allowed:
            raise denied(ctx)

    async def _load(self, declaration: Any, ctx: Context[Any], arguments: Sequence[Any]) -> Any:
        if isinstance(declaration, Channel):
            return None if declaration.options.merge == "set" else []
        result = declaration.handler(ctx, *arguments)
        return await result if declaration.is_async else result

    def _body(self, declaration: Any, topic: str, call: str, value: Any) -> bytes:
        options = declaration.options
        extra = [b',"topic":', encode(topic), b',"merge":', encode(options.merge)]
        if options.merge == "crud":
            extra += [b',"key":', encode(options.key)]
        if options.prepend:
            extra.append(b',"prepend":true')
        if options.max:
            extra.append(b',"max":%d' % options.max)
        if isinstance(declaration, Channel):
            extra.append(b',"channel":true')
        return ok_body(call, encode(value), b"".join(extra))

    def _failed(self, subscription: Subscription, stream: ActiveStream, entry: Entry, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            code = str(ErrorCode.DISCONNECTED)  # the client's doing, not the topic's
        else:
            code = error.code if isinstance(error, LiveError) else str(ErrorCode.INTERNAL_ERROR)
            subscription.topic.last_error = code
        self._hub.detach(subscription, stream)
        if self._telemetry.stream_failed:
            self._telemetry.stream_failed.emit(
                StreamFailed(subscription.topic.name, entry.path, stream.ctx.connection.id, code)
            )

    def _settled(self, subscription: Subscription, stream: ActiveStream, entry: Entry) -> None:
        subscription.release()
        if stream not in subscription.streams:  # the client left while the loader ran
            return
        stream.live = True
        if self._telemetry.subscribed:
            self._telemetry.subscribed.emit(Subscribed(subscription.topic.name, entry.path, stream.ctx.connection.id))
        hook = stream.declaration.options.on_subscribe
        if hook is not None:
            self._background.hook(hook, stream.ctx, subscription.topic.name)

    # -- ending

    def unsubscribe(self, connection: Connection, topic: str) -> None:
        """End all streams of a connection on a topic. Unknown topics are no error."""
        streams = self._hub.unsubscribe(connection, topic)
        remaining = self._hub.subscribers(topic)
        for stream in streams:
            hook = stream.declaration.options.on_unsubscribe
            if stream.live and hook is not None:
                self._background.hook(hook, stream.ctx, topic, remaining)

    def closed(self, connection: Connection) -> None:
        """End everything a connection had, because it is gone."""
        for topic in list(connection.subscriptions):
            self.unsubscribe(connection, topic)

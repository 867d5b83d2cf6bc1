"""A subscribe is a plan of named steps, in this order:

validate → gate → topic → access → ``on_topic`` → attach (events are held from here) → enter, if
it is a room → catch up, or load → reply → release held events → ``on_subscribe``. (Guards ran before, as for calls;
docs/protocol.md section 5.)

Whatever goes wrong before the reply leaves no trace: the stream is detached, other streams of the same
connection on the same topic stay live, and no hook ran. Pages, and resyncs of a stream that is live, go the same
way without attaching one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from liverpc.declare.context import Context
from liverpc.declare.functions import Channel, StreamFunction
from liverpc.declare.guards import Guard
from liverpc.declare.hooks import Hooks
from liverpc.declare.registry import Entry
from liverpc.declare.rooms import RoomFunction
from liverpc.errors import ConfigError, ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.hub.hub import Hub
from liverpc.hub.rules import TopicRules
from liverpc.hub.tasks import Background, passes
from liverpc.hub.topic import Subscription
from liverpc.streams.doubts import Doubt, Doubts, as_of_now
from liverpc.streams.entering import enter, enter_again
from liverpc.streams.loading import load_value, shown
from liverpc.streams.opening import Opening
from liverpc.streams.reload import Reloads
from liverpc.streams.resume import CatchUp
from liverpc.streams.topics import BareTopics, deny_unless_live
from liverpc.telemetry import StreamFailed, Subscribed, Telemetry
from liverpc.wire.frames import CallFrame

__all__ = ["ActiveStream", "Streams"]

log = logging.getLogger("liverpc.streams")

AnyStream = StreamFunction[Any, Any, Any, Any] | Channel[Any, Any]

_NOTHING = CallFrame()


class ActiveStream:
    """One stream of one connection, from its attach to its end."""

    __slots__ = ("arguments", "ctx", "declaration", "guard", "live", "refused")

    def __init__(
        self, ctx: Context[Any], declaration: AnyStream, arguments: Sequence[Any], guard: Guard | None
    ) -> None:
        self.ctx = ctx
        self.declaration = declaration
        self.arguments = arguments
        self.guard = guard
        self.live = False  # its loader was answered; only then its end is reported to on_unsubscribe
        self.refused: LiveError | None = None  # why it will not be live, although its loader runs


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
        self._report = partial(hooks.report, background)
        self._reloads = Reloads(hub, background, partial(load_value, reload=True), self._tell, telemetry.counters)
        self._rules: dict[AnyStream, TopicRules] = {}

    def declare(self, entries: Iterable[Entry]) -> None:
        """Make known how the topics of a server's streams are treated, before anybody subscribes to one.

        Raises:
            ConfigError: A stream has replay, and the log is none that answers at once.
            DeclarationError: Streams on one topic want what does not go together.
        """
        for entry in entries:
            stream: Any = entry.declaration
            if not entry.is_stream or (rules := self._rules_of(stream)) is None:
                continue
            if rules.replay and not self._hub.log.usable:
                raise ConfigError(f"{entry.path} has replay=True, which needs a cluster whose log is in this process")
            self._rules[stream] = rules
            if (name := stream.topics.static) is not None:
                self._hub.rules.fix(name, rules)
            elif stream.topics.pattern is not None:
                self._hub.rules.match(stream.topics.pattern, rules, stream.topics.text)

    def _rules_of(self, stream: AnyStream) -> TopicRules | None:
        options = stream.options
        if not (options.volatile or options.coalesce_by or options.transform or options.replay):
            return None
        on_error = options.on_error
        failed = None if on_error is None else lambda error, topic: self._tell(on_error, None, error, None, topic)
        transform = None if options.transform is None else partial(shown, options)
        return TopicRules(options.volatile, options.coalesce_by, transform, options.replay, failed)

    # -- opening

    async def open(self, entry: Entry, ctx: Context[Any], raw_args: msgspec.Raw) -> Opening:
        """Carry out the plan up to the reply.

        Raises:
            LiveError: The request was refused, or the loader refused; nothing is subscribed.
            Exception: The loader failed; nothing is subscribed.
        """
        declaration: Any = entry.declaration
        ctx.enters("access")
        arguments, topic = await as_of_now(ctx, entry.guard, partial(enter, declaration, ctx, raw_args, self._hooks))
        if topic is None:
            return Opening(self, entry, ctx, None)
        refreshes = ctx.connection.refreshes
        if ctx.connection.closed:  # the client left meanwhile; what is attached now nobody would ever detach
            raise asyncio.CancelledError
        opening, subscription = self._begin(entry, ctx, topic, arguments)
        ctx.enters("loader")
        try:
            if opening.stream is not None and _is_room(declaration):
                await ctx.services.rooms.arrive(opening.stream, topic)
            if self._hub.faults is not None:
                self._hub.faults.load(topic, entry.path, ctx.connection)
            catch_up = CatchUp(self._hub, self.counters, subscription, declaration, ctx, arguments)
            found = await catch_up.answer()
            # The refresh itself asks streams that are attached.
            if opening.stream is None and refreshes != ctx.connection.refreshes:
                again = partial(enter_again, declaration, ctx, arguments, self._hooks, guard=None, topic=topic)
                await as_of_now(ctx, entry.guard, again)
        except BaseException as error:
            opening.abandon(error)
            raise
        opening.value, opening.members = found.data, found.members
        return opening

    def _begin(
        self, entry: Entry, ctx: Context[Any], topic: str, arguments: Sequence[Any]
    ) -> tuple[Opening, Subscription | None]:
        """Hold the topic's events, and attach the stream unless it is attached, or only a page is wanted."""
        asked = ctx.asked or _NOTHING
        declaration: Any = entry.declaration
        subscription = ctx.connection.subscriptions.get(topic)
        is_page = asked.cursor is not None
        if is_page or (asked.resync is True and subscription is not None and _is_live(subscription, declaration)):
            if subscription is not None:
                subscription.hold()
            opening = Opening(self, entry, ctx, topic, subscription=subscription)
            return opening, None if is_page else subscription
        stream = ActiveStream(ctx, declaration, arguments, entry.guard)
        rules = self._rules.get(declaration)
        subscription = self._hub.attach(
            ctx.connection, topic, stream, merge=declaration.options.merge, path=entry.path, rules=rules
        )
        return Opening(self, entry, ctx, topic, subscription=subscription, stream=stream), subscription

    def failed(
        self,
        entry: Entry,
        ctx: Context[Any],
        topic: str,
        subscription: Subscription | None,
        stream: ActiveStream | None,
        error: BaseException,
    ) -> None:
        """A request that was let through has no answer but ``error``."""
        declaration: Any = entry.declaration
        if isinstance(error, asyncio.CancelledError) and passes(error, gone=ctx.connection.closed):
            code = str(ErrorCode.DISCONNECTED)  # the client's doing, not the topic's
        else:
            code = error.code if isinstance(error, LiveError) else str(ErrorCode.INTERNAL_ERROR)
            if subscription is not None:
                subscription.topic.last_error = code
            self._tell(declaration.options.on_error, ctx, error, ctx, topic)
        if subscription is not None:
            if stream is not None:
                self._hub.detach(subscription, stream)
                if _is_room(declaration):
                    ctx.services.rooms.left(stream, topic, failed=True)
            else:
                subscription.release()
            if not self._hub.subscribers(topic):
                self._reloads.left(topic)
        if self._telemetry.stream_failed:
            self._telemetry.stream_failed.emit(StreamFailed(topic, entry.path, ctx.connection.id, code))

    def settled(self, subscription: Subscription, stream: ActiveStream | None, entry: Entry) -> None:
        """A request's answer was sent: what was held for it follows."""
        if stream is None:
            subscription.release()
            return
        subscription.loading -= 1
        subscription.release()
        if stream not in subscription.streams:  # the connection ended while the loader ran
            return
        # They keep all bytes of the client's message and all answers to its batch alive; a stream may stay for days.
        stream.ctx.asked = stream.ctx.slot = None
        stream.live = True
        if self._telemetry.subscribed:
            self._telemetry.subscribed.emit(Subscribed(subscription.topic.name, entry.path, stream.ctx.connection.id))
        self._reloads.joined(subscription.topic, stream)
        if _is_room(stream.declaration):
            stream.ctx.services.rooms.settled(stream, subscription.topic.name)
        self._tell(stream.declaration.options.on_subscribe, stream.ctx, stream.ctx, subscription.topic.name)

    def _tell(self, hook: Callable[..., object] | None, ctx: Context[Any] | None, *args: Any) -> None:
        """Call a hook of a stream; when it fails, ``on_error`` of the server is told."""
        if hook is None:
            return
        path = "__publish__" if ctx is None else ctx.path
        self._background.hook(hook, *args, failed=lambda error: self._report(path, error, ctx))

    # -- ending

    def unsubscribe(self, connection: Connection, topic: str) -> None:
        """The client leaves a topic. Unknown ones are no error.

        What is live ends, and what loads goes on: a client that leaves for one of its streams, or for those of its
        last connection, does not know yet that another will be on the same topic.
        """
        self.bare.left(connection, topic)
        subscription = connection.subscriptions.get(topic)
        if subscription is not None:
            self._end(subscription, [each for each in subscription.streams if each.live])

    def _end(self, subscription: Subscription, streams: Sequence[ActiveStream]) -> None:
        """End these streams of a connection on a topic, and its bare subscription there."""
        connection, topic = subscription.connection, subscription.topic.name
        if subscription.bare:
            self._hub.drop(subscription)
        for stream in streams:
            self._hub.drop(subscription, stream)
        remaining = self._hub.subscribers(topic)
        if not remaining:
            self._reloads.left(topic)
        others = remaining - (topic in connection.subscriptions)
        for stream in streams:
            self._left(stream, topic, others)

    def _left(self, stream: ActiveStream, topic: str, remaining: int, *, failed: bool = False) -> None:
        if _is_room(stream.declaration):
            stream.ctx.services.rooms.left(stream, topic, failed=failed)
        if stream.live:
            self._tell(stream.declaration.options.on_unsubscribe, stream.ctx, stream.ctx, topic, remaining)

    def closed(self, connection: Connection) -> None:
        """End everything a connection had, because it is gone."""
        self.bare.closed(connection)
        for subscription in list(connection.subscriptions.values()):
            self._end(subscription, list(subscription.streams))

    # -- asking again

    def doubts(self, ctx: Context[Any]) -> Iterator[Doubt]:
        """What has to be asked again because a connection's user was refreshed: may it have what it has?

        Each stream and bare topic goes on until its own answer is known. One that is refused ends then, and its client
        gets a ``subscribe-denied`` when nothing else of the connection is live on the topic; one that is still loading
        fails, unless it is allowed before it has its value.

        Args:
            ctx: Of the connection; for what has no context of its own.
        """
        for subscription in ctx.connection.subscriptions.values():
            for stream in subscription.streams:
                topic, asked = subscription.topic.name, stream.ctx.anew()
                again = partial(enter_again, stream.declaration, asked, stream.arguments, self._hooks)
                yield Doubt(
                    asked,
                    partial(again, guard=stream.guard, topic=topic),
                    partial(self._kept, stream, asked),
                    partial(self._take_away, subscription, stream),
                )
        yield from self.bare.doubts(ctx)

    def _kept(self, stream: ActiveStream, ctx: Context[Any], _: object) -> Doubts:
        stream.refused = None
        if stream.live:
            stream.ctx = ctx
        return ()

    async def show_anew(self, connection: Connection) -> None:
        """What others see of a connection's user in its rooms may be something else now."""
        async with asyncio.TaskGroup() as together:
            for subscription in connection.subscriptions.values():
                for stream in subscription.streams:
                    if stream.live and _is_room(stream.declaration):
                        together.create_task(stream.ctx.services.rooms.arrive(stream, subscription.topic.name))

    def _take_away(self, subscription: Subscription, stream: ActiveStream, error: LiveError) -> None:
        if stream not in subscription.streams:  # the client has left it
            return
        if not stream.live:
            stream.refused = error
            return
        topic = subscription.topic.name
        self._hub.drop(subscription, stream)
        self.counters.streams_revoked += 1
        remaining = self._hub.subscribers(topic)
        if not remaining:
            self._reloads.left(topic)
        self._left(stream, topic, remaining, failed=True)
        deny_unless_live(subscription, error.code)


def _is_room(declaration: AnyStream) -> bool:
    return isinstance(declaration, RoomFunction) and declaration.is_occupied


def _is_live(subscription: Subscription, declaration: AnyStream) -> bool:
    return any(stream.live and stream.declaration is declaration for stream in subscription.streams)

"""Loads the values of streams anew, and sends them to everybody as ``refreshed``.

A topic is reloaded when nothing was published on it for ``stale_after`` seconds, and when something happened on a topic
that ``invalidate_on`` names. What several streams on one topic want adds up: the shortest time and all the names count.

There is one reload of a topic at a time. What a loader read before something was published, or before the next
trigger, may be old: it is not sent, and the loader runs again. On a topic that never pauses for that long the third
value is sent all the same, lest there be none, and another reload follows a moment later, until one was not overtaken.

Of different topics, ``Limits.reloads_at_once`` are reloaded at the same time. The others wait for their turn, in order,
and what happens to them meanwhile costs no further reload.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from liverpc.declare.context import Context
from liverpc.declare.inroom import BESIDE
from liverpc.declare.options import wildcard
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.hub import REFRESHED, Hub
from liverpc.hub.tasks import Background, passes
from liverpc.hub.topic import TopicState
from liverpc.streams.loading import Loaded
from liverpc.telemetry import CAUSE, Cause, Counters

if TYPE_CHECKING:
    from liverpc.streams.subscribe import ActiveStream

__all__ = ["Reloads"]

log = logging.getLogger("liverpc.streams")

_LOADS = 3  # in one reload, while its values are overtaken
_PAUSE = 1.0  # seconds after a reload whose value may be old


class _Record:
    """The reloads of one topic."""

    __slots__ = (
        "cause",
        "dirty",
        "not_before",
        "patterns",
        "running",
        "since",
        "stale_after",
        "task",
        "timer",
        "topic",
    )

    def __init__(self, topic: TopicState, now: float) -> None:
        self.topic = topic
        self.stale_after = inf
        self.patterns: set[str] = set()
        self.since = now  # the value is no older than that
        self.running = False  # or waits for its turn
        self.dirty = False  # what is being loaded is outdated; when nothing runs: a reload follows after the pause
        self.cause = 0  # id of the publish that outdated the value; 0: unknown, or what was published is reloaded
        self.not_before = 0.0  # loop time: until then loading was refused
        self.task: asyncio.Task[Any] | None = None  # once a running reload took its first step
        self.timer: asyncio.TimerHandle | None = None


class Reloads:
    """The reloads of a server's topics; a topic none of whose streams wants them costs nothing.

    Args:
        hub: Its ``watch`` is set while there are names to watch for.
        background: Owns the reloads.
        load: Loads a stream's value, for these arguments, as for a new subscriber.
        tell: Calls a hook of a stream: ``tell(hook, ctx, *arguments)``; the hook may be None.
        counters: Of the server.
    """

    def __init__(
        self,
        hub: Hub,
        background: Background,
        load: Callable[[Any, Context[Any], Sequence[Any]], Awaitable[Loaded]],
        tell: Callable[..., object],
        counters: Counters,
    ) -> None:
        self._hub = hub
        self._background = background
        self._load = load
        self._tell = tell
        self._counters = counters
        self._records: dict[str, _Record] = {}
        self._names: dict[str, dict[_Record, None]] = {}  # by the topic that triggers them, in order
        self._globs: dict[str, tuple[Callable[[str], object], dict[_Record, None]]] = {}
        self._free = hub.limits.reloads_at_once  # how many more reloads may run
        self._waiting: dict[_Record, None] = {}  # until another reload is over

    # -- subscribers

    def joined(self, topic: TopicState, stream: ActiveStream) -> None:
        """A stream went live."""
        options = stream.declaration.options
        if options.stale_after is None and not options.invalidate_on:
            return
        record = self._records.get(topic.name)
        if record is None:
            record = self._records[topic.name] = _Record(topic, self._hub.monotonic())
        for pattern in options.invalidate_on:
            if pattern not in record.patterns:
                record.patterns.add(pattern)
                self._watch_for(pattern)[record] = None
                self._hub.watch = self._published
        if options.stale_after is not None:
            sooner = options.stale_after < record.stale_after
            record.stale_after = min(options.stale_after, record.stale_after)
            if (sooner or record.timer is None) and not (record.running or record.dirty):
                self._arm(record)

    def left(self, topic: str) -> None:
        """Nobody is subscribed to a topic any more. Unknown topics are no error."""
        record = self._records.pop(topic, None)
        if record is None:
            return
        if record.timer is not None:
            record.timer.cancel()
        if record.task is not None:
            record.task.cancel()
        self._waiting.pop(record, None)
        for pattern in record.patterns:
            watchers = self._watch_for(pattern)
            watchers.pop(record, None)
            if not watchers:
                self._names.pop(pattern, None)
                self._globs.pop(pattern, None)
        if not (self._names or self._globs):
            self._hub.watch = None

    # -- triggers

    def _watch_for(self, pattern: str) -> dict[_Record, None]:
        """Who is to be reloaded for topics of that name, in which ``*`` stands for one or more characters."""
        if "*" not in pattern:
            return self._names.setdefault(pattern, {})
        known = self._globs.get(pattern)
        if known is None:
            known = self._globs[pattern] = wildcard(pattern), {}
        return known[1]

    def _published(self, topic: str, event: str, number: int) -> None:
        """Something was published, here or elsewhere."""
        if event == REFRESHED:  # or two streams that name each other would never come to rest
            return
        for record in self._names.get(topic, ()):
            self._trigger(record, number)
        beside = topic.endswith(BESIDE)  # who comes and goes in a room, and every move of a cursor, changes no row
        for pattern, (matches, records) in self._globs.items():
            if matches(topic) and (not beside or pattern.endswith(BESIDE)):
                for record in records:
                    self._trigger(record, number)

    def _trigger(self, record: _Record, number: int) -> None:
        if not record.dirty:  # else a reload follows anyway
            record.dirty = True
            record.cause = number
            if not record.running:
                self._start(record)

    def _arm(self, record: _Record) -> None:
        """Look again when there may be something to do."""
        if record.timer is not None:
            record.timer.cancel()
        wait = max(_PAUSE, record.not_before - self._hub.monotonic()) if record.dirty else self._fresh_for(record)
        record.timer = None if wait == inf else asyncio.get_running_loop().call_later(wait, self._look, record)

    def _fresh_for(self, record: _Record) -> float:
        """Seconds until the value is stale if nothing happens."""
        return max(record.since, record.topic.last_at) + record.stale_after - self._hub.monotonic()

    def _look(self, record: _Record) -> None:
        record.timer = None
        if record.dirty or self._fresh_for(record) <= 0:
            self._start(record)
        else:
            self._arm(record)

    # -- reloading

    def _start(self, record: _Record) -> None:
        stream = self._pick(record.topic)
        record.running = stream is not None
        if stream is None:  # nothing is left to do until the next stream joins that wants reloads
            record.dirty = False
            return
        if record.timer is not None:
            record.timer.cancel()
            record.timer = None
        if not self._free:
            self._counters.reloads_delayed += 1
            self._waiting[record] = None
            return
        self._free -= 1
        # The one who published has a context of his own, such as a transaction, which is no business of the loader.
        stream.ctx.connection.calls.call_soon(partial(self._begin, record))

    def _begin(self, record: _Record) -> None:
        if self._records.get(record.topic.name) is record:
            self._background.start(self._reload(record), name=f"reload of {record.topic.name!r}")
        else:
            self._ended()

    def _ended(self) -> None:
        """A reload is over: the next one that waits has its turn."""
        self._free += 1
        while self._waiting and self._free:
            record = next(iter(self._waiting))
            del self._waiting[record]
            self._start(record)

    def _pick(self, topic: TopicState) -> ActiveStream | None:
        """A stream whose loader may be asked: a live one that wants reloads, of a client that is still there."""
        for connection, subscription in topic.subscriptions.items():
            if not connection.closed:
                for stream in subscription.streams:
                    options = stream.declaration.options
                    if stream.live and (options.stale_after is not None or options.invalidate_on):
                        picked: ActiveStream = stream
                        return picked
        return None

    async def _reload(self, record: _Record) -> None:
        record.task = asyncio.current_task()
        try:
            for again in reversed(range(_LOADS)):
                if await self._attempt(record, last=not again):
                    break
        finally:
            record.task = None
            record.running = False
            record.since = self._hub.monotonic()
            if self._records.get(record.topic.name) is record:
                self._arm(record)
            self._ended()

    async def _attempt(self, record: _Record, *, last: bool) -> bool:
        """Load once, and send the value if it is up to date or the last one; whether that is all."""
        topic = record.topic
        record.dirty = False
        if record.cause:
            CAUSE.set(Cause(self._hub.tracing, record.cause))  # of the reload's own task
            record.cause = 0
        # Others may have come and gone since the last attempt.
        stream = self._pick(topic) if self._records.get(topic.name) is record else None
        if stream is None:
            return True
        published = topic.published
        try:
            loaded = await self._load(stream.declaration, stream.ctx, stream.arguments)
            if self._records.get(topic.name) is not record:  # the loader swallowed its cancellation
                return True
            record.dirty = record.dirty or topic.published != published
            if record.dirty and not last:
                return False
            self._hub.refresh(topic.name, loaded.data, loaded.has_more, loaded.cursor)
        except BaseException as error:
            if passes(error):
                raise
            record.dirty = record.dirty or topic.published != published
            if isinstance(error, LiveError) and error.retry_after is not None:
                record.dirty = True
                record.not_before = self._hub.monotonic() + error.retry_after
            self._failed(topic, stream, error)
        return True

    def _failed(self, topic: TopicState, stream: ActiveStream, error: BaseException) -> None:
        self._counters.reload_errors += 1
        topic.last_error = error.code if isinstance(error, LiveError) else str(ErrorCode.INTERNAL_ERROR)
        if self._hub.touched is not None:
            self._hub.touched.add(topic.name)
        ctx = stream.ctx
        if not isinstance(error, LiveError):
            log.error("the reload of %r by %s failed", topic.name, ctx.path, exc_info=error)
            ctx.services.report(ctx.path, error, ctx)
        self._tell(stream.declaration.options.on_error, ctx, error, ctx, topic.name)

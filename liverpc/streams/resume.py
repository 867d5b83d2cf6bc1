"""How a stream request is answered: with what the client lacks, if that can be told for certain.

In this order, the first that works: delta, replay, ``from_seq``, the whole value (docs/protocol.md section 5).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Any

import msgspec

from liverpc.backends.ports import Frame, Pos
from liverpc.declare.context import Context
from liverpc.declare.functions import Channel, StreamFunction
from liverpc.hub.hub import Hub
from liverpc.hub.topic import Subscription, TopicState
from liverpc.streams.loading import load_value, migrated, transformed
from liverpc.telemetry import Counters
from liverpc.wire.codec import encode
from liverpc.wire.frames import CallFrame

__all__ = ["Answer", "CatchUp"]

log = logging.getLogger("liverpc.streams")

_AROUND = 60  # bytes of a missed event in a reply, besides its names and data


class Answer(msgspec.Struct):
    """What a stream request is answered with."""

    data: Any
    members: bytes  #: further members of the reply, encoded, each beginning with a comma


class _Missed(msgspec.Struct):
    seq: int | None
    topic: str
    event: str
    data: Any

    @classmethod
    def of(cls, frame: Frame) -> _Missed:
        return cls(None if frame.pos is None else frame.pos.seq, frame.topic, frame.event, msgspec.Raw(frame.data))


class CatchUp:
    """One stream request that was let through.

    Args:
        hub: Has the log.
        counters: Of the server.
        subscription: Of its connection to the topic; None: it asks for a page.
        declaration: The stream.
        ctx: Of the request.
        arguments: Validated.
    """

    def __init__(
        self,
        hub: Hub,
        counters: Counters,
        subscription: Subscription | None,
        declaration: StreamFunction[Any, Any, Any, Any] | Channel[Any, Any],
        ctx: Context[Any],
        arguments: Sequence[Any],
    ) -> None:
        asked = ctx.asked or CallFrame()
        self._hub = hub
        self._counters = counters
        self._topic = None if subscription is None else subscription.topic
        self._declaration = declaration
        self._options = declaration.options
        self._ctx = ctx
        self._arguments = arguments
        self._seq = asked.seq if type(asked.seq) is int and asked.seq >= 0 else None
        self._epoch = asked.epoch
        self._version = asked.version
        self._schema = asked.schema_version if type(asked.schema_version) is int else None

    async def answer(self) -> Answer:
        """What to send.

        Raises:
            Exception: The loader's.
        """
        options, topic = self._options, self._topic
        schema = b"" if options.version is None else b',"schemaVersion":%d' % options.version
        if topic is None:
            return await self._load(schema)
        # The position and the version are those from before the value is loaded, so that nothing falls between.
        found = self._hub.catch_up(topic, None) if options.replay else None
        head = None if found is None else found.head
        version = await self._ask("version", None if options.delta is None else options.delta.version)
        common = schema + _position(head)
        if version is not None:
            common += b',"version":' + encode(version)
        # What is sent instead of the value is in the present schema.
        if self._schema is None or options.version is None or self._schema >= options.version:
            short = await self._delta(version, common) or await self._replay(topic, head, schema)
            if short is not None:
                self._counters.resumes += 1
                return short
        if self._seq is not None:
            self._counters.resume_misses += 1
            common += b',"replay":false'
        return await self._load(common)

    async def _load(self, members: bytes) -> Answer:
        loaded = await load_value(self._declaration, self._ctx, self._arguments)
        if loaded.has_more is not None:
            members += b',"hasMore":%b,"cursor":%b' % (encode(loaded.has_more), encode(loaded.cursor))
        return Answer(migrated(self._options, loaded.data, self._schema), members)

    async def _delta(self, version: Any, common: bytes) -> Answer | None:
        """Nothing, or the rows changed since the client's version."""
        delta = self._options.delta
        if version is None or self._version is None or delta is None:
            return None
        if encode(version) == encode(self._version):  # 1 is not True
            return Answer([], common + b',"unchanged":true')
        rows = await self._ask("diff", delta.diff, self._version)
        if not isinstance(rows, list | tuple):
            return None
        try:
            shown = [row if _is_gone(row) else transformed(self._options, row) for row in rows]
        except Exception:
            log.exception("transform failed on the changed rows of %s; the whole value is sent", self._ctx.path)
            return None
        return Answer(shown, common + b',"delta":true')

    async def _replay(self, topic: TopicState, head: Pos | None, schema: bytes) -> Answer | None:
        """The missed events, from the log or else from the application."""
        after = self._seq
        if after is None or not self._is_trusted():
            return None
        reachable = True
        if head is not None:
            epoch = head.epoch if self._epoch is None else self._epoch
            found = self._hub.catch_up(topic, Pos(epoch, after))
            if found is None:
                return None
            if found.status == "ok":
                size = sum(len(frame.data) + len(frame.topic) + len(frame.event) + _AROUND for frame in found.frames)
                if size > self._hub.limits.reply_bytes:
                    return None
                missed = list(map(_Missed.of, found.frames))
                return Answer(missed, schema + _position(found.head) + b',"replay":true')
            reachable = found.status == "truncated"
        delta = self._options.delta
        events = await self._ask("from_seq", None if delta is None else delta.from_seq, after) if reachable else None
        return None if events is None else self._from_seq(topic.name, events, after, head, schema)

    def _from_seq(self, topic: str, events: Any, after: int, head: Pos | None, schema: bytes) -> Answer | None:
        try:
            missed = [_Missed(seq, topic, event, transformed(self._options, data)) for seq, event, data in events]
            last = max((each.seq for each in missed if each.seq is not None), default=None)
        except Exception:
            log.exception("delta.from_seq of %s gave no (seq, event, data); the whole value is sent", self._ctx.path)
            return None
        if head is None:
            return Answer(missed, schema + b',"seq":%d,"replay":true' % (after if last is None else last))
        if last is not None and last > head.seq:
            log.error(
                "delta.from_seq of %s gave event %d, but its log is at %d: the numbers are not those of the log",
                self._ctx.path,
                last,
                head.seq,
            )
            return None
        reached = head if last is None else Pos(head.epoch, last)
        return Answer(missed, schema + _position(reached) + b',"replay":true')

    def _is_trusted(self) -> bool:
        """Whether the client's number certainly belongs to this log, or says itself to which."""
        if self._epoch is not None:
            return isinstance(self._epoch, str)
        return self._options.merge != "latest" and not self._ctx.connection.estranged

    async def _ask(self, name: str, function: Callable[..., Any] | None, *since: Any) -> Any:
        """Ask the application; None when it does not know."""
        if function is None:
            return None
        try:
            result = function(self._ctx, *since, *self._arguments)
            if isawaitable(result):
                awaitable: Awaitable[Any] = result
                result = await awaitable
        except Exception:
            log.exception("delta.%s of %s failed; the whole value is sent", name, self._ctx.path)
            return None
        return result


def _position(pos: Pos | None) -> bytes:
    return b"" if pos is None else b',"seq":%d,"epoch":%b' % (pos.seq, encode(pos.epoch))


def _is_gone(row: Any) -> bool:
    return isinstance(row, dict) and bool(row.get("_deleted"))

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
from liverpc.declare.options import StreamOptions
from liverpc.declare.replies import REPLY_ENVELOPE
from liverpc.hub.hub import REFRESHED, Hub
from liverpc.hub.topic import Subscription, TopicState
from liverpc.streams.loading import load_value, migrated, shown, transformed
from liverpc.telemetry import Counters
from liverpc.wire.codec import encode
from liverpc.wire.frames import CallFrame

__all__ = ["Answer", "CatchUp"]

log = logging.getLogger("liverpc.streams")

_LOADS = 3  # of a value that is overtaken each time

_AROUND = 60  # bytes of a missed event in a reply, besides its names and data
_SEQ_MAX = (1 << 53) - 1  # what every client can count to; databases take no number of any size


class Answer(msgspec.Struct):
    """What a stream request is answered with."""

    data: Any
    members: bytes  #: further members of the reply, encoded, each beginning with a comma


class _Missed(msgspec.Struct):
    seq: int | None
    topic: str
    event: str
    data: msgspec.Raw

    @classmethod
    def of(cls, frame: Frame) -> _Missed:
        return cls(None if frame.pos is None else frame.pos.seq, frame.topic, frame.event, msgspec.Raw(frame.data))

    @property
    def size(self) -> int:
        return len(bytes(self.data)) + len(self.topic.encode()) + len(self.event.encode()) + _AROUND


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
        self._subscription = subscription
        self._declaration = declaration
        self._options = declaration.options
        self._ctx = ctx
        self._arguments = arguments
        self._largest = hub.limits.reply_bytes - REPLY_ENVELOPE
        self._seq = asked.seq if type(asked.seq) is int and 0 <= asked.seq <= _SEQ_MAX else None
        self._epoch = asked.epoch
        self._version = asked.version
        self._schema = asked.schema_version if type(asked.schema_version) is int else None

    async def answer(self) -> Answer:
        """What to send.

        Raises:
            Exception: The loader's.
        """
        options, subscription = self._options, self._subscription
        schema = b"" if options.version is None else b',"schemaVersion":%d' % options.version
        if subscription is None:
            return await self._load(schema)
        topic = subscription.topic
        # The position and the version are those from before the value is loaded, so that nothing falls between.
        found = self._hub.catch_up(topic, None) if options.replay else None
        head = None if found is None else found.head
        delta = options.delta
        version = await self._ask("version", None if delta is None else delta.version, encode)
        common = schema if version is None else schema + b',"version":' + version
        # What is sent instead of the value is in the present schema.
        if self._schema is None or options.version is None or self._schema >= options.version:
            short = await self._delta(version, common + _position(head)) or await self._replay(topic, head, schema)
            if short is not None:
                self._counters.resumes += 1
                return short
        if self._seq is not None:
            self._counters.resume_misses += 1
            common += b',"replay":false'
        return await self._whole(subscription, head, common)

    async def _whole(self, subscription: Subscription, head: Pos | None, members: bytes) -> Answer:
        """The value, and the position from before it was loaded.

        Where merging an event shows that the value has already, a value that was overtaken is loaded again.
        """
        shows = self._options.merge == "latest" or self._options.max > 0
        loads = _LOADS if head is not None and shows else 1
        while True:
            answer = await self._load(members + _position(head))
            loads -= 1
            if not loads or not subscription.begin_anew():
                return answer
            found = self._hub.catch_up(subscription.topic, None)
            head = None if found is None else found.head

    async def _load(self, members: bytes) -> Answer:
        loaded = await load_value(self._declaration, self._ctx, self._arguments)
        if loaded.has_more is not None:
            members += b',"hasMore":%b,"cursor":%b' % (encode(loaded.has_more), encode(loaded.cursor))
        return Answer(migrated(self._options, loaded.data, self._schema), members)

    async def _delta(self, version: bytes | None, common: bytes) -> Answer | None:
        """Nothing, or the rows changed since the client's version."""
        delta = self._options.delta
        if version is None or self._version is None or delta is None:
            return None
        if version == encode(self._version):  # 1 is not True
            return Answer([], common + b',"unchanged":true')
        rows = await self._ask("diff", delta.diff, self._shown, self._version)
        return None if rows is None else Answer(rows, common + b',"delta":true')

    def _shown(self, rows: Any) -> list[Any] | None:
        """Changed rows as clients see them; None when they are none, or more than a reply holds.

        Raises:
            Exception: One cannot be shown. It would be too late to find that out when the reply is encoded.
        """
        if not isinstance(rows, list | tuple):
            return None
        shown = [self._gone(row) if _is_gone(row) else transformed(self._options, row) for row in rows]
        return shown if len(encode(shown)) <= self._largest else None

    def _gone(self, row: dict[str, Any]) -> dict[str, Any]:
        # What is deleted may be a whole row of a table, and no transform was asked about it.
        key = self._options.key
        return {key: row[key], "_deleted": True}

    async def _replay(self, topic: TopicState, head: Pos | None, schema: bytes) -> Answer | None:
        """The missed events, from the log or else from the application."""
        after, options = self._seq, self._options
        if after is None or not self._is_trusted():
            return None
        if head is not None:
            found = self._hub.catch_up(topic, Pos(head.epoch if self._epoch is None else self._epoch, after))
            if found is None or found.status == "reset":
                return None
            if any(frame.event == REFRESHED for frame in found.frames):
                return None  # the value anew is no longer than that one, and has the cursor of a page
            if found.status == "ok":
                missed = list(map(_Missed.of, found.frames))
                return self._replayed(missed, schema + _position(found.head))
        elif options.replay:  # without its log nobody knows what the client's number means
            return None
        from_seq = None if options.delta is None else options.delta.from_seq
        told = await self._ask("from_seq", from_seq, lambda events: _told(options, topic.name, events, after), after)
        return None if told is None else self._from_seq(topic, told, after, head, schema)

    def _from_seq(
        self, topic: TopicState, missed: list[_Missed], after: int, head: Pos | None, schema: bytes
    ) -> Answer | None:
        last = max((each.seq for each in missed if each.seq is not None), default=None)
        if head is None:
            return self._replayed(missed, schema + b',"seq":%d' % (after if last is None else last))
        now = self._hub.catch_up(topic, None)  # it may have gone on while the application looked
        if now is None or now.head.epoch != head.epoch:
            return None
        if last is not None and last > now.head.seq:
            log.error(
                "delta.from_seq of %s gave event %d, but its log is at %d: the numbers are not those of the log",
                self._ctx.path,
                last,
                now.head.seq,
            )
            return None
        return self._replayed(missed, schema + _position(head if last is None else Pos(head.epoch, last)))

    def _replayed(self, missed: list[_Missed], members: bytes) -> Answer | None:
        if sum(each.size for each in missed) > self._largest:
            return None
        return Answer(missed, members + b',"replay":true')

    def _is_trusted(self) -> bool:
        """Whether the client says to which log its number belongs; if not, a number of this one is taken for it.

        Those who do not count events get under ``latest`` some twice.
        """
        return self._options.merge != "latest" if self._epoch is None else isinstance(self._epoch, str)

    async def _ask(
        self, name: str, function: Callable[..., Any] | None, then: Callable[[Any], Any], *since: Any
    ) -> Any:
        """What ``then`` makes of what the application says; None when that does not know, or says what is unusable."""
        if function is None:
            return None
        try:
            result = function(self._ctx, *since, *self._arguments)
            if isawaitable(result):
                awaitable: Awaitable[Any] = result
                result = await awaitable
            return None if result is None else then(result)
        except Exception:
            log.exception("delta.%s of %s failed; the whole value is sent", name, self._ctx.path)
            return None


def _told(options: StreamOptions, topic: str, events: Any, after: int) -> list[_Missed]:
    """What ``from_seq`` gave.

    Raises:
        TypeError: It is not ``(seq, event, data)`` each.
        ValueError: A number is one that the client has reached.
    """
    missed: list[_Missed] = []
    for seq, event, data in events:
        if not (seq is None or type(seq) is int) or not isinstance(event, str):
            raise TypeError(f"it gave ({seq!r}, {event!r}, …), not a number or None, an event's name, and data")
        if seq is not None and seq <= after:
            raise ValueError(f"it gave event {seq}, which is not after {after}")
        missed.append(_Missed(seq, topic, event, msgspec.Raw(encode(shown(options, event, data)))))
    return missed


def _position(pos: Pos | None) -> bytes:
    return b"" if pos is None else b',"seq":%d,"epoch":%b' % (pos.seq, encode(pos.epoch))


def _is_gone(row: Any) -> bool:
    return isinstance(row, dict) and bool(row.get("_deleted"))

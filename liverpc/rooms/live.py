"""The rooms of a server (``live.room``): who is in them, and what others hear of it (docs/protocol.md section 12)."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any

import msgspec

from liverpc.config import Limits
from liverpc.declare.context import Context
from liverpc.declare.rooms import RoomFunction
from liverpc.errors import ErrorCode, Issue, LiveError
from liverpc.hub.hub import Hub
from liverpc.hub.tasks import Background, passes
from liverpc.policies.pacing import Pacing
from liverpc.rooms.census import Occupant, Refusal, RoomRow
from liverpc.rooms.refusals import Refusals
from liverpc.streams.subscribe import ActiveStream
from liverpc.telemetry import Counters
from liverpc.wire.codec import encode

__all__ = ["LiveRooms"]

log = logging.getLogger("liverpc.rooms")

CURSOR_SECONDS = 0.05
CURSOR_BYTES = 1024

AnyRoom = RoomFunction[Any, Any, Any, Any]


class _Member:
    """A user, or a guest, in one room.

    Attributes:
        streams: Of the room's data, those that are loading included. None: the user is in its grace.
        shown: To the others, as plain JSON values; None: nothing.
        joined: The application was told.
        grace: Ends it.
        last: The stream that ended last.
        cursor: Its last position.
    """

    __slots__ = ("cursor", "grace", "joined", "key", "last", "shown", "since", "streams")

    def __init__(self, key: str, since: float) -> None:
        self.key = key
        self.since = since
        self.streams: dict[ActiveStream, None] = {}
        self.shown: Any = None
        self.joined = False
        self.last: ActiveStream | None = None
        self.grace: asyncio.TimerHandle | None = None
        self.cursor: dict[str, Any] | None = None


class _Room:
    """One topic of one room."""

    __slots__ = ("base", "declared", "listed", "members", "number", "topic", "unlisted")

    def __init__(self, declared: AnyRoom, base: str, topic: str, number: int) -> None:
        self.declared = declared
        self.base = base  # of its paths, as served
        self.topic = topic
        self.number = number
        self.members: dict[str, _Member] = {}
        self.listed: dict[str, _Member] = {}  # those the others were told of, in that order
        self.unlisted: dict[str, _Member] = {}  # those for whom there was no place


class LiveRooms:
    """Who is in the rooms of one server; ``declare.occupancy.Occupancy`` and ``census.Census``.

    A member is in the room while one of its connections has the data, and for the grace after that. All of it is
    kept here and nowhere else: what connections hold are streams, which come and go through this object.

    Args:
        hub: Where it publishes.
        pacing: For cursors.
        limits: Of the server.
        counters: Likewise.
        background: Runs the application's hooks.
        report: Told of errors nobody expected, as ``Services.report``.
    """

    def __init__(
        self,
        hub: Hub,
        pacing: Pacing,
        limits: Limits,
        counters: Counters,
        background: Background,
        report: Callable[[str, BaseException, Any], object],
    ) -> None:
        self._hub = hub
        self._pacing = pacing
        self._limits = limits
        self._counters = counters
        self._background = background
        self._report = report
        self._rooms: dict[str, _Room] = {}
        self._graces: Counter[str] = Counter()  # by user
        self._numbers = 0
        self._refusals = Refusals(lambda: hub.monotonic())
        self._warned = False

    # -- coming

    async def arrive(self, stream: ActiveStream, topic: str) -> None:
        """See ``Occupancy.arrive``."""
        declared: Any = stream.declaration
        shown = await self._shown(declared, stream.ctx, stream.arguments)
        subscription = stream.ctx.connection.subscriptions.get(topic)
        if subscription is None or stream not in subscription.streams:  # it has left meanwhile
            return
        room = self._rooms.get(topic)
        if room is None:
            self._numbers += 1
            room = self._rooms[topic] = _Room(declared, _base(stream.ctx), topic, self._numbers)
        key = stream.ctx.connection.key
        member = room.members.get(key)
        if member is None:
            member = room.members[key] = _Member(key, self._hub.monotonic())
        self._end_grace(member)
        member.streams[stream] = None
        self._show(room, member, shown)

    async def _shown(self, room: AnyRoom, ctx: Context[Any], arguments: Sequence[Any]) -> Any:
        """What is shown of the caller, as plain JSON values; None: nothing."""
        if room.shows is None:
            return None
        try:
            shown = room.shows.handler(ctx, *arguments)
            if isawaitable(shown):
                shown = await shown
            return None if shown is None else msgspec.json.decode(encode(shown))
        except BaseException as error:  # who cannot be shown may still be there
            if passes(error, gone=ctx.connection.closed):
                raise
            log.exception("%s failed; the user is not listed", room.shows.path)
            self._report(room.shows.path, error, ctx)
            return None

    def _show(self, room: _Room, member: _Member, shown: Any) -> None:
        before, member.shown = member.shown, shown
        if shown is None:
            room.unlisted.pop(member.key, None)
            self._drop_cursor(room, member)
            if member.key in room.listed:
                self._unlist(room, member)
        elif member.key not in room.listed:
            if self._has_place(room):
                self._list(room, member)
            else:
                room.unlisted[member.key] = member
        elif before != shown:
            self._publish(room, ":presence", "join", {"key": member.key, "data": shown})

    def _list(self, room: _Room, member: _Member) -> None:
        room.listed[member.key] = member
        self._publish(room, ":presence", "join", {"key": member.key, "data": member.shown})

    def _unlist(self, room: _Room, member: _Member) -> None:
        del room.listed[member.key]
        self._publish(room, ":presence", "leave", {"key": member.key})
        if room.unlisted and len(room.listed) < self._limits.presence_per_room:
            self._list(room, room.unlisted.pop(next(iter(room.unlisted))))

    def _has_place(self, room: _Room) -> bool:
        """Whether one more can be listed, if need be instead of one who has left."""
        if len(room.listed) < self._limits.presence_per_room:
            return True
        leaving = next((each for each in room.listed.values() if each.grace is not None), None)
        if leaving is not None:
            self._remove(room, leaving)
            return len(room.listed) < self._limits.presence_per_room
        self._counters.presence_overflows += 1
        if not self._warned:
            self._warned = True
            log.warning(
                "the room %r lists %d users, limits.presence_per_room; further ones are not listed (said once)",
                room.topic,
                len(room.listed),
            )
        return False

    def settled(self, stream: ActiveStream, topic: str) -> None:
        """See ``Occupancy.settled``."""
        found = self._find(stream, topic)
        if found is not None and not found[1].joined:
            found[1].joined = True
            self._tell(found[0].declared.on_join_hook, stream)

    # -- going

    def left(self, stream: ActiveStream, topic: str, *, failed: bool = False) -> None:
        """See ``Occupancy.left``."""
        found = self._find(stream, topic)
        if found is None:
            return
        room, member = found
        del member.streams[stream]
        member.last = stream
        if member.streams:
            return
        self._drop_cursor(room, member)
        if failed or room.unlisted or not (member.joined or member.key in room.listed):
            self._remove(room, member)  # without a grace: others wait for its place, or nobody has heard of it
        elif self._graces[member.key] >= self._limits.presence_graces:
            self._counters.presence_graces_cut += 1
            self._remove(room, member)
        else:
            self._graces[member.key] += 1
            loop = asyncio.get_running_loop()
            member.grace = loop.call_later(self._limits.presence_grace_seconds, self._remove, room, member)

    def _end_grace(self, member: _Member) -> None:
        if member.grace is not None:
            member.grace.cancel()
            member.grace = None
            self._graces[member.key] -= 1
            if not self._graces[member.key]:
                del self._graces[member.key]

    def _find(self, stream: ActiveStream, topic: str) -> tuple[_Room, _Member] | None:
        room = self._rooms.get(topic)
        member = room and room.members.get(stream.ctx.connection.key)
        return (room, member) if room and member and stream in member.streams else None

    def _remove(self, room: _Room, member: _Member) -> None:
        """The member is gone for good."""
        self._end_grace(member)
        del room.members[member.key]
        if not room.members:
            del self._rooms[room.topic]
        room.unlisted.pop(member.key, None)
        if member.key in room.listed:
            self._unlist(room, member)
        if member.joined and member.last is not None:
            self._tell(room.declared.on_leave_hook, member.last)

    def close(self) -> None:
        """The server stops, and has no connections any more: no grace is left."""
        for room in list(self._rooms.values()):
            for member in list(room.members.values()):
                self._remove(room, member)

    # -- cursors

    def move_cursor(self, ctx: Context[Any], topic: str, position: Mapping[str, Any]) -> None:
        """See ``Occupancy.move_cursor``."""
        room = self._rooms.get(topic)
        member = room and room.members.get(ctx.connection.key)
        if not room or not member or not member.streams:
            raise LiveError(ErrorCode.INVALID_REQUEST, "subscribe to the room's data before you move a cursor in it")
        row = {**position, "key": member.key}
        if len(encode(row)) > CURSOR_BYTES:
            issue = Issue(["position"], f"Expected at most {CURSOR_BYTES} bytes of JSON")
            raise LiveError(ErrorCode.VALIDATION, "Validation failed", issues=[issue])
        if room.declared.shows is not None and member.shown is None:
            return  # who is hidden has no cursor, which would name it
        member.cursor = row
        self._pacing.throttle(topic + ":cursors", "update", row, CURSOR_SECONDS, ctx)

    def _drop_cursor(self, room: _Room, member: _Member) -> None:
        if member.cursor is not None:
            self._pacing.forget(room.topic + ":cursors", "update", member.cursor)
            member.cursor = None
            self._publish(room, ":cursors", "remove", {"key": member.key})

    # -- looking

    def roster(self, topic: str) -> list[dict[str, Any]]:
        """See ``Occupancy.roster``."""
        room = self._rooms.get(topic)
        listed = room.listed.values() if room else ()
        return [{"key": member.key, "data": member.shown} for member in listed]

    def cursors(self, topic: str) -> list[dict[str, Any]]:
        """See ``Occupancy.cursors``."""
        room = self._rooms.get(topic)
        members = room.members.values() if room else ()
        return [member.cursor for member in members if member.cursor is not None]

    def refuse(self, ctx: Context[Any], why: str | LiveError) -> None:
        """See ``Occupancy.refuse``."""
        self._refusals.add(ctx, _base(ctx), why)

    @property
    def refused(self) -> int:
        """See ``Census.refused``."""
        return self._refusals.total

    def rows(self) -> Iterator[RoomRow]:
        """See ``Census.rows``."""
        for room in self._rooms.values():
            members = [
                Occupant(
                    member.key,
                    tuple(dict.fromkeys(stream.ctx.connection.id for stream in member.streams)),
                    "stream",
                    member.since,
                    member.shown,
                    member.cursor,
                )
                for member in room.members.values()
            ]
            yield RoomRow(room.number, "room", room.topic, "", room.base, members)

    def refusals(self) -> list[Refusal]:
        """See ``Census.refusals``."""
        return list(self._refusals.last)

    # -- inside

    def _publish(self, room: _Room, beside: str, event: str, row: dict[str, Any]) -> None:
        try:
            self._hub.publish(room.topic + beside, event, row)
        except LiveError as error:  # a topic that is too long with what is beside it
            log.warning("%s of the room %r is not published: %s", event, room.topic, error.message)

    def _tell(self, hook: Callable[..., object] | None, stream: ActiveStream) -> None:
        if hook is not None:
            failed = partial(self._failed, stream.ctx)
            self._background.hook(hook, stream.ctx, *stream.arguments, failed=failed)

    def _failed(self, ctx: Context[Any], error: BaseException) -> None:
        self._report(ctx.path, error, ctx)


def _base(ctx: Context[Any]) -> str:
    """Of the paths of the room that a call is about, as they are served."""
    return ctx.path.partition("/__")[0]

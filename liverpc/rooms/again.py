"""A contract whose connection's user was refreshed: may it stay in its rooms? (docs/protocol.md section 12)"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from liverpc.declare.context import Context
from liverpc.declare.guards import Guard
from liverpc.declare.members import Room
from liverpc.errors import ErrorCode, LiveError
from liverpc.rooms.groups import Group
from liverpc.rooms.membership import Served, rooms_of
from liverpc.rooms.places import Granted, Wish
from liverpc.streams.doubts import Doubt, Doubts
from liverpc.wire.frames import ROOM_JOINED, ROOM_LOST

__all__ = ["doubt"]


def doubt(served: Served, ctx: Context[Any]) -> Doubt:
    """Whether the connection may be in the rooms of a contract: its guard is asked, and then about each room.

    Each is kept until its own answer is known. The connection leaves what is refused, goes where another key says,
    and its client is told what it has lost. Private rooms that are joined without being asked for, and were refused
    before, are joined now if they may be. Where handlers have put the connection by a key of their own, it stays; but
    a guard that refuses takes everything.

    Args:
        served: The contract; it is open.
        ctx: Of the connection.
    """
    ctx = msgspec.structs.replace(ctx.anew(), path=f"{served.declared.name}/__open", served=served)
    return Doubt(ctx, partial(_passes, served.guard, ctx), lambda _: _rooms(served, ctx), partial(_leave_all, served))


async def _passes(guard: Guard | None, ctx: Context[Any]) -> None:
    if guard is not None and (waiting := guard.check(ctx)) is not None:
        await waiting


def _rooms(served: Served, ctx: Context[Any]) -> Iterator[Doubt]:
    rooms = {room.name: room for room in rooms_of(served.declared)}
    for room in rooms.values():
        if not room.exposed:
            have = partial(_have, served, ctx, room)
            yield Doubt(ctx, partial(_own, served, ctx, room), have, partial(_lose, have, served, ctx, room, b"[]"))
    for wish, granted in served.places.wishes.items():
        room = rooms[wish[0]]
        if room.exposed:
            have = partial(_have_wish, served, ctx, room, wish, granted)
            ask = partial(_wish, served, ctx, room, granted)
            yield Doubt(ctx, ask, have, partial(_lose, have, served, ctx, room, granted.asked))


def _lose(
    have: Callable[[None], object],
    served: Served,
    ctx: Context[Any],
    room: Room[Any, Any],
    asked: bytes,
    error: LiveError,
) -> None:
    """It is not known which group it is, or the payload does not fit any more: its type may look at other things."""
    served.selectors.refuse(ctx, room, error, msgspec.Raw(asked))
    if not room.exposed:
        served.selectors.failed.add(room.name)
    have(None)


def _leave_all(served: Served, error: LiveError) -> None:
    own, rooms = served.selectors.own, rooms_of(served.declared)
    is_unknown = error.code == ErrorCode.INTERNAL_ERROR  # else it is refused, whatever its rooms were before
    served.selectors.failed = {room.name for room in rooms} if is_unknown else set()
    for room in rooms:
        if not room.exposed and served.is_open:
            before, own[room.name] = own.get(room.name), None
            _move(served, room, before, None)
    for member in list(served.places.members.values()):
        for reason in member.reasons:
            if isinstance(reason, tuple):
                _tell(served, member.group.room, served.places.wishes[reason].asked)
        served.places.leave(member.group.topic)


async def _own(served: Served, ctx: Context[Any], room: Room[Any, Any]) -> Group | None:
    assert served.contract is not None
    served.selectors.failed.discard(room.name)
    return await served.selectors.group(ctx, room, served.contract)


def _have(served: Served, ctx: Context[Any], room: Room[Any, Any], group: Group | None) -> Doubts:
    selectors = served.selectors
    before, selectors.own[room.name] = selectors.own.get(room.name), group
    try:
        _move(served, room, before, group)
    except LiveError as error:  # there is no room for a further stream
        selectors.refuse(ctx, room, error)
        selectors.failed.add(room.name)
        selectors.own[room.name] = None
        _tell(served, room.name)
        _settle(served, room, joined=False)
    return ()


def _move(served: Served, room: Room[Any, Any], before: Group | None, after: Group | None) -> None:
    """The connection has another group of a private room now, or none."""
    places = served.places
    if places.ended or (before and before.topic) == (after and after.topic):
        return
    member = None if before is None else places.members.get(before.topic)
    reasons = list(member.reasons) if member is not None else ["auto"] if before is None and room.auto_join else []
    if before is not None:
        places.leave(before.topic)
    if after is not None:
        for reason in reasons:
            places.enter(after, reason)
    elif reasons and before is not None:
        _tell(served, room.name)
    _settle(served, room, joined=after is not None)


def _settle(served: Served, room: Room[Any, Any], *, joined: bool) -> None:
    """What the next opening is told, and whether there is one."""
    if not room.auto_join or served.answer is None:
        return
    there, elsewhere = served.answer.joined, served.answer.refused
    if not joined:
        there, elsewhere = elsewhere, there
    if room.name in elsewhere:
        elsewhere.remove(room.name)
        there.append(room.name)
        if joined:
            served.send(ROOM_JOINED, {"room": room.name})
    if room.required and not joined:
        served.end_without(room)


async def _wish(served: Served, ctx: Context[Any], room: Room[Any, Any], granted: Granted) -> Group | None:
    assert served.contract is not None
    args = msgspec.Raw(granted.asked)
    return await served.selectors.group(ctx, room, served.contract, *room.decode(args), asked=args)


def _have_wish(
    served: Served, ctx: Context[Any], room: Room[Any, Any], wish: Wish, granted: Granted, group: Group | None
) -> Doubts:
    places = served.places
    if places.wishes.get(wish) is not granted or (group is not None and group.topic == granted.topic):
        return ()
    places.give_up(wish)
    if group is not None:
        try:
            places.enter(group, wish, granted.asked)
        except LiveError as error:  # there is no room for a further stream
            served.selectors.refuse(ctx, room, error, msgspec.Raw(granted.asked))
        else:
            return ()
    _tell(served, room.name, granted.asked)
    return ()


def _tell(served: Served, room: str, asked: bytes = b"[]") -> None:
    served.counters.streams_revoked += 1
    served.send(ROOM_LOST, {"room": room, "args": msgspec.Raw(asked)})

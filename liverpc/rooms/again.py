"""A contract whose connection's user was refreshed: may it stay in its rooms? (docs/protocol.md section 12)"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import msgspec

from liverpc.declare.context import Context
from liverpc.declare.contract import Contract
from liverpc.declare.guards import Guard
from liverpc.declare.members import Room
from liverpc.errors import LiveError
from liverpc.hub.tasks import a_few_at_once
from liverpc.rooms.groups import Group
from liverpc.rooms.membership import Served, rooms_of
from liverpc.rooms.places import Granted, Wish
from liverpc.wire.frames import ROOM_LOST

__all__ = ["ask_again"]


async def ask_again(served: Served, ctx: Context[Any]) -> None:
    """Ask about every room of a contract whether the connection may be there.

    Each is kept until its own answer is known, or ``limits.connect_seconds`` are over. Then the connection leaves what
    is refused, goes where another key says, and its client is told what it has lost. Private rooms that are joined
    without being asked for, and were refused before, are joined now if they may be. Where handlers have put the
    connection by a key of their own, it stays; but a guard that refuses takes everything.

    Args:
        served: The contract; it is open.
        ctx: For guard and selectors.
    """
    contract = served.contract
    assert contract is not None
    if served.guard is not None and not await _passes(served.guard, ctx, served.seconds):
        _leave_all(served)
        return
    rooms = {room.name: room for room in rooms_of(served.declared)}
    questions = [partial(_ask_own, served, ctx, contract, room) for room in rooms.values() if not room.exposed]
    for wish, granted in served.places.wishes.items():
        if rooms[wish[0]].exposed:
            questions.append(partial(_ask_wish, served, ctx, contract, rooms[wish[0]], wish, granted))
    await a_few_at_once(questions)


async def _passes(guard: Guard, ctx: Context[Any], seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            if (waiting := guard.check(ctx)) is not None:
                await waiting
    except (LiveError, TimeoutError):
        return False
    return True


def _leave_all(served: Served) -> None:
    own = served.selectors.own
    for room in rooms_of(served.declared):
        if not room.exposed and served.is_open:
            before, own[room.name] = own.get(room.name), None
            _move(served, room, before, None)
    for member in list(served.places.members.values()):
        for reason in member.reasons:
            if isinstance(reason, tuple):
                _tell(served, member.group.room, served.places.wishes[reason].asked)
        served.places.leave(member.group.topic)


async def _ask_own(served: Served, ctx: Context[Any], contract: Contract[Any, Any, Any], room: Room[Any, Any]) -> None:
    selectors = served.selectors
    before = selectors.own.get(room.name)
    selectors.failed.discard(room.name)
    await selectors.select(ctx, contract, [room])
    try:
        _move(served, room, before, selectors.own[room.name])
    except LiveError as error:  # there is no room for a further stream
        selectors.refuse(ctx, room, error)
        selectors.failed.add(room.name)
        selectors.own[room.name] = None
        _tell(served, room.name)
        _settle(served, room, joined=False)


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
    if room.required and not joined:
        served.end_without(room)


async def _ask_wish(
    served: Served,
    ctx: Context[Any],
    contract: Contract[Any, Any, Any],
    room: Room[Any, Any],
    wish: Wish,
    granted: Granted,
) -> None:
    places, selectors, args = served.places, served.selectors, msgspec.Raw(granted.asked)
    group = None
    try:
        async with asyncio.timeout(served.seconds):
            group = await selectors.group(ctx, room, contract, *room.decode(args), asked=args)
    except TimeoutError:
        selectors.refuse(ctx, room, f"the key was not there within {served.seconds:g} s", args)
    except LiveError as error:  # the payload does not fit any more: its type may look at other things, too
        selectors.refuse(ctx, room, error, args)
    if places.wishes.get(wish) is not granted or (group is not None and group.topic == granted.topic):
        return
    places.give_up(wish)
    if group is not None:
        try:
            places.enter(group, wish, granted.asked)
        except LiveError as error:  # there is no room for a further stream
            selectors.refuse(ctx, room, error, args)
        else:
            return
    _tell(served, room.name, granted.asked)


def _tell(served: Served, room: str, asked: bytes = b"[]") -> None:
    served.connection.send_event(
        f"{served.declared.name}/__client", ROOM_LOST, {"room": room, "args": msgspec.Raw(asked)}
    )

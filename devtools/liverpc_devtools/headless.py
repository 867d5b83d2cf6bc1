"""The commands without a screen: ``snapshot``, ``top``, ``tail``, ``chaos`` and ``kick``.

Standard output is data only, one JSON object a line, ASCII only; narration goes to standard error. The output
is the same whether or not a person looks at it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import msgspec

from liverpc.errors import AttachError
from liverpc.inspector.protocol import (
    ChaosArm,
    ChaosChanged,
    ChaosClear,
    ChaosRule,
    ClientFrame,
    Err,
    Events,
    Got,
    Kick,
    Look,
    Match,
    Ok,
    RoomInfo,
    Rooms,
    ServerFrame,
    State,
    Watch,
    Welcome,
)
from liverpc_devtools.core import records
from liverpc_devtools.core.attach import Attachment
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.target import Target
from liverpc_devtools.core.text import clean

__all__ = ["Refused", "chaos_clear", "chaos_list", "chaos_set", "kick", "next_due", "snapshot", "tail", "top"]

_CLEAR_SECONDS = 2.0
_MEMBERS_SECONDS = 5.0  # for asking one room after the other
_MAX_MEMBERS = 200


class Refused(Exception):
    """The server was reached and would not do what was asked."""


def emit(record: dict[str, Any]) -> None:
    """Write one record to standard output."""
    # ASCII only: what was put into topics and payloads cannot act on a terminal.
    sys.stdout.write(json.dumps(record, default=msgspec.to_builtins) + "\n")
    sys.stdout.flush()


def narrate(text: str) -> None:
    """Tell people what happens."""
    sys.stderr.write(f"liverpc-tui: {clean(text)}\n")
    sys.stderr.flush()


def _tell(welcome: Welcome) -> None:
    for each in welcome.denied:
        narrate(each)


# -- snapshot ---------------------------------------------------------------------------------------------


async def snapshot(target: Target, *, wait_live: bool, timeout: float) -> None:  # noqa: ASYNC109  an option
    """Write what the server knows now as one object.

    Args:
        target: The server.
        wait_live: First wait until a stream has published and a function was called.
        timeout: Seconds for that, or for the first whole state.
    """
    async with await Attachment.open(target, "observe") as attachment:
        model = Model()
        model.attached(attachment.welcome, attachment.send)
        model.look(Look())
        try:
            async with asyncio.timeout(timeout):
                await _fill(attachment, model, wait_live=wait_live)
        except TimeoutError:
            if not model.rows.complete:
                raise AttachError("unreachable", f"no state came within {timeout:g} s") from None
            if wait_live:
                narrate(f"not live within {timeout:g} s: no stream has published, or nothing was called")
        members = await _members(attachment, model)
        emit(records.snapshot(model, attachment.welcome, members))


async def _fill(attachment: Attachment, model: Model, *, wait_live: bool) -> None:
    asked: int | None = None
    while True:
        frame = await attachment.receive()
        if frame is None:
            continue
        model.apply(frame)
        if isinstance(frame, Got) and frame.id == asked:
            return
        if asked is None and model.rows.complete and (not wait_live or _live(model)):
            # Asked for last, so that the calls in the history include those in the figures.
            asked = model.get("calls")


async def _members(attachment: Attachment, model: Model) -> list[dict[str, Any]]:
    """Who is in the rooms, as far as it can be told in a few seconds."""
    found: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(_MEMBERS_SECONDS):
            for room in list(model.rooms.rows.values()):
                await _look_into(attachment, model, room)
                named = records.fields(room, "kind", "number", "name")
                found += [{**named, **msgspec.structs.asdict(each)} for each in model.rooms.members]
                if len(found) >= _MAX_MEMBERS:
                    break
    except TimeoutError:
        pass
    return found[:_MAX_MEMBERS]


async def _look_into(attachment: Attachment, model: Model, room: RoomInfo) -> None:
    model.look(Look(kind=room.kind, number=room.number))
    while True:
        frame = await attachment.receive()
        if frame is not None:
            model.apply(frame)
            if isinstance(frame, Rooms) and frame.of == (room.kind, room.number):
                return


def _live(model: Model) -> bool:
    published = any(row.stats.published for row in model.rows.streams.values())
    return published and any(row.stats.calls for row in model.rows.paths.values())


# -- top --------------------------------------------------------------------------------------------------


async def top(target: Target, *, interval: float, number: int | None) -> None:
    """Write the figures of the moment, again and again.

    Args:
        target: The server.
        interval: Seconds from one record to the next, and before the first.
        number: Stop after so many; None for no end.
    """
    async with await Attachment.open(target, "observe") as attachment:
        _tell(attachment.welcome)
        model, left = Model(), number
        model.attached(attachment.welcome, attachment.send)
        due = model.now() + interval
        while left is None or left > 0:
            frame = await attachment.receive()
            if frame is not None:
                model.apply(frame)
            if isinstance(frame, State) and frame.at >= due:  # a state comes four times a second
                due = next_due(due, frame.at, interval)
                emit(records.top(model, frame.at))
                left = None if left is None else left - 1


def next_due(due: float, at: float, interval: float) -> float:
    """When the record after one that was due and came at ``at`` is due: in step, and none is made up for."""
    return due + interval * (1 + (at - due) // interval)


# -- tail -------------------------------------------------------------------------------------------------


async def tail(target: Target, match: Match, *, number: int | None, seconds: float | None) -> None:
    """Write events as they happen, after a ``meta`` record; a ``gap`` record for each loss.

    Args:
        target: The server.
        match: Which events.
        number: Stop after so many; None for no end.
        seconds: Stop after so long; None for no end.
    """
    async with await Attachment.open(target, "observe") as attachment:
        _tell(attachment.welcome)
        attachment.send(Watch(id=attachment.session.new_id(), match=match))
        welcome, left = attachment.welcome, number
        emit(
            {
                "t": "meta",
                "schema": records.SCHEMA,
                "server": msgspec.to_builtins(welcome.server),
                "granted": welcome.granted,
                "at": welcome.at,
                "wall": welcome.wall,
                "redacted": welcome.redacted,
            }
        )
        try:
            async with asyncio.timeout(seconds):
                while left is None or left > 0:
                    frame = await attachment.receive()
                    if isinstance(frame, Events):
                        left = _print_events(frame, welcome, left)
        except TimeoutError:
            return


def _print_events(frame: Events, welcome: Welcome, left: int | None) -> int | None:
    if frame.lost:
        emit({"t": "gap", "dropped": frame.lost, "sample": frame.sample})
    items = frame.items if left is None else frame.items[:left]
    for each in items:
        emit({"t": "event", "wall": round(welcome.wall + each.at - welcome.at, 6), **records.event(each)})
    return None if left is None else left - len(items)


# -- chaos ------------------------------------------------------------------------------------------------


async def chaos_list(target: Target) -> None:
    """Write the faults in force, one a line; nothing when there are none."""
    async with await Attachment.open(target, "observe") as attachment:
        async for frame in attachment:
            if isinstance(frame, State):
                for rule in frame.chaos:
                    emit({"t": "rule", **records.rule(rule)})
                return


async def chaos_clear(target: Target) -> None:
    """Remove every fault."""
    async with await Attachment.open(target, "observe") as attachment:
        number = attachment.session.new_id()
        await _request(attachment, ChaosClear(id=number), number)
        emit({"t": "cleared"})


async def chaos_set(target: Target, rule: ChaosRule, *, ttl: float, detach: bool) -> None:
    """Put a fault in force and stay until it ended; when cancelled, remove it first.

    With ``detach`` return at once; the server ends the fault after ``ttl`` seconds.

    Raises:
        Refused: The server lets nobody inject faults, or not this one.
        AttachError: The token may not inject faults.
    """
    async with await Attachment.open(target, "chaos") as attachment:
        welcome = attachment.welcome
        why = clean("; ".join(welcome.denied))
        if not welcome.chaos:
            raise Refused(why or "this server lets nobody inject faults")
        if welcome.granted not in ("chaos", "admin"):
            raise AttachError("refused", why or "this token may not inject faults")
        number = attachment.session.new_id()
        armed = await _request(attachment, ChaosArm(id=number, rule=rule, ttl=ttl, detach=detach), number)
        emit({"t": "armed", "rule": armed.rule, "topic": rule.topic, "rate": rule.rate, "ttl": ttl, "detach": detach})
        if detach:
            narrate(f"rule {armed.rule} stays for {ttl:g} s; `liverpc-tui chaos URL clear` removes it")
            return
        narrate(f"rule {armed.rule} is in force for at most {ttl:g} s; Ctrl-C removes it")
        last = rule
        try:
            async for frame in attachment:
                rules = _rules(frame)
                if rules is not None:
                    mine = next((each for each in rules if each.id == armed.rule), None)
                    if mine is None:
                        break
                    last = mine
        except asyncio.CancelledError:
            await _remove(attachment, armed.rule)
            _ended(armed.rule, last, "removed")
            raise
        _ended(armed.rule, last, "ended")


async def _remove(attachment: Attachment, rule: int) -> None:
    number = attachment.session.new_id()
    try:
        async with asyncio.timeout(_CLEAR_SECONDS):
            await _request(attachment, ChaosClear(id=number, rule=rule), number)
    except (TimeoutError, AttachError, Refused):
        narrate(f"rule {rule} could not be removed; the server ends it when it misses our pings")


def _rules(frame: ServerFrame) -> list[ChaosRule] | None:
    if isinstance(frame, ChaosChanged):
        return frame.active
    return frame.chaos if isinstance(frame, State) else None


def _ended(number: int, rule: ChaosRule, how: str) -> None:
    emit({"t": how, "rule": number, "hits": rule.hits, "seen": rule.seen, "seed": rule.seed})


async def _request(attachment: Attachment, frame: ClientFrame, number: int) -> Ok:
    attachment.send(frame)
    while True:
        answer = await attachment.receive()
        if isinstance(answer, Ok) and answer.id == number:
            return answer
        if isinstance(answer, Err) and answer.id == number:
            raise Refused(clean(answer.text))


# -- kick -------------------------------------------------------------------------------------------------


async def kick(target: Target, wish: Kick) -> None:
    """Close connections, and write how many.

    Raises:
        Refused: There are none, or not within this token's topics.
        AttachError: The token may not close connections.
    """
    async with await Attachment.open(target, "admin") as attachment:
        welcome = attachment.welcome
        if welcome.granted != "admin":
            raise AttachError("refused", clean("; ".join(welcome.denied)) or "this token may not close connections")
        number = attachment.session.new_id()
        done = await _request(attachment, msgspec.structs.replace(wish, id=number), number)
        emit({"t": "kicked", "connection": wish.connection, "user": wish.user, "closed": done.closed})

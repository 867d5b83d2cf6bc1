"""``snapshot``: what a server knows now."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from liverpc.errors import AttachError
from liverpc.inspector.protocol import Got, Look, RoomInfo, Rooms
from liverpc_devtools.core import records
from liverpc_devtools.core.attach import Attachment
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.target import Target
from liverpc_devtools.headless.output import emit, narrate

__all__ = ["snapshot"]

_MEMBERS_SECONDS = 5.0  # for asking one room after the other
_MAX_MEMBERS = 200


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

"""A chat: one stream per room, found by a template over the arguments."""

from __future__ import annotations

from collections import deque
from typing import Annotated

from msgspec import Meta

from liverpc import Context, LiveError, live, public
from liverpc.demo.world import Message, Visitor

_guard = public()

MAX_ROOMS = 100
RoomName = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z")]
Text = Annotated[str, Meta(min_length=1, max_length=2000)]


@live.stream("chat:{room}", merge="crud", key="id", max=50, replay=True)
async def messages(ctx: Context[Visitor], room: RoomName) -> list[Message]:
    """The last lines of a room, then everything said from now on; who was away gets what was said meanwhile."""
    return list(ctx.user.world.rooms.get(room, ()))


@live
async def send(ctx: Context[Visitor], room: RoomName, text: Text) -> Message:
    """Say something in a room."""
    world = ctx.user.world
    if room not in world.rooms and len(world.rooms) >= MAX_ROOMS:
        raise LiveError("FULL", f"there are {MAX_ROOMS} rooms already; use one of them")
    message = Message(world.next_id(), ctx.user.id, text)
    world.rooms.setdefault(room, deque(maxlen=50)).append(message)
    ctx.publish(messages.topic(room), "created", message)
    return message

"""The rest of module ``demo``: what the server says to one user (fixture-contract.md)."""

from __future__ import annotations

from typing import Any

import msgspec

from liverpc import Connection, Context, LiveError, PushFailed, live
from tests.wire.fixture_world import Caller, Row


def connections_of(ctx: Context[Caller], user_id: str | None) -> list[Connection]:
    """A user's connections, the most recent one last. Anonymous callers are nobody together."""
    connections = ctx.user.world.server.connections
    return [connection for connection in connections if user_id is not None and connection.user_id == user_id]


async def push(ctx: Context[Caller], user_id: str | None, data: Any) -> Any:
    connections = connections_of(ctx, user_id)
    if not connections:
        raise LiveError("NOT_FOUND", f"the user {user_id!r} is not connected")
    return await connections[-1].ask("confirm", data, timeout=1.5)


@live
async def push_me(ctx: Context[Caller], data: Any) -> Row:
    """Ask the caller's own client, and tell how that went."""
    try:
        return {"reply": await push(ctx, ctx.user.id, data)}
    except LiveError as error:
        return {"error": error.message, "code": error.code}
    except PushFailed as error:
        return {"error": str(error), "code": None}


@live
async def push_user(ctx: Context[Caller], user_id: str, data: Any) -> Any:
    return await push(ctx, user_id, data)


@live
def notify_me(ctx: Context[Caller], data: Any) -> bool:
    """Ask the caller's client without waiting: no request that is waited for has the number 0."""
    frame = msgspec.json.encode({"type": "request", "ref": 0, "event": "note", "data": data})
    return all(connection.send(frame) for connection in connections_of(ctx, ctx.user.id)[-1:])


@live
def signal_me(ctx: Context[Caller], data: Any) -> bool:
    """Send an event to all connections of the caller's user, none of which subscribed to it."""
    user_id, signals = ctx.user.id, ctx.user.world.signals
    if user_id is not None:
        signals[user_id] += 1
        for connection in connections_of(ctx, user_id):
            connection.send_event(f"__signal:{user_id}", "ping", data, signals[user_id])
    return True

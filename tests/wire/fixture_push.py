"""The rest of module ``demo``: what the server says to one user (fixture-contract.md)."""

from __future__ import annotations

from typing import Any

from liverpc import Context, LiveError, PushFailed, live
from tests.wire.fixture_world import Caller, Row


async def push(ctx: Context[Caller], user_id: str | None, data: Any) -> Any:
    if user_id is None:  # anonymous callers are nobody
        raise LiveError("NOT_FOUND", "there is nobody to ask")
    return await ctx.push(user_id, "confirm", data, timeout=1.5)


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
    if ctx.user.id is not None:
        ctx.notify(ctx.user.id, "note", data)
    return True


@live
def signal_me(ctx: Context[Caller], data: Any) -> bool:
    if ctx.user.id is not None:
        ctx.signal(ctx.user.id, "ping", data)
    return True

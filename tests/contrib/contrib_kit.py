"""A server with one function of each kind."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from liverpc import Context, LiveError, LiveServer, UploadContext, live, public

__all__ = ["make_server"]


def make_server(inside: Any = lambda: None) -> LiveServer:
    """``inside`` is called in every handler."""

    @live
    def echo(ctx: Context[Any], value: Any = None) -> Any:
        inside()
        return value

    @live
    async def fail(ctx: Context[Any], code: str) -> None:
        raise LiveError(code, "the card is 4111")

    @live
    async def crash(ctx: Context[Any], word: str) -> None:
        raise ValueError(f"the password is {word}")

    @live
    async def wait(ctx: Context[Any]) -> None:
        await asyncio.Event().wait()

    @live.binary()
    async def size(ctx: Context[Any], data: bytes) -> int:
        inside()
        return len(data)

    @live.upload()
    async def keep(ctx: UploadContext[Any]) -> int:
        inside()
        return sum([len(chunk) async for chunk in ctx.upload])

    @live.stream("rows")
    async def rows(ctx: Context[Any]) -> list[Any]:
        inside()
        return []

    functions = (echo, fail, crash, wait, size, keep, rows)
    return LiveServer({"m": SimpleNamespace(**{each.__name__: each for each in functions}, _guard=public())})

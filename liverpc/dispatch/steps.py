"""What a call goes through from its guard to its result, when it runs in a task.

Each step is told to who traces (``Context.enters``); docs/devtools.md lists them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from liverpc.declare.access import holds
from liverpc.declare.context import Context
from liverpc.declare.guards import denied
from liverpc.declare.hooks import Hooks
from liverpc.declare.inroom import InRoom
from liverpc.declare.middleware import Middleware, compose
from liverpc.declare.registry import Entry
from liverpc.declare.uploading import UploadContext, begin
from liverpc.dispatch.policed import Policed
from liverpc.streams.opening import Opening
from liverpc.streams.subscribe import Streams

__all__ = ["Execute", "Steps"]

Execute = Callable[[Context[Any], msgspec.Raw], Awaitable[Any]]


async def _in_thread(handler: Any, *args: Any) -> Any:
    """What a plain function gives that blocks. It cannot be cancelled, so whatever waits for its end does."""
    running = asyncio.ensure_future(asyncio.to_thread(_without_stop, handler, *args))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        return await running


def _without_stop(handler: Any, *args: Any) -> Any:
    try:
        return handler(*args)
    except StopIteration as error:  # before Python 3.12 no future takes it, and the call would wait for ever
        raise RuntimeError("the function raised StopIteration") from error


class Steps:
    """The steps of a server's calls.

    Attributes:
        policed: What has policies, with those; filled before calls come.
        short: There is neither middleware nor a hook before the guard, which may be asked first then.
    """

    def __init__(self, streams: Streams, hooks: Hooks, middlewares: Sequence[Middleware]) -> None:
        self.policed: dict[Entry, Policed] = {}
        self.short = not middlewares and hooks.before_execute is None
        self._streams = streams
        self._hooks = hooks
        self._middlewares = middlewares

    def of(self, entry: Entry) -> tuple[Execute, Execute]:
        """From the guard to the result; and the same for calls that are traced."""
        declaration: Any = entry.declaration
        execute: Execute = partial(self._execute, entry)
        if not self.short:
            execute = partial(self.execute, entry)
        elif entry.is_stream and entry not in self.policed:
            execute = partial(self._streams.open, entry)
        in_room = isinstance(declaration, InRoom)
        simple = entry.kind == "rpc" and declaration.is_async and declaration.access is None and not in_room
        if not self.short or entry in self.policed or not simple:
            return execute, execute
        handler, signature = declaration.handler, declaration.signature
        exact = signature.exact

        def begin(ctx: Context[Any], args: msgspec.Raw) -> Awaitable[Any]:
            try:
                arguments = exact(args)
            except Exception:
                arguments = signature.decode(args)
            awaitable: Awaitable[Any] = handler(ctx, *arguments)
            return awaitable

        return begin, execute

    async def _execute(self, entry: Entry, ctx: Context[Any], args: msgspec.Raw) -> Any:
        declaration: Any = entry.declaration
        policies = self.policed.get(entry)
        if policies is not None:
            await policies.before(ctx)
        if entry.is_stream:
            return await self._streams.open(entry, ctx, args)
        ctx.enters("arguments")
        arguments = declaration.signature.decode(args)
        if declaration.enters or declaration.access is not None:
            ctx.enters("access")
        if declaration.enters:
            await declaration.enter(ctx, arguments)
        if declaration.access is not None and not await holds(declaration.access, ctx, arguments):
            raise denied(ctx)
        if policies is None:
            return await self._handle(entry, ctx, arguments)
        return await policies.around(ctx, args, arguments, partial(self._handle, entry, ctx, arguments))

    async def _handle(self, entry: Entry, ctx: Context[Any], arguments: Sequence[Any]) -> Any:
        declaration: Any = entry.declaration
        ctx.enters("handler")
        if entry.kind == "binary":
            return await declaration.handler(ctx, ctx.data, *arguments)
        if isinstance(ctx, UploadContext):
            begin(ctx.upload)
        if declaration.is_async:
            return await declaration.handler(ctx, *arguments)
        if declaration.thread:
            return await _in_thread(declaration.handler, ctx, *arguments)
        return declaration.handler(ctx, *arguments)

    async def execute(self, entry: Entry, ctx: Context[Any], args: msgspec.Raw) -> Any:
        """All steps up to the result, with middleware and ``before_execute`` in their places."""
        opening: Opening | None = None
        over = False

        async def core(ctx: Context[Any]) -> Any:
            nonlocal opening
            ctx.enters("guard")
            await self._hooks.before(entry.guard, ctx, args)
            result = await self._execute(entry, ctx, args)
            if self._middlewares:
                ctx.enters("middleware")
            if not isinstance(result, Opening):
                kept = entry in self.policed and isinstance(result, msgspec.Raw)
                return msgspec.json.decode(result) if kept else result
            if over:  # a middleware has not waited for what it began
                late = RuntimeError("a middleware returned before its next() did")
                result.abandon(late)
                raise late
            opening = result
            return opening.value

        if self._middlewares:
            ctx.enters("middleware")
        try:
            result = await compose(self._middlewares, core)(ctx)
        except BaseException as error:
            if opening is not None:
                opening.abandon(error)
            raise
        finally:
            over = True
        if opening is None:
            return result
        opening.value = result
        return opening

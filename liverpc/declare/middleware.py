"""Middleware: code around every call and stream request of a server."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from liverpc.declare.context import Context
from liverpc.errors import DeclarationError

__all__ = ["Core", "Middleware", "check_middleware", "compose"]

Core: TypeAlias = Callable[[Context[Any]], Awaitable[Any]]
Middleware: TypeAlias = Callable[[Context[Any], Callable[[], Awaitable[Any]]], Awaitable[Any]]


def check_middleware(middleware: Middleware) -> None:
    """Refuse what :func:`compose` could not call.

    Raises:
        DeclarationError: It is not ``async``, or does not take ``(ctx, next)``.
    """
    call = getattr(middleware, "__call__", None)  # noqa: B004 - of an object, it says whether calling it is async
    if not inspect.iscoroutinefunction(middleware) and not inspect.iscoroutinefunction(call):
        raise DeclarationError(
            f"a middleware is an async function of ctx and next, and {middleware!r} is not async: "
            "async def middleware(ctx, next): return await next()"
        )
    try:
        inspect.signature(middleware).bind(None, None)
    except TypeError as error:
        raise DeclarationError(f"a middleware takes ctx and next; {middleware!r} does not: {error}") from None


def compose(middlewares: Sequence[Middleware], core: Core) -> Core:
    """``core`` with middlewares around it, the first one outermost.

    Each is called with ``(ctx, next)`` and its result is the call's: that of ``next()``, or one of its own.

    Raises:
        RuntimeError: (when run) A middleware called ``next`` twice.
    """
    for middleware in reversed(middlewares):
        core = _around(middleware, core)
    return core


def _around(middleware: Middleware, core: Core) -> Core:
    async def run(ctx: Context[Any]) -> Any:
        called = False

        async def proceed() -> Any:
            nonlocal called
            if called:
                raise RuntimeError(f"the middleware {middleware!r} called next twice")
            called = True
            return await core(ctx)

        return await middleware(ctx, proceed)

    return run

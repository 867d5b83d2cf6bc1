"""Guards: who may call anything in a module at all."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from liverpc.declare.context import Context
from liverpc.errors import DeclarationError, ErrorCode, LiveError

__all__ = ["Guard", "Public", "denied", "guard", "public"]

log = logging.getLogger("liverpc.guards")

Check: TypeAlias = Callable[[Context[Any]], object]


def denied(ctx: Context[Any]) -> LiveError:
    """The error for a refused caller: ``UNAUTHENTICATED`` without a user, else ``FORBIDDEN``."""
    if ctx.user is None:
        return LiveError(ErrorCode.UNAUTHENTICATED, "Sign in first")
    return LiveError(ErrorCode.FORBIDDEN, "Access denied")


class Guard:
    """Checks that run, in order, before every function and stream of a module. Made by :func:`guard`."""

    def __init__(self, checks: tuple[Check, ...]) -> None:
        self._checks = checks
        self.is_async = any(inspect.iscoroutinefunction(check) for check in checks)

    def check(self, ctx: Context[Any]) -> None:
        """Run the checks, none of which is async.

        Raises:
            LiveError: A check refused. Exceptions other than LiveError are logged and become the generic
                refusal: their text may tell more than the caller should know.
        """
        for check in self._checks:
            try:
                verdict = check(ctx)
            except LiveError:
                raise
            except Exception:
                log.exception("a guard of %s failed; the caller is refused", ctx.path)
                raise denied(ctx) from None
            if verdict is False:
                raise denied(ctx)

    async def check_async(self, ctx: Context[Any]) -> None:
        """The same when some check is async."""
        for check in self._checks:
            try:
                verdict = check(ctx)
                if isinstance(verdict, Awaitable):
                    verdict = await verdict
            except LiveError:
                raise
            except Exception:
                log.exception("a guard of %s failed; the caller is refused", ctx.path)
                raise denied(ctx) from None
            if verdict is False:
                raise denied(ctx)


def _authenticated(ctx: Context[Any]) -> None:
    if ctx.user is None:
        raise denied(ctx)


def guard(*checks: Check, authenticated: bool = False) -> Guard:
    """Protect a module: ``_guard = guard(authenticated=True)``.

    Args:
        *checks: ``(ctx) -> None | bool``, sync or async, run in order. Raising refuses: a ``LiveError``
            reaches the caller as it is, anything else as a generic refusal. Returning False refuses too.
            A check may leave something in ``ctx.state`` for later checks and the handler.
        authenticated: First refuse callers without a user.

    Raises:
        DeclarationError: No check at all, or one that is not a function.
    """
    parts = ((_authenticated,) if authenticated else ()) + checks
    if not parts:
        raise DeclarationError("guard() without a check guards nothing; pass checks or authenticated=True")
    for check in parts:
        if not callable(check):
            raise DeclarationError(f"guard() takes functions of ctx, not {check!r}")
    return Guard(parts)


class Public:
    """Says that a module is meant to be open to everybody. Made by :func:`public`."""


def public() -> Public:
    """Mark a module as open to all callers on purpose: ``_guard = public()``."""
    return Public()

"""Guards: who may call anything in a module at all."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from liverpc.declare.context import Context
from liverpc.errors import DeclarationError, ErrorCode, LiveError

__all__ = ["Check", "Guard", "Public", "combined", "denied", "guard", "public", "refuses", "refusing"]

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
        self.checks = checks

    def check(self, ctx: Context[Any]) -> Coroutine[Any, Any, None] | None:
        """Run the checks up to the first that waits.

        Returns:
            None when all of them passed; else what is left to await.

        Raises:
            LiveError: A check refused. Exceptions other than LiveError are logged and become the generic
                refusal: their text may tell more than the caller should know.
        """
        checks = iter(self.checks)
        waiting = self._until_one_waits(ctx, checks)
        return None if waiting is None else self._rest(ctx, waiting, checks)

    async def _rest(self, ctx: Context[Any], waiting: Awaitable[object], checks: Iterator[Check]) -> None:
        following: Awaitable[object] | None = waiting
        while following is not None:
            with refusing(ctx):
                if refuses(await following):
                    raise denied(ctx)
            following = self._until_one_waits(ctx, checks)

    def _until_one_waits(self, ctx: Context[Any], checks: Iterator[Check]) -> Awaitable[object] | None:
        for check in checks:
            with refusing(ctx):
                verdict = check(ctx)
            # Not only what `async def` checks return: a lambda may hand on another function's coroutine, which
            # would pass for a yes if it were not awaited. inspect.isawaitable() takes twice as long.
            if isinstance(verdict, Awaitable):
                return verdict
            with refusing(ctx):
                if refuses(verdict):
                    raise denied(ctx)
        return None


def refuses(verdict: object) -> bool:
    """Whether what a check returned is a no: anything false is, except None, which those return that raise.

    Raises:
        TypeError: It is a function; nobody has decided anything then.
    """
    if verdict is None or verdict is True:
        return False
    if callable(verdict):
        raise TypeError(f"a check returned the function {verdict!r}; access.owner() and the like need parentheses")
    return not verdict


@contextmanager
def refusing(ctx: Context[Any]) -> Iterator[None]:
    try:
        yield
    except LiveError:
        raise
    except Exception as error:
        log.exception("a guard of %s failed; the caller is refused", ctx.path)
        ctx.services.report(ctx.path, error, ctx)
        raise denied(ctx) from error


def _authenticated(ctx: Context[Any]) -> None:
    if ctx.user is None:
        raise denied(ctx)


def guard(*checks: Check | Guard, authenticated: bool = False) -> Guard:
    """Protect a module: ``_guard = guard(authenticated=True)``.

    Args:
        *checks: ``(ctx) -> None | bool``, sync or async, run in order. Raising refuses: a ``LiveError``
            reaches the caller as it is, anything else as a generic refusal. Returning something false refuses,
            too, except None: checks that raise return nothing.
            A check may leave something in ``ctx.state`` for later checks and the handler. Another guard
            stands for its checks.
        authenticated: First refuse callers without a user.

    Raises:
        DeclarationError: No check at all, or one that is not a function.
    """
    parts: list[Check] = [_authenticated] if authenticated else []
    for check in checks:
        if isinstance(check, Guard):
            parts += check.checks
        elif callable(check):
            parts.append(check)
        else:
            raise DeclarationError(f"guard() takes functions of ctx, not {check!r}")
    if not parts:
        raise DeclarationError("guard() without a check guards nothing; pass checks or authenticated=True")
    return Guard(tuple(parts))


def combined(*guards: Check | Guard | None) -> Guard | None:
    """One guard with the checks of all, in order; None when there are none. Costs a call nothing more."""
    present = [each for each in guards if each is not None]
    return guard(*present) if present else None


class Public:
    """Says that a module is meant to be open to everybody. Made by :func:`public`."""


def public() -> Public:
    """Mark a module as open to all callers on purpose: ``_guard = public()``."""
    return Public()

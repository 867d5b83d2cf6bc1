"""Asking again: may a connection whose user was refreshed have what it has? (docs/protocol.md section 6)"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar

import msgspec

from liverpc.declare.context import Context
from liverpc.declare.guards import Guard
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.tasks import passes

__all__ = ["Doubt", "Doubts", "as_of_now", "ask_all", "asking", "check_not_asking"]

log = logging.getLogger("liverpc.sessions")

R = TypeVar("R")

_AT_ONCE = 16
_TIMES = 8  # a request is asked again; its user may be refreshed at each of them


class Doubt(msgspec.Struct, frozen=True):
    """One thing that a connection has.

    Attributes:
        ctx: For whom it is asked.
        ask: Calls the application; what it raises refuses, and so does no answer in time.
        keep: Is called at once with what ``ask`` returned; gives what else is to be asked.
        refuse: Takes the thing away at once, because of the error. Both must take it that the thing is gone already.
    """

    ctx: Context[Any]
    ask: Callable[[], Awaitable[Any]]
    keep: Callable[[Any], Doubts]
    refuse: Callable[[LiveError], object]


Doubts: TypeAlias = Iterable[Doubt]


class _Question:
    """One call of the application on behalf of a refresh."""

    is_open = True


_question: ContextVar[_Question | None] = ContextVar("the question in which something runs", default=None)


@contextmanager
def asking() -> Iterator[None]:
    """The application is asked on behalf of a refresh, which it must not wait for: see :func:`check_not_asking`."""
    question = _Question()
    token = _question.set(question)
    try:
        yield
    finally:
        question.is_open = False  # what it has started may live longer
        _question.reset(token)


def check_not_asking() -> None:
    """Whether a refresh may be waited for here.

    Raises:
        RuntimeError: This runs in what is asked on behalf of one, or what that waits for.
    """
    question = _question.get()
    if question is not None and question.is_open:
        raise RuntimeError("what a refresh asks, such as on_connect or a guard, must not refresh: it waits for itself")


async def ask_all(doubts: Doubts, deadline: float) -> None:
    """Settle everything, 16 at the same time.

    Args:
        doubts: And those that come of them.
        deadline: Loop time; what waits for its answer then is refused, and so is what would have to wait later.

    Raises:
        BaseExceptionGroup: Something could not be kept or taken away; what is left is not settled.
    """
    left: deque[Doubt] = deque()
    running = 0

    async def work() -> None:
        nonlocal running
        while left:
            begin(await _settle(left.popleft(), deadline))
            await asyncio.sleep(0)  # thousands of plain questions must not hold up everybody else
        running -= 1

    def begin(doubts: Doubts) -> None:
        nonlocal running
        found = [*doubts]
        left.extend(found)
        for _ in range(min(len(found), _AT_ONCE - running)):
            running += 1
            together.create_task(work())

    async with asyncio.TaskGroup() as together:
        begin(doubts)


async def _settle(doubt: Doubt, deadline: float) -> Doubts:
    ctx = doubt.ctx
    try:
        with asking():
            async with asyncio.timeout_at(deadline):
                answer = await doubt.ask()
    except BaseException as error:
        if passes(error, gone=ctx.connection.closed):
            raise
        if not isinstance(error, LiveError):
            log.error("it is not known whether %r may keep what it has, so it is lost", ctx, exc_info=error)
            ctx.services.report(ctx.path, error, ctx)
            error = LiveError(ErrorCode.INTERNAL_ERROR)
        doubt.refuse(error)
        return ()
    task = asyncio.current_task()
    if task is not None and task.cancelling():  # the application has swallowed it: this answer is about an older user
        raise asyncio.CancelledError
    return doubt.keep(answer)


async def as_of_now(
    ctx: Context[Any],
    guard: Guard | None,
    ask: Callable[[], Awaitable[R]],
    renew: Callable[[], object] | None = None,
) -> R:
    """Ask about a request, and again when its user was refreshed meanwhile.

    A request that came before the last refresh passes the guard again first. What was left in its state is gone then.

    Args:
        ctx: Of the request.
        guard: Of its path.
        ask: Calls the application.
        renew: Called when what was asked before does not count.

    Raises:
        LiveError: The guard refuses. ``OVERLOADED``: the user was refreshed each time.
        Exception: What ``ask`` raises.
    """
    connection = ctx.connection
    for _ in range(_TIMES):
        asked = connection.refreshes
        is_again = ctx.started_at <= connection.refreshed_at
        with asking() if is_again else nullcontext():
            if is_again:
                ctx.state.clear()
                if renew is not None:
                    renew()
                if guard is not None and (waiting := guard.check(ctx)) is not None:
                    await waiting
            answer = await ask()
        if asked == connection.refreshes:
            return answer
    raise LiveError(ErrorCode.OVERLOADED, "the user of this connection changes all the time; try again")

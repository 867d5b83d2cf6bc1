"""Owners of tasks. Nothing in the library starts a task without one."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from liverpc.hub.link import Link

__all__ = ["EAGER", "EXITS", "Background", "RunningCalls"]

log = logging.getLogger("liverpc.tasks")

K = TypeVar("K")

EAGER = sys.version_info >= (3, 12)  # tasks may run their first step at once


EXITS = (SystemExit, KeyboardInterrupt)  # what goes through when everything else a function may raise is caught


class RunningCalls(Generic[K]):
    """The unfinished handlers of one connection, each a real task, by something that describes it.

    Tasks start from a clean copy of the server's context: the transport may have been resumed from inside
    some handler, and would hand that handler's context variables to every later call of the connection.

    Args:
        context: To copy.
        link: Reading from it stops while there are too many, until half of them are done.
        most: How many there may be.
    """

    __slots__ = ("_context", "_holding", "_link", "_loop", "_most", "of")

    def __init__(self, context: contextvars.Context, link: Link, most: int) -> None:
        self._context = context
        self._link = link
        self._most = most
        self._holding = False
        self._loop: asyncio.AbstractEventLoop | None = None  # of the first task
        self.of: dict[K, asyncio.Task[Any]] = {}  # what it does, in order of start

    def start(self, what: K, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run ``coroutine``, which must end with :meth:`finished`."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        # The constructor itself: loop.create_task() costs half a microsecond more per call.
        if EAGER:
            eager: dict[str, Any] = {"eager_start": True}  # unknown to checkers that look at 3.11
            task = asyncio.Task(coroutine, loop=loop, context=self._context.copy(), **eager)
            if task.done():
                return
        else:
            task = asyncio.Task(coroutine, loop=loop, name="call", context=self._context.copy())
        self.of[what] = task
        if len(self.of) >= self._most and not self._holding:
            self._holding = True
            self._link.hold()

    def finished(self, what: K) -> None:
        """The last thing a task does. A done callback would cost one more loop callback per call."""
        self.of.pop(what, None)
        if self._holding and len(self.of) <= self._most // 2:
            self._holding = False
            self._link.release()

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call in the next turn, from a clean copy of the server's context."""
        asyncio.get_running_loop().call_soon(callback, context=self._context.copy())

    async def aclose(self) -> None:
        """Cancel all and wait until they are gone."""
        while self.of:
            running = dict(self.of)
            for task in running.values():
                task.cancel()
            await asyncio.wait(running.values())
            for what in running:
                self.of.pop(what, None)  # cancelled before its first step, it never came to finished()


class Background:
    """Tasks of a server that belong to no connection. Failures are logged; :meth:`aclose` waits for all."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> None:
        """Run ``coroutine`` to its end."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def hook(
        self, function: Callable[..., object], *args: Any, failed: Callable[[BaseException], object] | None = None
    ) -> None:
        """Call a function of the application that nobody waits for; what goes wrong in it is logged.

        Args:
            function: Plain or ``async``.
            *args: For it.
            failed: Told of what went wrong, too; must not raise.
        """
        name = f"hook {getattr(function, '__qualname__', function)!r}"
        try:
            result = function(*args)
        except EXITS:
            raise
        except BaseException as error:  # such as the panics of extensions: the caller's own work must go on
            log.exception("%s failed", name)
            if failed is not None:
                failed(error)
            return
        if asyncio.iscoroutine(result):
            self.start(result if failed is None else _watched(result, failed), name=name)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)

    async def aclose(self, *, wait: float = 0.0) -> None:
        """Let the tasks end by themselves for ``wait`` seconds, then cancel them and wait for that."""
        if self._tasks and wait > 0:
            await asyncio.wait(self._tasks, timeout=wait)
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)


async def _watched(coroutine: Coroutine[Any, Any, Any], failed: Callable[[BaseException], object]) -> None:
    try:
        await coroutine
    except Exception as error:
        failed(error)
        raise

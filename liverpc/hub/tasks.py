"""Owners of tasks. Nothing in the library starts a task without one."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

__all__ = ["EAGER", "Background", "RunningCalls"]

log = logging.getLogger("liverpc.tasks")

K = TypeVar("K")

EAGER = sys.version_info >= (3, 12)  # tasks may run their first step at once


class RunningCalls(Generic[K]):
    """The unfinished handlers of one connection, each a real task with something that describes it.

    Tasks start from a clean copy of the server's context: the transport may have been resumed from inside
    some handler, and would hand that handler's context variables to every later call of the connection.
    """

    __slots__ = ("_context", "of")

    def __init__(self, context: contextvars.Context) -> None:
        self._context = context
        self.of: dict[asyncio.Task[Any], K] = {}  # task to what it does, in order of start

    def start(self, coroutine: Coroutine[Any, Any, None], what: K) -> None:
        """Run ``coroutine``, which must end with :meth:`finished`."""
        loop = asyncio.get_running_loop()
        context = self._context.copy()
        # The constructor itself: loop.create_task() costs half a microsecond more per call.
        if EAGER:
            eager: dict[str, Any] = {"eager_start": True}  # unknown to checkers that look at 3.11
            task = asyncio.Task(coroutine, loop=loop, context=context, **eager)
            if task.done():
                return
        else:
            task = asyncio.Task(coroutine, loop=loop, name="call", context=context)
        self.of[task] = what

    def finished(self) -> None:
        """The last thing a task does. A done callback would cost one more loop callback per call."""
        task = asyncio.current_task()
        if task is not None:
            self.of.pop(task, None)

    async def aclose(self) -> None:
        """Cancel all and wait until they are gone."""
        while self.of:
            tasks = list(self.of)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                self.of.pop(task, None)  # cancelled before its first step, it never came to finished()


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

    def hook(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function of the application that nobody waits for; what goes wrong in it is logged only."""
        name = f"hook {getattr(function, '__qualname__', function)!r}"
        try:
            result = function(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:  # such as the panics of extensions: the caller's own work must go on
            log.exception("%s failed", name)
            return
        if asyncio.iscoroutine(result):
            self.start(result, name=name)

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

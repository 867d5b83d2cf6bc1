"""Owners of tasks. Nothing in the library starts a task without one."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import Any, Generic, TypeVar

from liverpc.hub.link import Link

__all__ = ["EAGER", "EXITS", "Background", "RunningCalls", "passes"]

log = logging.getLogger("liverpc.tasks")

K = TypeVar("K")

EAGER = sys.version_info >= (3, 12)  # tasks may run their first step at once
_CALLS, _OTHER = 1, 2  # why reading is held
EXITS = (SystemExit, KeyboardInterrupt)  # what goes through when everything else a function may raise is caught


def passes(error: BaseException, *, gone: bool = False) -> bool:
    """Whether what the application's code raised ends the running task, too; anything else is a failure of that code.

    Args:
        error: What it raised. One of ``EXITS`` passes, and so does a cancellation of the running task; that of
            something the task only waited for does not.
        gone: The client it worked for has left: then every cancellation passes.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return gone or (task is not None and task.cancelling() > 0)
    return isinstance(error, EXITS)


class RunningCalls(Generic[K]):
    """The unfinished handlers of one connection, each a real task, by something that describes it.

    Tasks start from a clean copy of the server's context: the transport may have been resumed from inside
    some handler, and would hand that handler's context variables to every later call of the connection.

    Args:
        context: To copy.
        link: Reading from it stops while there are too many, until half of them are done.
        most: How many there may be, besides one for each open :meth:`asking`.
    """

    __slots__ = ("_asking", "_cancelled", "_context", "_holds", "_link", "_loop", "_more", "_most", "of")

    def __init__(self, context: contextvars.Context, link: Link, most: int) -> None:
        self._context = context
        self._link = link
        self._most = most
        self._holds = 0
        self._asking = 0  # questions the client has to answer
        self._more = 0  # callbacks that wait for their turn, and what others do
        self._loop: asyncio.AbstractEventLoop | None = None  # of the first task
        self._cancelled: frozenset[asyncio.Task[Any]] = frozenset()
        self.of: dict[K, asyncio.Task[Any]] = {}  # what it does, in order of start

    @property
    def running(self) -> int:
        """How many there are, those included that begin in the next turn, and what :meth:`count` counts."""
        return len(self.of) + self._more

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
        if len(self.of) - self._asking >= self._most and not self._holds & _CALLS:
            self._hold(_CALLS)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Wait in it for what the client has to say: one call more may run, lest nobody reads the answer.

        Usually it is a call that waits, and this gives its place to another one.
        """
        self._asking += 1
        if self._holds & _CALLS and len(self.of) - self._asking < self._most:
            self._release(_CALLS)
        try:
            yield
        finally:
            self._asking -= 1
            if not self._holds & _CALLS and len(self.of) - self._asking >= self._most:
                self._hold(_CALLS)

    def finished(self, what: K) -> None:
        """The last thing a task does. A done callback would cost one more loop callback per call."""
        self.of.pop(what, None)
        if self._holds & _CALLS and len(self.of) - self._asking <= self._most // 2:
            self._release(_CALLS)

    @property
    def holding(self) -> bool:
        """Whether the link is not read from."""
        return self._holds != 0

    def hold(self) -> None:
        """Stop reading from the link, however few calls there are, until :meth:`release`."""
        self._hold(_OTHER)

    def release(self) -> None:
        """Read again, unless there are too many calls. Harmless when nothing is held."""
        self._release(_OTHER)

    def _hold(self, why: int) -> None:
        if not self._holds:
            self._link.hold()
        self._holds |= why

    def _release(self, why: int) -> None:
        if self._holds & why:
            self._holds &= ~why
            if not self._holds:
                # Frames that are read from now on are not the running handler's doing, whose context this is.
                self._context.copy().run(self._link.release)

    def clean_context(self) -> contextvars.Context:
        """For a task of somebody else that works for this connection."""
        return self._context.copy()

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call in the next turn, from a clean copy of the server's context; what it does goes on until then."""
        self._more += 1
        asyncio.get_running_loop().call_soon(self._call, callback, context=self._context.copy())

    def _call(self, callback: Callable[[], object]) -> None:
        self._more -= 1
        callback()

    def count(self, difference: int) -> None:
        """So many more handlers that somebody else runs will answer without hearing from the client again."""
        self._more += difference

    async def aclose(self) -> None:
        """Cancel all and wait until they are gone. A second time disturbs none that is cleaning up."""
        while self.of:
            running = dict(self.of)
            fresh = [task for task in running.values() if task not in self._cancelled]
            self._cancelled |= set(fresh)
            for task in fresh:
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

    def start(
        self,
        coroutine: Coroutine[Any, Any, Any],
        *,
        name: str,
        failed: Callable[[BaseException], object] | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        """Run ``coroutine`` to its end; ``failed`` is told of what goes wrong in it, too, and must not raise."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, failed))
        return task

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
        if isawaitable(result):
            # A coroutine is started as it is: cancelled before its first step, a wrapper would leave it unawaited.
            self.start(result if iscoroutine(result) else _wait(result), name=name, failed=failed)

    def _done(self, failed: Callable[[BaseException], object] | None, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)
            if failed is not None:
                failed(error)

    async def aclose(self, *, wait: float = 0.0) -> None:
        """Let the tasks end by themselves for ``wait`` seconds, then cancel them and wait for that."""
        if self._tasks and wait > 0:
            await asyncio.wait(self._tasks, timeout=wait)
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)


async def _wait(awaitable: Awaitable[Any]) -> None:
    await awaitable

"""An event loop whose clock jumps, so that waiting costs nothing and every run is the same."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

__all__ = ["Deadlock", "VirtualLoop", "virtual_loop_factory"]

T = TypeVar("T")

_SHOWN_TASKS = 10
_ASYNCIO = str(Path(asyncio.__file__).parent)


class Deadlock(RuntimeError):
    """Every task waits and no timer is due: the program would hang for ever.

    The message names up to ten waiting tasks and the line each of them waits at.
    """


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time starts at 0 and passes only when everything waits: then it jumps to the next timer, exactly.

    It is meant for programs that wait for timers and for each other. Sockets work, but time does not wait
    for them: a timeout next to a slow socket fires at once. While a function runs in an executor, timers
    take real time; a function that ends before the next timer has taken no time at all.
    Threads that were not started by ``run_in_executor`` or ``asyncio.to_thread`` are not known here:
    waiting for one is a :class:`Deadlock`.
    """

    # Of asyncio.BaseEventLoop, in all versions; the heap of timers, and how much too early one may fire.
    _scheduled: list[asyncio.TimerHandle]
    _clock_resolution: float

    def __init__(self) -> None:
        self._now = 0.0
        self._in_threads = 0
        super().__init__(_JumpingSelector(self))
        self._clock_resolution = math.ulp(self._now)

    def time(self) -> float:
        return self._now

    def run_in_executor(  # type: ignore[override]  # typeshed: object for Any
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - overrides
        # It joins the executor's threads in a thread of its own. The timeout of Python 3.12 would elapse
        # at once here.
        self._in_threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._in_threads -= 1

    def _thread_ended(self, _: asyncio.Future[Any]) -> None:
        self._in_threads -= 1

    def _jump(self) -> None:
        """Move the clock to the next timer, which is not a cancelled one when the selector is asked."""
        if not self._scheduled:
            raise Deadlock(_describe(asyncio.all_tasks(self)))
        self._now = self._scheduled[0].when()
        # A timer fires before now plus this: it must be more than nothing at any size of now.
        self._clock_resolution = math.ulp(self._now)


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that moves its loop's clock instead of sleeping."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        waits = self._loop._in_threads > 0
        ready = super().select(timeout if waits else 0)
        if not ready and timeout != 0:
            self._loop._jump()
        return ready


def _describe(tasks: set[asyncio.Task[Any]]) -> str:
    if not tasks:
        return "the loop waits for something that no task and no timer of it will bring about"
    lines = sorted(f"  {task.get_name()} at {_position(task)}" for task in tasks)
    if len(lines) > _SHOWN_TASKS:
        lines[_SHOWN_TASKS:] = [f"  and {len(lines) - _SHOWN_TASKS} more"]
    return "every task waits and no timer is due:\n" + "\n".join(lines)


def _position(task: asyncio.Task[Any]) -> str:
    """Where a suspended task waits: the innermost line that is not asyncio's own."""
    awaited: Any = task.get_coro()
    best: FrameType | None = None
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None and (best is None or not frame.f_code.co_filename.startswith(_ASYNCIO)):
            best = frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    if best is None:
        return "an unknown place"
    return f"{best.f_code.co_filename}:{best.f_lineno} in {best.f_code.co_name}"


def virtual_loop_factory() -> asyncio.AbstractEventLoop:
    """A new :class:`VirtualLoop`, for ``asyncio.Runner`` and pytest-asyncio's ``loop_factory``."""
    return VirtualLoop()

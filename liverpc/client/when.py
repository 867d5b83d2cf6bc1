"""A stream that is used only while a condition is true."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from liverpc._types import Reachable
from liverpc.client.derived import Derived, check_sources, make, use
from liverpc.client.readable import NOTHING, Readable
from liverpc.client.subscription import StreamStatus
from liverpc.client.waiting import next_change
from liverpc.errors import ErrorCode, RpcError

__all__ = ["when"]

log = logging.getLogger("liverpc.client")

T = TypeVar("T")


class _When(Derived[T | None]):
    def __init__(
        self, condition: bool | Readable[Any] | Callable[[], object], stream: Callable[[], Readable[T]]
    ) -> None:
        super().__init__("when()")
        self._given = condition
        self._open = stream
        self._condition: Readable[Any] | None = None
        self._holder: asyncio.Task[None] | None = None  # while it is on
        self._inner: Readable[T] | None = None  # while it is open
        self._failure: Exception | None = None  # for which it is not
        self._switches = 0

    async def _start(self, stack: AsyncExitStack) -> None:
        given = self._given
        self._condition = None
        if isinstance(given, bool):
            on = given
        elif callable(given):
            on = bool(given())
        else:
            self._condition = await use(given, stack)
            on = bool(self._condition.get())
        stack.push_async_callback(self._switch_off)
        if on:
            self._switch_on()
            while self._inner is None and self._failure is None:
                await next_change([self._waiters])
            if self._failure is not None:
                raise self._failure
        if self._condition is not None:
            follower = asyncio.create_task(self._follow(self._condition), name="liverpc when: condition")
            stack.push_async_callback(_end, follower)

    async def _follow(self, condition: Readable[Any]) -> None:
        while True:
            try:
                on = bool(condition.get())
            except Exception:
                log.exception("the condition of when() failed, and counts as false")
                on = False
            if not on and self._holder is not None:
                await self._switch_off()
                continue  # it may have changed meanwhile
            if on and self._holder is None:
                self._switch_on()
            await condition._change()

    def _switch_on(self) -> None:
        self._holder = asyncio.create_task(self._hold(), name="liverpc when: stream")
        self._switched(None)

    async def _switch_off(self) -> None:
        holder, self._holder = self._holder, None
        if holder is not None:
            await _end(holder)
        self._failure = None
        self._waiters.wake()

    async def _hold(self) -> None:
        try:
            async with make(self._open) as inner:
                self._switched(inner)
                await asyncio.get_running_loop().create_future()  # cancelled
        except Exception as error:
            if self._stack is not None and not isinstance(error, RpcError):
                log.exception("when() could not open its stream")
            self._failure = error
        finally:
            self._switched(None)

    def _switched(self, inner: Readable[T] | None) -> None:
        self._inner = inner
        self._switches += 1
        self._waiters.wake()

    @property
    def status(self) -> StreamStatus:
        """Of the stream; ``connected`` while it is off, for nothing is missing."""
        if self._failure is not None:
            return "error"
        if self._inner is not None:
            return self._inner.status
        return "connected" if self._stack is not None and self._holder is None else "loading"

    @property
    def error(self) -> RpcError | None:
        """Of the stream, also when it could not be opened."""
        if self._failure is None or isinstance(self._failure, RpcError):
            return self._failure or (self._inner.error if self._inner is not None else None)
        return RpcError(ErrorCode.STREAM_ERROR, f"the stream of when() could not be opened: {self._failure!r}")

    @property
    def _ended(self) -> bool:
        opening = self._holder is not None and self._inner is None
        return self._stack is None or (bool(self._sources()) and not opening and super()._ended)

    def _sources(self) -> Sequence[Readable[Any]]:
        return [source for source in (self._condition, self._inner) if source is not None]

    def _state(self) -> object:
        # A value that has gone need not have another version.
        inner = self._inner
        return self._switches, inner and inner._version, inner is not None and inner.get(NOTHING) is NOTHING

    def _make(self) -> T | None:
        return None if self._inner is None else self._inner.get()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def when(
    condition: bool | Readable[Any] | Callable[[], object], stream: Callable[[], Readable[T]], /
) -> Derived[T | None]:
    """A stream that is used only while a condition is true: ``when(panel_is_open, lambda: client.stream(messages))``.

    The value is None while it is off, and until the first one comes. When the condition becomes true the
    stream is opened; when it becomes false the stream is left. One that cannot be opened later on shows in
    ``status`` and ``error``, until the condition becomes false.

    Args:
        condition: What is readable is followed: its value counts, none is false. A stream handle must be open.
            A function is asked once, when the use begins.
        stream: Makes the stream, each time anew.

    Entering raises:
        Exception: The condition is true, and the stream could not be opened.

    Raises:
        TypeError: The condition is none, or ``stream`` is no function.
    """
    given: object = stream
    if not callable(given) or isinstance(given, Reachable):
        raise TypeError(
            "when() makes its stream anew each time, so it takes a function: "
            f"when(condition, lambda: client.stream(...)), not {given!r}"
        )
    if not isinstance(condition, bool):
        check_sources(condition)
    return _When(condition, stream)

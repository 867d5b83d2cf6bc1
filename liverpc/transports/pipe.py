"""One direction of an in-memory connection."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

__all__ = ["Close", "Item", "Pipe"]


class Close(NamedTuple):
    """A close frame."""

    code: int
    reason: str


Item: TypeAlias = bytes | Close  # a message's payload, or the goodbye


class Pipe:
    """One direction of a connection: what is put in arrives in order, and only from the loop."""

    def __init__(self, deliver: Callable[[Item], None], latency: float, context: contextvars.Context) -> None:
        self._deliver = deliver
        self._latency = latency
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._items: deque[tuple[float, Item]] = deque()  # with the loop's time of arrival
        self._paused = False
        self._handle: asyncio.Handle | None = None

    def put(self, item: Item, delay: float = 0.0) -> None:
        """Send an item; what follows it does not overtake it, however long its additional ``delay`` in seconds."""
        due = self._loop.time() + self._latency + delay
        if self._items:
            due = max(due, self._items[-1][0])
        self._items.append((due, item))
        self._schedule()

    def hurry(self) -> None:
        """Let what is under way arrive as if it had been sent now and without delay."""
        due = self._loop.time() + self._latency
        self._items = deque((min(arrival, due), item) for arrival, item in self._items)
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._schedule()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._schedule()

    def stop(self) -> None:
        """What is under way is lost."""
        self._items.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _schedule(self) -> None:
        if self._handle is not None or self._paused or not self._items:
            return
        loop, context = self._loop, self._context.copy()
        delay = self._items[0][0] - loop.time()
        if delay > 0:
            self._handle = loop.call_later(delay, self._arrive, context=context)
        else:
            self._handle = loop.call_soon(self._arrive, context=context)

    def _arrive(self) -> None:
        self._handle = None
        now = self._loop.time()
        for _ in range(len(self._items)):
            # Each delivery may pause or stop the pipe.
            if self._paused or not self._items or self._items[0][0] > now:
                break
            self._deliver(self._items.popleft()[1])
        self._schedule()

"""Events of a contract that wait for an iterator."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from liverpc.client.listeners import Listeners
from liverpc.client.waiting import Waiters, next_change

__all__ = ["EVENTS_MAX", "Incoming"]

D = TypeVar("D")

EVENTS_MAX = 1000  # waiting in one iterator; with one more the oldest is dropped


class Incoming(AsyncIterator[D]):
    """The payloads of one event, from now on until there will be no more.

    Args:
        listeners: Of the event.
        over: Whether no more will come.
        changes: Woken when that changes.
        dropped: Called for each payload that is dropped.
    """

    def __init__(
        self, listeners: Listeners[D], over: Callable[[], bool], changes: Waiters, dropped: Callable[[], object]
    ) -> None:
        queue: deque[D] = deque()
        arrival = Waiters()

        def put(payload: D) -> None:  # holds no self: an iterator that nobody holds any more is forgotten
            if len(queue) == EVENTS_MAX:
                queue.popleft()
                dropped()
            queue.append(payload)
            arrival.wake()

        self._queue = queue
        self._arrival = arrival
        self._over = over
        self._changes = changes
        weakref.finalize(self, listeners.add(put)).atexit = False

    async def __anext__(self) -> D:
        while not self._queue:
            if self._over():
                raise StopAsyncIteration
            await next_change([self._arrival, self._changes])
        return self._queue.popleft()

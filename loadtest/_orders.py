"""Orders to all processes that have users, and their answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Any

from gevent.event import AsyncResult

__all__ = ["GONE", "Orders"]

_LOOK_SECONDS = 0.5
GONE = "a process of the load generator is gone, and with it what it had counted"


class Orders:
    """What was ordered and is not answered by everybody yet.

    Args:
        send: Takes an order to all processes.
        members: How many there are now.
    """

    def __init__(self, send: Callable[[dict[str, Any]], object], members: Callable[[], int]) -> None:
        self._send = send
        self._members = members
        self._numbers = count(time.monotonic_ns())  # others than those of the run before, in the web interface
        self._waiting: dict[int, tuple[list[Any], int, AsyncResult]] = {}

    def give(self, verb: str, data: Any, timeout: float) -> list[Any]:
        """Order something, and wait for everybody's answer.

        Raises:
            TimeoutError: One of them did not answer, or is gone.
        """
        expected, number, done = self._members(), next(self._numbers), AsyncResult()
        answers: list[Any] = []
        self._waiting[number] = (answers, expected, done)
        until = time.monotonic() + timeout
        try:
            self._send({"number": number, "verb": verb, "data": data})
            while not done.ready():
                if self._members() < expected:
                    raise TimeoutError(GONE)
                if time.monotonic() > until:
                    raise TimeoutError(f"a process of the load generator did not answer {verb!r} within {timeout:g} s")
                done.wait(_LOOK_SECONDS)
            return answers
        finally:
            del self._waiting[number]

    def answered(self, number: int, data: Any) -> None:
        """An order was carried out in one of them."""
        if number in self._waiting:
            answers, expected, done = self._waiting[number]
            answers.append(data)
            if len(answers) == expected:
                done.set(True)

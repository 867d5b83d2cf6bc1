"""The requests a client waits for, and their deadlines."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from typing import Any

from liverpc.client.convert import read_result
from liverpc.client.subscription import guarded
from liverpc.errors import ErrorCode, RpcError
from liverpc.wire.codec import call_text
from liverpc.wire.frames import Reply

__all__ = ["Call", "Calls"]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Call:
    """A request on its way; made by :meth:`ClientCore.call`.

    Attributes:
        id: Unique among the client's requests.
        path: What is called.
        text: The frame; empty once it has ended.
        deadline: When it ends with ``TIMEOUT``, on the core's clock.
        outcome: The answer or the error it ended with; None before. It ends once.
    """

    __slots__ = ("_on_done", "deadline", "id", "outcome", "path", "text")

    def __init__(
        self, call: str, path: str, text: str, deadline: float, on_done: Callable[[Call], object] | None
    ) -> None:
        self.id = call
        self.path = path
        self.text = text
        self.deadline = deadline
        self.outcome: Reply | RpcError | None = None
        self._on_done = on_done

    @property
    def done(self) -> bool:
        return self.outcome is not None

    def result(self, result_type: Any = Any) -> Any:
        """What the server returned, converted.

        Raises:
            RpcError: The call failed, or the result does not fit (``INVALID_RESULT``).
            RuntimeError: It is not done.
        """
        if isinstance(self.outcome, RpcError):
            raise self.outcome
        if self.outcome is None:
            raise RuntimeError(f"the call of {self.path} is not done")
        return read_result(self.path, self.outcome.data, result_type)

    def end(self, outcome: Reply | RpcError, *, silently: bool = False) -> None:
        """For the core: it is over."""
        self.outcome = outcome
        self.text = ""
        on_done, self._on_done = self._on_done, None
        if on_done is not None and not silently:
            guarded(on_done, self)


class Calls:
    """All unfinished requests, oldest first."""

    def __init__(self, now: Callable[[], float], rng: random.Random) -> None:
        self._now = now
        self._prefix = "".join(rng.choices(_DIGITS, k=4))
        self._counter = itertools.count()
        self._pending: dict[str, Call] = {}
        self._timers: list[tuple[float, str, Call]] = []  # a heap; ended calls are skipped

    def __len__(self) -> int:
        return len(self._pending)

    def all(self) -> list[Call]:
        """A copy."""
        return list(self._pending.values())

    def get(self, call: str) -> Call | None:
        return self._pending.get(call)

    def new(
        self,
        path: str,
        args: list[Any],
        timeout: float,
        on_done: Callable[[Call], object] | None,
        *,
        stream: bool = False,
    ) -> Call:
        """A request with an id of its own, not waited for yet; TypeError when ``args`` has no JSON form."""
        call = self._prefix + _base36(next(self._counter))
        return Call(call, path, call_text(path, call, args, stream=stream), self._now() + timeout, on_done)

    def add(self, call: Call) -> None:
        """Wait for it."""
        self._pending[call.id] = call
        if call.deadline == math.inf:
            return
        heapq.heappush(self._timers, (call.deadline, call.id, call))
        # Answered calls stay in the heap until their deadline: at many calls a second, far more of them
        # than of living ones.
        if len(self._timers) > 2 * len(self._pending) + 64:
            self._timers = [timer for timer in self._timers if not timer[2].done]
            heapq.heapify(self._timers)

    def finish(self, call: Call, outcome: Reply | RpcError) -> None:
        """End it, unless it has ended."""
        if self._pending.pop(call.id, None) is not None:
            call.end(outcome)

    def cancel(self, call: Call) -> None:
        """End it without telling anyone, unless it has ended."""
        if self._pending.pop(call.id, None) is not None:
            call.end(RpcError(ErrorCode.DISCONNECTED, f"{call.path} was cancelled"), silently=True)

    def next_deadline(self) -> float | None:
        while self._timers and self._timers[0][2].done:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def expire(self) -> None:
        """End those whose time is up."""
        now = self._now()
        while (due := self.next_deadline()) is not None and due <= now:
            call = heapq.heappop(self._timers)[2]
            self.finish(call, RpcError(ErrorCode.TIMEOUT, f"{call.path} was not answered in time"))


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits

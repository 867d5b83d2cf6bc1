"""Wall-clock time, ids and randomness, injected so that a run can be repeated.

Durations never come from here: they are measured with ``loop.time()``, which the testing kit's virtual
loop controls.
"""

from __future__ import annotations

import random
import time
import uuid

__all__ = ["Clock", "SeededClock"]


class Clock:
    """The machine's time and entropy."""

    def __init__(self) -> None:
        self.random = random.Random()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def new_id(self) -> str:
        """A string no other call returns, on any machine."""
        return str(uuid.uuid4())

    def new_numbers(self) -> int:
        """Where a log begins to count that starts now: above whatever an earlier one has reached.

        Clients of other makers remember a number and not which log it belongs to, and come back after a restart.
        """
        return int(self.wall() * 1_000_000)  # no log grows by an event a microsecond; exact in JavaScript until 2255


class SeededClock(Clock):
    """A clock whose ids and random numbers depend on the seed alone; its wall time is set by hand."""

    def __init__(self, seed: int = 0, *, wall: float = 1_700_000_000.0) -> None:
        self.random = random.Random(seed)
        self.now = wall

    def wall(self) -> float:
        return self.now

    def new_numbers(self) -> int:
        return 0  # there was nothing before

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

"""Noticing that the device slept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["SleepWatch"]

_LOOK_SECONDS = 10.0  # between two looks at the wall clock
_JUMP_SECONDS = 30.0  # by which it must have gone ahead to show that the device slept


class SleepWatch:
    """Notices that the device slept: the wall clock goes on meanwhile, and nothing else does.

    Args:
        wall: Seconds since the epoch; None: nobody looks.
        woke: Called when that has gone ahead by 30 seconds more than the loop's clock.
    """

    def __init__(self, wall: Callable[[], float] | None, woke: Callable[[], object]) -> None:
        self._wall = wall
        self._woke = woke
        self._looked = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        if self._wall is not None:
            self._looked = self._wall()
            self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """Leave no timer. Harmless when stopped."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        before = self._looked
        self.start()
        if self._looked - before > _LOOK_SECONDS + _JUMP_SECONDS:
            self._woke()

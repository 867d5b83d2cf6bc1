"""Steps back and forth through the values that a stream had."""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import Any

from msgspec import UNSET

__all__ = ["History"]

LONGEST = 200  # rows; longer lists are not kept, for each step keeps a whole one


class History:
    """The values before and after the present one. It keeps shallow copies.

    Args:
        limit: Steps back at most; the oldest go.
        value: The present value, or ``UNSET``.
    """

    def __init__(self, limit: int, value: Any) -> None:
        self._past: deque[Any] = deque(maxlen=limit)
        self._future: list[Any] = []
        self._present = UNSET
        self._paused = False
        self.clear(value)

    def clear(self, value: Any) -> None:
        """Forget all steps and begin with this value."""
        self._past.clear()
        self._future.clear()
        self._present = UNSET if self._paused else _kept(value)

    def record(self, value: Any) -> None:
        """The value has changed. A value equal to the present one is no step."""
        if self._present is not UNSET and self._present == value:
            return
        self._future.clear()
        if self._present is not UNSET:
            self._past.append(self._present)
        self._present = UNSET if self._paused else _kept(value)

    def limit(self, limit: int) -> None:
        """Allow so many steps back from now on."""
        self._past = deque(self._past, limit)

    def pause(self) -> None:
        """Keep no values for now; the present one stays a step to go back to."""
        self._paused = True

    def resume(self, value: Any) -> None:
        """Keep values again, beginning with the present one."""
        if self._paused:
            self._paused = False
            if self._present is UNSET:
                self._present = _kept(value)

    @property
    def can_undo(self) -> bool:
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        return bool(self._future)

    def undo(self) -> Any:
        """Step back; returns the value there, ``UNSET`` when there is none."""
        if not self._past:
            return UNSET
        if self._present is not UNSET:
            self._future.append(self._present)
        self._present = self._past.pop()
        return copy(self._present)

    def redo(self) -> Any:
        """Step forth again; returns the value there, ``UNSET`` when there is none."""
        if not self._future:
            return UNSET
        if self._present is not UNSET:
            self._past.append(self._present)
        self._present = self._future.pop()
        return copy(self._present)


def _kept(value: Any) -> Any:
    # A list that was handed out may be changed by whoever has it.
    return UNSET if isinstance(value, list) and len(value) > LONGEST else copy(value)

"""Steps back and forth through the values that a stream had."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

from msgspec import UNSET

__all__ = ["History", "Moment"]

LONGEST = 200  # rows; longer lists are not kept, for each step keeps a whole one


class Moment:
    """A value, and what it was made of.

    Attributes:
        value: What was shown; ``UNSET``: nothing, or it is not kept.
        start: What it was made of, before ``changes``.
        changes: The changes that waited for the server, made over ``start`` in this order.
        inside: Changes that waited, too, but that are part of ``start``, or were undone in it.
    """

    __slots__ = ("changes", "inside", "start", "value")

    def __init__(
        self, value: Any, start: Any = None, changes: tuple[Any, ...] = (), inside: tuple[Any, ...] = ()
    ) -> None:
        self.value = value
        self.start = start
        self.changes = changes
        self.inside = inside


_NONE = Moment(UNSET)


class History:
    """The values before and after the present one. It keeps shallow copies.

    Args:
        limit: Steps back at most; the oldest go.
        present: The present value, perhaps ``UNSET``.
    """

    def __init__(self, limit: int, present: Moment) -> None:
        self._past: deque[Moment] = deque(maxlen=limit)
        self._future: list[Moment] = []
        self._present = _NONE
        self._paused = False
        self.clear(present)

    def clear(self, present: Moment) -> None:
        """Forget all steps and begin with this value."""
        self._past.clear()
        self._future.clear()
        self._present = _NONE if self._paused else _kept(present)

    def record(self, present: Moment) -> None:
        """The value has changed. A value equal to the present one is no step."""
        if _equal(self._present, present):
            return
        self._future.clear()
        if self._present is not _NONE:
            self._past.append(self._present)
        self._present = _NONE if self._paused else _kept(present)

    def revise(self, anew: Callable[[Moment], Moment | None]) -> None:
        """Put what ``anew`` makes of each value in its place, None: nothing. Of equal neighbours one stays."""
        self._present = anew(self._present) or _NONE
        before = _distinct(map(anew, reversed(self._past)), self._present)
        after = _distinct(map(anew, reversed(self._future)), self._present)
        self._past = deque(reversed(before), self._past.maxlen)
        self._future = after[::-1]

    def replace(self, present: Moment) -> None:
        """The present value is another one, without a step."""
        if self._present is not _NONE or not self._paused:
            self._present = _kept(present)
        for neighbours in self._past, self._future:
            if neighbours and _equal(neighbours[-1], self._present):
                neighbours.pop()

    def made_with(self, change: object) -> bool:
        """Whether this change was part of the present value when that was recorded."""
        return change in self._present.changes or change in self._present.inside

    def limit(self, limit: int) -> None:
        """Allow so many steps back from now on."""
        self._past = deque(self._past, limit)

    def pause(self) -> None:
        """Keep no values for now; the present one stays a step to go back to."""
        self._paused = True

    def resume(self, present: Moment) -> None:
        """Keep values again, beginning with the present one."""
        if self._paused:
            self._paused = False
            if self._present is _NONE:
                self._present = _kept(present)

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
        if self._present is not _NONE:
            self._future.append(self._present)
        self._present = self._past.pop()
        return copy(self._present.value)

    def redo(self) -> Any:
        """Step forth again; returns the value there, ``UNSET`` when there is none."""
        if not self._future:
            return UNSET
        if self._present is not _NONE:
            self._past.append(self._present)
        self._present = self._future.pop()
        return copy(self._present.value)


def _kept(moment: Moment) -> Moment:
    value = moment.value
    if value is UNSET or (isinstance(value, list) and len(value) > LONGEST):
        return _NONE
    # A list that was handed out may be changed by whoever has it.
    return Moment(copy(value), copy(moment.start), moment.changes, moment.inside)


def _equal(moment: Moment, other: Moment) -> bool:
    return moment is not _NONE and bool(moment.value == other.value)


def _distinct(moments: Iterable[Moment | None], before: Moment) -> list[Moment]:
    kept: list[Moment] = []
    for moment in moments:
        if moment is not None and not _equal(moment, before):
            kept.append(moment)
            before = moment
    return kept

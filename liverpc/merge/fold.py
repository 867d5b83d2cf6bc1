"""What the merge strategies have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from copy import copy
from typing import Any, Self

from liverpc._types import Json, RowChange

__all__ = ["ABSENT", "REFRESHED", "Convert", "Fold", "as_list"]

Convert = Callable[[Json], Any]

REFRESHED = "refreshed"
"""The event that replaces the whole value under every strategy."""

ABSENT: Any = object()
"""What is equal to no JSON."""


class Fold(ABC):
    """The value of one stream, and how data and events change it.

    Whatever a peer sends, only the converter can raise; it does so out of :meth:`load`, :meth:`apply`
    and :meth:`extend`, and then the fold is as it was before. Not thread-safe.
    """

    __slots__ = ()

    @abstractmethod
    def load(self, data: Json) -> None:
        """Take a full value: the initial data, or a reload. It is never trimmed.

        Under a list strategy anything but a list counts as an empty list.
        """

    @abstractmethod
    def apply(self, event: str, data: Json) -> bool:
        """Take one event. ``refreshed`` loads its data under every strategy.

        Returns:
            Whether the value changed; replacing a row by an equal one counts as a change. Events that
            the strategy does not know, or cannot use, change nothing.
        """

    @abstractmethod
    def extend(self, data: Json) -> bool:
        """Take a further page of rows, which continues the list at its end under ``prepend``, too.

        A row whose key is known keeps its place and is replaced. Nothing is trimmed. Under ``set``, and for
        anything but a list, nothing happens.

        Returns:
            Whether the value changed.
        """

    @property
    @abstractmethod
    def value(self) -> Any:
        """What the user sees. Before the first data: an empty list, or None under ``set``.

        List strategies make a new list after each change and hand out the same one until the next: a
        caller may keep it or change it without disturbing the fold. Rows are shared between those lists.
        """

    # -- for changes that no server has sent

    def fork(self) -> Self:
        """An independent fold with the same value. Rows are shared; the cost is a shallow copy."""
        return copy(self)

    @abstractmethod
    def adopt(self, value: Any) -> None:
        """Become ``value``: one that a fold of this kind handed out, or one made of it. Not converted again.

        Of rows with the same key the last counts, at the place of the first.

        Raises:
            TypeError: It is no list under a list strategy, or a new row in it has no JSON form.
        """

    @abstractmethod
    def express(self, change: RowChange[Any]) -> tuple[str, Json]:
        """The event, name and data, with which a server would tell of the change.

        Raises:
            TypeError: The strategy has no such event, or the row has no JSON form or no usable key.
        """

    def about(self, event: str, data: Json) -> tuple[Hashable, bool] | None:
        """Which row an event is about, and whether it removes it; None when events have no row, or this one."""
        return None


def as_list(value: Any) -> list[Any]:
    """The value of a list strategy; TypeError when it is none."""
    if not isinstance(value, list):
        raise TypeError(f"the value of this stream is a list, not {type(value).__name__}")
    return value

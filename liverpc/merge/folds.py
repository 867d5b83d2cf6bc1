"""The merge strategies without keys, and the function that makes a fold of any."""

from __future__ import annotations

from collections import deque
from typing import Any, Self

from msgspec import to_builtins

from liverpc._types import Created, Json, RowChange
from liverpc.merge.fold import ABSENT, REFRESHED, Convert, Fold, as_list
from liverpc.merge.keyed import CRUD, CURSOR, PRESENCE, Keyed

__all__ = ["known_events", "make_fold"]

DEFAULT_LATEST = 50


class _Set(Fold):
    """One value, replaced by every event."""

    __slots__ = ("_convert", "_raw", "_value")

    def __init__(self, convert: Convert | None) -> None:
        self._convert = convert
        self._raw: Json = None
        self._value: Any = None

    def load(self, data: Json) -> None:
        self._value = data if self._convert is None else self._convert(data)
        self._raw = data

    def apply(self, event: str, data: Json) -> bool:
        # Containers are told apart by identity: comparing them costs their size, and [1] == [True].
        unchanged = data is self._raw or (
            type(data) is type(self._raw) and not isinstance(data, list | dict) and data == self._raw
        )
        if unchanged and event != REFRESHED:
            return False
        self.load(data)
        return True

    def extend(self, data: Json) -> bool:
        return False

    @property
    def value(self) -> Any:
        return self._value

    def adopt(self, value: Any) -> None:
        self._value = value
        self._raw = ABSENT

    def express(self, change: RowChange[Any]) -> tuple[str, Json]:
        raise _inexpressible("set", change)


class _Latest(Fold):
    """The last ``max`` events' data, oldest first."""

    __slots__ = ("_convert", "_max", "_rows", "_shown")

    def __init__(self, max_rows: int, convert: Convert | None) -> None:
        self._convert = convert
        self._max = max_rows
        self._rows: deque[Any] = deque()
        self._shown: list[Any] | None = None

    def load(self, data: Json) -> None:
        rows = data if isinstance(data, list) else ()
        self._rows = deque(rows if self._convert is None else map(self._convert, rows))
        self._shown = None

    def apply(self, event: str, data: Json) -> bool:
        if event == REFRESHED:
            self.load(data)
            return True
        self._rows.append(data if self._convert is None else self._convert(data))
        while len(self._rows) > self._max:
            self._rows.popleft()
        self._shown = None
        return True

    def extend(self, data: Json) -> bool:
        if not isinstance(data, list) or not data:
            return False
        self._rows.extend(data if self._convert is None else [self._convert(row) for row in data])
        self._shown = None
        return True

    @property
    def value(self) -> list[Any]:
        if self._shown is None:
            self._shown = list(self._rows)
        return self._shown

    def fork(self) -> Self:
        fork = super().fork()
        fork._rows = self._rows.copy()
        fork._shown = None
        return fork

    def adopt(self, value: Any) -> None:
        self._rows = deque(as_list(value))
        self._shown = None

    def express(self, change: RowChange[Any]) -> tuple[str, Json]:
        if not isinstance(change, Created):
            raise _inexpressible("latest", change)
        return "created", to_builtins(change.row, str_keys=True)


def _inexpressible(merge: str, change: RowChange[Any]) -> TypeError:
    return TypeError(
        f"a stream with merge {merge!r} has no rows to find again, so {type(change).__name__}(...) says nothing here: "
        "pass a function from the current value to the new one"
    )


def known_events(merge: str) -> frozenset[str] | None:
    """The events that change a value under a keyed strategy; None under one that takes any."""
    events = {"crud": CRUD, "presence": PRESENCE, "cursor": CURSOR}.get(merge)
    return None if events is None else frozenset(name for name in (*events, REFRESHED) if name is not None)


def make_fold(
    merge: str,
    *,
    key: str = "id",
    prepend: bool = False,
    max: int = 0,  # noqa: A002 - the option's name everywhere
    convert: Convert | None = None,
) -> Fold:
    """A fold without data.

    Args:
        merge: ``crud``, ``latest``, ``set``, ``presence`` or ``cursor``.
        key: The field that identifies a row under ``crud``; presence and cursor rows have ``key``. A row
            without it is kept, and no event finds it again.
        prepend: Under ``crud``: new rows go first.
        max: Rows kept when a new one comes, under ``crud`` (0: all) and ``latest`` (0: 50). The oldest
            go: the first ones, or with ``prepend`` the last ones.
        convert: Makes what the user sees from one row as received, or under ``set`` from the whole value.
            Keys are read before.

    Raises:
        ValueError: There is no such strategy.
    """
    match merge:
        case "crud":
            return Keyed(CRUD, key, convert, prepend=prepend, max_rows=max)
        case "latest":
            return _Latest(max if max > 0 else DEFAULT_LATEST, convert)
        case "set":
            return _Set(convert)
        case "presence":
            return Keyed(PRESENCE, "key", convert)
        case "cursor":
            return Keyed(CURSOR, "key", convert)
    raise ValueError(f"merge is one of crud, latest, set, presence and cursor, not {merge!r}")

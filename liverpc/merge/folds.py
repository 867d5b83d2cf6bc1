"""The five merge strategies and the function that makes one."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from liverpc._types import Json

__all__ = ["Fold", "make_fold"]

log = logging.getLogger("liverpc.merge")

Convert = Callable[[Json], Any]

DEFAULT_LATEST = 50
REFRESHED = "refreshed"


class Fold(ABC):
    """The value of one stream, and how data and events change it.

    Whatever a peer sends, only the converter can raise; it does so out of :meth:`load` and :meth:`apply`,
    and then the fold is as it was before. Not thread-safe.
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

    @property
    @abstractmethod
    def value(self) -> Any:
        """What the user sees. Before the first data: an empty list, or None under ``set``.

        List strategies make a new list after each change and hand out the same one until the next: a
        caller may keep it or change it without disturbing the fold. Rows are shared between those lists.
        """


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

    @property
    def value(self) -> Any:
        return self._value


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

    @property
    def value(self) -> list[Any]:
        if self._shown is None:
            self._shown = list(self._rows)
        return self._shown


class _Vocabulary(NamedTuple):
    """What the events of a keyed strategy are called."""

    upsert: str
    remove: str
    update: str | None = None  #: replaces a known row, ignored for an unknown one
    replace: str | None = None  #: a synonym of ``refreshed``


_CRUD = _Vocabulary(upsert="created", update="updated", remove="deleted")
_PRESENCE = _Vocabulary(upsert="join", remove="leave", replace="set")
_CURSOR = _Vocabulary(upsert="update", remove="remove", replace="set")

_ABSENT = object()


class _Keyed(Fold):
    """Rows with a key, in the order in which their keys appeared. Every event costs O(1)."""

    __slots__ = ("_convert", "_events", "_key", "_max", "_prepend", "_rows", "_shown", "_warned")

    def __init__(
        self,
        events: _Vocabulary,
        key: str,
        convert: Convert | None,
        *,
        prepend: bool = False,
        max_rows: int = 0,
    ) -> None:
        self._events = events
        self._key = key
        self._convert = convert
        self._prepend = prepend
        self._max = max_rows
        # An OrderedDict: removing from the front of a plain dict leaves holes that each look at its
        # first entry walks over again.
        self._rows: OrderedDict[Hashable, Any] = OrderedDict()
        self._shown: list[Any] | None = None
        self._warned = False

    def load(self, data: Json) -> None:
        rows: OrderedDict[Hashable, Any] = OrderedDict()
        for row in data if isinstance(data, list) else ():
            key = row.get(self._key, _ABSENT) if isinstance(row, dict) else _ABSENT
            # Of several rows with one key the last counts, at the place of the first.
            rows[_identity(key)] = row if self._convert is None else self._convert(row)
        self._rows = rows
        self._shown = None

    def apply(self, event: str, data: Json) -> bool:
        events = self._events
        if event in (REFRESHED, events.replace):
            self.load(data)
            return True
        if event not in (events.upsert, events.update, events.remove):
            return False
        if not isinstance(data, dict):
            return self._ignore(event, f"its data is {type(data).__name__}, not an object")
        key = data.get(self._key, _ABSENT)
        if isinstance(key, list | dict):
            return self._ignore(event, f"its key {self._key!r} is {type(key).__name__}; use a string or a number")
        if event == events.remove:
            changed = self._rows.pop(_identity(key), _ABSENT) is not _ABSENT
        else:
            changed = self._put(key, data, insert=event == events.upsert)
        if changed:
            self._shown = None
        return changed

    @property
    def value(self) -> list[Any]:
        if self._shown is None:
            self._shown = list(self._rows.values())
        return self._shown

    def _put(self, key: Json, row: Json, *, insert: bool) -> bool:
        identity = _identity(key)
        known = identity in self._rows
        if not known and not insert:
            return False
        self._rows[identity] = row if self._convert is None else self._convert(row)
        if known:
            return True
        if self._prepend:
            self._rows.move_to_end(identity, last=False)
        while 0 < self._max < len(self._rows):
            self._rows.popitem(last=self._prepend)
        return True

    def _ignore(self, event: str, why: str) -> bool:
        # Once per fold: what one event of a topic lacks, usually all of them lack.
        if not self._warned:
            self._warned = True
            log.warning("ignored a %r event: %s (further ones are ignored silently)", event, why)
        return False


def _identity(key: Json) -> Hashable:
    """What a row is found by. Keys of different JSON types differ; without a usable key it is never found."""
    if key is _ABSENT or isinstance(key, list | dict):
        return object()
    return (bool, key) if isinstance(key, bool) else key  # True == 1 in a dict


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
            return _Keyed(_CRUD, key, convert, prepend=prepend, max_rows=max)
        case "latest":
            return _Latest(max if max > 0 else DEFAULT_LATEST, convert)
        case "set":
            return _Set(convert)
        case "presence":
            return _Keyed(_PRESENCE, "key", convert)
        case "cursor":
            return _Keyed(_CURSOR, "key", convert)
    raise ValueError(f"merge is one of crud, latest, set, presence and cursor, not {merge!r}")

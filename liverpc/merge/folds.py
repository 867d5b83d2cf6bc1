"""The five merge strategies and the function that makes one."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from copy import copy
from typing import Any, NamedTuple, Self

from msgspec import to_builtins

from liverpc._types import Created, Deleted, Json, RowChange, Updated

__all__ = ["Fold", "known_events", "make_fold"]

log = logging.getLogger("liverpc.merge")

Convert = Callable[[Json], Any]

DEFAULT_LATEST = 50
REFRESHED = "refreshed"


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
        """Take a further page of rows: behind those that are there, with ``prepend`` before them.

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
        self._raw = _ABSENT

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
        self._rows = deque(_as_list(value))
        self._shown = None

    def express(self, change: RowChange[Any]) -> tuple[str, Json]:
        if not isinstance(change, Created):
            raise _inexpressible("latest", change)
        return "created", to_builtins(change.row, str_keys=True)


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
        self._rows = self._read(data)
        self._shown = None

    def extend(self, data: Json) -> bool:
        page = self._read(data)
        new = [identity for identity in page if identity not in self._rows]
        self._rows.update(page)
        if self._prepend:
            for identity in reversed(new):
                self._rows.move_to_end(identity, last=False)
        self._shown = None
        return bool(page)

    def _read(self, data: Json) -> OrderedDict[Hashable, Any]:
        rows: OrderedDict[Hashable, Any] = OrderedDict()
        for row in data if isinstance(data, list) else ():
            key = row.get(self._key, _ABSENT) if isinstance(row, dict) else _ABSENT
            # Of several rows with one key the last counts, at the place of the first.
            rows[_identity(key)] = row if self._convert is None else self._convert(row)
        return rows

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

    def fork(self) -> Self:
        fork = super().fork()
        fork._rows = self._rows.copy()
        fork._shown = None
        return fork

    def adopt(self, value: Any) -> None:
        # Most rows of the new value are those of the old one: they need not be turned into JSON for their key.
        known = {id(row): identity for identity, row in self._rows.items() if type(identity) is not object}
        rows: OrderedDict[Hashable, Any] = OrderedDict()
        for row in _as_list(value):
            identity = known.get(id(row), _ABSENT)
            if identity is _ABSENT:
                data = to_builtins(row, str_keys=True)
                identity = _identity(data.get(self._key, _ABSENT) if isinstance(data, dict) else _ABSENT)
            rows[identity] = row
        self._rows = rows
        self._shown = None

    def express(self, change: RowChange[Any]) -> tuple[str, Json]:
        events = self._events
        data: Json
        if isinstance(change, Deleted):
            event, data = events.remove, {self._key: to_builtins(change.key)}
        else:
            event = (events.update if isinstance(change, Updated) else None) or events.upsert
            data = to_builtins(change.row, str_keys=True)
        if self.about(event, data) is None:
            raise TypeError(
                f"the rows of this stream are found by {self._key!r}, a string or a number: "
                f"what {type(change).__name__}(...) was given has none"
            )
        return event, data

    def about(self, event: str, data: Json) -> tuple[Hashable, bool] | None:
        events = self._events
        if event not in (events.upsert, events.update, events.remove) or not isinstance(data, dict):
            return None
        key = data.get(self._key, _ABSENT)
        return None if key is _ABSENT or isinstance(key, list | dict) else (_identity(key), event == events.remove)

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


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"the value of this stream is a list, not {type(value).__name__}")
    return value


def _inexpressible(merge: str, change: RowChange[Any]) -> TypeError:
    return TypeError(
        f"a stream with merge {merge!r} has no rows to find again, so {type(change).__name__}(...) says nothing here: "
        "pass a function from the current value to the new one"
    )


def _identity(key: Json) -> Hashable:
    """What a row is found by. Keys of different JSON types differ; without a usable key it is never found."""
    if key is _ABSENT or isinstance(key, list | dict):
        return object()
    return (bool, key) if isinstance(key, bool) else key  # True == 1 in a dict


def known_events(merge: str) -> frozenset[str] | None:
    """The events that change a value under a keyed strategy; None under one that takes any."""
    events = {"crud": _CRUD, "presence": _PRESENCE, "cursor": _CURSOR}.get(merge)
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

"""The strategies whose rows have keys: crud, presence and cursor."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, NamedTuple, Self

from msgspec import to_builtins

from liverpc._types import Deleted, Json, RowChange, Updated
from liverpc.merge.fold import ABSENT, REFRESHED, Convert, Fold, as_list

__all__ = ["CRUD", "CURSOR", "PRESENCE", "Keyed"]

log = logging.getLogger("liverpc.merge")


class Vocabulary(NamedTuple):
    """What the events of a keyed strategy are called."""

    upsert: str
    remove: str
    update: str | None = None  #: replaces a known row, ignored for an unknown one
    replace: str | None = None  #: a synonym of ``refreshed``


CRUD = Vocabulary(upsert="created", update="updated", remove="deleted")
PRESENCE = Vocabulary(upsert="join", remove="leave", replace="set")
CURSOR = Vocabulary(upsert="update", remove="remove", replace="set")


class Keyed(Fold):
    """Rows with a key, in the order in which their keys appeared. Every event costs O(1)."""

    __slots__ = ("_convert", "_events", "_key", "_max", "_prepend", "_rows", "_shown", "_warned")

    def __init__(
        self,
        events: Vocabulary,
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
        self._rows.update(page)
        self._shown = None
        return bool(page)

    def _read(self, data: Json) -> OrderedDict[Hashable, Any]:
        rows: OrderedDict[Hashable, Any] = OrderedDict()
        for row in data if isinstance(data, list) else ():
            key = row.get(self._key, ABSENT) if isinstance(row, dict) else ABSENT
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
        key = data.get(self._key, ABSENT)
        if isinstance(key, list | dict):
            return self._ignore(event, f"its key {self._key!r} is {type(key).__name__}; use a string or a number")
        if event == events.remove:
            changed = self._rows.pop(_identity(key), ABSENT) is not ABSENT
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
        for row in as_list(value):
            identity = known.get(id(row), ABSENT)
            if identity is ABSENT:
                data = to_builtins(row, str_keys=True)
                identity = _identity(data.get(self._key, ABSENT) if isinstance(data, dict) else ABSENT)
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
        key = data.get(self._key, ABSENT)
        return None if key is ABSENT or isinstance(key, list | dict) else (_identity(key), event == events.remove)

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
    if key is ABSENT or isinstance(key, list | dict):
        return object()
    return (bool, key) if isinstance(key, bool) else key  # True == 1 in a dict

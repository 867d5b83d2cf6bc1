"""What is different between two decoded JSON values."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

__all__ = ["MAX_CHANGES", "Change", "apply", "between", "identity"]

MAX_CHANGES = 500  #: of more the whole value counts as changed
_MAX_DEPTH = 24  # what lies deeper is changed as a whole
_IDENTITIES = ("id", "key", "_id", "uuid")


@dataclass(frozen=True)
class Change:
    """A difference.

    Args:
        where: Keys and indexes that lead to it, when it is its turn.
        what: Items of lists are inserted and deleted.
        old: Of what was changed or removed.
        new: Of what was changed or added.
    """

    where: tuple[str | int, ...]
    what: Literal["added", "removed", "changed"]
    old: Any = None
    new: Any = None


def between(old: Any, new: Any) -> list[Change]:
    """The changes that make ``new`` of ``old``, in their order; of more than 500 the one that replaces everything."""
    changes = list(islice(_changes((), old, new), MAX_CHANGES + 1))
    return changes if len(changes) <= MAX_CHANGES else [Change((), "changed", old, new)]


def apply(old: Any, changes: Iterable[Change]) -> Any:
    """``old`` after these changes; itself it stays as it is."""
    value = copy.deepcopy(old)
    for change in changes:
        if not change.where:
            value = copy.deepcopy(change.new)
            continue
        *way, last = change.where
        place: Any = value
        for step in way:
            place = place[step]
        if change.what == "removed":
            del place[last]
        elif change.what == "added" and isinstance(place, list):
            place.insert(int(last), copy.deepcopy(change.new))
        else:
            place[last] = copy.deepcopy(change.new)
    return value


def identity(value: Any) -> object | None:
    """What tells an item from the others of its stream, ``id`` for example; None when nothing does."""
    if not isinstance(value, dict):
        return None
    return next((each for name in _IDENTITIES if isinstance(each := value.get(name), str | int)), None)


def _changes(where: tuple[str | int, ...], old: Any, new: Any) -> Iterator[Change]:
    if len(where) < _MAX_DEPTH:
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _of_keys(where, old, new)
            return
        if isinstance(old, list) and isinstance(new, list):
            yield from _of_items(where, old, new)
            return
    if not _same(old, new):
        yield Change(where, "changed", old, new)


def _of_keys(where: tuple[str | int, ...], old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    for key, value in old.items():
        if key not in new:
            yield Change((*where, key), "removed", value)
        else:
            yield from _changes((*where, key), value, new[key])
    for key, value in new.items():
        if key not in old:
            yield Change((*where, key), "added", new=value)


def _of_items(where: tuple[str | int, ...], old: list[Any], new: list[Any]) -> Iterator[Change]:
    """Items that are the same at both ends stay; those between are changed one by one, the rest added or removed."""
    common = min(len(old), len(new))
    begin = next((i for i in range(common) if not _same(old[i], new[i])), common)
    end = next((i for i in range(common - begin) if not _same(old[-1 - i], new[-1 - i])), common - begin)
    for index in range(begin, common - end):
        yield from _changes((*where, index), old[index], new[index])
    for index in range(len(old) - end - 1, common - end - 1, -1):
        yield Change((*where, index), "removed", old[index])
    for index in range(common - end, len(new) - end):
        yield Change((*where, index), "added", new=new[index])


def _same(old: Any, new: Any) -> bool:
    """Equal, and of equal types: 1 is not true."""
    if type(old) is not type(new):
        return False
    if isinstance(old, dict):
        return old.keys() == new.keys() and all(_same(value, new[key]) for key, value in old.items())
    if isinstance(old, list):
        return len(old) == len(new) and all(map(_same, old, new))
    return bool(old == new)

"""Rows of any kind, sorted by a field and joined with what a field refers to."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from enum import Enum
from math import isnan
from operator import itemgetter
from typing import Any

import msgspec

__all__ = ["AT_ONCE", "joined", "sorted_by"]

AT_ONCE = 64  # keys that a join asks for at the same time; the others wait


def sorted_by(rows: list[Any], field: str, *, reverse: bool) -> list[Any]:
    """Rows in the order of a field, whatever its values are; see ``pipe.sort``."""
    kinds: dict[str, list[tuple[Any, Any]]] = {}
    last: list[Any] = []
    for row in rows:
        value = _field(row, field)
        if isinstance(value, Enum):
            value = value.value
        if value is None or (isinstance(value, float | Decimal) and isnan(value)):
            last.append(row)
        else:
            kind = "" if isinstance(value, int | float | Decimal) else type(value).__qualname__
            kinds.setdefault(kind, []).append((value, row))
    ordered: list[Any] = []
    for kind in sorted(kinds, reverse=reverse):
        pairs = kinds[kind]
        with suppress(TypeError):  # of a type without an order: as they came
            pairs = sorted(pairs, key=itemgetter(0), reverse=reverse)
        ordered += [row for _, row in pairs]
    return ordered + last


async def joined(rows: list[Any], field: str, resolve: Callable[[Any], Any], as_: str) -> list[dict[str, Any]]:
    """Rows as dicts, with what ``resolve`` finds for a field; see ``pipe.join``.

    Raises:
        TypeError: A row has no fields.
        Exception: What ``resolve`` raised; its other questions are cancelled.
    """
    found = await _each_once([_field(row, field) for row in rows], resolve)
    return [_as_dict(row) | {as_: value} for row, value in zip(rows, found, strict=True)]


def _field(row: Any, name: str) -> Any:
    return row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)


def _as_dict(row: Any) -> dict[str, Any]:
    if isinstance(row, Mapping):
        return dict(row)
    fields = msgspec.to_builtins(row)
    if not isinstance(fields, dict):
        raise TypeError(f"pipe.join() adds a field to rows with fields, and {type(row).__name__} has none")
    return fields


async def _each_once(keys: list[Any], resolve: Callable[[Any], Any]) -> list[Any]:
    """What each key resolves to, in order."""
    places = [_identity(key) for key in keys]
    found: dict[Any, Any] = {}
    unasked = iter(dict(zip(places, keys, strict=True)).items())

    async def ask() -> None:
        for place, key in unasked:
            value = None if key is None else resolve(key)
            found[place] = await value if inspect.isawaitable(value) else value

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(keys), AT_ONCE)):
                group.create_task(ask())
    except BaseExceptionGroup as errors:
        # The first is why the others were cancelled; outside it shall be what the resolver raised, such as a LiveError.
        raise errors.exceptions[0] from None
    return [found[place] for place in places]


def _identity(key: Any) -> Any:
    """What tells keys apart: 1 is neither True nor 1.0, and of what has no hash each is another one."""
    try:
        hash(key)
    except TypeError:
        return id(key)
    return type(key), key

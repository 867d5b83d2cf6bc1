"""What tells the groups of one room apart."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin
from uuid import UUID

from liverpc.wire.codec import encode

__all__ = ["Part", "RoomKey", "may_be_key", "room_key"]

Part: TypeAlias = str | int | UUID
RoomKey: TypeAlias = Part | Sequence[Part]
"""What tells the groups of one room apart: ``room_id``, or several parts, ``("project", project_id)``.

Keys are equal when their parts are, by type and value; a part alone is the same as a tuple of it. Keys of different
rooms and contracts are never equal. A key with None, a boolean, an empty string or anything else in it is refused.
"""


def room_key(parts: Any) -> bytes:
    """The canonical form of a key, as JSON: equal for equal keys, and for no others.

    Args:
        parts: A :data:`RoomKey`, or what an application gave for one.

    Raises:
        ValueError: It is no key. A missing value must not become the name of a group that everybody shares.
    """
    given: Sequence[Any] = parts if isinstance(parts, list | tuple) else (parts,)
    if not given:
        raise ValueError("the key has no parts")
    try:
        return encode([_canonical(part, position) for position, part in enumerate(given, 1)])
    except UnicodeEncodeError:
        raise ValueError("a part of the key is a string that is no Unicode text") from None


def _canonical(part: Any, position: int) -> object:
    if isinstance(part, str) and part:
        return str.__str__(part)  # the plain text of an enum's member
    if isinstance(part, int) and not isinstance(part, bool):
        return int(part)
    if isinstance(part, UUID):
        return {"uuid": part.hex}
    shown = repr(part) if part is None or isinstance(part, bool | str) else f"of type {type(part).__name__}"
    raise ValueError(f"part {position} of the key is {shown}; parts are non-empty strings, integers and UUIDs")


def may_be_key(annotation: Any) -> bool:
    """Whether what is annotated so can be a key, or the refusal of one; True when that cannot be told."""
    kind, inner = get_origin(annotation) or annotation, get_args(annotation)
    if kind is Annotated:
        return may_be_key(inner[0])
    if kind in (Union, UnionType):
        return all(each in (NoneType, bool) or may_be_key(each) for each in inner)
    if not isinstance(kind, type) or kind in (Any, object) or issubclass(kind, Awaitable | str | UUID):
        return True
    if issubclass(kind, int):
        return kind is not bool
    return issubclass(kind, Sequence) and kind is not bytes and all(map(may_be_key, inner))

"""The payload that a page sends, by its declared type, without a member that the type does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec.inspect import (
    CollectionType,
    DataclassType,
    DictType,
    Metadata,
    NamedTupleType,
    StructType,
    TupleType,
    Type,
    TypedDictType,
    UnionType,
    type_info,
)

from liverpc.errors import ErrorCode, Issue, LiveError
from liverpc.schema.models import MOST_ISSUES, adapter_of, issues_of, keeps_extra
from liverpc.schema.signature import UNREADABLE, issue_of, json_decoder, split, unreadable

__all__ = ["Incoming", "split_args"]

_LONGEST_NAME = 100

_decode_plain: Callable[[Any], Any] = msgspec.json.Decoder().decode

Path: TypeAlias = tuple[str, ...]
Walk: TypeAlias = Callable[[Any, Path, list[Issue]], None]
"""Adds an issue for each unknown member of a value, which fits its type otherwise, and lies at a path."""


def split_args(raw_args: msgspec.Raw | bytes) -> list[msgspec.Raw]:
    """The arguments of a call, not decoded.

    Raises:
        LiveError: ``INVALID_REQUEST``: they are no list.
    """
    try:
        return split(raw_args)
    except UNREADABLE:
        raise LiveError(ErrorCode.INVALID_REQUEST, "args must be a list of JSON values in UTF-8") from None


class Incoming:
    """Decodes the one payload of an action, or of asking for a room (docs/protocol.md section 12).

    Args:
        name: Of the payload.
        annotation: Its type; members that it does not have are refused at any depth. Pydantic models that set
            ``extra`` in their own configuration are taken at their word.
        required: There is no default.
        place: Of the member, for people.

    Raises:
        DeclarationError: The type cannot be read from JSON.
    """

    __slots__ = ("_decode", "_name", "_required", "_walk")

    def __init__(self, name: str, annotation: Any, *, required: bool, place: str) -> None:
        self._name = name
        self._required = required
        self._walk: Walk | None = None
        try:
            if (adapter := adapter_of(annotation)) is not None:
                self._decode = _reader(name, adapter, None if keeps_extra(annotation) else "forbid")
            else:
                self._decode = json_decoder(annotation)
                self._walk = _walker(type_info(annotation), {})
        except TypeError as error:
            raise unreadable(f"{place}: the payload {name!r}", annotation, error) from None

    def __call__(self, args: Sequence[msgspec.Raw]) -> tuple[Any, ...]:
        """The payload alone in a tuple; nothing when it has a default and is not there. Surplus is dropped.

        Raises:
            LiveError: ``VALIDATION``, with one issue for each unknown member, or one for the first other fault.
        """
        if not args:
            if self._required:
                raise _refusal([Issue([self._name], "Missing argument")])
            return ()
        try:
            payload = self._decode(args[0])
            # What the type does not have was skipped until now, unread: it may be no readable JSON.
            plain = _decode_plain(args[0]) if self._walk is not None else None
        except UNREADABLE as error:
            raise _refusal([issue_of(self._name, str(error), alone=True)]) from None
        if self._walk is not None:
            issues: list[Issue] = []
            self._walk(plain, (), issues)
            if issues:
                raise _refusal(issues)
        return (payload,)


def _refusal(issues: list[Issue]) -> LiveError:
    return LiveError(ErrorCode.VALIDATION, "Validation failed", issues=issues)


def _reader(name: str, adapter: Any, extra: str | None) -> Callable[[Any], Any]:
    def decode(raw: msgspec.Raw) -> Any:
        try:
            return adapter.validate_json(bytes(raw), extra=extra)
        except ValueError as error:
            if not hasattr(error, "errors"):  # a model's own validator may raise what it likes
                raise
            issues = [Issue(issue.path or [name], issue.message) for issue in issues_of(error)]
            raise _refusal(issues) from None

    return decode


# -- unknown members


def _walker(part: Type, known: dict[int, Walk]) -> Walk | None:
    """None: there are no members in a value of this type that could be unknown."""
    if isinstance(part, Metadata):
        return _walker(part.type, known)
    if isinstance(part, StructType | TypedDictType | DataclassType | NamedTupleType):
        return known.get(id(part)) or _object(part, known)
    if isinstance(part, DictType):
        value = _walker(part.value_type, known)
        return value and _values(value)
    if isinstance(part, CollectionType):
        item = _walker(part.item_type, known)
        return item and _items(item)
    if isinstance(part, TupleType):
        return _positions([_walker(item, known) for item in part.item_types])
    return _union(part, known) if isinstance(part, UnionType) else None


def _object(part: StructType | TypedDictType | DataclassType | NamedTupleType, known: dict[int, Walk]) -> Walk:
    """Of a class with named members; as JSON an object, or an array for named tuples and such structs."""
    inner: dict[str, Walk] = {}
    places: list[Walk | None] = []
    tag = part.tag_field if isinstance(part, StructType) else None
    names = {field.encode_name for field in part.fields} | ({tag} if tag else set())

    def walk(value: Any, path: Path, issues: list[Issue]) -> None:
        if isinstance(value, list):
            by_position(value, path, issues)
            return
        if not value.keys() <= names:
            _report((name for name in value if name not in names), path, issues)
        for name, below in inner.items():
            if name in value:
                below(value[name], (*path, name), issues)

    known[id(part)] = walk  # before its members are looked at: one of them may be of the same class
    for field in part.fields:
        below = _walker(field.type, known)
        places.append(below)
        if below is not None:
            inner[field.encode_name] = below
    by_position = _positions([None, *places] if tag else places)
    return walk


def _values(below: Walk) -> Walk:
    def walk(value: Any, path: Path, issues: list[Issue]) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                below(item, (*path, name), issues)

    return walk


def _items(below: Walk) -> Walk:
    def walk(value: Any, path: Path, issues: list[Issue]) -> None:
        for position, item in enumerate(value):
            below(item, (*path, str(position)), issues)

    return walk


def _positions(places: Sequence[Walk | None]) -> Walk:
    def walk(value: Any, path: Path, issues: list[Issue]) -> None:
        _report(map(str, range(len(places), len(value))), path, issues)
        for position, (below, item) in enumerate(zip(places, value, strict=False)):
            if below is not None:
                below(item, (*path, str(position)), issues)

    return walk


def _union(part: UnionType, known: dict[int, Walk]) -> Walk | None:
    """The kind of the JSON value says which member is meant, and of tagged structs the tag."""
    tag: Any = 0  # in an array, the first item
    tagged: dict[Any, Walk] = {}
    of_object: Walk | None = None
    of_array: Walk | None = None
    for member in part.types:
        plain = member.type if isinstance(member, Metadata) else member
        below = _walker(plain, known)
        if below is None:
            continue
        in_array = isinstance(plain, CollectionType | TupleType | NamedTupleType)
        if isinstance(plain, StructType):
            in_array = plain.array_like
            if plain.tag_field is not None:
                tag = 0 if in_array else plain.tag_field
                tagged[plain.tag] = below
        if in_array:
            of_array = below
        else:
            of_object = below

    def walk(value: Any, path: Path, issues: list[Issue]) -> None:
        below = of_object if isinstance(value, dict) else of_array if isinstance(value, list) else None
        if len(tagged) > 1 and isinstance(value, list if tag == 0 else dict):
            below = tagged[value[tag]]  # of a single tagged struct the tag may be missing
        if below is not None:
            below(value, path, issues)

    return walk if tagged or of_object or of_array else None


def _report(unknown: Iterable[str], path: Path, issues: list[Issue]) -> None:
    for name in unknown:
        if len(issues) == MOST_ISSUES:
            return
        issues.append(Issue([*path, name[:_LONGEST_NAME]], "Unknown member"))

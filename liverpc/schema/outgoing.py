"""What leaves the server under a declared type: compared with it, and without anything that the type does not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, get_origin

import msgspec
from msgspec.inspect import (
    AnyType,
    CollectionType,
    CustomType,
    DataclassType,
    DictType,
    Metadata,
    NamedTupleType,
    RawType,
    StructType,
    TupleType,
    Type,
    TypedDictType,
    UnionType,
    type_info,
)

from liverpc.schema.models import adapter_of
from liverpc.schema.signature import issue_of, json_decoder, unreadable

__all__ = ["Outgoing"]

_encode = msgspec.json.Encoder().encode


class Outgoing:
    """Checks values of one declared type, and encodes them.

    Args:
        annotation: The type: builtins, msgspec structs, dataclasses, TypedDicts, attrs classes, pydantic models, and
            lists, dicts and unions of them.
        what: Sends the value, such as ``ToClient.message``; errors begin with it.
        place: Of the annotation, for people.

    Raises:
        DeclarationError: The type has no JSON form that can be read back.
    """

    __slots__ = ("_annotation", "_classes", "_decode", "_serialise", "_what")

    def __init__(self, annotation: Any, what: str, place: str) -> None:
        self._annotation = annotation
        self._what = what
        self._serialise: Callable[..., bytes] | None = None
        try:
            if (adapter := adapter_of(annotation)) is not None:
                self._serialise = adapter.dump_json
                return
            self._decode = json_decoder(annotation)
            self._classes = _classes(type_info(annotation))
        except TypeError as error:
            raise unreadable(place, annotation, error) from None

    def __call__(self, value: Any) -> msgspec.Raw:
        """The value as JSON, with the members of the declared type only, to be encoded wherever it is needed.

        A value of a subclass loses what the subclass adds, unless its type forbids unknown fields: then it does not
        fit. Inside the value, anything with the right members does for a class. Values are encoded and read back to be
        compared, so a ``__post_init__`` runs once more.

        Raises:
            TypeError: The value, or something in it, does not fit.
        """
        try:
            if self._serialise is not None:
                return msgspec.Raw(self._serialise(value, by_alias=True, warnings="error"))
            text = _encode(value)
            if text[:1] in (b"{", b"[") and not isinstance(value, self._classes):
                raise TypeError(f"got {type(value).__name__}")
            # Decoding compares every member, and drops what a subclass or a dict has besides.
            return msgspec.Raw(_encode(self._decode(text)))
        except msgspec.ValidationError as error:
            fault = issue_of("", str(error), alone=True)
            place = ".".join(step for step in fault.path if step)
            raise self._error(f"at {place}: {fault.message}" if place else fault.message) from None
        except (TypeError, ValueError, RecursionError) as error:  # UnicodeEncodeError and pydantic's are ValueErrors
            raise self._error(str(error)) from None

    def _error(self, reason: str) -> TypeError:
        return TypeError(f"{self._what} sends {_name(self._annotation)}, and this does not fit: {reason}")


def _classes(part: Type) -> tuple[type, ...]:
    """The classes whose values a type takes where JSON has an object or a list."""
    if isinstance(part, Metadata):
        return _classes(part.type)
    if isinstance(part, UnionType):
        return tuple(cls for member in part.types for cls in _classes(member))
    if isinstance(part, StructType | DataclassType):
        return (get_origin(part.cls) or part.cls,)
    if isinstance(part, TypedDictType | DictType):
        return (Mapping,)
    if isinstance(part, CollectionType | TupleType | NamedTupleType):
        return (Sequence, Set)
    return (object,) if isinstance(part, AnyType | RawType | CustomType) else ()


def _name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) and get_origin(annotation) is None else repr(annotation)

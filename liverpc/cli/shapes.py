"""The types in contracts, as generated clients declare them: which there are, what they are called, what they hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from itertools import count
from typing import Any, TypeAlias, TypeVar, get_args, get_origin

import msgspec
from msgspec.inspect import (
    CollectionType,
    CustomType,
    DataclassType,
    DictType,
    EnumType,
    ExtType,
    Field,
    Metadata,
    NamedTupleType,
    StructType,
    TupleType,
    Type,
    TypedDictType,
    UnionType,
    type_info,
)

from liverpc.cli.foreign import NO_TAG, Foreign
from liverpc.errors import ConfigError
from liverpc.schema.models import adapter_of

__all__ = ["Names", "Objects", "Shape", "Shapes", "bare", "notes", "pascal", "tell_apart"]

K = TypeVar("K")
Objects: TypeAlias = StructType | DataclassType | TypedDictType | NamedTupleType

_WORDS = re.compile(r"[A-Za-z0-9]+")


class Names:
    """Hands out names that are not taken yet; equal requests in equal order get equal names.

    Args:
        reserved: Never handed out.
    """

    def __init__(self, reserved: Iterable[str]) -> None:
        self._taken = set(reserved)

    def take(self, wanted: str) -> str:
        """This name, with a number behind it when it is taken."""
        name = next(each for n in count(1) if (each := wanted if n == 1 else f"{wanted}{n}") not in self._taken)
        self._taken.add(name)
        return name


def tell_apart(items: Iterable[K], *spellings: Callable[[K], str]) -> dict[K, str]:
    """For each item the first of its spellings that is not one of another item as well, or the last with a number."""
    found: dict[K, str] = {}
    rest = list(items)
    for spell in spellings:
        spelled = Counter(map(spell, rest))
        found.update((item, spell(item)) for item in rest)
        rest = [item for item in rest if spelled[spell(item)] > 1]
    found.update((item, f"{found[item]}{number}") for number, item in enumerate(rest, 1))
    return found


class Shape:
    """One class of the application, as clients see it.

    Attributes:
        name: What clients call it.
        node: Its members.
        sent: Clients send it: what has a default may be left out. What they only receive has all its members.
    """

    def __init__(self, node: Objects | EnumType, *, sent: bool) -> None:
        self.name = ""
        self.node = node
        self.sent = sent

    @property
    def tag(self) -> tuple[str, str | int] | None:
        """The member that tells it apart, and its value."""
        if not isinstance(self.node, StructType) or self.node.tag_field in (None, NO_TAG) or self.node.tag is None:
            return None
        return (self.node.tag_field, self.node.tag)

    @property
    def fields(self) -> tuple[Field, ...]:
        """None of an enum."""
        return () if isinstance(self.node, EnumType) else self.node.fields

    @property
    def is_list(self) -> bool:
        """In JSON, where its members have positions instead of names."""
        return isinstance(self.node, NamedTupleType) or (isinstance(self.node, StructType) and self.node.array_like)

    def may_lack(self, field: Field) -> bool:
        """Whether a message may come without it."""
        if field.required:
            return False
        if self.sent or isinstance(self.node, TypedDictType) or _is_unset(field):
            return True
        config = getattr(get_origin(self.node.cls) or self.node.cls, "__struct_config__", None)
        return bool(config and config.omit_defaults)


class Shapes:
    """The classes that a set of contracts uses.

    Types are added first, those that clients send before all others; after :meth:`name_all` they can be looked up.

    Args:
        readable: See :class:`Foreign`.
    """

    def __init__(self, *, readable: bool) -> None:
        self._shapes: dict[Any, Shape] = {}
        self._foreign = Foreign(readable=readable)

    def add(self, annotation: Any, place: str, *, sent: bool) -> Type:
        """The node of an annotation, with all classes in it added.

        Raises:
            ConfigError: There is something in it that has no form in JSON; the text begins with ``place``.
        """
        node = self._node(annotation, place, sent)
        self._walk(node, place, sent)
        return node

    def add_members(self, annotation: Any, place: str) -> dict[str, Type]:
        """The members of an object that clients send, by name, without the object itself; raises as :meth:`add`."""
        node = self._node(annotation, place, sent=True)
        members = {field.encode_name: field.type for field in getattr(node, "fields", ())}
        for name, member in members.items():
            self._walk(member, f"{place}.{name}", sent=True)
        return members

    def _node(self, annotation: Any, place: str, sent: bool) -> Type:
        try:
            adapter = adapter_of(annotation)
            if adapter is None:
                return type_info(annotation)
            schema = adapter.json_schema(mode="validation" if sent else "serialization")
            return self._foreign.node(schema, getattr(annotation, "__name__", ""))
        except Exception as error:  # models and annotations may have code of their own
            name = getattr(annotation, "__name__", repr(annotation))
            raise ConfigError(f"{place}: no client can be generated for {name}: {error}") from None

    def _walk(self, node: Type, place: str, sent: bool) -> None:
        if isinstance(node, CustomType | ExtType):
            raise ConfigError(
                f"{place}: no client can be generated for {getattr(node, 'cls', msgspec.msgpack.Ext)!r}; use builtin "
                "types, msgspec structs, dataclasses, TypedDicts, attrs classes or pydantic models"
            )
        if isinstance(node, EnumType):
            self._shapes.setdefault(node.cls, Shape(node, sent=sent))
        elif isinstance(node, StructType | DataclassType | TypedDictType | NamedTupleType):
            if node.cls not in self._shapes:
                self._shapes[node.cls] = Shape(node, sent=sent)
                for field in node.fields:
                    self._walk(field.type, f"{place}.{field.name}", sent)
        else:
            for inner in _inside(node):
                self._walk(inner, place, sent)

    def name_all(self, names: Names) -> None:
        """Give every class a name: its own, with its module's in front when there are several of that name."""
        homes = {key: (key.__module__, _own_name(key)) for key in self._shapes}
        distinct = tell_apart(
            dict.fromkeys(homes.values()),
            lambda home: home[1],
            lambda home: pascal(home[0].rpartition(".")[2]) + home[1],
            lambda home: pascal(home[0]) + home[1],
        )
        for key, shape in self._shapes.items():
            shape.name = names.take(distinct[homes[key]])

    def name(self, node: Any) -> str:
        """What clients call the class of a node."""
        return self._shapes[node.cls].name

    def enum_name(self, cls: type[Enum]) -> str | None:
        """The same of an enum; None for one that no client has to know."""
        return self._shapes[cls].name if cls in self._shapes else None

    def all(self) -> list[Shape]:
        """By name, after the enums, whose members are the defaults of others."""
        return sorted(self._shapes.values(), key=lambda shape: (not isinstance(shape.node, EnumType), shape.name))


def _is_unset(field: Field) -> bool:
    """Whether nothing takes its place when it is left out."""
    return not field.required and field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT


def bare(node: Type) -> Type:
    """Without what is said about it."""
    while isinstance(node, Metadata):
        node = node.type
    return node


_LIMITS = {
    "gt": "above {}",
    "ge": "at least {}",
    "lt": "below {}",
    "le": "at most {}",
    "multiple_of": "a multiple of {}",
    "min_length": "at least {} long",
    "max_length": "at most {} long",
    "pattern": "fits {}",
}


def notes(node: Type, formats: Mapping[type[Type], str]) -> str:
    """What is said about a type in one line: title, description, limits, the format of its text; perhaps nothing."""
    said: list[str] = []
    while isinstance(node, Metadata):
        schema = node.extra_json_schema or {}
        said += [str(schema[key]) for key in ("title", "description") if key in schema]
        node = node.type
    optional = [bare(each) for each in node.types] if isinstance(node, UnionType) else [node]
    for each in optional:
        for attribute, text in _LIMITS.items():
            if (value := getattr(each, attribute, None)) is not None:
                said.append(text.format(value))
        if type(each) in formats:
            said.append(formats[type(each)])
    return " ".join("; ".join(dict.fromkeys(said)).split())


def _inside(node: Type) -> tuple[Type, ...]:
    if isinstance(node, Metadata):
        return (node.type,)
    if isinstance(node, UnionType):
        return node.types
    if isinstance(node, TupleType):
        return node.item_types
    if isinstance(node, DictType):
        return (node.key_type, node.value_type)
    return (node.item_type,) if isinstance(node, CollectionType) else ()


def _own_name(cls: Any) -> str:
    """``Page`` for ``Page``, ``PageCard`` for ``Page[Card]``."""
    arguments = "".join(pascal(getattr(each, "__name__", str(each))) for each in get_args(cls))
    return str((get_origin(cls) or cls).__name__) + arguments


def pascal(text: str) -> str:
    """``RoomsMail`` for ``/rooms/mail``."""
    return "".join(word[0].upper() + word[1:] for word in _WORDS.findall(text))

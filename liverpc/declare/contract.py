"""Contracts: what one page may send and receive, and in which groups it is, in one class.

``Contract`` and its members are declarations; ``liverpc.rooms`` serves them. One instance is made for each connection.
"""

from __future__ import annotations

import inspect
import logging
import re
import sys
from abc import ABCMeta
from collections.abc import Callable, Collection, Mapping
from dataclasses import is_dataclass
from functools import partial
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec.inspect import DataclassType, StructType, TypedDictType, type_info

from liverpc._types import T
from liverpc.declare.emitting import Emitter, Membership, RoomHandle, Sent, Unserved, sent_by
from liverpc.declare.folders import pattern_of
from liverpc.declare.functions import Declaration
from liverpc.declare.keys import RoomKey
from liverpc.declare.members import EventHandler, Room, event, room
from liverpc.errors import DeclarationError, ErrorCode, LiveError
from liverpc.pages import Events, PageContract, UrlPattern, declared_at, enclosing_names
from liverpc.schema.generics import type_arguments
from liverpc.schema.models import adapter_of, fields_of
from liverpc.schema.signature import where

if TYPE_CHECKING:  # defaults (PEP 696) exist for checkers only
    from typing_extensions import TypeVar

    Params = TypeVar("Params", default=None)
    Known = TypeVar("Known", default=Any)
else:
    from typing import TypeVar

    Params = TypeVar("Params")
    Known = TypeVar("Known")

__all__ = ["Contract", "EventHandler", "Membership", "Room", "RoomHandle", "RoomKey", "event", "room"]

E = TypeVar("E", bound=Events)

log = logging.getLogger("liverpc.rooms")

_MEMBERS = (EventHandler, Room)
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


class _Namespace(dict[str, Any]):
    """The body of a contract: a second member of one name would take the place of the first without a word."""

    def __init__(self, reserved: Collection[str]) -> None:
        super().__init__()
        self._reserved = reserved
        self._lines: dict[str, int] = {}

    def __setitem__(self, name: str, value: Any) -> None:
        frame = sys._getframe(1)
        file, line = frame.f_code.co_filename, frame.f_lineno
        if name in self._reserved:
            raise DeclarationError(
                f"{self['__module__']}.{self['__qualname__']} ({file}, line {line}): {name!r} means something else in "
                "contracts; name it differently"
            )
        if name in self and (isinstance(value, _MEMBERS) or isinstance(self[name], _MEMBERS)):
            raise DeclarationError(
                f"{self['__module__']}.{self['__qualname__']} ({file}): {name!r} stands in line {self._lines[name]} "
                f"and again in line {line}; an event or room needs a name of its own"
            )
        self._lines[name] = line
        super().__setitem__(name, value)


class _ContractMeta(ABCMeta):  # of abstract base classes, so that contracts may have such among their bases
    @classmethod
    def __prepare__(cls, name: str, bases: tuple[type, ...], /, **options: Any) -> _Namespace:
        own = any(isinstance(base, _ContractMeta) for base in bases)  # and not Contract itself
        return _Namespace(_RESERVED if own else ())


class Contract(PageContract[E], Generic[E, Params, Known], metaclass=_ContractMeta):
    """What one page may send and receive: ``class Chat(Contract[ToClient, Params, Locals], path="/rooms/{room_id}")``.

    Args (of the class):
        path: Of the URL. ``Params`` has a field for each part in braces. Without one, a contract in a module below a
            package ``routes`` answers on the path of its folders: ``/rooms/{room_id}`` for what is in
            ``routes/rooms/_room_id_/``, and ``__rest__`` is ``{rest:path}``. A base of
            others needs none; unless it is generic or without members, its name begins with ``_``.
        name: On the wire; the class's name in snake case when not given.

    Attributes:
        params: The parts of the URL.
        locals: What ``on_connect`` returned.
        locals_type: What it has to return; None: anything.
        client: Sends to this connection alone: ``self.client.message(m)``.

    One instance is made for each connection that opens the contract; it may keep what it likes in further attributes.
    In a test, make one with params and locals and call its methods; what they emit is checked and goes nowhere.

    Raises:
        DeclarationError: Something in the class is wrong, with file and line. What depends on annotations is found
            by :meth:`resolve`.
    """

    locals_type: ClassVar[Any] = None
    _resolved: ClassVar[bool] = False
    _read_params: ClassVar[Callable[[dict[str, str]], Any] | None] = None
    _integers: ClassVar[frozenset[str]] = frozenset()
    _params_failed: ClassVar[bool] = False  # and it was logged
    _sending: ClassVar[Mapping[str, Sent] | None] = None

    def __init__(self, params: Params, locals: Known) -> None:  # noqa: A002 - the attribute's name
        self.params = params
        self.locals = locals
        self.served: Membership = Unserved()

    def __init_subclass__(cls, *, path: str | None = None, name: str | None = None, **options: Any) -> None:
        super().__init_subclass__(path=path, name=name, **options)
        place = declared_at(cls)
        if path is None and (found := pattern_of(cls.__module__)) is not None:
            cls.pattern = UrlPattern(found, place)
        _, params, known = type_arguments(cls, Contract) or (Events, None, Any)
        cls.params_type = None if isinstance(params, TypeVar) or params is type(None) else params
        cls.locals_type = None if isinstance(known, TypeVar) or known is Any else known
        cls._resolved, cls._read_params, cls._sending = False, None, None
        cls._integers, cls._params_failed = frozenset(), False
        _check_init(cls, place)
        cls._settle(enclosing_names(cls))

    @classmethod
    def _settle(cls, names: Mapping[str, Any] | None) -> None:
        for member in vars(cls).values():
            if isinstance(member, Declaration):
                raise DeclarationError(
                    f"{where(member.handler)}: @live stands in modules, not in a contract; here it is @event"
                )
        by_name: dict[tuple[bool, str], EventHandler[Any, Any, Any, Any] | Room[Any, Any]] = {}
        for owner in cls.__mro__:
            for attribute, member in vars(owner).items():
                if not isinstance(member, _MEMBERS) or getattr(cls, attribute) is not member:
                    continue  # or a class in between has another one of this name
                if owner is cls or not issubclass(owner, Contract):
                    member.method.settle(attribute, member.name, names if owner is cls else None)
                other = by_name.setdefault((isinstance(member, Room), member.name), member)
                if other is not member:
                    raise DeclarationError(
                        f"{where(member.method.fn)} and {where(other.method.fn)} are both {member.name!r} on the wire"
                    )

    if not TYPE_CHECKING:  # or every attribute would exist for checkers

        def __getattr__(self, name: str) -> Any:
            text = f"{type(self).__qualname__!r} object has no attribute {name!r}"
            if "params" not in vars(self):  # __init__ has not run
                text = (
                    f"this {type(self).__qualname__} has no {name}: LiveServer.contract() made it, or "
                    "its __init__ does not call super().__init__(params, locals)"
                )
            raise AttributeError(text, name=name, obj=self)

    if not TYPE_CHECKING:  # Contract[ToClient]: before Python 3.13 type variables have no defaults

        def __class_getitem__(cls, item: Any) -> Any:
            given = item if isinstance(item, tuple) else (item,)
            if cls is Contract:
                given += (None, Any)[len(given) - 1 :]
            return super().__class_getitem__(given)

    @classmethod
    def resolve(cls) -> None:
        """Build what needs the types: servers and clients do so before they use a contract.

        Raises:
            DeclarationError: A type does not exist, cannot be read from JSON, or ``Params`` has not exactly the parts
                of the path.
        """
        if cls._resolved:
            return
        cls._check_params()
        cls.outgoing_events()
        for members in (cls.actions(), cls.rooms()):
            for member in members.values():
                if isinstance(member, _MEMBERS):
                    member.resolve()
        cls._resolved = True

    @classmethod
    def _check_params(cls) -> None:
        if cls.pattern is None:
            return
        place = f"{cls.__module__}.{cls.__qualname__}"
        fields, parts, path = _fields(cls.params_type, place), cls.pattern.names, f"path={cls.pattern.text!r}"
        if missing := ", ".join(part for part in parts if part not in fields):
            raise DeclarationError(f"{place}: {path} has {missing}, and Params has no such field")
        if surplus := ", ".join(field for field in fields if field not in parts):
            raise DeclarationError(f"{place}: Params has {surplus}, which is not in {path}")
        for field, annotation in fields.items():
            if not _is_text(annotation):
                raise DeclarationError(
                    f"{place}: Params.{field} is {annotation!r}, and a part of a URL is text: a str, an int, a UUID"
                )

    @classmethod
    def params_from(cls, texts: Mapping[str, str]) -> Any:
        """The parts of a URL as ``Params``.

        Raises:
            ValueError: They are not exactly the parts of the pattern, one is empty, or one does not fit.
        """
        names = () if cls.pattern is None else cls.pattern.names
        if texts.keys() != set(names) or not all(texts.values()):
            raise ValueError(f"{cls.name} takes {', '.join(names) or 'no parts of the URL'}, none of them empty")
        if cls.params_type is None:
            return None
        read = cls._read_params
        if read is None:
            adapter = adapter_of(cls.params_type)
            convert = partial(msgspec.convert, type=cls.params_type, strict=False)
            read = cls._read_params = convert if adapter is None else adapter.validate_strings
            fields = _fields(cls.params_type, cls.__qualname__)
            cls._integers = frozenset(name for name, annotation in fields.items() if _is_integer(annotation))
        for name in cls._integers:
            if _INTEGER.fullmatch(texts[name]) is None:  # 1.0 would be another URL of the same room
                raise ValueError(f"Expected `int` as its digits - at `$.{name}`")
        try:
            return read(dict(texts))
        except ValueError:
            raise
        except Exception as error:  # anybody can cause it as often as they like
            if not cls._params_failed:
                cls._params_failed = True
                log.exception("%s.%s: the parts of a URL could not be read", cls.__module__, cls.__qualname__)
            raise ValueError("they could not be read") from error

    @classmethod
    def outgoing_events(cls) -> Mapping[str, Sent]:
        """What the contract sends, by name; raises as :meth:`resolve`."""
        if cls._sending is None:
            cls._sending = sent_by(cls.events)
        return cls._sending

    @property
    def client(self) -> E:
        emitter: Any = Emitter(self, self.served.send)
        return emitter  # type: ignore[no-any-return]  # it has the methods of E, and is none

    def require(self, value: T | None) -> T:
        """The value, which is not None.

        Raises:
            LiveError: ``UNAUTHENTICATED``: it is.
        """
        if value is None:
            raise LiveError(ErrorCode.UNAUTHENTICATED)
        return value


_RESERVED = {name for name in dir(Contract) if not name.startswith("_")} | {"name", "params", "locals", "served"}


def _check_init(cls: type, place: str) -> None:
    init = vars(cls).get("__init__")
    try:
        inspect.signature(init or Contract.__init__).bind(None, None, None)
    except TypeError:
        raise DeclarationError(
            f"{place}: its __init__ takes self, params and locals, and calls super().__init__(params, locals)"
        ) from None


def _fields(params: Any, place: str) -> Mapping[str, Any]:
    """The types of the URL's parts, by the names by which they become a value of this type."""
    if params is None:
        return {}
    if adapter_of(params) is not None:
        return {field.alias or name: field.annotation for name, field in fields_of(params).items()}
    known = type_info(params)
    if not isinstance(known, StructType | DataclassType | TypedDictType):
        raise DeclarationError(
            f"{place}: Params is {params!r}; make it a struct with a field for each part of the path"
        )
    hints = get_type_hints(params)
    return {field.encode_name: hints.get(field.name, Any) for field in known.fields}


def _is_integer(annotation: Any) -> bool:
    """Whether a value of this type is an integer, or None."""
    annotation = getattr(annotation, "__supertype__", annotation)
    kind, inner = get_origin(annotation) or annotation, get_args(annotation)
    if kind is Annotated:
        return _is_integer(inner[0])
    if kind in (Union, UnionType):
        return all(_is_integer(each) for each in inner if each is not NoneType)
    return isinstance(kind, type) and issubclass(kind, int) and kind is not bool


def _is_text(annotation: Any) -> bool:
    """Whether a text may become a value of this type; True when that cannot be told."""
    kind, inner = get_origin(annotation) or annotation, get_args(annotation)
    if kind in (Union, UnionType):
        return any(_is_text(each) for each in inner if each is not NoneType)
    if not isinstance(kind, type) or issubclass(kind, str):
        return True
    return not issubclass(kind, Collection | msgspec.Struct) and not is_dataclass(kind)

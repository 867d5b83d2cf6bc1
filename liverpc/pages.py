"""What a page knows of a contract: where it is, what it may send and hear, and which rooms it may ask for.

Servers declare contracts in full (``declare.contract``) and generated clients only this much of them; clients need no
more. Nothing here knows keys, selectors or handlers.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, ClassVar, Generic, ParamSpec, Self, TypeVar, get_type_hints, overload
from urllib.parse import quote, unquote

import msgspec

from liverpc._types import P, R_co
from liverpc.errors import DeclarationError
from liverpc.schema.generics import type_arguments
from liverpc.schema.models import plain

__all__ = [
    "Action",
    "Events",
    "Joinable",
    "PageContract",
    "Payload",
    "UrlPattern",
    "bound",
    "declared_at",
    "enclosing_names",
    "events_of",
    "is_name",
    "payloads_of",
]

E_co = TypeVar("E_co", bound="Events", covariant=True)
C_contra = TypeVar("C_contra", bound="PageContract[Any]", contravariant=True)
X = TypeVar("X")
Q = ParamSpec("Q")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_OURS = re.compile(r"(liverpc\.pages|liverpc\.declare|abc)(\.|$)")  # abc: the metaclass of contracts
_DOTS = frozenset((".", ".."))
_LITERAL = "!$&'()*+,;=:@"  # what a segment may have as it is, besides letters, digits and -._~
_PART = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")


def snake(name: str) -> str:
    """``ChatRoom`` as ``chat_room``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def is_name(text: str) -> bool:
    """Whether a text can be the name of a contract, action or room; those with ``_`` in front belong to the library."""
    return _NAME.fullmatch(text) is not None


def _statement() -> FrameType:
    """The frame in which a class is being made."""
    frame: FrameType = sys._getframe(1)
    while frame.f_back is not None and _OURS.match(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return frame


def enclosing_names(cls: type) -> Mapping[str, Any] | None:
    """The names of the function in which a class is being made; None for one that stands in a module.

    To be asked from ``__init_subclass__``; annotations may name types that only exist there.
    """
    return dict(_statement().f_locals) if "<locals>" in cls.__qualname__ else None


def declared_at(cls: type) -> str:
    """``module.Class (file, line n)``, for error messages; to be asked from ``__init_subclass__``."""
    frame = _statement()
    return f"{cls.__module__}.{cls.__qualname__} ({frame.f_code.co_filename}, line {frame.f_lineno})"


# -- where


class UrlPattern:
    """A path such as ``/rooms/{room_id}``, or ``/files/{name:path}`` with one or more segments at its end.

    Attributes:
        text: As written.
        names: Of the parts in braces, in order.
        rank: Sorts patterns: of those that fit a path, the one with the lowest rank is meant.

    Raises:
        DeclarationError: It is malformed; the text begins with ``place``.
    """

    __slots__ = ("_parts", "names", "rank", "text")

    def __init__(self, text: str, place: str) -> None:
        if (mended := re.sub(r"/:([A-Za-z_]\w*)", r"/{\1}", text)) != text:
            raise DeclarationError(f"{place}: in path={text!r}, parts are in braces: write {mended!r}")
        if not text.startswith("/") or "?" in text or "#" in text or "//" in text:
            raise DeclarationError(f"{place}: path={text!r} is no path such as '/rooms/{{room_id}}'")
        if text != "/" and text[-1] == "/":
            raise DeclarationError(f"{place}: write path={text!r} without the slash at its end: {text[:-1]!r}")
        self.text = text
        self._parts: list[tuple[str, str | None, bool]] = []  # literal, name, is the rest
        segments = text[1:].split("/")
        for position, segment in enumerate(segments):
            match = _PART.fullmatch(segment)
            if match is None and ("{" in segment or "}" in segment):
                raise DeclarationError(f"{place}: in path={text!r}, {segment!r} is not wholly in braces")
            if match is not None and match[2] and position != len(segments) - 1:
                raise DeclarationError(f"{place}: in path={text!r}, {segment!r} is not the last segment")
            self._parts.append((segment, None, False) if match is None else ("", match[1], match[2] is not None))
        self.names = tuple(name for _, name, _ in self._parts if name is not None)
        if len(set(self.names)) != len(self.names):
            raise DeclarationError(f"{place}: path={text!r} has a name twice")
        self.rank = tuple(2 if rest else 1 if name else 0 for _, name, rest in self._parts)

    def match(self, path: str) -> dict[str, str] | None:
        """The decoded parts of a percent-encoded path; None when it does not fit. No part is empty."""
        segments = path[1:].split("/")
        found: dict[str, str] = {}
        for position, (literal, name, rest) in enumerate(self._parts):
            if position >= len(segments):
                return None
            segment = "/".join(segments[position:]) if rest else segments[position]
            try:
                segment = unquote(segment, errors="strict")
            except UnicodeDecodeError:
                return None
            if (segment != literal) if name is None else not segment:
                return None
            if name is not None:
                found[name] = segment
            if rest:
                return found
        return found if len(segments) == len(self._parts) else None

    def fill(self, values: Mapping[str, Any]) -> str:
        """The path with these parts, percent-encoded.

        Raises:
            TypeError: A part is missing, empty, or there is one too many; or it has a segment ``.`` or ``..``, which
                clients and proxies take for a way through the folders, in whichever spelling.
        """
        surplus = [name for name in values if name not in self.names]
        if missing := [name for name in self.names if name not in values]:
            unknown = f", and has no {', '.join(surplus)}" if surplus else ""
            raise TypeError(f"{self.text} needs {', '.join(missing)}{unknown}")
        if surplus:
            raise TypeError(f"{self.text} has no {', '.join(surplus)}; it has {', '.join(self.names) or 'no parts'}")
        parts: list[str] = []
        for literal, name, rest in self._parts:
            if name is None:
                parts.append(quote(literal, safe=_LITERAL))
                continue
            text = str(values[name])
            if not text:
                raise TypeError(f"{self.text}: {name} is empty")
            if not _DOTS.isdisjoint(text.split("/") if rest else (text,)):
                raise TypeError(f"{self.text}: {name} is {text!r}; URLs have no segments '.' and '..'")
            parts.append(quote(text, safe="/" if rest else ""))
        return "/" + "/".join(parts)

    def __repr__(self) -> str:
        return f"UrlPattern({self.text!r})"


# -- what the server sends


class Events:
    """Base of what a contract sends to its pages: one method for each event.

    ``def message(self, data: Message) -> None: ...``: the name is the event's, its one parameter the payload. An event
    without parameter has no payload. The methods have no bodies; servers send by calling them on a room's ``emit``.
    """

    _names: ClassVar[Mapping[str, Any] | None] = None
    _found: ClassVar[dict[str, Payload | None] | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._names = enclosing_names(cls)
        cls._found = None
        for name, annotation in inspect.get_annotations(cls).items():
            if not name.startswith("_"):
                kind = annotation.__name__ if isinstance(annotation, type) else annotation
                raise DeclarationError(f"{declared_at(cls)}: write `def {name}(self, data: {kind}) -> None: ...`")
        for name, fn in vars(cls).items():
            if not name.startswith("_"):
                _check_event(fn, f"{declared_at(cls)}: {name}")


class Payload(msgspec.Struct, frozen=True):
    """The one parameter of an event or an action, or of asking for a room."""

    name: str
    type: Any
    required: bool = True


def _check_event(fn: Any, place: str) -> None:
    if not inspect.isfunction(fn) or inspect.iscoroutinefunction(fn):
        raise DeclarationError(f"{place} is no event: those are plain methods with one parameter, the payload, or none")
    parameters = list(inspect.signature(fn).parameters.values())
    if not parameters or len(parameters) > 2 or any(p.kind > p.POSITIONAL_OR_KEYWORD for p in parameters):
        raise DeclarationError(f"{place}: an event takes self and at most one payload; put several values in a struct")
    if len(parameters) == 2 and parameters[1].annotation is inspect.Parameter.empty:
        raise DeclarationError(f"{place}: annotate {parameters[1].name!r}; it is the payload's schema")


def events_of(events: type[Events]) -> Mapping[str, Payload | None]:
    """The events, those of bases included, with their payloads; None: the event has none.

    Raises:
        DeclarationError: An annotation names what does not exist.
    """
    if events._found is None:
        found: dict[str, Payload | None] = {}
        for base in reversed(events.__mro__):
            names = vars(base).get("_names")
            for name, fn in vars(base).items():
                if not issubclass(base, Events) or name.startswith("_"):
                    continue
                hints = _hints(fn, names, f"{base.__module__}.{fn.__qualname__} (line {fn.__code__.co_firstlineno})")
                parameters = list(inspect.signature(fn).parameters.values())[1:]
                found[name] = next((Payload(p.name, hints[p.name], p.default is p.empty) for p in parameters), None)
        events._found = found
    return events._found


def payloads_of(events: type[Events]) -> Mapping[str, Any]:
    """The payload type of each event, ``NoneType`` for one that has none; see :func:`events_of`."""
    return {name: type(None) if payload is None else payload.type for name, payload in events_of(events).items()}


def _hints(fn: Callable[..., Any], names: Mapping[str, Any] | None, place: str) -> dict[str, Any]:
    try:
        return get_type_hints(fn, localns=dict(names or {}), include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{place}: the annotations name {error.name!r}, which does not exist at run time; import it outside "
            "`if TYPE_CHECKING:`"
        ) from None


# -- what a page may ask for


def bound(what: str, payload: Payload | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """The payload alone in a list; nothing when there is none.

    Raises:
        TypeError: There is something else, or not enough.
    """
    known = () if payload is None else (payload.name,)
    if len(args) + len(kwargs) > len(known) or any(name not in known for name in kwargs):
        takes = "no payload" if payload is None else f"one payload, {payload.name}"
        raise TypeError(f"{what} takes {takes}")
    if payload is not None and payload.required and not args and not kwargs:
        raise TypeError(f"{what} needs its payload, {payload.name}")
    return [*args, *kwargs.values()]


class Action(Generic[C_contra, P, X, R_co]):
    """Something a page may call; P is its payload, or nothing, X what calling the handler itself returns.

    Attributes:
        name: On the wire.
        payload: None: there is none.
        result_type: What the answer is converted to.
    """

    def __init__(self, name: str, payload: Payload | None, result_type: Any) -> None:
        self.name = name
        self._payload = payload
        self._result_type = result_type

    @property
    def payload(self) -> Payload | None:
        return self._payload

    @property
    def result_type(self) -> Any:
        return self._result_type

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """The arguments on the wire.

        Raises:
            TypeError: There are too many or too few.
        """
        return [plain(value) for value in bound(self.name, self.payload, args, kwargs)]

    @overload
    def __get__(self, obj: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, obj: PageContract[Any], owner: Any) -> Callable[P, X]: ...
    def __get__(self, obj: Any, owner: Any) -> Any:
        if obj is not None:
            raise TypeError(f"{self.name} is known to clients only; call it on a page: page.call({owner.__name__}...)")
        return self


class Joinable(Generic[C_contra, P]):
    """A room that a page may ask for; P is what it sends to do so: nothing, or one payload.

    Attributes:
        name: On the wire.
        payload: None: there is none.
    """

    def __init__(self, name: str, payload: Payload | None) -> None:
        self.name = name
        self._payload = payload

    @property
    def payload(self) -> Payload | None:
        return self._payload

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """As :meth:`Action.bind`."""
        return [plain(value) for value in bound(self.name, self.payload, args, kwargs)]


class PageContract(Generic[E_co]):
    """Base of everything that :func:`liverpc.client.connect` can open: ``class Chat(..., path="/rooms/{room_id}")``.

    Attributes:
        name: On the wire; the class's name in snake case when not given.
        pattern: Of the URL; None: the class cannot be served or opened, only be a base of others.
        events: What the server sends.
        params: Type of the URL's parts, with a field for each; None: they are text, or there are none.
    """

    name: ClassVar[str]
    pattern: ClassVar[UrlPattern | None] = None
    events: ClassVar[type[Events]] = Events
    params_type: ClassVar[Any] = None
    _members: ClassVar[dict[type[Any], Mapping[str, Any]]]

    def __init_subclass__(cls, *, path: str | None = None, name: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        place = declared_at(cls)
        cls.name = snake(cls.__name__).strip("_") if name is None else name
        if not is_name(cls.name):
            raise DeclarationError(
                f"{place}: the name {cls.name!r} is not letters, digits, _ and -, beginning with a letter or digit; "
                "give it another one with name="
            )
        if path is not None:
            cls.pattern = UrlPattern(path, place)
        events = next(iter(type_arguments(cls, PageContract)), Events)
        if not isinstance(events, TypeVar):  # which a generic base leaves to its subclasses
            if not (isinstance(events, type) and issubclass(events, Events)):
                raise DeclarationError(
                    f"{place}: what stands first in Contract[...] is what the server sends, a subclass of Events that "
                    f"is defined above it; not {events!r}"
                )
            cls.events = events

    @classmethod
    def actions(cls) -> Mapping[str, Action[Any, Any, Any, Any]]:
        """By name on the wire."""
        return _members(cls, Action)

    @classmethod
    def rooms(cls) -> Mapping[str, Joinable[Any, Any]]:
        """By name."""
        return _members(cls, Joinable)


def _members(cls: type[PageContract[Any]], kind: type[Any]) -> Mapping[str, Any]:
    known: dict[type[Any], Mapping[str, Any]] | None = vars(cls).get("_members")  # not that of a base
    if known is None:
        known = cls._members = {}
    if kind not in known:  # looking takes long, and is done for each connection
        found: list[Any] = [inspect.getattr_static(cls, name) for name in dir(cls)]
        known[kind] = {member.name: member for member in found if isinstance(member, kind)}
    return known[kind]

"""Contracts: what one page may send and receive, and in which groups it is, in one class.

``Contract`` and its members are declarations; ``liverpc.rooms`` serves them. One instance is made for each connection.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Final, Generic, Protocol, Self, TypeAlias, overload
from uuid import UUID

from liverpc._types import P, R, T
from liverpc.errors import DeclarationError, ErrorCode, LiveError
from liverpc.pages import Action, Events, Joinable, PageContract, Payload, enclosing_names
from liverpc.schema.signature import Signature, where

if TYPE_CHECKING:  # defaults (PEP 696) exist for checkers only
    from typing_extensions import TypeVar

    Params = TypeVar("Params", default=None)
    Locals = TypeVar("Locals", default=Any)
else:
    from typing import TypeVar

    Params = TypeVar("Params")
    Locals = TypeVar("Locals")

__all__ = ["Contract", "EventHandler", "Membership", "Room", "RoomHandle", "RoomKey", "event", "room"]

E = TypeVar("E", bound=Events)
C = TypeVar("C", bound="Contract[Any, Any, Any]")
C_contra = TypeVar("C_contra", bound="Contract[Any, Any, Any]", contravariant=True)
X = TypeVar("X")
Coro: TypeAlias = Coroutine[Any, Any, R]
Maybe: TypeAlias = R | Awaitable[R]

Part: TypeAlias = str | int | UUID
RoomKey: TypeAlias = Part | Sequence[Part]
"""What tells the groups of one room apart: ``room_id``, or several parts, ``("project", project_id)``.

Keys are equal when their parts are, by type and value; a part alone is the same as a tuple of it. Keys of different
rooms and contracts are never equal. A key with None, a boolean, an empty string or anything else in it is refused.
"""


class Membership(Protocol):
    """What serves one contract of one connection, or of none: :meth:`LiveServer.contract`."""

    def emit(self, room: Room[Any, Any], key: RoomKey | None, event: str, args: tuple[Any, ...], others: bool) -> None:
        """Send an event to a room; ``key`` None: those of this connection."""
        ...

    def send(self, event: str, args: tuple[Any, ...]) -> None:
        """Send an event to this connection alone."""
        ...

    async def join(self, room: Room[Any, Any], key: RoomKey | None) -> None: ...
    def leave(self, room: Room[Any, Any], key: RoomKey | None) -> None: ...


class RoomHandle(Generic[E]):
    """A room, as the handlers of a contract see it: ``self.chat``.

    It stands for the groups of this room that the connection belongs to, or for the one that :meth:`at` names. A
    private room is one group, whether or not the connection has joined it; of an exposed room, it is those it has
    joined.
    """

    def __init__(self, contract: Contract[E, Any, Any], declared: Room[Any, Any], key: RoomKey | None = None) -> None:
        self._contract = contract
        self._room = declared
        self._key = key

    @property
    def emit(self) -> E:
        """Send an event to everybody in the room, this connection included if it is: ``self.chat.emit.message(m)``.

        Returns at once; the event arrives before the answer to the action. The payload is compared with its type.

        Raises:
            TypeError: The payload does not fit. Nothing is sent.
            LiveError: ``JOIN_REJECTED``: this connection has no such room.
        """
        return self._emitter(others=False)

    @property
    def emit_others(self) -> E:
        """As :attr:`emit`, but not to this connection."""
        return self._emitter(others=True)

    def _emitter(self, *, others: bool) -> E:
        def emit(name: str, args: tuple[Any, ...]) -> None:
            self._contract.served.emit(self._room, self._key, name, args, others)

        emitter: Any = _Emitter(type(self._contract).events, emit)
        return emitter  # type: ignore[no-any-return]

    def at(self, *key: Part) -> Self:
        """The group with this key, whoever is in it."""
        return type(self)(self._contract, self._room, key)

    async def join(self) -> None:
        """Let this connection join. Harmless when it has, or is gone.

        Raises:
            LiveError: ``JOIN_REJECTED``: this connection has no such room. ``OVERLOADED``.
        """
        await self._contract.served.join(self._room, self._key)

    def leave(self) -> None:
        """Let this connection leave. Harmless when it is not in the room."""
        self._contract.served.leave(self._room, self._key)

    def __repr__(self) -> str:
        return f"<room {self._room.name} of {type(self._contract).__qualname__}>"


class _Emitter:
    """An object with a method for each event, in place of an instance of the ``Events`` class."""

    __slots__ = ("_emit", "_events")

    def __init__(self, events: type[Events], emit: Callable[[str, tuple[Any, ...]], None]) -> None:
        self._events = events
        self._emit = emit

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_") or not hasattr(self._events, name):
            raise AttributeError(f"{self._events.__qualname__} has no event {name!r}")
        return lambda *args: self._emit(name, args)


# -- members


class _Method:
    """The function behind a member, with its annotations."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        if not inspect.isfunction(fn):
            raise DeclarationError(f"@event and @room take a method, not {fn!r}")
        self.fn = fn
        self.signature = Signature(fn)

    def bind_names(self, names: Mapping[str, Any] | None) -> None:
        """Let annotations name what exists in a function only."""
        self.signature = Signature(self.fn, names)

    def payload(self) -> Payload | None:
        parameters = self.signature.parameters
        if not parameters:
            return None
        first = parameters[0]
        return Payload(first.name, self.signature.hints()[first.name], first.default is first.empty)

    def check(self, what: str, *, result: bool) -> None:
        """Refuse what is no member, while the class is being made.

        Raises:
            DeclarationError: There is more than one parameter, one without annotation, or no annotated result.
        """
        place = where(self.fn)
        parameters = self.signature.parameters
        if len(parameters) > 1 or self.signature.rest is not None:
            raise DeclarationError(f"{place}: {what} takes one payload at most; put several values into a struct")
        if parameters and parameters[0].annotation is inspect.Parameter.empty:
            raise DeclarationError(f"{place}: annotate {parameters[0].name!r}; it is the payload's schema")
        if result and "return" not in self.fn.__annotations__:
            raise DeclarationError(f"{place}: annotate what it returns, None included; it is the answer's schema")


class EventHandler(Action[C_contra, P, X, R], Generic[C_contra, P, X, R]):
    """What ``@event`` makes of a method: an action of the page.

    Attributes:
        method: The function, with its signature.
        serial: At most one runs at a time for each connection.
    """

    def __init__(self, fn: Callable[..., Any], *, name: str | None, serial: bool) -> None:
        self.method = _Method(fn)
        super().__init__(name or fn.__name__, None, None)
        self.serial = serial
        self.__doc__ = fn.__doc__

    @property
    def payload(self) -> Payload | None:
        return self.method.payload()

    @property
    def result_type(self) -> Any:
        return self.method.signature.result

    @overload
    def __get__(self, obj: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, obj: PageContract[Any], owner: Any) -> Callable[P, X]: ...
    def __get__(self, obj: Any, owner: Any) -> Any:
        return self if obj is None else self.method.fn.__get__(obj, owner)


class Room(Joinable[C_contra, P], Generic[C_contra, P]):
    """What ``@room.private`` and ``@room.expose`` make of a method.

    Attributes:
        method: Computes the key, with its signature.
        exposed: Pages may ask for it, with a payload.
        auto_join: Connections join it when they open.
        required: Connections that cannot are closed.
    """

    def __init__(
        self, fn: Callable[..., Any], *, exposed: bool = False, auto_join: bool = False, required: bool = False
    ) -> None:
        self.method = _Method(fn)
        super().__init__(fn.__name__, None)
        self.exposed = exposed
        self.auto_join = auto_join
        self.required = required
        self.__doc__ = fn.__doc__

    @property
    def payload(self) -> Payload | None:
        return self.method.payload()

    @overload
    def __get__(self, obj: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, obj: Contract[E, Any, Any], owner: Any) -> RoomHandle[E]: ...
    def __get__(self, obj: Any, owner: Any) -> Any:
        return self if obj is None else RoomHandle(obj, self)


class RoomDecorators:
    """The type of :data:`room`."""

    @overload
    def private(self, fn: Callable[[C], Maybe[RoomKey]], /) -> Room[C, []]: ...
    @overload
    def private(
        self, *, auto_join: bool = False, required: bool = False
    ) -> Callable[[Callable[[C], Maybe[RoomKey]]], Room[C, []]]: ...
    def private(self, fn: Any = None, *, auto_join: bool = False, required: bool = False) -> Any:
        """A room whose key the server computes from ``self.params`` and ``self.locals``; the page sends nothing.

        The method runs once for each connection, when the contract opens. If it raises, or gives no usable key, the
        connection has no such room.

        Args:
            fn: The method, without parentheses; plain or async.
            auto_join: Connections join when they open, before their first action runs, also after a reconnect. Others
                join when their page asks for it, or a handler calls ``self.<room>.join()``.
            required: With ``auto_join``: a connection that cannot join is closed with 4403.

        Raises:
            DeclarationError: The method takes a payload, or ``required`` comes without ``auto_join``.
        """
        if required and not auto_join:
            raise DeclarationError("@room.private(required=True) needs auto_join=True")

        def declare(method: Callable[..., Any]) -> Any:
            declared: Room[Any, Any] = Room(method, auto_join=auto_join, required=required)
            if declared.method.signature.parameters:
                raise DeclarationError(f"{where(method)}: a private room takes no payload; @room.expose does")
            return declared

        return declare if fn is None else declare(fn)

    def expose(self, fn: Callable[Concatenate[C, P], Maybe[RoomKey | None]], /) -> Room[C, P]:
        """A room that the page may ask for, with a payload that is a wish and no proof.

        The method authorises: it returns the key, or None or False to refuse. Whether it refuses, raises, or gives no
        usable key, the page hears the same.

        Raises:
            DeclarationError: The method takes more than one payload, or its annotation is missing.
        """
        return Room(fn, exposed=True)


class EventDecorator:
    """The type of :data:`event`."""

    @overload
    def __call__(self, fn: Callable[Concatenate[C, P], Coro[R]], /) -> EventHandler[C, P, Coro[R], R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[C, P], R], /) -> EventHandler[C, P, R, R]: ...
    @overload
    def __call__(self, *, name: str | None = None, serial: bool = False) -> EventOptions: ...
    def __call__(self, fn: Any = None, *, name: str | None = None, serial: bool = False) -> Any:
        """Let the page call a method: its one parameter is the payload, what it returns is the answer.

        Both are checked against their annotations; members that the payload's type does not have are refused. A plain
        method runs inline and must not block.

        Args:
            fn: The method, without parentheses.
            name: On the wire; the method's own when not given.
            serial: Run one at a time for each connection, in the order of the calls.

        Raises:
            DeclarationError: There is more than one parameter, or an annotation is missing.
        """
        options = EventOptions(name, serial)
        return options if fn is None else options(fn)


class EventOptions:
    """``@event(...)``: waits for the method."""

    def __init__(self, name: str | None, serial: bool) -> None:
        self._name = name
        self._serial = serial

    @overload
    def __call__(self, fn: Callable[Concatenate[C, P], Coro[R]], /) -> EventHandler[C, P, Coro[R], R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[C, P], R], /) -> EventHandler[C, P, R, R]: ...
    def __call__(self, fn: Any, /) -> Any:
        return EventHandler(fn, name=self._name, serial=self._serial)


room: Final = RoomDecorators()
event: Final = EventDecorator()


# -- the contract


class Contract(PageContract[E], Generic[E, Params, Locals]):
    """What one page may send and receive: ``class Chat(Contract[ToClient, Params, Locals], path="/rooms/{room_id}")``.

    Args (of the class):
        path: Of the URL. ``Params`` has a field for each part in braces.
        name: On the wire; the class's name in snake case when not given.

    Attributes:
        params: The parts of the URL.
        locals: What ``on_connect`` returned.
        client: Sends to this connection alone: ``self.client.message(m)``.

    One instance is made for each connection that opens the contract; it may keep what it likes in further attributes.
    In a test, make one with params and locals and call its methods; what they emit is checked and goes nowhere.
    """

    locals_type: ClassVar[Any] = None

    def __init__(self, params: Params, locals: Locals) -> None:  # noqa: A002 - the attribute's name
        self.params = params
        self.locals = locals
        self.served: Membership = _Nobody()

    def __init_subclass__(cls, *, path: str | None = None, name: str | None = None, **options: Any) -> None:
        super().__init_subclass__(path=path, name=name, **options)
        names = enclosing_names(cls)
        for member in vars(cls).values():
            if isinstance(member, EventHandler | Room):
                member.method.bind_names(names)
                is_event = isinstance(member, EventHandler)
                member.method.check("an event" if is_event else "a room", result=is_event)

    if not TYPE_CHECKING:  # Contract[ToClient]: before Python 3.13 type variables have no defaults

        def __class_getitem__(cls, item: Any) -> Any:
            given = item if isinstance(item, tuple) else (item,)
            if cls is Contract:
                given += (None, Any)[len(given) - 1 :]
            return super().__class_getitem__(given)

    @property
    def client(self) -> E:
        emitter: Any = _Emitter(type(self).events, lambda name, args: self.served.send(name, args))
        return emitter  # type: ignore[no-any-return]

    def require(self, value: T | None) -> T:
        """The value, which is not None.

        Raises:
            LiveError: ``UNAUTHENTICATED``: it is.
        """
        if value is None:
            raise LiveError(ErrorCode.UNAUTHENTICATED)
        return value


class _Nobody:
    """Serves an instance that belongs to no connection."""

    def emit(self, room: Any, key: Any, event: str, args: tuple[Any, ...], others: bool) -> None: ...
    def send(self, event: str, args: tuple[Any, ...]) -> None: ...
    async def join(self, room: Any, key: Any) -> None: ...
    def leave(self, room: Any, key: Any) -> None: ...

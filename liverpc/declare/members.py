"""``@event`` and ``@room``: the methods of a contract that pages reach."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, Self, TypeAlias, TypeVar, overload

import msgspec

from liverpc._types import P, R, R_co
from liverpc.declare.emitting import RoomHandle
from liverpc.declare.keys import RoomKey, may_be_key
from liverpc.errors import DeclarationError
from liverpc.pages import Action, Events, Joinable, PageContract, Payload, is_name
from liverpc.policies.declared import Idempotency, Policies, RateLimit
from liverpc.schema.incoming import Incoming, split_args
from liverpc.schema.outgoing import Outgoing
from liverpc.schema.signature import Signature, where

if TYPE_CHECKING:
    from liverpc.declare.contract import Contract

__all__ = ["EventHandler", "Method", "Room", "event", "room"]

E = TypeVar("E", bound=Events)
C = TypeVar("C", bound="Contract[Any, Any, Any]")
C_contra = TypeVar("C_contra", bound="Contract[Any, Any, Any]", contravariant=True)
X = TypeVar("X")
Coro: TypeAlias = Coroutine[Any, Any, R]
Maybe: TypeAlias = R | Awaitable[R]


class Method:
    """The function behind a member, and the one payload it takes.

    Attributes:
        fn: As written.
        signature: Its parameters behind ``self``.

    Raises:
        DeclarationError: It is no method, or a generator.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        if not inspect.isfunction(fn):
            raise DeclarationError(f"@event and @room take a method, not {fn!r}")
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise DeclarationError(f"{where(fn)} is a generator; return a value, and emit what is to come over time")
        if not inspect.signature(fn).parameters:
            raise DeclarationError(f"{where(fn)} needs self as its first parameter")
        self.fn = fn
        self.signature = Signature(fn)
        self._incoming: Incoming | None = None

    def settle(self, attribute: str, name: str, names: Mapping[str, Any] | None) -> None:
        """Refuse what is no member, while the class is being made.

        Args:
            attribute: What the class calls it.
            name: On the wire.
            names: What annotations may name besides the module's names, when it is made in a function.

        Raises:
            DeclarationError: There is more than one parameter, one without annotation, or the name cannot travel.
        """
        place = where(self.fn)
        if attribute != self.fn.__name__:
            raise DeclarationError(f"{place} is called {attribute} here; a member is a method of its own name")
        if not is_name(name):
            raise DeclarationError(
                f"{place}: the name {name!r} is not letters, digits, _ and -, beginning with a letter or digit"
            )
        parameters = self.signature.parameters
        if len(parameters) > 1 or self.signature.rest is not None:
            raise DeclarationError(f"{place}: it takes one payload at most; put several values into a struct")
        if parameters and parameters[0].annotation is inspect.Parameter.empty:
            raise DeclarationError(f"{place}: annotate {parameters[0].name!r}; it is the payload's schema")
        if names is not None:
            self.signature = Signature(self.fn, names)

    @property
    def payload(self) -> Payload | None:
        """What the page sends; None: nothing.

        Raises:
            DeclarationError: Its annotation names what does not exist.
        """
        parameter = next(iter(self.signature.parameters), None)
        if parameter is None:
            return None
        hints = self.signature.hints()
        return Payload(parameter.name, hints[parameter.name], parameter.default is parameter.empty)

    def resolve(self) -> None:
        """Build the decoder.

        Raises:
            DeclarationError: The payload cannot be read from JSON.
        """
        if self._incoming is None and (payload := self.payload) is not None:
            self._incoming = Incoming(payload.name, payload.type, required=payload.required, place=where(self.fn))

    def decode(self, raw_args: msgspec.Raw | bytes) -> tuple[Any, ...]:
        """The arguments behind ``self``: the payload, or nothing. What else there is, is dropped.

        Raises:
            LiveError: ``INVALID_REQUEST``: ``raw_args`` is no list. ``VALIDATION``: the payload does not fit, or has
                members that its type does not have.
        """
        args = split_args(raw_args)
        self.resolve()
        return () if self._incoming is None else self._incoming(args)


class EventHandler(Action[C_contra, P, X, R_co], Generic[C_contra, P, X, R_co]):
    """What ``@event`` makes of a method: an action of the page.

    Attributes:
        method: The function, with its payload.
        serial: At most one runs at a time for each connection.
        policies: What else it asks for around its calls.
    """

    def __init__(
        self, fn: Callable[..., Any], *, name: str | None = None, serial: bool = False, policies: Policies | None = None
    ) -> None:
        self.method = Method(fn)
        super().__init__(name or fn.__name__, None, None)
        self.serial = serial
        self.policies = policies or Policies()
        self._outgoing: Outgoing | None = None
        self.__doc__ = fn.__doc__
        if "return" not in fn.__annotations__:
            raise DeclarationError(f"{where(fn)}: annotate what it returns, None included; it is the answer's schema")

    def __repr__(self) -> str:
        return self.method.fn.__qualname__

    @property
    def payload(self) -> Payload | None:
        return self.method.payload

    @property
    def result_type(self) -> Any:
        return self.method.signature.result

    def resolve(self) -> None:
        """Build what needs the types of payload and result.

        Raises:
            DeclarationError: One of them cannot be read from JSON, or does not exist.
        """
        self.method.resolve()
        if self._outgoing is None:
            fn = self.method.fn
            self._outgoing = Outgoing(self.result_type, fn.__qualname__, f"{where(fn)}: the result")

    def decode(self, raw_args: msgspec.Raw | bytes) -> tuple[Any, ...]:
        """See :meth:`Method.decode`."""
        return self.method.decode(raw_args)

    def checked_result(self, value: Any) -> Any:
        """What the method returned, ready to be encoded, without what its declared type does not have.

        Raises:
            TypeError: It does not fit the declared type.
        """
        self.resolve()
        assert self._outgoing is not None
        return self._outgoing(value)

    @overload
    def __get__(self, obj: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, obj: PageContract[Any], owner: Any) -> Callable[P, X]: ...
    def __get__(self, obj: Any, owner: Any) -> Any:
        return self if obj is None else self.method.fn.__get__(obj, owner)


class Room(Joinable[C_contra, P], Generic[C_contra, P]):
    """What ``@room.private`` and ``@room.expose`` make of a method.

    Attributes:
        method: Computes the key.
        exposed: Pages may ask for it, with a payload.
        auto_join: Connections join it when they open.
        required: Connections that cannot are closed.
    """

    def __init__(
        self, fn: Callable[..., Any], *, exposed: bool = False, auto_join: bool = False, required: bool = False
    ) -> None:
        self.method = Method(fn)
        super().__init__(fn.__name__, None)
        self.exposed = exposed
        self.auto_join = auto_join
        self.required = required
        self.__doc__ = fn.__doc__

    def __repr__(self) -> str:
        return self.method.fn.__qualname__

    @property
    def payload(self) -> Payload | None:
        return self.method.payload

    def resolve(self) -> None:
        """Build what needs the type of the payload.

        Raises:
            DeclarationError: It cannot be read from JSON or does not exist, or the method never gives a key.
        """
        self.method.resolve()
        place, result = where(self.method.fn), self.method.signature.result
        if "return" not in self.method.fn.__annotations__:
            raise DeclarationError(f"{place}: annotate the key that it returns, `-> RoomKey`")
        if not may_be_key(result):
            shown = "None" if result is type(None) else getattr(result, "__name__", result)
            raise DeclarationError(
                f"{place}: a room's method returns the key, of strings, integers and UUIDs; this one returns {shown}"
            )

    def decode(self, raw_args: msgspec.Raw | bytes) -> tuple[Any, ...]:
        """See :meth:`Method.decode`."""
        return self.method.decode(raw_args)

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
            required: With ``auto_join``: a connection that may not join is closed with 4403, and with 1013 when the
                method failed otherwise or took too long.

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

    if not TYPE_CHECKING:  # what is written by mistake, and refused by checkers anyway
        _expose = expose

        def expose(self, *fn: Any, **options: Any) -> Any:
            if len(fn) != 1 or options:
                raise DeclarationError("@room.expose has no options: write @room.expose, without parentheses")
            return self._expose(*fn)

        expose.__doc__ = _expose.__doc__

        def __call__(self, *fn: Any, **options: Any) -> Any:
            raise DeclarationError(
                "there is no @room: write @room.private, whose key the server computes, or @room.expose, for which "
                "the page asks"
            )


class EventDecorator:
    """The type of :data:`event`."""

    @overload
    def __call__(self, fn: Callable[Concatenate[C, P], Coro[R]], /) -> EventHandler[C, P, Coro[R], R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[C, P], R], /) -> EventHandler[C, P, R, R]: ...
    @overload
    def __call__(
        self,
        *,
        name: str | None = None,
        serial: bool = False,
        rate_limit: RateLimit | None = None,
        idempotent: bool = False,
    ) -> EventOptions: ...
    def __call__(
        self,
        fn: Any = None,
        *,
        name: str | None = None,
        serial: bool = False,
        rate_limit: RateLimit | None = None,
        idempotent: bool = False,
    ) -> Any:
        """Let the page call a method: its one parameter is the payload, what it returns is the answer.

        Both are checked against their annotations; members that the payload's type does not have are refused. A plain
        method runs inline and must not block.

        Args:
            fn: The method, without parentheses.
            name: On the wire; the method's own when not given.
            serial: Run one at a time for each connection, in the order in which they pass the guard; that is the order
                of the calls unless a guard or a middleware waits.
            rate_limit: How often one caller may call it; as ``@live.rate_limit``.
            idempotent: A call with the idempotency key of an earlier one gets that one's result; as
                ``@live.idempotent()``.

        Raises:
            DeclarationError: There is more than one parameter, an annotation is missing, or ``rate_limit`` is none.
        """
        given: object = rate_limit
        if given is not None and not isinstance(given, RateLimit):
            raise DeclarationError(f"@event(rate_limit=) takes RateLimit(points, per), not {rate_limit!r}")
        policies = Policies(rate_limit=rate_limit, idempotent=Idempotency() if idempotent else None)
        options = EventOptions(name, serial, policies)
        return options if fn is None else options(fn)


class EventOptions:
    """``@event(...)``: waits for the method."""

    def __init__(self, name: str | None, serial: bool, policies: Policies) -> None:
        self._name = name
        self._serial = serial
        self._policies = policies

    @overload
    def __call__(self, fn: Callable[Concatenate[C, P], Coro[R]], /) -> EventHandler[C, P, Coro[R], R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[C, P], R], /) -> EventHandler[C, P, R, R]: ...
    def __call__(self, fn: Any, /) -> Any:
        return EventHandler(fn, name=self._name, serial=self._serial, policies=self._policies)


room: Final = RoomDecorators()
event: Final = EventDecorator()

"""What handlers of a contract send: ``self.chat.emit.message(m)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from liverpc.declare.keys import Part, room_key
from liverpc.pages import Events, Payload, bound, events_of
from liverpc.schema.outgoing import Outgoing

if TYPE_CHECKING:
    from liverpc.declare.contract import Contract
    from liverpc.declare.members import Room

__all__ = ["Emitter", "Membership", "RoomHandle", "Sent", "Unserved", "sent_by"]

E = TypeVar("E", bound=Events)


class Membership(Protocol):
    """What serves one contract of one connection, or of none: :meth:`LiveServer.contract`."""

    def emit(self, room: Room[Any, Any], key: bytes | None, event: str, payload: Any, others: bool) -> None:
        """Send an event to a room. ``key`` is that of :func:`room_key`; None: the rooms of this connection.

        The payload is checked and ready to be encoded; None: the event has none.
        """
        ...

    def send(self, event: str, payload: Any) -> None:
        """Send an event to this connection alone; ``payload`` as for :meth:`emit`."""
        ...

    async def join(self, room: Room[Any, Any], key: bytes | None) -> None: ...
    def leave(self, room: Room[Any, Any], key: bytes | None) -> None: ...


class Unserved:
    """The :class:`Membership` of an instance that belongs to no connection."""

    def emit(self, room: Any, key: Any, event: str, payload: Any, others: bool) -> None: ...
    def send(self, event: str, payload: Any) -> None: ...
    async def join(self, room: Any, key: Any) -> None: ...
    def leave(self, room: Any, key: Any) -> None: ...


class RoomHandle(Generic[E]):
    """A room, as the handlers of a contract see it: ``self.chat``.

    It stands for the groups of this room that the connection belongs to, or for the one that :meth:`at` names. A
    private room is one group, whether or not the connection has joined it; of an exposed room, it is those it has
    joined.
    """

    def __init__(self, contract: Contract[E, Any, Any], declared: Room[Any, Any], key: bytes | None = None) -> None:
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
        def emit(name: str, payload: Any) -> None:
            self._contract.served.emit(self._room, self._key, name, payload, others)

        emitter: Any = Emitter(self._contract, emit)
        return emitter  # type: ignore[no-any-return]  # it has the methods of E, and is none

    def at(self, *key: Part) -> Self:
        """The group with this key, whoever is in it.

        Raises:
            ValueError: It is no key, such as one with None in it.
        """
        return type(self)(self._contract, self._room, room_key(key))

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


class Emitter:
    """An object with a method for each event, in place of an instance of the ``Events`` class."""

    __slots__ = ("_contract", "_emit")

    def __init__(self, contract: Contract[Any, Any, Any], emit: Callable[[str, Any], None]) -> None:
        self._contract = contract
        self._emit = emit

    def __getattr__(self, name: str) -> Callable[..., None]:
        sent = self._contract.outgoing_events().get(name)
        if sent is None:
            raise AttributeError(f"{self._contract.events.__qualname__} has no event {name!r}")
        return lambda *args, **kwargs: self._emit(name, sent.checked(args, kwargs))


class Sent:
    """One event on its way out."""

    __slots__ = ("_check", "_payload", "_what")

    def __init__(self, what: str, payload: Payload | None) -> None:
        self._what = what
        self._payload = payload
        self._check = None if payload is None else Outgoing(payload.type, what, f"{what}: the payload")

    def checked(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The payload, ready to be encoded; None: the event has none.

        Raises:
            TypeError: It does not fit.
        """
        given = bound(self._what, self._payload, args, kwargs)
        return None if self._check is None else self._check(given[0] if given else None)


def sent_by(events: type[Events]) -> dict[str, Sent]:
    """The events of a contract by name.

    Raises:
        DeclarationError: A payload's type cannot be read from JSON, or does not exist.
    """
    return {name: Sent(f"{events.__qualname__}.{name}", payload) for name, payload in events_of(events).items()}

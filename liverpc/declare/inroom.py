"""What belongs to a room: the context of its actions, the actions, and the streams beside its data."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from liverpc._types import P, Present, R, T, User
from liverpc.declare.context import Context
from liverpc.declare.functions import Declaration, RpcFunction, StreamFunction
from liverpc.declare.guards import denied
from liverpc.declare.options import StreamOptions
from liverpc.errors import DeclarationError, ErrorCode, Issue, LiveError
from liverpc.schema.signature import where
from liverpc.schema.validated import with_schema
from liverpc.wire.codec import encode

if TYPE_CHECKING:
    from liverpc.declare.rooms import RoomFunction

__all__ = [
    "BESIDE",
    "BesideRoom",
    "InRoom",
    "MoveCursor",
    "RoomAction",
    "RoomContext",
    "RoomCursors",
    "RoomHere",
    "RoomPresence",
]

X = TypeVar("X")
D = TypeVar("D")
Anything = Callable[..., Any]

BESIDE: Final = (":presence", ":cursors")
"""What the topics of presence and cursors have behind that of the room's data."""


class RoomHere:
    """The room an action is called in, as ``ctx.room``.

    Attributes:
        topic: Of the room's data.
    """

    __slots__ = ("_ctx", "topic")

    def __init__(self, ctx: RoomContext[Any], topic: str) -> None:
        self._ctx = ctx
        self.topic = topic

    def publish(self, event: str, data: object) -> None:
        """As ``ctx.publish``, on the topic of the room's data.

        Raises:
            TypeError: ``data`` has no JSON form.
        """
        self._ctx.publish(self.topic, event, data)

    @property
    def members(self) -> list[Present[Any]]:
        """Who is in the room and shows something of itself, as plain JSON values, in the order of coming."""
        return [Present(**row) for row in self._ctx.services.rooms.roster(self.topic)]

    def move_cursor(self, position: dict[str, Any]) -> None:
        """Show the room where the caller's cursor is, at most once in 0.05 seconds; the last position is always sent.

        Args:
            position: An object with a JSON form of at most 1024 bytes; its member ``key`` will be the caller's.

        Raises:
            LiveError: ``INVALID_REQUEST``: the caller has not subscribed to the room's data. ``VALIDATION``: the
                position is too large.
            TypeError: It has no JSON form.
        """
        self._ctx.services.rooms.move_cursor(self._ctx, self.topic, position)


class RoomContext(Context[User], Generic[User]):
    """The context of a room's action."""

    here: RoomHere | None = None

    @property
    def room(self) -> RoomHere:
        """The room.

        Raises:
            LookupError: The action was not called by a client, nor with a context of ``liverpc.testing``.
        """
        if self.here is None:
            raise LookupError("this context belongs to no room; tests make one with create_room_context()")
        return self.here


class InRoom(RpcFunction[P, X, R, User], Generic[P, X, R, User]):
    """A function of a room; its first arguments are those of the room."""

    enters = True

    def __init__(self, handler: Anything, room: RoomFunction[Any, Any, Any, Any]) -> None:
        super().__init__(handler)
        self.room = room

    @property
    def path(self) -> str:
        return f"{self.room.base}/__action/{self.__name__}"

    async def enter(self, ctx: RoomContext[Any], arguments: Sequence[Any]) -> None:
        """Ask the room's guard, and give ``ctx`` its room.

        Raises:
            LiveError: The caller may not, or the arguments are none of the room.
        """
        shared = self.of_room(arguments)
        if not await self.room.admits(ctx, *shared):
            raise denied(ctx)
        ctx.here = RoomHere(ctx, self.room.topics.resolve(ctx, shared))

    def of_room(self, arguments: Sequence[Any]) -> Sequence[Any]:
        """The arguments that say which room."""
        return arguments[: len(self.room.signature.names)]


class RoomAction(InRoom[P, X, R, User], Generic[P, X, R, User]):
    """What ``@room.action`` makes of a function."""

    def __init__(self, handler: Anything, room: RoomFunction[Any, Any, Any, Any]) -> None:
        super().__init__(handler, room)
        own = room.signature.names
        if self.signature.names[: len(own)] != own:
            raise DeclarationError(
                f"{where(handler)}: an action of {room.__qualname__} begins with the parameters of its room: "
                f"(ctx, {', '.join([*own, '...'])}), not ({', '.join(['ctx', *self.signature.names])})"
            )

    def validated(self, schema: Any) -> Self:
        # Those before are the room's, and all its parts read them alike.
        signature = with_schema(self.signature, schema, position=len(self.room.signature.names))
        action = self.variant()
        action.signature = signature
        return action

    def variant(self) -> Self:
        action = super().variant()
        self.room.adopt(action)
        return action

    def resolve(self) -> None:
        super().resolve()
        _check_types(self, self.room)


class MoveCursor(InRoom[..., None, None, Any]):
    """The action that every room with cursors has. Positions are limited anyhow, in how often they are sent."""

    takes_policies = frozenset()

    def __init__(self, room: RoomFunction[Any, Any, Any, Any]) -> None:
        super().__init__(move_cursor, room)

    def of_room(self, arguments: Sequence[Any]) -> Sequence[Any]:
        if not arguments or not isinstance(arguments[-1], dict):
            issue = Issue(["position"], "Expected an object")
            raise LiveError(ErrorCode.VALIDATION, "Validation failed", issues=[issue])
        return self.room.signature.decode(encode(arguments[:-1]))


def move_cursor(ctx: RoomContext[Any], *arguments: Any) -> None:
    ctx.room.move_cursor(arguments[-1])


def check_parameters(fn: Anything, room: RoomFunction[Any, Any, Any, Any], what: str) -> None:
    """Refuse a function of a room that takes other parameters.

    Raises:
        DeclarationError: It does.
    """
    names = tuple(inspect.signature(fn).parameters)[1:]
    if names != room.signature.names:
        raise DeclarationError(
            f"{where(fn)}: {what} takes the parameters of its room, ({', '.join(['ctx', *room.signature.names])}), "
            f"not ({', '.join(inspect.signature(fn).parameters)})"
        )


def _check_types(part: Declaration[Any, Any, Any], room: Declaration[Any, Any, Any]) -> None:
    """Refuse a part that reads the room's arguments as something else.

    Raises:
        DeclarationError: The annotation of a parameter differs.
    """
    there, here = room.signature.hints(), part.signature.hints()
    for name in room.signature.names:
        if there.get(name, Any) != here.get(name, Any):
            raise DeclarationError(
                f"{where(part.handler)}: {name!r} is annotated with {here.get(name, Any)!r} here and with "
                f"{there.get(name, Any)!r} in its room, {where(room.handler)}; a room has one name for all of its parts"
            )


class BesideRoom(StreamFunction[P, X, T, User], ABC, Generic[P, X, T, User]):
    """A stream beside the data of a room: the server knows its value."""

    takes_policies = frozenset(("rate_limit",))

    def __init__(
        self, handler: Anything, room: RoomFunction[Any, Any, Any, Any], suffix: str, options: StreamOptions
    ) -> None:
        super().__init__(handler, topic=room.beside(suffix), options=options)
        self.room = room

    def validated(self, schema: Any) -> Self:
        return self.room.validated(schema)  # refuses

    @abstractmethod
    def current(self, ctx: Context[Any], arguments: Sequence[Any]) -> list[dict[str, Any]]:
        """Its rows now."""


class RoomPresence(BesideRoom[P, X, list[Present[D]], User], Generic[P, X, D, User]):
    """Who is in a room; the function says what is shown of one user."""

    def __init__(self, handler: Anything, room: RoomFunction[Any, Any, Any, Any]) -> None:
        check_parameters(handler, room, "presence")
        super().__init__(handler, room, BESIDE[0], StreamOptions(merge="presence", access=room.admits))

    @property
    def path(self) -> str:
        return f"{self.room.base}/__presence"

    @property
    def result_type(self) -> Any:
        rows: Any = list
        shown: Any = Present
        return rows[shown[self.signature.result]]

    def current(self, ctx: Context[Any], arguments: Sequence[Any]) -> list[dict[str, Any]]:
        return ctx.services.rooms.roster(self.room.topics.resolve(ctx, arguments))

    def variant(self) -> Self:
        shows = super().variant()
        self.room.shows = shows
        return shows

    def resolve(self) -> None:
        super().resolve()
        _check_types(self, self.room)


class RoomCursors(BesideRoom[P, Any, list[dict[str, Any]], Any], Generic[P]):
    """The cursors in a room. They are the room's, which serves no copy."""

    takes_policies = frozenset()

    def __init__(self, room: RoomFunction[Any, Any, Any, Any]) -> None:
        options = StreamOptions(merge="cursor", access=room.admits, coalesce_by=_cursor_key)
        super().__init__(room.handler, room, BESIDE[1], options)

    @property
    def path(self) -> str:
        return f"{self.room.base}/__cursors"

    @property
    def result_type(self) -> Any:
        return list[dict[str, Any]]

    def current(self, ctx: Context[Any], arguments: Sequence[Any]) -> list[dict[str, Any]]:
        return ctx.services.rooms.cursors(self.room.topics.resolve(ctx, arguments))


def _cursor_key(row: Any) -> object:
    return row["key"] if isinstance(row, dict) else getattr(row, "key", None)

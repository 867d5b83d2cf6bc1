"""``live.room``: rows, who is there, cursors and functions that belong together (docs/protocol.md section 12)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import wraps
from inspect import isawaitable
from typing import Any, Concatenate, Generic, Never, ParamSpec, Self, TypeAlias, TypeVar, overload

from liverpc._types import P, Page, R, Row, Rpc, Stream, T, User
from liverpc.declare.access import holds
from liverpc.declare.context import Context
from liverpc.declare.decorators import Coro, Fn, declared
from liverpc.declare.functions import Declaration, StreamFunction, TopicSource
from liverpc.declare.guards import refuses, refusing
from liverpc.declare.inroom import (
    BESIDE,
    MoveCursor,
    RoomAction,
    RoomContext,
    RoomCursors,
    RoomPresence,
    check_parameters,
)
from liverpc.declare.options import StreamOptions
from liverpc.declare.topics import TopicPattern
from liverpc.errors import DeclarationError, ErrorCode, LiveError
from liverpc.schema.signature import Signature, where

__all__ = ["RoomDecorator", "RoomFunction", "RoomTopic"]

X = TypeVar("X")
D = TypeVar("D")
U = TypeVar("U")
Q = ParamSpec("Q")
Anything = Callable[..., Any]
RoomFn: TypeAlias = Callable[Concatenate[RoomContext[U], P], R]


class RoomTopic(TopicSource):
    """Where the topic of a room's data comes from.

    None ends like the topics beside it: an argument that did would reach those of another room, past its guard.

    Raises:
        DeclarationError: A fixed name or a template leaves out a parameter, so that several rooms would be one.
    """

    def __init__(self, topic: Any, signature: Signature) -> None:
        super().__init__(topic, signature)
        missing = [name for name in signature.names if name not in self._names]
        if missing and not callable(self._topic):
            raise DeclarationError(
                f"{where(signature.fn)}: the topic {self.text!r} does not name {', '.join(missing)}, so all of them "
                "would be one room"
            )

    def resolve(self, ctx: Context[Any] | None, arguments: Sequence[Any]) -> str:
        topic = super().resolve(ctx, arguments)
        if topic.endswith(BESIDE):
            raise LiveError(ErrorCode.INVALID_REQUEST, f"no room may end in {' or '.join(BESIDE)}")
        return topic


class RoomFunction(StreamFunction[P, X, T, User], Generic[P, X, T, User]):
    """What ``@live.room`` makes of a loader: a stream of its rows, and what belongs to it.

    Attributes:
        on_join_hook, on_leave_hook: See :meth:`on_join`, :meth:`on_leave`; None: not at all.
        shows: The presence stream; None: nobody is listed.
    """

    def __init__(
        self,
        handler: Anything,
        *,
        topic: str | Callable[..., str],
        options: StreamOptions,
        cursors: bool,
        path: str | None = None,
    ) -> None:
        super().__init__(handler, topic=topic, options=options, path=path)
        self.topics = RoomTopic(topic, self.signature)
        if self.signature.rest is not None:
            raise DeclarationError(
                f"{where(handler)}: a room takes no *{self.signature.rest.name}: actions add their own"
            )
        self._topic = topic
        self._own = options.access
        self._checks: list[Anything] = []
        self._actions: dict[str, RoomAction[Any, Any, Any, Any]] = {}
        self.options = replace(options, access=self.admits)
        self.shows: RoomPresence[Any, Any, Any, Any] | None = None
        self.on_join_hook: Anything | None = None
        self.on_leave_hook: Anything | None = None
        self._cursors: RoomCursors[P] | None = RoomCursors(self) if cursors else None
        self._move_cursor = MoveCursor(self) if cursors else None

    @property
    def base(self) -> str:
        """The first parts of all its paths: ``path=``, else the last part of the module's name and its own."""
        return super().path

    @property
    def path(self) -> str:
        """Of its data."""
        return f"{self.base}/__data"

    def parts(self) -> Iterator[tuple[str, Declaration[Any, Any, Any]]]:
        """All that answers for the room, each with what its path has behind :attr:`base`."""
        yield "__data", self
        if self.shows is not None:
            yield "__presence", self.shows
        if self._cursors is not None:
            yield "__cursors", self._cursors
        if self._move_cursor is not None and "move_cursor" not in self._actions:
            yield "__action/move_cursor", self._move_cursor
        for name, action in self._actions.items():
            yield f"__action/{name}", action

    @property
    def is_occupied(self) -> bool:
        """Whether it matters who is in it."""
        return bool(self.shows or self._cursors or self.on_join_hook or self.on_leave_hook)

    def beside(self, suffix: str) -> str | Callable[..., str]:
        """The topic of a stream beside its data."""
        topic = self._topic
        if callable(topic) and not isinstance(topic, TopicPattern):
            give = topic
            return lambda ctx, *args: f"{give(ctx, *args)}{suffix}"
        return (topic.pattern if isinstance(topic, TopicPattern) else topic) + suffix

    def scoped(self, predicate: Anything) -> Self:
        """The same room for those whom ``predicate`` lets pass, into any part of it.

        Raises:
            DeclarationError: Something belongs to the room already, and would stay with the one without predicate.
        """
        declaration = self.variant()

        @wraps(predicate)
        async def check(ctx: Context[Any], *args: Any) -> bool:
            return await holds(predicate, ctx, args)

        declaration._checks.append(check)
        return declaration

    def validated(self, schema: Any) -> Never:
        raise DeclarationError(
            f"{where(self.handler)}: all parts of a room read its arguments alike, so @live.validated is for its "
            "actions; annotate the arguments of the room, such as Annotated[str, Meta(max_length=20)]"
        )

    def variant(self) -> Self:
        if self.shows is not None or self._actions:
            raise DeclarationError(
                f"{where(self.handler)}: put @live.scoped and the like next to @live.room, before its parts"
            )
        room = copy.copy(self)
        room._checks = list(self._checks)
        room.options = replace(self.options, access=room.admits)
        if self._cursors is not None:
            room._cursors = RoomCursors(room)
            room._move_cursor = MoveCursor(room)
        return room

    @property
    def checks(self) -> tuple[Anything, ...]:
        """What :meth:`admits` asks, in order."""
        return (*self._checks, self._own) if self._own is not None else tuple(self._checks)

    async def admits(self, ctx: Context[Any], *args: Any) -> bool:
        """Whether a caller may have any part of the room.

        Raises:
            LiveError: It may not, and the guard says why.
        """
        try:
            with refusing(ctx):
                for check in self._checks:
                    verdict = check(ctx, *args)
                    if refuses(await verdict if isawaitable(verdict) else verdict):
                        ctx.services.rooms.refuse(ctx, "the guard said no")
                        return False
            if self._own is None:
                return True
            if await holds(self._own, ctx, args):
                return True
        except LiveError as error:
            ctx.services.rooms.refuse(ctx, error)
            raise
        ctx.services.rooms.refuse(ctx, "access= said no")
        return False

    # -- what belongs to it

    @property
    def cursors(self) -> Stream[P, list[dict[str, Any]]]:
        """The stream of its cursors: ``client.stream(board.cursors, "b1")``.

        Raises:
            DeclarationError: It has none.
        """
        if self._cursors is None:
            raise self._without_cursors()
        return self._cursors

    @property
    def move_cursor(self) -> Rpc[..., None]:
        """The action that moves the caller's cursor: ``client.call(board.move_cursor, "b1", {"x": 4, "y": 5})``.

        See :meth:`RoomHere.move_cursor`. An action of this name takes its place, here as well.

        Raises:
            DeclarationError: The room has no cursors.
        """
        mover = self._actions.get("move_cursor", self._move_cursor)
        if mover is None:
            raise self._without_cursors()
        return mover

    def _without_cursors(self) -> DeclarationError:
        return DeclarationError(f"{where(self.handler)}: the room has no cursors; declare it with cursors=True")

    @overload
    def presence(  # pyright: ignore[reportOverlappingOverload] - a coroutine is nothing to show
        self, fn: Fn[User, P, Coro[D | None]], /
    ) -> RoomPresence[P, Coro[D | None], D, User]: ...
    @overload
    def presence(self, fn: Fn[User, P, D | None], /) -> RoomPresence[P, D | None, D, User]: ...
    def presence(self, fn: Any, /) -> Any:
        """List who is in the room; the function, with the room's parameters, says what is shown of the caller.

        It runs for every new subscription to the data, before anything is loaded; None hides the user. When it fails,
        the error is reported and the user is hidden. The result is a stream: ``client.stream(who, "b1")`` gives rows
        with ``key`` and ``data``.

        Raises:
            DeclarationError: There is one already, or the parameters are not those of the room.
        """
        return declared(fn, self._showing)

    def _showing(self, handler: Anything) -> RoomPresence[Any, Any, Any, Any]:
        if self.shows is not None:
            raise DeclarationError(f"{where(handler)}: {self.__qualname__} has a presence function already")
        self.shows = RoomPresence(handler, self)
        return self.shows

    def guard(self, fn: Fn[User, P, D], /) -> Fn[User, P, D]:
        """Ask this function, with the room's parameters, before anything of the room is visible to a caller.

        For data, presence, cursors and actions, after the guard of the module. Raising refuses: a ``LiveError`` reaches
        the caller as it is, anything else as a generic refusal. Returning something false but None refuses, too. May
        be async; several are asked in order.
        """
        self._checks.append(self._fitting(fn, "a guard"))
        return fn

    def on_join(self, fn: Fn[User, P, object], /) -> Fn[User, P, object]:
        """Call this when a user has come: once, however many connections it has, after its first data was sent.

        Its errors are logged, and ``LiveServer(on_error=)`` is told of them.
        """
        self.on_join_hook = self._only(self._fitting(fn, "on_join"), self.on_join_hook)
        return fn

    def on_leave(self, fn: Fn[User, P, object], /) -> Fn[User, P, object]:
        """Call this when a user has gone, ``limits.presence_grace_seconds`` after its last connection left.

        The context is that of its last subscription. Errors as for :meth:`on_join`.
        """
        self.on_leave_hook = self._only(self._fitting(fn, "on_leave"), self.on_leave_hook)
        return fn

    def _fitting(self, fn: Anything, what: str) -> Anything:
        check_parameters(fn, self, what)
        return fn

    def _only(self, fn: Anything, other: Anything | None) -> Anything:
        if other is not None:
            raise DeclarationError(f"{where(fn)}: {self.__qualname__} has such a hook already, {where(other)}")
        return fn

    # "The room's P, then the action's own" cannot be typed: compared when it is declared.
    @overload
    def action(self, fn: RoomFn[U, Q, Coro[R]], /) -> RoomAction[Q, Coro[R], R, U]: ...
    @overload
    def action(self, fn: RoomFn[U, Q, R], /) -> RoomAction[Q, R, R, U]: ...
    def action(self, fn: Any, /) -> Any:
        """A function of the room. Its first parameters are those of the room; ``ctx`` is a :class:`RoomContext`.

        Clients call it by its name, ``client.call(boards.add_card, "b1", "Milk")``, at ``m/x/__action/<name>``.

        Raises:
            DeclarationError: It begins with other parameters, or there is one of this name.
        """
        return declared(fn, self._acting)

    def _acting(self, handler: Anything) -> RoomAction[Any, Any, Any, Any]:
        action: RoomAction[Any, Any, Any, Any] = RoomAction(handler, self)
        if (other := self._actions.get(action.__name__)) is not None:
            raise DeclarationError(
                f"{where(action.handler)}: {self.__qualname__} has an action of that name, {where(other.handler)}"
            )
        self.adopt(action)
        return action

    def adopt(self, action: RoomAction[Any, Any, Any, Any]) -> None:
        """Let an action take the place of the one of its name, which it was made of."""
        self._actions[action.__name__] = action


class RoomDecorator:
    """``@live.room(...)``: waits for the loader."""

    def __init__(
        self, topic: str | Callable[..., str], options: StreamOptions, path: str | None, *, cursors: bool
    ) -> None:
        self._topic = topic
        self._options = options
        self._path = path
        self._cursors = cursors

    @overload
    def __call__(self, fn: Fn[U, P, Coro[Page[Row]]], /) -> RoomFunction[P, Coro[Page[Row]], list[Row], U]: ...
    @overload
    def __call__(self, fn: Fn[U, P, Coro[T]], /) -> RoomFunction[P, Coro[T], T, U]: ...
    @overload
    def __call__(self, fn: Fn[U, P, Page[Row]], /) -> RoomFunction[P, Page[Row], list[Row], U]: ...
    @overload
    def __call__(self, fn: Fn[U, P, T], /) -> RoomFunction[P, T, T, U]: ...
    def __call__(self, fn: Any, /) -> Any:
        topic, options, path, cursors = self._topic, self._options, self._path, self._cursors
        return declared(
            fn, lambda loader: RoomFunction(loader, topic=topic, options=options, cursors=cursors, path=path)
        )

    def unused(self) -> str:
        """What went wrong when a module holds this instead of a room."""
        return 'is live.room(...) without a loader: @live.room("board:{board_id}") above the function that loads it'

"""``live``: the decorator, and the home of the other declarations.

The overloads let mypy --strict and pyright infer arguments and results of every declaration without a
plug-in; tests/typing holds them to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Never, TypeAlias, TypeVar, overload

from liverpc._types import ListMerge, Merge, P, R, T
from liverpc.declare.bytes import BINARY_MAX, BinaryDecorator, UploadCaps, UploadDecorator
from liverpc.declare.context import Context
from liverpc.declare.decorators import ChannelDecorator, Coro, Fn, RpcDecorator, StreamDecorator, needs_parentheses
from liverpc.declare.functions import Channel, RpcFunction
from liverpc.declare.lines import PolicyLines, Predicate, TopicFn
from liverpc.declare.options import Delta, StreamOptions
from liverpc.declare.rooms import RoomDecorator
from liverpc.errors import DeclarationError

__all__ = ["Live", "live"]

U = TypeVar("U")
Hook: TypeAlias = Callable[..., object]


class Live(PolicyLines):
    """The type of :data:`live`."""

    @overload
    def __call__(self, fn: Fn[U, P, Coro[R]], /) -> RpcFunction[P, Coro[R], R, U]: ...
    @overload
    def __call__(self, fn: Fn[U, P, R], /) -> RpcFunction[P, R, R, U]: ...
    @overload
    def __call__(
        self, *, path: str | None = None, thread: bool = False, class_of_service: str | None = None
    ) -> RpcDecorator: ...
    def __call__(
        self, fn: Any = None, *, path: str | None = None, thread: bool = False, class_of_service: str | None = None
    ) -> Any:
        """Make a function callable by clients.

        The first parameter is ``ctx``; every other one is positional on the wire and checked against its
        annotation before the function runs. ``async def`` runs on the event loop; a plain ``def`` runs
        inline and must not block.

        Args:
            fn: The function, when used without parentheses.
            path: Where it is reached. Default: last part of the module's name / function's name.
            thread: Run a plain function in a worker thread.
            class_of_service: Under pressure, calls of some classes are refused with ``OVERLOADED``; see
                ``LiveServer.admission``.

        Raises:
            DeclarationError: The function has no ``ctx``, or a keyword-only parameter without default.
        """
        decorator = RpcDecorator(path=path, thread=thread, class_of_service=class_of_service)
        return decorator if fn is None else decorator(fn)

    def stream(
        self,
        topic: str | TopicFn,
        *,
        merge: Merge = "crud",
        key: str = "id",
        prepend: bool = False,
        max: int = 0,  # noqa: A002 - the option's name on the wire
        access: Predicate | None = None,
        gate: Predicate | None = None,
        on_subscribe: Hook | None = None,
        on_unsubscribe: Hook | None = None,
        on_error: Hook | None = None,
        volatile: bool = False,
        coalesce_by: Callable[[Any], object] | None = None,
        transform: Callable[[Any], object] | None = None,
        replay: bool = False,
        delta: Delta | None = None,
        version: int | None = None,
        migrate: Mapping[int, Callable[[Any], Any]] | None = None,
        stale_after: float | None = None,
        invalidate_on: str | Sequence[str] = (),
        class_of_service: str | None = None,
        path: str | None = None,
    ) -> StreamDecorator:
        """Make a loader a stream: clients get its result, then the events of its topic merged into it.

        Args:
            topic: A fixed name, a template over the arguments (``"room:{room_id}"``), or a function of
                ``ctx`` and the arguments.
            merge: How events change the value: ``crud`` (rows by ``key``; ``created``, ``updated``,
                ``deleted``), ``latest`` (the last ``max`` events), ``set`` (the last one), ``presence``
                (``join``, ``leave``) or ``cursor`` (``update``, ``remove``).
            key: Field that tells rows apart (``crud``).
            prepend: New rows go first (``crud``).
            max: Rows clients keep; 0: no limit (``latest``: 50).
            access: ``(ctx, *arguments) -> bool``, sync or async. False refuses with ``FORBIDDEN``, or
                ``UNAUTHENTICATED`` when there is no user, before anything was loaded or subscribed.
            gate: ``(ctx, *arguments) -> bool``, sync or async. False is no error: the client is connected and has no
                value, and asks again when it reconnects.
            on_subscribe: ``(ctx, topic)``, after the first answer was sent. Its errors are logged, and
                ``LiveServer(on_error=)`` is told of them, as of those of the next two.
            on_unsubscribe: ``(ctx, topic, remaining)`` when the client leaves or is gone; ``remaining``
                counts the other connections on the topic.
            on_error: ``(error, ctx, topic)`` when the value could not be loaded, whatever the reason. The
                client gets the same error whether or not this fails. With it, an event for which ``coalesce_by``
                or ``transform`` fails is dropped and told to it, with None for ``ctx``.
            volatile: Events nobody misses, such as cursors: they have no number, and a client whose socket is
                full does not get them.
            coalesce_by: ``(data) -> key``: of the events with one key, a client whose socket is full gets the
                last only. Keys are strings, numbers or the like; None is a key, too. What it raises, the
                publisher gets. It sees data as published, and events of other nodes as plain JSON. Events
                have no number.
            transform: ``(row) -> row``, what clients see of a row: run for each loaded row (under ``set``, for the
                whole value) and once for what is published, whoever listens. What it raises, the publisher gets.
            replay: Keep the topic's last events, so that a client that was away gets those it missed instead of
                the whole value; see docs/streams.md.
            delta: How a client that was away gets the rows changed since, likewise.
            version: Of the rows' schema, from 1 on.
            migrate: ``{1: f, 2: g}``: for a client that says it has version 1, each loaded row passes through ``f``
                and then ``g``, for one at 2 through ``g``; missing steps are left out. Events are not migrated.
            stale_after: Seconds without an event after which the value is loaded anew for everybody.
            invalidate_on: A topic, or several: after an event there, the value is loaded anew. ``*`` stands for one
                or more characters.
            class_of_service: Under pressure, new subscribers of some classes are refused with ``OVERLOADED``; see
                ``LiveServer.admission``.
            path: As for functions.

        ``volatile``, ``coalesce_by``, ``transform`` and ``replay`` apply to the topic. What one stream with a fixed
        topic or a template says holds for all others on it, and none may contradict; on a topic that a function names
        the first one decides.

        Raises:
            DeclarationError: An option has a value it cannot have, or the topic is reserved or malformed.
        """
        options = StreamOptions(
            merge=merge,
            key=key,
            prepend=prepend,
            max=max,
            access=access,
            gate=gate,
            on_subscribe=on_subscribe,
            on_unsubscribe=on_unsubscribe,
            on_error=on_error,
            volatile=volatile,
            coalesce_by=coalesce_by,
            transform=transform,
            replay=replay,
            delta=delta,
            version=version,
            migrate={} if migrate is None else migrate,
            stale_after=stale_after,
            invalidate_on=_names(invalidate_on),
            class_of_service=class_of_service,
        )
        return StreamDecorator(topic, options, path)

    def room(
        self,
        topic: str | TopicFn,
        *,
        merge: ListMerge = "crud",
        key: str = "id",
        prepend: bool = False,
        max: int = 0,  # noqa: A002 - the option's name on the wire
        cursors: bool = False,
        access: Predicate | None = None,
        on_error: Hook | None = None,
        transform: Callable[[Any], object] | None = None,
        replay: bool = False,
        delta: Delta | None = None,
        version: int | None = None,
        migrate: Mapping[int, Callable[[Any], Any]] | None = None,
        stale_after: float | None = None,
        invalidate_on: str | Sequence[str] = (),
        class_of_service: str | None = None,
        path: str | None = None,
    ) -> RoomDecorator:
        """Make a loader a room: a stream of its rows, with who is there, cursors and actions beside it.

        ``@board.presence``, ``@board.guard``, ``@board.action``, ``@board.on_join`` and ``@board.on_leave`` add to it;
        see docs/rooms.md.

        Args:
            topic: As for :meth:`stream`. Presence and cursors have the same with ``:presence`` and ``:cursors`` behind.
            merge: As for :meth:`stream`, like all that is not named here.
            key: Likewise.
            prepend: Likewise.
            max: Likewise.
            cursors: It has cursors, and the action ``move_cursor``.
            access: Who may have any part of the room.
            on_error: As for :meth:`stream`.
            transform: Likewise.
            replay: Likewise.
            delta: Likewise.
            version: Likewise.
            migrate: Likewise.
            stale_after: Likewise.
            invalidate_on: Likewise.
            class_of_service: Likewise.
            path: The first parts of its paths. Default: as for functions.

        Raises:
            DeclarationError: An option has a value it cannot have, or the topic is reserved or malformed.
        """
        options = StreamOptions(
            merge=merge,
            key=key,
            prepend=prepend,
            max=max,
            access=access,
            on_error=on_error,
            transform=transform,
            replay=replay,
            delta=delta,
            version=version,
            migrate={} if migrate is None else migrate,
            stale_after=stale_after,
            invalidate_on=_names(invalidate_on),
            class_of_service=class_of_service,
        )
        return RoomDecorator(topic, options, path, cursors=cursors)

    @overload
    def channel(
        self,
        topic: str,
        /,
        *,
        merge: Literal["set"],
        item: type[T],
        access: Predicate | None = None,
        volatile: bool = False,
        coalesce_by: Callable[[Any], object] | None = None,
        path: str | None = None,
    ) -> Channel[[], T]: ...
    @overload
    def channel(
        self,
        topic: str,
        /,
        *,
        merge: ListMerge = "crud",
        key: str = "id",
        max: int = 0,
        item: type[T],
        access: Predicate | None = None,
        volatile: bool = False,
        coalesce_by: Callable[[Any], object] | None = None,
        path: str | None = None,
    ) -> Channel[[], list[T]]: ...
    @overload
    def channel(
        self,
        *,
        merge: Literal["set"],
        item: type[T],
        access: Predicate | None = None,
        volatile: bool = False,
        coalesce_by: Callable[[Any], object] | None = None,
        path: str | None = None,
    ) -> ChannelDecorator[T]: ...
    @overload
    def channel(
        self,
        *,
        merge: ListMerge = "crud",
        key: str = "id",
        max: int = 0,
        item: type[T],
        access: Predicate | None = None,
        volatile: bool = False,
        coalesce_by: Callable[[Any], object] | None = None,
        path: str | None = None,
    ) -> ChannelDecorator[list[T]]: ...
    def channel(
        self,
        topic: str | None = None,  # not positional-only: that would apply to self, too, and break the overloads
        *,
        merge: Merge = "crud",
        key: str = "id",
        max: int = 0,  # noqa: A002 - the option's name on the wire
        item: Any,
        access: Predicate | None = None,
        volatile: bool = False,
        coalesce_by: Callable[[Any], object] | None = None,
        path: str | None = None,
    ) -> Any:
        """A stream without a loader: it starts empty and carries events only.

        With a fixed ``topic`` it needs no function: ``notices = live.channel("notices", merge="latest",
        item=Notice)``. Otherwise it decorates the function that gives the topic.

        Args:
            topic: A fixed name.
            item: Type of one row (of the value, for ``set``).
            merge: As for :meth:`stream`.
            key: Field that tells rows apart (``crud``).
            max: Rows clients keep; 0: no limit (``latest``: 50).
            access: Who may subscribe, as for :meth:`stream`.
            volatile: As for :meth:`stream`.
            coalesce_by: As for :meth:`stream`.
            path: As for functions; a channel with a fixed topic takes the name of its variable.

        Raises:
            DeclarationError: An option has a value it cannot have, or the topic is no string, reserved or malformed.
        """
        options = StreamOptions(
            merge=merge, key=key, max=max, access=access, volatile=volatile, coalesce_by=coalesce_by
        )
        if topic is None:
            return ChannelDecorator(options, item, path)
        if not isinstance(topic, str):
            raise DeclarationError(
                f"live.channel() takes a fixed name, not {topic!r}: a function that gives the topic goes below "
                "@live.channel(...)"
            )

        def fixed(ctx: Context[Any]) -> str:
            return topic

        # Errors and the path should name the place that declares the channel, not this one.
        caller = sys._getframe(1)
        fixed.__module__ = caller.f_globals.get("__name__", __name__)
        fixed.__name__ = fixed.__qualname__ = f"channel {topic!r}"
        fixed.__code__ = fixed.__code__.replace(co_filename=caller.f_code.co_filename, co_firstlineno=caller.f_lineno)
        return Channel(fixed, topic=topic, options=options, item=item, path=path)

    def binary(
        self,
        *misplaced: Never,
        max_size: int = BINARY_MAX,
        class_of_service: str | None = None,
        path: str | None = None,
    ) -> BinaryDecorator:
        """Make an async function callable with bytes: ``async def avatar(ctx, data: bytes, name: str)``.

        The data is the second parameter; those behind it are arguments, as for functions. It comes in one message, so
        ``limits.message_bytes`` of the server bound it, too; larger things are for :meth:`upload`.

        Args:
            *misplaced: Nothing; catches the missing parentheses.
            max_size: Bytes of the data; with more, callers get ``PAYLOAD_TOO_LARGE`` and nothing runs.
            class_of_service: As for functions.
            path: Likewise.

        Raises:
            DeclarationError: The function is not async or has no parameter for the data, or ``max_size`` is not
                positive.
        """
        needs_parentheses("binary", misplaced)
        return BinaryDecorator(max_size=max_size, path=path, class_of_service=class_of_service)

    def upload(
        self,
        *misplaced: Never,
        max_size: int = 104_857_600,
        max_per_connection: int | None = None,
        max_concurrent: int | None = None,
        reauth_every: int | None = None,
        class_of_service: str | None = None,
        path: str | None = None,
    ) -> UploadDecorator:
        """Make an async function that reads what a client uploads: ``async for chunk in ctx.upload: ...``.

        ``ctx`` is an :class:`UploadContext`, the other parameters are arguments as for functions. The function runs
        while the bytes arrive; what it returns is the answer, also when it did not read to the end. See
        docs/handlers.md.

        Args:
            *misplaced: Nothing; catches the missing parentheses.
            max_size: Bytes of one upload; the byte beyond ends it with ``PAYLOAD_TOO_LARGE``.
            max_per_connection: Running uploads to this function from one connection; beyond: ``TOO_MANY_UPLOADS``.
                Default: only ``limits.uploads_per_connection`` holds.
            max_concurrent: Running uploads to this function on this server, likewise. Default: only
                ``limits.uploads`` holds.
            reauth_every: Run the guard again whenever the function has taken so many bytes more, before it gets the
                next ones; when it refuses, the upload ends with its code. Default: it runs once, before the function.
            class_of_service: As for functions.
            path: Likewise.

        Raises:
            DeclarationError: The function is not async, or a number is not positive.
        """
        needs_parentheses("upload", misplaced)
        limits = UploadCaps(max_size, max_per_connection, max_concurrent, reauth_every)
        return UploadDecorator(limits, path, class_of_service)


def _names(given: Any) -> tuple[str, ...]:
    return tuple(given) if isinstance(given, list | tuple | set | frozenset) else (given,)


live: Final = Live()

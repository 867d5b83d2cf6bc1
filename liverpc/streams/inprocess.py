"""``server.load``: what a stream gives, for the server's own process. Nothing is subscribed.

The steps are those of a stream request (docs/protocol.md section 5) up to the loaded value, in the same order.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic, TypeVar, cast, overload

import msgspec

from liverpc._types import P, Page, Row, Stream, T
from liverpc.clock import Clock
from liverpc.declare.context import Context, Services
from liverpc.declare.functions import Declaration
from liverpc.declare.hooks import Hooks, UserIds
from liverpc.declare.middleware import Middleware, compose
from liverpc.declare.registry import Entry, Registry
from liverpc.errors import LiveError
from liverpc.hub.link import ConnectRequest
from liverpc.hub.noclient import connection_without_client
from liverpc.hub.tasks import Background, passes
from liverpc.streams.entering import enter
from liverpc.streams.loading import Loaded, load_value
from liverpc.wire.codec import encode
from liverpc.wire.frames import CallFrame

__all__ = ["InProcess", "Loader"]

log = logging.getLogger("liverpc.load")

D_co = TypeVar("D_co", covariant=True)
F = TypeVar("F")

_NOT_GIVEN: Final[Any] = object()


class Loader(Generic[D_co]):
    """Loads streams for somebody, without a client. A ``LiveServer`` is one, and makes others with :meth:`using`."""

    def __init__(
        self, inprocess: InProcess, *, user: Any = _NOT_GIVEN, fallback: Any = _NOT_GIVEN, cursor: Any = None
    ) -> None:
        self._inprocess = inprocess
        self._user = user
        self._fallback = fallback
        self._cursor = cursor

    @overload
    def using(self, *, user: Any = ..., cursor: Any = ...) -> Loader[D_co]: ...
    @overload
    def using(self, *, user: Any = ..., fallback: F, cursor: Any = ...) -> Loader[F]: ...
    def using(self, *, user: Any = _NOT_GIVEN, fallback: Any = _NOT_GIVEN, cursor: Any = _NOT_GIVEN) -> Loader[Any]:
        """The same with other options: ``await server.using(user=ann, fallback=[]).load(chat.messages, "general")``.

        Args:
            user: Becomes ``ctx.user``, without asking ``on_connect``; None: anonymous. Needed for what has a guard.
            fallback: What :meth:`load` gives instead of raising when the stream refuses or fails. The error is logged,
                and ``LiveServer(on_error=)`` is told as it is of a client's.
            cursor: Of the page wanted, from the page before; it gets to ``ctx.cursor`` as from a client, as plain JSON.
                None, the default: the first page.
        """
        return Loader(
            self._inprocess,
            user=self._user if user is _NOT_GIVEN else user,
            fallback=self._fallback if fallback is _NOT_GIVEN else fallback,
            cursor=self._cursor if cursor is _NOT_GIVEN else cursor,
        )

    # No option may stand beside P.args (PEP 612); hence using().
    async def load(self, stream: Stream[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | D_co:
        """What a client would get that subscribes now, for pages that are rendered on the server, and for jobs.

        Middleware, guards, ``before_execute``, validation, gate, ``access`` and ``on_topic`` are as for a client, with
        a ``ctx`` whose connection has no client. Nothing is subscribed, and neither ``on_subscribe`` nor
        ``on_unsubscribe`` runs; the stream's ``on_error`` is told when its loader fails. To be called on the server's
        event loop.

        Args:
            stream: Of this server.
            *args: Its arguments.
            **kwargs: Likewise, by name.

        Returns:
            The value, transformed; of a loader of pages, the rows of one. None while the stream's gate is shut.

        Raises:
            LiveError: The stream refused, and there is no fallback; ``VALIDATION``: some argument is wrong.
            Exception: What the loader, or another part of the way, raised; likewise.
            TypeError: ``stream`` is none of this server, the arguments do not fit, they or the cursor have no JSON
                form, or no user is given for a stream with a guard. Such mistakes of the caller are raised in any case.
            RuntimeError: The server does not run.
        """
        loaded = await self._loaded(stream, args, kwargs)
        value: T | D_co = self._fallback if loaded is None else loaded.data
        return value

    async def load_page(self, stream: Stream[P, list[Row]], /, *args: P.args, **kwargs: P.kwargs) -> Page[Row] | D_co:
        """As :meth:`load`, with what is beside the rows in the loader's ``Page``: ``has_more`` and ``cursor``.

        Of a loader that gives all rows at once, a page of them all.
        """
        loaded = await self._loaded(stream, args, kwargs)
        if loaded is None or loaded.data is None:
            nothing: Any = self._fallback if loaded is None else None
            return cast("D_co", nothing)
        return Page(loaded.data, bool(loaded.has_more), loaded.cursor)

    async def _loaded(self, stream: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Loaded | None:
        has_fallback = self._fallback is not _NOT_GIVEN
        return await self._inprocess.load(
            stream, args, kwargs, user=self._user, cursor=self._cursor, has_fallback=has_fallback
        )


class InProcess:
    """Loads streams of a server without a client.

    Args:
        registry: The streams.
        services: For the contexts.
        hooks: Of the application.
        background: Owns what hooks leave to await.
        clock: Makes the ids of the contexts' connections.
        path: Of the requests that those connections seem to come from.
    """

    def __init__(
        self,
        registry: Registry,
        services: Services,
        hooks: Hooks,
        background: Background,
        clock: Clock,
        path: str,
    ) -> None:
        self._entries = {entry.declaration: entry for entry in registry.entries if entry.is_stream}
        self._services = services
        self._hooks = hooks
        self._background = background
        self._clock = clock
        self._path = path
        self._user_ids = UserIds(hooks, services.report)
        self._middlewares: Sequence[Middleware] | None = None  # None: the server does not run

    def open(self, middlewares: Sequence[Middleware]) -> None:
        """The server runs, with these middlewares."""
        self._middlewares = middlewares

    def close(self) -> None:
        """It does not any more."""
        self._middlewares = None

    async def load(
        self,
        stream: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        user: Any,
        cursor: Any,
        has_fallback: bool,
    ) -> Loaded | None:
        """See :meth:`Loader.load`. None: it failed, which was reported because there is a fallback."""
        if self._middlewares is None:
            raise RuntimeError("the server does not run; load within `async with server.lifespan():`")
        entry = self._entries.get(stream) if isinstance(stream, Declaration) else None
        if entry is None:
            raise TypeError(f"load() takes a stream of this server; this {type(stream).__name__} is none")
        if user is _NOT_GIVEN:
            if entry.guard is not None:
                raise TypeError(
                    f"{entry.path} has a guard, so say for whom it is loaded: "
                    "server.using(user=...).load(...); user=None stands for an anonymous visitor"
                )
            user = None
        raw = msgspec.Raw(encode(stream.bind(args, kwargs)))
        ctx = self._context(entry, user)
        ctx.asked = CallFrame(cursor=msgspec.json.decode(encode(cursor)))
        try:
            return await self._value(entry, ctx, raw, self._middlewares)
        except BaseException as error:
            if not has_fallback or passes(error):
                raise
            if isinstance(error, LiveError):
                log.warning("%s is not loaded, its fallback is used: %s: %s", entry.path, error.code, error.message)
            else:
                log.error("%s is not loaded, its fallback is used", entry.path, exc_info=error)
                self._services.report(entry.path, error, ctx)
            return None

    def _context(self, entry: Entry, user: Any) -> Context[Any]:
        hub = self._services.hub
        connection = connection_without_client(
            hub, self._clock, ConnectRequest(self._path), user=user, user_id=self._user_ids.of(user)
        )
        return Context(self._services, connection, entry.path, started_at=hub.monotonic())

    async def _value(
        self, entry: Entry, ctx: Context[Any], raw: msgspec.Raw, middlewares: Sequence[Middleware]
    ) -> Loaded:
        loaded = Loaded(None)

        async def core(ctx: Context[Any]) -> Any:
            nonlocal loaded
            await self._hooks.before(entry.guard, ctx, raw)
            loaded = await self._loaded(entry.declaration, ctx, raw)
            return loaded.data

        loaded.data = await compose(middlewares, core)(ctx)  # theirs is the last word
        return loaded

    async def _loaded(self, stream: Any, ctx: Context[Any], raw: msgspec.Raw) -> Loaded:
        arguments, topic = await enter(stream, ctx, raw, self._hooks)
        if topic is None:
            return Loaded(None)
        try:
            return await load_value(stream, ctx, arguments)
        except BaseException as error:
            if stream.options.on_error is not None and not passes(error):
                self._background.hook(
                    stream.options.on_error,
                    error,
                    ctx,
                    topic,
                    failed=lambda failure: self._services.report(ctx.path, failure, ctx),
                )
            raise

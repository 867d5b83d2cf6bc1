"""``live``: the decorator, and the home of the other declarations.

The overloads let mypy --strict and pyright infer arguments and results of every declaration without a
plug-in; tests/typing holds them to it.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, Final, Generic, Literal, TypeAlias, TypeVar, cast, overload

from liverpc._types import ListMerge, Merge, P, R, T
from liverpc.declare.context import Context
from liverpc.declare.functions import Channel, Declaration, RpcFunction, StreamFunction, StreamOptions
from liverpc.errors import DeclarationError
from liverpc.schema.signature import where

__all__ = ["ChannelDecorator", "Draft", "Live", "Predicate", "StreamDecorator", "TopicFn", "live"]

U = TypeVar("U")
Ctx: TypeAlias = Context[Any]
Coro: TypeAlias = Coroutine[Any, Any, R]
Fn: TypeAlias = Callable[Concatenate[Context[U], P], R]

# A lambda in a decorator is checked before the function below it is seen. Only a union over the number of
# parameters gives its parameters Any; Callable[..., R] gives Unknown in strict checkers.
KeyFn: TypeAlias = (
    Callable[[Ctx], R]
    | Callable[[Ctx, Any], R]
    | Callable[[Ctx, Any, Any], R]
    | Callable[[Ctx, Any, Any, Any], R]
    | Callable[[Ctx, Any, Any, Any, Any], R]
    | Callable[[Ctx, Any, Any, Any, Any, Any], R]
)
TopicFn: TypeAlias = KeyFn[str]
Predicate: TypeAlias = KeyFn[bool | Awaitable[bool]]
Hook: TypeAlias = Callable[..., object]
F = TypeVar("F", bound=Callable[..., Any])


class Scoped:
    """``@live.scoped(...)``: keeps the type of what it decorates, be it a function or a declaration."""

    def __init__(self, predicate: Callable[..., Any]) -> None:
        if not callable(predicate):
            raise DeclarationError(f"@live.scoped takes a function of ctx and the arguments, not {predicate!r}")
        self.predicate = predicate

    def __call__(self, target: F, /) -> F:
        if isinstance(target, Draft):
            raise DeclarationError(f"{where(target.handler)}: @live.scoped is there twice; join them with access.all()")
        draft: Any = target.scoped(self.predicate) if isinstance(target, Declaration) else Draft(target, self.predicate)
        return cast("F", draft)


class Draft:
    """A function with ``@live.scoped`` that still waits for the ``@live…`` line above it."""

    def __init__(self, handler: Callable[..., Any], predicate: Callable[..., Any]) -> None:
        self.handler = handler
        self.predicate = predicate

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise DeclarationError(f"{where(self.handler)}: it has @live.scoped and no @live above it")


def _declared(target: Any, declare: Callable[[Any], Declaration[Any, Any, Any]]) -> Any:
    """The declaration of a function, with the policies that stand below it."""
    if isinstance(target, Draft):
        return declare(target.handler).scoped(target.predicate)
    return declare(target)


class RpcDecorator:
    """``@live(...)``: waits for the function."""

    def __init__(self, *, path: str | None, thread: bool) -> None:
        self._path = path
        self._thread = thread

    @overload
    def __call__(self, fn: Fn[U, P, Coro[R]], /) -> RpcFunction[P, Coro[R], R, U]: ...
    @overload
    def __call__(self, fn: Fn[U, P, R], /) -> RpcFunction[P, R, R, U]: ...
    def __call__(self, fn: Any, /) -> Any:
        return _declared(fn, lambda handler: RpcFunction(handler, path=self._path, thread=self._thread))


class StreamDecorator:
    """``@live.stream(...)``: waits for the loader."""

    def __init__(self, topic: str | Callable[..., str], options: StreamOptions, path: str | None) -> None:
        self._topic = topic
        self._options = options
        self._path = path

    @overload
    def __call__(self, fn: Fn[U, P, Coro[T]], /) -> StreamFunction[P, Coro[T], T, U]: ...
    @overload
    def __call__(self, fn: Fn[U, P, T], /) -> StreamFunction[P, T, T, U]: ...
    def __call__(self, fn: Any, /) -> Any:
        return _declared(
            fn, lambda loader: StreamFunction(loader, topic=self._topic, options=self._options, path=self._path)
        )

    def unused(self) -> str:
        """What went wrong when a module holds this instead of a stream."""
        if callable(self._topic):
            return 'is decorated with @live.stream without a topic: @live.stream("name")'
        return f"is live.stream({self._topic!r}) without a loader: decorate the function that loads its value with it"


class ChannelDecorator(Generic[T]):
    """``@live.channel(...)``: waits for the topic function."""

    def __init__(self, options: StreamOptions, item: Any, path: str | None) -> None:
        self._options = options
        self._item = item
        self._path = path

    def __call__(self, fn: Fn[U, P, str], /) -> Channel[P, T]:
        """Declare the channel; ``fn(ctx, ...)`` gives its topic."""
        channel: Channel[P, T] = _declared(
            fn, lambda topic: Channel(topic, topic=topic, options=self._options, item=self._item, path=self._path)
        )
        return channel

    def unused(self) -> str:
        """What went wrong when a module holds this instead of a channel."""
        return (
            'is live.channel(...) without a topic: live.channel("name", ...), or decorate with it the function that '
            "gives the topic"
        )


class Live:
    """The type of :data:`live`."""

    @overload
    def __call__(self, fn: Fn[U, P, Coro[R]], /) -> RpcFunction[P, Coro[R], R, U]: ...
    @overload
    def __call__(self, fn: Fn[U, P, R], /) -> RpcFunction[P, R, R, U]: ...
    @overload
    def __call__(self, *, path: str | None = None, thread: bool = False) -> RpcDecorator: ...
    def __call__(self, fn: Any = None, *, path: str | None = None, thread: bool = False) -> Any:
        """Make a function callable by clients.

        The first parameter is ``ctx``; every other one is positional on the wire and checked against its
        annotation before the function runs. ``async def`` runs on the event loop; a plain ``def`` runs
        inline and must not block.

        Args:
            fn: The function, when used without parentheses.
            path: Where it is reached. Default: last part of the module's name / function's name.
            thread: Run a plain function in a worker thread.

        Raises:
            DeclarationError: The function has no ``ctx``, or a keyword-only parameter without default.
        """
        decorator = RpcDecorator(path=path, thread=thread)
        return decorator if fn is None else decorator(fn)

    def scoped(self, predicate: Predicate) -> Scoped:
        """Let only those call whom ``predicate`` lets pass; to stand above or below ``@live``.

        ``@live.scoped(access.user())`` refuses with ``FORBIDDEN``, or ``UNAUTHENTICATED`` when there is no user.
        The function does not run then. On a stream it comes on top of ``access=``.

        Args:
            predicate: ``(ctx, *arguments) -> bool``, sync or async; sees validated arguments. ``access`` has
                ready-made ones.

        Raises:
            DeclarationError: ``predicate`` is no function, or there is one already.
        """
        return Scoped(predicate)

    def stream(
        self,
        topic: str | TopicFn,
        *,
        merge: Merge = "crud",
        key: str = "id",
        prepend: bool = False,
        max: int = 0,  # noqa: A002 - the option's name on the wire
        access: Predicate | None = None,
        on_subscribe: Hook | None = None,
        on_unsubscribe: Hook | None = None,
        on_error: Hook | None = None,
        volatile: bool = False,
        coalesce_by: Callable[[Any], object] | None = None,
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
            on_subscribe: ``(ctx, topic)``, after the first answer was sent. Its errors are logged, and
                ``LiveServer(on_error=)`` is told of them, as of those of the next two.
            on_unsubscribe: ``(ctx, topic, remaining)`` when the client leaves or is gone; ``remaining``
                counts the other connections on the topic.
            on_error: ``(error, ctx, topic)`` when the value could not be loaded, whatever the reason. The
                client gets the same error whether or not this fails.
            volatile: Events nobody misses, such as cursors: they have no number, and a client whose socket is
                full does not get them.
            coalesce_by: ``(data) -> key``: of the events with one key, a client whose socket is full gets the
                last only. Keys are strings, numbers or the like; None is a key, too. What it raises, the
                publisher gets. It sees data as published, and events of other nodes as plain JSON. Events
                have no number. For both options, the first stream on a topic that has one decides for all.
            path: As for functions.

        Raises:
            DeclarationError: An option has a value it cannot have, or the topic is reserved or malformed.
        """
        options = StreamOptions(
            merge=merge,
            key=key,
            prepend=prepend,
            max=max,
            access=access,
            on_subscribe=on_subscribe,
            on_unsubscribe=on_unsubscribe,
            on_error=on_error,
            volatile=volatile,
            coalesce_by=coalesce_by,
        )
        return StreamDecorator(topic, options, path)

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


live: Final = Live()

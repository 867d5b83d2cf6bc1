"""Values made of streams: several combined into one, the rows of one mapped, one that is used only at times."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar, Union, overload

from liverpc.client.readable import NOTHING, Readable, next_change
from liverpc.client.subscription import StreamStatus
from liverpc.errors import ErrorCode, RpcError

__all__ = ["Derived", "Source", "combine", "map_rows", "when"]

log = logging.getLogger("liverpc.client")

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Source = Union[Readable[T], Callable[[], Readable[T]]]  # noqa: UP007 - an alias with a parameter
"""What a value is made of. An open stream handle stays its owner's to close. A function, such as
``lambda: client.stream(messages)``, makes one for each use, which is opened and closed with it. What ``combine``,
``when`` and ``map_rows`` return is used along, too."""

_WORST_FIRST: tuple[StreamStatus, ...] = ("error", "reconnecting", "loading", "connected")


class Derived(Readable[T_co]):
    """A value made of others; by :func:`combine`, :func:`map_rows` or :func:`when`.

    ``async with derived:`` uses its sources, as often as you like, one after the other or at the same time.
    Nothing is computed before somebody asks. After the last use, the value that was asked for last stays readable.

    The status is the worst of its sources': ``error``, ``reconnecting``, ``loading``, ``connected``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._waiters: set[asyncio.Future[None]] = set()
        self._uses = 0
        self._entering = asyncio.Lock()
        self._stack: AsyncExitStack | None = None  # what ends with the last use
        self._key: object = None  # of the sources' values that the value was made of
        self._count = 0
        self._value: Any = NOTHING

    # -- life

    async def __aenter__(self) -> Self:
        """Begin to use it.

        Raises:
            RpcError: A source that is opened with it could not be.
            RuntimeError: A source is a stream handle that is not open.
        """
        self._uses += 1
        try:
            async with self._entering:
                if self._stack is None:
                    async with AsyncExitStack() as stack:
                        self._key, self._value = None, NOTHING
                        await self._start(stack)
                        self._stack = stack.pop_all()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def _leave(self) -> None:
        self._uses -= 1
        if not self._uses and self._stack is not None:
            stack, self._stack = self._stack, None
            self._wake()
            await stack.aclose()

    # -- state

    @property
    def value(self) -> T_co:
        """The current value.

        Raises:
            LookupError: A source has none, or it was never used.
            Exception: Whatever the function raises that makes it.
        """
        self._update()
        if self._value is NOTHING:
            raise LookupError(f"{self._path} has no value yet; its status is {self.status!r}")
        value: T_co = self._value
        return value

    @overload
    def get(self) -> T_co | None: ...
    @overload
    def get(self, default: D) -> T_co | D: ...
    def get(self, default: Any = None) -> Any:
        """The current value, or ``default`` when there is none; raises what the function raises."""
        self._update()
        return default if self._value is NOTHING else self._value

    @property
    def status(self) -> StreamStatus:
        """The worst of its sources'; ``loading`` before it is used."""
        if self._stack is None:
            return "loading"
        found = {source.status for source in self._sources()}
        return next(status for status in _WORST_FIRST if status in found)

    @property
    def error(self) -> RpcError | None:
        """Of the first source that has one; else None."""
        return next((source.error for source in self._sources() if source.error), None)

    @property
    def _version(self) -> int:
        self._update()
        return self._count

    @property
    def _opened(self) -> bool:
        return self._stack is not None

    @property
    def _ended(self) -> bool:
        return self._stack is None or all(source._ended for source in self._sources())

    # -- changes

    async def _change(self) -> None:
        await next_change(list(self._watched()))

    def _watched(self) -> Iterator[set[asyncio.Future[None]]]:
        yield self._waiters
        for source in self._sources():
            if isinstance(source, Derived):
                yield from source._watched()
            else:
                yield source._waiters

    def _update(self) -> None:
        if self._stack is None or (key := self._state()) == self._key:
            return
        value = NOTHING if key is None else self._make()
        self._key = key
        if value is not self._value:
            self._value = value
            self._count += 1

    # -- for those who make one

    @abstractmethod
    async def _start(self, stack: AsyncExitStack) -> None:
        """Use the sources until the stack ends."""

    @abstractmethod
    def _sources(self) -> Sequence[Readable[Any]]:
        """Those that are used now."""

    @abstractmethod
    def _state(self) -> object:
        """Another one when the value has to be made anew; None: it cannot be made."""

    @abstractmethod
    def _make(self) -> T_co:
        """The value, of the present values of the sources."""


class _Computed(Derived[R]):
    def __init__(self, path: str, given: Sequence[Source[Any]], fn: Callable[..., R]) -> None:
        super().__init__(path)
        self._given = given
        self._fn = fn
        self._used: Sequence[Readable[Any]] = ()

    async def _start(self, stack: AsyncExitStack) -> None:
        self._used = [await _use(source, stack) for source in self._given]

    def _sources(self) -> Sequence[Readable[Any]]:
        return self._used

    def _state(self) -> object:
        if any(source.get(NOTHING) is NOTHING for source in self._used):
            return None
        return [source._version for source in self._used]

    def _make(self) -> R:
        return self._fn(*(source.value for source in self._used))


async def _use(source: Source[Any], stack: AsyncExitStack) -> Readable[Any]:
    if callable(source):
        source = source()
    elif not isinstance(source, Derived):
        if not source._opened:
            raise RuntimeError(f"the handle of {source._path} is not open: enter it before, or give a function instead")
        return source  # its owner closes it
    return await stack.enter_async_context(source)


class _When(Derived[T | None]):
    def __init__(self, condition: bool | Readable[Any] | Callable[[], object], make: Callable[[], Readable[T]]) -> None:
        super().__init__("when()")
        self._given = condition
        self._open = make
        self._condition: Readable[Any] | None = None
        self._holder: asyncio.Task[None] | None = None  # while it is on
        self._inner: Readable[T] | None = None  # while it is open
        self._failure: Exception | None = None  # for which it is not
        self._switches = 0

    async def _start(self, stack: AsyncExitStack) -> None:
        given = self._given
        self._condition = None
        if isinstance(given, bool):
            on = given
        elif callable(given):
            on = bool(given())
        else:
            self._condition = await _use(given, stack)
            on = bool(self._condition.get())
        stack.push_async_callback(self._switch_off)
        if on:
            self._switch_on()
            while self._inner is None and self._failure is None:
                await next_change([self._waiters])
            if self._failure is not None:
                raise self._failure
        if self._condition is not None:
            follower = asyncio.create_task(self._follow(self._condition), name="liverpc when: condition")
            stack.push_async_callback(_end, follower)

    async def _follow(self, condition: Readable[Any]) -> None:
        while True:
            try:
                on = bool(condition.get())
            except Exception:
                log.exception("the condition of when() failed, and counts as false")
                on = False
            if not on and self._holder is not None:
                await self._switch_off()
                continue  # it may have changed meanwhile
            if on and self._holder is None:
                self._switch_on()
            await condition._change()

    def _switch_on(self) -> None:
        self._holder = asyncio.create_task(self._hold(), name="liverpc when: stream")
        self._switched(None)

    async def _switch_off(self) -> None:
        holder, self._holder = self._holder, None
        if holder is not None:
            await _end(holder)
        self._failure = None
        self._wake()

    async def _hold(self) -> None:
        try:
            async with self._open() as inner:
                self._switched(inner)
                await asyncio.get_running_loop().create_future()  # cancelled
        except Exception as error:
            if self._stack is not None and not isinstance(error, RpcError):
                log.exception("when() could not open its stream")
            self._failure = error
        finally:
            self._switched(None)

    def _switched(self, inner: Readable[T] | None) -> None:
        self._inner = inner
        self._switches += 1
        self._wake()

    @property
    def status(self) -> StreamStatus:
        """Of the stream; ``connected`` while it is off, for nothing is missing."""
        if self._failure is not None:
            return "error"
        if self._inner is not None:
            return self._inner.status
        return "connected" if self._stack is not None and self._holder is None else "loading"

    @property
    def error(self) -> RpcError | None:
        """Of the stream, also when it could not be opened."""
        if self._failure is None or isinstance(self._failure, RpcError):
            return self._failure or (self._inner.error if self._inner is not None else None)
        return RpcError(ErrorCode.STREAM_ERROR, f"the stream of when() could not be opened: {self._failure!r}")

    @property
    def _ended(self) -> bool:
        opening = self._holder is not None and self._inner is None
        return self._stack is None or (bool(self._sources()) and not opening and super()._ended)

    def _sources(self) -> Sequence[Readable[Any]]:
        return [source for source in (self._condition, self._inner) if source is not None]

    def _state(self) -> object:
        # A value that has gone need not have another version.
        inner = self._inner
        return self._switches, inner and inner._version, inner is not None and inner.get(NOTHING) is NOTHING

    def _make(self) -> T | None:
        return None if self._inner is None else self._inner.get()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def when(
    condition: bool | Readable[Any] | Callable[[], object], stream: Callable[[], Readable[T]], /
) -> Derived[T | None]:
    """A stream that is used only while a condition is true: ``when(panel_is_open, lambda: client.stream(messages))``.

    The value is None while it is off, and until the first one comes. When the condition becomes true the
    stream is opened; when it becomes false the stream is left. One that cannot be opened later on shows in
    ``status`` and ``error``, until the condition becomes false.

    Args:
        condition: What is readable is followed: its value counts, none is false. A stream handle must be open.
            A function is asked once, when the use begins.
        stream: Makes the stream, each time anew.

    Entering raises:
        Exception: The condition is true, and the stream could not be opened.
    """
    return _When(condition, stream)


def map_rows(source: Source[Sequence[T] | None], fn: Callable[[T], R], /) -> Derived[list[R]]:
    """What ``fn`` makes of each row: ``map_rows(stock, lambda item: item.name)``.

    None becomes an empty list. So does what is no list, with a warning in the log.

    Args:
        source: Of the rows; see :data:`Source`.
        fn: Called for every row after each change.
    """

    def mapped(rows: Sequence[T] | None) -> list[R]:
        if isinstance(rows, (list, tuple)):
            return [fn(row) for row in rows]
        if rows is not None:
            log.warning("map_rows() takes a list of rows, not %s", type(rows).__name__)
        return []

    return _Computed("map_rows()", [source], mapped)


@overload
def combine(a: Source[A], b: Source[B], fn: Callable[[A, B], R], /) -> Derived[R]: ...
@overload
def combine(a: Source[A], b: Source[B], c: Source[C], fn: Callable[[A, B, C], R], /) -> Derived[R]: ...
@overload
def combine(a: Source[A], b: Source[B], c: Source[C], d: Source[D], fn: Callable[[A, B, C, D], R], /) -> Derived[R]: ...
@overload
def combine(
    a: Source[A], b: Source[B], c: Source[C], d: Source[D], e: Source[E], fn: Callable[[A, B, C, D, E], R], /
) -> Derived[R]: ...
def combine(*arguments: Any) -> Derived[Any]:
    """One value made of several: ``combine(users, messages, lambda users, messages: …)``.

    There is one as soon as all sources have one. It is made anew when somebody asks for it and a source has
    changed; a change of several at once counts as one. A result that is the same object as before is no
    change.

    Args:
        arguments: Two sources at least, see :data:`Source`, and the function.

    Raises:
        TypeError: There are fewer, or the last is no function.
    """
    *sources, fn = arguments or (None,)
    if len(sources) < 2 or not callable(fn):
        raise TypeError(f"combine() takes two sources at least and then a function, not {arguments!r}")
    return _Computed("combine()", sources, fn)

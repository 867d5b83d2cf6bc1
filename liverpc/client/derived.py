"""Values made of streams: several combined into one, the rows of one mapped; see ``when``, too."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar, Union, overload

from liverpc._types import Reachable
from liverpc.client.readable import NOTHING, Readable
from liverpc.client.subscription import StreamStatus
from liverpc.client.waiting import Waiters, next_change
from liverpc.errors import RpcError

__all__ = ["Derived", "Source", "check_sources", "combine", "make", "map_rows", "use"]

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
        self._waiters = Waiters()
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
            self._waiters.wake()
            async with self._entering:  # free, or the count were higher; who comes now waits until all has ended
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
        await next_change(self._watched())

    def _watched(self) -> Iterator[Waiters]:
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
        self._used = [await use(source, stack) for source in self._given]

    def _sources(self) -> Sequence[Readable[Any]]:
        return self._used

    def _state(self) -> object:
        if any(source.get(NOTHING) is NOTHING for source in self._used):
            return None
        return [source._version for source in self._used]

    def _make(self) -> R:
        return self._fn(*(source.value for source in self._used))


def check_sources(*sources: object) -> None:
    """TypeError when one of these cannot be a source."""
    for source in sources:
        # A declaration can be called, too, but that loads the value.
        if isinstance(source, Reachable) or not (_is_readable(source) or callable(source)):
            raise _no_source(source)


def _is_readable(value: object) -> bool:
    return Readable in type(value).__mro__  # isinstance() of a protocol asks for every property, also for the value


def _no_source(value: object) -> TypeError:
    return TypeError(
        f"sources are open streams or functions that make one: lambda: client.stream(...); this is none: {value!r}"
    )


def make(source: Callable[[], Readable[T]]) -> Readable[T]:
    """What a function that is a source makes; TypeError when that cannot be used."""
    made = source()
    if not _is_readable(made):
        if isinstance(made, Coroutine):
            made.close()
        raise _no_source(made)
    return made


async def use(source: Source[Any], stack: AsyncExitStack) -> Readable[Any]:
    """Use a source until the stack ends."""
    if callable(source):
        source = make(source)
    elif not isinstance(source, Derived):
        if not source._opened:
            raise RuntimeError(f"the handle of {source._path} is not open: enter it before, or give a function instead")
        return source  # its owner closes it
    return await stack.enter_async_context(source)


def map_rows(source: Source[Sequence[T] | None], fn: Callable[[T], R], /) -> Derived[list[R]]:
    """What ``fn`` makes of each row: ``map_rows(stock, lambda item: item.name)``.

    None becomes an empty list. So does what is no list, with a warning in the log.

    Args:
        source: Of the rows; see :data:`Source`.
        fn: Called for every row after each change.

    Raises:
        TypeError: The source is none.
    """
    check_sources(source)

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
        TypeError: There are fewer, one is no source, or the last is no function.
    """
    *sources, fn = arguments or (None,)
    if len(sources) < 2 or not callable(fn):
        raise TypeError(f"combine() takes two sources at least and then a function, not {arguments!r}")
    check_sources(*sources)
    return _Computed("combine()", sources, fn)

"""What streams, and values made of them, have in common for those who read them."""

from __future__ import annotations

import asyncio
import reprlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, overload

from liverpc.client.subscription import StreamStatus
from liverpc.client.waiting import Waiters, next_change
from liverpc.errors import ErrorCode, RpcError

__all__ = ["NOTHING", "Readable"]

T_co = TypeVar("T_co", covariant=True)
D = TypeVar("D")

NOTHING: Any = object()
"""What ``get(NOTHING)`` returns when there is no value."""

_repr = reprlib.Repr()  # for error texts: enough to recognise a value
_repr.maxlist = _repr.maxdict = 10
_repr.maxstring = _repr.maxother = 200


class Readable(Protocol[T_co]):
    """A value that changes, while it is used: ``async with readable: …``.

    Stream handles are readable, and what ``combine``, ``when`` and ``map_rows`` make of them.
    """

    _path: str  # what error texts call it
    _waiters: Waiters  # for a change of value, status or error

    # -- life

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    # -- state

    @property
    @abstractmethod
    def value(self) -> T_co:
        """The current value. It changes by becoming another object.

        Raises:
            LookupError: There is none.
        """

    @overload
    def get(self) -> T_co | None: ...
    @overload
    def get(self, default: D) -> T_co | D: ...
    @abstractmethod
    def get(self, default: Any = None) -> Any:
        """The current value, or ``default`` when there is none."""

    @property
    @abstractmethod
    def status(self) -> StreamStatus:
        """How it stands with the connection."""

    @property
    @abstractmethod
    def error(self) -> RpcError | None:
        """Why the status is ``error``; else None."""

    @property
    @abstractmethod
    def _version(self) -> int:
        """Another one for each value; 0 before the first one."""

    @property
    @abstractmethod
    def _opened(self) -> bool:
        """Whether its use has begun."""

    @property
    @abstractmethod
    def _ended(self) -> bool:
        """Whether nothing will change any more."""

    # -- changes

    def __aiter__(self) -> AsyncIterator[T_co]:
        """The current value, if there is one, then each new one until its use ends.

        Who is slower than the changes gets the newest value and misses those between.
        """
        return _Values(self)

    async def wait_for(self, predicate: Callable[[T_co], object], timeout: float = 5.0) -> T_co:  # noqa: ASYNC109 - words the error
        """The first value, beginning with the current one, for which ``predicate`` is true.

        The predicate is asked again whenever the value, the status or the error changes.

        Raises:
            TimeoutError: There was none within ``timeout`` seconds; the text tells the last value and status.
            RpcError: Its use ended meanwhile.
        """
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                while not self._ended:
                    value = self.get(NOTHING)
                    if value is not NOTHING and predicate(value):
                        return value
                    await self._change()
        except TimeoutError:
            if not limit.expired():
                raise  # the predicate's own
            value = self.get(NOTHING)
            last = "there was no value" if value is NOTHING else f"the last value was {_repr.repr(value)}"
            why = f" ({self.error})" if self.error else ""
            raise TimeoutError(
                f"{self._path}: not what was waited for within {timeout:g} s; {last}, "
                f"the status is {self.status!r}{why}"
            ) from None
        raise self.error or RpcError(ErrorCode.CONNECTION_CLOSED, f"{self._path} is not open any more")

    async def _change(self) -> None:
        """Return after the next change."""
        await next_change([self._waiters])


class _Values(AsyncIterator[T_co]):
    def __init__(self, readable: Readable[T_co]) -> None:
        self._readable = readable
        self._seen = 0

    async def __anext__(self) -> T_co:
        readable = self._readable
        while (version := readable._version) == self._seen or (value := readable.get(NOTHING)) is NOTHING:
            if readable._ended:
                raise StopAsyncIteration
            await readable._change()
        self._seen = version
        return value

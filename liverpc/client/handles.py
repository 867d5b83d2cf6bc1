"""What a program holds of a stream."""

from __future__ import annotations

import asyncio
import reprlib
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from liverpc._types import T
from liverpc.client.connection import Connection
from liverpc.client.subscription import StreamStatus, Subscription
from liverpc.errors import ErrorCode, RpcError

__all__ = ["StreamHandle"]

D = TypeVar("D")

_repr = reprlib.Repr()  # for error texts: enough to recognise a value
_repr.maxlist = _repr.maxdict = 10
_repr.maxstring = _repr.maxother = 200


class StreamHandle(Generic[T]):
    """One use of a stream, kept up to date until it is closed; made by :meth:`Client.stream`.

    ``async with handle:`` opens it, which returns after the first answer, and closes it. It stays subscribed
    through reconnects, keeping its value meanwhile. An error does not end it either: the next reconnect
    tries again. Each handle has a value of its own, even of the same stream.
    """

    def __init__(
        self, connection: Connection, path: str, args: list[Any], result_type: Any, timeout: float | None
    ) -> None:
        self._connection = connection
        self._path = path
        self._args = args
        self._result_type = result_type
        self._timeout = timeout
        self._subscription: Subscription | None = None
        self._closed = False
        self._waiters: set[asyncio.Future[None]] = set()

    # -- life

    async def open(self) -> Self:
        """Subscribe and wait for the first answer.

        Raises:
            RpcError: The server refused the stream, its value does not fit the declared type, or no answer
                came in time. The handle is closed then.
            RuntimeError: It was opened or closed before.
        """
        if self._subscription is not None or self._closed:
            raise RuntimeError(f"the handle of {self._path} was used before; client.stream() makes another")
        subscription = self._subscription = self._connection.subscribe(
            self._path, self._args, self._result_type, self._timeout, self._changed
        )
        try:
            while not subscription.answered:
                await self._change()
                if self._closed:
                    raise RpcError(ErrorCode.CONNECTION_CLOSED, f"the handle of {self._path} was closed")
            if subscription.error is not None:
                raise subscription.error
        except BaseException:
            await self.aclose()
            raise
        return self

    async def aclose(self) -> None:
        """Leave the stream. The last value stays readable, iterators end. Harmless when done already."""
        self._closed = True
        if self._subscription is not None:
            self._connection.unsubscribe(self._subscription)
        self._wake()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- state

    @property
    def value(self) -> T:
        """The current value. It changes by becoming another object: keep it, and it stays as it is.

        Raises:
            LookupError: There is none yet.
        """
        if self._subscription is None:
            raise LookupError(f"{self._path} is not open yet")
        value: T = self._subscription.value
        return value

    @overload
    def get(self) -> T | None: ...
    @overload
    def get(self, default: D) -> T | D: ...
    def get(self, default: Any = None) -> Any:
        """The current value, or ``default`` before the first one."""
        try:
            return self.value
        except LookupError:
            return default

    @property
    def status(self) -> StreamStatus:
        """``loading`` until the first answer; ``connected``; ``reconnecting`` while the connection is lost;
        ``error`` while :attr:`error` says what is wrong.
        """
        return "loading" if self._subscription is None else self._subscription.status

    @property
    def error(self) -> RpcError | None:
        """Why the status is ``error``; else None."""
        return None if self._subscription is None else self._subscription.error

    # -- changes

    def __aiter__(self) -> AsyncIterator[T]:
        """The current value, if there is one, then each new one until the handle or the client is closed.

        Who is slower than the stream gets the newest value and misses those between.
        """
        return _Values(self)

    async def wait_for(self, predicate: Callable[[T], object], timeout: float = 5.0) -> T:  # noqa: ASYNC109 - words the error
        """The first value, beginning with the current one, for which ``predicate`` is true.

        The predicate is asked again whenever the value, the status or the error changes.

        Raises:
            TimeoutError: There was none within ``timeout`` seconds; the text tells the last value and status.
            RpcError: The handle or the client was closed meanwhile.
        """
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                while not self._ended:
                    if self._version and predicate(self.value):
                        return self.value
                    await self._change()
        except TimeoutError:
            if not limit.expired():
                raise  # the predicate's own
            last = f"the last value was {_repr.repr(self.value)}" if self._version else "there was no value"
            why = f" ({self.error})" if self.error else ""
            raise TimeoutError(
                f"{self._path}: not what was waited for within {timeout:g} s; {last}, "
                f"the status is {self.status!r}{why}"
            ) from None
        raise self.error or RpcError(ErrorCode.CONNECTION_CLOSED, f"the handle of {self._path} was closed")

    @property
    def _version(self) -> int:
        return 0 if self._subscription is None else self._subscription.version

    @property
    def _ended(self) -> bool:
        return self._closed or self._connection.core.status == "closed"

    async def _change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _changed(self, _: Subscription) -> None:
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


class _Values(AsyncIterator[T]):
    def __init__(self, handle: StreamHandle[T]) -> None:
        self._handle = handle
        self._seen = 0

    async def __anext__(self) -> T:
        handle = self._handle
        while handle._version == self._seen:
            if handle._ended:
                raise StopAsyncIteration
            await handle._change()
        self._seen = handle._version
        return handle.value

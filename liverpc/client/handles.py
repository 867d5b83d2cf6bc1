"""What a program holds of a stream."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from liverpc._types import Row, T
from liverpc.client.changes import LocalChanges
from liverpc.client.connection import Connection
from liverpc.client.derived import Derived, map_rows
from liverpc.client.overlay import Overlay
from liverpc.client.readable import Readable
from liverpc.client.subscription import StreamStatus, Subscription
from liverpc.client.waiting import Waiters
from liverpc.errors import ErrorCode, RpcError

__all__ = ["StreamHandle"]

D = TypeVar("D")
R = TypeVar("R")


class StreamHandle(LocalChanges[T], Readable[T]):
    """One use of a stream, kept up to date until it is closed; made by :meth:`Client.stream`.

    ``async with handle:`` opens it, which returns after the first answer, and closes it. It stays subscribed
    through reconnects, keeping its value meanwhile. An error does not end it either: the next connection tries
    again, and after an error that may pass, such as ``TIMEOUT``, ``OVERLOADED`` or ``RATE_LIMITED``, this one, too,
    after waits that grow as those between attempts to connect, and no earlier than the server says.

    Handles of one client for the same stream, with the same arguments and type, share one request and one
    value. When the last of them closes, the value is kept for ``config.resume_grace``: a handle that is
    opened meanwhile shows it at once, and the server sends only what has changed, if it can.
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        args: list[Any],
        result_type: Any,
        timeout: float | None,
        schema_version: int | None = None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._args = args
        self._result_type = result_type
        self._timeout = timeout
        self._subscription = Subscription(
            path,
            args,
            result_type=result_type,
            timeout=connection.core.config.timeout if timeout is None else timeout,
            schema_version=schema_version,
            on_change=self._changed,
        )
        self._begun = False
        self._closed = False
        self.block = "async with"  # for error texts; the blocking client sets its own word
        self._waiters = Waiters()

    # -- life

    async def open(self) -> Self:
        """Subscribe and wait for the first answer; it is here already when another handle has it.

        Raises:
            RpcError: The server refused the stream, its value does not fit the declared type, or no answer
                came in time. The handle is closed then.
            RuntimeError: It was opened or closed before.
        """
        if self._begun or self._closed:
            raise RuntimeError(f"the handle of {self._path} was used before; client.stream() makes another")
        subscription = self._subscription
        self._connection.listen(subscription)
        self._begun = True
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
        self._connection.unsubscribe(self._subscription)
        self._waiters.wake()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def subscribe_at(self, schema_version: int) -> Self:
        """Another handle of the stream, not opened yet, for rows as of this version of their schema.

        What a server does with a version that it does not know is up to it; handles that do not ask for one
        get its own.
        """
        return type(self)(self._connection, self._path, self._args, self._result_type, self._timeout, schema_version)

    # -- state

    @property
    def value(self) -> T:
        """The current value. It changes by becoming another object: keep it, and it stays as it is.

        A list, or under ``set`` a dict, is this handle's own, and you may change it. The rows in it are shared
        with the other handles of the stream and with later values: replace them rather than change them.

        Raises:
            LookupError: There is none yet.
        """
        if not self._begun and not self._subscription.has_value:
            raise LookupError(f"the handle of {self._path} has no value yet: open it with `{self.block}`")
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
        return self._subscription.status

    @property
    def error(self) -> RpcError | None:
        """Why the status is ``error``; else None."""
        return self._subscription.error

    @property
    def has_more(self) -> bool:
        """Whether the server has further pages, see :meth:`load_more`; False when the handle is not open."""
        return self._is_open and self._subscription.has_more

    def hydrate(self, value: T) -> None:
        """Show a value that you have already until the server's comes; before or after :meth:`open`.

        The stream is fetched all the same. The answer replaces the value, unless the stream has nothing to
        load, as channels, or fails. Nothing happens when there is a value. One that does not fit the declared
        type is not shown, and a warning is logged.

        Args:
            value: Of the stream's type, or its JSON form.
        """
        self._subscription.hydrate(value)

    async def load_more(self, *extra_args: Any) -> bool:
        """Add the next page: its new rows go behind those that are there, with ``prepend``, too.

        ``max`` does not shorten what is loaded so. Does nothing when there is no further page or one is
        being loaded. A page that comes after the whole value was loaded anew is dropped. When the caller is
        cancelled, the page comes all the same.

        Args:
            extra_args: For the loader, behind the stream's own arguments.

        Returns:
            Whether there are further pages after this one; False also when nothing was done.

        Raises:
            RpcError: The server refused, did not answer in time, or sent what does not fit; or the connection was
                lost or closed. The value stays.
            TypeError: An argument has no JSON form.
            RuntimeError: The handle is not open.
        """
        self._check_open()
        return await self._connection.load_more(self._subscription, list(extra_args))

    def map(self: StreamHandle[list[Row]], fn: Callable[[Row], R]) -> Derived[list[R]]:
        """What ``fn`` makes of each row, as a value of its own; see :func:`liverpc.client.map_rows`."""
        return map_rows(self, fn)

    # -- inside

    @property
    def _is_open(self) -> bool:
        return self._begun and not self._closed

    def _check_open(self) -> None:
        if not self._is_open:
            raise RuntimeError(f"the handle of {self._path} is not open: use it in its `{self.block}` block")

    def _overlay(self) -> Overlay:
        self._check_open()
        return self._subscription.store.own_changes()

    @property
    def _opened(self) -> bool:
        return self._begun

    @property
    def _version(self) -> int:
        return self._subscription.version

    @property
    def _ended(self) -> bool:
        return self._closed or self._connection.core.status == "closed"

    def _changed(self, _: Subscription) -> None:
        self._waiters.wake()

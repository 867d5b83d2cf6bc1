"""The blocking client: for scripts, notebooks and threads.

It is the asyncio client on a thread of its own, so all that is said there of reconnecting, limits and errors
holds here. Everything may be used from several threads at the same time. An interrupted wait, as by Ctrl-C,
forgets what was waited for and leaves the client in order.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from liverpc._types import P, R, Rpc, Stream, T
from liverpc.client import aio, batch, handles
from liverpc.client.aio import ClientCounters, opener
from liverpc.client.batch import Reply
from liverpc.client.connection import Connection
from liverpc.client.core import Status
from liverpc.client.failure import Failure
from liverpc.client.inbox import Health
from liverpc.client.offline import OfflineQueue
from liverpc.client.options import CallOptions
from liverpc.client.portal import Portal
from liverpc.client.subscription import StreamStatus
from liverpc.client.sync_changes import BlockingChanges
from liverpc.config import ClientConfig
from liverpc.errors import RpcError

__all__ = ["Batch", "Client", "StreamHandle", "connect"]

D = TypeVar("D")


class _Session:
    """The connection that a client and its views share."""

    def __init__(self, make: Callable[[], Connection]) -> None:
        self._make = make
        self._portal: Portal | None = None
        self._connection: Connection | None = None

    def open(self) -> None:
        if self._portal is not None:
            raise RuntimeError("a client is opened once; connect() makes another")
        portal = self._portal = Portal()
        try:
            connection = self._connection = portal.do(self._make)
            portal.run(connection.open)
        except BaseException:
            portal.stop()
            raise

    def close(self) -> None:
        if self._portal is None or self._connection is None:
            return
        try:
            self._portal.run(self._connection.close)
        except RpcError:
            pass  # another thread has closed it
        finally:
            self._portal.stop()

    @property
    def portal(self) -> Portal:
        if self._portal is None:
            raise RuntimeError("the client is not open: use `with connect(...) as client:`")
        return self._portal

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("the client is not open: use `with connect(...) as client:`")
        return self._connection


class Client:
    """A connection to a server that comes back when it is lost; made by :func:`connect`.

    ``with`` opens it, which waits for the first connection, and closes it. Callbacks are called on the
    client's own thread, where waiting for the client is a ``RuntimeError``; handlers of
    :meth:`on_push` run on other threads and may use it.
    """

    def __init__(self, session: _Session, options: CallOptions) -> None:
        self._session = session
        self._options = options

    @property
    def _client(self) -> aio.Client:
        return aio.Client(self._session.connection, self._options)

    # -- life

    def __enter__(self) -> Self:
        self._session.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close for good. What other threads wait for gets ``CONNECTION_CLOSED``. Harmless when closed."""
        self._session.close()

    @property
    def status(self) -> Status:
        """As of the asyncio client."""
        return self._client.status

    @property
    def failure(self) -> Failure | None:
        """Why the connection was last lost or refused; None while connected and after :meth:`close`."""
        return self._client.failure

    @property
    def health(self) -> Health:
        """What the server last said of itself on this connection: ``degraded``, otherwise ``healthy``."""
        return self._client.health

    @property
    def quiescent(self) -> bool:
        """Whether no stream is loading or reconnecting."""
        return self._session.portal.do(lambda: self._client.quiescent)

    @property
    def counters(self) -> ClientCounters:
        """What was refused and dropped so far; the next ones are another object."""
        return self._client.counters

    def wait_quiescent(self, timeout: float | None = None) -> None:
        """Return when :attr:`quiescent` is true.

        Raises:
            TimeoutError: It did not become so within ``timeout`` seconds.
        """

        async def wait() -> None:
            async with asyncio.timeout(timeout):
                await self._client.wait_quiescent()

        self._session.portal.run(wait)

    # -- news

    def on_status(self, callback: Callable[[Status], object]) -> Callable[[], None]:
        """Call ``callback`` with the new status after each change. Returns a function that ends it."""
        return self._stopper(lambda: self._client.on_status(callback))

    def on_health(self, callback: Callable[[Health], object]) -> Callable[[], None]:
        """Call ``callback`` with the new health after each change. Returns a function that ends it."""
        return self._stopper(lambda: self._client.on_health(callback))

    def on_connect(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call ``callback`` when the connection is back; not for the first one. Returns a function that ends it."""
        return self._stopper(lambda: self._client.on_connect(callback))

    def on_disconnect(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call ``callback`` when the connection has ended, however. Returns a function that ends it."""
        return self._stopper(lambda: self._client.on_disconnect(callback))

    def on_push(self, event: str, handler: Callable[[Any], Any]) -> Callable[[], None]:
        """Let ``handler`` answer what the server asks under the name ``event``, on a thread of its own.

        Otherwise as of the asyncio client; eight handlers run at the same time, more wait for their turn.
        """
        portal = self._session.portal

        async def on_thread(data: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(portal.workers, handler, data)

        return self._stopper(lambda: self._client.on_push(event, on_thread))

    def _stopper(self, register: Callable[[], Callable[[], None]]) -> Callable[[], None]:
        portal = self._session.portal
        stop = portal.do(register)
        return lambda: portal.do(stop)

    # -- use

    def using(self, *, timeout: float | None = None, idempotency_key: str | None = None) -> Client:
        """The same connection with other options for calls and streams; what is not given stays as it is.

        Args:
            timeout: Seconds a call's result, or a stream's first answer, may take. Default: as configured.
            idempotency_key: Lets the server recognise a repetition of the call; 1 to 256 characters.

        Raises:
            ValueError: The timeout or the key cannot be.
        """
        return Client(self._session, self._options.using(timeout, None, idempotency_key))

    def call(self, fn: Rpc[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function on the server and wait for what it returns. Each call is a request of its own.

        Raises:
            RpcError: The server answered with an error; or ``TIMEOUT``, ``DISCONNECTED``,
                ``CONNECTION_CLOSED``, ``INVALID_RESULT``; with an offline queue ``QUEUE_FULL`` and ``STALE``.
            TypeError: The arguments do not fit the function, or have no JSON form.
        """
        client = self._client
        return self._session.portal.run(lambda: client.call(fn, *args, **kwargs))

    def batch(self, *, sequential: bool = False) -> Batch:
        """Several calls in one frame, sent when the block ends: ``with client.batch() as batch: …``.

        Leaving the block waits for all answers; each is then in :meth:`Reply.result`.

        Args:
            sequential: The server runs one call after the other, and goes on after failures.

        Raises:
            ValueError: This client has an idempotency key, which belongs to one call.
        """
        return Batch(self._session.portal, self._client.batch(sequential=sequential))

    def fire(self, fn: Rpc[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Call a function and never hear of it again.

        Returns:
            False when the call was dropped: there is no connection, or more than 4 MiB wait to be sent.

        Raises:
            TypeError: The arguments do not fit the function, or have no JSON form.
        """
        client = self._client
        return self._session.portal.do(lambda: client.fire(fn, *args, **kwargs))

    def stream(self, fn: Stream[P, T], /, *args: P.args, **kwargs: P.kwargs) -> StreamHandle[T]:
        """A stream of the server, not opened yet: ``with client.stream(messages) as handle: …``.

        Raises:
            TypeError: The arguments do not fit the stream.
        """
        return StreamHandle(self._session.portal, self._client.stream(fn, *args, **kwargs))


class Batch:
    """Calls that are sent together when the block ends; made by :meth:`Client.batch`."""

    def __init__(self, portal: Portal, inner: batch.Batch) -> None:
        self._portal = portal
        self._inner = inner

    def call(self, fn: Rpc[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Reply[R]:
        """Add a call; raises what the asyncio client's batch does."""
        return self._inner.call(fn, *args, **kwargs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._portal.run(lambda: self._inner.__aexit__(kind, error, trace))


class StreamHandle(BlockingChanges[T]):
    """One use of a stream, kept up to date until it is closed; made by :meth:`Client.stream`.

    ``with handle:`` opens it, which returns after the first answer, and closes it.
    """

    def __init__(self, portal: Portal, inner: handles.StreamHandle[T]) -> None:
        self._portal = portal
        self._inner = inner
        inner.block = "with"

    def open(self) -> Self:
        """Subscribe and wait for the first answer; raises what the asyncio client's handle does."""
        self._portal.run(self._inner.open)
        return self

    def close(self) -> None:
        """Leave the stream. The last value stays readable, iterators end. Harmless when done already."""
        with suppress(RpcError):  # the client was closed, and the stream with it
            self._portal.run(self._inner.aclose)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def value(self) -> T:
        """The current value. It changes by becoming another object: keep it, and it stays as it is.

        Raises:
            LookupError: There is none yet.
        """
        return self._portal.do(lambda: self._inner.value)

    @overload
    def get(self) -> T | None: ...
    @overload
    def get(self, default: D) -> T | D: ...
    def get(self, default: Any = None) -> Any:
        """The current value, or ``default`` before the first one."""
        return self._portal.do(lambda: self._inner.get(default))

    @property
    def status(self) -> StreamStatus:
        """As of the asyncio client's handle."""
        return self._inner.status

    @property
    def error(self) -> RpcError | None:
        """Why the status is ``error``; else None."""
        return self._portal.do(lambda: self._inner.error)

    @property
    def has_more(self) -> bool:
        """Whether the server has further pages; see :meth:`load_more`."""
        return self._inner.has_more

    def hydrate(self, value: T) -> None:
        """Show a value until the server's comes, as of the asyncio client's handle."""
        self._portal.do(lambda: self._inner.hydrate(value))

    def load_more(self, *extra_args: Any) -> bool:
        """Add the next page and return whether there are further ones, as of the asyncio client's handle."""
        return self._portal.run(lambda: self._inner.load_more(*extra_args))

    def subscribe_at(self, schema_version: int) -> StreamHandle[T]:
        """Another handle, not opened yet, for rows as of this version of their schema."""
        return StreamHandle(self._portal, self._inner.subscribe_at(schema_version))

    def __iter__(self) -> Iterator[T]:
        """The current value, if there is one, then each new one until the handle or the client is closed."""
        return self.values()

    def values(self, timeout: float | None = None) -> Iterator[T]:
        """As iterating over the handle.

        Raises:
            TimeoutError: No new value came within ``timeout`` seconds; the iterator can be asked again.
        """
        return _Values(self._portal, self._inner, timeout)

    def wait_for(self, predicate: Callable[[T], object], timeout: float = 5.0) -> T:
        """The first value, beginning with the current one, for which ``predicate`` is true.

        The predicate is called on the client's own thread, after each change of value, status or error.

        Raises:
            TimeoutError: There was none within ``timeout`` seconds; the text tells the last value and status.
            RpcError: The handle or the client was closed meanwhile.
        """
        return self._portal.run(lambda: self._inner.wait_for(predicate, timeout))


class _Values(Iterator[T]):
    def __init__(self, portal: Portal, inner: handles.StreamHandle[T], timeout: float | None) -> None:
        self._portal = portal
        self._values = aiter(inner)
        self._timeout = timeout

    def __next__(self) -> T:
        async def take() -> T:
            async with asyncio.timeout(self._timeout):
                return await anext(self._values)

        try:
            return self._portal.run(take)
        except (StopAsyncIteration, RpcError):  # the latter when the client was closed
            raise StopIteration from None


def connect(
    url: str,
    /,
    *,
    config: ClientConfig | None = None,
    headers: Mapping[str, str] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    auth: bool | str = False,
    offline: OfflineQueue | None = None,
) -> Client:
    """A client of the server at ``url``: ``with connect("wss://example.org/ws") as client: …``.

    Arguments and errors are those of :func:`liverpc.client.connect`; no event loop is needed, and one that
    runs does not disturb. The functions of an ``OfflineQueue`` are called on the client's own thread.
    """
    make = opener(url, config=config, headers=headers, ssl=ssl, auth=auth, offline=offline)
    # Threads share no loop turn: whether two of their calls were one request would be a matter of luck.
    return Client(_Session(make), CallOptions(fresh=True))

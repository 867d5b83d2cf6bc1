"""The blocking client: for scripts, notebooks and threads.

It is the asyncio client on a thread of its own, so all that is said there of reconnecting, limits and errors
holds here. Everything may be used from several threads at the same time. An interrupted wait, as by Ctrl-C,
forgets what was waited for and leaves the client in order.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from liverpc._types import Binary, P, R, Rpc, Stream, T, Upload
from liverpc.client import aio
from liverpc.client import contract as pages
from liverpc.client.aio import ClientCounters
from liverpc.client.connection import Connection
from liverpc.client.core import Status
from liverpc.client.failure import Failure
from liverpc.client.inbox import Health
from liverpc.client.offline import OfflineQueue
from liverpc.client.opening import opener, target_of
from liverpc.client.options import CallOptions
from liverpc.client.portal import Portal
from liverpc.client.sources import Data, Source
from liverpc.client.sync_contract import ContractPage
from liverpc.client.sync_handles import Batch, StreamHandle, UploadHandle
from liverpc.client.urls import parts_of
from liverpc.config import ClientConfig
from liverpc.errors import RpcError
from liverpc.pages import PageContract

__all__ = ["Batch", "Client", "ContractPage", "StreamHandle", "UploadHandle", "connect"]

C = TypeVar("C", bound=PageContract[Any])
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

    def on_signal(self, event: str, callback: Callable[[Any], object]) -> Callable[[], None]:
        """Call ``callback`` with the data of each signal of this name to the user of this client.

        Returns a function that ends it.
        """
        return self._stopper(lambda: self._client.on_signal(event, callback))

    def _stopper(self, register: Callable[[], Callable[[], None]]) -> Callable[[], None]:
        portal = self._session.portal
        stop = portal.do(register)
        return lambda: portal.do(stop)

    # -- use

    def using(self, *, timeout: float | None = None, idempotency_key: str | None = None) -> Client:
        """The same connection with other options for calls and streams; what is not given stays as it is.

        Args:
            timeout: Seconds a call's result, or a stream's first answer, may take. Default: as configured. Of an
                upload: seconds for all of it; default: any number.
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

    def binary(self, fn: Binary[P, R], data: Data, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function with bytes, all in one message; raises what the asyncio client does."""
        client = self._client
        return self._session.portal.run(lambda: client.binary(fn, data, *args, **kwargs))

    def upload(self, fn: Upload[P, R], source: Source, /, *args: P.args, **kwargs: P.kwargs) -> UploadHandle[R]:
        """Send any amount of bytes to a function that takes them as they come: ``client.upload(put, path).result()``.

        As of the asyncio client, but iterators may block: each is asked on a thread of its own.
        """
        client = self._client
        portal = self._session.portal
        return UploadHandle(portal, portal.do(lambda: client._upload(fn, source, args, kwargs, in_thread=True)))

    def stream(self, fn: Stream[P, T], /, *args: P.args, **kwargs: P.kwargs) -> StreamHandle[T]:
        """A stream of the server, not opened yet: ``with client.stream(messages) as handle: …``.

        Raises:
            TypeError: The arguments do not fit the stream.
        """
        return StreamHandle(self._session.portal, self._client.stream(fn, *args, **kwargs))

    @overload
    def open(self, contract: Callable[[D, Any], C], params: D, /) -> ContractPage[C]: ...
    @overload
    def open(self, contract: type[C], /, **parts: str | int) -> ContractPage[C]: ...
    def open(self, contract: Any, params: Any = None, /, **parts: Any) -> ContractPage[Any]:
        """A contract on this connection, not opened yet: ``with client.open(Chat, room_id="b") as page: …``.

        Arguments and errors are those of the asyncio client.
        """
        return self._page(contract, parts_of(contract, params, parts), owns=False)

    def _page(self, contract: Any, parts: dict[str, str], *, owns: bool) -> ContractPage[Any]:
        def make() -> pages.ContractPage[Any]:
            return pages.ContractPage(self._client, self._session.connection, self._options, contract, parts)

        return ContractPage(self, lambda: self._session.portal, make, owns=owns)


@overload
def connect(
    url: str,
    /,
    *,
    config: ClientConfig | None = None,
    headers: Mapping[str, str] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    auth: bool | str = False,
    offline: OfflineQueue | None = None,
) -> Client: ...
@overload
def connect(
    contract: Callable[[D, Any], C],
    url: str,
    params: D,
    /,
    *,
    config: ClientConfig | None = None,
    headers: Mapping[str, str] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    auth: bool | str = False,
    offline: OfflineQueue | None = None,
) -> ContractPage[C]: ...
@overload
def connect(
    contract: type[C],
    url: str,
    /,
    *,
    config: ClientConfig | None = None,
    headers: Mapping[str, str] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    auth: bool | str = False,
    offline: OfflineQueue | None = None,
    **parts: str | int,
) -> ContractPage[C]: ...
def connect(
    target: Any,
    url: Any = None,
    params: Any = None,
    /,
    *,
    config: ClientConfig | None = None,
    headers: Mapping[str, str] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    auth: bool | str = False,
    offline: OfflineQueue | None = None,
    **parts: Any,
) -> Any:
    """A client of the server at a URL: ``with connect("wss://example.org/ws") as client: …``.

    Or, with a contract, a page of it: ``with connect(Chat, "wss://example.org", room_id="general") as page: …``.

    Arguments and errors are those of :func:`liverpc.client.connect`; no event loop is needed, and one that
    runs does not disturb. The functions of an ``OfflineQueue`` are called on the client's own thread.
    """
    place, filled = target_of(target, url, params, parts)
    make = opener(place, config=config, headers=headers, ssl=ssl, auth=auth, offline=offline)
    # Threads share no loop turn: whether two of their calls were one request would be a matter of luck.
    client = Client(_Session(make), CallOptions(fresh=True))
    return client if filled is None else client._page(target, filled, owns=True)

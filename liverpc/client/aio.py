"""The asyncio client."""

from __future__ import annotations

import ssl as ssl_module
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from liverpc._types import P, R, Reachable, Rpc, Stream, T, Topic
from liverpc.client.connection import Connection
from liverpc.client.core import Failure, Status
from liverpc.client.handles import StreamHandle
from liverpc.client.socket import Connector
from liverpc.config import ClientConfig

__all__ = ["Client", "connect"]


class Client:
    """A connection to a server that comes back when it is lost; made by :func:`connect`.

    ``async with`` opens it, which waits for the first connection, and closes it. All of it belongs to the
    event loop it was made on; it is not thread-safe.
    """

    def __init__(self, connection: Connection, timeout: float | None = None) -> None:
        self._connection = connection
        self._timeout = timeout

    # -- life

    async def __aenter__(self) -> Self:
        await self._connection.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close for good. Unfinished calls and open streams get ``CONNECTION_CLOSED``. Harmless when closed."""
        await self._connection.close()

    @property
    def status(self) -> Status:
        """``connecting`` until the first connection, then ``connected`` or ``reconnecting``; ``closed`` is final."""
        return self._connection.core.status

    @property
    def failure(self) -> Failure | None:
        """Why the connection was last lost or refused; None while connected and after :meth:`aclose`."""
        return self._connection.core.failure

    def on_status(self, callback: Callable[[Status], object]) -> Callable[[], None]:
        """Call ``callback`` with the new status after each change.

        Returns:
            A function that ends it.
        """
        return self._connection.on_status(callback)

    # -- use

    def using(self, *, timeout: float | None = None) -> Client:
        """The same connection with other options for calls and streams.

        Args:
            timeout: Seconds a call's result, or a stream's first answer, may take. Default: as configured.
        """
        return Client(self._connection, timeout)

    async def call(self, fn: Rpc[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function on the server.

        While the connection is lost, the call waits for the next one; 1000 calls do so at most. A cancelled
        call is forgotten: the server may still run it if it was sent.

        Raises:
            RpcError: The server answered with an error; or ``TIMEOUT``, ``DISCONNECTED`` (the connection was
                lost meanwhile, the call may have run), ``CONNECTION_CLOSED``, ``INVALID_RESULT``.
            TypeError: The arguments do not fit the function, or have no JSON form.
        """
        _check(fn, Rpc)
        result: R = await self._connection.call(fn.path, fn.bind(args, kwargs), fn.result_type, self._timeout)
        return result

    def stream(self, fn: Stream[P, T], /, *args: P.args, **kwargs: P.kwargs) -> StreamHandle[T]:
        """A stream of the server, not opened yet: ``async with client.stream(messages) as handle: …``.

        Raises:
            TypeError: The arguments do not fit the stream.
        """
        _check(fn, Stream)
        return StreamHandle(self._connection, fn.path, fn.bind(args, kwargs), fn.result_type, self._timeout)


def _check(target: object, kind: type[Rpc[..., Any] | Stream[..., Any]]) -> None:
    if isinstance(target, kind):
        return
    what = "call()" if kind is Rpc else "stream()"
    if isinstance(target, str):
        cure = f"a path is made callable with remote({target!r})"
    elif isinstance(target, Reachable):
        cure = f"{target!r} is {'a stream: use stream()' if kind is Rpc else 'a function: use call()'}"
    elif isinstance(target, Topic):
        cure = "it is the stream itself that is subscribed to, not its topic"
    else:
        cure = f"{target!r} is no declaration: decorate it with @live{'' if kind is Rpc else '.stream'}"
    raise TypeError(f"{what} takes a live function or remote(...); {cure}")


def connect(
    url: str,
    /,
    *,
    config: ClientConfig | None = None,
    headers: Mapping[str, str] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    connector: Connector | None = None,
) -> Client:
    """A client of the server at ``url``: ``async with connect("wss://example.org/ws") as client: …``.

    Entering waits for the first connection. Failed attempts are repeated until ``config.connect_timeout``;
    later losses are repaired in the background.

    Args:
        url: ``ws://`` or ``wss://``, with path.
        config: Time limits, back-off, sizes.
        headers: Sent with every handshake, such as ``Authorization`` or ``Cookie``.
        ssl: For ``wss://``. Default: the system's certificate authorities.
        connector: Opens the sockets instead; ``url``, ``headers`` and ``ssl`` are not used then. Its sockets
            count as lost after ``config.silence_seconds`` without a message.

    Raises:
        ConfigError: The URL is no WebSocket URL, or does not go with ``ssl``.
        RuntimeError: No event loop is running.

    Entering raises:
        RpcError: ``CONNECTION_CLOSED`` when the server refuses the client for good, ``TIMEOUT`` when there
            was no connection in time; the text tells the last reason.
    """
    config = config or ClientConfig()
    silence: float | None = config.silence_seconds
    if connector is None:
        from liverpc.client.websocket import websocket_connector

        connector = websocket_connector(url, config=config, headers=headers, ssl=ssl)
        silence = None
    return Client(Connection(connector, config, silence=silence))

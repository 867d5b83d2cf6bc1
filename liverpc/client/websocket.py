"""The sockets of real life: WebSocket connections made by the ``websockets`` package."""

from __future__ import annotations

import logging
import ssl as ssl_module
from collections.abc import Mapping
from functools import partial
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from liverpc.client.socket import Connector, HandshakeRefused, Socket, SocketClosed
from liverpc.config import ClientConfig
from liverpc.errors import ConfigError
from liverpc.wire.close import CloseCode

__all__ = ["websocket_connector"]

_PING_SECONDS = 20.0
_CLOSE_SECONDS = 2.0
_REFUSAL_CHARACTERS = 200  # of the body of an HTTP answer; proxies send whole pages

# At DEBUG, websockets writes every header into the log, credentials included.
_quiet = logging.getLogger("liverpc.client.websocket")
_quiet.setLevel(logging.INFO)


def websocket_connector(
    url: str,
    *,
    config: ClientConfig,
    headers: Mapping[str, str] | None = None,
    ssl: ssl_module.SSLContext | None = None,
) -> Connector:
    """What opens a WebSocket to ``url``, once per call.

    Its sockets are pinged and count as lost when no pong comes back, within ``config.silence_seconds`` and
    at most 40 seconds: a server that has nothing to say is not taken for a dead one.

    Raises:
        ConfigError: ``url`` is no WebSocket URL, or ``ssl`` is given for one without TLS.
    """
    ping = min(_PING_SECONDS, config.silence_seconds / 2)
    tls: dict[str, Any] = {} if ssl is None else {"ssl": ssl}  # websockets refuses ssl=None for wss://
    dial = partial(
        connect,
        url,
        compression=None,
        proxy=None,
        additional_headers=headers,
        open_timeout=None,  # the caller's task
        ping_interval=ping,
        ping_timeout=ping,
        close_timeout=_CLOSE_SECONDS,
        max_size=config.message_bytes,
        logger=_quiet,
        **tls,
    )
    try:
        dial()  # opens nothing, but checks
    except InvalidURI as error:  # the URL itself stays out of the text: it may hold credentials
        raise ConfigError(f"connect() takes a URL such as wss://example.org/ws; here {error.msg}") from None
    except ValueError as error:
        raise ConfigError(f"connect(): {error}") from None

    async def connector() -> Socket:
        try:
            return _WebSocket(await dial())
        except InvalidStatus as refusal:
            text = (refusal.response.body or b"").decode(errors="replace").strip()
            raise HandshakeRefused(refusal.response.status_code, text[:_REFUSAL_CHARACTERS]) from None
        except InvalidHandshake as error:
            raise ConnectionError(f"the server does not speak WebSocket: {error}") from error

    return connector


class _WebSocket:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, text: str) -> None:
        try:
            await self._connection.send(text)
        except ConnectionClosed as closed:
            raise _closed(closed) from None

    async def recv(self) -> str | bytes:
        try:
            return await self._connection.recv()
        except ConnectionClosed as closed:
            raise _closed(closed) from None

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        try:
            await self._connection.close(code, reason)
        except BaseException:  # cancelled: nothing of it may stay
            self._connection.transport.abort()
            raise


def _closed(closed: ConnectionClosed) -> SocketClosed:
    if closed.rcvd is not None:
        return SocketClosed(closed.rcvd.code, closed.rcvd.reason)
    # What this side said tells why it gave up, such as a missing pong or too large a frame.
    return SocketClosed(CloseCode.LOST, closed.sent.reason if closed.sent is not None else "")

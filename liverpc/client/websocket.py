"""The sockets of real life: WebSocket connections made by the ``websockets`` package."""

from __future__ import annotations

import logging
import re
import socket
import ssl as ssl_module
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.uri import WebSocketURI, parse_uri

from liverpc.client.preflight import AUTH_PATH, Preflight
from liverpc.client.socket import Connector, HandshakeRefused, Socket, SocketClosed
from liverpc.config import ClientConfig
from liverpc.errors import ConfigError
from liverpc.wire.close import CloseCode

__all__ = ["websocket_connector"]

_PING_SECONDS = 20.0
_CLOSE_SECONDS = 2.0
_CHUNK_BYTES = 65_536  # of frames handed to the transport in one piece
_REFUSAL_CHARACTERS = 200  # of the body of an HTTP answer; proxies send whole pages

_HEADER_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")

# At DEBUG, websockets writes every header into the log, credentials included.
_quiet = logging.getLogger("liverpc.client.websocket")
_quiet.setLevel(logging.INFO)


def websocket_connector(
    url: str,
    *,
    config: ClientConfig,
    headers: Mapping[str, str] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    auth: bool | str = False,
) -> Connector:
    """What opens a WebSocket to ``url``, once per call; with ``auth``, after an auth request to that path.

    Its sockets are pinged and count as lost when no pong comes back, within ``config.silence_seconds`` and
    at most 40 seconds: a server that has nothing to say is not taken for a dead one.

    Raises:
        ConfigError: ``url`` is no WebSocket URL or its credentials cannot be sent, ``ssl`` is given for one
            without TLS, ``auth`` is no path, a header cannot be sent, or there are credentials in both.
    """
    for name, value in (headers or {}).items():
        # Found by those who send them, it would be in an error with the value, which is often a secret.
        if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
            raise ConfigError(
                f"connect(headers=...): {name!r} cannot be sent: names are tokens, and values are Latin-1 text "
                "without line breaks, control characters and spaces around it"
            )
    uri = _parse(url)
    if uri.user_info is not None and any(name.lower() == "authorization" for name in headers or {}):
        raise ConfigError("connect(): there are credentials in the URL and as a header; give one of them")
    ping = min(_PING_SECONDS, config.silence_seconds / 2)
    tls: dict[str, Any] = {} if ssl is None else {"ssl": ssl}  # websockets refuses ssl=None for wss://
    dial = partial(
        _Dial,
        url,
        compression=None,
        proxy=None,
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
    except ValueError as error:
        raise ConfigError(f"connect(): {error}") from None

    preflight = None
    if auth is not False:
        path = AUTH_PATH if auth is True else auth
        if not path.startswith("/"):
            raise ConfigError(f"connect(auth=...) takes True or a path such as {AUTH_PATH!r}, not {path!r}")
        # Half of the time for the attempt: if it is the auth request that hangs, the failure can say so.
        preflight = Preflight(uri, path, headers or {}, timeout=config.connect_timeout / 2, ssl=ssl)

    async def connector() -> Socket:
        sent = headers
        if preflight is not None:
            await preflight()
            sent = preflight.handshake_headers()
        try:
            connection = await dial(additional_headers=sent)
            _keep_queue_short(connection)
            return _WebSocket(connection)
        except InvalidStatus as refusal:
            text = (refusal.response.body or b"").decode(errors="replace").strip()
            raise HandshakeRefused(refusal.response.status_code, text[:_REFUSAL_CHARACTERS]) from None
        except InvalidHandshake as error:
            raise ConnectionError(f"the server does not speak WebSocket: {error}") from error

    return connector


def _parse(url: str) -> WebSocketURI:
    """Take the URL apart. It stays out of the errors, and so does what parsers say of it: it may hold credentials."""
    try:
        uri = parse_uri(url)
        if uri.user_info is None or ":" not in uri.user_info[0]:  # which Basic authorization cannot express
            return uri
    except InvalidURI as error:
        raise ConfigError(f"connect() takes a URL such as wss://example.org/ws; here {error.msg}") from None
    except ValueError:
        pass
    raise ConfigError(
        "connect() takes a URL such as wss://user:password@example.org:8443/ws; in this one the host, the port or the "
        "credentials cannot be read: percent-encode special characters, and no colon may be in the user's name"
    )


class _Dial(connect):
    """Follows no redirects: what ``headers`` hold is for the host the program named."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _WebSocket:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, message: str | bytes) -> None:
        try:
            await self._connection.send(message)
        except ConnectionClosed as closed:
            raise _closed(closed) from None

    async def send_all(self, messages: Iterator[str | bytes]) -> None:
        connection = self._connection
        for message in messages:
            try:
                # What send() does for one message, with one write for many; behind bytes, which are long, there may be
                # something more urgent soon.
                async with connection.send_context():
                    self._frame(message)
                    size = len(message)
                    while size < _CHUNK_BYTES and isinstance(message, str):
                        following = next(messages, None)
                        if following is None:
                            break
                        message = following
                        self._frame(message)
                        size += len(message)
                    connection.transport.write(b"".join(connection.protocol.data_to_send()))
            except ConnectionClosed as closed:
                raise _closed(closed) from None

    def _frame(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self._connection.protocol.send_text(message.encode())
        else:
            self._connection.protocol.send_binary(message)

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


def _keep_queue_short(connection: ClientConnection) -> None:
    """Let the kernel take little that the network has no room for yet: what it has, nothing urgent overtakes."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # not on every system
    if option is not None:
        with suppress(OSError):
            connection.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, _CHUNK_BYTES)


def _closed(closed: ConnectionClosed) -> SocketClosed:
    if closed.rcvd is not None:
        return SocketClosed(closed.rcvd.code, closed.rcvd.reason)
    # What this side said tells why it gave up, such as a missing pong or too large a frame.
    return SocketClosed(CloseCode.LOST, closed.sent.reason if closed.sent is not None else "")

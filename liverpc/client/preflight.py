"""The auth request a client may make before each handshake (docs/protocol.md section 10), and its cookies."""

from __future__ import annotations

import asyncio
import ssl as ssl_module
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import h11
from websockets.headers import build_authorization_basic, build_host
from websockets.uri import WebSocketURI

from liverpc.client.socket import PreflightFailed

__all__ = ["AUTH_PATH", "CookieJar", "Preflight"]

AUTH_PATH = "/__ws/auth"

_COOKIES_MAX = 50  # the oldest go first
_COOKIE_BYTES = 4096  # larger ones are not kept, nor those with control characters
_READ_BYTES = 65_536
_REASON_CHARACTERS = 200  # of the answer's body; proxies send whole pages
_SCRIPT = "svelte-adapter-uws"  # what browser clients call themselves


class CookieJar:
    """The cookies one server has set. Their path and domain are not looked at: all go back to that server."""

    def __init__(self) -> None:
        self._cookies: dict[str, str] = {}

    def take(self, set_cookie: str) -> None:
        """Keep or remove a cookie, as the value of a ``Set-Cookie`` header says."""
        pair, *attributes = set_cookie.split(";")
        name, found, value = (part.strip() for part in pair.partition("="))
        if not found or not name or len(pair) > _COOKIE_BYTES or not pair.isprintable():
            return
        self._cookies.pop(name, None)
        if not _expired(attributes):
            self._cookies[name] = value
            if len(self._cookies) > _COOKIES_MAX:
                del self._cookies[next(iter(self._cookies))]

    def header(self, headers: Mapping[str, str]) -> dict[str, str]:
        """``headers`` with the cookies added to those they hold already, which win."""
        given = {name: value for name, value in headers.items() if name.lower() != "cookie"}
        own = "; ".join(value for name, value in headers.items() if name.lower() == "cookie")
        names = {pair.partition("=")[0].strip() for pair in own.split(";")}
        pairs = [f"{name}={value}" for name, value in self._cookies.items() if name not in names]
        return given | ({"Cookie": "; ".join(filter(None, [own, *pairs]))} if own or pairs else {})


def _expired(attributes: list[str]) -> bool:
    said = {name.strip().lower(): value.strip() for name, _, value in (each.partition("=") for each in attributes)}
    try:
        if "max-age" in said:
            return int(said["max-age"]) <= 0
        if "expires" in said:
            return parsedate_to_datetime(said["expires"]).timestamp() <= time.time()
    except ValueError:  # as good as absent
        pass
    return False


class Preflight:
    """Makes the auth request.

    Args:
        uri: Of the WebSocket; its host is asked, with its credentials.
        path: Of the endpoint.
        headers: Sent along.
        timeout: Seconds for the answer.
        ssl: For ``wss://``. Default: the system's certificate authorities.
    """

    def __init__(
        self,
        uri: WebSocketURI,
        path: str,
        headers: Mapping[str, str],
        *,
        timeout: float,
        ssl: ssl_module.SSLContext | None = None,
    ) -> None:
        self._uri = uri
        self._ssl = (ssl or ssl_module.create_default_context()) if uri.secure else None
        self._path = path
        self._timeout = timeout
        self._headers = headers
        self._jar = CookieJar()
        authority = build_host(uri.host, uri.port, uri.secure)
        # Servers take a POST for forged that shows neither a script's mark nor an origin of theirs.
        self._fixed = {
            "host": authority,
            "origin": f"{'https' if uri.secure else 'http'}://{authority}",
            "x-requested-with": _SCRIPT,
            "content-length": "0",
            "connection": "close",
        }
        if uri.user_info is not None:
            self._fixed["authorization"] = build_authorization_basic(*uri.user_info)

    def handshake_headers(self) -> dict[str, str]:
        """The given headers and the cookies collected so far."""
        return self._jar.header(self._headers)

    async def __call__(self) -> None:
        """Ask; returns when the answer is a 2xx.

        Raises:
            PreflightFailed: It is another one, or there is none.
        """
        try:
            async with asyncio.timeout(self._timeout):
                status, body = await self._exchange()
        except TimeoutError:
            raise PreflightFailed(None, f"no answer within {self._timeout:g} s") from None
        except (OSError, h11.ProtocolError) as error:
            raise PreflightFailed(None, str(error) or type(error).__name__) from None
        if not status:
            raise PreflightFailed(None, "the server hung up without an answer")
        if not 200 <= status < 300:
            raise PreflightFailed(status, body.decode(errors="replace").strip()[:_REASON_CHARACTERS])

    async def _exchange(self) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection(self._uri.host, self._uri.port, ssl=self._ssl)
        try:
            given = {name.lower(): value for name, value in self.handshake_headers().items()}
            connection = h11.Connection(h11.CLIENT)
            headers = [
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in (self._fixed | given).items()
            ]
            request = h11.Request(method="POST", target=self._path, headers=headers)
            writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
            return await self._answer(connection, reader)
        finally:
            # Nothing is left to say: the other side need not be waited for.
            writer.transport.abort()

    async def _answer(self, connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        status, body = 0, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(_READ_BYTES))
            elif isinstance(event, h11.Response):
                status = event.status_code
                for name, value in event.headers:
                    if name == b"set-cookie":
                        self._jar.take(value.decode("latin-1"))
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
                if len(body) > _REASON_CHARACTERS * 4:
                    return status, body  # as much as anybody will read
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                return status, body

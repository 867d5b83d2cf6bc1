"""The door for uvicorn: ``uvicorn api:app --ws liverpc.transports.uvicorn:LiveDoor``.

uvicorn hands every WebSocket upgrade to the class named by ``--ws``. This one gives requests for the paths of
a server to our own protocol, at full speed, and all others to uvicorn's. It finds the server in the ASGI
state, where ``FastAPI(lifespan=server.lifespan)`` puts it. See docs/deploy.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, cast

import msgspec

from liverpc.errors import MissingExtraError
from liverpc.transports.asgi import Hosted
from liverpc.transports.http import render
from liverpc.transports.listener import Listener
from liverpc.transports.ws import LiveProtocol

try:
    from uvicorn.config import Config
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
    from uvicorn.server import ServerState
except ImportError as error:
    raise MissingExtraError("uvicorn>=0.44", extra="uvicorn", what="liverpc.transports.uvicorn") from error

__all__ = ["LiveDoor"]

log = logging.getLogger("liverpc.transports")

_EMPTY_STATE = (
    "uvicorn's --ws liverpc.transports.uvicorn:LiveDoor found no LiveServer in the lifespan's state: run the "
    "application with FastAPI(lifespan=server.lifespan), or let its own lifespan yield what `async with "
    "server.lifespan() as state` gives, and do not use --lifespan off; until then the application gets every WebSocket"
)
_CALLBACKS = ("data_received", "eof_received", "pause_writing", "resume_writing", "connection_lost")


class LiveDoor(asyncio.Protocol):
    """Takes an upgrade from uvicorn and steps aside for the protocol that its path asks for.

    uvicorn makes one per upgrade request, calls :meth:`connection_made` and, with the whole head of the
    request, :meth:`data_received`, and only then makes it the transport's protocol.
    """

    # No __slots__: the callbacks are replaced per instance.

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        **ignored: Any,  # later versions of uvicorn may pass more
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            inner = self._inner(data)
        except Exception:  # such as what an application's own hooks raise: the client waits for an answer
            log.exception("it could not be decided who gets a WebSocket")
            self._transport.write(render(500, b"Internal server error\n"))
            self._transport.close()
            return
        # uvicorn will set us as the protocol when we return, and uvloop looks up the callbacks there, once:
        # they have to be the other's now. In the next turn we can leave.
        for name in _CALLBACKS:
            setattr(self, name, getattr(inner, name))
        inner.connection_made(self._transport)
        inner.data_received(data)
        asyncio.get_running_loop().call_soon(self._step_aside, inner)

    def _inner(self, head: bytes) -> asyncio.Protocol:
        # The path on the wire: uvicorn's --root-path is no part of it, as for the routes of an application.
        path = head.split(b" ", 2)[1].partition(b"?")[0].decode("latin-1")
        if "liverpc" not in self._app_state:
            log.warning(_EMPTY_STATE)
            self._app_state["liverpc"] = None  # once is enough
        server: Hosted | None = self._app_state["liverpc"]
        listener = None if server is None or server.endpoint(path) is None else server.listener
        if listener is None:
            return WebSocketsSansIOProtocol(self._config, self._server_state, self._app_state)
        self._hurry(listener)
        return LiveProtocol(listener, registry=self._server_state.connections, peer_of=partial(self._peer, listener))

    def _hurry(self, listener: Listener) -> None:
        """Fit the goodbyes of a shutdown into the time uvicorn gives them."""
        patience = self._config.timeout_graceful_shutdown
        limits = listener.limits
        if patience is not None and limits.drain_seconds + limits.close_seconds > patience:
            share = max(patience / 3, 0.1)
            listener.limits = msgspec.structs.replace(
                limits,
                drain_seconds=min(limits.drain_seconds, share),
                close_seconds=min(limits.close_seconds, share),
            )

    def _peer(self, listener: Listener, headers: Mapping[str, str]) -> tuple[str, bool]:
        """Address and TLS of the client: by uvicorn's own rules for proxies, then by the server's."""
        peer = self._transport.get_extra_info("peername")
        secure = self._transport.get_extra_info("sslcontext") is not None
        scope: Any = {
            "type": "websocket",
            "client": peer[:2] if isinstance(peer, tuple) else None,
            "scheme": "wss" if secure else "ws",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        }
        if self._config.proxy_headers:
            middleware: Any = ProxyHeadersMiddleware(_nothing, self._config.forwarded_allow_ips)
            with suppress(StopIteration):  # it never suspends
                middleware(scope, None, None).send(None)
        client = scope["client"]
        return listener.admission.peer(client[0] if client else "", scope["scheme"] == "wss", headers)

    def _step_aside(self, inner: asyncio.Protocol) -> None:
        if not self._transport.is_closing():
            self._transport.set_protocol(inner)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application, for middleware that is wanted for what it does to the scope."""

"""The door for any ASGI server: the same behaviour as on our own sockets, at the speed of that server.

Pings, the parsing of frames and how fast bytes leave are the server's business; everything else is here.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Protocol
from urllib.parse import quote

from liverpc.errors import LiveRpcError
from liverpc.hub.link import Application, ConnectRequest, HttpRequest, HttpResponse, Refuse
from liverpc.transports.asgi_socket import AsgiSocket, Message, Receive, Scope, Send, answer, refuse
from liverpc.transports.drain import see_off
from liverpc.transports.handshake import header_map
from liverpc.transports.http import respond
from liverpc.transports.listener import Listener

__all__ = ["AsgiApp", "Hosted"]

log = logging.getLogger("liverpc.transports")

_NOT_STARTED = (
    "this LiveServer was not started: serve server.asgi() itself, or give the application that mounts it its "
    "lifespan, such as FastAPI(lifespan=server.lifespan); an application with a lifespan of its own enters "
    "`async with server.lifespan() as state:` in it and yields the state"
)


class Hosted(Application, Protocol):
    """What an ASGI server serves: an application that is started and stopped along with it."""

    path: str  #: of the WebSocket

    @property
    def listener(self) -> Listener | None:
        """What decides about new connections; None while it does not run."""
        ...

    def lifespan(self, app: object = None) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Start on entering, stop on leaving; gives what to add to the ASGI state."""
        ...


class AsgiApp:
    """An ASGI 3 application around a server.

    It starts and stops the server when it gets lifespan events, unless the server runs already: the
    application around it may have the server's lifespan as its own. While the server does not run, requests
    are answered with HTTP 503 and how to cure that. Mounted below a prefix it answers ``prefix + path``; a
    server whose ``path`` includes the prefix is found as well.
    """

    def __init__(self, server: Hosted) -> None:
        self._server = server
        self._complained = False  # that the server was not started
        self._sockets: set[AsgiSocket] = set()
        self._empty = asyncio.Event()  # no sockets; made anew for each drain, as each may have its own loop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, one request, or the server's life."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)
        elif kind == "http":
            response = await self._http(scope, receive)
            if response is not None:
                await answer(send, response, head=scope["method"] == "HEAD")
        else:
            raise ValueError(f"liverpc answers lifespan, http and websocket, not {kind!r}")

    async def drain(self) -> None:
        """See every WebSocket off, as :meth:`.listener.Listener.drain` does; nobody is left afterwards."""
        self._empty = asyncio.Event()
        if self._sockets:
            await see_off(list(self._sockets), self._server.limits, self._empty)
        for socket in list(self._sockets):
            socket.abort()
        while self._sockets:
            await self._empty.wait()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # startup
        async with AsyncExitStack() as stack:
            try:
                if self._server.listener is None:
                    state = await stack.enter_async_context(self._server.lifespan())
                    if "state" in scope:  # where the uvicorn door looks for the server
                        scope["state"].update(state)
            except Exception as error:
                if not isinstance(error, LiveRpcError):
                    log.exception("the server could not be started")
                await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()  # shutdown
        await send({"type": "lifespan.shutdown.complete"})

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return  # the peer left first
        listener = self._server.listener
        if listener is None:
            if not self._complained:  # anybody can make us come here
                self._complained = True
                log.error(_NOT_STARTED)
            await refuse(scope, send, Refuse(503, _NOT_STARTED))
            return
        headers = _headers(scope, listener)
        if isinstance(headers, Refuse):
            listener.counters.handshakes_refused += 1
            await refuse(scope, send, headers)
            return
        address, secure = _peer(scope, headers, listener)
        query = _query(scope)
        request = ConnectRequest(self._path(scope), query=query, headers=headers, address=address, secure=secure)
        socket = AsgiSocket(listener, scope, receive, send)
        self._sockets.add(socket)
        self._empty.clear()
        try:
            await socket.run(request)
        finally:
            self._sockets.discard(socket)
            if not self._sockets:
                self._empty.set()

    async def _http(self, scope: Scope, receive: Receive) -> HttpResponse | None:
        """The answer; None when the peer left, which cancels the application's work."""
        listener = self._server.listener
        if listener is None:
            return HttpResponse(503, f"{_NOT_STARTED}\n".encode(), {"Content-Type": "text/plain; charset=utf-8"})
        listener.counters.http_requests += 1
        headers = _headers(scope, listener)
        if isinstance(headers, Refuse):
            return HttpResponse(headers.status, f"{headers.text}\n".encode())
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > listener.limits.body_bytes:
                return HttpResponse(413, b"the body is too large\n")
        request = HttpRequest(
            method="GET" if scope["method"] == "HEAD" else scope["method"],
            path=self._path(scope),
            query=_query(scope),
            headers=headers,
            body=bytes(body),
            address=_peer(scope, headers, listener)[0],
        )
        responding = listener.spawn(respond(self._server, request))
        leaving = listener.spawn(_next(receive))
        try:
            await asyncio.wait({responding, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return responding.result() if responding.done() and not responding.cancelled() else None
        finally:
            responding.cancel()
            leaving.cancel()

    def _path(self, scope: Scope) -> str:
        """Where in the server a request goes: below the prefix of a mount, or the whole path where that is known."""
        raw: bytes | None = scope.get("raw_path")
        whole = raw.decode("latin-1") if raw else quote(scope["path"])
        prefix = quote(scope.get("root_path") or "")
        if prefix and whole.startswith(f"{prefix}/"):
            return whole if whole == self._server.path else whole[len(prefix) :]
        return whole


def _headers(scope: Scope, listener: Listener) -> dict[str, str] | Refuse:
    pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    return header_map(pairs, listener.limits)


def _query(scope: Scope) -> str:
    query: bytes = scope.get("query_string") or b""  # servers may leave it out
    return query.decode("latin-1")


def _peer(scope: Scope, headers: dict[str, str], listener: Listener) -> tuple[str, bool]:
    client = scope.get("client")
    secure = scope.get("scheme") in ("https", "wss")
    return listener.admission.peer(str(client[0]) if client else "", secure, headers)


async def _next(receive: Receive) -> Message:
    return await receive()

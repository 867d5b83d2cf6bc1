"""Plain HTTP on the same port: one request, one answer, then the connection closes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from email.utils import formatdate
from http.client import responses
from typing import TYPE_CHECKING

import h11

from liverpc.hub.link import HttpRequest, HttpResponse
from liverpc.transports.wheel import Holder

if TYPE_CHECKING:
    from liverpc.transports.listener import Listener

__all__ = ["PlainHttp", "peer_address", "render"]

log = logging.getLogger("liverpc.transports")

_OURS = ("connection", "content-length", "date", "transfer-encoding")  # headers only the transport may set


def render(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None, *, head: bool = False) -> bytes:
    """A whole answer that closes the connection.

    What cannot be said in HTTP, such as a line break in a header, is logged and becomes a bare 500.

    Args:
        status: From 200 to 599.
        body: Not sent for the statuses that have none.
        headers: Besides length, date and connection, which are added here.
        head: The request was HEAD: all of it but the body.
    """
    lines = [("Date", formatdate(usegmt=True)), ("Connection", "close")]
    if status not in (204, 304):
        lines.append(("Content-Length", str(len(body))))
    try:
        lines += [(name, value) for name, value in (headers or {}).items() if name.lower() not in _OURS]
        answer = h11.Response(
            status_code=status,
            headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in lines],
            reason=responses.get(status, "").encode(),
        )
        connection = h11.Connection(h11.SERVER)
        out = connection.send(answer) or b""
    except (h11.LocalProtocolError, ValueError):
        log.exception("an HTTP answer with status %r cannot be sent", status)
        return render(500, b"internal error\n", head=head)
    return out if head or status in (204, 304) else out + body


class PlainHttp(asyncio.Protocol):
    """A request that is no upgrade, answered by ``Application.http``.

    The whole request must arrive within ``Limits.connect_seconds``, its body within ``Limits.body_bytes``.
    A peer that leaves, or closes its half, cancels the application's work: the two look the same.
    """

    __slots__ = ("answered", "body", "bucket", "http", "listener", "request", "task", "transport", "unsent")

    def __init__(self, listener: Listener, transport: asyncio.Transport) -> None:
        self.listener = listener
        self.transport = transport
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=listener.limits.head_bytes)
        self.request: h11.Request | None = None
        self.body = bytearray()
        self.task: asyncio.Task[None] | None = None  # asks the application
        self.answered = False
        self.unsent = 0  # bytes the transport held when it was last looked at
        self.bucket: set[Holder] | None = None
        listener.add(self)
        listener.wheel.set(self, listener.limits.connect_seconds)

    def data_received(self, data: bytes) -> None:
        if self.task is None and not self.answered:
            self._receive(data)
        # Later bytes are read and dropped: closing with unread ones would reset the answer away.

    def connection_lost(self, exc: Exception | None) -> None:
        self.answered = True
        self.listener.wheel.clear(self)
        self.listener.remove(self)
        if self.task is not None:
            self.task.cancel()

    def go_away(self) -> None:
        """The server ends: a request being answered may finish, others may not begin."""
        if self.task is None:
            self.transport.close()

    def on_deadline(self) -> None:
        left = self.transport.get_write_buffer_size()
        if self.answered and left < self.unsent:
            self.unsent = left  # the peer takes a long answer slowly
            self.listener.wheel.set(self, self.listener.limits.linger_seconds)
        else:
            self.listener.counters.deadline_aborts += 1
            self.transport.abort()

    def _receive(self, data: bytes) -> None:
        try:
            self.http.receive_data(data)
            while self.task is None and not self.answered and self._advance(self.http.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            self._answer(HttpResponse(error.error_status_hint, b"bad request\n"))

    def _advance(self, event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]) -> bool:
        """Take one step of the request; False when more bytes are needed first."""
        if isinstance(event, h11.Request):
            self.request = event
            self.listener.counters.http_requests += 1
            length = dict(event.headers).get(b"content-length", b"")
            if event.http_version not in (b"1.0", b"1.1"):  # h11 takes any digits
                self._answer(HttpResponse(505, b"HTTP/1.1 only\n"))
            elif int(length or b"0") > self.listener.limits.body_bytes:
                self._answer(HttpResponse(413, b"the body is too large\n"))
            elif self.http.they_are_waiting_for_100_continue:
                self.transport.write(self.http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        elif isinstance(event, h11.Data):
            self.body += event.data
            if len(self.body) > self.listener.limits.body_bytes:
                self._answer(HttpResponse(413, b"the body is too large\n"))
        elif isinstance(event, h11.EndOfMessage):
            self.listener.wheel.clear(self)  # how long an answer may take is the application's business
            self.task = self.listener.spawn(self._ask())
        else:
            return False
        return True

    async def _ask(self) -> None:
        try:
            response = await self._response()
        except Exception:
            log.exception("a plain HTTP request failed")
            response = HttpResponse(500, b"internal error\n")
        self._answer(response)

    async def _response(self) -> HttpResponse:
        asked = self.request
        assert asked is not None
        path, _, query = asked.target.decode("ascii").partition("?")
        application = self.listener.application
        if application.endpoint(path) is not None:
            return HttpResponse(426, b"a WebSocket client is needed here\n", {"Upgrade": "websocket"})
        method = asked.method.decode("ascii")
        headers: dict[str, str] = {}
        for raw_name, raw_value in asked.headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        request = HttpRequest(
            method="GET" if method == "HEAD" else method,
            path=path,
            query=query,
            headers=headers,
            body=bytes(self.body),
            address=peer_address(self.transport),
        )
        return await application.http(request)

    def _answer(self, response: HttpResponse) -> None:
        if self.answered:  # the peer left while the application was asked
            return
        self.answered = True
        head = self.request is not None and self.request.method == b"HEAD"
        self.transport.write(render(response.status, response.body, response.headers, head=head))
        self.unsent = self.transport.get_write_buffer_size()
        self.listener.wheel.set(self, self.listener.limits.linger_seconds)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()


def peer_address(transport: asyncio.BaseTransport) -> str:
    """The peer's IP address; empty for a Unix socket."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""

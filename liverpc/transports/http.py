"""Plain HTTP on the same port: one request and its answer; then the connection closes or takes the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from http.client import responses
from typing import TYPE_CHECKING

import h11

from liverpc.hub.link import Application, HttpRequest, HttpResponse, Refuse
from liverpc.hub.tasks import passes
from liverpc.transports.handshake import header_map
from liverpc.transports.wheel import Holder

if TYPE_CHECKING:
    from liverpc.transports.ws import LiveProtocol

__all__ = ["PlainHttp", "render", "respond", "start_of"]

log = logging.getLogger("liverpc.transports")

_OURS = ("connection", "content-length", "date", "transfer-encoding")  # headers only the transport may set
_FAILED = HttpResponse(500, b"internal error\n")


def render(
    status: int,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    cookies: Iterable[str] = (),
    head: bool = False,
    keep: bool = False,
) -> bytes:
    """A whole answer.

    What cannot be said in HTTP, such as a line break in a header, is logged and becomes a bare 500.

    Args:
        status: From 200 to 599.
        body: Not sent for the statuses that have none.
        headers: Besides length, date and connection, which are added here.
        cookies: Values of ``Set-Cookie`` headers.
        head: The request was HEAD: all of it but the body.
        keep: The connection stays for another request.
    """
    lines = [("Date", formatdate(usegmt=True))]
    if not keep:
        lines.append(("Connection", "close"))
    answer, body = start_of(HttpResponse(status, body, dict(headers or {}), tuple(cookies)), *lines)
    out = h11.Connection(h11.SERVER).send(answer) or b""
    return out if head else out + body


def start_of(response: HttpResponse, *lines: tuple[str, str]) -> tuple[h11.Response, bytes]:
    """Status and headers of an answer, beginning with ``lines``, and the body behind them.

    They are those of a bare 500 when they cannot be said in HTTP, which is logged.
    """
    fields = list(lines)
    bodyless = response.status in (204, 304)
    if not bodyless:
        fields.append(("Content-Length", str(len(response.body))))
    fields += [(name, value) for name, value in response.headers.items() if name.lower() not in _OURS]
    fields += [("Set-Cookie", cookie) for cookie in response.cookies]
    try:
        start = h11.Response(
            status_code=response.status,
            headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in fields],
            reason=responses.get(response.status, "").encode(),
        )
    except (h11.LocalProtocolError, ValueError):
        log.exception("an HTTP answer with status %r cannot be sent", response.status)
        return start_of(_FAILED, *lines)
    return start, b"" if bodyless else response.body


async def respond(application: Application, request: HttpRequest) -> HttpResponse:
    """The application's answer; when it raises, which is logged, a bare 500."""
    try:
        if application.endpoint(request.path) is not None:
            return HttpResponse(426, b"a WebSocket client is needed here\n", {"Upgrade": "websocket"})
        return await application.http(request)
    except BaseException as error:  # whatever it is, the peer waits for an answer
        if passes(error):
            raise
        log.exception("a plain HTTP request failed")
        return _FAILED


class PlainHttp(asyncio.Protocol):
    """A request that is no upgrade, answered by ``Application.http``.

    The whole request must arrive within ``Limits.connect_seconds``, its body within ``Limits.body_bytes``.
    A peer that leaves, or closes its half, cancels the application's work: the two look the same. What it
    sends behind its request waits for the answer.

    Args:
        lender: Whose socket it is, and who gets it back when the connection is kept.
        last: It is not kept.
    """

    __slots__ = (
        "answered",
        "behind",
        "body",
        "bucket",
        "headers",
        "http",
        "last",
        "lender",
        "listener",
        "request",
        "task",
        "transport",
        "unsent",
        "write_paused",
    )

    def __init__(self, lender: LiveProtocol, *, last: bool) -> None:
        self.lender = lender
        self.last = last
        self.listener = listener = lender.listener
        self.transport = lender.transport
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=listener.limits.head_bytes)
        self.request: h11.Request | None = None
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.task: asyncio.Task[None] | None = None  # asks the application
        self.answered = False
        self.behind = bytearray()  # what came behind the request
        self.write_paused = False
        self.unsent = 0  # bytes the transport held when it was last looked at
        self.bucket: set[Holder] | None = None
        listener.add(self)
        listener.wheel.set(self, listener.limits.connect_seconds)

    def data_received(self, data: bytes) -> None:
        if self.task is None and not self.answered:
            self._receive(data)
        elif not self.last:
            self.behind += data
            if len(self.behind) > self.listener.limits.early_bytes:
                self.transport.pause_reading()
        # Behind the last request bytes are read and dropped: closing with unread ones would reset the answer away.

    def connection_lost(self, exc: Exception | None) -> None:
        self.answered = True
        self.listener.wheel.clear(self)
        self.listener.remove(self)
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.answered and not self.last:
            self._give_back()

    def wind_up(self) -> bool:
        """See :meth:`.drain.Guest.wind_up`: a request being answered may finish."""
        self.go_away()
        return self.task is None or self.answered

    def go_away(self) -> None:
        """See :meth:`.drain.Guest.go_away`: a request that is not complete may not begin."""
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
            pairs = ((name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers)
            headers = header_map(pairs, self.listener.limits)
            if event.http_version not in (b"1.0", b"1.1"):  # h11 takes any digits
                self._answer(HttpResponse(505, b"HTTP/1.1 only\n"))
            elif isinstance(headers, Refuse):
                self._answer(HttpResponse(headers.status, f"{headers.text}\n".encode()))
            elif "transfer-encoding" in headers and "content-length" in headers:
                # A proxy in front may go by the other one, and take a part of this request for the next.
                self._answer(HttpResponse(400, b"a request has one length\n"))
            elif int(headers.get("content-length", "0")) > self.listener.limits.body_bytes:
                self._answer(HttpResponse(413, b"the body is too large\n"))
            else:
                self.headers = headers
                if self.http.they_are_waiting_for_100_continue:
                    self.transport.write(self.http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        elif isinstance(event, h11.Data):
            self.body += event.data
            if len(self.body) > self.listener.limits.body_bytes:
                self._answer(HttpResponse(413, b"the body is too large\n"))
        elif isinstance(event, h11.EndOfMessage):
            self.listener.wheel.clear(self)  # how long an answer may take is the application's business
            if self.http.their_state is not h11.DONE:
                self.last = True
            elif not self.last:
                self.behind += self.http.trailing_data[0]
            self.task = self.listener.spawn(self._ask())
        else:
            return False
        return True

    async def _ask(self) -> None:
        asked = self.request
        assert asked is not None
        path, _, query = asked.target.decode("ascii").partition("?")
        method = asked.method.decode("ascii")
        address, _ = self.listener.peer(self.transport, self.headers)
        request = HttpRequest(
            method="GET" if method == "HEAD" else method,
            path=path,
            query=query,
            headers=self.headers,
            body=bytes(self.body),
            address=address,
        )
        self._answer(await respond(self.listener.application, request))

    def _answer(self, response: HttpResponse) -> None:
        if self.answered:  # the peer left while the application was asked
            return
        self.answered = True
        if self.task is None or self.listener.draining:  # not all of the request was read, or no other is wanted
            self.last = True
        head = self.request is not None and self.request.method == b"HEAD"
        out = render(
            response.status,
            response.body,
            response.headers,
            cookies=response.cookies,
            head=head,
            keep=not self.last,
        )
        self.transport.write(out)
        if not (self.last or self.write_paused):
            self._give_back()
            return
        self.unsent = self.transport.get_write_buffer_size()
        self.listener.wheel.set(self, self.listener.limits.linger_seconds)
        if not self.last:
            return  # until the peer has taken the answer
        self.behind.clear()
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _give_back(self) -> None:
        if self.transport.is_closing():
            return
        self.listener.wheel.clear(self)
        self.transport.resume_reading()
        self.lender.take_back(bytes(self.behind))
        self.listener.remove(self)

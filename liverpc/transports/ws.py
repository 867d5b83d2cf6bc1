"""One WebSocket connection on an asyncio transport, from the first byte of the request to the last close.

The sans-IO ``ServerProtocol`` of websockets ("the library" in comments) does the handshake, fragments,
control frames and the closing handshake; :mod:`.reading` and :mod:`.writing` do the rest.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from websockets.http11 import Request
from websockets.http11 import Response as LibraryResponse
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from liverpc.hub.link import ConnectRequest, Endpoint, Refuse
from liverpc.transports.handshake import header_map, verdict_of
from liverpc.transports.http import PlainHttp, render
from liverpc.transports.reading import HOLD_DRAIN, HOLD_EARLY, HOLD_WRITE, Reading
from liverpc.transports.writing import CLOSING, DEAD, DECIDING, HEAD, LINGER, OPEN, library_log
from liverpc.wire.close import FIRST_CLOSE_CODE, CloseCode
from liverpc.wire.framing import text_frame

if TYPE_CHECKING:
    from liverpc.transports.listener import Listener

__all__ = ["LiveProtocol", "PeerOf"]

log = logging.getLogger("liverpc.transports")

PeerOf: TypeAlias = Callable[[Mapping[str, str]], tuple[str, bool]]

_UPGRADE = re.compile(rb"\r\nupgrade:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_PING = b"\x89\x00"
_IDLE_TEXT = text_frame(b'{"type":"ping"}')


class LiveProtocol(Reading, asyncio.Protocol):
    """A connection's :class:`~liverpc.hub.link.Link`, and what asyncio calls.

    Plain HTTP requests are recognised by their head and lent to :class:`~.http.PlainHttp`.

    Args:
        listener: Owns the connection.
        registry: Where another owner of the socket keeps its connections: the protocol is a member from
            ``connection_made`` to ``connection_lost``. Such an owner sends upgrades only.
        peer_of: Address and TLS of the client by the request's headers (lower-case names), when another
            owner knows better. Default: the socket's, and the server's trusted proxies.
    """

    __slots__ = ("__weakref__", "deciding", "patience", "peer_of", "pinged", "registry", "requests")

    def __init__(self, listener: Listener, *, registry: set[Any] | None = None, peer_of: PeerOf | None = None) -> None:
        super().__init__(listener)
        self.registry = registry
        self.peer_of = peer_of
        self.requests = 0  # plain HTTP requests so far
        self.deciding: asyncio.Task[Any] | None = None
        self.pinged = 0  # the wheel's turn of a ping; answered by any byte heard since
        # Turns of silence before a ping. Not the same for all, or after a reconnect storm all ping at once.
        self.patience = round(listener.ping_turns * random.uniform(0.75, 1))

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.listener.add(self)
        if self.registry is not None:
            self.registry.add(self)
        self.wheel.set(self, self.limits.connect_seconds)

    def data_received(self, data: bytes) -> None:
        self.heard = self.wheel.now
        phase = self.phase
        if phase is OPEN:
            self.read(data)
        elif phase is HEAD:
            self._head(data)
        elif phase is DECIDING:
            self.rest += data
            if len(self.rest) > self.limits.early_bytes:
                self._hold(HOLD_EARLY)
        elif phase is CLOSING:
            self.read_closing(data)

    def eof_received(self) -> None:
        if self.phase is OPEN or self.phase is CLOSING:
            if not self.eof:
                self.library.receive_eof()
                self._pump()
            self.flush()
        # Returning None lets the transport close itself when its buffer is written.

    def connection_lost(self, exc: Exception | None) -> None:
        self.phase = DEAD
        self.out.clear()
        self.latest = None
        self.rest.clear()
        self.wheel.clear(self)
        self.listener.remove(self)
        if self.registry is not None:
            self.registry.discard(self)
        if self.deciding is not None:
            self.deciding.cancel()
        self._tell_session()

    def pause_writing(self) -> None:
        self._paused()
        self._hold(HOLD_WRITE)  # who does not read answers may not send requests
        if self.phase is OPEN:
            self.wheel.set(self, self.limits.pong_seconds)

    def resume_writing(self) -> None:
        if self.stalled:
            return
        self._resumed()  # may pause again
        if not self.write_paused:
            self._release(HOLD_WRITE)
            if self.phase is OPEN:
                self._keep_alive()

    def stall(self) -> None:
        """See :meth:`liverpc.hub.link.Link.stall`."""
        if self.phase is OPEN:
            self.stalled = True
            if not self.write_paused:
                self.pause_writing()

    def unstall(self) -> None:
        """See :meth:`liverpc.hub.link.Link.unstall`."""
        if self.stalled:
            self.stalled = False
            if self.phase is not DEAD:
                self.resume_writing()

    def shutdown(self) -> None:
        """What another owner calls on each of its connections when it ends: begins the drain of them all."""
        self.listener.shutdown()

    # What the listener calls

    def wind_up(self) -> bool:
        """See :meth:`.drain.Guest.wind_up`."""
        if self.phase is OPEN and self.session is not None and self.session.running:
            self._hold(HOLD_DRAIN)
            return False
        self.go_away()
        return True

    def go_away(self) -> None:
        """See :meth:`.drain.Guest.go_away`."""
        if self.phase is HEAD:
            self.transport.close()
        elif self.phase is DECIDING:
            self._refuse(Refuse(503, "server going away"))
        else:
            self.close(CloseCode.GOING_AWAY, "server going away")

    def on_deadline(self) -> None:
        if self.phase is OPEN and not self.write_paused:
            self._keep_alive()
        elif self.phase is DECIDING:
            self._refuse(Refuse(503, "timed out"))
        elif self.phase is OPEN and self._took_bytes():
            self.wheel.set(self, self.limits.pong_seconds)
        elif self.phase is LINGER and self._took_bytes():
            self.wheel.set(self, self.limits.linger_seconds)
        elif self.phase is HEAD and self.requests and not self.rest:
            self.transport.close()  # it has what it wanted
        else:
            self.listener.counters.deadline_aborts += 1
            self.transport.abort()  # close() would wait for a buffer nobody drains

    # The handshake

    def _head(self, data: bytes) -> None:
        rest = self.rest
        seen = len(rest)
        if not seen and self.requests:  # the next request on a kept connection begins
            self.wheel.set(self, self.limits.connect_seconds)
        rest += data
        end = rest.find(_HEAD_END, max(0, seen - 3)) + 4
        complete = end >= 4
        if (end if complete else len(rest)) > self.limits.head_bytes:
            self._answer(render(431, b"the request's head is too long\n"))
        elif not (65 <= rest[0] <= 90 or rest[0] in b"\r\n"):  # for example TLS on a plain port
            self._answer(render(400, b"this is not HTTP\n"))
        elif complete:
            head = bytes(rest[:end])
            if head.startswith(b"GET ") and _UPGRADE.search(head):
                # The library would take bytes behind the head for frames before it has accepted.
                del rest[:end]
                self._upgrade(head)
            elif self.registry is not None:
                self._answer(render(400, b"only WebSockets come this way\n"))
            else:
                self._lend()

    def _lend(self) -> None:
        """A plain request: another protocol has the socket until it is answered."""
        self.phase = DEAD
        self.requests += 1
        data = bytes(self.rest)
        self.rest.clear()
        self.wheel.clear(self)
        http = PlainHttp(self, last=self.requests >= self.limits.requests_per_connection)
        self.listener.remove(self)
        self.transport.set_protocol(http)
        http.data_received(data)

    def take_back(self, data: bytes) -> None:
        """The request is answered and the connection kept; ``data`` came behind the request."""
        self.phase = HEAD
        self.listener.add(self)
        self.transport.set_protocol(self)
        self.wheel.set(self, self.limits.keep_alive_seconds)
        if self.listener.draining:
            self.transport.close()
        elif data:
            self.data_received(data)

    def _upgrade(self, head: bytes) -> None:
        library = self.library = ServerProtocol(max_size=self.limits.message_bytes, logger=library_log)
        library.receive_data(head)
        events = library.events_received()
        if not events:  # malformed; the library has queued a 414 or a 431, or only the end
            self._answer(b"".join(library.data_to_send()) or render(400, b"bad request\n"))
            return
        asked = cast("Request", events[0])
        request = self._request(asked)
        if isinstance(request, Refuse):
            self._refuse(request)
            return
        admitted = self.listener.admission.admit(request, draining=self.listener.draining)
        if isinstance(admitted, Refuse):
            if admitted.status < FIRST_CLOSE_CODE:
                self._refuse(admitted)
                return
        elif admitted.subprotocol is not None:
            library.available_subprotocols = [Subprotocol(admitted.subprotocol)]
        response = library.accept(asked)
        if response.status_code != 101:
            self._answer(response.serialize())
            return
        self.phase = DECIDING
        if isinstance(admitted, Refuse):
            self._refuse_open(response, admitted)
            return
        verdict = self.listener.admission.decide(admitted, request)
        if isinstance(verdict, asyncio.Task):
            self.deciding = verdict
            # A callback, not a task around it: the session must not live in its context variables.
            self.deciding.add_done_callback(partial(self._settled, response, admitted, request))
        else:
            self._decided(verdict, response, admitted, request)

    def _request(self, asked: Request) -> ConnectRequest | Refuse:
        headers = header_map(asked.headers.raw_items(), self.limits)
        if isinstance(headers, Refuse):
            return headers
        if self.peer_of is not None:
            address, secure = self.peer_of(headers)
        else:
            address, secure = self.listener.peer(self.transport, headers)
        path, _, query = asked.path.partition("?")
        return ConnectRequest(path, query=query, headers=headers, address=address, secure=secure)

    def _settled(
        self,
        response: LibraryResponse,
        endpoint: Endpoint,
        request: ConnectRequest,
        task: asyncio.Task[Any],
    ) -> None:
        self.deciding = None
        if not task.cancelled():
            self._decided(verdict_of(task), response, endpoint, request)

    def _decided(self, verdict: Any, response: LibraryResponse, endpoint: Endpoint, request: ConnectRequest) -> None:
        if self.phase is not DECIDING:  # the peer left, or the deadline answered
            return
        if isinstance(verdict, Refuse):
            if verdict.status < FIRST_CLOSE_CODE:
                self._refuse(verdict)
            else:
                self._refuse_open(response, verdict)
            return
        self._open(response)
        try:
            self.session = endpoint.opened(self, request, verdict)
        except Exception:
            log.exception("a session could not be made")
            self._fail(CloseCode.INTERNAL_ERROR, "internal error")
        self._release(HOLD_EARLY)
        if self.phase is OPEN:
            self.read(b"")  # the 101 leaves with the answers to frames that came early
        else:
            self.corked = False
            self.read_closing(b"")

    def _open(self, response: LibraryResponse) -> None:
        self.library.send_response(response)
        self.corked = True  # until the first read
        self._pump()
        if self.fast:
            self.forget_library()
        self.phase = OPEN
        self.texted = self.heard = self.wheel.now
        self._keep_alive()

    def _refuse(self, refusal: Refuse) -> None:
        headers = {"Content-Type": "text/plain; charset=utf-8"} | refusal.headers
        self._answer(render(refusal.status, f"{refusal.text}\n".encode(), headers))

    def _refuse_open(self, response: LibraryResponse, refusal: Refuse) -> None:
        """A browser sees a refused handshake as a lost connection; a close code it can read."""
        self.listener.counters.handshakes_refused += 1
        self._open(response)
        self.close(refusal.status, refusal.text)
        self.corked = False
        self.read_closing(b"")

    def _answer(self, answer: bytes) -> None:
        """Answer the request with HTTP and close."""
        if self.deciding is not None:
            self.deciding.cancel()
        self.listener.counters.handshakes_refused += 1
        self.out = [answer]
        self.eof = True
        self.phase = CLOSING
        self.flush()

    # Keep-alive

    def _keep_alive(self) -> None:
        """Ping who is silent, give up on who stays so, and keep idle browser pages from reconnecting."""
        now, listener = self.wheel.now, self.listener
        if self.holds:
            # We do not listen, so silence proves nothing. But a machine whose program is gone answers with a reset.
            self.heard, due = now, self.pinged + listener.ping_turns
            if now >= due:
                self.pinged = now
                self._queue(_PING)
                due = now + listener.ping_turns
        elif self.pinged > self.heard:
            due = self.pinged + listener.pong_turns
            if now >= due:
                listener.counters.ping_timeouts += 1
                self._fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
                self.flush()
                return
        else:
            due = self.heard + self.patience
            if now >= due:
                self.pinged = now
                self._queue(_PING)
                due = now + listener.pong_turns
        if now >= self.texted + listener.idle_turns:
            self.send(_IDLE_TEXT)
        if self.phase is OPEN:  # the outbox may have overflown
            self.wheel.at(self, min(due, self.texted + listener.idle_turns))

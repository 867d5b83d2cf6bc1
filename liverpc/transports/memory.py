"""Connections within one process: no sockets, no threads, and every order of events repeatable.

Only the loop moves things here, so on a loop with a virtual clock latency and timeouts cost no time.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

from liverpc.client.socket import HandshakeRefused, SocketClosed
from liverpc.hub.link import Application, ConnectRequest, Endpoint, Refuse, Session
from liverpc.transports.handshake import admit, clip, decide, verdict_of
from liverpc.transports.pipe import Close, Item, Pipe
from liverpc.wire.close import FIRST_CLOSE_CODE, CloseCode
from liverpc.wire.framing import payload_of

__all__ = ["MemorySocket", "MemoryTransport"]

log = logging.getLogger("liverpc.transports")


class MemoryTransport:
    """Opens in-memory connections to an application. Made inside a running loop.

    Limits hold as they do for sockets; there is no keep-alive, as nobody can vanish unnoticed.

    Args:
        application: What is served.
        latency: Seconds that everything takes in each direction; messages keep their order.
    """

    def __init__(self, application: Application, *, latency: float = 0.0) -> None:
        self.application = application
        self.latency = latency
        self.loop = asyncio.get_running_loop()
        self.context = contextvars.copy_context()
        self.links: set[_MemoryLink] = set()
        self._closed = False

    async def connect(
        self,
        path: str = "/ws",
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        address: str = "memory",
    ) -> MemorySocket:
        """Open a connection; takes one round trip and what the endpoint needs to decide.

        Cancelling it cancels the endpoint's decision. A refusal with a close code (from 4000 on) returns a
        socket that is closed with it.

        Raises:
            HandshakeRefused: The server refused with an HTTP status.
        """
        request = ConnectRequest(
            path,
            query=query,
            headers={name.lower(): value for name, value in (headers or {}).items()},
            address=address,
        )
        await asyncio.sleep(self.latency)
        admitted = self.context.copy().run(admit, self.application, request, draining=self._closed)
        verdict = admitted if isinstance(admitted, Refuse) else await self._decide(admitted, request)
        if self._closed:
            verdict = Refuse(503, "server going away")
        link: _MemoryLink | None = None
        if isinstance(verdict, Refuse):
            self.application.counters.handshakes_refused += 1
            if verdict.status >= FIRST_CLOSE_CODE:
                link = _MemoryLink(self)
                link.close(verdict.status, verdict.text)
        else:
            assert not isinstance(admitted, Refuse)
            link = _MemoryLink(self)
            link.open(admitted, request, verdict)
        try:
            await asyncio.sleep(self.latency)
        except asyncio.CancelledError:
            if link is not None:
                link.cut()
            raise
        if link is None:
            raise HandshakeRefused(verdict.status, verdict.text)
        return link.socket

    async def aclose(self) -> None:
        """Close every connection with 1001, and who has not answered after ``close_seconds`` without."""
        self._closed = True
        links = list(self.links)
        for link in links:
            link.close(CloseCode.GOING_AWAY, "server going away")
        for link in links:
            await link.gone.wait()

    async def _decide(self, endpoint: Endpoint, request: ConnectRequest) -> Any | Refuse:
        verdict = self.context.copy().run(decide, endpoint, request)
        if not asyncio.iscoroutine(verdict):
            return verdict
        task = self.loop.create_task(verdict, context=self.context.copy())
        try:
            await asyncio.wait({task}, timeout=self.application.limits.connect_seconds)
        finally:
            in_time = task.done() and not task.cancelled()
            task.cancel()
        return verdict_of(task) if in_time else Refuse(503, "timed out")


class MemorySocket:
    """The client's end; a :class:`liverpc.client.socket.Socket`.

    Between :meth:`stall` and :meth:`resume` it plays a client that reads nothing.
    """

    def __init__(self, link: _MemoryLink) -> None:
        self._link = link
        self._inbox: deque[bytes] = deque()  # bounded: the server's end counts it in
        self._heard: Close | None = None  # the server's goodbye, not necessarily read yet
        self._said: Close | None = None  # ours
        self._stalled = False
        self._news = asyncio.Event()

    async def send(self, text: str) -> None:
        """Send one message; waits while the server does not read.

        Raises:
            SocketClosed: The connection is closed; the message went nowhere.
        """
        self._check_open()
        await self._link.room.wait()
        self._check_open()
        self._link.post(text.encode())

    async def recv(self) -> str | bytes:
        """The next message. Always text: a server sends nothing else.

        Raises:
            SocketClosed: The connection is closed and everything received was handed out.
        """
        while True:
            if not self._stalled:
                if self._inbox:
                    payload = self._inbox.popleft()
                    self._link.taken(payload)
                    return payload.decode()
                if self._heard is not None:
                    raise SocketClosed(*self._heard)
            await self._wait()

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Say goodbye and wait for the answer, at most ``close_seconds``. Harmless when closed."""
        self.resume()
        if self._said is None and self._heard is None:
            self._said = Close(code, clip(reason))
            self._link.post(self._said)
        try:
            async with asyncio.timeout(self._link.limits.close_seconds):
                while self._heard is None:
                    await self._wait()
        except TimeoutError:
            self.cut()

    def stall(self) -> None:
        """Read nothing from now on: what the server sends piles up on its side."""
        self._stalled = True

    def resume(self) -> None:
        """Read again."""
        if self._stalled:
            self._stalled = False
            self._news.set()
            self._answer()

    def cut(self) -> None:
        """Lose the connection without a goodbye: both sides see 1006, messages under way are lost."""
        self._link.cut()

    def arrive(self, item: Item) -> None:
        """For the server's end: a message or its goodbye has crossed over."""
        if isinstance(item, bytes):
            self._inbox.append(item)
        else:
            self._heard = item
            self._answer()
        self._news.set()

    def lose(self) -> None:
        """For the server's end: there is no connection any more."""
        self._stalled = False
        self._heard = self._heard or Close(CloseCode.LOST, "")
        self._news.set()

    @property
    def informed(self) -> bool:
        """For the server's end: whether the end of the connection is known here."""
        return self._heard is not None

    def _answer(self) -> None:
        """Echo the server's goodbye as soon as it is read."""
        if self._heard is not None and self._said is None and not self._stalled:
            self._said = self._heard
            self._link.post(self._said)

    def _check_open(self) -> None:
        end = self._said if self._heard is None or self._stalled else self._heard
        if end is not None:
            raise SocketClosed(*end)

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()


class _MemoryLink:
    """The server's end; a :class:`liverpc.hub.link.Link`."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.limits = transport.application.limits
        self.socket = MemorySocket(self)
        self.gone = asyncio.Event()  # both ends know, nothing is under way
        self.room = asyncio.Event()  # the client may send
        self.room.set()
        self._transport = transport
        self._counters = transport.application.counters
        self._session: Session | None = None  # until it was told of the end
        self._over = False  # the session, if any, was told
        self._goodbye: Close | None = None  # ours, be it an echo; nothing is sent after it
        self._deadline: asyncio.TimerHandle | None = None
        self._undelivered = 0  # bytes sent and not yet returned by the client's recv()
        self._unread = 0  # bytes the client sent which are not handed to the session yet
        self._down = Pipe(self._delivered, transport.latency, transport.context)
        self._up = Pipe(self._arrive, transport.latency, transport.context)
        transport.links.add(self)

    def open(self, endpoint: Endpoint, request: ConnectRequest, verdict: Any) -> None:
        try:
            self._session = self._transport.context.copy().run(endpoint.opened, self, request, verdict)
        except Exception:
            log.exception("a session could not be made")
            self.close(CloseCode.INTERNAL_ERROR, "internal error")

    # The link

    def send(self, frame: bytes) -> bool:
        if self._goodbye is not None:
            return False
        payload = payload_of(frame)
        if self._undelivered + len(payload) > self.limits.outbox_bytes:
            self._counters.outbox_overflows += 1
            self.close(CloseCode.TRY_AGAIN_LATER, "too slow")
            return False
        self._undelivered += len(payload)
        self._down.put(payload)
        return True

    def send_volatile(self, frame: bytes) -> bool:
        return self.send(frame)

    def send_latest(self, key: object, frame: bytes) -> bool:
        return self.send(frame)

    def close(self, code: int, reason: str = "") -> None:
        if self._goodbye is None:
            self._goodbye = Close(code, clip(reason))
            self._down.put(self._goodbye)
            self._deadline = self._transport.loop.call_later(
                self.limits.close_seconds, self._give_up, context=self._transport.context.copy()
            )
            self._up.resume()  # the session hears no more messages; what counts is the answer

    def hold(self) -> None:
        if self._goodbye is None:
            self._up.pause()

    def release(self) -> None:
        self._up.resume()

    @property
    def buffered(self) -> int:
        return self._undelivered

    # What the client's end calls

    def post(self, item: Item) -> None:
        if self.gone.is_set():
            return
        if isinstance(item, bytes):
            self._count_unread(len(item))
        self._up.put(item)

    def taken(self, payload: bytes) -> None:
        self._undelivered -= len(payload)

    def cut(self) -> None:
        if not self.gone.is_set():
            self._goodbye = self._goodbye or Close(CloseCode.LOST, "")
            self._down.stop()
            self._up.stop()
            self.socket.lose()
            # The session is never called from within another call.
            self._transport.loop.call_soon(self._end, self._goodbye, context=self._transport.context.copy())

    # What the loop calls

    def _delivered(self, item: Item) -> None:
        self.socket.arrive(item)
        self._leave()

    def _arrive(self, item: Item) -> None:
        if isinstance(item, bytes):
            self._count_unread(-len(item))
            if self._goodbye is None:
                self._message(item)
        elif self._goodbye is None:
            self._goodbye = item
            self._down.put(item)
            self._end(item)
        else:
            self._end(self._goodbye)

    def _message(self, payload: bytes) -> None:
        assert self._session is not None
        if len(payload) > self.limits.message_bytes:
            self.close(CloseCode.TOO_BIG, "message too big")
            return
        try:
            self._session.receive(payload, True)
        except Exception:
            log.exception("a session failed at a message")
            self.close(CloseCode.INTERNAL_ERROR, "internal error")

    def _give_up(self) -> None:
        assert self._goodbye is not None
        self._counters.deadline_aborts += 1
        self.socket.lose()
        self._end(self._goodbye)

    def _end(self, goodbye: Close) -> None:
        """The server's end is over."""
        if self._over:
            return
        self._over = True
        if self._deadline is not None:
            self._deadline.cancel()
        session, self._session = self._session, None
        if session is not None:
            try:
                session.closed(goodbye.code, goodbye.reason)
            except Exception:
                log.exception("a session failed at its end")
        self._leave()

    def _leave(self) -> None:
        """Clean up when both ends are over."""
        if self._over and self.socket.informed:
            self._down.stop()
            self._up.stop()
            self.room.set()
            self._transport.links.discard(self)
            self.gone.set()

    def _count_unread(self, size: int) -> None:
        self._unread += size
        if self._unread > self.limits.early_bytes:
            self.room.clear()
        else:
            self.room.set()

"""Both ends of an in-memory connection."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from liverpc.client.socket import SocketClosed
from liverpc.hub.link import ConnectRequest, Endpoint, Session, Tally
from liverpc.transports.handshake import clip
from liverpc.transports.pipe import Close, Item, Pipe
from liverpc.wire.close import CloseCode
from liverpc.wire.framing import payload_of

if TYPE_CHECKING:
    from liverpc.transports.memory import MemoryTransport

__all__ = ["MemoryLink", "MemorySocket"]

log = logging.getLogger("liverpc.transports")

_BUFFER = 65_536  # bytes: with more unread a socket is full, as with asyncio's transports


class _Binary(bytes):
    """The payload of a binary message; that of text messages is plain bytes."""


class MemorySocket:
    """The client's end; a :class:`liverpc.client.socket.Socket`.

    Between :meth:`stall` and :meth:`resume` it plays a client that reads nothing.
    """

    def __init__(self, link: MemoryLink) -> None:
        self._link = link
        self._inbox: deque[bytes] = deque()  # bounded: the server's end counts it in
        self._heard: Close | None = None  # the server's goodbye, not necessarily read yet
        self._said: Close | None = None  # ours
        self.stalled = False
        self._news = asyncio.Event()

    async def send(self, message: str | bytes) -> None:
        """Send one message, text or binary; waits while the server does not read.

        Raises:
            SocketClosed: The connection is closed; the message went nowhere.
        """
        self._check_open()
        await self._link.room.wait()
        self._check_open()
        self._link.post(message.encode() if isinstance(message, str) else _Binary(message))

    async def recv(self) -> str | bytes:
        """The next message. Always text: a server sends nothing else.

        Raises:
            SocketClosed: The connection is closed and everything received was handed out.
        """
        while True:
            if not self.stalled:
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
        """Read nothing from now on: for the server the socket is full, and what it sends piles up on its side."""
        self.stalled = True

    def resume(self) -> None:
        """Read again."""
        if self.stalled:
            self.stalled = False
            self._news.set()
            self._link.drained()
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
        self.stalled = False
        self._heard = self._heard or Close(CloseCode.LOST, "")
        self._news.set()

    @property
    def informed(self) -> bool:
        """For the server's end: whether the end of the connection is known here."""
        return self._heard is not None

    def _answer(self) -> None:
        """Echo the server's goodbye as soon as it is read."""
        if self._heard is not None and self._said is None and not self.stalled:
            self._said = self._heard
            self._link.post(self._said)

    def _check_open(self) -> None:
        end = self._said if self._heard is None or self.stalled else self._heard
        if end is not None:
            raise SocketClosed(*end)

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()


class MemoryLink:
    """The server's end; a :class:`liverpc.hub.link.Link`."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.limits = transport.application.limits
        self.socket = MemorySocket(self)
        self.room = asyncio.Event()  # the client may send
        self.room.set()
        self._transport = transport
        self._counters = transport.application.counters
        self._session: Session | None = None  # until it was told of the end
        self._over = False  # the session, if any, was told
        self._goodbye: Close | None = None  # ours, be it an echo; nothing is sent after it
        self._deadline: asyncio.TimerHandle | None = None
        self._undelivered = 0  # bytes sent and not yet returned by the client's recv(), or waiting by key
        self._frames = 0  # how many they are
        self._latest: dict[object, bytes] = {}  # waits until the socket is not full any more, by key
        self._winding_up = False
        self._unread = 0  # bytes the client sent which are not handed to the session yet
        self._down = transport.network(self, transport.latency, transport.context)
        self._up = Pipe(self._arrive, transport.latency, transport.context)
        transport.links.add(self)
        transport.empty.clear()

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
        if not self._fits(len(payload), 1):
            return False
        self._down.put(payload)
        return True

    def send_volatile(self, tally: Tally, frame: bytes) -> bool:
        if self._goodbye is not None or not self._full:
            return self.send(frame)
        self._counters.volatile_drops += 1
        tally.volatile_drops += 1
        return True

    def send_latest(self, tally: Tally, key: object, frame: bytes) -> bool:
        if self._goodbye is not None or not self._full:
            return self.send(frame)
        payload = payload_of(frame)
        outdated = self._latest.get(key)
        if outdated is None:
            fits = self._fits(len(payload), 1)
        else:
            self._counters.latest_replaced += 1
            tally.coalesced += 1
            fits = self._fits(len(payload) - len(outdated), 0)
        if fits:
            self._latest[key] = payload
        return fits

    def close(self, code: int, reason: str = "") -> None:
        if self._goodbye is None:
            self._fold()
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
        if not self._winding_up:
            self._up.resume()

    def stall(self) -> None:
        self.socket.stall()

    def unstall(self) -> None:
        self.socket.resume()

    @property
    def buffered(self) -> int:
        return self._undelivered

    # A drain's guest

    def wind_up(self) -> bool:
        if self._session is not None and self._session.running:
            self._winding_up = True
            self.hold()
            return False
        self.go_away()
        return True

    def go_away(self) -> None:
        self.close(CloseCode.GOING_AWAY, "server going away")

    # What the client's end calls

    def post(self, item: Item) -> None:
        if self._gone:
            return
        if isinstance(item, bytes):
            self._count_unread(len(item))
        self._up.put(item)

    def taken(self, payload: bytes) -> None:
        self._undelivered -= len(payload)
        self._frames -= 1
        self.drained()

    def drained(self) -> None:
        if self._goodbye is None and self._latest and not self._full:
            self._fold()

    def cut(self) -> None:
        if not self._gone:
            self._goodbye = self._goodbye or Close(CloseCode.LOST, "")
            self._down.stop()
            self._up.stop()
            self.socket.lose()
            # The session is never called from within another call.
            self._transport.loop.call_soon(self._end, self._goodbye, context=self._transport.context.copy())

    # What the network calls

    def delivered(self, item: Item) -> None:
        """The client's end has got what was sent to it."""
        self.socket.arrive(item)
        self._leave()

    def doubled(self, payload: bytes) -> None:
        """A message is about to arrive once more than it was sent."""
        self._undelivered += len(payload)
        self._frames += 1

    # What the loop calls

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
            self._session.receive(payload, not isinstance(payload, _Binary))
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
            links = self._transport.links
            links.discard(self)
            if not links:
                self._transport.empty.set()

    @property
    def _gone(self) -> bool:
        """Both ends know, nothing is under way."""
        return self not in self._transport.links

    @property
    def _full(self) -> bool:
        """What a socket would call it: its buffers are full, and the kernel takes nothing more."""
        return self.socket.stalled or self._undelivered > min(_BUFFER, self.limits.outbox_bytes // 2)

    def _fits(self, size: int, frames: int) -> bool:
        """Count so much more in; False, and the end, if a full socket has too much to wait for it already."""
        if self._full and self._undelivered + size > self.limits.outbox_bytes:
            self._counters.outbox_overflows += 1
        elif self._full and self._frames + frames > self.limits.outbox_frames:
            self._counters.outbox_frame_overflows += 1
        else:
            self._undelivered += size
            self._frames += frames
            return True
        self._latest.clear()
        self.close(CloseCode.TRY_AGAIN_LATER, "too slow")
        return False

    def _fold(self) -> None:
        """What waited by key is sent."""
        latest, self._latest = self._latest, {}
        for payload in latest.values():
            self._down.put(payload)

    def _count_unread(self, size: int) -> None:
        self._unread += size
        if self._unread > self.limits.early_bytes:
            self.room.clear()
        else:
            self.room.set()

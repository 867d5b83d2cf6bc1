"""One WebSocket behind an ASGI server, from the handshake to its end."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from liverpc.hub.link import ConnectRequest, Endpoint, HttpResponse, Refuse, Session, Tally
from liverpc.transports.handshake import clip, verdict_of
from liverpc.transports.http import start_of
from liverpc.transports.listener import Listener
from liverpc.transports.wheel import Holder
from liverpc.wire.close import FIRST_CLOSE_CODE, CloseCode
from liverpc.wire.framing import payload_of

__all__ = ["AsgiSocket", "Message", "Receive", "Scope", "Send", "answer", "refuse"]

log = logging.getLogger("liverpc.transports")

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_HIGH_WATER = 65_536  # unsent bytes from which on the peer's messages wait: who does not read may not ask
_BURST = 4  # times the outbox: what may be sent to a socket that is not full before it is written
_IDLE_TEXT = b'{"type":"ping"}'
_GONE = (OSError, RuntimeError)  # what servers raise when a peer has left; TimeoutError is an OSError


class AsgiSocket:
    """The server's end; a :class:`~liverpc.hub.link.Link` and a :class:`~.drain.Guest`.

    The task that the ASGI server made for the connection reads; a task of ours writes, so that nobody who sends waits
    for a peer, and so that the answers to all messages that are at hand are written in a row: their client then wakes
    up once. To the link a socket is full while the ASGI server has not taken the last frame.

    It takes nothing before the turn is over, so what is sent in one turn, such as a snapshot and the events held back
    for it, may be four times ``Limits.outbox_bytes``, or a single frame of any size. With more the connection is closed
    with 1013 and counted, as one is that does not read.
    """

    def __init__(self, listener: Listener, scope: Scope, receive: Receive, send: Send) -> None:
        self.limits = listener.limits
        self._listener = listener
        self._counters = listener.counters
        self._scope = scope
        self._receive = receive
        self._send = send
        self._deciding: asyncio.Task[Any] | None = None
        self._reading: asyncio.Task[Message] | None = None  # begun while it was decided
        self._early: deque[Message] = deque()  # arrived meanwhile; bounded by `early_bytes`
        self._session: Session | None = None
        self._deadline: asyncio.Timeout | None = None  # of the task that reads, while it does
        self._goodbye: tuple[int, str] | None = None  # ours, or the peer's: nothing is sent any more
        self._out: deque[bytes] = deque()
        self._latest: dict[object, bytes] = {}  # waits behind `out`, by key
        self._out_bytes = 0
        self._burst = _BURST * listener.limits.outbox_bytes
        self._full = False  # the ASGI server has not taken the last frame, or nothing is to be written
        self._flow: asyncio.Event | None = None  # on purpose nothing is written until it is set
        self._news = asyncio.Event()  # there is something to write
        self._stirred = False  # the same, for less
        self._room = asyncio.Event()  # something was written, or a hold is gone
        self._held = False
        self._winding_up = False
        self.bucket: set[Holder] | None = None
        self._texted = 0  # the wheel's turn in which the last frame was begun

    async def run(self, request: ConnectRequest) -> None:
        """The whole life of the connection; returns when it is over."""
        try:
            admitted = self._listener.admission.admit(request, draining=self._listener.draining)
            verdict = admitted if isinstance(admitted, Refuse) else await self._decide(admitted, request)
            if self._goodbye is not None:  # the peer left
                return
            if isinstance(verdict, Refuse):
                self._counters.handshakes_refused += 1
            if isinstance(verdict, Refuse) and verdict.status < FIRST_CLOSE_CODE:
                await refuse(self._scope, self._send_promptly, verdict)
                return
            subprotocol = None if isinstance(admitted, Refuse) else admitted.subprotocol
            await self._send_promptly({"type": "websocket.accept", "subprotocol": subprotocol})
            if isinstance(verdict, Refuse):
                self.close(verdict.status, verdict.text)
            elif not isinstance(admitted, Refuse) and self._goodbye is None:
                self._open(admitted, request, verdict)
            await self._converse()
        except _GONE:
            log.debug("a peer left during its handshake", exc_info=True)
        finally:
            self._end()

    # The link

    def send(self, frame: bytes) -> bool:
        """See :meth:`liverpc.hub.link.Link.send`."""
        if self._goodbye is not None:
            return False
        payload = payload_of(frame)
        self._out.append(payload)
        self._out_bytes += len(payload)
        if not self._stirred:
            self._stir()
        return True if not self._full and self._out_bytes <= self._burst else self._fits()

    def send_volatile(self, tally: Tally, frame: bytes) -> bool:
        """See :meth:`liverpc.hub.link.Link.send_volatile`."""
        if not self._full or self._goodbye is not None:
            return self.send(frame)
        self._counters.volatile_drops += 1
        tally.volatile_drops += 1
        return True

    def send_latest(self, tally: Tally, key: object, frame: bytes) -> bool:
        """See :meth:`liverpc.hub.link.Link.send_latest`."""
        if not self._full or self._goodbye is not None:
            return self.send(frame)
        outdated = self._latest.get(key)
        if outdated is not None:
            self._out_bytes -= len(outdated)
            self._counters.latest_replaced += 1
            tally.coalesced += 1
        self._latest[key] = payload_of(frame)
        self._out_bytes += len(self._latest[key])
        self._stir()
        return self._fits()

    def close(self, code: int, reason: str = "") -> None:
        """See :meth:`liverpc.hub.link.Link.close`.

        The socket is given up after ``Limits.close_seconds``, whatever the peer does.
        """
        if self._goodbye is None:
            self._goodbye = (code, clip(reason))
            self._stir()
            self._room.set()  # reading goes on, to see the peer's answer
            self._give_up_in(self.limits.close_seconds)

    def hold(self) -> None:
        """See :meth:`liverpc.hub.link.Link.hold`."""
        self._held = True

    def release(self) -> None:
        """See :meth:`liverpc.hub.link.Link.release`."""
        self._held = False
        self._room.set()

    def stall(self) -> None:
        """See :meth:`liverpc.hub.link.Link.stall`."""
        if self._flow is None:
            self._flow = asyncio.Event()
            self._full = True
            self._texted = self._listener.wheel.now

    def unstall(self) -> None:
        """See :meth:`liverpc.hub.link.Link.unstall`."""
        flow, self._flow = self._flow, None
        if flow is not None:
            flow.set()
            self._full = False

    @property
    def buffered(self) -> int:
        """Bytes the ASGI server has not taken yet."""
        return self._out_bytes

    # The guest

    def wind_up(self) -> bool:
        """See :meth:`.drain.Guest.wind_up`."""
        if self._goodbye is None and self._session is not None and self._session.running:
            self._winding_up = True
            return False
        self.go_away()
        return True

    def go_away(self) -> None:
        """See :meth:`.drain.Guest.go_away`."""
        if self._deciding is not None:
            self._deciding.cancel()  # which refuses with 503
        else:
            self.close(CloseCode.GOING_AWAY, "server going away")

    def abort(self) -> None:
        """Give the connection up; the ASGI server drops the socket."""
        self.go_away()
        self._give_up_in(0)

    # The handshake

    async def _decide(self, endpoint: Endpoint, request: ConnectRequest) -> Any | Refuse:
        verdict = self._listener.admission.decide(endpoint, request)
        if not isinstance(verdict, asyncio.Task):
            return verdict
        self._deciding = verdict
        loop = self._listener.loop
        due = loop.time() + self.limits.connect_seconds
        early_bytes = 0
        try:
            while not verdict.done() and self._goodbye is None and loop.time() < due:
                waiting: set[asyncio.Task[Any]] = {verdict}
                if early_bytes <= self.limits.early_bytes:
                    self._reading = self._reading or loop.create_task(self._next())
                    waiting.add(self._reading)
                await asyncio.wait(waiting, timeout=due - loop.time(), return_when=asyncio.FIRST_COMPLETED)
                if self._reading is not None and self._reading.done():
                    message, self._reading = self._reading.result(), None
                    if message["type"] == "websocket.disconnect":
                        self._goodbye = _goodbye_in(message)
                    else:
                        self._early.append(message)
                        early_bytes += len(_payload(message)[0])
        finally:
            self._deciding = None
            in_time = verdict.done()
            verdict.cancel()
        if not in_time:
            return Refuse(503, "timed out")
        return Refuse(503, "server going away") if verdict.cancelled() else verdict_of(verdict)

    async def _next(self) -> Message:
        return await self._receive()

    async def _send_promptly(self, message: Message) -> None:
        """Nothing else watches over what is sent before the connection is open."""
        async with asyncio.timeout(self.limits.connect_seconds):
            await self._send(message)

    def _open(self, endpoint: Endpoint, request: ConnectRequest, verdict: Any) -> None:
        try:
            self._session = self._listener.context.copy().run(endpoint.opened, self, request, verdict)
        except Exception:
            log.exception("a session could not be made")
            self.close(CloseCode.INTERNAL_ERROR, "internal error")

    # Reading

    async def _converse(self) -> None:
        self._texted = self._listener.wheel.now
        self._look_again()
        writing = self._listener.loop.create_task(self._write(), context=self._listener.context.copy())
        try:
            async with asyncio.timeout(self.limits.close_seconds if self._goodbye else None) as self._deadline:
                goodbye = await self._read()
                self._goodbye = self._goodbye or goodbye
        except TimeoutError:
            self._counters.deadline_aborts += 1
        finally:
            self._deadline = None
            self._listener.wheel.clear(self)
            writing.cancel()
            await asyncio.wait({writing})

    async def _read(self) -> tuple[int, str]:
        """Hand the peer's messages to the session until it is gone; returns its goodbye."""
        budget, largest = self.limits.frames_per_turn, self.limits.message_bytes
        while True:
            if self._held or self._winding_up or self._out_bytes > _HIGH_WATER:
                await self._until_wanted()
            if self._early:
                message = self._early.popleft()
            elif self._reading is not None:
                message, self._reading = await self._reading, None
            else:
                message = await self._receive()
            text: str | None = message.get("text")
            if text is None and message["type"] == "websocket.disconnect":
                return _goodbye_in(message)
            if self._goodbye is None and not self._winding_up:  # either may have come while we waited
                payload: bytes = message["bytes"] if text is None else text.encode()
                assert self._session is not None
                try:
                    if len(payload) > largest:
                        self.close(CloseCode.TOO_BIG, "message too big")
                    else:
                        self._session.receive(payload, text is not None)
                except Exception:
                    log.exception("a session failed at a message")
                    self.close(CloseCode.INTERNAL_ERROR, "internal error")
            budget -= 1
            if not budget:
                budget = self.limits.frames_per_turn
                await asyncio.sleep(0)  # a server that has messages at hand does not let others run

    async def _until_wanted(self) -> None:
        while self._goodbye is None and (self._held or self._winding_up or self._out_bytes > _HIGH_WATER):
            self._room.clear()
            await self._room.wait()

    # Writing

    async def _write(self) -> None:
        wheel, out, latest = self._listener.wheel, self._out, self._latest
        try:
            while True:
                while out or latest:
                    if self._flow is not None:
                        await self._flow.wait()
                        continue  # what waited may be gone
                    payload = out.popleft() if out else latest.pop(next(iter(latest)))
                    self._full = True  # nobody sees it unless the server suspends us
                    self._texted = wheel.now
                    await self._send({"type": "websocket.send", "text": payload.decode()})
                    self._full = self._flow is not None
                    self._out_bytes -= len(payload)
                self._room.set()
                if self._goodbye is not None:
                    code, reason = self._goodbye
                    await self._send({"type": "websocket.close", "code": code, "reason": reason})
                    return
                self._news.clear()
                self._stirred = False
                await self._news.wait()
        except _GONE:
            self._lost()
        except Exception:
            log.exception("a message could not be written")
            self._lost()

    def _lost(self) -> None:
        """Nothing can be sent any more; the ASGI server is about to say that the peer has left."""
        self._out.clear()
        self._latest.clear()
        self._goodbye = self._goodbye or (CloseCode.LOST, "")
        self._room.set()
        self._give_up_in(self.limits.close_seconds)

    def on_deadline(self) -> None:
        """Give up on a peer that takes nothing, and keep idle browser pages from reconnecting."""
        now, listener = self._listener.wheel.now, self._listener
        if self._full and now >= self._texted + listener.pong_turns:
            self._lost()
            self._give_up_in(0)
            return
        if not self._full and now >= self._texted + listener.idle_turns:
            self._texted = now
            self._out.append(_IDLE_TEXT)
            self._out_bytes += len(_IDLE_TEXT)
            self._stir()
        self._look_again()

    def _look_again(self) -> None:
        wheel, listener = self._listener.wheel, self._listener
        if self._full:
            wheel.at(self, self._texted + listener.pong_turns)
        else:
            wheel.at(self, min(wheel.now + listener.pong_turns, self._texted + listener.idle_turns))

    def _stir(self) -> None:
        self._stirred = True
        self._news.set()

    def _fits(self) -> bool:
        """Whether the outbox is within its limits; else close."""
        if not self._full and len(self._out) == 1:
            return True
        if self._out_bytes > self.limits.outbox_bytes:
            self._counters.outbox_overflows += 1
        elif len(self._out) + len(self._latest) > self.limits.outbox_frames:
            self._counters.outbox_frame_overflows += 1
        else:
            return True
        self._out_bytes -= sum(map(len, self._out)) + sum(map(len, self._latest.values()))
        self._out.clear()
        self._latest.clear()
        self.close(CloseCode.TRY_AGAIN_LATER, "too slow")
        return False

    # The end

    def _give_up_in(self, seconds: float) -> None:
        if self._deadline is not None and not self._deadline.expired():
            due = self._listener.loop.time() + seconds
            before = self._deadline.when()
            self._deadline.reschedule(due if before is None else min(due, before))

    def _end(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._goodbye = self._goodbye or (CloseCode.LOST, "")
        session, self._session = self._session, None
        if session is not None:
            try:
                self._listener.context.copy().run(session.closed, *self._goodbye)
            except Exception:
                log.exception("a session failed at its end")


async def refuse(scope: Scope, send: Send, refusal: Refuse) -> None:
    """Answer a WebSocket handshake with HTTP; a server that cannot do that answers 403."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": CloseCode.POLICY, "reason": clip(refusal.text)})
        return
    headers = {"Content-Type": "text/plain; charset=utf-8"} | refusal.headers
    await answer(send, HttpResponse(refusal.status, f"{refusal.text}\n".encode(), headers), kind="websocket.http")


async def answer(send: Send, response: HttpResponse, *, kind: str = "http", head: bool = False) -> None:
    """Send an HTTP answer; ``head``: all of it but the body."""
    start, body = start_of(response)
    await send({"type": f"{kind}.response.start", "status": start.status_code, "headers": list(start.headers)})
    await send({"type": f"{kind}.response.body", "body": b"" if head else body})


def _goodbye_in(message: Message) -> tuple[int, str]:
    return int(message.get("code") or CloseCode.NO_STATUS), message.get("reason") or ""


def _payload(message: Message) -> tuple[bytes, bool]:
    """The bytes of a message, and whether it is text."""
    text: str | None = message.get("text")
    return (message["bytes"], False) if text is None else (text.encode(), True)

"""An echo application, peers with and without sockets, and frames made by hand."""

from __future__ import annotations

import asyncio
import ssl as tls
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from liverpc.config import Limits
from liverpc.hub.link import ConnectRequest, HttpRequest, HttpResponse, Link, Refuse
from liverpc.telemetry import Counters
from liverpc.transports.handshake import Proxy
from liverpc.transports.listener import Listener
from liverpc.transports.writing import Phase
from liverpc.transports.ws import LiveProtocol
from liverpc.wire.framing import text_frame

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

HEAD = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n"
)


def frame(
    opcode: int,
    data: bytes = b"",
    *,
    fin: bool = True,
    mask: bytes = b"\x12\x34\x56\x78",
    rsv: int = 0,
    length: int | None = None,
) -> bytes:
    """A client's frame, as wrong as wanted; ``length`` announces another one than the data has."""
    n = len(data) if length is None else length
    out = bytes([(128 if fin else 0) | rsv << 4 | opcode])
    masked = 128 if mask else 0
    if n < 126:
        out += bytes([masked | n])
    elif n < 65536:
        out += bytes([masked | 126]) + struct.pack("!H", n)
    else:
        out += bytes([masked | 127]) + struct.pack("!Q", n)
    return out + (mask + bytes(b ^ mask[i & 3] for i, b in enumerate(data)) if mask else data)


@dataclass
class Tallied:
    """What full sockets cost a sender."""

    coalesced: int = 0
    volatile_drops: int = 0


def unframe(data: bytes) -> list[tuple[int, bytes]]:
    """First byte and payload of each of a server's frames."""
    frames = []
    while data:
        length, at = data[1] & 127, 2
        if length == 126:
            length, at = struct.unpack("!H", data[2:4])[0], 4
        elif length == 127:
            length, at = struct.unpack("!Q", data[2:10])[0], 10
        frames.append((data[0], data[at : at + length]))
        data = data[at + length :]
    return frames


def start(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task as sessions do: where it is possible its first step runs now."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=True)
    return asyncio.create_task(coroutine)


class EchoSession:
    """Sends back what it gets. Some texts are commands, see :meth:`receive`."""

    def __init__(self, link: Link, request: ConnectRequest, application: EchoApplication) -> None:
        self.link = link
        self.request = request
        self.application = application
        self.received: list[tuple[bytes, bool]] = []
        self.ended: list[tuple[int, str]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.held = False
        self.peak = 0

    @property
    def running(self) -> int:
        return len(self.tasks)

    def receive(self, payload: bytes, text: bool) -> None:
        self.received.append((payload, text))
        command, _, argument = payload.partition(b":")
        if not text:
            self.link.send(text_frame(b'{"binary":%d}' % len(payload)))
        elif command == b"boom":
            raise RuntimeError("secret")
        elif command == b"close":
            self.link.close(int(argument), "bye")
        elif command == b"big":
            self.link.send(text_frame(b"x" * int(argument)))
        elif command in (b"task", b"sleep", b"soil", b"wait"):
            task = start(self._task(payload, command, argument))
            if not task.done():
                self.tasks.add(task)
            self.peak = max(self.peak, len(self.tasks))
            if len(self.tasks) >= self.application.limits.calls_in_flight and not self.held:
                self.held = True
                self.link.hold()
        else:
            self.link.send(text_frame(payload))

    async def _task(self, payload: bytes, command: bytes, argument: bytes) -> None:
        if command == b"sleep":
            await asyncio.sleep(0.001)
        elif command == b"wait":
            await asyncio.sleep(float(argument))
        elif command == b"soil":
            payload = self.application.soil()
            await asyncio.sleep(0.001)
        self.link.send(text_frame(payload))
        task = asyncio.current_task()
        assert task is not None
        self.tasks.discard(task)
        if self.held and len(self.tasks) <= self.application.limits.calls_in_flight // 2:
            self.held = False
            self.link.release()

    def closed(self, code: int, reason: str) -> None:
        self.ended.append((code, reason))
        for task in self.tasks:
            task.cancel()


class EchoEndpoint:
    subprotocol: str | None = None

    def __init__(self, application: EchoApplication) -> None:
        self.application = application
        self.refusal: Refuse | None = None
        self.decision: Callable[[ConnectRequest], Any] = lambda request: None
        self.on_open: Callable[[EchoSession], object] = lambda session: None

    def refuses(self, request: ConnectRequest) -> Refuse | None:
        return self.refusal

    def decide(self, request: ConnectRequest) -> Any | Refuse | Awaitable[Any | Refuse]:
        return self.decision(request)

    def opened(self, link: Link, request: ConnectRequest, verdict: Any) -> EchoSession:
        session = EchoSession(link, request, self.application)
        self.application.sessions.append(session)
        self.on_open(session)
        return session


class EchoApplication:
    """One WebSocket endpoint, ``/ws``, and a few plain pages."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits(upgrades_per_address=100_000)  # all peers of a test have one address
        self.counters = Counters()
        self.echo = EchoEndpoint(self)
        self.sessions: list[EchoSession] = []
        self.requests: list[HttpRequest] = []
        self.soil: Callable[[], bytes] = lambda: b""
        self.page: Callable[[HttpRequest], Awaitable[HttpResponse]] | None = None

    def endpoint(self, path: str) -> EchoEndpoint | None:
        return self.echo if path == "/ws" else None

    async def http(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        if self.page is not None:
            return await self.page(request)
        if (request.method, request.path) == ("GET", "/healthz"):
            return HttpResponse(200, b"ok\n", {"Content-Type": "text/plain"})
        if (request.method, request.path) == ("POST", "/hook"):
            return HttpResponse(200, b"%d" % len(request.body))
        return HttpResponse(404, b"not found\n")


class FakeTransport(asyncio.Transport):
    """Collects what is written; ``taking`` is how many of the bytes the peer takes."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.events: list[int | str] = []  # sizes of writes, "eof", "abort", "close"
        self.reading = True
        self.closing = False
        self.stuck = 0  # bytes nobody takes

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.sent += data
        self.events.append(len(data))

    def get_write_buffer_size(self) -> int:
        return self.stuck

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.events.append("eof")

    def close(self) -> None:
        self.closing = True
        self.events.append("close")

    def abort(self) -> None:
        self.closing = True
        self.events.append("abort")

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.7", 1234) if name == "peername" else default


class Peer:
    """A connection whose socket is a :class:`FakeTransport`."""

    def __init__(self, listener: Listener, *, head: bytes = HEAD % b"", **owner: Any) -> None:
        self.transport = FakeTransport()
        self.protocol = LiveProtocol(listener, **owner)
        self.protocol.connection_made(self.transport)
        if head:
            self.feed(head)

    def feed(self, data: bytes, *, step: int = 0) -> None:
        """Data arrives, whole or ``step`` bytes at a time; not beyond what a paused transport would read."""
        step = step or len(data)
        for at in range(0, len(data), step):
            self.protocol.data_received(data[at : at + step])

    @property
    def phase(self) -> Phase:
        return self.protocol.phase

    @property
    def after_head(self) -> bytes:
        return bytes(self.transport.sent).partition(b"\r\n\r\n")[2]

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        return unframe(self.after_head)

    @property
    def texts(self) -> list[bytes]:
        return [data for first, data in self.frames if first == 0x81]

    @property
    def close_code(self) -> int | None:
        for first, data in self.frames:
            if first == 0x88:
                return int(struct.unpack("!H", data[:2])[0]) if data else 1005
        return None

    def lose(self, error: Exception | None = None) -> None:
        self.protocol.connection_lost(error)


@asynccontextmanager
async def without_sockets(application: EchoApplication, *, fast: bool | None = None) -> AsyncIterator[Listener]:
    """A listener for :class:`Peer` connections; checks that nothing is left of them."""
    listener = Listener(application, fast=fast)
    try:
        yield listener
    finally:
        for connection in list(listener.connections):
            connection.connection_lost(None)
        assert len(listener.wheel) == 0
        await listener.aclose()
        assert not listener.admission.deciding


class Served:
    """An application on a free port of this machine."""

    def __init__(self, application: EchoApplication, listener: Listener) -> None:
        self.application = application
        self.listener = listener
        self.port = listener.addresses[0][1]

    @classmethod
    async def start(
        cls,
        application: EchoApplication,
        *,
        fast: bool | None = None,
        ssl: tls.SSLContext | None = None,
        proxies: tuple[Proxy, ...] = (),
    ) -> Served:
        listener = Listener(application, fast=fast, proxies=proxies)
        await listener.listen("127.0.0.1", 0, ssl=ssl)
        return cls(application, listener)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def stop(self) -> None:
        await self.listener.aclose()
        assert not self.listener.connections
        assert not self.listener.admission.deciding
        assert len(self.listener.wheel) == 0
        assert all(len(session.ended) == 1 for session in self.application.sessions)

    async def raw(self, data: bytes, *, eof: bool = False) -> bytes:
        """Everything the server answers to these bytes until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        if eof:
            writer.write_eof()
        try:
            async with asyncio.timeout(5):
                return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    application: EchoApplication,
    *,
    fast: bool | None = None,
    ssl: tls.SSLContext | None = None,
    proxies: tuple[Proxy, ...] = (),
) -> AsyncIterator[Served]:
    """An application on a free port; checks at the end that nothing is left."""
    served = await Served.start(application, fast=fast, ssl=ssl, proxies=proxies)
    try:
        yield served
    finally:
        await served.stop()


async def turns(count: int = 6) -> None:
    """Let the loop run so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object], *, seconds: float = 5) -> None:
    """Wait for something that will happen soon, on real sockets."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)

"""An ASGI server played by hand, and the echo application behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from liverpc.config import Limits
from liverpc.transports.asgi import AsgiApp
from liverpc.transports.listener import Listener
from tests.transports.transport_kit import EchoApplication


class Hosted(Protocol):
    """What can be visited."""

    asgi: AsgiApp


class HostedEcho(EchoApplication):
    """Started and stopped like a server."""

    def __init__(self, limits: Limits | None = None, *, failure: Exception | None = None) -> None:
        super().__init__(limits)
        self.path = "/ws"
        self.listener: Listener | None = None
        self.failure = failure
        self.starts = 0
        self.asgi = AsgiApp(self)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[dict[str, Any]]:
        if self.failure is not None:
            raise self.failure
        self.starts += 1
        self.listener = Listener(self)
        try:
            yield {"liverpc": self}
        finally:
            self.listener.begin_drain()
            await self.asgi.drain()
            await self.listener.aclose()
            self.listener = None


class Visit:
    """One WebSocket as an ASGI server hands it over; ``taking`` says whether it takes messages."""

    def __init__(self, application: Hosted, **scope: Any) -> None:
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "path": "/ws",
            "raw_path": b"/ws",
            "query_string": b"",
            "headers": [(b"host", b"x")],
            "client": ("192.0.2.7", 1234),
            "scheme": "ws",
            "extensions": {"websocket.http.response": {}},
        } | scope
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[MutableMapping[str, Any]] = []
        self.taking = asyncio.Event()
        self.taking.set()
        self.error: Exception | None = None  # what sending raises
        self.received = 0  # messages the application has asked for and got
        self.inbox.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(self._run(application))

    async def _run(self, application: Hosted) -> None:
        await application.asgi(self.scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        message = await self.inbox.get()
        self.received += 1
        return message

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        await self.taking.wait()
        if self.error is not None:
            raise self.error
        self.sent.append(message)

    def say(self, *texts: str | bytes) -> None:
        for text in texts:
            kind = "text" if isinstance(text, str) else "bytes"
            self.inbox.put_nowait({"type": "websocket.receive", kind: text})

    def leave(self, code: int | None = 1000, reason: str | None = "") -> None:
        self.inbox.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def over(self) -> None:
        """Wait until the application returns."""
        await asyncio.wait_for(self.task, 1000)

    @property
    def kinds(self) -> list[str]:
        return [message["type"].removeprefix("websocket.") for message in self.sent]

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.sent if message["type"] == "websocket.send"]

    @property
    def closing(self) -> tuple[int, str] | None:
        for message in self.sent:
            if message["type"] == "websocket.close":
                return message["code"], message["reason"]
        return None

    @property
    def status(self) -> int | None:
        for message in self.sent:
            if message["type"].endswith("http.response.start"):
                return int(message["status"])
        return None


async def settle() -> None:
    """Let everything that is due happen, without letting time pass."""
    for _ in range(30):
        await asyncio.sleep(0)


async def opened(app: Hosted, **scope: Any) -> Visit:
    """A visit whose connection was accepted."""
    visit = Visit(app, **scope)
    await settle()
    assert visit.kinds[0] == "accept"
    return visit


async def request(
    application: HostedEcho,
    method: str = "GET",
    path: str = "/healthz",
    *,
    chunks: tuple[bytes, ...] = (b"",),
    leaves: bool = False,
    **scope: Any,
) -> list[MutableMapping[str, Any]]:
    """What the application answers to one plain HTTP request."""
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    for number, chunk in enumerate(chunks, 1):
        inbox.put_nowait({"type": "http.request", "body": chunk, "more_body": number < len(chunks)})
    if leaves:
        inbox.put_nowait({"type": "http.disconnect"})
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    given: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [],
        "client": None,
    }
    await application.asgi(given | scope, inbox.get, send)
    return sent

"""A scripted server for the asyncio client: sockets without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from liverpc._types import remote
from liverpc.client import Client, ClientConfig, StreamHandle, connect
from liverpc.client.socket import Socket, SocketClosed

SEND: Any = remote("chat/send")
MESSAGES: Any = remote("chat/messages")

Act = Callable[[], Awaitable[Socket]]


class Pipe:
    """A socket whose other end is the test."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.arrived = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.answers_close = asyncio.Event()
        self.answers_close.set()
        self.closed: tuple[int, str] | None = None
        self._inbox: asyncio.Queue[str | Exception] = asyncio.Queue()

    async def send(self, message: str | bytes) -> None:
        if self.closed:
            raise SocketClosed(*self.closed)
        await self.room.wait()
        self.sent.append(json.loads(message))
        self.arrived.set()

    async def recv(self) -> str | bytes:
        if self.closed:
            raise SocketClosed(*self.closed)
        item = await self._inbox.get()
        if isinstance(item, Exception):
            if isinstance(item, SocketClosed):
                self.closed = (item.code, item.reason)
            raise item
        return item

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = self.closed or (code, reason)
        await self.answers_close.wait()

    # -- the test's end

    def say(self, **frame: Any) -> None:
        self._inbox.put_nowait(json.dumps(frame))

    def fail(self, error: Exception) -> None:
        self._inbox.put_nowait(error)

    def lose(self, code: int = 1006, reason: str = "") -> None:
        self.fail(SocketClosed(code, reason))

    async def request(self) -> str:
        """The id of the next request."""
        while True:
            while self.sent:
                frame = self.sent.pop(0)
                if "rpc" in frame:
                    name: str = frame["id"]
                    return name
            self.arrived.clear()
            await self.arrived.wait()

    def answer(self, name: str, data: Any = None, **members: Any) -> None:
        self.say(topic="__rpc", event=name, data={"ok": True, "data": data} | members)

    def event(self, event: str, data: Any, topic: str = "t") -> None:
        self.say(topic=topic, event=event, data=data)


class Script:
    """A connector that does what the test says, attempt by attempt; the last act repeats itself."""

    def __init__(self, *acts: Act) -> None:
        self.acts = list(acts)
        self.times: list[float] = []
        self.pipes: list[Pipe] = []

    async def __call__(self) -> Socket:
        self.times.append(now())
        if not self.acts:
            self.pipes.append(Pipe())
            return self.pipes[-1]
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        return await act()


def now() -> float:
    return asyncio.get_running_loop().time()


def refuse(error: Exception) -> Act:
    async def act() -> Socket:
        raise error

    return act


def accept(pipe: Pipe) -> Act:
    async def act() -> Socket:
        return pipe

    return act


async def hang() -> Socket:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


def client_of(script: Script, wall: Callable[[], float] | None = None, **settings: Any) -> Client:
    given: dict[str, Any] = {"jitter": (1.0, 1.0), "silence_seconds": 1e6} | settings
    config = ClientConfig(**given)
    return connect("ws://scripted/ws", config=config, connector=script, wall=wall or (lambda: 0.0))


async def until(condition: Callable[[], object]) -> None:
    for _ in range(100):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not happen")


def status_of(thing: Client | StreamHandle[Any]) -> str:
    """The status, as something that changes: type checkers believe that an attribute once compared stays so."""
    return thing.status

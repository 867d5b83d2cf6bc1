"""A contract to try things on, and a client of it that sends frames as they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import msgspec

from liverpc import Limits, LiveServer, public
from liverpc._types import Locals
from liverpc.client.socket import SocketClosed
from liverpc.declare.contract import Contract
from liverpc.declare.keys import RoomKey
from liverpc.declare.members import event, room
from liverpc.pages import Events
from liverpc.testing import TestEnv
from liverpc.transports.memory import MemorySocket

__all__ = ["NOT_FOUND", "REJECTED", "App", "Message", "OpenProject", "Page", "Params", "Send", "User", "Who", "serve"]

_guard = public()

NOT_FOUND = {
    "ok": False, "code": "NOT_FOUND", "error": "there is no such contract, action or room, or it is not open",
}  # fmt: skip
REJECTED = {"ok": False, "code": "JOIN_REJECTED", "error": "this room may not be joined"}


class User(msgspec.Struct, frozen=True):
    id: str
    tenant: str | None = None
    projects: tuple[str, ...] = ()


class Who(Locals, frozen=True):
    user: User | None = None


class Params(msgspec.Struct):
    room_id: str


class Send(msgspec.Struct):
    text: str


class Message(msgspec.Struct):
    text: str


class OpenProject(msgspec.Struct):
    project_id: Any
    also: str = ""


class ToClient(Events):
    def message(self, data: Message) -> None: ...
    def cleared(self) -> None: ...


class App:
    """A contract ``chat`` on ``/rooms/{room_id}``, what became of it, and what it is to do."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.key: Callable[[Any], Any] = lambda contract: ("chat", contract.params.room_id)
        self.authorise: Callable[[Any, OpenProject], Any] = _by_project
        self.result: Any = None
        self.instances: list[Any] = []
        app = self

        async def pause(at: str) -> None:
            if at in app.gates:
                await app.gates[at].wait()

        class Chat(Contract[ToClient, Params, Who], path="/rooms/{room_id}"):
            @room.private(auto_join=True)
            async def chat(self) -> RoomKey:
                app.instances.append(self)
                app.log.append("chat")
                await pause("chat")
                key: RoomKey = app.key(self)
                return key

            @room.private
            def tenant(self) -> RoomKey:
                app.log.append("tenant")
                tenant: Any = self.require(self.locals.user).tenant
                return ("tenant", tenant)

            @room.expose
            async def project(self, data: OpenProject) -> RoomKey | None:
                app.log.append(("project", data.project_id))
                await pause("project")
                key: RoomKey | None = app.authorise(self, data)
                return key

            @event
            async def send(self, data: Send) -> Message:
                app.log.append(("send", data.text))
                await pause("send")
                self.chat.emit.message(Message(data.text))
                return Message(data.text)

            @event
            def others(self, data: Send) -> None:
                self.chat.emit_others.message(Message(data.text))

            @event
            def whisper(self) -> None:
                self.client.message(Message("psst"))
                self.client.cleared()

            @event
            def to_projects(self) -> None:
                self.project.emit.cleared()

            @event
            def to_tenant(self) -> None:
                self.tenant.emit.cleared()

            @event
            def to_project(self, data: OpenProject) -> None:
                self.project.at("project", data.project_id).emit.cleared()

            @event
            async def enter(self, data: OpenProject) -> None:
                await self.project.at("project", data.project_id).join()

            @event
            def exit(self, data: OpenProject) -> None:
                self.project.at("project", data.project_id).leave()

            @event
            async def enter_tenant(self) -> None:
                await self.tenant.join()

            @event
            def exit_all(self) -> None:
                self.tenant.leave()
                self.project.leave()

            @event(serial=True)
            async def in_turn(self, data: Send) -> None:
                app.log.append(("begin", data.text))
                await asyncio.sleep(1)
                app.log.append(("end", data.text))

            @event
            def odd(self) -> int:
                result: int = app.result
                return result

            @event
            def fails(self) -> None:
                raise app.result

            @event
            def who(self) -> str | None:
                return self.locals.user.id if self.locals.user else None

        self.Chat = Chat


def _by_project(contract: Any, data: OpenProject) -> Any:
    user = contract.locals.user
    return ("project", data.project_id) if user is not None and data.project_id in user.projects else None


class Page:
    """One connection; the welcome is read.

    Attributes:
        events: What came while an answer was awaited.
    """

    def __init__(self, socket: MemorySocket) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self._calls = 0
        self._answers: dict[str, dict[str, Any]] = {}

    @classmethod
    async def open(cls, env: TestEnv, path: str, *, user: str = "", **headers: str) -> Page:
        socket = await env.transport.connect(path, query=urlencode({"user": user} if user else {}), headers=headers)
        page = cls(socket)
        welcome = await page.recv()
        assert welcome["type"] == "welcome"
        return page

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def recv(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), 20))
        return frame

    async def ask(self, path: str, *args: Any) -> str:
        """Send a call; returns its id."""
        self._calls += 1
        await self.send(rpc=path, id=f"c{self._calls}", args=list(args))
        return f"c{self._calls}"

    async def answer(self, call: str) -> dict[str, Any]:
        """To a call, without its id."""
        while call not in self._answers:
            frame = await self.recv()
            if frame.get("topic") == "__rpc":
                self._answers[frame["event"]] = frame["data"]
                assert frame["data"].pop("id") == frame["event"]
            else:
                self.events.append(frame)
        return self._answers.pop(call)

    async def call(self, path: str, *args: Any) -> dict[str, Any]:
        return await self.answer(await self.ask(path, *args))

    async def heard(self) -> list[tuple[str, str, Any]]:
        """Topic, event and data of all that came so far."""
        while True:
            try:
                self.events.append(json.loads(await asyncio.wait_for(self.socket.recv(), 0.2)))
            except TimeoutError:
                break
        found = [(frame["topic"], frame["event"], frame["data"]) for frame in self.events]
        self.events.clear()
        return found

    async def closed(self) -> int:
        """Wait for the end of the connection; its close code."""
        while True:
            try:
                self.events.append(await self.recv())
            except SocketClosed as end:
                return end.code

    async def leave(self) -> None:
        self.socket.cut()
        await asyncio.sleep(0)


USERS: Mapping[str, User] = {
    "ann": User("ann", "red", ("p1", "p2")),
    "bob": User("bob", "red", ("p1",)),
    "cid": User("cid", "blue"),
    "dan": User("dan", None, ("p1",)),
}


def connected(request: Any) -> Who:
    return Who(USERS.get(request.query.get("user", "")))


@asynccontextmanager
async def serve(*contracts: Any, limits: Limits | None = None, **options: Any) -> AsyncIterator[TestEnv]:
    """A server with these contracts; leaves nothing behind."""
    options.setdefault("on_connect", connected)
    server = LiveServer(list(contracts), limits=limits or Limits(), **options)
    async with TestEnv(server) as env:
        yield env
    assert not server._contracts
    assert not server._hub.topics
    assert not server._hub.connections

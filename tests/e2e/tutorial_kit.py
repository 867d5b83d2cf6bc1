"""The application of the tutorial: a chat room for each URL, tenants, projects, and sessions in cookies.

``python -m tests.e2e.tutorial_kit PORT SESSIONS WS`` runs it; SESSIONS is a JSON file and read at each connect. With an
empty WS it runs alone, otherwise under uvicorn beside an application, WS being uvicorn's option.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket

from liverpc import ConnectRequest, Contract, Events, Limits, LiveServer, Locals, RoomKey, event, public, room
from tests.e2e.doors import At, fastapi_around

__all__ = [
    "SESSIONS",
    "Chat",
    "Message",
    "Note",
    "OpenProject",
    "Raw",
    "Send",
    "Sent",
    "Session",
    "ToClient",
    "User",
    "cookie",
    "make_server",
    "raw",
]

_guard = public()


class User(msgspec.Struct, frozen=True):
    id: str
    tenant_id: str
    project_ids: list[str]


class Session(Locals, frozen=True):
    user: User | None


class Params(msgspec.Struct):
    room_id: str


class Send(msgspec.Struct):
    text: str


class Sent(msgspec.Struct):
    id: str


class Message(msgspec.Struct):
    id: str
    room_id: str
    text: str


class Note(msgspec.Struct):
    """Addressed to a tenant or a project."""

    of: str
    text: str


class OpenProject(msgspec.Struct):
    project_id: str


class ToClient(Events):
    def message(self, data: Message) -> None: ...
    def note(self, data: Note) -> None: ...


class Chat(Contract[ToClient, Params, Session], path="/rooms/{room_id}"):
    sent = 0

    @room.private(auto_join=True)
    def chat(self) -> RoomKey:
        return ("chat", self.params.room_id)

    @room.private
    def tenant(self) -> RoomKey:
        return ("tenant", self.require(self.locals.user).tenant_id)

    @room.expose
    async def project(self, data: OpenProject) -> RoomKey | None:
        user = self.require(self.locals.user)
        if data.project_id == "broken":
            raise RuntimeError("the projects' database said something internal")
        return ("project", data.project_id) if data.project_id in user.project_ids else False

    @event
    async def send(self, data: Send) -> Sent:
        self.sent += 1
        message = Message(f"{self.params.room_id}-{self.sent}", self.params.room_id, data.text)
        self.chat.emit.message(message)
        return Sent(message.id)

    @event
    async def tell_tenant(self, data: Send) -> None:
        self.tenant.emit.note(Note("tenant", data.text))

    @event
    async def tell_project(self, data: Send) -> None:
        self.project.emit.note(Note("project", data.text))

    @event
    async def whoami(self) -> str | None:
        return self.locals.user.id if self.locals.user is not None else None

    @event
    async def slow(self) -> None:
        await asyncio.sleep(60)


SESSIONS = {
    "ann's": User("ann", "acme", ["apollo", "zeus"]),
    "ben's": User("ben", "acme", ["apollo"]),
    "cleo's": User("cleo", "globex", []),
}


def cookie(session: str | None) -> dict[str, str]:
    """Headers of a browser with this session."""
    return {} if session is None else {"Cookie": f"theme=dark; session={session}"}


def make_server(sessions: Callable[[], Mapping[str, User]] = lambda: SESSIONS, **options: Any) -> LiveServer:
    async def on_connect(request: ConnectRequest) -> Session:
        return Session(sessions().get(request.cookies.get("session", "")))

    return LiveServer([Chat], on_connect=on_connect, **options)


class Raw:
    """A page that sends frames as they are, and keeps all it got as it came."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.said: list[str] = []

    async def ask(self, path: str, *args: Any, id: str = "q") -> str:  # noqa: A002 - the member's name
        """The answer, byte for byte."""
        await self._socket.send(json.dumps({"rpc": path, "id": id, "args": args}))
        while True:
            frame = await asyncio.wait_for(self._socket.recv(), 10)
            assert isinstance(frame, str)
            if '"topic":"__rpc"' in frame and json.loads(frame)["event"] == id:
                return frame
            self.said.append(frame)

    async def code(self, path: str, *args: Any) -> str | None:
        """The code of the answer; None when all was well."""
        data = json.loads(await self.ask(path, *args))["data"]
        return None if data["ok"] else data["code"]

    async def heard(self) -> list[tuple[str, str]]:
        """Topic and event of all it got so far besides answers; the way there and back is awaited."""
        assert await self.code("chat/__event/whoami") is None
        frames = [json.loads(frame) for frame in self.said]
        return [(frame["topic"], frame["event"]) for frame in frames if "topic" in frame]


@asynccontextmanager
async def raw(at: At, path: str = "/rooms/general", session: str | None = None) -> AsyncIterator[Raw]:
    async with open_websocket(at.base + path, additional_headers=cookie(session)) as socket:
        yield Raw(socket)


def main(port: int, file: Path, ws: str) -> None:
    def sessions() -> Mapping[str, User]:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, User])

    server = make_server(sessions, limits=Limits(drain_seconds=0.5))
    if ws:
        uvicorn.run(fastapi_around(server), port=port, ws=ws, timeout_graceful_shutdown=5)
    else:
        server.run(port=port)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

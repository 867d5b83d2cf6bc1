"""A contract as a generated client knows it, and a scripted server for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from liverpc.client import Client, ClientConfig, ContractPage, connect
from liverpc.pages import Action, Events, Joinable, PageContract, Payload
from tests.client.client_kit import Pipe, Script, accept


class Send(msgspec.Struct):
    text: str


class Sent(msgspec.Struct):
    id: str


class Message(msgspec.Struct):
    id: str
    text: str


class OpenProject(msgspec.Struct):
    project_id: str


class ToClient(Events):
    def message(self, data: Message) -> None: ...
    def cleared(self) -> None: ...


class Chat(PageContract[ToClient], path="/rooms/{room_id}"):
    send: Action[Chat, [Send], Any, Sent] = Action("send", Payload("data", Send), Sent)
    clear: Action[Chat, [], Any, None] = Action("wipe", None, type(None))
    project: Joinable[Chat, [OpenProject]] = Joinable("project", Payload("data", OpenProject))
    tenant: Joinable[Chat, []] = Joinable("tenant", None)


class Lobby(PageContract[ToClient], path="/lobby"):
    hello: Action[Lobby, [], Any, str] = Action("hello", None, str)


P1 = OpenProject("p1")
P2 = OpenProject("p2")
OPENED = {"joined": ["chat"], "refused": ["tenant"]}


class Server:
    """The other end of each connection of one client."""

    def __init__(self, count: int = 1) -> None:
        self.pipes = [Pipe() for _ in range(count)]
        self.script = Script(*(accept(pipe) for pipe in self.pipes))

    def config(self, **settings: Any) -> ClientConfig:
        given: dict[str, Any] = {"jitter": (1.0, 1.0), "silence_seconds": 1e6} | settings
        return ClientConfig(**given)

    def page(self, **settings: Any) -> ContractPage[Chat]:
        config = self.config(**settings)
        return connect(Chat, "ws://scripted", room_id="general", config=config, connector=self.script)

    def client(self, **settings: Any) -> Client:
        return connect("ws://scripted/ws", config=self.config(**settings), connector=self.script)


async def following(events: AsyncIterator[Any]) -> Any:
    """The next of them."""
    return await anext(events)


async def asked(pipe: Pipe, path: str) -> Any:
    """The next request, which is for this path."""
    while True:
        while pipe.sent:
            frame = pipe.sent.pop(0)
            if "rpc" in frame:
                assert frame["rpc"] == path
                return frame
        pipe.arrived.clear()
        await pipe.arrived.wait()


async def answer(pipe: Pipe, path: str, data: Any = None, **members: Any) -> Any:
    """Answer the next request, which is for this path. Returns its arguments."""
    frame = await asked(pipe, path)
    pipe.answer(frame["id"], data, **members)
    return frame["args"]


async def refuse(pipe: Pipe, path: str, code: str, **members: Any) -> None:
    await answer(pipe, path, ok=False, code=code, error="no", **members)

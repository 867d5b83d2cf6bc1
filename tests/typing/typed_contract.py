"""What the type checkers must infer and refuse of contracts, without a plug-in. Read by mypy and pyright, never run.

Each mistake is marked for both checkers; an unneeded mark is an error in both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, TypeVar, assert_type
from uuid import UUID

import msgspec

from liverpc import Contract, Events, LiveServer, Locals, RoomKey, discover, event, room
from liverpc.client import Client, ContractPage, connect, sync
from liverpc.declare.contract import RoomHandle
from liverpc.testing import TestClient, TestEnv, TestPage


class User(msgspec.Struct):
    id: str
    tenant_id: str
    project_ids: list[str]


class Send(msgspec.Struct):
    text: str


class Sent(msgspec.Struct):
    id: str


class Message(msgspec.Struct):
    id: str
    text: str


class OpenProject(msgspec.Struct):
    project_id: str


class Params(msgspec.Struct):
    room_id: str


class Known(Locals, frozen=True):
    user: User | None


class ToClient(Events):
    def message(self, data: Message) -> None: ...
    def cleared(self) -> None: ...


class Unheard(Events):
    def message(self, data: Message) -> None: ...


# -- declarations


class Chat(Contract[ToClient, Params, Known], path="/rooms/{room_id}"):
    @room.private(auto_join=True, required=True)
    def chat(self) -> RoomKey:
        assert_type(self.params, Params)
        assert_type(self.locals, Known)
        return ("chat", self.params.room_id)

    @room.private
    async def tenant(self) -> RoomKey:
        assert_type(self.require(self.locals.user), User)
        return self.require(self.locals.user).tenant_id

    @room.expose
    async def project(self, data: OpenProject) -> RoomKey | None:
        user = self.locals.user
        return ("project", data.project_id) if user and data.project_id in user.project_ids else None

    @room.expose
    def lobby(self) -> tuple[str, int, UUID]:
        return ("lobby", 1, UUID(int=0))

    @event
    async def send(self, data: Send) -> Sent:
        assert_type(self.chat, RoomHandle[ToClient])
        assert_type(self.chat.emit, ToClient)
        self.chat.emit.message(Message("1", data.text))
        self.chat.emit_others.cleared()
        self.project.at("project", 5, UUID(int=0)).emit.cleared()
        self.client.message(data=Message("1", data.text))
        assert_type(await self.chat.join(), None)
        self.project.leave()
        self.chat.emit.message(data)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        self.chat.emit.message()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        self.chat.emit.cleared(data)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        self.chat.emit.massage(data)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        self.client.message("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        self.project.at(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        self.chat("general")  # type: ignore[operator]  # pyright: ignore[reportCallIssue]
        return Sent("1")

    @event(name="wipe", serial=True)
    def clear(self) -> None:
        self.chat.emit.cleared()

    @event(serial=True)
    async def wrong_result(self, data: Send) -> Sent:
        return data  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    @room.private  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    def no_key(self) -> float:
        return 1.0

    @room.private  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    def with_payload(self, data: OpenProject) -> RoomKey:
        return data.project_id

    @room.expose  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    def no_key_either(self, data: OpenProject) -> float:
        return 1.0

    @event(serail=True)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportCallIssue]
    def misspelt(self) -> None: ...


class Lobby(Contract[ToClient], path="/lobby"):  # no parameters, any locals
    @event
    async def hello(self) -> str:
        assert_type(self.params, None)
        assert_type(self.locals, Any)
        return "hello"


L = TypeVar("L")


class Base(Contract[ToClient, Params, L], Generic[L]):
    @event
    def ping(self) -> str:
        self.client.cleared()
        return "pong"


class Derived(Base[Known], path="/derived/{room_id}"):
    @event
    def who(self) -> str | None:
        return self.locals.user.id if self.locals.user else None


class NotEvents(Contract[User]): ...  # type: ignore[type-var]  # pyright: ignore[reportInvalidTypeArguments]


# -- servers and tests


async def methods_stay_callable(known: Known) -> None:
    chat = Chat(Params("general"), known)
    assert_type(await chat.send(Send("hi")), Sent)
    assert_type(chat.clear(), None)
    assert_type(Derived(Params("general"), known).ping(), str)
    assert_type(await Lobby(None, known).hello(), str)
    await chat.send("hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await chat.send()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Chat(Send("hi"), known)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Chat(Params("general"), None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def serving() -> None:
    LiveServer(modules=[Chat, Lobby])
    LiveServer(modules=[Chat, *discover("app.routes")])
    LiveServer(modules=[Chat(Params("general"), Known(None))])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


def outside_of_connections(server: LiveServer) -> None:
    chat = server.contract(Chat)
    assert_type(chat, Chat)
    chat.chat.at("chat", "general").emit.message(Message("1", "hi"))
    chat.chat.at("chat", "general").emit.message("hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# -- clients


def hear_send(data: Send) -> None: ...


async def pages(env: TestEnv) -> None:
    async with connect(Chat, "wss://host", Params("general"), auth=True) as page:
        assert_type(page, ContractPage[Chat])
        assert_type(await page.call(Chat.send, Send("hi")), Sent)
        assert_type(await page.call(Chat.clear), None)
        assert_type(await page.join(Chat.project, OpenProject("p1")), None)
        await page.join(Chat.tenant)
        await page.leave(Chat.project, OpenProject("p1"))
        await page.leave(Chat.project)
        page.on(ToClient.message, lambda message: message.text.upper())
        page.on(ToClient.message, lambda message: message.txt)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        page.on(ToClient.cleared, lambda: None)
        assert_type(page.events(ToClient.message), AsyncIterator[Message])
        assert_type(page.events(ToClient.cleared), AsyncIterator[None])
        await page.call(Chat.send, OpenProject("p1"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await page.call(Chat.send)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        await page.call(Lobby.hello)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await page.call(Chat.project, OpenProject("p1"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
        await page.join(Chat.project)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        await page.join(Chat.tenant, OpenProject("p1"))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        await page.leave(Chat.project, Send("hi"))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
        page.on(Unheard.message, print)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
        page.on(ToClient.message, hear_send)  # pyright: ignore[reportArgumentType, reportCallIssue]
        assert_type(page.client, Client)
        assert_type(page.client.open(Chat, Params("a")), ContractPage[Chat])
        assert_type(page.client.open(Chat, room_id="a"), ContractPage[Chat])
        assert_type(page.client.open(Lobby), ContractPage[Lobby])
        page.client.open(Chat, Send("a"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(connect(Chat, "wss://host", room_id="general", headers={}), ContractPage[Chat])
    assert_type(connect(Lobby, "wss://host"), ContractPage[Lobby])
    assert_type(connect("wss://host/ws"), Client)
    connect(Chat, "wss://host", OpenProject("p1"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    test_page = env.open(Chat, Params("a"), user=None)
    assert_type(test_page, TestPage[Chat])
    assert_type(test_page.client, TestClient)
    assert_type(env.connect().open(Lobby), TestPage[Lobby])
    assert_type(await env.connect().open(), TestClient)


def blocking_pages() -> None:
    with sync.connect(Chat, "wss://host", Params("general")) as page:
        assert_type(page, sync.ContractPage[Chat])
        assert_type(page.call(Chat.send, Send("hi")), Sent)
        page.join(Chat.project, OpenProject("p1"))
        page.leave(Chat.project)
        page.on(ToClient.message, lambda message: message.text.upper())
        assert_type(page.events(ToClient.message, timeout=1.0), Iterator[Message])
        assert_type(page.client.open(Chat, room_id="a"), sync.ContractPage[Chat])
        page.join(Chat.project)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        page.call(Lobby.hello)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(sync.connect(Chat, "wss://host", room_id="general"), sync.ContractPage[Chat])
    assert_type(sync.connect("wss://host/ws"), sync.Client)

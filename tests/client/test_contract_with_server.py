"""Pages of contracts against our own server, over memory and on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, assert_type

import msgspec
import pytest

from liverpc import ConnectRequest, Contract, LiveServer, Locals, event, public, room
from liverpc.client import ClientConfig, OfflineQueue, RpcError
from liverpc.declare.keys import RoomKey
from liverpc.pages import Events
from liverpc.testing import TestEnv, TestPage

_guard = public()

SECONDS: dict[str, float] = {}  # that it takes to decide on a project, 0.1 by default


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


class Session(Locals, frozen=True):
    user: str | None
    projects: list[str]


class ToClient(Events):
    def message(self, data: Message) -> None: ...
    def cleared(self) -> None: ...


class Chat(Contract[ToClient, Params, Session], path="/rooms/{room_id}"):
    @room.private(auto_join=True)
    def chat(self) -> RoomKey:
        return ("chat", self.params.room_id)

    @room.private(auto_join=True)
    def tenant(self) -> RoomKey:
        return ("tenant", self.require(self.locals.user))

    @room.expose
    async def project(self, data: OpenProject) -> RoomKey | None:
        await asyncio.sleep(SECONDS.get(data.project_id, 0.1))
        return ("project", data.project_id) if data.project_id in self.locals.projects else None

    @event
    async def send(self, data: Send) -> Sent:
        self.chat.emit.message(Message("1", data.text))
        return Sent(f"{self.params.room_id}/{self.locals.user}")

    @event
    def clear(self, data: OpenProject) -> None:
        self.project.at("project", data.project_id).emit.cleared()


class Lobby(Contract[ToClient], path="/lobby"):
    @event
    async def hello(self) -> str:
        self.client.cleared()
        return "hello"


class Strict(Contract[ToClient, None, Session], path="/strict"):
    @room.private(auto_join=True, required=True)
    def members(self) -> RoomKey:
        return self.require(self.locals.user)


@pytest.fixture
def projects() -> list[str]:
    """Of everybody."""
    return ["p1", "p2"]


@pytest.fixture
async def env(projects: list[str]) -> AsyncIterator[TestEnv]:
    def on_connect(request: ConnectRequest) -> Session:
        return Session(request.headers.get("name"), list(projects))

    async with TestEnv(LiveServer([Chat, Lobby, Strict], on_connect=on_connect)) as env:
        yield env


def hears(page: TestPage[Chat]) -> list[str]:
    heard: list[str] = []
    page.on(ToClient.message, lambda message: heard.append(message.text))
    page.on(ToClient.cleared, lambda: heard.append("cleared"))
    return heard


async def test_a_page_hears_its_own_room_and_no_other(env: TestEnv) -> None:  # acceptance 241, 242
    ann = env.open(Chat, room_id="a/b ü", headers={"name": "ann"})
    assert_type(ann, TestPage[Chat])
    bob, eve = (env.open(Chat, Params(room_id)) for room_id in ("a/b ü", "a"))
    for page in (ann, bob, eve):
        await page.open()
    heard = [hears(page) for page in (ann, bob, eve)]
    sent = await ann.call(Chat.send, Send("hi"))
    assert_type(sent, Sent)
    assert sent == Sent("a/b ü/ann")
    assert heard[0] == ["hi"]  # before the answer
    await env.settle()
    assert heard == [["hi"], ["hi"], []]
    assert (ann.joined, ann.refused) == (("chat", "tenant"), ())
    assert (bob.joined, bob.refused) == (("chat",), ("tenant",))
    wrong: Any = {"text": 1}
    with pytest.raises(RpcError, match="VALIDATION") as caught:
        await ann.call(Chat.send, wrong)
    assert [issue.path for issue in caught.value.issues] == [["text"]]
    await env.settle()
    assert heard[1] == ["hi"]


async def test_rooms_are_joined_again_after_a_reconnect(env: TestEnv) -> None:  # acceptance 244
    page, other = env.open(Chat, room_id="a"), env.open(Chat, room_id="b")
    heard, lost = hears(page), list[str]()
    page.on_join_lost(lambda name, payload, error: lost.append(name))
    for number in ("p1", "p2"):
        await page.join(Chat.project, OpenProject(number))
    page.client.cut()
    await env.settle()
    # Made without a connection, it finds the contract open and what is joined with it.
    assert await page.call(Chat.send, Send("back")) == Sent("a/None")
    assert heard == ["back"]
    await asyncio.sleep(1.0)
    for number in ("p1", "p2"):
        await other.call(Chat.clear, OpenProject(number))
    await asyncio.sleep(1.0)
    assert (heard, lost) == (["back", "cleared", "cleared"], [])
    await page.leave(Chat.project, OpenProject("p1"))
    page.client.cut()
    await env.settle()
    await page.call(Chat.send, Send("again"))
    await asyncio.sleep(1.0)
    for number in ("p1", "p2"):
        await other.call(Chat.clear, OpenProject(number))
    await env.settle()
    assert heard[3:] == ["again", "cleared"]


async def test_a_room_that_is_not_allowed_any_more_is_reported(env: TestEnv, projects: list[str]) -> None:
    page = env.open(Chat, room_id="a")
    lost: list[Any] = []
    page.on_join_lost(lambda name, payload, error: lost.append((name, payload, error.code)))
    for number in ("p1", "p2"):
        await page.join(Chat.project, OpenProject(number))
    with pytest.raises(RpcError, match="JOIN_REJECTED"):
        await page.join(Chat.project, OpenProject("p3"))
    with pytest.raises(RpcError, match="JOIN_REJECTED"):
        await page.join(Chat.tenant)
    projects.remove("p1")
    page.client.cut()
    await asyncio.sleep(10.0)
    assert (page.status, lost) == ("connected", [("project", OpenProject("p1"), "JOIN_REJECTED")])


@pytest.mark.parametrize("offline", [None, OfflineQueue()])
async def test_what_a_closed_page_asked_for_does_not_happen_in_the_next(
    env: TestEnv, offline: OfflineQueue | None
) -> None:
    other = await env.open(Chat, room_id="b").open()
    heard = hears(other)
    client = await env.connect(offline=offline).open()
    page = await client.open(Chat, room_id="a").open()
    client.cut()
    await env.settle()
    uses = [page.call(Chat.send, Send("for a only")), page.join(Chat.project, OpenProject("p1"))]
    tasks = [asyncio.create_task(use) for use in uses]
    await env.settle()
    await page.aclose()
    async with client.open(Chat, room_id="b") as following:
        late = hears(following)
        await other.call(Chat.clear, OpenProject("p1"))
        await asyncio.sleep(1.0)
        assert (heard, late) == ([], [])
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(each, "code", None) for each in outcomes] == ["CONNECTION_CLOSED"] * 2


async def test_a_room_given_up_for_lack_of_an_answer_is_not_heard(
    env: TestEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await env.open(Chat, room_id="a", config=ClientConfig(timeout=6.0)).open()
    await page.join(Chat.project, OpenProject("p1"))
    heard, lost = hears(page), list[str]()
    page.on_join_lost(lambda name, payload, error: lost.append(error.code))
    monkeypatch.setitem(SECONDS, "p1", 20.0)
    page.client.cut()
    await asyncio.sleep(60.0)
    await page.call(Chat.clear, OpenProject("p1"))
    assert (lost, heard) == (["TIMEOUT"], [])


async def test_a_second_contract_may_share_the_connection(env: TestEnv) -> None:
    page = env.open(Chat, room_id="a")
    assert await page.call(Chat.send, Send("hi")) == Sent("a/None")
    async with page.client.open(Lobby) as lobby:
        cleared: Any = lobby.events(ToClient.cleared)
        page.client.cut()
        await env.settle()
        assert await lobby.call(Lobby.hello) == "hello"
        assert await anext(cleared) is None
    async with env.connect().open(Chat, Params("a")) as plain:
        heard = hears(plain)
        await page.call(Chat.send, Send("ho"))
        await env.settle()
        assert heard == ["ho"]
    await page.call(Chat.send, Send("nobody else"))
    await env.settle()
    assert heard == ["ho"]
    async with plain.client.open(Chat, Params("b")) as another:
        assert await another.call(Chat.send, Send("x")) == Sent("b/None")


async def test_a_contract_that_cannot_be_opened_says_why(env: TestEnv) -> None:
    with pytest.raises(RpcError, match=r"CONNECTION_CLOSED: .*4403"):
        await env.open(Strict).open()
    assert (await env.open(Strict, None, headers={"name": "ann"}).open()).joined == ("members",)

    class Unknown(Contract[ToClient], path="/unknown", name="unknown"):
        pass

    with pytest.raises(RpcError, match=r"NOT_FOUND: unknown \(/unknown\) was not opened: "):
        await env.connect().open(Unknown).open()
    with pytest.raises(RpcError, match=r"TIMEOUT: .*HTTP 404.*; asked for /unknown"):
        await env.open(Unknown).open()


@pytest.mark.parametrize("shared", [False, True])
async def test_a_page_given_up_at_any_moment_leaves_nothing(env: TestEnv, shared: bool) -> None:
    env.transport.latency = 0.01
    client = await env.connect().open()

    async def use(page: TestPage[Chat]) -> None:
        async with page:
            await page.join(Chat.project, OpenProject("p1"))
            page.client.cut()
            await page.call(Chat.send, Send("hi"))
            await page.leave(Chat.project, OpenProject("p1"))

    ends: set[str] = set()
    for moment in range(80):
        page = client.open(Chat, room_id="a") if shared else env.open(Chat, room_id="a")
        using = asyncio.create_task(use(page))
        await asyncio.sleep(0.003 * moment)
        using.cancel()
        (outcome,) = await asyncio.gather(using, return_exceptions=True)
        ends.add(type(outcome).__name__)
        await asyncio.sleep(5.0)  # the client that is shared comes back
        assert (page.status, page._open.rooms, page._open.requests) == ("closed", {}, {})
        assert page.client.status == ("connected" if shared else "closed")
        assert len(env.transport.links) == 1
    assert ends == {"CancelledError", "RpcError"}


async def test_a_loss_at_any_moment_is_repaired(env: TestEnv) -> None:
    env.transport.latency = 0.01
    other = await env.open(Chat, room_id="b").open()
    page = await env.open(Chat, room_id="a").open()
    heard = hears(page)
    for moment in range(80):
        joining = asyncio.create_task(page.join(Chat.project, OpenProject("p1")))
        await asyncio.sleep(0.003 * moment)
        page.client.cut()
        (lost,) = await asyncio.gather(joining, return_exceptions=True)
        await asyncio.sleep(5.0)
        heard.clear()
        await other.call(Chat.clear, OpenProject("p1"))
        await asyncio.sleep(1.0)
        assert heard == ([] if lost else ["cleared"])
        await page.leave(Chat.project)
        await other.call(Chat.clear, OpenProject("p1"))
        await asyncio.sleep(1.0)
        assert heard == ([] if lost else ["cleared"])
        assert (page._open.rooms, page._open.requests) == ({}, {})

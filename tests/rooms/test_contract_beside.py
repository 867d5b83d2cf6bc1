"""Contracts beside what else a server has: streams with wide topics, hooks, other contracts, jobs without a client."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from liverpc import ConfigError, Context, DeclarationError, LiveServer, guard, live, public
from liverpc._types import Locals
from liverpc.backends.ports import Frame
from liverpc.declare.contract import Contract
from liverpc.declare.keys import RoomKey
from liverpc.declare.members import event, room
from liverpc.hub.link import ConnectRequest
from liverpc.pages import Events
from liverpc.rooms.catalogue import Catalogue
from liverpc.testing import TestEnv
from tests.rooms.contract_kit import App, Message, Page, Params, ToClient, Who, connected, serve


def beside(**members: Any) -> Any:
    return SimpleNamespace(_guard=public(), **members)


# -- streams


@pytest.mark.parametrize("template", ["{kind}:{id}", "{id}"])
@pytest.mark.parametrize(
    "options",
    [
        {"merge": "set", "coalesce_by": lambda data: data["id"]}, {"merge": "latest", "volatile": True},
        {"merge": "crud", "replay": True}, {"merge": "set", "transform": lambda data: "transformed"},
    ],
)  # fmt: skip
async def test_what_a_stream_wants_of_its_topics_does_not_reach_rooms(template: str, options: Any) -> None:
    app = App()

    @live.stream(template, path="test/anything", **options)
    async def anything(ctx: Context[Any], kind: str, id: str) -> Any:  # noqa: A002 - a part of the template
        return []

    async with serve(app.Chat, beside(anything=anything)) as env:
        page = await Page.open(env, "/rooms/a")
        assert (await page.call("chat/__event/send", {"text": "hi"}))["ok"]
        assert page.events == [{"topic": "chat/chat", "event": "message", "data": {"text": "hi"}, "seq": 1}]
        hub = env.server._hub
        (topic,) = hub.topics.values()
        assert topic.rules is None
        hub.deliver([Frame(topic.name, "message", b'{"text":"from elsewhere"}', None, False)])
        assert (await page.recv())["seq"] == 2


@pytest.mark.parametrize("topic", ["chat/chat", "chat/chats", "chat/__client"])
def test_a_stream_below_the_name_of_a_contract_fails_at_start(topic: str) -> None:
    @live.stream(topic, path="test/rows")
    async def rows(ctx: Context[Any]) -> list[Any]:
        return []

    told = rf"rows .*the topic '{topic}' begins with the name of .*Chat, as .* do; give the stream another one"
    with pytest.raises(DeclarationError, match=told):
        LiveServer({"a": App().Chat, "b": beside(rows=rows)})
    LiveServer({"b": beside(rows=rows)})


def test_a_channel_or_a_template_there_fails_at_start() -> None:
    talk = live.channel("chat/chat", item=str, path="test/talk")
    with pytest.raises(DeclarationError, match=r"the topic 'chat/chat' begins with the name of .*Chat"):
        LiveServer({"a": App().Chat, "b": beside(talk=talk)})

    @live.stream("chat/{name}", path="test/named")
    async def named(ctx: Context[Any], name: str) -> list[Any]:
        return []

    with pytest.raises(DeclarationError, match=r"the topic 'chat/\{name\}' begins with the name of .*Chat"):
        LiveServer({"a": App().Chat, "b": beside(named=named)})


def test_streams_next_to_the_topics_of_contracts_are_fine() -> None:
    @live.stream("chats/chat", path="test/rows")
    async def rows(ctx: Context[Any]) -> list[Any]:
        return []

    @live.stream("chat:{name}", path="test/named")
    async def named(ctx: Context[Any], name: str) -> list[Any]:
        return []

    LiveServer({"a": App().Chat, "b": beside(rows=rows, named=named)})


# -- on_connect


class _Unreadable:
    @property
    def __annotations__(self) -> Any:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        raise AttributeError("nothere")

    def __call__(self, request: ConnectRequest) -> None: ...


def strange(request: ConnectRequest) -> asyncio.nothere.User:  # type: ignore[name-defined]  # pyright: ignore[reportAttributeAccessIssue]
    return Who()


class Other(Locals, frozen=True): ...


def test_what_cannot_be_read_of_on_connect_is_no_error() -> None:
    LiveServer([App().Chat], on_connect=strange)
    LiveServer([App().Chat], on_connect=_Unreadable())


def test_a_server_whose_contracts_expect_nothing_does_not_look_at_on_connect() -> None:
    looked: list[str] = []

    class Looking:
        @property
        def __wrapped__(self) -> Any:
            looked.append("")
            raise AttributeError

        def __call__(self, request: ConnectRequest) -> Other:
            return Other()

    class Plain(Contract[Events], path="/plain"): ...

    LiveServer([Plain], on_connect=Looking())
    assert looked == []
    LiveServer([App().Chat], on_connect=Looking())
    assert looked


# -- listed


async def test_a_contract_may_be_the_value_of_a_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.rooms.contract_kit._guard", guard(authenticated=True))
    server = LiveServer({"whatever": App().Chat}, on_connect=connected)
    async with TestEnv(server) as env:
        ann, nobody = await Page.open(env, "/rooms/a", user="ann"), await Page.open(env, "/rooms/a")
        assert (await ann.call("chat/__event/who"))["data"] == "ann"  # it keeps its name
        assert (await nobody.call("chat/__open", {"room_id": "a"}))["code"] == "UNAUTHENTICATED"  # and its guard


def test_what_is_neither_module_nor_contract_is_refused() -> None:
    modules: Any = [Who]
    with pytest.raises(ConfigError, match="modules= takes modules and contracts"):
        LiveServer(modules)


class Rest(Contract[Events, Params], path="/f/{room_id:path}"):
    @event
    def here(self) -> None: ...


class Zone(msgspec.Struct):
    z: str


class One(Contract[Events, Zone], path="/f/{z}"):
    @event
    def here(self) -> None: ...


@pytest.mark.parametrize("contracts", [(Rest, One), (One, Rest)])
async def test_one_segment_wins_over_the_rest_of_the_url_whatever_they_are_called(contracts: Any) -> None:
    async with serve(*contracts) as env:
        page = await Page.open(env, "/f/x")
        assert (await page.call("one/__event/here"))["ok"]
        page = await Page.open(env, "/f/x/y")
        assert (await page.call("rest/__event/here"))["ok"]


async def test_the_url_is_looked_at_once_for_each_step_of_a_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    route = Catalogue.route

    def counted(self: Catalogue, path: str) -> Any:
        looked.append(path)
        return route(self, path)

    monkeypatch.setattr(Catalogue, "route", counted)
    async with serve(App().Chat) as env:
        await Page.open(env, "/rooms/a")
    assert looked == ["/rooms/a"] * 2  # is there anything, and what


# -- without a connection


async def test_a_contract_with_an_init_of_its_own_can_be_had_without_a_connection() -> None:
    class Own(Contract[ToClient, Params, Who], path="/own/{room_id}"):
        def __init__(self, params: Params, locals: Who) -> None:  # noqa: A002 - the base's name
            super().__init__(params, locals)
            self.began_in = params.room_id.upper()

        @room.private(auto_join=True)
        def here(self) -> RoomKey:
            return self.params.room_id

    async with serve(Own) as env:
        page = await Page.open(env, "/own/a")
        await env.settle()
        own = env.server.contract(Own)
        own.here.at("a").emit.message(Message("job"))
        assert await page.heard() == [("own/here", "message", {"text": "job"})]
        for name in ("params", "locals", "began_in"):
            with pytest.raises(AttributeError, match=rf"this .*Own has no {name}: LiveServer.contract\(\) made it"):
                getattr(own, name)


def test_an_attribute_that_does_not_exist_is_told_as_ever() -> None:
    chat = App().Chat(Params("a"), Who())
    with pytest.raises(AttributeError, match=r"Chat' object has no attribute 'nothing'"):
        chat.nothing  # type: ignore[attr-defined]  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


async def test_a_stream_whose_topic_turns_out_to_be_that_of_a_contract_is_an_invalid_request() -> None:
    @live.stream("{kind}/{id}", path="test/templated")
    async def templated(ctx: Context[Any], kind: str, id: str) -> list[Any]:  # noqa: A002 - a part of the template
        return []

    @live.stream(lambda ctx, name: name, path="test/computed")
    async def computed(ctx: Context[Any], name: str) -> list[Any]:
        return []

    async with serve(App().Chat, beside(templated=templated, computed=computed)) as env:
        page = await Page.open(env, "/ws")
        for path, args in (("templated", ["chat", "chat"]), ("computed", ["chat/x"]), ("computed", ["chat/"])):
            await page.send(rpc=f"test/{path}", id="s", args=args, stream=True)
            refused = await page.answer("s")
            assert refused["code"] == "INVALID_REQUEST"
            assert "begins with the name of a contract" in refused["error"]
        for path, args in (("templated", ["chats", "chat"]), ("computed", ["chat"]), ("computed", ["xchat/x"])):
            await page.send(rpc=f"test/{path}", id="s", args=args, stream=True)
            assert (await page.answer("s"))["ok"]


async def test_events_of_contracts_are_none_for_those_who_watch_topics_whichever_node_they_come_from() -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a")
        await page.call("chat/__open", {"room_id": "a"})
        hub, watched = env.server._hub, []
        hub.watch = lambda topic, event, _: watched.append((topic, event))
        (name,) = hub.topics
        await page.call("chat/__event/send", {"text": "hi"})
        hub.deliver([Frame(name, "message", b"1", None, False), Frame("rows", "created", b"1", None, False)])
        assert watched == [("rows", "created")]
        hub.watch = None

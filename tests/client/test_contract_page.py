"""Pages of contracts: opening, calling, joining and hearing, against a scripted server."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from liverpc.client import Client, ClientConfig, ClientCounters, ContractPage, RpcError, connect, remote
from liverpc.client.incoming import EVENTS_MAX
from liverpc.client.socket import HandshakeRefused
from liverpc.client.urls import url_of
from liverpc.pages import PageContract
from tests.client.client_kit import Pipe, Script, now, until
from tests.client.client_kit import refuse as refuse_connection
from tests.client.contract_kit import (
    OPENED,
    P1,
    P2,
    Chat,
    Lobby,
    Message,
    OpenProject,
    Send,
    Sent,
    Server,
    ToClient,
    answer,
    asked,
    following,
    refuse,
)


@asynccontextmanager
async def opened(server: Server, **settings: Any) -> AsyncIterator[tuple[ContractPage[Chat], Pipe]]:
    page = server.page(**settings)
    opening = asyncio.create_task(page.open())
    assert await answer(server.pipes[0], "chat/__open", OPENED) == [{"room_id": "general"}, "/rooms/{room_id}"]
    await opening
    try:
        yield page, server.pipes[0]
    finally:
        await page.aclose()


def status_of(page: ContractPage[Any]) -> str:
    return page.status


# -- where


class Params(msgspec.Struct):
    room_id: Any


class Files(PageContract[ToClient], path="/files/{owner}/{name:path}"):
    pass


class Base(PageContract[ToClient]):
    pass


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("wss://host", "wss://host/files/a%2Fb%20%C3%BC/x/y%3F"),
        ("wss://u:p@host:1/app/", "wss://u:p@host:1/app/files/a%2Fb%20%C3%BC/x/y%3F"),
        ("ws://host/app?token=a/b", "ws://host/app/files/a%2Fb%20%C3%BC/x/y%3F?token=a/b"),
    ],
)
def test_the_path_is_filled_and_encoded_behind_what_the_base_has(base: str, url: str) -> None:
    assert url_of(Files, base, {"owner": "a/b ü", "name": "x/y?"}) == url


@pytest.mark.parametrize(
    ("args", "parts", "text"),
    [
        ((Chat, "ws://h"), {}, "needs room_id"),
        ((Chat, "ws://h"), {"room_id": "a", "rom": "b"}, "has no rom; it has room_id"),
        ((Chat, "ws://h"), {"room": "b"}, "needs room_id, and has no room$"),
        ((Chat, "ws://h"), {"room_id": True}, "room_id is True, which is neither text nor a number"),
        ((Chat, "ws://h"), {"room_id": None}, "room_id is None, which is neither text nor a number"),
        ((Chat, "ws://h", Params(False)), {}, "room_id is False, which"),
        ((Chat, "ws://h"), {"room_id": ""}, "room_id is empty"),
        ((Chat, "ws://h", Params("a")), {"room_id": "a"}, "as one object or by name, not both"),
        ((Chat, "ws://h", object()), {}, "needs room_id"),
        ((Chat,), {"room_id": "a"}, "needs the server's URL"),
        ((Base, "ws://h"), {}, "no contract that can be opened"),
        ((Server, "ws://h"), {}, "no contract that can be opened"),
        (("ws://h", "ws://h"), {}, "takes no a second URL"),
        (("ws://h",), {"room_id": "a"}, "takes no room_id"),
    ],
)
async def test_what_does_not_fit_is_refused_before_connecting(args: Any, parts: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        connect(*args, **parts)


class Renamed(msgspec.Struct, rename={"number": "room_id"}, omit_defaults=True, tag=True):
    number: int = 7


@pytest.mark.parametrize("params", [Params(7), {"room_id": "7"}, Renamed(), SimpleNamespace(room_id=7)])
async def test_the_parts_may_be_one_object(params: Any) -> None:
    server = Server()
    async with _client(server) as (client, pipe):
        open_any: Any = client.open
        opening = asyncio.create_task(open_any(Chat, params).open())
        assert await answer(pipe, "chat/__open", OPENED) == [{"room_id": "7"}, "/rooms/{room_id}"]
        await opening


# -- opening


async def test_a_page_is_open_when_the_server_says_so() -> None:
    server = Server()
    page = server.page()
    assert status_of(page) == "connecting"
    async with opened(server) as (page, _):
        assert (status_of(page), page.client.status) == ("connected", "connected")
        assert (page.joined, page.refused, page.error) == (("chat",), ("tenant",), None)
        with pytest.raises(RuntimeError, match="was used before"):
            await page.open()
    assert (status_of(page), page.client.status) == ("closed", "closed")
    with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
        await page.call(Chat.clear)


async def test_a_page_that_is_not_open_says_how_to_open_it() -> None:
    page = Server().page()
    for use in (page.call(Chat.clear), page.join(Chat.tenant), page.leave(Chat.tenant)):
        with pytest.raises(RuntimeError, match="`async with` block"):
            await use
    await page.aclose()
    assert status_of(page) == "closed"
    with pytest.raises(RuntimeError, match="was used before"):
        await page.open()


async def test_a_contract_that_is_not_opened_closes_page_and_client() -> None:
    server = Server()
    page = server.page()
    opening = asyncio.create_task(page.open())
    await refuse(server.pipes[0], "chat/__open", "NOT_FOUND")
    with pytest.raises(RpcError, match=r"NOT_FOUND: chat \(/rooms/\{room_id\}\) was not opened: no"):
        await opening
    assert (status_of(page), page.client.status) == ("closed", "closed")


async def test_a_room_that_is_required_and_refused_is_told_as_the_end_of_the_client() -> None:
    server = Server()
    page = server.page()
    opening = asyncio.create_task(page.open())
    await asked(server.pipes[0], "chat/__open")
    server.pipes[0].lose(4403, "a room that is needed here may not be joined")
    with pytest.raises(RpcError, match=r"CONNECTION_CLOSED: .* a room that is needed here"):
        await opening
    assert status_of(page) == "closed"


@pytest.mark.parametrize(("attempts", "code"), [(None, "TIMEOUT"), (2, "CONNECTION_CLOSED")])
async def test_a_url_that_nothing_answers_is_told_with_a_cure(attempts: int | None, code: str) -> None:
    script = Script(refuse_connection(HandshakeRefused(404, "nothing here")))
    url, config = "ws://u:secret@scripted/ws?token=secret", ClientConfig(max_attempts=attempts)
    page = connect(Chat, url, room_id="x y", connector=script, config=config)
    with pytest.raises(RpcError, match=f"{code}: .*HTTP 404 nothing here; asked for /ws/rooms/x%20y") as caught:
        await page.open()
    assert "a contract takes the server's URL without path" in caught.value.message
    assert "secret" not in caught.value.message
    assert status_of(page) == "closed"


async def test_no_answer_in_time_is_an_error() -> None:
    server = Server()
    with pytest.raises(RpcError, match="TIMEOUT"):
        await server.page(timeout=4.0).open()
    assert now() == 4.0


async def test_an_opening_that_is_cancelled_leaves_nothing() -> None:
    server = Server()
    page = server.page()
    opening = asyncio.create_task(page.open())
    await asked(server.pipes[0], "chat/__open")
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert (status_of(page), page.client.status) == ("closed", "closed")


# -- several on one connection


@asynccontextmanager
async def _client(server: Server, **settings: Any) -> AsyncIterator[tuple[Client, Pipe]]:
    async with server.client(**settings) as client:
        yield client, server.pipes[0]


async def test_two_contracts_share_a_connection_and_hear_their_own_events() -> None:
    async with opened(Server()) as (chat, pipe):
        heard: list[Any] = []
        chat.on(ToClient.cleared, lambda: heard.append("chat"))
        entering = asyncio.create_task(chat.client.open(Lobby).open())
        assert await answer(pipe, "lobby/__open", OPENED) == [{}, "/lobby"]
        lobby = await entering
        lobby.on(ToClient.cleared, lambda: heard.append("lobby"))
        pipe.event("cleared", None, topic="lobby/x")
        pipe.event("cleared", None, topic="chat/__client")
        pipe.event("cleared", None, topic="elsewhere/x")
        await until(lambda: len(heard) == 2)
        assert heard == ["lobby", "chat"]
        leaving = asyncio.create_task(lobby.aclose())
        await asked(pipe, "lobby/__close")
        pipe.event("cleared", None, topic="lobby/x")  # nobody hears it
        pipe.event("cleared", None, topic="chat/chat")
        await until(lambda: len(heard) == 3)
        assert (heard[2], status_of(lobby), status_of(chat)) == ("chat", "closed", "connected")
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving


async def test_a_contract_is_open_once_and_again_when_it_is_left() -> None:
    async with _client(Server()) as (client, pipe):
        opening = asyncio.create_task(client.open(Chat, room_id="a").open())
        await answer(pipe, "chat/__open", OPENED)
        first = await opening
        with pytest.raises(RuntimeError, match="has 'chat' open already"):
            await client.open(Chat, room_id="b").open()
        assert status_of(first) == "connected"
        leaving = asyncio.create_task(first.aclose())
        frame = await asked(pipe, "chat/__close")
        opening = asyncio.create_task(client.open(Chat, room_id="b").open())
        await asyncio.sleep(0)
        assert pipe.sent == []  # it waits until no event of the first one can come
        pipe.answer(frame["id"])
        await leaving
        await first.aclose()
        assert (await answer(pipe, "chat/__open", OPENED))[0] == {"room_id": "b"}
        await opening


async def test_a_contract_that_is_refused_leaves_the_client_as_it_is() -> None:
    async with _client(Server()) as (client, pipe):
        opening = asyncio.create_task(client.open(Lobby).open())
        await refuse(pipe, "lobby/__open", "FORBIDDEN")
        with pytest.raises(RpcError, match="FORBIDDEN"):
            await opening
        await answer(pipe, "lobby/__close")
        assert client.status == "connected"
        opening = asyncio.create_task(client.open(Lobby).open())
        await answer(pipe, "lobby/__open", OPENED)
        await opening


async def test_a_page_has_the_time_limit_of_its_client_and_no_key() -> None:
    async with _client(Server()) as (client, pipe):
        with pytest.raises(ValueError, match="not to a contract"):
            client.using(idempotency_key="k").open(Lobby)
        opening = asyncio.create_task(client.using(timeout=4.0).open(Lobby).open())
        await answer(pipe, "lobby/__open", OPENED)
        page = await opening
        with pytest.raises(RpcError, match="TIMEOUT"):
            await page.call(Lobby.hello)
        assert now() == 4.0


async def test_a_client_that_is_not_open_opens_no_contract() -> None:
    client = Server().client()
    with pytest.raises(RuntimeError, match="the client is not open"):
        await client.open(Lobby).open()
    await client.aclose()
    with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
        await client.open(Lobby).open()


# -- calls and rooms


async def test_a_call_returns_what_the_action_declares() -> None:
    async with opened(Server()) as (page, pipe):
        calling = asyncio.create_task(page.call(Chat.send, Send("hi")))
        assert await answer(pipe, "chat/__event/send", {"id": "7", "more": 1}) == [{"text": "hi"}]
        assert await calling == Sent("7")
        loose: Any = page
        calling = asyncio.create_task(loose.call(Chat.send, data=Send("hi")))
        await answer(pipe, "chat/__event/send", {"id": 7})
        with pytest.raises(RpcError, match="INVALID_RESULT"):
            await calling
        clearing = asyncio.create_task(loose.call(Chat.clear))
        assert await answer(pipe, "chat/__event/wipe") == []
        assert await clearing is None


async def test_identical_calls_are_two_requests() -> None:
    async with opened(Server()) as (page, pipe):
        calls = [asyncio.create_task(page.call(Chat.send, Send("hi"))) for _ in range(2)]
        for name in ("1", "2"):
            await answer(pipe, "chat/__event/send", {"id": name})
        assert await asyncio.gather(*calls) == [Sent("1"), Sent("2")]


async def test_what_is_not_in_the_contract_is_refused_before_anything_is_sent() -> None:
    async with opened(Server()) as (page, pipe):
        loose: Any = page
        for use, text in (
            (loose.call(Lobby.hello), "is not an action of Chat, which has"),
            (loose.call(Chat.tenant), "is not an action"),
            (loose.join(Chat.send), "is not a room of Chat"),
            (loose.join("project"), "is not a room of Chat"),
            (loose.leave(Chat.send), "is not a room of Chat"),
            (loose.call(Chat.send), "needs its payload"),
            (loose.call(Chat.clear, 1), "takes no payload"),
            (loose.join(Chat.project), "needs its payload"),
            (loose.join(Chat.tenant, P1), "takes no payload"),
        ):
            with pytest.raises(TypeError, match=text):
                await use
        with pytest.raises(TypeError, match="is not an event of ToClient, which has message, cleared"):
            loose.on(Chat.send, print)
        with pytest.raises(TypeError, match="is not an event of ToClient"):
            loose.events("message")
        await asyncio.sleep(0)
        assert pipe.sent == []


async def test_a_room_is_asked_for_once_while_it_is_joined() -> None:
    async with opened(Server()) as (page, pipe):
        joining = asyncio.create_task(page.join(Chat.project, P1))
        assert await answer(pipe, "chat/__join/project") == [{"project_id": "p1"}]
        await joining
        await page.join(Chat.project, OpenProject("p1"))
        assert pipe.sent == []
        joining = asyncio.create_task(page.join(Chat.project, P2))
        assert await answer(pipe, "chat/__join/project") == [{"project_id": "p2"}]
        await joining
        leaving = asyncio.create_task(page.leave(Chat.project, P1))
        assert await answer(pipe, "chat/__leave/project") == [{"project_id": "p1"}]
        await leaving
        joining = asyncio.create_task(page.join(Chat.project, P1))
        await answer(pipe, "chat/__join/project")
        await joining
        leaving = asyncio.create_task(page.leave(Chat.project))
        assert await answer(pipe, "chat/__leave/project") == []
        await leaving
        assert page._open.rooms == {}


async def test_a_room_that_is_refused_is_forgotten() -> None:
    async with opened(Server()) as (page, pipe):
        lost: list[Any] = []
        page.on_join_lost(lambda *what: lost.append(what))
        joining = asyncio.create_task(page.join(Chat.tenant))
        await refuse(pipe, "chat/__join/tenant", "JOIN_REJECTED")
        with pytest.raises(RpcError, match="JOIN_REJECTED: no"):
            await joining
        assert (page._open.rooms, lost) == ({}, [])
        joining = asyncio.create_task(page.join(Chat.tenant))
        await asked(pipe, "chat/__join/tenant")
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        assert page._open.rooms == {}


# -- events


async def test_events_arrive_as_their_declared_types() -> None:
    async with opened(Server()) as (page, pipe):
        heard: list[Any] = []
        stop = page.on(ToClient.message, heard.append)
        page.on(ToClient.cleared, lambda: heard.append(None))
        pipe.event("message", {"id": "1", "text": "a", "since": "a later version"}, topic="chat/chat")
        pipe.event("cleared", {"since": "a later version"}, topic="chat/project")
        pipe.event("of a later version", {}, topic="chat/chat")
        await until(lambda: len(heard) == 2)
        assert heard == [Message("1", "a"), None]
        stop()
        stop()
        pipe.event("message", {"id": "2", "text": "b"}, topic="chat/chat")
        pipe.event("cleared", None, topic="chat/chat")
        await until(lambda: len(heard) == 3)
        assert heard[2] is None
        assert page.client.counters == ClientCounters()


async def test_an_event_that_does_not_fit_is_counted_and_the_first_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened(Server()) as (page, pipe):
        heard: list[Any] = []
        stop = page.on(ToClient.cleared, lambda: heard.append(None))
        pipe.event("message", {"id": 1}, topic="chat/chat")  # nobody wants it, so it is not read
        pipe.event("cleared", None, topic="chat/chat")
        await until(lambda: heard.pop() is None if heard else False)
        stop()
        page.on(ToClient.message, heard.append)
        with caplog.at_level(logging.WARNING, "liverpc.client"):
            for data in ({"id": 1}, None, {"id": "1", "text": "a"}):
                pipe.event("message", data, topic="chat/chat")
            await until(lambda: heard)
        assert heard == [Message("1", "a")]
        (said,) = caplog.messages
        assert "chat: 'message' is dropped, for its payload does not fit" in said
        assert page.client.counters == ClientCounters(contract_events_unreadable=2)


async def test_topics_of_an_open_contract_are_no_streams() -> None:
    async with _client(Server()) as (client, pipe):
        opening = asyncio.create_task(client.stream(remote("a/rows", returns=list[int])).open())
        await answer(pipe, "a/rows", [], topic="chat/rows", merge="latest")
        rows = await opening
        entering = asyncio.create_task(client.open(Chat, room_id="a").open())
        await answer(pipe, "chat/__open", OPENED)
        page = await entering
        heard: list[Any] = []
        page.on(ToClient.cleared, lambda: heard.append(1))
        pipe.event("cleared", 7, topic="chat/rows")
        pipe.event("cleared", 8, topic="chat/chat")
        pipe.event("cleared", 9, topic="chat")
        await until(lambda: len(heard) == 2)
        assert rows.value == []
        closing = asyncio.create_task(page.aclose())
        frame = await asked(pipe, "chat/__close")
        pipe.event("cleared", 10, topic="chat/rows")
        pipe.answer(frame["id"])
        await closing
        pipe.event("cleared", 11, topic="chat/rows")
        await until(lambda: rows.value)
        assert (rows.value, heard) == ([11], [1, 1])


async def test_a_coroutine_function_is_no_callback() -> None:
    async def hear(*_: Any) -> None: ...

    page: Any = Server().page()
    registers: list[Callable[..., object]] = [partial(page.on, ToClient.message), page.on_join_lost, page.on_status]
    for register in registers:
        with pytest.raises(TypeError, match=r"hear.* is a coroutine function; .*page\.events"):
            register(hear)
    await page.aclose()


async def test_a_callback_that_raises_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with opened(Server()) as (page, pipe):
        heard: list[Any] = []
        page.on(ToClient.cleared, lambda: 1 / 0)
        page.on(ToClient.cleared, lambda: heard.append(1))
        pipe.event("cleared", None, topic="chat/chat")
        await until(lambda: heard)
        assert "a callback raised" in caplog.text


async def test_an_iterator_keeps_what_comes_until_the_page_is_closed() -> None:
    async with opened(Server()) as (page, pipe):
        messages, cleared = page.events(ToClient.message), page.events(ToClient.cleared)
        for number in range(3):
            pipe.event("message", {"id": str(number), "text": ""}, topic="chat/chat")
        pipe.event("cleared", None, topic="chat/chat")
        assert await following(cleared) is None
        assert (await anext(messages)).id == "0"
        waiting = asyncio.create_task(following(cleared))
        await asyncio.sleep(0)
    with pytest.raises(StopAsyncIteration):
        await waiting
    assert [message.id async for message in messages] == ["1", "2"]


@pytest.mark.parametrize("surplus", [-1, 0, 1])
async def test_an_iterator_that_is_too_slow_loses_the_oldest(surplus: int) -> None:
    async with opened(Server()) as (page, pipe):
        messages = page.events(ToClient.message)
        count = EVENTS_MAX + surplus
        done = asyncio.Event()
        page.on(ToClient.cleared, done.set)
        for number in range(count):
            pipe.event("message", {"id": str(number), "text": ""}, topic="chat/chat")
        pipe.event("cleared", None, topic="chat/chat")
        await done.wait()
        lost = max(surplus, 0)
        assert (await anext(messages)).id == str(lost)
        assert page.client.counters == ClientCounters(contract_events_dropped=lost)


async def test_an_iterator_nobody_holds_keeps_nothing() -> None:
    async with opened(Server()) as (page, _):
        iterator = page.events(ToClient.message)
        assert page._listeners["message"]
        del iterator
        gc.collect()
        assert not page._listeners["message"]

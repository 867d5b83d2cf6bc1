"""The tutorial's first page: a contract beside a route, through every door."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.exceptions import InvalidStatus

from liverpc.client import connect
from tests.e2e.doors import ASGI, DOORS, FAST, Door, starlette_around, under_uvicorn
from tests.e2e.tutorial_kit import Chat, Message, Send, Sent, ToClient, make_server, raw

pytestmark = pytest.mark.realtime


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_everybody_in_a_room_hears_what_a_page_sends_and_the_result_comes_after_it(door: Door) -> None:
    # acceptance 241, 242
    async with (
        door.serve(make_server(**door.options)) as at,
        connect(Chat, at.base, room_id="general") as ann,
        connect(Chat, at.base, room_id="general") as ben,
        connect(Chat, at.base, room_id="random") as cleo,
    ):
        order: list[object] = []
        heard: asyncio.Queue[Message] = asyncio.Queue()
        elsewhere: list[Message] = []
        ann.on(ToClient.message, order.append)
        ben.on(ToClient.message, heard.put_nowait)
        cleo.on(ToClient.message, elsewhere.append)
        order.append(await ann.call(Chat.send, Send("hello")))
        message = Message("general-1", "general", "hello")
        assert order == [message, Sent("general-1")]
        assert await asyncio.wait_for(heard.get(), 10) == message
        await cleo.call(Chat.whoami)
        assert elsewhere == []


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_what_does_not_fit_is_refused_and_nobody_hears_of_it(door: Door) -> None:  # acceptance 242
    async with door.serve(make_server(**door.options)) as at, raw(at) as ann, raw(at) as ben:
        assert await ben.heard() == []
        for payload in (
            {},
            {"text": 7},
            {"text": "hi", "room_id": "random"},
            {"text": "hi", "key": ["chat", "random"]},
        ):
            answer = json.loads(await ann.ask("chat/__event/send", payload))["data"]
            assert (answer["ok"], answer["code"]) == (False, "VALIDATION")
            assert answer["issues"]
        assert await ann.heard() == await ben.heard() == []
        assert await ann.code("chat/__event/send", {"text": "hi"}) is None
        assert await ben.heard() == [("chat/chat", "message")]


@pytest.mark.parametrize("door", [FAST, ASGI], ids=repr)
async def test_a_page_cannot_choose_another_room(door: Door) -> None:
    async with door.serve(make_server(**door.options)) as at, raw(at) as page, raw(at, "/rooms/random") as other:
        for path, args in (
            ("chat/__join/chat", [{"room_id": "random"}]),
            ("chat/__join/chat", ["random"]),
            ("chat/__join/chat", [["chat", "random"]]),
            ("chat/__join/random", []),
            ("chat/__event/join", ["random"]),
        ):
            assert await page.code(path, *args) == "NOT_FOUND"
        assert await page.code("chat/__open", {"room_id": "random"}) == "INVALID_REQUEST"
        assert await other.code("chat/__event/send", {"text": "for random"}) is None
        assert await page.heard() == []


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_a_url_that_fits_no_contract_is_no_page(door: Door) -> None:  # acceptance 250
    async with door.serve(make_server(**door.options)) as at:
        for path in ("/rooms", "/rooms/", "/rooms/a/b", "/room/a", "/"):
            with pytest.raises(InvalidStatus, match="HTTP 404"):
                async with raw(at, path):
                    pass
        async with raw(at, "/rooms/a%2Fb%20c") as page:
            assert await page.code("chat/__event/send", {"text": "hi"}) is None
            assert json.loads(page.said[-1])["data"]["room_id"] == "a/b c"


async def test_below_the_prefix_of_a_mounted_server_there_are_the_pages_too() -> None:
    app = starlette_around(make_server(), "/rt")
    async with under_uvicorn(app, "/rt/ws") as at:
        async with (
            connect(Chat, at.base + "/rt", room_id="general") as page,
            connect(at.url) as client,
            client.open(Chat, room_id="general") as other,
        ):
            heard: asyncio.Queue[Message] = asyncio.Queue()
            other.on(ToClient.message, heard.put_nowait)
            await page.call(Chat.send, Send("hello"))
            assert (await asyncio.wait_for(heard.get(), 10)).text == "hello"
        with pytest.raises(InvalidStatus):
            async with raw(at, "/rooms/general"):
                pass

"""What of a page outlives it: nothing. Pages that are closed, refused or cancelled, against a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from liverpc.client import Client, ContractPage, OfflineQueue, RpcError, connect
from tests.client.client_kit import Pipe, until
from tests.client.contract_kit import (
    OPENED,
    P1,
    Chat,
    Send,
    Server,
    ToClient,
    answer,
    asked,
    refuse,
)

OPEN = "chat/__open"


@asynccontextmanager
async def connected(server: Server, offline: OfflineQueue | None = None) -> AsyncIterator[Client]:
    made = connect("ws://scripted/ws", config=server.config(), connector=server.script, offline=offline)
    async with made as client:
        yield client


async def opened(client: Client, pipe: Pipe, room_id: str = "a") -> ContractPage[Chat]:
    opening = asyncio.create_task(client.open(Chat, room_id=room_id).open())
    assert (await answer(pipe, OPEN, OPENED))[0] == {"room_id": room_id}
    return await opening


def begun(*uses: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(use) for use in uses]


async def codes(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    return [each.code if isinstance(each, RpcError) else each for each in outcomes]


@pytest.mark.parametrize("offline", [None, OfflineQueue(), OfflineQueue(max_calls=3)])
async def test_what_waits_for_a_connection_ends_with_its_page(offline: OfflineQueue | None) -> None:
    server = Server(2)
    first, second = server.pipes
    async with connected(server, offline) as client:
        page = await opened(client, first)
        first.lose()
        await until(lambda: page.status == "reconnecting")
        tasks = begun(page.call(Chat.send, Send("for a only")), page.join(Chat.project, P1), page.leave(Chat.project))
        await asyncio.sleep(0)
        await page.aclose()
        opening = asyncio.create_task(client.open(Chat, room_id="b").open())
        assert await codes(tasks) == ["CONNECTION_CLOSED"] * 3
        assert (await answer(second, OPEN, OPENED))[0] == {"room_id": "b"}
        other = await opening
        calls = begun(*(other.call(Chat.clear) for _ in range(3)))  # what has ended takes no place in the queue
        for _ in calls:
            await answer(second, "chat/__event/wipe")
        assert await codes(calls) == [None] * 3
        assert client.counters.calls_overflowed == 0


async def test_what_is_held_behind_others_in_an_offline_queue_ends_with_its_page() -> None:
    server = Server(2)
    first, second = server.pipes
    async with connected(server, OfflineQueue()) as client:
        page = await opened(client, first)
        first.lose()
        await until(lambda: page.status == "reconnecting")
        tasks = begun(*(page.call(Chat.send, Send(text)) for text in "xyz"))
        await answer(second, OPEN, OPENED)
        await asked(second, "chat/__event/send")  # the others are to be sent one by one
        closing = asyncio.create_task(page.aclose())
        assert await codes(tasks) == ["CONNECTION_CLOSED"] * 3
        await answer(second, "chat/__close")
        await closing


async def test_what_is_under_way_ends_with_its_page() -> None:
    server = Server()
    (pipe,) = server.pipes
    async with connected(server) as client:
        page = await opened(client, pipe)
        tasks = begun(page.call(Chat.send, Send("hi")), page.join(Chat.project, P1))
        await asked(pipe, "chat/__event/send")
        await asked(pipe, "chat/__join/project")
        closing = asyncio.create_task(page.aclose())
        with pytest.raises(RpcError, match="CONNECTION_CLOSED: the page of chat was closed"):
            await tasks[0]
        assert await codes(tasks[1:]) == ["CONNECTION_CLOSED"]
        await answer(pipe, "chat/__close")
        await closing
        assert (page.error, page._open.rooms, page._open.calls) == (None, {}, set())


@pytest.mark.parametrize("cancelled", [False, True])
async def test_an_opening_that_failed_can_be_tried_again_at_once(cancelled: bool) -> None:
    server = Server()
    (pipe,) = server.pipes
    async with connected(server) as client:
        opening = asyncio.create_task(client.open(Chat, room_id="a").open())
        if cancelled:
            await asked(pipe, OPEN)
            opening.cancel()
        else:
            await refuse(pipe, OPEN, "FORBIDDEN")
        with pytest.raises(asyncio.CancelledError if cancelled else RpcError):
            await opening
        again, and_again = begun(*(client.open(Chat, room_id=room).open() for room in "bc"))
        await answer(pipe, "chat/__close")
        assert (await answer(pipe, OPEN, OPENED))[0] == {"room_id": "b"}
        assert (await again).status == "connected"
        with pytest.raises(RuntimeError, match="has 'chat' open already"):
            await and_again


async def test_a_page_that_is_closed_while_it_waits_for_another_to_end_is_not_opened() -> None:
    server = Server()
    (pipe,) = server.pipes
    async with connected(server) as client:
        page = await opened(client, pipe)
        closing = asyncio.create_task(page.aclose())
        frame = await asked(pipe, "chat/__close")
        late = client.open(Chat, room_id="b")
        opening = asyncio.create_task(late.open())
        await asyncio.sleep(0)
        await late.aclose()
        again = asyncio.create_task(page.aclose())
        await asyncio.sleep(0)
        assert not again.done()
        pipe.answer(frame["id"])
        await asyncio.gather(closing, again)
        with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
            await opening
        await asyncio.sleep(1.0)
        assert pipe.sent == []


async def test_the_end_of_a_page_says_whose_doing_it_is() -> None:
    server = Server()
    (pipe,) = server.pipes
    page = server.page()
    opening = asyncio.create_task(page.open())
    await answer(pipe, OPEN, OPENED)
    await opening
    (call,) = begun(page.call(Chat.clear))
    await asked(pipe, "chat/__event/wipe")
    await page.aclose()
    assert page.error is None
    for use in (call, page.call(Chat.clear), page.join(Chat.tenant), page.leave(Chat.tenant)):
        with pytest.raises(RpcError, match="CONNECTION_CLOSED: the page of chat was closed"):
            await use
    registers: list[Callable[[], object]] = [
        lambda: page.on(ToClient.cleared, print),
        lambda: page.on_join_lost(print),
        lambda: page.on_status(print),
    ]
    for register in registers:
        with pytest.raises(RpcError, match="CONNECTION_CLOSED: the page of chat was closed"):
            register()


async def test_a_page_that_the_server_ends_says_why() -> None:
    server = Server()
    (pipe,) = server.pipes
    async with connected(server) as client:
        page = await opened(client, pipe)
        statuses: list[str] = []
        page.on_status(statuses.append)
        pipe.lose(4403, "signed out")
        await until(lambda: page.status == "closed")
        assert statuses == ["closed"]
        assert page.error is not None
        assert (page.error.code, "signed out" in str(page.error)) == ("CONNECTION_CLOSED", True)
        with pytest.raises(RpcError, match=r"CONNECTION_CLOSED: .*signed out"):
            await page.call(Chat.clear)
        with pytest.raises(RpcError, match=r"CONNECTION_CLOSED: .*signed out"):
            page.on(ToClient.cleared, print)

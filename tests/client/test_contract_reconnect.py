"""What becomes of a page when its connection is lost, against a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from liverpc.client import ContractPage, OfflineQueue, RpcError, connect
from liverpc.client.contract import JoinLost
from tests.client.client_kit import Pipe, now, until
from tests.client.contract_kit import (
    OPENED,
    P1,
    P2,
    Chat,
    Lobby,
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

PROJECT = "chat/__join/project"


class Lost(list[tuple[str, Any, str]]):
    """Rooms that could not be joined again."""

    def of(self, page: ContractPage[Any]) -> Lost:
        callback: JoinLost = lambda name, payload, error: self.append((name, payload, error.code))  # noqa: E731
        page.on_join_lost(callback)
        return self


@asynccontextmanager
async def opened(server: Server, **settings: Any) -> AsyncIterator[ContractPage[Chat]]:
    page = server.page(**settings)
    opening = asyncio.create_task(page.open())
    await answer(server.pipes[0], "chat/__open", OPENED)
    await opening
    try:
        yield page
    finally:
        await page.aclose()


async def joined(page: ContractPage[Chat], pipe: Pipe, *projects: OpenProject) -> None:
    for project in projects:
        joining = asyncio.create_task(page.join(Chat.project, project))
        await answer(pipe, PROJECT)
        await joining


def status_of(page: ContractPage[Any]) -> str:
    return page.status


async def sent(pipe: Pipe) -> list[tuple[str, list[Any]]]:
    """The first requests of a connection."""
    await until(lambda: pipe.sent)
    await asyncio.sleep(0)
    return [(frame["rpc"], frame["args"]) for frame in pipe.sent if "rpc" in frame]


async def test_the_contract_comes_first_then_its_rooms_in_order_then_what_waited() -> None:
    server = Server(2)
    first, second = server.pipes
    async with opened(server) as page:
        await joined(page, first, P2, P1)
        first.lose()
        await until(lambda: status_of(page) == "reconnecting")
        calling = asyncio.create_task(page.call(Chat.send, Send("hi")))
        joining = asyncio.create_task(page.join(Chat.tenant))
        assert await sent_later(second) == [
            ("chat/__open", [{"room_id": "general"}, "/rooms/{room_id}"]),
            (PROJECT, [{"project_id": "p2"}]),
            (PROJECT, [{"project_id": "p1"}]),
            ("chat/__event/send", [{"text": "hi"}]),
            ("chat/__join/tenant", []),
        ]
        assert status_of(page) == "reconnecting"
        await answer(second, "chat/__open", {"joined": [], "refused": ["chat"]})
        await until(lambda: status_of(page) == "connected")
        assert (page.joined, page.refused) == ((), ("chat",))
        await answer(second, PROJECT)
        await answer(second, PROJECT)
        await answer(second, "chat/__event/send", {"id": "1"})
        await answer(second, "chat/__join/tenant")
        assert await calling == Sent("1")
        await joining
        await page.join(Chat.project, P1)  # nothing is asked for what is joined again
        assert second.sent == []


async def test_two_contracts_and_their_rooms_come_back_in_order() -> None:
    server = Server(2)
    first, second = server.pipes
    async with opened(server) as page:
        opening = asyncio.create_task(page.client.open(Lobby).open())
        await answer(first, "lobby/__open", OPENED)
        await opening
        await joined(page, first, P1)
        first.lose()
        assert [path for path, _ in await sent_later(second)] == ["chat/__open", PROJECT, "lobby/__open"]


async def sent_later(pipe: Pipe) -> list[tuple[str, list[Any]]]:
    await asyncio.sleep(10.0)
    return await sent(pipe)


async def test_a_room_that_is_refused_again_is_reported_and_given_up() -> None:
    server = Server(3)
    first, second, third = server.pipes
    async with opened(server) as page:
        lost = Lost().of(page)
        await joined(page, first, P1, P2)
        first.lose()
        await answer(second, "chat/__open", OPENED)
        await refuse(second, PROJECT, "JOIN_REJECTED")
        await answer(second, PROJECT)
        await until(lambda: lost)
        assert lost == [("project", P1, "JOIN_REJECTED")]
        second.lose()
        await sent_later(third)
        assert [args for path, args in await sent(third) if path == PROJECT] == [[{"project_id": "p2"}]]
        assert len(lost) == 1


async def test_a_lost_room_that_nobody_is_told_of_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(2)
    async with opened(server) as page:
        await joined(page, server.pipes[0], P1)
        server.pipes[0].lose()
        await answer(server.pipes[1], "chat/__open", OPENED)
        await refuse(server.pipes[1], PROJECT, "JOIN_REJECTED")
        await until(lambda: caplog.messages)
        assert "chat: the room 'project' is lost: JOIN_REJECTED: no" in caplog.text


async def test_a_room_that_the_server_joined_by_itself_and_refuses_now_is_reported_once() -> None:
    server = Server(4)
    async with opened(server) as page:
        lost = Lost().of(page)
        statuses: list[str] = []
        stop = page.on_status(statuses.append)
        server.pipes[0].lose()
        for pipe in server.pipes[1:3]:
            await answer(pipe, "chat/__open", {"joined": [], "refused": ["tenant", "chat"]})
            await until(lambda: status_of(page) == "connected")
            assert lost == [("chat", None, "JOIN_REJECTED")]
            pipe.lose()
        stop()
        await answer(server.pipes[3], "chat/__open", OPENED)
        await until(lambda: status_of(page) == "connected")
        assert statuses == ["reconnecting", "connected"] * 2


async def test_a_room_that_the_server_joined_by_itself_and_the_page_asked_for_is_reported_once() -> None:
    server = Server(2)
    first, second = server.pipes
    page = server.page()
    opening = asyncio.create_task(page.open())
    await answer(first, "chat/__open", {"joined": ["tenant"], "refused": []})
    await opening
    lost = Lost().of(page)
    joining = asyncio.create_task(page.join(Chat.tenant))
    await answer(first, "chat/__join/tenant")
    await joining
    first.lose()
    await answer(second, "chat/__open", {"joined": [], "refused": ["tenant"]})
    await refuse(second, "chat/__join/tenant", "JOIN_REJECTED")
    await until(lambda: lost)
    assert lost == [("tenant", None, "JOIN_REJECTED")]
    await page.aclose()


@pytest.mark.parametrize("explicit", ["joined", "refused", "cancelled", "joined before"])
async def test_a_join_beside_a_rejoin_that_fails_decides(explicit: str) -> None:
    server = Server(3)
    first, second, third = server.pipes
    async with opened(server) as page:
        lost = Lost().of(page)
        await joined(page, first, P1)
        first.lose()
        await until(lambda: status_of(page) == "reconnecting")
        joining = asyncio.create_task(page.join(Chat.project, P1))
        await answer(second, "chat/__open", OPENED)
        again, asked_for = await asked(second, PROJECT), await asked(second, PROJECT)
        if explicit == "joined before":
            second.answer(asked_for["id"])
            await joining
        second.answer(again["id"], ok=False, code="OVERLOADED", error="no")
        await asyncio.sleep(0.1)
        assert lost == []
        if explicit == "cancelled":
            joining.cancel()
        elif explicit == "refused":
            second.answer(asked_for["id"], ok=False, code="JOIN_REJECTED", error="no")
        else:
            second.answer(asked_for["id"])
        await asyncio.gather(joining, return_exceptions=True)
        stays = explicit.startswith("joined")
        assert lost == ([] if stays else [("project", P1, "OVERLOADED")])
        second.lose()
        paths = [path for path, _ in await sent_later(third)]
        assert paths == (["chat/__open", PROJECT] if stays else ["chat/__open"])


async def test_a_room_given_up_for_lack_of_an_answer_is_left() -> None:
    server = Server(2)
    first, second = server.pipes
    async with opened(server) as page:
        lost = Lost().of(page)
        await joined(page, first, P1)
        first.lose()
        await answer(second, "chat/__open", OPENED)
        await asked(second, PROJECT)
        assert await answer(second, "chat/__leave/project") == [{"project_id": "p1"}]
        assert lost == [("project", P1, "TIMEOUT")]
        assert page._open.rooms == {}


async def test_a_connection_lost_while_rooms_are_joined_again_loses_none() -> None:
    server = Server(3)
    first, second, third = server.pipes
    async with opened(server) as page:
        lost = Lost().of(page)
        await joined(page, first, P1)
        first.lose()
        await answer(second, "chat/__open", OPENED)
        await asked(second, PROJECT)
        second.lose()
        await answer(third, "chat/__open", OPENED)
        await answer(third, PROJECT)
        await asyncio.sleep(1.0)
        await page.join(Chat.project, P1)
        assert (lost, third.sent) == ([], [])


async def test_a_room_left_meanwhile_is_not_joined_again() -> None:
    server = Server(3)
    first, second, third = server.pipes
    async with opened(server) as page:
        await joined(page, first, P1, P2)
        first.lose()
        await until(lambda: status_of(page) == "reconnecting")
        leaving = asyncio.create_task(page.leave(Chat.project, P1))
        await answer(second, "chat/__open", OPENED)
        assert await answer(second, PROJECT) == [{"project_id": "p2"}]
        assert await answer(second, "chat/__leave/project") == [{"project_id": "p1"}]
        await leaving
        second.lose()
        await answer(third, "chat/__open", OPENED)
        frame = await asked(third, PROJECT)  # under way when it is left
        leaving = asyncio.create_task(page.leave(Chat.project))
        await answer(third, "chat/__leave/project")
        third.answer(frame["id"])
        await leaving
        assert page._open.rooms == {}


async def test_a_join_that_loses_its_connection_fails_and_is_not_repeated() -> None:
    server = Server(2)
    async with opened(server) as page:
        joining = asyncio.create_task(page.join(Chat.project, P1))
        await asked(server.pipes[0], PROJECT)
        server.pipes[0].lose()
        with pytest.raises(RpcError, match="DISCONNECTED"):
            await joining
        assert [path for path, _ in await sent_later(server.pipes[1])] == ["chat/__open"]


async def test_a_join_answered_just_before_the_loss_is_repeated() -> None:
    server = Server(2)
    async with opened(server) as page:
        joining = asyncio.create_task(page.join(Chat.project, P1))
        await answer(server.pipes[0], PROJECT)
        server.pipes[0].lose()
        await joining
        assert [path for path, _ in await sent_later(server.pipes[1])] == ["chat/__open", PROJECT]


async def test_the_first_opening_waits_for_the_next_connection_in_its_time() -> None:
    server = Server(2)
    opening = asyncio.create_task(server.page(timeout=20.0).open())
    await asked(server.pipes[0], "chat/__open")
    server.pipes[0].lose()
    await answer(server.pipes[1], "chat/__open", OPENED)
    page = await opening
    assert (status_of(page), now()) == ("connected", 3.0)
    await page.aclose()


async def test_a_contract_refused_on_reconnect_keeps_its_rooms_for_the_next(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(3)
    first, second, third = server.pipes
    async with opened(server) as page:
        lost = Lost().of(page)
        await joined(page, first, P1)
        first.lose()
        await refuse(second, "chat/__open", "FORBIDDEN")
        await refuse(second, PROJECT, "NOT_FOUND")
        await until(lambda: status_of(page) == "error")
        assert str(page.error) == "FORBIDDEN: no"
        assert "the server did not open chat again: FORBIDDEN: no" in caplog.text
        await asyncio.sleep(1000.0)
        assert second.sent == []
        second.lose()
        await answer(third, "chat/__open", OPENED)
        await answer(third, PROJECT)
        await until(lambda: status_of(page) == "connected")
        assert (page.error, lost) == (None, [])


async def test_a_server_that_is_overloaded_is_asked_again() -> None:
    server = Server(2)
    first, second = server.pipes
    async with opened(server) as page:
        lost = Lost().of(page)
        statuses: list[str] = []
        page.on_status(statuses.append)
        await joined(page, first, P1)
        first.lose()
        for _ in range(2):
            await refuse(second, "chat/__open", "OVERLOADED", retryAfter=8000)
            await refuse(second, PROJECT, "NOT_FOUND")
        await answer(second, "chat/__open", OPENED)
        await answer(second, PROJECT)
        await until(lambda: status_of(page) == "connected")
        assert now() == 3.0 + 8.0 + 8.0
        assert statuses == ["reconnecting", "error", "connected"]
        await refuse_rest(page, second)
        assert lost == []


async def refuse_rest(page: ContractPage[Chat], pipe: Pipe) -> None:
    """Nothing more is asked for by itself."""
    await asyncio.sleep(1000.0)
    assert (status_of(page), pipe.sent) == ("connected", [])


async def test_iterators_go_on_after_a_reconnect_and_end_with_the_client() -> None:
    server = Server(2)
    first, second = server.pipes
    async with opened(server) as page:
        cleared = page.events(ToClient.cleared)
        waiting = asyncio.create_task(following(cleared))
        first.lose()
        await answer(second, "chat/__open", OPENED)
        second.event("cleared", None, topic="chat/chat")
        assert await waiting is None
        waiting = asyncio.create_task(following(cleared))
        second.lose(4403, "signed out")
        with pytest.raises(StopAsyncIteration):
            await waiting
        assert status_of(page) == "closed"
        with pytest.raises(RpcError, match=r"CONNECTION_CLOSED: .*signed out"):
            await page.call(Chat.clear)


async def test_leaving_while_the_connection_is_lost_needs_nobody() -> None:
    server = Server(2)
    async with server.client() as client:
        opening = asyncio.create_task(client.open(Lobby).open())
        await answer(server.pipes[0], "lobby/__open", OPENED)
        page = await opening
        leaving = asyncio.create_task(page.aclose())
        await asked(server.pipes[0], "lobby/__close")
        server.pipes[0].lose()
        await leaving
        opening = asyncio.create_task(client.open(Lobby).open())
        await answer(server.pipes[1], "lobby/__open", OPENED)
        page = await opening
        server.pipes[1].lose()
        await until(lambda: status_of(page) == "reconnecting")
        await page.aclose()
        assert client.status == "reconnecting"


async def test_with_an_offline_queue_rooms_come_before_what_is_in_it() -> None:
    server = Server(3)
    first, second, third = server.pipes
    page = connect(
        Chat,
        "ws://scripted",
        room_id="general",
        config=server.config(),
        connector=server.script,
        offline=OfflineQueue(),
    )
    opening = asyncio.create_task(page.open())
    await answer(first, "chat/__open", OPENED)
    await opening
    await joined(page, first, P1)
    first.lose()
    await until(lambda: status_of(page) == "reconnecting")
    calling = asyncio.create_task(page.call(Chat.clear))
    second.room.clear()  # the socket takes nothing of what follows
    await asyncio.sleep(4.0)
    second.lose()
    second.room.set()
    await answer(third, "chat/__open", OPENED)
    await answer(third, PROJECT)
    await answer(third, "chat/__event/wipe")
    await calling
    assert third.sent == []
    await page.aclose()

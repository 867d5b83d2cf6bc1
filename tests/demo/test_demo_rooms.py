"""The demo's chat rooms and boards, and that its visitors use all of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from liverpc import Context, LiveServer, RpcError
from liverpc.demo import board, rooms, visits
from liverpc.demo.app import make_server
from liverpc.demo.world import PROJECTS, TEAMS, Message, Todo, Visitor, World, team_of
from liverpc.testing import TestEnv


@pytest.fixture
def called() -> set[str]:
    return set()


@pytest.fixture
async def server(called: set[str]) -> LiveServer:
    server = make_server(World())

    @server.middleware
    async def remember(ctx: Context[Visitor], then: Callable[[], Awaitable[Any]]) -> Any:
        called.add(ctx.path)
        return await then()

    return server


@pytest.fixture
async def env(server: LiveServer) -> AsyncIterator[TestEnv]:
    async with TestEnv(server) as env:
        yield env


def name_in(team: str, without: str | None = None) -> str:
    """A visitor of this team, who does not have this project."""
    names = (f"visitor-{number}" for number in range(100))
    return next(name for name in names if team_of(name) == team and without not in Visitor(name, World()).projects)


async def test_what_is_said_in_a_room_is_heard_there(env: TestEnv) -> None:
    async with (
        env.open(rooms.Chat, query={"user": "ann"}, room_id="general") as ann,
        env.open(rooms.Chat, headers={"cookie": "session=bob"}, room_id="general") as bob,
        env.open(rooms.Chat, room_id="random") as guest,
    ):
        heard: list[Message] = []
        for page in (bob, guest):
            page.on(rooms.ToClient.message, heard.append)
        sent = await ann.call(rooms.Chat.send, rooms.Send("hello"))
        said = await bob.call(rooms.Chat.send, rooms.Send("hi"))
        await env.settle()
        assert heard == [Message(sent.id, "ann", "hello"), Message(said.id, "bob", "hi")]


async def test_teams_hear_their_own_wherever_they_are_and_guests_have_none(env: TestEnv) -> None:
    red, blue = name_in("red"), name_in("blue")
    async with (
        env.open(rooms.Chat, query={"user": red}, room_id="general") as one,
        env.open(rooms.Chat, query={"user": red}, room_id="random") as two,
        env.open(rooms.Chat, query={"user": blue}, room_id="general") as three,
        env.open(rooms.Chat, room_id="general") as guest,
    ):
        heard: list[str] = []
        two.on(rooms.ToClient.note, lambda note: heard.append(note.text))
        three.on(rooms.ToClient.note, lambda note: heard.append("too far"))
        for page in (one, two, three):
            await page.join(rooms.Chat.team)
        with pytest.raises(RpcError, match="JOIN_REJECTED"):
            await guest.join(rooms.Chat.team)
        await one.call(rooms.Chat.tell_team, rooms.Send("go red"))
        await env.settle()
        assert heard == ["go red"]


@pytest.mark.parametrize("project", PROJECTS)
async def test_a_project_is_for_those_who_have_it(env: TestEnv, project: str) -> None:
    without = name_in("red", without=project)
    async with env.open(rooms.Chat, query={"user": without}, room_id="general") as page:
        for wish in (project, "no-such-project"):
            with pytest.raises(RpcError, match="JOIN_REJECTED"):
                await page.join(rooms.Chat.project, rooms.OpenProject(wish))
        for wish in Visitor(without, World()).projects:
            await page.join(rooms.Chat.project, rooms.OpenProject(wish))


async def test_a_board_shows_its_cards_and_who_looks_at_them(env: TestEnv) -> None:
    red = name_in("red")
    ann = env.connect(query={"user": red})
    cards = await ann.subscribe(board.board, "red")
    there = await ann.subscribe(board.who, "red")
    progress = await ann.subscribe(board.progress)
    card = await ann.call(board.add_card, "red", "write the docs")
    await ann.call(board.toggle, "red", card.id)
    await cards.wait_for(lambda rows: rows == [Todo(card.id, "write the docs", True)])
    await progress.wait_for(lambda value: value == {"cards": 1, "done": 1})
    assert [(row.key, row.data) for row in there.value] == [(red, board.Who(red, "red"))]
    assert await ann.call(board.archive, "red") == 1
    await cards.wait_for(lambda rows: rows == [])


@pytest.mark.parametrize("board_id", [*TEAMS, "no-such-board"])
async def test_boards_of_others_and_boards_for_guests_are_shut(env: TestEnv, board_id: str) -> None:
    stranger = env.connect(query={"user": name_in("blue" if board_id == "red" else "red")})
    guest = env.connect()
    for client in (stranger, guest):
        for stream in (board.board, board.who, board.board.cursors):
            with pytest.raises(RpcError, match="FORBIDDEN"):
                await client.subscribe(stream, board_id)
        with pytest.raises(RpcError, match="FORBIDDEN"):
            await client.call(board.add_card, board_id, "mine now")


async def test_visitors_do_all_there_is_to_do(
    env: TestEnv,
    server: LiveServer,
    called: set[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visits, "READ_SECONDS", 0)  # threads keep to no virtual clock
    names = [f"visitor-{number}" for number in range(1, 4)]
    await asyncio.gather(*(visits.stay(env.connect(query={"user": name}), name, random.Random(name)) for name in names))
    modules = ("chat/", "board/", "files/", "till/")
    shown = {entry.path for entry in server.registry.entries if entry.path.startswith(modules)}
    assert shown - called == {"chat/__join/chat", "chat/__leave/chat", "chat/__leave/team"}
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("room_id", ["Not Valid", "x" * 33])
async def test_rooms_with_other_names_do_not_exist(env: TestEnv, room_id: str) -> None:
    with pytest.raises(RpcError, match="404"):
        await env.open(rooms.Chat, room_id=room_id).open()


async def test_names_that_are_too_long_are_refused(env: TestEnv) -> None:
    with pytest.raises(RpcError, match="at most 64 printable characters"):
        await env.open(rooms.Chat, query={"user": "x" * 65}, room_id="general").open()

"""Rooms of a running server, as observers see them, and the closing of connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from liverpc import Context, Inspect, LiveError, LiveServer, Token, guard, live, remote
from liverpc.inspector.attach import SKIP_ABOVE
from liverpc.inspector.protocol import ChaosArm, ChaosRule, Err, Got, Kick, Look, Ok, RoomMember, Rooms, State
from liverpc.testing import TestClient, TestEnv
from tests.inspector import attach_kit
from tests.inspector.attach_kit import SECRETS, Observer

RED, BLUE = "board:red", "board:blue"


class Who(msgspec.Struct):
    name: str
    token: str


def make_server() -> LiveServer:
    @live.room("board:{board_id}", cursors=True, path="demo/board")
    async def board(ctx: Context[Any], board_id: str) -> list[Any]:
        return []

    @board.presence
    def who(ctx: Context[Any], board_id: str) -> Who:
        return Who(f"the user {ctx.user['id']}", "s3cret")

    @board.guard
    def members_only(ctx: Context[Any], board_id: str) -> None:
        if board_id == "closed":
            raise LiveError("NOT_YOURS", "this board is not yours")

    levels: dict[str, dict[str, Any]] = {
        "metrics": {"level": "metrics"},
        "observe": {},
        "chaos": {"level": "chaos"},
        "admin": {"level": "admin"},
        "scoped": {"level": "admin", "topics": (RED,)},
    }
    tokens = tuple(Token(secret=SECRETS[name], **more) for name, more in levels.items())
    return LiveServer(
        {"demo": SimpleNamespace(board=board, who=who, _guard=guard(lambda ctx: None))},
        inspect=Inspect(enabled=True, tokens=tokens),
    )


@pytest.fixture
async def env() -> AsyncIterator[TestEnv]:
    async with TestEnv(make_server()) as env:
        yield env


async def enter(env: TestEnv, user: str, board: str = "red") -> TestClient:
    client = env.connect(user={"id": user})
    await client.subscribe(remote("demo/board/__data"), board)
    return client


async def looking(env: TestEnv, level: str = "observe", **wish: Any) -> tuple[Observer, Rooms]:
    observer = await Observer.attach(env, "admin" if level == "scoped" else level, token=SECRETS[level])
    await observer.send(Look(**wish))
    return observer, await observer.wait(Rooms)


def members(news: Rooms) -> dict[str, RoomMember]:
    return {each.key: each for each in news.members}


async def test_who_is_in_a_room_is_seen(env: TestEnv) -> None:
    ann = await enter(env, "ann")
    await enter(env, "ann")
    await enter(env, "bob", "blue")
    observer, news = await looking(env)
    assert news.full
    assert {row.name: (row.declared, row.members, row.connections) for row in news.rows} == {
        RED: ("demo/board", 1, 2),
        BLUE: ("demo/board", 1, 1),
    }
    (red,) = [row for row in news.rows if row.name == RED]
    await observer.send(Look(kind="room", number=red.number))
    news = await observer.wait(Rooms, lambda news: news.of)
    (member,) = news.members
    assert (member.key, member.how, len(member.connections)) == ("ann", "stream", 2)
    assert member.shown == {"name": "the user ann", "token": "[REDACTED]"}
    await ann.call(remote("demo/board/__action/move_cursor"), "red", {"x": 4, "password": "s3cret"})
    news = await observer.wait(Rooms, lambda news: news.of)
    assert members(news)["ann"].cursor == {"x": 4, "password": "[REDACTED]", "key": "ann"}
    assert news.rows[0].cursors == 1
    assert news.gone == []


async def test_who_left_is_in_its_grace_and_then_gone_and_so_is_the_cursor(env: TestEnv) -> None:
    ann = await enter(env, "ann")
    await enter(env, "bob")
    await ann.call(remote("demo/board/__action/move_cursor"), "red", {"x": 4})
    observer, news = await looking(env)
    await observer.send(Look(kind="room", number=news.rows[0].number))
    await observer.wait(Rooms, lambda news: members(news)["ann"].cursor)
    await ann.aclose()
    news = await observer.wait(Rooms, lambda news: news.of)
    assert (members(news)["ann"].connections, members(news)["ann"].cursor) == ([], None)
    assert (news.rows[0].members, news.rows[0].away, news.rows[0].cursors) == (2, 1, 0)
    news = await observer.wait(Rooms, lambda news: news.of)
    assert list(members(news)) == ["bob"]


async def test_a_room_that_is_empty_goes(env: TestEnv) -> None:
    ann = await enter(env, "ann")
    observer, news = await looking(env)
    (row,) = news.rows
    await ann.aclose()
    news = await observer.wait(Rooms, lambda news: news.gone)
    assert (news.gone, news.totals.rooms) == ([("room", row.number)], 0)


async def test_who_was_turned_away_is_seen_with_the_reason(env: TestEnv) -> None:
    observer, _ = await looking(env)
    with pytest.raises(Exception, match="NOT_YOURS"):
        await enter(env, "eve", "closed")
    news = await observer.wait(Rooms, lambda news: news.refused)
    (refused,) = news.refused
    assert (refused.user, news.totals.refused) == ("eve", 1)
    assert "NOT_YOURS" in refused.reason


async def test_nothing_is_told_of_rooms_to_who_does_not_look(env: TestEnv) -> None:
    observer, _ = await looking(env)
    await observer.send(Look(rooms=False))
    await enter(env, "ann")
    told: list[Any] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            while True:
                told.append(await observer.next())
    assert not [frame for frame in told if isinstance(frame, Rooms)]
    await observer.send(Look())
    news = await observer.wait(Rooms)
    assert (news.full, [row.name for row in news.rows]) == (True, [RED])


async def test_an_observer_that_takes_nothing_is_told_of_rooms_when_it_does_again(env: TestEnv) -> None:
    await enter(env, "ann")
    observer, _ = await looking(env)
    assert env.server._inspector is not None
    (session,) = env.server._inspector.observers
    while session.link.buffered <= SKIP_ABOVE:
        session.send(Err(id=1, text="x" * 4096))
        await asyncio.sleep(0)
    waiting = session.link.buffered
    await enter(env, "bob", "blue")
    await asyncio.sleep(5)
    assert session.link.buffered == waiting
    news = await observer.wait(Rooms, lambda news: news.rows)
    assert [row.name for row in news.rows] == [BLUE]
    assert session.link.buffered < SKIP_ABOVE


async def test_level_metrics_sees_no_members(env: TestEnv) -> None:
    await enter(env, "ann")
    _, news = await looking(env, "metrics", kind="room", number=1)
    assert [row.members for row in news.rows] == [1]
    assert "ann" not in repr(news)


async def test_a_scoped_token_sees_its_rooms_only(env: TestEnv) -> None:
    await enter(env, "ann")
    await enter(env, "bob", "blue")
    with pytest.raises(Exception, match="NOT_YOURS"):
        await enter(env, "eve", "closed")
    for number in (1, 2):
        _, news = await looking(env, "scoped", kind="room", number=number)
        assert [row.name for row in news.rows] == [RED]
        assert (news.totals.rooms, news.totals.refused, news.refused) == (1, None, [])
        assert "bob" not in repr(news)


# -- closing connections


async def ask(observer: Observer, **wish: Any) -> Ok | Err | Got:
    return await observer.ask(Kick(id=9, **wish))


@pytest.mark.parametrize("level", ["metrics", "observe", "chaos"])
async def test_only_level_admin_may_close_connections(env: TestEnv, level: str) -> None:
    ann = await enter(env, "ann")
    observer = await Observer.attach(env, level)
    for wish in ({"user": "ann"}, {"connection": env.server.connections[0].id}):
        answer = await ask(observer, **wish)
        assert isinstance(answer, Err)
        assert "admin" in answer.text
    assert ann.status == "connected"
    assert env.server.counters.connections_kicked == 0


async def test_a_kicked_connection_comes_back(env: TestEnv, caplog: pytest.LogCaptureFixture) -> None:
    ann = await enter(env, "ann")
    before = env.server.connections[0].id
    observer = await Observer.attach(env, "admin")
    with caplog.at_level(logging.WARNING, "liverpc.inspector"):
        assert await ask(observer, connection=before) == Ok(id=9, closed=1)
    assert f"tests (level admin) closed {before} (user 'ann') with 1012" in caplog.text
    assert SECRETS["admin"] not in caplog.text
    await asyncio.sleep(10)
    assert ann.status == "connected"
    assert [each.id == before for each in env.server.connections] == [False]
    assert env.server.counters.connections_kicked == 1


async def test_a_user_is_sent_away_for_good_from_all_of_its_connections(env: TestEnv) -> None:
    clients = [await enter(env, "ann"), await enter(env, "ann", "blue")]
    bob = await enter(env, "bob")
    observer = await Observer.attach(env, "admin")
    assert await ask(observer, user="ann", for_good=True) == Ok(id=9, closed=2)
    await asyncio.sleep(400)
    assert [client.status for client in clients] == ["closed", "closed"]
    assert bob.status == "connected"
    assert [each.user_id for each in env.server.connections] == ["bob"]


@pytest.mark.parametrize(("count", "rest"), [(10, ""), (11, " and 1 more")])
async def test_the_log_of_a_kick_names_so_many(
    env: TestEnv, caplog: pytest.LogCaptureFixture, count: int, rest: str
) -> None:
    for _ in range(count):
        await enter(env, "ann")
    observer = await Observer.attach(env, "admin")
    assert await ask(observer, user="ann") == Ok(id=9, closed=count)
    (line,) = [each.getMessage() for each in caplog.records if "level admin) closed" in each.getMessage()]
    assert line.count("(user 'ann')") == 10
    assert line.endswith(f"{rest} with 1012")


async def test_whom_there_is_not_is_not_closed(env: TestEnv) -> None:
    await enter(env, "ann")
    observer = await Observer.attach(env, "admin")
    for wish in ({"user": "nobody"}, {"connection": "none"}, {}):
        assert isinstance(await ask(observer, **wish), Err)
    assert len(env.server.connections) == 1


async def test_a_scoped_token_closes_only_what_it_sees(env: TestEnv) -> None:
    await enter(env, "ann")
    await enter(env, "ann", "blue")
    blue = next(each for each in env.server.connections if BLUE in each.subscriptions)
    observer = await Observer.attach(env, "admin", token=SECRETS["scoped"])
    assert isinstance(await ask(observer, connection=blue.id), Err)
    assert await ask(observer, user="ann") == Ok(id=9, closed=1)
    assert not blue.closed
    await observer.wait(State, lambda state: state.connections_gone)


@pytest.mark.parametrize("chaos", [True, False])
async def test_level_admin_may_inject_faults_where_the_server_allows_them(chaos: bool) -> None:
    async with TestEnv(attach_kit.make_server(chaos=chaos)) as env:
        observer = await Observer.attach(env, "admin")
        assert observer.session.welcome is not None
        assert (observer.session.welcome.granted, observer.session.welcome.denied) == ("admin", [])
        answer = await observer.ask(ChaosArm(id=1, rule=ChaosRule(rate=1.0)))
        assert isinstance(answer, Ok if chaos else Err)


async def test_who_wants_admin_gets_what_the_token_opens(env: TestEnv) -> None:
    observer = await Observer.attach(env, "admin", token=SECRETS["observe"])
    assert observer.session.welcome is not None
    assert (observer.session.welcome.granted, observer.session.welcome.denied) == (
        "observe",
        ["admin: the token opens observe"],
    )
    assert isinstance(await ask(observer, user="ann"), Err)

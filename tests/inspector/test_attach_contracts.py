"""Rooms of contracts, as observers see them: under the names that clients know, and with their keys."""

from __future__ import annotations

import json
from typing import Any

import pytest

from liverpc import Inspect, Token
from liverpc.inspector.protocol import Look, PublishEvent, RoomInfo, Rooms, State
from liverpc.testing import TestEnv
from tests.inspector.attach_kit import SECRETS, Observer
from tests.rooms.contract_kit import App, Page, serve

LEVELS: dict[str, dict[str, Any]] = {
    "metrics": {"level": "metrics"},
    "observe": {},
    "scoped": {"topics": ("chat/chat",)},
    "elsewhere": {"topics": ("room:*",)},
}
INSPECT = Inspect(
    enabled=True,
    tokens=tuple(Token(secret=f"the-token-for-{name}", **more) for name, more in LEVELS.items()),
)
P1 = {"project_id": "p1"}


async def attach(env: TestEnv, name: str = "observe") -> Observer:
    level = name if name in SECRETS and name != "scoped" else "observe"
    return await Observer.attach(env, level, token=f"the-token-for-{name}")


async def look(env: TestEnv, name: str = "observe", **wish: Any) -> tuple[Observer, Rooms]:
    observer = await attach(env, name)
    await observer.send(Look(**wish))
    return observer, await observer.wait(Rooms)


def named(news: Rooms) -> dict[tuple[str, str], RoomInfo]:
    return {(row.name, row.key): row for row in news.rows}


async def test_each_room_is_seen_with_its_key_and_how_its_members_came() -> None:
    async with serve(App().Chat, inspect=INSPECT) as env:
        ann = await Page.open(env, "/rooms/general", user="ann")
        await ann.call("chat/__join/project", P1)
        await ann.call("chat/__event/enter_tenant")
        await (await Page.open(env, "/rooms/random", user="ann")).call("chat/__open", {"room_id": "random"})
        await env.settle()
        observer, news = await look(env)
        rows = named(news)
        assert {(name, row.declared, row.kind) for (name, _), row in rows.items()} == {
            ("chat/chat", "/rooms/{room_id}", "contract"),
            ("chat/project", "/rooms/{room_id}", "contract"),
            ("chat/tenant", "/rooms/{room_id}", "contract"),
        }
        assert len(rows) == 4
        assert all(part in "".join(key for _, key in rows) for part in ("general", "random", "p1", "red"))
        how = {}
        for (name, _), row in rows.items():
            await observer.send(Look(kind=row.kind, number=row.number))
            told = await observer.wait(Rooms, lambda news, row=row: news.of == (row.kind, row.number))  # type: ignore[misc]
            (member,) = told.members
            assert (member.key, len(member.connections)) == ("ann", 1)
            how[name] = member.how
        assert how == {"chat/chat": "auto", "chat/project": "asked", "chat/tenant": "handler"}


async def test_the_reason_of_a_refusal_is_seen_here_and_nowhere_else() -> None:
    async with serve(App().Chat, inspect=INSPECT) as env:
        observer, _ = await look(env)
        cid = await Page.open(env, "/rooms/general", user="cid")
        answer = await cid.call("chat/__join/project", P1)
        news = await observer.wait(Rooms, lambda news: news.refused)
        (refused,) = news.refused
        assert (refused.room, refused.user, news.totals.refused) == ("chat/project", "cid", 1)
        assert refused.reason
        assert refused.reason not in repr(answer)
        assert json.loads(refused.asked) == {"data": P1}


@pytest.mark.parametrize(("size", "kept"), [(1023, True), (1024, True), (1025, False)])
async def test_what_was_asked_for_is_kept_unless_it_is_large(size: int, kept: bool) -> None:
    async with serve(App().Chat, inspect=INSPECT) as env:
        cid = await Page.open(env, "/rooms/general", user="cid")
        frame = len('{"data":{"project_id": ""}}')  # as it is sent, with the blank
        await cid.call("chat/__join/project", {"project_id": "x" * (size - frame)})
        _, news = await look(env)
        assert bool(news.refused[0].asked) is kept


async def test_streams_have_the_names_that_clients_know() -> None:
    async with serve(App().Chat, inspect=INSPECT) as env:
        ann = await Page.open(env, "/rooms/general", user="ann")
        bob = await Page.open(env, "/rooms/random", user="bob")
        for page in (ann, bob):
            await page.call("chat/__event/who")
        observer = Observer.attach(env, token="the-token-for-observe")
        attached = await observer
        await attached.watch(kind=["pub"], topic=["chat/*"])
        await ann.call("chat/__event/send", {"text": "hi"})
        state = await attached.wait(State, lambda state: any(stats.published for stats in state.stream_stats))
        assert "__contract" not in repr(state)
        await attached.wait(State)
        assert [(each.topic, each.event) for each in attached.events if isinstance(each, PublishEvent)] == [
            ("chat/chat", "message")
        ]


async def test_a_scope_of_contract_rooms_shows_them_and_what_leaves_them() -> None:
    async with serve(App().Chat, inspect=INSPECT) as env:
        ann = await Page.open(env, "/rooms/general", user="ann")
        await ann.call("chat/__join/project", P1)
        observer, news = await look(env, "scoped")
        assert {row.name for row in news.rows} == {"chat/chat"}
        other, hidden = await look(env, "elsewhere")
        assert (hidden.rows, hidden.totals.rooms) == ([], 0)
        bob = await Page.open(env, "/rooms/random", user="bob")
        await bob.call("chat/__event/who")
        state = await observer.wait(State, lambda state: state.streams)
        (stream,) = state.streams
        assert (stream.topic, [each.user for each in state.connections]) == ("chat/chat", ["bob"])
        await bob.leave()
        gone = await observer.wait(State, lambda state: state.streams_gone)
        assert (gone.streams_gone, len(gone.connections_gone)) == ([stream.id], 1)
        state = await other.wait(State)
        assert not (state.streams or state.connections or state.streams_gone)


async def test_level_metrics_sees_no_key() -> None:
    async with serve(App().Chat, inspect=INSPECT) as env:
        ann = await Page.open(env, "/rooms/general", user="ann")
        await ann.call("chat/__event/enter_tenant")
        _, news = await look(env, "metrics")
        assert {(row.name, row.key, row.members) for row in news.rows} == {("chat/chat", "", 1), ("chat/tenant", "", 1)}
        assert "general" not in repr(news)

"""Hostile clients against contracts: into the rooms of others, and with floods of all that a frame can ask for."""

from __future__ import annotations

import asyncio
import json
import random
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, Limits, live
from liverpc.hub.connection import Connection
from liverpc.testing import TestEnv
from tests.rooms.contract_kit import NOT_FOUND, REJECTED, App, Page, serve

P1 = {"project_id": "p1"}
DEEP: Any = 0
for _ in range(60):
    DEEP = [DEEP]
BOMBS: list[Any] = [
    None, True, 0, -1, 2**63, 10**400, 0.5, "", "x" * 900_000, "\x00",  [], {}, [[]], {"project_id": DEEP},
    {"project_id": {"project_id": {}}}, {"x" * 100_000: 1}, {str(n): n for n in range(20_000)}, list(range(50_000)),
    {"project_id": "p1", "__class__": 1}, {"text": "x", "params": {}}, {"room_id": "a", "key": ["chat", "b"]},
]  # fmt: skip


def topics(env: TestEnv) -> list[str]:
    return [name for name in env.server._hub.topics if name.startswith("__contract:")]


@pytest.mark.parametrize("permissive", [False, True])
async def test_no_frame_but_a_join_gets_into_a_room_or_learns_its_key(permissive: bool) -> None:
    heard: list[str] = []

    def on_topic(ctx: Context[Any], topic: str) -> bool:
        heard.append(topic)
        return True

    async with serve(App().Chat, on_topic=on_topic if permissive else None) as env:
        ann, spy = await Page.open(env, "/rooms/a", user="ann"), await Page.open(env, "/rooms/b")
        await ann.call("chat/__join/project", P1)
        await spy.call("chat/__open", {"room_id": "b"})
        names = ["chat/chat", "chat/project", "chat/__client", *topics(env)]
        for name in names:
            await spy.send(type="subscribe", topic=name, ref=1)
            await spy.send(rpc=name, id="s", args=[], stream=True)
        await spy.send(type="subscribe-batch", topics=names, ref=2)
        await spy.send(type="resume", sessionId="x", lastSeenSeqs=dict.fromkeys(names, 0))
        await env.settle()
        await ann.call("chat/__event/send", {"text": "secret"})
        await ann.call("chat/__event/to_projects")
        frames = []
        while True:
            try:
                frames.append(await asyncio.wait_for(spy.socket.recv(), 1))
            except TimeoutError:
                break
        assert not any("secret" in frame or "cleared" in frame for frame in map(str, frames))
        # Of the rooms it is in itself it learns nothing either: a name that can be guessed must not be confirmed.
        assert not any('"subscribed"' in str(frame) and "__contract" in str(frame) for frame in frames)
        assert not any(topic.startswith("__") for topic in heard)


async def test_a_room_is_not_left_by_an_unsubscribe() -> None:
    async with serve(App().Chat) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        await page.call("chat/__join/project", P1)
        for name in (*topics(env), "chat/chat"):
            await page.send(type="unsubscribe", topic=name)
        await page.call("chat/__event/send", {"text": "still here"})
        assert len(await page.heard()) == 1


async def test_what_handlers_publish_does_not_reach_rooms() -> None:
    @live(path="test/publish")
    def publish(ctx: Context[Any], topic: str) -> None:
        ctx.publish(topic, "message", {"text": "elsewhere"})

    async with serve(App().Chat, SimpleNamespace(publish=publish)) as env:
        page = await Page.open(env, "/rooms/a")
        await page.call("chat/__open", {"room_id": "a"})
        assert (await page.call("test/publish", "chat/chat"))["ok"]
        assert (await page.call("test/publish", topics(env)[0]))["code"] == "INVALID_TOPIC"
        assert await page.heard() == []


@pytest.mark.parametrize("what", ["__event/send", "__join/project", "__leave/project", "__open", "__close"])
async def test_wrong_kinds_of_frames_are_answered_and_harm_nothing(what: str) -> None:
    path = f"chat/{what}"
    async with serve(App().Chat) as env:
        page = await Page.open(env, "/rooms/a")
        await page.call("chat/__open", {"room_id": "a"})
        header = json.dumps({"rpc": path, "id": "b", "args": [{"text": "x"}]}).encode()
        await page.socket.send(b"\x00" + len(header).to_bytes(2) + header + b"data")
        assert not (await page.answer("b"))["ok"]
        upload = json.dumps({"rpc": path, "args": []}).encode()
        await page.socket.send(b"\x01\x03" + (1).to_bytes(4) + bytes(4) + len(upload).to_bytes(2) + upload + b"data")
        while (frame := await page.recv())["topic"] != "__upload":
            pass
        assert not frame["data"]["ok"]
        await page.send(rpc=path, id="s", args=[{"room_id": "a"}], stream=True, seq=1, cursor="x", resync=True)
        assert "topic" not in await page.answer("s")
        no_lists: list[Any] = [{}, "x", 7, None]
        for args in no_lists:
            await page.send(rpc=path, id="a", args=args)
            assert not (await page.answer("a"))["ok"] or path.endswith("__close")


async def test_payload_bombs_are_answered_each_with_one_small_frame() -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        for path in ("__event/send", "__join/project", "__leave/project", "__join/tenant", "__open", "__event/whisper"):
            for bomb in BOMBS:
                answer = await page.call(f"chat/{path}", bomb)
                assert len(json.dumps(answer)) < 8192
                assert answer["ok"] or answer["code"] in {
                    "VALIDATION", "NOT_FOUND", "INVALID_REQUEST", "JOIN_REJECTED", "PAYLOAD_TOO_LARGE",
                }, (path, answer)  # fmt: skip
        assert env.server.connections[0].streams <= 3
        assert (await page.call("chat/__event/who"))["data"] == "ann"


async def test_a_flood_of_joins_is_bounded() -> None:
    app = App()
    app.authorise = lambda contract, data: data.project_id
    async with serve(app.Chat, limits=Limits(streams_per_connection=50, calls_in_flight=8)) as env:
        page = await Page.open(env, "/rooms/a")
        calls = [await page.ask("chat/__join/project", {"project_id": n, "also": "x" * 1000}) for n in range(500)]
        codes = [(await page.answer(call)).get("code") for call in calls]
        assert codes.count(None) == 49
        assert set(codes) == {None, "OVERLOADED"}
        assert env.server.connections[0].streams == 50
        assert await page.call("chat/__leave/project") == {"ok": True, "data": None}
        assert len(topics(env)) == 1


async def test_joins_that_wait_for_ever_stop_the_reading_and_end_with_the_connection() -> None:
    app = App()
    app.gates["project"] = asyncio.Event()
    async with serve(app.Chat, limits=Limits(calls_in_flight=8)) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        await page.call("chat/__open", {"room_id": "a"})  # its opening counts as well
        for n in range(8):
            await page.ask("chat/__join/project", {"project_id": n})
        await env.settle()
        assert env.server.connections[0].calls.running == 8
        assert env.server.connections[0].calls.holding
        page.socket.cut()
        await asyncio.sleep(1)


async def test_calls_during_a_slow_opening_stop_the_reading_too() -> None:
    app = App()
    app.gates["chat"] = asyncio.Event()
    async with serve(app.Chat, limits=Limits(calls_in_flight=8)) as env:
        page = await Page.open(env, "/rooms/a")
        for _ in range(7):
            await page.ask("chat/__event/whisper")
        await env.settle()
        assert env.server.connections[0].calls.holding
        page.socket.cut()
        await asyncio.sleep(1)


async def test_a_storm_of_openings_and_closings_leaves_nothing() -> None:
    app = App()
    async with serve(app.Chat) as env:
        rng = random.Random(1)
        pages = [await Page.open(env, rng.choice(["/ws", "/rooms/a", "/rooms/b"]), user="ann") for _ in range(5)]
        frames = ["__open", "__close", "__join/project", "__leave/project", "__join/tenant", "__event/send"]
        for _ in range(1500):
            page = rng.choice(pages)
            what = rng.choice(frames)
            args = {"__open": {"room_id": rng.choice("ab")}, "__event/send": {"text": "x"}, "__join/tenant": None}
            given = [] if what in ("__close", "__join/tenant") else [args.get(what, P1)]
            await page.ask(f"chat/{what}", *given)
            if rng.random() < 0.05:
                await env.settle()
            if rng.random() < 0.01:
                page.socket.cut()
                pages[pages.index(page)] = await Page.open(env, rng.choice(["/ws", "/rooms/a"]), user="ann")
        for page in pages:
            await page.heard()
            await page.call("chat/__close")
        assert topics(env) == []
        assert len(env.server._contracts) == 0
        assert all(connection.streams == 0 for connection in env.server.connections)


async def test_many_who_come_and_go_leave_nothing_of_themselves() -> None:
    app = App()
    async with serve(app.Chat, limits=Limits(upgrades_per_address=10_000)) as env:
        for n in range(200):
            page = await Page.open(env, f"/rooms/r{n}", user=("ann", "")[n % 2])
            await page.ask("chat/__join/project", P1)
            if n % 3:
                await env.settle()
            page.socket.cut()
        await asyncio.sleep(1)
        assert topics(env) == []
        assert env.server._hub.topics == {}
        assert list(env.server.rooms[1].rows()) == []


async def test_params_and_user_of_the_connection_cannot_be_changed_by_frames() -> None:
    async with serve(App().Chat) as env:
        victim, page = await Page.open(env, "/rooms/b", user="bob"), await Page.open(env, "/rooms/a")
        await victim.call("chat/__open", {"room_id": "b"})
        for frame in (
            {"args": [{"text": "x"}], "params": {"room_id": "b"}},
            {"args": [{"text": "x"}, {"room_id": "b"}]},
            {"args": [{"text": "x"}], "topic": "chat/chat", "user": "bob"},
        ):
            await page.send(rpc="chat/__event/send", id="x", **frame)
            assert (await page.answer("x"))["ok"]
        assert await victim.heard() == []
        assert await page.call("chat/__join/project", P1) == REJECTED
        assert await page.call("chat/__join/tenant", {"tenant": "red"}) == NOT_FOUND


async def test_emitting_to_others_keeps_the_sender_in_the_room() -> None:
    async with serve(App().Chat) as env:
        page, other = await Page.open(env, "/rooms/a"), await Page.open(env, "/rooms/a")
        await env.settle()
        for _ in range(50):
            await page.call("chat/__event/others", {"text": "x"})
            await other.call("chat/__event/others", {"text": "y"})
        assert [data["text"] for _, _, data in await page.heard()] == ["y"] * 50
        assert [data["text"] for _, _, data in await other.heard()] == ["x"] * 50
        connections: list[Connection] = env.server.connections
        (topic,) = env.server._hub.topics.values()
        assert set(topic.receivers) == set(connections)


@pytest.mark.parametrize(
    "raw", ["7" * 5000, "-" + "7" * 5000, "7" * 400, "1e999", '"\\ud800"', '"\\u0000"', "[" * 40 + "]" * 40]
)
async def test_odd_values_in_every_place_are_answered(raw: str) -> None:
    async with serve(App().Chat) as env:
        page, plain = await Page.open(env, "/rooms/a", user="ann"), await Page.open(env, "/ws")
        for path, args in (
            ("__open", '{"room_id":%s}'), ("__open", "%s"), ("__open", '{"room_id":"a"},%s'),
            ("__join/project", '{"project_id":%s}'), ("__leave/project", '{"project_id":%s}'),
            ("__event/send", '{"text":%s}'), ("__join/tenant", "%s"),
        ):  # fmt: skip
            for each in (page, plain):
                await each.socket.send(f'{{"rpc":"chat/{path}","id":"x","args":[{args % raw}]}}')
                await env.settle()
                assert (await each.call("chat/__event/who")).get("code") in (None, "NOT_FOUND")
            await plain.call("chat/__close")
        assert len(env.server.connections) == 2

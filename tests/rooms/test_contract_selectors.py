"""The methods that give the keys of rooms: how often they run, how long they may take, and what their end tells."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from liverpc import Limits, LiveError, LiveServer
from liverpc.declare.contract import Contract
from liverpc.declare.keys import RoomKey
from liverpc.declare.members import event, room
from liverpc.pages import Events
from liverpc.testing import TestEnv
from tests.rooms.contract_kit import REJECTED, App, Page, connected, serve

NULL = {"ok": True, "data": None}
P1, P2, P9 = {"project_id": "p1"}, {"project_id": "p2"}, {"project_id": "p9"}


# -- how long


async def test_one_that_swallows_its_cancellation_does_not_take_the_deadline_from_the_others() -> None:
    class Slow(Contract[Events], path="/slow"):
        @room.private(auto_join=True)
        def at_once(self) -> RoomKey:
            return "x"

        @room.private(auto_join=True)
        async def driver(self) -> RoomKey:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                raise RuntimeError("the query was cancelled") from None
            return "x"

        @room.private(auto_join=True)
        async def stubborn(self) -> RoomKey:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                return "late, but there"
            return "x"

        @room.private(auto_join=True)
        async def endless(self) -> RoomKey:
            await asyncio.sleep(1000)
            return "x"

        @room.private(auto_join=True)
        def zero(self) -> RoomKey:
            return 0

    async with serve(Slow, limits=Limits(connect_seconds=2)) as env:
        page = await Page.open(env, "/slow")
        began = asyncio.get_running_loop().time()
        answer = await page.call("slow/__open", {})
        assert answer["data"] == {"joined": ["at_once", "stubborn", "zero"], "refused": ["driver", "endless"]}
        assert asyncio.get_running_loop().time() - began == pytest.approx(2)
        reasons = {refusal.room: refusal.reason for refusal in env.server.rooms[1].refusals()}
        assert reasons == {
            "slow/driver": "RuntimeError", "slow/endless": "the keys were not there within 2 s",
        }  # fmt: skip


async def test_one_that_raises_a_cancellation_of_its_own_is_refused() -> None:
    app = App()

    def cancelled(contract: Any, data: Any = None) -> Any:
        raise asyncio.CancelledError

    app.key = app.authorise = cancelled
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a")
        answer = await page.call("chat/__open", {"room_id": "a"})
        assert answer == {"ok": True, "data": {"joined": [], "refused": ["chat"]}}
        assert await page.call("chat/__join/project", P1) == REJECTED
        assert await page.call("chat/__event/whisper") == NULL


# -- how often


async def test_it_does_not_run_again_for_whoever_opens_second() -> None:
    app = App()
    app.gates["chat"] = asyncio.Event()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/ws", user="ann")
        calls = [await page.ask("chat/__open", {"room_id": "a"}) for _ in range(3)]
        await env.settle()
        app.gates["chat"].set()
        for call in calls:
            assert (await page.answer(call))["ok"]
        assert app.log == ["chat", "tenant"]


async def test_an_opening_that_goes_on_does_not_ask_again_for_keys_it_has() -> None:
    ran: list[str] = []
    gate = asyncio.Event()

    class Two(Contract[Events], path="/two"):
        @room.private(auto_join=True)
        def first(self) -> RoomKey:
            ran.append("first")
            return "x"

        @room.private(auto_join=True)
        async def second(self) -> RoomKey:
            ran.append("second")
            await gate.wait()
            return "x"

    server = LiveServer([Two], on_connect=connected)

    @server.middleware
    async def impatient(ctx: Any, proceed: Any) -> Any:
        async with asyncio.timeout(1 if ctx.call == "c1" else None):
            return await proceed()

    async with TestEnv(server) as env:
        page = await Page.open(env, "/ws")
        calls = [await page.ask("two/__open", {}) for _ in range(2)]
        assert not (await page.answer(calls[0]))["ok"]
        gate.set()
        assert (await page.answer(calls[1]))["ok"]
        assert ran == ["first", "second", "second"]


async def test_opening_again_does_not_join_again_what_was_left() -> None:
    class Left(Contract[Events], path="/left"):
        @room.private(auto_join=True)
        def here(self) -> RoomKey:
            return "x"

        @event
        def go(self) -> None:
            self.here.leave()

    async with serve(Left) as env:
        page = await Page.open(env, "/left")
        for _ in range(2):
            assert await page.call("left/__event/go") == NULL
            assert (await page.call("left/__open", {}))["data"] == {"joined": ["here"], "refused": []}
            assert env.server.connections[0].streams == 0


async def test_asking_twice_at_once_is_asking_once_whatever_is_decided() -> None:
    app = App()
    app.gates["project"] = asyncio.Event()
    keys = ["one", "other"]
    app.authorise = lambda contract, data: keys.pop()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a")
        calls = [await page.ask("chat/__join/project", P1) for _ in range(2)]
        await env.settle()
        app.gates["project"].set()
        assert [await page.answer(call) for call in calls] == [NULL] * 2
        assert env.server.connections[0].streams == 2
        assert await page.call("chat/__leave/project", P1) == NULL
        assert env.server.connections[0].streams == 1


async def test_a_required_room_that_cannot_be_joined_leaves_none_joined() -> None:
    seen: list[Any] = []

    class Strict(Contract[Events], path="/strict"):
        @room.private(auto_join=True)
        def for_all(self) -> RoomKey:
            return "all"

        @room.private(auto_join=True, required=True)
        def members(self) -> RoomKey:
            return self.require(None)

        @event
        def act(self) -> None: ...

    async with serve(Strict) as env:
        page = await Page.open(env, "/ws")
        (connection,) = env.server.connections
        close = connection.link.close

        def closing(code: int, reason: str = "") -> None:
            seen.append((code, list(env.server._hub.topics), connection.streams))
            close(code, reason)

        connection.link.close = closing  # type: ignore[method-assign]
        await page.ask("strict/__open", {})
        assert await page.closed() == 4403
        assert seen[0] == (4403, [], 0)


# -- with as many streams as a connection may have


async def full(env: TestEnv) -> Page:
    """A connection with room for three streams, in ``chat``, ``tenant`` and the project ``p9``, each but not asked."""
    page = await Page.open(env, "/rooms/a", user="ann")
    assert await page.call("chat/__event/enter_tenant") == NULL
    assert await page.call("chat/__event/enter", P9) == NULL
    assert env.server.connections[0].streams == 3
    return page


async def test_who_is_full_may_ask_for_the_rooms_it_is_in() -> None:
    app = App()
    app.authorise = lambda contract, data: ("project", data.project_id)
    async with serve(app.Chat, limits=Limits(streams_per_connection=3)) as env:
        page = await full(env)
        for _ in range(2):
            assert await page.call("chat/__join/chat") == NULL
            assert await page.call("chat/__join/tenant") == NULL
            assert await page.call("chat/__join/project", P9) == NULL
        assert env.server.connections[0].streams == 3
        assert (await page.call("chat/__join/project", P1))["code"] == "OVERLOADED"
        await page.call("chat/__event/exit", P9)
        assert await page.call("chat/__join/project", P1) == NULL


async def test_who_is_full_learns_nothing_of_what_it_might_join() -> None:
    app = App()
    async with serve(app.Chat, limits=Limits(streams_per_connection=3)) as env:
        page = await full(env)
        frames = set()
        for authorise in (
            lambda contract, data: ("project", data.project_id), lambda contract, data: None,
            lambda contract, data: 1.5, lambda contract, data: contract.require(None),
        ):  # fmt: skip
            app.authorise = authorise
            await page.send(rpc="chat/__join/project", id="same", args=[P2])
            frames.add(await page.socket.recv())
        assert len(frames) == 1
        assert "OVERLOADED" in str(frames)


async def test_who_becomes_full_during_the_decision_learns_nothing_either() -> None:
    app = App()
    app.gates["project"] = asyncio.Event()
    async with serve(app.Chat, limits=Limits(streams_per_connection=3)) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        calls = [await page.ask("chat/__join/project", project) for project in (P1, P9)]  # allowed, and not
        await env.settle()
        assert await page.call("chat/__event/enter_tenant") == NULL
        assert await page.call("chat/__event/enter", {"project_id": "other"}) == NULL
        app.gates["project"].set()
        answers = [await page.answer(call) for call in calls]
        assert answers[0] == answers[1]
        assert answers[0]["code"] == "OVERLOADED"


@pytest.mark.parametrize("most", [2, 3])
async def test_payloads_that_mean_one_room_are_limited_too(most: int) -> None:
    app = App()
    app.authorise = lambda contract, data: "one"
    async with serve(app.Chat, limits=Limits(rooms_per_contract=most)) as env:
        page = await Page.open(env, "/rooms/a")
        answers = [await page.call("chat/__join/project", {"project_id": n}) for n in range(most + 2)]
        assert [answer["ok"] for answer in answers] == [True] * most + [False] * 2
        assert (await page.call("chat/__join/project", {"project_id": 0})) == NULL
        assert (await page.call("chat/__join/chat")) == NULL


@pytest.mark.parametrize("most", [1, 2, 3])
async def test_only_so_many_rooms_may_be_asked_for_and_what_one_might_join_does_not_show(most: int) -> None:
    app = App()
    async with serve(app.Chat, limits=Limits(rooms_per_contract=2)) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        app.gates["project"] = asyncio.Event()
        payloads = [P1, P2, P9][:most]
        calls = [await page.ask("chat/__join/project", payload) for payload in payloads]
        await env.settle()
        app.gates["project"].set()
        answers = [await page.answer(call) for call in calls]
        assert answers[:2] == [NULL] * min(most, 2)
        assert [answer["code"] for answer in answers[2:]] == ["OVERLOADED"] * (most - 2)  # P9 would be refused
        if most == 3:
            assert answers[2] == await page.call("chat/__join/project", {"project_id": "p1", "also": "x"})  # would not
            assert await page.call("chat/__join/project", P1) == NULL
            assert await page.call("chat/__leave/project", P1) == NULL
            assert (await page.call("chat/__join/project", P9)) == REJECTED


# -- at once


async def test_a_slow_private_room_does_not_take_the_time_of_those_behind_it() -> None:
    class Many(Contract[Events], path="/many"):
        @room.private(auto_join=True)
        async def c(self) -> RoomKey:
            await asyncio.sleep(100)
            return "c"

        @room.private(auto_join=True)
        async def b(self) -> RoomKey:
            await asyncio.sleep(1.9)
            return "b"

        @room.private(auto_join=True)
        async def d(self) -> RoomKey:
            await asyncio.sleep(0.1)
            return "d"

        @room.private(auto_join=True)
        def e(self) -> RoomKey:
            return "e"

    async with serve(Many, limits=Limits(connect_seconds=2)) as env:
        page = await Page.open(env, "/many")
        began = asyncio.get_running_loop().time()
        answer = await page.call("many/__open", {})
        assert asyncio.get_running_loop().time() - began == pytest.approx(2)
        rooms = list(Many.rooms())
        assert answer["data"] == {"joined": [name for name in rooms if name != "c"], "refused": ["c"]}
        assert [topic.wire for topic in env.server._hub.topics.values()] == [
            f"many/{name}" for name in rooms if name != "c"
        ]


async def test_who_leaves_while_several_keys_are_computed_leaves_no_task() -> None:
    class Two(Contract[Events], path="/two-slow"):
        @room.private(auto_join=True)
        async def one(self) -> RoomKey:
            await asyncio.sleep(5)
            return "x"

        @room.private(auto_join=True)
        async def other(self) -> RoomKey:
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                return "late"
            return "x"

    async with serve(Two) as env:
        page = await Page.open(env, "/two-slow")
        await env.settle()
        before = len(asyncio.all_tasks())
        await page.leave()
        await asyncio.sleep(1)
        assert len(asyncio.all_tasks()) < before
        assert not env.server._hub.topics


# -- required


@pytest.mark.parametrize(
    ("how", "code"),
    [("none", 4403), ("refuses", 4403), ("no key", 4403), ("fails", 1013), ("cancels", 1013), ("slow", 1013)],
)
async def test_a_required_room_ends_a_page_for_good_only_when_its_method_refuses(how: str, code: int) -> None:
    class Needs(Contract[Events], path="/needs"):
        @room.private(auto_join=True, required=True)
        async def members(self) -> RoomKey:
            if how == "refuses":
                raise LiveError("NO", "not you")
            if how == "fails":
                raise ConnectionError("the database is away")
            if how == "cancels":
                raise asyncio.CancelledError
            if how == "slow":
                await asyncio.sleep(100)
            key: RoomKey = {"none": None, "no key": ("tenant", "")}.get(how, "x")  # type: ignore[assignment]
            return key

    async with serve(Needs, limits=Limits(connect_seconds=2)) as env:
        page = await Page.open(env, "/needs")
        assert await page.closed() == code


async def test_a_required_room_for_which_there_is_no_place_may_be_asked_for_later() -> None:
    class Two(Contract[Events], path="/two-needed"):
        @room.private(auto_join=True)
        def a(self) -> RoomKey:
            return "a"

        @room.private(auto_join=True, required=True)
        def b(self) -> RoomKey:
            return "b"

    async with serve(Two, limits=Limits(streams_per_connection=1)) as env:
        page = await Page.open(env, "/two-needed")
        assert await page.closed() == 1013

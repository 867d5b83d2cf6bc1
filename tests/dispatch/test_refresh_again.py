"""Refreshes that meet each other, what fails while they ask, and handshakes under way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, LiveError, LiveServer, Reject, RpcError, guard, live, public
from liverpc.dispatch import sessions
from liverpc.hub.topic import Subscription
from liverpc.testing import TestEnv
from tests.dispatch.session_kit import World


@pytest.fixture
def world() -> World:
    return World()


class Panic(BaseException):
    """As the panics of extensions are."""


def module(**given: Any) -> dict[str, Any]:
    return {"test_refresh_again": SimpleNamespace(**{"_guard": public(), **given})}


def serving(on_topic: Callable[..., Any] | None = None, **given: Any) -> LiveServer:
    return LiveServer(module(**given), on_connect=lambda request: {"id": "a"}, on_topic=on_topic)


@live
async def again(ctx: Context[Any], turns: int, times: int = 1) -> int:
    for _ in range(turns):
        await asyncio.sleep(0)
    for _ in range(times):
        await ctx.refresh()
    return times


@live.stream("numbered:{number}")
def numbered(ctx: Context[Any], number: int) -> list[Any]:
    return []


@pytest.mark.parametrize("turns", range(16))
async def test_refreshes_of_one_connection_meet_at_any_turn(turns: int) -> None:
    server = serving(again=again, numbered=numbered)
    async with TestEnv(server) as env:
        client = env.connect()
        await client.subscribe(numbered, 1)
        both = asyncio.gather(client.call(again, 0, 3), client.call(again, turns))
        assert list(await asyncio.wait_for(both, 20)) == [3, 1]
        await env.settle()
        assert len(server._sessions) == 0


@pytest.mark.parametrize("raised", [asyncio.CancelledError, Panic])
async def test_whatever_on_connect_raises_is_no_success(world: World, raised: type[BaseException]) -> None:
    async with world.running() as env:
        await world.client(role="x").open()
        world.gates["connect"] = asyncio.Event()
        first = asyncio.ensure_future(world.server.refresh(user="a"))
        await env.settle()
        later = asyncio.ensure_future(world.server.refresh(user="a"))
        await env.settle()

        class Raises(dict[str, Any]):
            def __getitem__(self, session: str) -> Any:
                world.users = {"a": {"id": "a"}}
                raise raised

        world.users = Raises()
        world.gates.pop("connect").set()
        with pytest.raises(RuntimeError, match="on_connect failed"):
            await first
        assert await later == 1
        assert world.server.counters.sessions_refreshed == 1


async def bare(env: TestEnv, count: int) -> Any:
    raw = await env.transport.connect()
    for number in range(count):
        await raw.send(json.dumps({"type": "subscribe", "topic": f"n{number}", "ref": number}))
    await env.settle()
    return raw


@pytest.mark.parametrize("answer", ["\ud800", asyncio.CancelledError(), Panic(), RuntimeError()])
async def test_one_answer_that_fails_keeps_nothing_else(answer: Any) -> None:
    bad = False

    async def on_topic(ctx: Context[Any], topic: str) -> Any:
        if not bad:
            return True
        if topic == "n0":
            if isinstance(answer, BaseException):
                raise answer
            return answer
        await asyncio.sleep(0.1)
        return "NO"

    server = serving(on_topic, again=again)
    async with TestEnv(server) as env:
        raw = await bare(env, 40)
        bad = True
        assert await server.refresh(user="a") == 1
        assert [len(each.subscriptions) for each in server.connections] == [0]
        assert server.counters.streams_revoked == 40
        await raw.close()


async def test_what_cannot_be_taken_away_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = False
    server = serving(lambda ctx, topic: not bad, again=again)
    async with TestEnv(server) as env:
        raw = await bare(env, 3)

        take_away = server._hub.drop

        def drop(subscription: Subscription, *args: Any) -> None:
            if not subscription.connection.closed:
                raise ValueError("a mistake of ours")
            take_away(subscription, *args)

        monkeypatch.setattr(server._hub, "drop", drop)
        bad = True
        assert await server.refresh(user="a") == 0
        await env.settle()
        assert list(server.connections) == []
        assert server._hub.topics == {}
        await raw.close()


# -- time


async def test_a_ban_does_not_wait_for_what_was_asked_before() -> None:
    slow = banned = False

    def on_connect(request: Any) -> Any:
        if banned:
            raise Reject("FORBIDDEN", "banned")
        return {"id": "a"}

    async def checked(ctx: Context[Any]) -> None:
        if slow:
            await asyncio.sleep(9)

    server = LiveServer(module(_guard=guard(checked), numbered=numbered), on_connect=on_connect)
    async with TestEnv(server) as env:
        client = env.connect()
        for number in range(100):
            await client.subscribe(numbered, number)
        slow = True
        first = asyncio.ensure_future(server.refresh(user="a"))
        await asyncio.sleep(1)
        banned = True
        now = asyncio.get_running_loop().time()
        assert await server.refresh(user="a") == 0
        assert await first == 0
        assert asyncio.get_running_loop().time() == now
        assert list(server.connections) == []


@pytest.mark.parametrize("repeated", [False, True])
async def test_all_is_answered_within_one_time_however_often_a_client_asks(repeated: bool) -> None:
    slow = False

    async def checked(ctx: Context[Any]) -> None:
        if slow and ctx.path.endswith("/numbered"):
            await asyncio.sleep(1000)

    server = serving(_guard=guard(checked), numbered=numbered, again=again)
    async with TestEnv(server) as env:
        client = env.connect()
        for number in range(100):
            await client.subscribe(numbered, number)
        slow = True
        before = asyncio.get_running_loop().time()
        first = asyncio.ensure_future(server.refresh(user="a"))
        others = []
        for _ in range(8 if repeated else 0):
            await asyncio.sleep(1)
            others.append(asyncio.ensure_future(server.refresh(user="a")))
        assert await first == 1
        assert await asyncio.gather(*others) == [1] * len(others)
        assert asyncio.get_running_loop().time() == before + 10
        assert server.connections[0].streams == 0


async def test_a_second_refresh_asks_for_the_newest_user(world: World) -> None:
    async with world.running() as env:
        client = world.client(role="boss")
        secret = await client.subscribe(world.m.secret)
        world.gates["guard"] = asyncio.Event()
        first = asyncio.ensure_future(world.server.refresh(user="a"))
        await env.settle()
        world.users["a"] = {"id": "a", "role": "clerk"}
        second = asyncio.ensure_future(world.server.refresh(user="a"))
        await env.settle()
        assert (first.done(), second.done()) == (False, False)
        world.gates.pop("guard").set()
        assert list(await asyncio.gather(first, second)) == [1, 1]
        await env.settle()
        assert secret.status == "error"


async def test_a_failing_second_refresh_does_not_stop_the_first(world: World) -> None:
    async with world.running() as env:
        client = world.client(role="boss")
        secret = await client.subscribe(world.m.secret)
        world.users["a"] = {"id": "a", "role": "clerk"}
        world.gates["guard"] = asyncio.Event()
        first = asyncio.ensure_future(world.server.refresh(user="a"))
        await env.settle()
        world.users["a"] = OSError("the database is away")
        with pytest.raises(OSError, match="away"):
            await world.server.refresh(user="a")
        world.gates.pop("guard").set()
        assert await first == 1
        await env.settle()
        assert secret.status == "error"


@pytest.mark.parametrize("gate", ["connect", "guard"])
async def test_a_server_that_stops_ends_its_refreshes(world: World, gate: str) -> None:
    async with TestEnv(world.server) as world.env:
        await world.client(role="boss").subscribe(world.m.secret)
        world.gates[gate] = asyncio.Event()
        refreshing = asyncio.ensure_future(world.server.refresh(user="a"))
        await world.env.settle()
    assert await asyncio.wait_for(refreshing, 1) == 0
    assert len(world.server._sessions) == 0


async def test_a_guard_that_swallows_its_cancellation_says_nothing_about_the_newest_user(world: World) -> None:
    hang = False

    async def access(ctx: Context[Any]) -> bool:
        role = ctx.user["role"]
        if hang and role == "boss":
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                role = "boss"
        return bool(role == "boss")

    @live.stream("t", access=access)
    def rows(ctx: Context[Any]) -> list[Any]:
        return []

    users = [{"id": "a", "role": "boss"}, {"id": "a", "role": "boss"}, {"id": "a", "role": "clerk"}]
    server = LiveServer(module(rows=rows), on_connect=lambda request: users.pop(0))
    async with TestEnv(server) as env:
        handle = await env.connect().subscribe(rows)
        hang = True
        first = asyncio.ensure_future(server.refresh(user="a"))
        await env.settle()
        assert await server.refresh(user="a") == 1
        assert await first == 1
        await env.settle()
        assert handle.status == "error"


# -- handshakes


class Slow:
    """A server that takes its time to say who somebody is."""

    def __init__(self) -> None:
        self.decided = asyncio.Event()
        self.roles = ["boss"]
        self.asked = 0
        self.ended: list[Any] = []

        @live
        def role(ctx: Context[Any]) -> Any:
            return ctx.user["role"]

        self.role = role
        self.server = LiveServer(
            module(role=role),
            on_connect=self.on_connect,
            on_disconnect=lambda connection, code, reason: self.ended.append((code, reason)),
        )

    async def on_connect(self, request: Any) -> Any:
        self.asked += 1
        role = self.roles[0]
        await self.decided.wait()
        if role == "broken":
            raise OSError("the database is away")
        return {"id": "a", "role": role}


@pytest.mark.parametrize("what", ["refresh", "other", "nothing"])
async def test_a_refresh_during_a_handshake_is_not_missed(what: str) -> None:
    slow = Slow()
    async with TestEnv(slow.server) as env:
        client = env.connect()
        call = asyncio.ensure_future(client.call(slow.role))
        await env.settle()
        slow.roles = ["clerk"]
        if what != "nothing":
            assert await slow.server.refresh(user="a" if what == "refresh" else "b") == 0
        slow.decided.set()
        assert await call == ("clerk" if what == "refresh" else "boss")
        assert slow.asked == (2 if what == "refresh" else 1)


@pytest.mark.parametrize("also", [False, True])
async def test_a_disconnect_during_a_handshake_is_not_missed(also: bool) -> None:
    slow = Slow()
    async with TestEnv(slow.server) as env:
        socket = asyncio.ensure_future(env.transport.connect())
        await env.settle()
        assert slow.server.disconnect(user="a", code=4403, reason="banned") == 0
        if also:
            assert await slow.server.refresh(user="a") == 0
        slow.decided.set()
        await socket
        await env.settle()
        assert slow.ended == [(4403, "banned")]
        assert list(slow.server.connections) == []
        await (await socket).close()


async def test_who_cannot_be_asked_for_after_a_handshake_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    slow = Slow()
    async with TestEnv(slow.server) as env:
        socket = asyncio.ensure_future(env.transport.connect())
        await env.settle()
        slow.roles = ["broken"]
        await slow.server.refresh(user="a")
        slow.decided.set()
        await socket
        await env.settle()
        assert slow.ended == [(1013, "not refreshed")]
        assert "the database is away" in caplog.text
        await (await socket).close()


@pytest.mark.parametrize("others", [2, 3, 4])
async def test_what_is_forgotten_is_asked_for_all_the_same(others: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_LATELY", 3)
    slow = Slow()
    async with TestEnv(slow.server) as env:
        call = asyncio.ensure_future(env.connect().call(slow.role))
        await env.settle()
        slow.roles = ["clerk"]
        await slow.server.refresh(user="a")
        for number in range(others):
            slow.server.disconnect(user=f"user {number}")
        assert len(slow.server._sessions._lately) == 3
        slow.decided.set()
        assert (await call, slow.asked) == ("clerk", 2)


@pytest.mark.parametrize("waits", [False, True])
async def test_an_on_connect_may_end_the_other_connections_of_its_user(waits: bool) -> None:
    def on_connect(request: Any) -> Any:
        server.disconnect(user="a", code=4000)
        return {"id": "a"}

    async def later(request: Any) -> Any:
        await asyncio.sleep(1)
        return on_connect(request)

    server = LiveServer(module(again=again), on_connect=later if waits else on_connect)
    async with TestEnv(server) as env:
        first, second = await env.transport.connect(), await env.transport.connect()
        await env.settle()
        assert len(server.connections) == 1
        await first.close()
        await second.close()
        if waits:  # the one whose on_connect came last stays
            both = await asyncio.gather(env.transport.connect(), env.transport.connect())
            await env.settle()
            assert len(server.connections) == 1
            for each in both:
                await each.close()


async def test_who_connects_after_a_disconnect_stays(world: World) -> None:
    async with world.running() as env:
        await world.client(role="boss").open()
        assert world.server.disconnect(user="a") == 1
        client = await env.connect(query={"s": "a"}).open()
        await env.settle()
        assert await client.call(world.m.role) == "boss"
        assert world.asked == ["a", "a"]


async def test_an_on_connect_that_ends_the_others_keeps_its_own_in_a_refresh() -> None:
    tasks: list[asyncio.Task[None]] = []
    later = asyncio.Event()

    async def watch() -> None:
        await later.wait()
        server.disconnect(user="a", code=4000)

    def on_connect(request: Any) -> Any:
        server.disconnect(user="a", code=4000)
        tasks.append(asyncio.ensure_future(watch()))
        return {"id": "a"}

    server = LiveServer(module(again=again), on_connect=on_connect)
    async with TestEnv(server) as env:
        socket = await env.transport.connect()
        await env.settle()
        assert await server.refresh(user="a") == 1
        assert len(server.connections) == 1
        later.set()  # what it has started is not the connection's own word any more
        await asyncio.gather(*tasks)
        await env.settle()
        assert list(server.connections) == []
        await socket.close()


# -- what is asked with which context


async def test_bare_topics_are_asked_for_as_the_first_time() -> None:
    may, paths = True, []

    def on_topic(ctx: Context[Any], topic: str) -> bool:
        paths.append(ctx.path)
        return may

    server = serving(on_topic, again=again)
    async with TestEnv(server) as env:
        raw = await bare(env, 1)
        may = False
        assert await server.refresh(user="a") == 1
        assert paths == ["__subscribe__"] * 2
        await raw.close()


# -- streams that load


@pytest.mark.parametrize("how", ["refused", "fails", "allowed"])
async def test_a_revoked_stream_is_told_although_another_loads(how: str) -> None:
    bad, gate = False, asyncio.Event()

    def one_access(ctx: Context[Any]) -> bool:
        return not bad

    def two_access(ctx: Context[Any]) -> bool:
        return not bad or how != "refused"

    @live.stream("t", access=one_access)
    def one(ctx: Context[Any]) -> list[Any]:
        return []

    @live.stream("t", access=two_access)
    async def two(ctx: Context[Any]) -> list[Any]:
        await gate.wait()
        if how == "fails":
            raise LiveError("BROKEN", "no rows")
        return []

    server = serving(one=one, two=two)
    async with TestEnv(server) as env:
        client = env.connect()
        first = await client.subscribe(one)
        opening = asyncio.ensure_future(client.subscribe(two))
        await env.settle()
        bad = True
        assert await server.refresh(user="a") == 1
        gate.set()
        if how == "allowed":
            assert (await opening).status == "connected"
        else:
            with pytest.raises(RpcError, match="FORBIDDEN" if how == "refused" else "BROKEN"):
                await opening
        await env.settle()
        assert first.status == "error"


async def test_a_later_refresh_may_allow_a_stream_that_still_loads(world: World) -> None:
    world.gates["secret"] = asyncio.Event()
    async with world.running() as env:
        client = world.client(role="boss")
        opening = asyncio.ensure_future(client.subscribe(world.m.secret))
        await env.settle()
        for role in ("clerk", "boss"):
            world.users["a"] = {"id": "a", "role": role}
            assert await world.server.refresh(user="a") == 1
        world.gates.pop("secret").set()
        assert (await opening).status == "connected"


# -- refreshes from inside


async def from_guard(ctx: Context[Any]) -> None:
    await ctx.refresh()


async def from_task(ctx: Context[Any]) -> None:
    await asyncio.create_task(ctx.refresh())


@pytest.mark.parametrize("check", [from_guard, from_task])
async def test_what_a_refresh_asks_cannot_refresh(
    check: Callable[[Context[Any]], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    asked = 0

    async def checked(ctx: Context[Any]) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        await check(ctx)

    server = serving(_guard=guard(checked), numbered=numbered)
    async with TestEnv(server) as env:
        client = await env.connect().open()
        with pytest.raises(RpcError, match="FORBIDDEN"):
            await client.subscribe(numbered, 1)
        assert asked == 2
        assert "must not refresh" in caplog.text


async def test_an_on_connect_that_refreshes_its_user_fails_at_once() -> None:
    async def on_connect(request: Any) -> Any:
        await server.refresh(user="a")
        return {"id": "a"}

    server = LiveServer(module(again=again), on_connect=on_connect)
    async with TestEnv(server) as env:
        await env.connect().open()
        with pytest.raises(RuntimeError, match="must not refresh"):
            await server.refresh(user="a")
        assert asyncio.get_running_loop().time() == 0


async def test_a_request_whose_user_changes_all_the_time_is_given_up(world: World) -> None:
    async with world.running() as env:
        client = world.client(role="boss")
        await client.open()

        world.gates["topic"] = asyncio.Event()
        opening = asyncio.ensure_future(client.subscribe(world.m.secret))
        times = 0
        while not opening.done():
            await env.settle()
            await asyncio.sleep(1)
            times += await world.server.refresh(user="a")
            gate, world.gates["topic"] = world.gates["topic"], asyncio.Event()
            gate.set()
            await env.settle()
        with pytest.raises(RpcError, match="OVERLOADED"):
            await opening
        assert times == 8


async def test_what_else_fails_for_a_user_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with world.running():
        world.users["also a"] = {"id": "a"}
        await world.client().open()
        await world.client("also a").open()
        world.users["a"], world.users["also a"] = OSError("one"), OSError("two")
        with pytest.raises(OSError, match="two"):
            await world.server.refresh(user="a")
        assert "OSError: one" in caplog.text

"""A connection whose user is asked for anew."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from liverpc import (
    Reject,
    RpcError,
)
from tests.dispatch.session_kit import START, World


@pytest.fixture
def world() -> World:
    return World()


async def test_on_connect_runs_on_every_reconnect(world: World) -> None:
    async with world.running():
        client = await world.client(role="boss").open()
        world.users["a"] = {"id": "a", "role": "clerk"}
        client.cut()
        await world.env.settle()
        assert await client.call(world.m.role) == "clerk"
        assert world.asked == ["a", "a"]


async def test_a_refresh_brings_the_new_user(world: World) -> None:
    async with world.running():
        client = world.client(role="clerk")
        assert await client.call(world.m.role) == "clerk"
        world.users["a"] = {"id": "a", "role": "boss"}
        assert await client.call(world.m.role) == "clerk"
        assert await client.call(world.m.refresh) == ["boss", True]
        assert (await client.subscribe(world.m.secret)).value == [{"id": 1}]
        assert world.server.counters.sessions_refreshed == 1


async def test_a_refresh_ends_what_is_refused_now_and_nothing_else(world: World) -> None:
    async with world.running() as env:
        client = world.client(role="boss")
        secret, rows = await client.subscribe(world.m.secret), await client.subscribe(world.m.open_to_all)
        by_role, gated = await client.subscribe(world.m.by_role), await client.subscribe(world.m.gated)
        world.users["a"] = {"id": "a", "role": "clerk"}
        assert await world.server.refresh(user="a") == 1
        await env.settle()
        assert [each.status for each in (secret, rows, by_role, gated)] == ["error", "connected", "error", "error"]
        assert secret.error is not None and secret.error.code == "FORBIDDEN"
        assert secret.value == [{"id": 1}]
        assert world.log == [("left", "secret", 0)]
        assert world.server.counters.streams_revoked == 3
        world.server.publish_nowait("secret", "created", {"id": 2})
        world.server.publish_nowait("open", "created", {"id": 2})
        await env.settle()
        assert (secret.value, rows.value) == ([{"id": 1}], [{"id": 2}])
        (connection,) = world.server.connections
        assert connection.streams == 1
        assert list(connection.subscriptions) == ["open"]


async def test_another_stream_on_the_topic_stays_and_hears_of_no_denial(world: World) -> None:
    async with world.running() as env:
        client = world.client(role="boss")
        secret, also = await client.subscribe(world.m.secret), await client.subscribe(world.m.also_secret)
        world.users["a"] = {"id": "a"}
        assert await world.server.refresh(user="a") == 1
        world.server.publish_nowait("secret", "created", {"id": 2})
        await env.settle()
        assert (also.status, also.value) == ("connected", [{"id": 2}])
        assert secret.status == "connected"  # it shows what the other one may have
        assert world.server.connections[0].streams == 1
        assert world.log == [("left", "secret", 1)]


async def test_bare_topics_are_asked_for_again(world: World) -> None:
    async with world.running() as env:
        raw = await world.socket(reads=True)
        await raw.send(type="subscribe-batch", topics=["news", "weather"], ref=1)
        await raw.until(type="subscribed", topic="weather")
        world.users["a"] = {"id": "a"}
        assert await world.server.refresh(user="a") == 1
        denied = await raw.until(type="subscribe-denied")
        assert denied == {"type": "subscribe-denied", "topic": "news", "reason": "NO_NEWS"}
        world.server.publish_nowait("news", "msg", 1)
        world.server.publish_nowait("weather", "msg", 2)
        await raw.until(event="msg", data=2)
        assert not [frame for frame in raw.frames if frame.get("topic") == "news" and frame.get("event")]
        await raw.socket.close()
        await env.settle()


@pytest.mark.parametrize(
    ("user", "goodbye"),
    [
        (Reject("UNAUTHENTICATED", "signed out"), (4401, "signed out")),
        (Reject("FORBIDDEN"), (4403, "")),
        (Reject("THROTTLED", before_upgrade=True), (4429, "")),
        ({"id": "b"}, (1012, "another user")),
        (None, (1012, "another user")),
    ],
)
async def test_who_is_refused_or_somebody_else_is_closed(world: World, user: Any, goodbye: tuple[int, str]) -> None:
    async with world.running() as env:
        raw = await world.socket()
        await raw.send(rpc="session_kit/wait", id="0")
        world.users["a"] = user
        await raw.send(rpc="session_kit/refresh", id="1")
        assert await raw.read() == goodbye
        await env.settle()
        assert sorted(world.log, key=str) == [("a", *goodbye), "cancelled"]
        assert not [frame for frame in raw.frames if frame.get("topic") == "__rpc"]
        assert await world.server.refresh(user="a") == 0


async def test_a_failing_on_connect_leaves_everything_as_it_was(world: World) -> None:
    world.expires["a"] = 100.0
    async with world.running() as env:
        client = world.client(role="boss")
        secret = await client.subscribe(world.m.secret)
        world.users["a"] = OSError("the database is away")
        del world.expires["a"]
        with pytest.raises(RpcError, match="INTERNAL_ERROR"):
            await client.call(world.m.refresh)
        with pytest.raises(OSError, match="the database is away"):
            await world.server.refresh(user="a")
        assert await client.call(world.m.role) == "boss"
        assert secret.status == "connected"
        assert world.server.connections[0].request.expires_at == START + 100
        await asyncio.sleep(100)
        await env.settle()
        assert world.log[-1] == ("a", 4401, "session expired")


async def test_an_on_connect_that_hangs_in_a_refresh_is_given_up(world: World) -> None:
    async with world.running():
        client = await world.client(role="boss").open()
        world.gates["connect"] = asyncio.Event()
        with pytest.raises(TimeoutError, match="on_connect did not decide within 10 s"):
            await world.server.refresh(user="a")
        assert asyncio.get_running_loop().time() == 10.0
        assert await client.call(world.m.role) == "boss"


async def test_a_refresh_sets_the_time_anew(world: World) -> None:
    world.expires["a"] = 10.0
    async with world.running() as env:
        client = await world.client().open()
        world.expires["a"] = 40.0
        await client.call(world.m.refresh)
        await asyncio.sleep(39)
        assert world.server.connections
        world.expires["a"] = 5.0  # over
        assert await world.server.refresh(user="a") == 0
        await env.settle()
        assert world.log == [("a", 4401, "session expired")]


async def test_a_refresh_may_take_the_end_away(world: World) -> None:
    world.expires["a"] = 10.0
    async with world.running():
        client = await world.client(role="x").open()
        del world.expires["a"]
        await client.call(world.m.refresh)
        assert len(world.server._sessions) == 0
        await asyncio.sleep(1000)
        assert await client.call(world.m.role) == "x"


async def test_refreshes_share_a_run_that_has_not_asked_yet_and_later_ones_the_next(world: World) -> None:
    async with world.running() as env:
        client = await world.client(role="old").open()
        assert await asyncio.gather(*[world.server.refresh(user="a") for _ in range(5)]) == [1] * 5
        assert len(world.asked) == 2
        world.gates["connect"] = asyncio.Event()
        first = asyncio.ensure_future(client.call(world.m.refresh))
        await env.settle()
        assert len(world.asked) == 3
        later = [asyncio.ensure_future(world.server.refresh(user="a")) for _ in range(3)]
        await env.settle()
        world.users["a"] = {"id": "a", "role": "new"}
        world.gates.pop("connect").set()
        assert await asyncio.gather(*later) == [1, 1, 1]
        await first
        assert len(world.asked) == 4
        assert await client.call(world.m.role) == "new"


async def test_a_call_that_is_given_up_takes_no_refresh_from_the_others(world: World) -> None:
    async with world.running() as env:
        await world.client().open()
        world.gates["connect"] = asyncio.Event()
        one, two = [asyncio.ensure_future(world.server.refresh(user="a")) for _ in range(2)]
        await env.settle()
        one.cancel()
        await env.settle()
        world.gates.pop("connect").set()
        assert await two == 1


async def test_a_disconnect_ends_a_refresh(world: World) -> None:
    async with world.running() as env:
        raw = await world.socket()
        world.gates["connect"] = asyncio.Event()
        await raw.send(rpc="session_kit/refresh", id="1")
        waiting = asyncio.ensure_future(world.server.refresh(user="a"))
        await env.settle()
        assert world.server.disconnect(user="a") == 1
        assert await waiting == 0
        await raw.read()
        await env.settle()
        assert not world.server._background


async def test_a_refresh_in_a_batch(world: World) -> None:
    async with world.running():
        raw = await world.socket(role="clerk")
        world.users["a"] = {"id": "a", "role": "boss"}
        calls = [
            {"rpc": "session_kit/role", "id": "1"},
            {"rpc": "session_kit/refresh", "id": "2"},
            {"rpc": "session_kit/secret", "id": "3", "stream": True},
        ]
        await raw.send(batch=calls, sequential=True)
        answer = await raw.until(event="__batch")
        assert [each["ok"] for each in answer["data"]["batch"]] == [True, True, True]
        assert answer["data"]["batch"][1]["data"] == ["boss", True]
        await raw.socket.close()


# -- refresh while something else goes on


async def test_a_stream_whose_loader_runs_is_refused_instead_of_answered(world: World) -> None:
    world.gates["secret"] = asyncio.Event()
    async with world.running() as env:
        client = world.client(role="boss")
        opening = asyncio.ensure_future(client.subscribe(world.m.secret))
        await env.settle()
        world.users["a"] = {"id": "a"}
        assert await world.server.refresh(user="a") == 1
        world.gates["secret"].set()
        with pytest.raises(RpcError, match="FORBIDDEN"):
            await opening
        assert world.server.connections[0].streams == 0
        assert world.log == []


async def test_a_stream_that_was_left_while_its_loader_runs_is_refused_too(world: World) -> None:
    world.gates["secret"] = asyncio.Event()
    async with world.running() as env:
        client = world.client(role="boss")
        opening = asyncio.ensure_future(client.subscribe(world.m.secret))
        await env.settle()
        assert client.socket is not None
        await client.socket.send('{"type":"unsubscribe","topic":"secret"}')
        await env.settle()
        world.users["a"] = {"id": "a"}
        assert await world.server.refresh(user="a") == 1
        world.gates["secret"].set()
        with pytest.raises(RpcError, match="FORBIDDEN"):
            await opening
        assert world.server.connections[0].streams == 0


async def test_users_are_disconnected_on_the_servers_own_thread(world: World) -> None:
    async with world.running():
        client = world.client()
        await client.open()
        with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
            await asyncio.to_thread(world.server.disconnect, user="a")
        assert [each.closed for each in world.server.connections] == [False]


async def test_a_stream_in_a_batch_that_is_not_answered_yet_is_refused(world: World) -> None:
    async with world.running() as env:
        raw = await world.socket(role="boss")
        await raw.send(
            batch=[
                {"rpc": "session_kit/secret", "id": "1", "stream": True},
                {"rpc": "session_kit/slowly", "id": "2"},
            ]
        )
        await env.settle()
        world.users["a"] = {"id": "a"}
        assert await world.server.refresh(user="a") == 1
        answer = await raw.until(event="__batch")
        assert [each.get("code") for each in answer["data"]["batch"]] == ["FORBIDDEN", None]
        assert world.server.connections[0].streams == 0
        await raw.socket.close()


@pytest.mark.parametrize("gate", ["guard", "topic"])
async def test_a_request_that_is_being_decided_is_asked_again(world: World, gate: str) -> None:
    async with world.running() as env:
        client = world.client(role="boss")
        await client.open()
        world.gates[gate] = asyncio.Event()
        opening = asyncio.ensure_future(client.subscribe(world.m.secret))
        await env.settle()
        await asyncio.sleep(1)
        world.users["a"] = {"id": "a"}
        assert await world.server.refresh(user="a") == 1
        world.gates.pop(gate).set()
        with pytest.raises(RpcError, match="FORBIDDEN"):
            await opening
        assert world.server.connections[0].streams == 0


async def test_a_bare_topic_that_is_being_decided_is_asked_again(world: World) -> None:
    async with world.running() as env:
        raw = await world.socket(reads=True)
        world.gates["topic"] = asyncio.Event()
        await raw.send(type="subscribe", topic="news", ref=1)
        await env.settle()
        user = world.users["a"]
        world.users["a"] = {"id": "a"}
        assert await world.server.refresh(user="a") == 1
        del user["reads"]
        world.gates.pop("topic").set()
        assert (await raw.until(type="subscribe-denied"))["reason"] == "NO_NEWS"
        assert world.server.connections[0].streams == 0
        await raw.socket.close()


async def test_a_guard_that_fails_ends_the_stream(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with world.running() as env:
        client = world.client(role="boss")
        secret = await client.subscribe(world.m.secret)
        world.users["a"] = {"id": "a", "role": "boss", "breaks": True}
        assert await world.server.refresh(user="a") == 1
        await env.settle()
        assert secret.error is not None and secret.error.code == "FORBIDDEN"
        assert "the database is away" not in secret.error.message
        assert "a guard of session_kit/secret failed" in caplog.text


async def test_a_guard_that_hangs_ends_the_stream_in_time(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with world.running() as env:
        client = world.client(role="boss")
        secret = await client.subscribe(world.m.secret)
        world.gates["guard"] = asyncio.Event()
        before = asyncio.get_running_loop().time()
        assert await world.server.refresh(user="a") == 1
        assert asyncio.get_running_loop().time() == before + 10
        await env.settle()
        assert secret.error is not None and secret.error.code == "INTERNAL_ERROR"


async def test_what_a_guard_left_in_the_state_is_that_of_the_new_user(world: World) -> None:
    async with world.running():
        client = world.client(role="boss")
        await client.subscribe(world.m.secret)
        world.users["a"] = {"id": "a", "role": "boss", "also": 1}
        (stream,) = world.server.connections[0].subscriptions["secret"].streams
        before = stream.ctx
        assert await world.server.refresh(user="a") == 1
        assert stream.ctx is not before
        assert (stream.ctx.state, stream.ctx.user["also"]) == ({"role": "boss"}, 1)


async def test_events_reach_a_lowered_role_until_its_refusal_is_known_and_no_longer(world: World) -> None:
    """While 50 events are published: those before, and the 10 of the time in which the guard decides."""
    async with world.running() as env:
        raw = await world.socket(role="boss")
        await raw.send(rpc="session_kit/secret", id="1", stream=True)
        await raw.until(event="1")
        await env.settle()
        world.gates["guard"] = asyncio.Event()
        refreshing = None
        for number in range(50):
            if number == 20:
                world.users["a"] = {"id": "a"}
                refreshing = asyncio.ensure_future(world.server.refresh(user="a"))
            if number == 30:
                world.gates.pop("guard").set()
                assert refreshing is not None and await refreshing == 1
            world.server.publish_nowait("secret", "created", {"id": number})
            await env.settle()
        await raw.socket.close()
        await raw.read()
        ids = [frame["data"]["id"] for frame in raw.frames if frame.get("event") == "created"]
        assert ids == list(range(30))
        assert raw.frames[-1] == {"type": "subscribe-denied", "topic": "secret", "reason": "FORBIDDEN"}


async def test_a_context_without_a_client_cannot_be_refreshed(world: World) -> None:
    async with world.running():
        loader = world.server.using(user={"id": "x"})
        with pytest.raises(RuntimeError, match="no client"):
            await loader.load(world.m.refreshing)


async def test_a_disconnect_while_guards_are_asked_leaves_nothing(world: World) -> None:
    async with world.running() as env:
        raw = await world.socket(role="boss")
        await raw.send(rpc="session_kit/secret", id="1", stream=True)
        await raw.until(event="1")
        await env.settle()
        world.gates["guard"] = asyncio.Event()
        refreshing = asyncio.ensure_future(world.server.refresh(user="a"))
        await env.settle()
        assert world.server.disconnect(user="a") == 1
        assert await refreshing == 0
        await raw.read()
        await env.settle()
        assert not world.server._background


async def test_many_streams_are_asked_about_a_few_at_a_time(world: World) -> None:
    async with world.running() as env:
        client = world.client(role="boss")
        rows = [await client.subscribe(world.m.numbered, number) for number in range(40)]
        world.log.clear()
        world.gates["guard"] = asyncio.Event()
        refreshing = asyncio.ensure_future(world.server.refresh(user="a"))
        await env.settle()
        assert world.log.count("asked") == 16
        world.users["a"]["barred"] = True
        world.gates.pop("guard").set()
        assert await refreshing == 1
        await env.settle()
        assert world.log.count("asked") == 40
        assert {each.error.code for each in rows if each.error is not None} == {"BARRED"}
        assert world.server.connections[0].streams == 0


async def test_a_refresh_beside_other_calls_of_a_batch(world: World) -> None:
    """They run at the same time: what began as the old user is asked again before it is answered."""
    async with world.running() as env:
        raw = await world.socket(role="boss")
        world.users["a"] = {"id": "a"}
        calls = [
            {"rpc": "session_kit/secret", "id": "1", "stream": True},
            {"rpc": "session_kit/refresh", "id": "2"},
            {"rpc": "session_kit/secret", "id": "3", "stream": True},
        ]
        await raw.send(batch=calls)
        answer = await raw.until(event="__batch")
        assert [each.get("code") for each in answer["data"]["batch"]] == ["FORBIDDEN", None, "FORBIDDEN"]
        assert world.server.connections[0].streams == 0
        await raw.socket.close()
        await env.settle()

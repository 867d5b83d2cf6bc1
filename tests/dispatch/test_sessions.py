"""How long a connection is somebody's: expiry and disconnect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from liverpc import (
    ConnectRequest,
    RpcError,
)
from tests.dispatch.session_kit import World


@pytest.fixture
def world() -> World:
    return World()


# -- expiry


@pytest.mark.parametrize(("after", "open_"), [(9.9, True), (10.0, False), (10.1, False)])
async def test_a_session_ends_at_its_time(world: World, after: float, open_: bool) -> None:
    world.expires["a"] = 10.0
    async with world.running():
        client = await world.client().open()
        await asyncio.sleep(after)
        await world.env.settle()
        assert bool(world.server.connections) is open_
        if not open_:
            await client.aclose()
            assert world.log == [("a", 4401, "session expired")]
            assert world.server.counters.sessions_expired == 1


async def test_an_expired_session_cancels_what_runs_and_keeps_the_client_away(world: World) -> None:
    world.expires["a"] = 10.0
    async with world.running() as env:
        client = world.client()
        rows = await client.subscribe(world.m.open_to_all)
        with pytest.raises(RpcError):
            await client.call(world.m.wait)
        await env.settle()
        assert sorted(world.log, key=str) == [("a", 4401, "session expired"), ("left", "open", 0), "cancelled"]
        assert asyncio.get_running_loop().time() == 10.0
        assert rows.status == "error"
        await asyncio.sleep(1000)
        assert world.asked == ["a"]


async def test_a_session_that_is_over_does_not_begin(world: World) -> None:
    world.expires["a"] = 0.0
    async with world.running():
        raw = await world.socket()
        assert await raw.read() == (4401, "session expired")
        assert raw.frames == []
        assert world.log == []
        assert world.server.counters.connections_opened == 0


async def test_a_session_that_ends_while_on_connect_decides_does_not_begin(world: World) -> None:
    world.expires["a"] = 2.0
    world.gates["connect"] = asyncio.Event()
    async with world.running():
        asyncio.get_running_loop().call_later(3, world.gates["connect"].set)
        raw = await world.socket()
        assert await raw.read() == (4401, "session expired")


async def test_a_clock_that_is_set_forwards_is_noticed_within_30_seconds(world: World) -> None:
    world.expires["a"] = 86_400.0
    async with world.running():
        raw = await world.socket()
        await asyncio.sleep(31)
        world.clock.ahead = 86_400.0
        assert await raw.read() == (4401, "session expired")
        assert asyncio.get_running_loop().time() == 60.0


async def test_a_connection_that_closes_first_leaves_no_timer(world: World) -> None:
    world.expires["a"] = 50.0
    async with world.running():
        client = await world.client().open()
        assert len(world.server._sessions) == 1
        await client.aclose()
        await world.env.settle()
        assert len(world.server._sessions) == 0


@pytest.mark.parametrize("moment", ["tomorrow", True, float("nan"), float("inf")])
def test_expires_at_takes_seconds_only(moment: Any) -> None:
    request = ConnectRequest("/ws")
    with pytest.raises(TypeError, match="seconds since the epoch"):
        request.expires_at = moment
    assert request.expires_at is None


async def test_an_upload_ends_with_its_session(world: World) -> None:
    world.expires["a"] = 5.0

    async def slowly() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100
            await asyncio.sleep(1)

    async with world.running() as env:
        with pytest.raises(RpcError):
            await world.client().upload(world.m.take, slowly())
        await env.settle()
        assert world.log == ["DISCONNECTED", ("a", 4401, "session expired")]
        assert asyncio.get_running_loop().time() == 5.0


async def test_nothing_is_heard_after_the_goodbye(world: World) -> None:
    """Neither what the client sends until it has answered, nor the rest of a sequential batch."""
    async with world.running() as env:
        raw = await world.socket()
        raw.socket.stall()  # it does not answer the goodbye
        calls = [
            {"rpc": "session_kit/note", "id": "1", "args": ["before"]},
            {"rpc": "session_kit/leave", "id": "2"},
            {"rpc": "session_kit/note", "id": "3", "args": ["in the batch"]},
        ]
        await raw.send(batch=calls, sequential=True)
        await env.settle()
        await raw.send(rpc="session_kit/note", args=["later"])
        await env.settle()
        assert world.log == ["before"]
        raw.socket.resume()
        await env.settle()
        assert world.log == ["before", ("a", 4401, "signed out")]


async def test_cleaning_up_is_not_disturbed_when_the_goodbye_is_answered(world: World) -> None:
    async with world.running() as env:
        raw = await world.socket()
        await raw.send(rpc="session_kit/tidy", id="1")
        await env.settle()
        raw.socket.stall()
        assert world.server.disconnect(user="a") == 1
        await asyncio.sleep(1)
        raw.socket.resume()
        await env.settle()
        assert world.log == [("a", 4401, "")]
        await asyncio.sleep(1)
        assert world.log == [("a", 4401, ""), "tidied"]


# -- disconnect


async def test_disconnect_closes_all_connections_of_one_user(world: World) -> None:
    async with world.running() as env:
        world.users["also a"] = {"id": "a"}
        one, two, other = await world.socket("a"), await world.socket("also a"), await world.socket("b")
        assert world.server.disconnect(user="a", code=4000, reason="bye") == 2
        assert world.server.disconnect(user="a") == 0
        assert world.server.disconnect(user="nobody") == 0
        assert await one.read() == await two.read() == (4000, "bye")
        await env.settle()
        assert [connection.user_id for connection in world.server.connections] == ["b"]
        await other.socket.close()


@pytest.mark.parametrize("code", [1000, 3000, 4999])
async def test_disconnect_takes_these_codes(world: World, code: int) -> None:
    async with world.running():
        raw = await world.socket()
        assert world.server.disconnect(user="a", code=code) == 1
        assert await raw.read() == (code, "")


@pytest.mark.parametrize("code", [999, 1001, 1006, 2999, 5000, "4401"])
async def test_disconnect_refuses_other_codes(world: World, code: Any) -> None:
    with pytest.raises(ValueError, match="1000, or a code from 3000 to 4999"):
        world.server.disconnect(user="a", code=code)


async def test_disconnect_and_refresh_take_an_id(world: World) -> None:
    user: Any = {"id": "a"}
    with pytest.raises(TypeError, match="identify"):
        world.server.disconnect(user=user)
    with pytest.raises(TypeError, match="identify"):
        await world.server.refresh(user=user)


async def test_disconnect_ends_calls_at_once(world: World) -> None:
    async with world.running() as env:
        raw = await world.socket()
        await raw.send(rpc="session_kit/wait", id="1")
        await env.settle()
        raw.socket.stall()
        world.server.disconnect(user="a")
        await env.settle()
        assert world.log == ["cancelled"]
        raw.socket.resume()

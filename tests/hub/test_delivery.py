"""Volatile and coalesced topics: what reaches clients that read, and clients that do not."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, LiveServer, live, public
from liverpc.backends.memory import World, memory_cluster
from liverpc.telemetry import Published
from liverpc.testing import TestEnv
from tests.streams.raw_client import Raw


class App:
    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.keyed: list[Any] = []

    def key(self, data: Any) -> object:
        self.keyed.append(data)
        return data["who"] if isinstance(data, dict) else data

    def server(self, **options: Any) -> LiveServer:
        @live.stream("moves", coalesce_by=self.key)
        async def moves(ctx: Context[Any]) -> list[Any]:
            return []

        @live.stream("moves")
        async def slow_moves(ctx: Context[Any]) -> list[Any]:
            await self.gate.wait()
            return []

        @live.stream("moves")
        async def plain(ctx: Context[Any]) -> list[Any]:
            return []

        @live.stream("ticks", volatile=True)
        async def ticks(ctx: Context[Any]) -> list[Any]:
            return []

        @live.stream(lambda ctx: "computed", coalesce_by=self.key)
        async def computed(ctx: Context[Any]) -> list[Any]:
            return []

        @live.stream(lambda ctx: "computed")
        async def plainly_computed(ctx: Context[Any]) -> list[Any]:
            return []

        streams = {"moves": moves, "slow_moves": slow_moves, "plain": plain, "ticks": ticks}
        streams |= {"computed": computed, "plainly_computed": plainly_computed}
        return LiveServer({"demo": SimpleNamespace(**streams, _guard=public())}, **options)


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def live_server(app: App) -> LiveServer:
    return app.server()


def move(who: str, n: int) -> dict[str, Any]:
    return {"who": who, "n": n}


async def test_93_of_a_hundred_publishes_for_two_keys_a_blocked_client_gets_the_last_of_each(live_env: TestEnv) -> None:
    # acceptance 93
    blocked, fast = await Raw.open(live_env), await Raw.open(live_env)
    for raw in (blocked, fast):
        await raw.subscribe("demo/moves")
    blocked.socket.stall()
    for n in range(50):
        await live_env.server.publish("moves", "set", move("a", n))
        await live_env.server.publish("moves", "set", move("b", n))
    await live_env.settle()
    blocked.socket.resume()
    got = [await blocked.recv() for _ in range(2)]
    assert got == [{"topic": "moves", "event": "set", "data": move(who, 49)} for who in "ab"]
    await blocked.silent()
    assert [(await fast.recv())["data"] for _ in range(100)] == [move(who, n) for n in range(50) for who in "ab"]
    assert live_env.counters.latest_replaced == 98


async def test_94_the_key_comes_from_the_data_as_published(live_env: TestEnv, app: App) -> None:
    # acceptance 94
    raw = await Raw.open(live_env)
    await raw.subscribe("demo/moves")
    data = move("a", 1)
    await live_env.server.publish("moves", "set", data)
    assert app.keyed[0] is data


async def test_what_the_key_function_raises_the_publisher_gets_and_nothing_is_published(live_env: TestEnv) -> None:
    raw = await Raw.open(live_env)
    await raw.subscribe("demo/moves")
    with pytest.raises(KeyError):
        await live_env.server.publish("moves", "set", {"no": "who"})
    with pytest.raises(TypeError, match="unhashable"):
        await live_env.server.publish("moves", "set", {"who": []})
    with pytest.raises(KeyError):
        live_env.server._hub.publish_batch([("moves", "set", move("a", 1)), ("moves", "set", {"no": "who"})])
    assert live_env.counters.published == 0
    await raw.silent()


async def test_none_is_one_slot(live_env: TestEnv) -> None:
    raw = await Raw.open(live_env)
    await raw.subscribe("demo/moves")
    raw.socket.stall()
    for _ in range(3):
        await live_env.server.publish("moves", "set", {"who": None})
    await live_env.settle()
    raw.socket.resume()
    await raw.recv()
    await raw.silent()


async def test_95_volatile_events_have_no_number_and_a_blocked_client_misses_them(live_env: TestEnv) -> None:
    # acceptance 95
    told: list[Published] = []
    live_env.server.telemetry.published.append(told.append)
    raw = await Raw.open(live_env)
    await raw.subscribe("demo/ticks")
    await live_env.server.publish("ticks", "set", 1)
    assert await raw.recv() == {"topic": "ticks", "event": "set", "data": 1}
    raw.socket.stall()
    await live_env.server.publish("ticks", "set", 2)
    raw.socket.resume()
    await live_env.server.publish("ticks", "set", 3)
    assert (await raw.recv())["data"] == 3
    assert live_env.counters.volatile_drops == 1
    assert [each.seq for each in told] == [None] * 3


async def test_events_held_while_loading_are_kept_once_per_key(live_env: TestEnv, app: App) -> None:
    other, raw = await Raw.open(live_env), await Raw.open(live_env)
    await other.subscribe("demo/moves")
    await raw.send(rpc="demo/slow_moves", id="s", stream=True)
    await live_env.settle()
    for n in range(20):
        await live_env.server.publish("moves", "set", move("a", n))
        await live_env.server.publish("moves", "set", move("b", n))
    app.gate.set()
    assert (await raw.recv())["topic"] == "__rpc"
    assert [(await raw.recv())["data"] for _ in range(2)] == [move("a", 19), move("b", 19)]
    await raw.silent()


async def test_what_one_stream_says_of_a_fixed_topic_holds_before_anybody_subscribes_to_it(live_env: TestEnv) -> None:
    raw = await Raw.open(live_env)
    await raw.subscribe("demo/plain")
    raw.socket.stall()
    for n in range(5):
        await live_env.server.publish("moves", "set", move("a", n))
    await live_env.settle()
    raw.socket.resume()
    assert await raw.recv() == {"topic": "moves", "event": "set", "data": move("a", 4)}


async def test_on_a_computed_topic_the_first_stream_with_an_option_decides(live_env: TestEnv) -> None:
    early, late = await Raw.open(live_env), await Raw.open(live_env)
    await early.subscribe("demo/plainly_computed")
    await live_env.server.publish("computed", "set", move("a", 0))
    assert (await early.recv())["seq"] == 1
    await late.subscribe("demo/computed")
    early.socket.stall()
    for n in range(5):
        await live_env.server.publish("computed", "set", move("a", n))
    await live_env.settle()
    early.socket.resume()
    assert await early.recv() == {"topic": "computed", "event": "set", "data": move("a", 4)}


async def test_the_options_of_a_computed_topic_end_with_its_last_subscriber(live_env: TestEnv) -> None:
    raw = await Raw.open(live_env)
    await raw.subscribe("demo/computed")
    await raw.send(type="unsubscribe", topic="computed")
    await raw.subscribe("demo/plainly_computed")
    await live_env.server.publish("computed", "set", {"no": "who"})
    assert (await raw.recv())["seq"] == 1


async def test_events_of_other_nodes_are_coalesced_by_their_json_or_not_at_all(app: App) -> None:
    world = World()
    one = TestEnv(app.server(cluster=memory_cluster("one", world)))
    two = TestEnv(app.server(cluster=memory_cluster("two", world)))
    async with one, two:
        raw = await Raw.open(two)
        await raw.subscribe("demo/moves")
        raw.socket.stall()
        for n in range(3):
            await one.server.publish("moves", "set", move("a", n))
            await one.server.publish("moves", "set", {"no": n})
        await two.settle()
        raw.socket.resume()
        got = [(await raw.recv())["data"] for _ in range(4)]
        assert sorted(map(str, got)) == sorted(map(str, [move("a", 2), {"no": 0}, {"no": 1}, {"no": 2}]))
        await raw.silent()

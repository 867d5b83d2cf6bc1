"""The figures of each topic, as observers see them."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from liverpc import Context, Inspect, LiveError, LiveServer, Token, live, public
from liverpc.clock import SeededClock
from liverpc.inspector.protocol import State, StreamStats
from liverpc.testing import TestEnv
from tests.inspector.attach_kit import SECRETS, Observer
from tests.streams.raw_client import Raw


class App:
    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails = False

        async def load(ctx: Context[Any]) -> list[Any]:
            await self.gate.wait()
            if self.fails:
                raise LiveError("NO_DATA")
            return []

        @live.stream("slow")
        async def slow(ctx: Context[Any]) -> list[Any]:
            return await load(ctx)

        @live.stream("logged", replay=True)
        async def logged(ctx: Context[Any]) -> list[Any]:
            return []

        @live.stream("stale", stale_after=10)
        async def stale(ctx: Context[Any]) -> list[Any]:
            return await load(ctx)

        @live.stream("prices", coalesce_by=lambda price: price["id"])
        async def prices(ctx: Context[Any]) -> list[Any]:
            return []

        cursors = live.channel("cursors", merge="cursor", item=dict, volatile=True)
        streams = {"slow": slow, "logged": logged, "stale": stale, "prices": prices, "cursors": cursors}
        self.server = LiveServer(
            {"demo": SimpleNamespace(**streams, _guard=public())},
            inspect=Inspect(enabled=True, tokens=(Token(secret=SECRETS["observe"]),)),
            clock=SeededClock(),
        )


class Figures:
    """What an observer knows of the topics."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._names: dict[int, str] = {}

    async def of(self, topic: str, **wanted: Any) -> StreamStats:
        """The next figures of a topic that have these values."""
        while True:
            state = await self._observer.wait(State, lambda state: state.stream_stats)
            self._names |= {info.id: info.topic for info in state.streams}
            for stats in state.stream_stats:
                if self._names.get(stats.id) == topic and all(getattr(stats, n) == v for n, v in wanted.items()):
                    return stats


@pytest.fixture
def app() -> App:
    return App()


async def test_events_held_back_for_a_loader_are_seen(app: App) -> None:
    async with TestEnv(app.server) as env:
        first, second = await Raw.open(env), await Raw.open(env)
        figures = Figures(await Observer.attach(env))
        await first.subscribe("demo/slow")
        await figures.of("slow", held=0)
        app.gate.clear()
        await second.send(rpc="demo/slow", id="s", args=[], stream=True)
        await env.settle()
        for _ in range(3):
            env.server.publish_nowait("slow", "created", {"id": 1})
        await figures.of("slow", held=3, seq=3)
        app.gate.set()
        await figures.of("slow", held=0, subscribers=2)


async def test_the_depth_of_a_log_is_seen(app: App) -> None:
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        figures = Figures(await Observer.attach(env))
        await raw.subscribe("demo/logged")
        for _ in range(3):
            env.server.publish_nowait("logged", "created", {"id": 1})
        await figures.of("logged", replay_depth=3, seq=3)


async def test_reloads_and_their_failures_are_seen(app: App) -> None:
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        figures = Figures(await Observer.attach(env))
        await raw.subscribe("demo/stale")
        await figures.of("stale", reloads=1, event="refreshed")
        app.fails = True
        await figures.of("stale", reloads=1, error="NO_DATA")


async def test_the_failure_of_a_further_stream_of_a_connection_is_seen(app: App) -> None:
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        figures = Figures(await Observer.attach(env))
        await raw.subscribe("demo/slow")
        await figures.of("slow", error="")
        app.fails = True
        await raw.subscribe("demo/slow")
        await figures.of("slow", error="NO_DATA", subscribers=1)


async def test_what_full_sockets_missed_is_counted_for_the_topic_it_belongs_to(app: App) -> None:
    async with TestEnv(app.server) as env:
        full, reading = await Raw.open(env), await Raw.open(env)
        figures = Figures(await Observer.attach(env))
        for raw in (full, reading):
            await raw.subscribe("demo/prices")
            await raw.subscribe("demo/cursors")
            await raw.subscribe("demo/slow")
        full.socket.stall()
        for number in range(5):
            env.server.publish_nowait("prices", "updated", {"id": number % 2})
        for _ in range(7):
            env.server.publish_nowait("cursors", "update", {"key": "ann"})
        env.server.publish_nowait("slow", "created", {"id": 1})
        await figures.of("prices", published=5, coalesced=3, volatile_drops=0, dropped=0)
        assert (env.counters.latest_replaced, env.counters.volatile_drops) == (3, 7)
        topics = env.server._hub.topics
        assert {name: (topic.coalesced, topic.volatile_drops) for name, topic in topics.items()} == {
            "prices": (3, 0),
            "cursors": (0, 7),
            "slow": (0, 0),
        }


def test_an_observer_of_an_older_server_sees_zeros() -> None:
    stats = msgspec.json.decode(b'[1,2,3,4,0,9,"updated",1.5,3,""]', type=StreamStats)
    assert (stats.seq, stats.replay_depth, stats.held, stats.reloads) == (3, 0, 0, 0)
    longer = msgspec.json.encode(stats)[:-1] + b',"something newer"]'
    assert msgspec.json.decode(longer, type=StreamStats) == stats

"""How hard the process works."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import ConfigError, Context, LiveServer, live, public, remote
from liverpc.backends.memory import memory_cluster
from liverpc.config import Limits, PressureThresholds
from liverpc.hub.hub import Hub
from liverpc.policies import pressure as pressure_module
from liverpc.policies.pressure import Pressure, PressureGauge, PressureReason
from liverpc.telemetry import Telemetry
from liverpc.testing import TestEnv


class Kit:
    def __init__(self, **thresholds: Any) -> None:
        self.telemetry = Telemetry()
        cluster = memory_cluster()
        self.hub = Hub(self.telemetry, cluster.bus, cluster.log, Limits(), monotonic=asyncio.get_running_loop().time)
        self.gauge = PressureGauge(
            self.hub, self.telemetry.counters, PressureThresholds(**{"memory": 2.0} | thresholds)
        )

    async def publish(self, count: int) -> Pressure:
        """Publish so often within the second before a sample."""
        for _ in range(count):
            self.hub.publish("rows", "x", 1)
        await asyncio.sleep(1)
        return self.gauge.read()


async def test_the_first_snapshot_is_there_at_once_and_knows_no_rate() -> None:
    kit = Kit()
    snapshot = kit.gauge.read()
    assert (snapshot.reason, snapshot.publish_rate, snapshot.loop_lag) == (PressureReason.NONE, 0.0, 0.0)
    assert snapshot.memory >= 0.0
    kit.gauge.stop()


@pytest.mark.parametrize(("count", "reason"), [(9, "NONE"), (10, "PUBLISH_RATE"), (11, "PUBLISH_RATE")])
async def test_the_publish_rate_is_measured_over_a_second(count: int, reason: str) -> None:
    kit = Kit(publish_rate=10.0)
    kit.gauge.read()
    snapshot = await kit.publish(count)
    assert (snapshot.publish_rate, snapshot.reason) == (count, reason)
    kit.gauge.stop()


async def test_memory_comes_before_the_publish_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure_module, "resident_bytes", lambda: 50)
    monkeypatch.setattr(pressure_module, "_memory_limit", lambda: 100)
    for memory, reason in ((0.51, "PUBLISH_RATE"), (0.5, "MEMORY"), (0.49, "MEMORY")):
        kit = Kit(publish_rate=1.0, memory=memory)
        kit.gauge.read()
        snapshot = await kit.publish(5)
        assert (snapshot.memory, snapshot.reason) == (0.5, reason)
        kit.gauge.stop()


async def test_memory_is_none_where_nothing_is_known_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure_module, "_memory_limit", lambda: 0)
    kit = Kit(memory=0.01)
    assert (kit.gauge.read().memory, kit.gauge.read().reason) == (0.0, "NONE")
    kit.gauge.stop()


async def test_measuring_stops_a_minute_after_the_last_question() -> None:
    kit = Kit()
    kit.gauge.read()
    await asyncio.sleep(58.5)
    busy = await kit.publish(100)
    assert busy.publish_rate == 100
    await asyncio.sleep(70)
    await kit.publish(100)
    assert kit.gauge.read().publish_rate == 0.0, "it starts anew"
    kit.gauge.stop()


async def test_a_loop_that_is_late_is_noticed() -> None:
    kit = Kit()
    loop: Any = asyncio.get_running_loop()
    kit.gauge.read()
    await asyncio.sleep(0.5)
    loop._now += 2.0  # something blocks
    await asyncio.sleep(0.1)
    assert kit.gauge.read().loop_lag == pytest.approx(1.5)
    kit.gauge.stop()


@pytest.mark.parametrize("name", ["memory", "publish_rate", "subscribers"])
def test_thresholds_are_positive_and_come_from_the_environment(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        PressureThresholds(**{name: 0})
    found = PressureThresholds.from_env({f"LIVERPC_PRESSURE_{name.upper()}": "7"})
    assert getattr(found, name) == 7


@pytest.mark.parametrize(("subscribers", "reason"), [(1, "NONE"), (2, "SUBSCRIBERS"), (3, "SUBSCRIBERS")])
async def test_a_handler_sees_the_pressure_of_its_server(subscribers: int, reason: str) -> None:
    @live.stream("rows")
    async def rows(ctx: Context[Any]) -> list[Any]:
        return []

    @live
    def look(ctx: Context[Any]) -> Any:
        return [ctx.pressure.reason, ctx.pressure.subscribers]

    module = SimpleNamespace(rows=rows, look=look, _guard=public())
    async with TestEnv(LiveServer({"demo": module}, thresholds=PressureThresholds(memory=2, subscribers=2))) as env:
        clients = [env.connect() for _ in range(subscribers)]
        for client in clients:
            await client.subscribe(remote("demo/rows"))
        assert await clients[0].call(remote("demo/look")) == [reason, subscribers]
        assert env.server.pressure.subscribers == subscribers

"""``env.chaos``: what goes wrong goes wrong at the stated rate, the same way each time, and to nothing but events."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import ConfigError, Context, LiveServer, RpcError, live, public
from liverpc.testing import TestClient, TestEnv

numbers = live.channel("numbers", merge="latest", max=10_000, item=int, path="demo/numbers")
others = live.channel("others", merge="latest", max=10_000, item=int, path="demo/others")


@live(path="demo/publish")
def publish(ctx: Context[Any], number: int) -> int:
    ctx.publish("numbers", "new", number)
    return number


@live(path="demo/publish_together")
def publish_together(ctx: Context[Any], count: int) -> None:
    ctx.batch([("numbers", "new", number) for number in range(count)])


@live(path="demo/missing")
def missing(ctx: Context[Any], number: int) -> int:
    return number


@live.stream("numbers", merge="latest", path="demo/closed", gate=lambda ctx: False)
def closed(ctx: Context[Any]) -> list[int]:
    return []


class Listener:
    """A client and the numbers that reached it, in the order in which they came."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    async def open(self, stream: Any = numbers) -> Listener:
        self.handle = await self.client.subscribe(stream)
        return self

    @property
    def got(self) -> list[int]:
        return self.handle.get([])


@pytest.fixture
def live_server() -> LiveServer:
    functions = SimpleNamespace(
        numbers=numbers, others=others, publish=publish, publish_together=publish_together, closed=closed
    )
    functions._guard = public()
    return LiveServer({"demo": functions})


async def publish_all(env: TestEnv, count: int, topic: str = "numbers", pause: float = 0.0) -> None:
    for number in range(count):
        env.server.publish_nowait(topic, "new", number)
        await asyncio.sleep(pause)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_without_rates_nothing_happens(live_env: TestEnv) -> None:
    listener = await Listener(live_env.connect()).open()
    live_env.chaos.set(seed="s")
    await publish_all(live_env, 100)
    await live_env.settle()
    chaos = live_env.chaos
    assert listener.got == list(range(100))
    assert (chaos.dropped, chaos.duplicated, chaos.reordered, chaos.delayed, chaos.disconnected) == (0, 0, 0, 0, 0)


async def test_its_repr_shows_the_counters(live_env: TestEnv) -> None:
    live_env.chaos.set(seed="s", drop_rate=1)
    await live_env.server.publish("numbers", "new", 1)
    assert repr(live_env.chaos) == "<TestChaos dropped=1 duplicated=0 reordered=0 delayed=0 disconnected=0>"


@pytest.mark.parametrize("rate", [-0.01, 1.01, math.nan, math.inf])
@pytest.mark.parametrize("name", ["drop_rate", "duplicate_rate", "reorder_rate", "disconnect_rate"])
async def test_a_rate_outside_0_to_1_is_an_error_and_changes_nothing(live_env: TestEnv, name: str, rate: float) -> None:
    # acceptance 240
    listener = await Listener(live_env.connect()).open()
    live_env.chaos.set(seed="s", duplicate_rate=1)
    with pytest.raises(ConfigError, match=f"{name} is a number from 0 to 1"):
        live_env.chaos.set(seed="t", **{name: rate})  # type: ignore[arg-type]
    await publish_all(live_env, 1)
    await live_env.settle()
    assert listener.got == [0, 0]


@pytest.mark.parametrize("delay", [-1.0, math.nan, math.inf, (2.0, 1.0), (-1.0, 1.0), (0.0, math.inf)])
async def test_a_delay_that_makes_no_sense_is_an_error(live_env: TestEnv, delay: Any) -> None:
    with pytest.raises(ConfigError, match="delay is a number of seconds"):
        live_env.chaos.set(seed="s", delay=delay)


async def test_an_empty_topic_is_an_error(live_env: TestEnv) -> None:
    with pytest.raises(ConfigError, match="topic glob"):
        live_env.chaos.set(seed="s", drop_rate=1, topic="")


@pytest.mark.parametrize("name", ["drop_rate", "duplicate_rate", "reorder_rate"])
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
async def test_each_fault_happens_at_its_rate(live_env: TestEnv, name: str, rate: float) -> None:
    listener = await Listener(live_env.connect()).open()
    live_env.chaos.set(seed="s", **{name: rate})  # type: ignore[arg-type]
    await publish_all(live_env, 1000)
    await asyncio.sleep(2)
    chaos = live_env.chaos
    hits = {"drop_rate": chaos.dropped, "duplicate_rate": chaos.duplicated, "reorder_rate": chaos.reordered}.pop(name)
    assert len(listener.got) == 1000 - chaos.dropped + chaos.duplicated
    assert set(listener.got) <= set(range(1000))
    if name == "reorder_rate":  # the one that is overtaken is not late, too
        assert sum(a > b for a, b in zip(listener.got, listener.got[1:], strict=False)) == hits
        assert hits == pytest.approx(1000 * rate / (1 + rate), abs=50)
    else:
        assert hits == pytest.approx(1000 * rate, abs=50)


async def test_a_late_event_comes_after_the_next_one(live_env: TestEnv) -> None:
    listener = await Listener(live_env.connect()).open()
    live_env.chaos.set(seed="s", reorder_rate=1)
    await publish_all(live_env, 4)
    await live_env.settle()
    assert listener.got == [1, 0, 3, 2]


async def test_a_late_event_that_nothing_follows_comes_after_a_second(live_env: TestEnv) -> None:
    listener = await Listener(live_env.connect()).open()
    live_env.chaos.set(seed="s", reorder_rate=1)
    begin = now()
    await publish_all(live_env, 1)
    await listener.handle.wait_for(lambda rows: rows == [0])
    assert now() - begin == 1.0


async def test_a_copy_comes_behind_its_event_or_late_when_both_befall_it(live_env: TestEnv) -> None:
    listener = await Listener(live_env.connect()).open()
    live_env.chaos.set(seed="s", duplicate_rate=1, reorder_rate=1)
    await publish_all(live_env, 2)
    await live_env.settle()
    assert listener.got == [0, 1, 1, 0]


async def test_delays_keep_the_order_of_all_messages(live_env: TestEnv) -> None:
    client = live_env.connect()
    listener = await Listener(client).open()
    live_env.chaos.set(seed="s", delay=(0.5, 1.5))
    begin = now()
    arrived: list[float] = []
    for number in range(20):
        call = await client.call(publish, number)  # its reply waits behind the event
        assert listener.got == list(range(call + 1))
        arrived.append(now())
    waits = [after - before for before, after in zip([begin, *arrived], arrived, strict=False)]
    assert all(0.5 <= wait <= 1.5 for wait in waits)
    assert max(waits) - min(waits) > 0.5
    assert live_env.chaos.delayed == 20


async def test_an_event_that_is_late_and_repeated_counts_once_each(live_env: TestEnv) -> None:
    client = live_env.connect()
    listener = await Listener(client).open()
    live_env.chaos.set(seed="s", duplicate_rate=1, delay=0.25)
    await client.call(publish, 1)  # its reply waits behind the event
    assert listener.got == [1, 1]
    assert (live_env.chaos.duplicated, live_env.chaos.delayed) == (1, 1)


async def test_a_fixed_delay_is_the_same_for_all(live_env: TestEnv) -> None:
    listener = await Listener(live_env.connect()).open()
    live_env.chaos.set(seed="s", delay=0.25)
    begin = now()
    await publish_all(live_env, 10)
    await listener.handle.wait_for(lambda rows: len(rows) == 10)
    assert now() - begin == 0.25


async def test_clearing_sends_on_what_is_late_in_its_order(live_env: TestEnv) -> None:
    listener = await Listener(live_env.connect()).open()
    live_env.chaos.set(seed="s", delay=60, reorder_rate=1)
    begin = now()
    await publish_all(live_env, 3)
    assert listener.got == []
    live_env.chaos.clear()
    await publish_all(live_env, 1)
    await live_env.settle()
    assert listener.got == [1, 0, 2, 0]
    assert now() == begin


async def test_clearing_keeps_the_latency(live_server: LiveServer) -> None:
    async with TestEnv(live_server, latency=0.5) as env:
        listener = await Listener(env.connect()).open()
        env.chaos.set(seed="s", delay=60)
        begin = now()
        await publish_all(env, 2)
        env.chaos.clear()
        await listener.handle.wait_for(lambda rows: rows == [0, 1])
        assert now() - begin == 0.5


async def test_after_an_event_the_connection_is_cut_and_what_follows_is_lost(live_env: TestEnv) -> None:
    listener = await Listener(live_env.connect()).open()
    live_env.chaos.set(seed="s", disconnect_rate=1)
    for number in range(3):
        live_env.server.publish_nowait("numbers", "new", number)
    await listener.handle.wait_for(lambda _: listener.handle.status == "reconnecting")
    assert listener.got == [0]
    assert live_env.chaos.disconnected == 1
    live_env.chaos.clear()
    await listener.handle.wait_for(lambda _: listener.handle.status == "connected", timeout=60)
    await publish_all(live_env, 1)
    await listener.handle.wait_for(lambda rows: rows == [0, 0])


async def test_a_late_event_precedes_the_servers_goodbye_and_is_lost_with_a_cut(live_env: TestEnv) -> None:
    politely, abruptly = [await Listener(live_env.connect()).open() for _ in range(2)]
    live_env.chaos.set(seed="s", reorder_rate=1)
    await publish_all(live_env, 1)
    abruptly.client.cut()
    await live_env.transport.drain()
    assert (politely.got, abruptly.got) == ([0], [])


async def test_only_matching_topics_suffer(live_env: TestEnv) -> None:
    first, second = await Listener(live_env.connect()).open(), await Listener(live_env.connect()).open(others)
    live_env.chaos.set(seed="s", duplicate_rate=1, topic="numb*")
    await publish_all(live_env, 2)
    await publish_all(live_env, 2, "others")
    await live_env.settle()
    assert (first.got, second.got) == ([0, 0, 1, 1], [0, 1])


async def test_a_frame_with_several_events_shares_one_fate(live_env: TestEnv) -> None:
    client = live_env.connect()
    listener = await Listener(client).open()
    live_env.chaos.set(seed="s", duplicate_rate=1)
    await client.call(publish_together, 3)
    assert listener.got == [0, 1, 2, 0, 1, 2]
    assert live_env.chaos.duplicated == 1


async def test_replies_are_exempt(live_env: TestEnv) -> None:
    # acceptance 240
    client = live_env.connect()
    live_env.chaos.set(seed="s", drop_rate=1, duplicate_rate=1, reorder_rate=1, disconnect_rate=1)
    assert [await client.call(publish, number) for number in range(50)] == list(range(50))
    with pytest.raises(RpcError, match="NOT_FOUND"):
        await client.call(missing, 1)
    assert (await client.subscribe(numbers)).status == "connected"
    chaos = live_env.chaos
    assert (chaos.duplicated, chaos.reordered, chaos.disconnected) == (0, 0, 0)


async def outcome(server: LiveServer, seed: str, **rates: Any) -> tuple[list[list[int]], tuple[int, ...]]:
    async with TestEnv(server) as env:
        listeners = [await Listener(env.connect()).open() for _ in range(3)]
        env.chaos.set(seed=seed, **rates)
        await publish_all(env, 100, pause=0.1)
        await asyncio.sleep(60)
        chaos = env.chaos
        return (
            [listener.got for listener in listeners],
            (chaos.dropped, chaos.duplicated, chaos.reordered, chaos.delayed, chaos.disconnected),
        )


async def test_the_same_seed_gives_the_same_run_and_each_connection_has_faults_of_its_own() -> None:
    # acceptance 240
    functions = SimpleNamespace(numbers=numbers, publish=publish, _guard=public())
    rates = {
        "drop_rate": 0.1, "duplicate_rate": 0.2, "reorder_rate": 0.2, "disconnect_rate": 0.02, "delay": (0.0, 0.3)
    }  # fmt: skip
    first, again, other = [
        await outcome(LiveServer({"demo": functions}), seed, **rates) for seed in ("rep-1", "rep-1", "rep-2")
    ]
    assert first == again
    assert first != other
    assert min(first[1]) > 0
    assert first[0][0] != first[0][1] != first[0][2]


async def test_one_rate_does_not_move_the_faults_of_another(live_server: LiveServer) -> None:
    alone = await outcome(live_server, "s", duplicate_rate=0.2)
    functions = SimpleNamespace(numbers=numbers, publish=publish, _guard=public())
    with_delay = await outcome(LiveServer({"demo": functions}), "s", duplicate_rate=0.2, delay=0.05)
    assert alone[0] == with_delay[0]


async def test_copies_count_as_unread_until_they_are_read(live_env: TestEnv) -> None:
    listener = await Listener(live_env.connect()).open()
    live_env.chaos.set(seed="s", duplicate_rate=1)
    (link,) = live_env.transport.links
    await publish_all(live_env, 10)
    await live_env.settle()
    assert len(listener.got) == 20
    assert link.buffered == 0


# simulate_publish


async def test_a_simulated_publish_reaches_all_who_listen(live_env: TestEnv) -> None:
    first, second = [await live_env.connect().subscribe(numbers) for _ in range(2)]
    first.simulate_publish("new", 5)
    assert await first.wait_for(lambda rows: rows == [5]) == await second.wait_for(lambda rows: rows == [5])


async def test_before_the_topic_is_known_nothing_can_be_simulated(live_env: TestEnv) -> None:
    # acceptance 240
    client = live_env.connect()
    handle = client.stream(numbers)
    with pytest.raises(RuntimeError, match="the topic of demo/numbers is not known yet"):
        handle.simulate_publish("new", 5)
    gated = await client.subscribe(closed)
    with pytest.raises(RuntimeError, match="the topic of demo/closed is not known yet"):
        gated.simulate_publish("new", 5)


async def test_waiting_for_a_value_that_never_comes_times_out(live_env: TestEnv) -> None:
    # acceptance 240
    handle = await live_env.connect().subscribe(numbers)
    begin = now()
    with pytest.raises(TimeoutError, match="not what was waited for within 5 s"):
        await handle.wait_for(lambda rows: rows == [5])
    assert now() - begin == 5.0

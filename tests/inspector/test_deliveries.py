"""How long publishes take to the sockets, and what the server tells of its load."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from liverpc import LiveServer, remote
from liverpc.inspector.deliveries import Deliveries
from liverpc.inspector.protocol import BUCKETS, Events, Get, Got, PublishEvent, State
from liverpc.policies.faults import Fault
from liverpc.testing import TestEnv
from tests.inspector.attach_kit import Observer, make_server


@pytest.fixture
def live_server() -> LiveServer:
    return make_server()


class _Link:
    def __init__(self) -> None:
        self.buffered = 0


class _Receiver:
    def __init__(self) -> None:
        self.link = _Link()
        self.gate = None
        self.closed = False


def published(at: float = 0.0) -> PublishEvent:
    return PublishEvent(at=at, topic="rows", event="created", size=1, receivers=1)


async def looked_after(*receivers: Any) -> tuple[Deliveries, PublishEvent]:
    loop = asyncio.get_running_loop()
    deliveries, event = Deliveries(loop.time), published(loop.time())
    deliveries.expect(event, receivers)
    await asyncio.sleep(0)
    return deliveries, event


async def test_an_event_that_every_socket_took_at_once_is_delivered_in_that_turn() -> None:
    deliveries, event = await looked_after(_Receiver(), _Receiver())
    assert (event.sent_ms, event.waiting) == (0.0, 0)
    assert deliveries.latencies.count == 1


async def test_a_full_socket_is_looked_at_until_it_has_taken_the_event() -> None:
    slow = _Receiver()
    slow.link.buffered = 100
    deliveries, event = await looked_after(_Receiver(), slow)
    for _ in range(2):
        await asyncio.sleep(0.1)
        deliveries.look()
        assert (event.sent_ms, event.waiting) == (None, 1)
    slow.link.buffered = 0
    await asyncio.sleep(0.1)
    deliveries.look()
    assert (event.sent_ms, event.waiting) == (300.0, 0)
    deliveries.look()
    assert deliveries.latencies.sparse() == [(next(n for n, edge in enumerate(BUCKETS) if edge >= 0.3), 1)]


async def test_a_client_that_left_without_the_event_is_waited_for_no_more() -> None:
    slow = _Receiver()
    slow.link.buffered = 100
    deliveries, event = await looked_after(slow)
    await asyncio.sleep(0.1)
    slow.closed = True
    deliveries.look()
    assert (event.sent_ms, event.waiting) == (None, 0)
    assert deliveries.latencies.count == 0


@pytest.mark.parametrize(("at", "waiting"), [(63, 1), (64, 0)])
async def test_64_receivers_of_an_event_are_looked_at(at: int, waiting: int) -> None:
    receivers = [_Receiver() for _ in range(65)]
    receivers[at].link.buffered = 100
    deliveries, event = await looked_after(*receivers)
    await asyncio.sleep(0.1)
    deliveries.look()
    assert event.waiting == waiting


async def test_what_is_not_taken_for_long_is_given_up_from_the_oldest_on() -> None:
    slow = _Receiver()
    slow.link.buffered = 100
    deliveries = Deliveries(asyncio.get_running_loop().time)
    events = [published() for _ in range(1001)]
    for event in events:
        deliveries.expect(event, [slow])  # type: ignore[list-item]  # as much of one as is looked at
    await asyncio.sleep(0.1)
    deliveries.look()
    slow.link.buffered = 0
    deliveries.look()
    assert [event.sent_ms is None for event in events] == [True] + 1000 * [False]
    deliveries.forget()


async def test_forgetting_leaves_nothing_to_look_after() -> None:
    deliveries = Deliveries(asyncio.get_running_loop().time)
    event = published()
    deliveries.expect(event, [_Receiver()])  # type: ignore[list-item]  # as much of one as is looked at
    deliveries.forget()
    await asyncio.sleep(0.1)
    assert event.sent_ms is None


async def test_observers_are_told_of_deliveries(live_env: TestEnv) -> None:
    client = live_env.connect()
    await client.subscribe(remote("demo/room"), "red")
    observer = await Observer.attach(live_env)
    await observer.watch(kind=["pub"])
    for topic in ("room:red", "room:nobody"):
        await live_env.server.publish(topic, "created", {"id": 1})
    await observer.wait(Events)
    heard, unheard = observer.events
    assert isinstance(heard, PublishEvent)
    assert isinstance(unheard, PublishEvent)
    assert heard.sent_ms is not None
    assert heard.receivers == 1
    assert unheard.sent_ms is None
    got = await observer.ask(Get(id=1, ref=["stream", "room:red"]))
    assert isinstance(got, Got)
    assert got.items == [heard]
    state = await observer.wait(State, lambda state: state.deliveries)
    assert sum(count for _, count in state.deliveries) == 1


async def test_latencies_of_all_paths_are_told_once_a_second_and_only_grow(live_env: TestEnv) -> None:
    client = live_env.connect()
    await client.open()
    observer = await Observer.attach(live_env)
    totals: list[int] = []
    states = 0
    for _ in range(3):
        await client.call(remote("demo/say"), "red", len(totals))
        while True:
            states += 1
            state = await observer.wait(State)
            if state.latencies:
                totals.append(sum(count for _, count in state.latencies))
                break
    assert totals == [1, 2, 3]
    assert states > 6


async def test_scoped_and_other_observers_are_told_of_the_load(live_env: TestEnv) -> None:
    client = live_env.connect()
    await client.call(remote("demo/say"), "red", 1)
    for level in ("metrics", "observe"):
        observer = await Observer.attach(live_env, level)
        assert (await observer.wait(State)).memory > 1_000_000
    scoped = await Observer.attach(live_env, "scoped")
    for _ in range(9):
        state = await scoped.wait(State)
        assert (state.memory, state.lag, state.latencies, state.deliveries) == (0, 0.0, [], [])


@pytest.mark.realtime
async def test_a_blocked_loop_shows_as_lag_for_about_a_second() -> None:
    async with TestEnv(make_server()) as env:
        observer = await Observer.attach(env)
        await observer.wait(State)
        time.sleep(0.3)  # blocks the loop, which is the subject
        state = await observer.wait(State)
        assert state.lag >= 0.15
        assert env.server._inspector is not None
        assert env.server._inspector.lag >= 0.15
        await observer.wait(State, lambda state: state.lag < 0.15)


async def test_what_happened_before_anybody_looked_is_kept_and_not_sent() -> None:
    async with TestEnv(make_server(capture="always")) as env:
        inspector = env.server._inspector
        assert inspector is not None
        tap = inspector.tap
        socket = await env.transport.connect("/ws")
        await socket.send('{"rpc":"demo/room","id":"1","args":["red"],"stream":true}')
        await env.settle()
        env.server.connections[0].link.stall()
        await env.server.publish("room:red", "created", {"id": 1})
        await asyncio.sleep(1)
        assert (tap.queue, tap.deliveries._old) == ([], [])
        assert not any(msgspec.structs.astuple(tap.changes)), "nobody empties it"
        await socket.close()
        await asyncio.sleep(300)
        observer = await Observer.attach(env)
        await observer.watch()
        await env.server.publish("room:red", "created", {"id": 2})
        await observer.wait(Events)
        assert [each.at for each in observer.events] == [pytest.approx(asyncio.get_running_loop().time(), abs=1)]
        got = await observer.ask(Get(id=1, ref=["stream", "room:red"]))
        assert isinstance(got, Got)
        assert len(got.items) == 2
        assert not tap.deliveries.latencies.count


async def test_an_event_that_a_fault_holds_is_not_delivered_yet() -> None:
    async with TestEnv(make_server(chaos=True)) as env:
        client = env.connect()
        await client.subscribe(remote("demo/room"), "red")
        observer = await Observer.attach(env)
        await observer.watch(kind=["pub"])
        env.server.faults.arm(Fault(action="delay", seconds=2.0, seed="s"))
        await env.server.publish("room:red", "created", {"id": 1})
        await observer.wait(Events)
        [event] = observer.events
        assert isinstance(event, PublishEvent)
        assert (event.sent_ms, event.waiting, event.fault) == (None, 1, "delay#1")
        await asyncio.sleep(3)
        got = await observer.ask(Get(id=1, ref=["stream", "room:red"]))
        assert isinstance(got, Got)
        [event] = got.items
        assert isinstance(event, PublishEvent)
        assert event.sent_ms == pytest.approx(2000, abs=130)

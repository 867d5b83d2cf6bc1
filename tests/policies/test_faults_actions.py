"""What each fault does, to whom, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from liverpc import ConnectRequest, Context, Limits, LiveServer, RpcError, UploadContext, live, public
from liverpc.policies import faults_injector
from liverpc.policies.faults import Fault, FaultRule, draws
from liverpc.telemetry import CallFinished, ConnectionClosed, Published
from liverpc.testing import TestEnv, virtual_loop_factory
from liverpc.transports.memory import MemoryTransport
from liverpc.wire.codec import decode_server_frame

numbers = live.channel("numbers", merge="latest", max=10_000, item=int, path="demo/numbers")
others = live.channel("others", merge="latest", max=10_000, item=int, path="demo/others")
RAN: list[int] = []


@live(path="demo/call")
def call(ctx: Context[Any], number: int) -> int:
    RAN.append(number)
    return number


@live.binary(path="demo/store")
async def store(ctx: Context[Any], data: bytes) -> int:
    RAN.append(len(data))
    return len(data)


@live.upload(path="demo/take")
async def take(ctx: UploadContext[Any]) -> int:
    return sum([len(chunk) async for chunk in ctx.upload])


@live.stream("rows", path="demo/rows")
async def rows(ctx: Context[Any]) -> list[dict[str, Any]]:
    return [{"id": 1}]


def make_server(**limits: int) -> LiveServer:
    RAN.clear()
    functions = SimpleNamespace(
        numbers=numbers, others=others, call=call, rows=rows, store=store, take=take, _guard=public()
    )

    def on_connect(request: ConnectRequest) -> Any:
        return {"id": request.query["user"]} if request.query.get("user") else None

    return LiveServer({"demo": functions}, limits=Limits(**limits), on_connect=on_connect)


@pytest.fixture
def live_server() -> LiveServer:
    return make_server()


class Listener:
    """A socket that listens to both topics, and what reached it in the order of its coming."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self._got: list[int] = []

    @classmethod
    async def open(cls, env: TestEnv, *, user: str = "") -> Listener:
        self = cls(await env.transport.connect("/ws", query=f"user={user}"))
        for topic in ("numbers", "others"):
            await self.socket.send(f'{{"rpc":"demo/{topic}","id":"{topic}","stream":true,"args":[]}}')
        await env.settle()
        return self

    async def next(self) -> dict[str, Any]:
        """The next event, which may take its time."""
        while True:
            frame: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), 30))
            if frame.get("topic") in ("numbers", "others"):
                return frame

    async def events(self, count: int) -> list[int]:
        return [(await self.next())["data"] for _ in range(count)]

    async def got(self) -> list[int]:
        """All that has come until now."""
        while self.socket._inbox:
            frame = json.loads(await self.socket.recv())
            if frame.get("topic") in ("numbers", "others"):
                self._got.append(frame["data"])
        return self._got


def now() -> float:
    return asyncio.get_running_loop().time()


def arm(env: TestEnv, action: str, **fields: Any) -> FaultRule:
    ttl = fields.pop("ttl", 60.0)
    fields.setdefault("seed", "s")
    return env.server.faults.arm(Fault(action=action, **fields), ttl=ttl)


def publish(env: TestEnv, count: int, topic: str = "numbers", event: str = "new") -> None:
    for number in range(count):
        env.server.publish_nowait(topic, event, number)


def clean(env: TestEnv) -> bool:
    """Whether nothing of any fault is in anybody's way."""
    server: Any = env.server
    injector = server._injector
    gates = [each.gate for each in server.connections]
    assert not (injector._timers or injector._stalled or injector._wrapped or injector._tick)
    return server._hub.faults is None and not injector.gates and gates == [None] * len(gates)


async def test_a_drop_for_one_connection_spares_the_others(live_env: TestEnv) -> None:
    first, second = await Listener.open(live_env), await Listener.open(live_env)
    rule = arm(live_env, "drop", rate=0.5, connection=live_env.server.connections[0].id)
    publish(live_env, 50)
    await live_env.settle()
    drawn = draws("s")
    assert await first.got() == [number for number in range(50) if next(drawn) >= 0.5]
    assert await second.got() == list(range(50))
    assert (rule.seen, rule.hits) == (50, 50 - len(await first.got()))
    assert (live_env.counters.fault_losses, live_env.counters.fault_drops) == (rule.hits, 0)


async def test_a_partition_lets_nothing_through_and_draws_nothing(live_env: TestEnv) -> None:
    listener = await Listener.open(live_env)
    rule = arm(live_env, "partition", rate=0.0, topic="num*")
    publish(live_env, 5)
    publish(live_env, 5, "others")
    await live_env.settle()
    assert await listener.got() == list(range(5))
    assert rule.hits == live_env.counters.fault_drops == 5


async def test_an_event_glob_spares_other_events(live_env: TestEnv) -> None:
    listener = await Listener.open(live_env)
    told: list[Published] = []
    live_env.server.telemetry.published.append(told.append)
    arm(live_env, "drop", event="ne*")
    arm(live_env, "drop", event="s*t", user="nobody")
    publish(live_env, 1)
    publish(live_env, 1, event="set")
    await live_env.settle()
    assert [(each.event, each.dropped, each.fault) for each in told] == [("new", True, "drop#1"), ("set", False, "")]
    assert await listener.got() == [0]


@pytest.mark.parametrize("action", ["delay", "reorder"])
async def test_a_late_event_does_not_follow_a_value_that_contains_it(live_env: TestEnv, action: str) -> None:
    socket = await live_env.transport.connect("/ws")
    ask = '{"rpc":"demo/rows","id":"%s","stream":true,"args":[]}'
    await socket.send(ask % "first")
    await live_env.settle()
    rule = arm(live_env, action, seconds=5.0)
    publish(live_env, 1, "rows")
    await socket.send('{"type":"unsubscribe","topic":"rows"}')
    await live_env.settle()
    assert rule.lasting == 1
    await socket.send(ask % "second")
    await asyncio.sleep(10)
    frames = [json.loads(await socket.recv()) for _ in range(len(socket._inbox))]
    assert [frame.get("event") for frame in frames] == [None, "first", "new", "second"]
    assert (rule.lasting, live_env.counters.fault_hurried) == (0, 1)


async def test_a_delay_keeps_the_order_of_all_events(live_env: TestEnv) -> None:
    listener = await Listener.open(live_env)
    told: list[Published] = []
    live_env.server.telemetry.published.append(told.append)
    arm(live_env, "delay", topic="numbers", seconds=2.0, jitter=1.0, rate=0.5)
    began = now()
    for number in range(20):
        live_env.server.publish_nowait("numbers" if number % 3 else "others", "new", number)
    assert {"delay#1", ""} == {each.fault for each in told}
    assert await live_env.connect().call(call, 1) == 1
    assert now() == began
    assert await listener.events(20) == list(range(20))
    assert 1 <= now() - began <= 3


async def test_duplicates_come_as_often_as_asked(live_env: TestEnv) -> None:
    listener = await Listener.open(live_env)
    arm(live_env, "duplicate", copies=2, limit=1)
    publish(live_env, 2)
    assert await listener.events(4) == [0, 0, 0, 1]
    await live_env.settle()
    assert clean(live_env)


async def test_a_reordered_event_lets_the_next_pass_or_waits_in_vain(live_env: TestEnv) -> None:
    listener = await Listener.open(live_env)
    arm(live_env, "reorder", limit=1)
    publish(live_env, 3)
    assert await listener.events(3) == [1, 0, 2]
    arm(live_env, "reorder", seconds=5.0)
    began = now()
    publish(live_env, 1)
    assert (await listener.next())["data"] == 0
    assert now() - began == pytest.approx(5)


async def test_reordering_swaps_neighbours(live_env: TestEnv) -> None:
    listener = await Listener.open(live_env)
    arm(live_env, "reorder")
    publish(live_env, 5)
    assert await listener.events(5) == [1, 0, 3, 2, 4]


@pytest.mark.parametrize("way", ["clear", "expire"])
async def test_what_is_held_leaves_in_order_when_the_fault_ends(live_env: TestEnv, way: str) -> None:
    listener = await Listener.open(live_env)
    rule = arm(live_env, "delay", seconds=300.0, ttl=10.0)
    publish(live_env, 5)
    began = now()
    if way == "clear":
        live_env.server.faults.clear(rule.number)
    assert await listener.events(5) == [0, 1, 2, 3, 4]
    assert now() - began == pytest.approx(0 if way == "clear" else 10, abs=0.3)
    publish(live_env, 1)
    assert (await listener.next())["data"] == 0
    assert clean(live_env)


async def test_a_stopping_server_sends_what_it_holds() -> None:
    server = make_server()
    async with server.lifespan():
        transport = MemoryTransport(server)
        env: Any = SimpleNamespace(server=server, transport=transport, settle=partial(asyncio.sleep, 0.01))
        listener = await Listener.open(env)
        arm(env, "delay", seconds=300.0, ttl=600.0)
        publish(env, 3)
    assert await listener.events(3) == [0, 1, 2]
    await transport.aclose()
    assert clean(env)


async def test_a_closed_connection_takes_what_was_held_for_it_along(live_env: TestEnv) -> None:
    listener = await Listener.open(live_env)
    arm(live_env, "delay", seconds=20.0)
    publish(live_env, 3)
    await listener.socket.close()
    await live_env.settle()
    server: Any = live_env.server
    assert server._injector.gates == {}


async def test_more_than_an_outbox_takes_leaves_early() -> None:
    async with TestEnv(make_server(outbox_frames=4)) as env:
        listener = await Listener.open(env)
        arm(env, "delay", seconds=20.0)
        publish(env, 6)
        assert await listener.events(2) == [0, 1]
        assert env.counters.fault_hurried == 2
        env.server.faults.clear()


async def test_each_targeted_connection_is_closed_once_over_the_time_given(live_env: TestEnv) -> None:
    told: list[ConnectionClosed] = []
    live_env.server.telemetry.connection_closed.append(told.append)
    for _ in range(8):
        await live_env.connect().subscribe(rows)
    rule = arm(live_env, "disconnect", seconds=2.0, code="4001")
    await asyncio.sleep(2)
    await live_env.settle()
    assert [(each.code, each.fault) for each in told] == [(4001, "disconnect#1")] * 8
    assert rule.hits == 8
    assert live_env.server.faults.rules == []
    await asyncio.sleep(30)  # they are back, and stay
    assert len(live_env.server.connections) == 8
    assert len(told) == 8
    assert clean(live_env)


async def test_a_disconnect_by_event_strikes_after_matching_events(live_env: TestEnv) -> None:
    told: list[ConnectionClosed] = []
    live_env.server.telemetry.connection_closed.append(told.append)
    listener = await Listener.open(live_env)
    arm(live_env, "disconnect", event="new", limit=1)
    publish(live_env, 1, "others", "other")
    await live_env.settle()
    assert not told
    publish(live_env, 1)
    await live_env.settle()
    assert await listener.got() == [0, 0]
    assert [(each.code, each.fault) for each in told] == [(1012, "disconnect#1")]
    assert clean(live_env)


async def test_a_stalled_connection_gets_nothing_until_it_is_over(live_env: TestEnv) -> None:
    listener = await Listener.open(live_env)
    arm(live_env, "stall", seconds=3.0)
    began = now()
    publish(live_env, 2)
    assert await listener.events(2) == [0, 1]
    assert now() - began == pytest.approx(3)
    assert live_env.server.faults.rules
    live_env.server.faults.clear()
    assert clean(live_env)


async def test_a_stalled_connection_overflows_as_a_slow_one_does() -> None:
    async with TestEnv(make_server(outbox_frames=4)) as env:
        told: list[ConnectionClosed] = []
        env.server.telemetry.connection_closed.append(told.append)
        await Listener.open(env)
        arm(env, "stall", ttl=30.0)
        publish(env, 10)
        await asyncio.sleep(29)
        assert env.counters.outbox_frame_overflows >= 1
        env.server.faults.clear()
        await env.settle()
        assert told[0].code == 1013


async def test_an_error_comes_before_the_handler_has_run(live_env: TestEnv) -> None:
    told: list[CallFinished] = []
    live_env.server.telemetry.call_finished.append(told.append)
    client = live_env.connect()
    rule = arm(live_env, "error", path="demo/c*", code="BROKEN", limit=2)
    for number in range(2):
        with pytest.raises(RpcError, match="BROKEN"):
            await client.call(call, number)
    assert RAN == []
    assert await client.call(call, 3) == 3
    assert RAN == [3]
    assert [(each.path, each.code, each.fault) for each in told] == [("demo/call", "BROKEN", "error#1")] * 2 + [
        ("demo/call", None, "")
    ]
    assert rule.over
    assert clean(live_env)


async def test_errors_spare_other_paths_users_and_streams(live_env: TestEnv) -> None:
    arm(live_env, "error", path="demo/rows")
    arm(live_env, "error", user="ann")
    bob = live_env.connect(user={"id": "bob"})
    assert await bob.call(call, 1) == 1
    assert (await bob.subscribe(rows)).get([]) == [{"id": 1}]
    ann = live_env.connect(user={"id": "ann"})
    with pytest.raises(RpcError, match="INTERNAL_ERROR"):
        await ann.call(call, 1)


async def test_calls_with_bytes_and_uploads_fail_likewise(live_env: TestEnv) -> None:
    client = live_env.connect()
    arm(live_env, "error", code="BROKEN", limit=2)
    with pytest.raises(RpcError, match="BROKEN"):
        await client.binary(store, b"bytes")
    with pytest.raises(RpcError, match="BROKEN"):
        await client.upload(take, b"bytes")
    assert RAN == []
    assert await client.binary(store, b"bytes") == 5
    assert await client.upload(take, b"bytes") == 5


async def test_a_loader_that_fails_leaves_no_stream(live_env: TestEnv) -> None:
    client = live_env.connect()
    arm(live_env, "loader", topic="rows", code="GONE", limit=1)
    with pytest.raises(RpcError, match="GONE"):
        await client.subscribe(rows)
    server: Any = live_env.server
    assert "rows" not in server._hub.topics
    assert (await client.subscribe(rows)).get([]) == [{"id": 1}]


async def test_a_share_is_always_the_same_connections(live_env: TestEnv) -> None:
    await asyncio.gather(*(Listener.open(live_env) for _ in range(30)))
    rule = arm(live_env, "drop", share=0.4)
    again = arm(live_env, "delay", share=0.4, seconds=1.0)
    everyone = live_env.server.connections
    chosen = [rule.targets(each) for each in everyone]
    assert 3 < sum(chosen) < 22
    assert chosen == [again.targets(each) for each in everyone]
    assert [each.gate is not None for each in everyone] == chosen
    live_env.server.faults.clear()
    assert clean(live_env)


async def test_a_connection_that_opens_later_suffers_too(live_env: TestEnv) -> None:
    arm(live_env, "drop", user="ann")
    ann, bob = await Listener.open(live_env, user="ann"), await Listener.open(live_env, user="bob")
    publish(live_env, 3)
    await live_env.settle()
    assert (await ann.got(), await bob.got()) == ([], [0, 1, 2])


async def test_batches_suffer_event_by_event(live_env: TestEnv) -> None:
    listener = await Listener.open(live_env)
    arm(live_env, "drop", connection=live_env.server.connections[0].id, topic="others")
    live_env.server._hub.publish_batch([("numbers", "new", 1), ("others", "new", 2), ("numbers", "new", 3)])
    await live_env.settle()
    assert await listener.got() == [1, 3]


async def test_the_limit_holds_while_one_event_goes_to_many(live_env: TestEnv) -> None:
    listeners = [await Listener.open(live_env) for _ in range(5)]
    arm(live_env, "drop", share=0.9999999, limit=3)
    publish(live_env, 2)
    await live_env.settle()
    assert sorted([len(await each.got()) for each in listeners]) == [1, 1, 1, 2, 2]
    assert clean(live_env)


@pytest.mark.parametrize(
    ("fault", "after"),
    [
        ({"action": "delay", "seconds": 5.0}, 5.0),
        ({"action": "reorder", "seconds": 5.0}, 0.0),
        ({"action": "stall", "event": "ne*", "seconds": 5.0}, 5.0),
        ({"action": "stall", "seconds": 5.0}, 5.0),
    ],
)
async def test_the_last_strike_lasts_as_long_as_those_before(
    live_env: TestEnv, fault: dict[str, Any], after: float
) -> None:
    listener = await Listener.open(live_env)
    rule = arm(live_env, **fault, limit=1)
    began = now()
    publish(live_env, 1)
    await asyncio.sleep(1)
    assert not rule.over  # it can be seen, and ended
    live_env.server.publish_nowait("numbers", "new", 1)
    assert sorted(await listener.events(2)) == [0, 1]
    assert now() - began == pytest.approx(max(after, 1))
    await live_env.settle()
    assert rule.hits == 1
    assert rule.over
    assert clean(live_env)


async def test_a_storm_closes_no_more_than_its_limit(live_env: TestEnv) -> None:
    for _ in range(8):
        await Listener.open(live_env)
    rule = arm(live_env, "disconnect", seconds=1.0, limit=3)
    await asyncio.sleep(1)
    await live_env.settle()
    assert rule.over
    assert live_env.counters.connections_closed == 3
    assert clean(live_env)


async def test_the_same_seed_and_events_give_the_same_faults() -> None:
    runs = []
    for _ in range(2):
        async with TestEnv(make_server()) as env:
            listener = await Listener.open(env)
            arm(env, "reorder", rate=0.3, seed="again")
            publish(env, 40)
            await asyncio.sleep(2)
            runs.append(await listener.got())
            env.server.faults.clear()
    assert runs[0] == runs[1]
    assert runs[0] != sorted(runs[0])


wishes: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    action=st.sampled_from(["delay", "reorder"]),
    rate=st.floats(0.01, 1),
    seed=st.text(max_size=3),
    seconds=st.floats(0.01, 4),
    limit=st.integers(0, 9),
    topic=st.sampled_from(["*", "numbers", "others"]),
)


@given(
    st.lists(wishes, min_size=1, max_size=3),
    st.lists(st.tuples(st.sampled_from(["numbers", "others"]), st.sampled_from([0.0, 0.3, 1.5])), max_size=25),
)
def test_delays_and_swaps_neither_lose_nor_repeat(
    faults: list[dict[str, Any]], events: list[tuple[str, float]]
) -> None:
    async def run() -> None:
        async with TestEnv(make_server()) as env:
            listener = await Listener.open(env)
            rules = [arm(env, **fault) for fault in faults]
            for number, (topic, pause) in enumerate(events):
                env.server.publish_nowait(topic, "new", number)
                await asyncio.sleep(pause)
            env.server.faults.clear()
            await env.settle()
            assert sorted(await listener.got()) == list(range(len(events)))
            if all(fault["action"] == "delay" for fault in faults):
                assert await listener.got() == list(range(len(events)))
            assert all(rule.hits <= (rule.fault.limit or rule.hits) for rule in rules)
            assert clean(env)

    with asyncio.Runner(loop_factory=virtual_loop_factory) as runner:
        runner.run(run())


async def test_an_event_is_read_once_for_all_connections(live_env: TestEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def decode(payload: bytes) -> Any:
        read.append(payload)
        return decode_server_frame(payload)

    monkeypatch.setattr(faults_injector, "decode_server_frame", decode)
    listeners = [await Listener.open(live_env) for _ in range(3)]
    arm(live_env, "drop", event="b*", share=0.9999999)
    publish(live_env, 1, event="a")
    publish(live_env, 1, event="b")
    await live_env.settle()
    assert [await each.got() for each in listeners] == [[0]] * 3
    assert len(read) == 2


@pytest.mark.realtime
async def test_a_connection_that_opens_while_all_are_stalled_is_let_in_first() -> None:
    server: Any = make_server()
    async with server.serve(port=0) as listening, asyncio.timeout(5):
        server.faults.arm(Fault(action="stall", seed="s"))
        async with connect(f"ws://127.0.0.1:{listening.port}/ws") as socket:
            assert json.loads(await socket.recv())["type"] == "welcome"
            assert list(server._injector._stalled) == list(server.connections)
            await socket.send('{"rpc":"demo/call","id":"1","args":[1]}')
            server.faults.clear()
            assert json.loads(await socket.recv())["event"] == "1"


async def test_what_one_fault_holds_stays_when_another_ends(live_env: TestEnv) -> None:
    listener = await Listener.open(live_env)
    arm(live_env, "delay", seconds=5.0, topic="numbers")
    dropping = arm(live_env, "drop", topic="others", share=0.9999999)
    began = now()
    publish(live_env, 2)
    live_env.server.faults.clear(dropping.number)
    assert await listener.events(2) == [0, 1]
    assert now() - began == pytest.approx(5)

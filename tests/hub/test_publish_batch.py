"""Several publishes at once, and who gets them in one frame."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liverpc import Context, LiveError, LiveServer, live, public
from liverpc.hub import batch
from liverpc.hub.batch import EVENT_BATCH_BYTES
from liverpc.telemetry import Published
from liverpc.testing import TestEnv, virtual_loop_factory
from liverpc.wire import codec
from tests.streams.raw_client import Raw

TOPICS = ("a", "b", "v", "c")


def make_server(gate: asyncio.Event | None = None) -> LiveServer:
    @live.stream("slow")
    async def slow(ctx: Context[Any]) -> list[Any]:
        assert gate is not None
        await gate.wait()
        return []

    streams: dict[str, Any] = {"slow": slow}
    for topic, options in (
        ("a", {}),
        ("b", {}),
        ("v", {"volatile": True}),
        ("c", {"coalesce_by": lambda data: None}),
    ):
        streams[topic] = live.channel(topic, merge="set", item=Any, path=f"demo/{topic}", **options)
    return LiveServer({"demo": SimpleNamespace(**streams, _guard=public())})


@pytest.fixture
def gate() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
def live_server(gate: asyncio.Event) -> LiveServer:
    return make_server(gate)


async def listener(env: TestEnv, *topics: str, batches: bool = True) -> Raw:
    raw = await Raw.open(env, caps=["batch"] if batches else [])
    for topic in topics:
        assert (await raw.subscribe(f"demo/{topic}"))["ok"] is True
    return raw


def event(topic: str, data: Any, seq: int) -> dict[str, Any]:
    return {"topic": topic, "event": "set", "data": data, "seq": seq}


async def test_who_reads_batches_gets_one_frame_in_the_order_of_publishing(live_env: TestEnv) -> None:
    both, one, single = (
        await listener(live_env, "a", "b"),
        await listener(live_env, "a"),
        await listener(live_env, "a", "b", batches=False),
    )
    live_env.server._hub.publish_batch([("a", "set", 1), ("b", "set", 2), ("a", "set", 3)])
    expected = [event("a", 1, 1), event("b", 2, 1), event("a", 3, 2)]
    assert await both.recv() == {"type": "batch", "events": expected}
    assert await one.recv() == {"type": "batch", "events": [expected[0], expected[2]]}
    assert [await single.recv() for _ in range(3)] == expected
    for raw in (both, one, single):
        await raw.silent()


async def test_a_single_event_needs_no_batch(live_env: TestEnv) -> None:
    raw = await listener(live_env, "a")
    live_env.server._hub.publish_batch([("a", "set", 1), ("b", "set", 2)])
    assert await raw.recv() == event("a", 1, 1)
    live_env.server._hub.publish_batch([])
    await raw.silent()


async def test_a_client_that_loads_or_may_lose_events_gets_single_frames(
    live_env: TestEnv, gate: asyncio.Event
) -> None:
    loading, losing = await listener(live_env, "a"), await listener(live_env, "a", "v")
    await loading.send(rpc="demo/slow", id="s", stream=True)
    await live_env.settle()
    live_env.server._hub.publish_batch([("a", "set", 1), ("slow", "set", 2), ("v", "set", 3), ("a", "set", 4)])
    assert await loading.recv() == event("a", 1, 1)
    assert await loading.recv() == event("a", 4, 2)
    gate.set()
    assert (await loading.recv())["topic"] == "__rpc"
    assert await loading.recv() == event("slow", 2, 1)
    volatile = {"topic": "v", "event": "set", "data": 3}
    assert [await losing.recv() for _ in range(3)] == [event("a", 1, 1), volatile, event("a", 4, 2)]


@pytest.mark.parametrize(
    ("bad", "error"),
    [(("__x", "set", 1), LiveError), (("a", 'e"', 1), LiveError), (("a", "set", object()), TypeError)],
)
async def test_87_one_bad_message_and_nothing_is_published(live_env: TestEnv, bad: Any, error: type[Exception]) -> None:
    # acceptance 87
    raw = await listener(live_env, "a")
    with pytest.raises(error):
        live_env.server._hub.publish_batch([("a", "set", 1), bad])
    await raw.silent()
    assert live_env.counters.published == 0
    live_env.server._hub.publish_batch([("a", "set", 1)])
    assert await raw.recv() == event("a", 1, 1)


async def test_a_batch_counts_and_is_told_of_as_its_publishes_are(live_env: TestEnv) -> None:
    told: list[Published] = []
    live_env.server.telemetry.published.append(told.append)
    messages = [("a", "set", "x"), ("b", "set", "y"), ("nobody", "set", "z")]
    raw = await listener(live_env, "a", "b", batches=False)
    counters = live_env.counters
    for message in messages:
        live_env.server._hub.publish(*message)
    one_by_one = (counters.published, counters.deliveries, counters.delivered_bytes)
    live_env.server._hub.publish_batch(messages)
    assert (counters.published, counters.deliveries, counters.delivered_bytes) == tuple(2 * n for n in one_by_one)
    seqs = [(each.topic, each.event, each.data, each.size, each.receivers, each.seq) for each in told]
    assert seqs[3:] == [(*each[:5], each[5] and each[5] + 1) for each in seqs[:3]]
    assert [(await raw.recv())["seq"] for _ in range(4)] == [1, 1, 2, 2]


async def test_faults_lose_messages_of_a_batch_one_by_one(live_env: TestEnv) -> None:
    raw = await listener(live_env, "a", "b")
    live_env.chaos.set(drop_rate=1, seed="s", topic="b")
    live_env.server._hub.publish_batch([("a", "set", 1), ("b", "set", 2), ("a", "set", 3)])
    assert await raw.recv() == {"type": "batch", "events": [event("a", 1, 1), event("a", 3, 2)]}
    assert live_env.counters.fault_drops == 1


async def test_batches_are_split_below_512_kib(live_env: TestEnv) -> None:
    raw = await listener(live_env, "a")
    third = "x" * (EVENT_BATCH_BYTES // 3)
    whole = "y" * (EVENT_BATCH_BYTES + 10)
    small = ["s"] * 3
    sent = [third, third, third, whole, *small]
    for part in sent[:3], sent[3:]:  # together they would be more than may wait for one client
        live_env.server._hub.publish_batch([("a", "set", data) for data in part])
        got: list[Any] = []
        while len(got) < len(part):
            text = await raw.socket.recv()
            frame = json.loads(text)
            events = frame["events"] if frame.get("type") == "batch" else [frame]
            assert len(events) == 1 or len(text) <= EVENT_BATCH_BYTES
            got += [each["data"] for each in events]
        assert got == part


async def test_a_frame_is_built_once_for_all_with_the_same_topics(
    live_env: TestEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []
    original = codec.event_batch

    def counting(events: list[bytes]) -> bytes:
        built.append(len(events))
        return original(events)

    monkeypatch.setattr(batch, "event_batch", counting)
    for _ in range(5):
        await listener(live_env, "a", "b")
        await listener(live_env, "a")
    live_env.server._hub.publish_batch([("a", "set", 1), ("b", "set", 2), ("a", "set", 3)])
    assert sorted(built) == [2, 3]


@settings(max_examples=50, deadline=None)
@given(
    held=st.lists(st.sets(st.sampled_from(TOPICS)), min_size=1, max_size=4),
    batches=st.lists(st.booleans(), min_size=4, max_size=4),
    topics=st.lists(st.sampled_from(TOPICS), max_size=12),
)
def test_a_batch_means_the_same_as_its_events_one_by_one(
    held: list[set[str]], batches: list[bool], topics: list[str]
) -> None:
    async def run() -> None:
        async with TestEnv(make_server()) as env:
            clients = [
                await listener(env, *sorted(mine), batches=flag) for mine, flag in zip(held, batches, strict=False)
            ]
            env.server._hub.publish_batch([(topic, "set", number) for number, topic in enumerate(topics)])
            for client, mine in zip(clients, held, strict=True):
                expected = [number for number, topic in enumerate(topics) if topic in mine]
                got: list[int] = []
                while len(got) < len(expected):
                    frame = await client.recv()
                    got += [each["data"] for each in frame.get("events", [frame])]
                assert got == expected

    with asyncio.Runner(loop_factory=virtual_loop_factory) as runner:
        runner.run(run())

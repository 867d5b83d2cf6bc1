"""The one publish path. Numbers in names are acceptance cases."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc import Context, Limits, LiveError, LiveServer, RpcError, live, public, remote
from liverpc.backends.memory import World, memory_cluster
from liverpc.telemetry import Published
from liverpc.testing import TestEnv, create_test_context
from liverpc.wire.codec import decode_server_frame, event_head, event_payload, event_prefix
from liverpc.wire.names import topic_fault


class Row(msgspec.Struct):
    id: int
    text: str = ""


def make_server(**options: Any) -> LiveServer:
    @live.stream("rows")
    async def rows(ctx: Context[Any]) -> list[Row]:
        return []

    @live
    async def publish(ctx: Context[Any], topic: str, event: str, *data: Any) -> None:
        for each in data:
            ctx.publish(topic, event, each)

    @live
    def publish_row(ctx: Context[Any], number: int) -> int:
        ctx.publish(rows.topic(), "created", Row(number))
        return number

    functions = {"rows": rows, "publish": publish, "publish_row": publish_row}
    return LiveServer({"demo": SimpleNamespace(**functions, _guard=public())}, **options)


@pytest.fixture
def live_server() -> LiveServer:
    return make_server()


async def test_77_a_publish_reaches_all_subscribers_the_caller_included(live_env: TestEnv) -> None:
    clients = [live_env.connect() for _ in range(3)]
    handles = [await client.subscribe(remote("demo/rows")) for client in clients]
    await clients[0].call(remote("demo/publish"), "rows", "created", {"id": 1})
    for handle in handles:
        await handle.wait_for(lambda rows: rows == [{"id": 1}])
    assert live_env.counters.deliveries == 3


async def test_events_of_a_call_arrive_before_its_reply(live_env: TestEnv) -> None:
    client = live_env.connect()
    handle = await client.subscribe(remote("demo/rows"))
    assert await client.call(remote("demo/publish_row"), 7) == 7
    assert handle.value == [{"id": 7, "text": ""}]


async def test_several_publishes_of_one_handler_arrive_in_order(live_env: TestEnv) -> None:  # acceptance 79
    client = live_env.connect()
    handle = await client.subscribe(remote("demo/rows"))
    await client.call(remote("demo/publish"), "rows", "created", *({"id": n} for n in range(20)))
    assert [row["id"] for row in handle.value] == list(range(20))


@pytest.mark.parametrize("topic", ["__rpc", "__signal:ann", "__"])
async def test_78_a_reserved_topic_is_refused(live_env: TestEnv, topic: str) -> None:
    with pytest.raises(RpcError, match="INVALID_TOPIC"):
        await live_env.connect().call(remote("demo/publish"), topic, "x", 1)


async def test_78_the_server_itself_may_publish_on_reserved_topics(live_env: TestEnv) -> None:
    await live_env.server.publish("__realtime", "degraded", None)


@pytest.mark.parametrize("topic", ["", "x" * 257, 'a"b', "a\\b", "a\nb"])
async def test_malformed_topics_and_events_are_refused(live_env: TestEnv, topic: str) -> None:
    client = live_env.connect()
    with pytest.raises(RpcError, match="INVALID_TOPIC"):
        await client.call(remote("demo/publish"), topic, "x", 1)
    with pytest.raises(RpcError, match="INVALID_TOPIC"):
        await client.call(remote("demo/publish"), "rows", topic, 1)


async def test_an_object_without_json_form_is_refused_even_when_nobody_listens(live_env: TestEnv) -> None:
    with pytest.raises(TypeError, match="object"):
        await live_env.server.publish("nobody", "x", object())


async def test_a_publish_encodes_at_once_so_later_changes_do_not_matter(live_env: TestEnv) -> None:
    handle = await live_env.connect().subscribe(remote("demo/rows"))
    row = {"id": 1, "text": "before"}
    live_env.server.publish_nowait("rows", "created", row)
    row["text"] = "after"
    await handle.wait_for(lambda rows: rows == [{"id": 1, "text": "before"}])


async def test_events_of_a_topic_are_numbered_from_one(live_env: TestEnv) -> None:
    seen: list[Published] = []
    live_env.server.telemetry.published.append(seen.append)
    await live_env.connect().subscribe(remote("demo/rows"))
    for _ in range(3):
        await live_env.server.publish("rows", "created", {"id": 1})
    assert [event.seq for event in seen] == [1, 2, 3]


async def test_a_failing_telemetry_listener_disturbs_nobody(live_env: TestEnv) -> None:
    def fail(event: Published) -> None:
        raise RuntimeError("listener")

    live_env.server.telemetry.published.append(fail)
    await live_env.server.publish("rows", "created", {"id": 1})


async def test_a_client_that_does_not_read_is_closed_and_delays_nobody() -> None:
    async with TestEnv(make_server(limits=Limits(outbox_bytes=10_000))) as env:
        slow, fast = env.connect(), env.connect()
        await slow.subscribe(remote("demo/rows"))
        handle = await fast.subscribe(remote("demo/rows"))
        assert slow.socket is not None
        slow.socket.stall()
        for number in range(200):
            await env.server.publish("rows", "created", {"id": number, "text": "x" * 100})
            if number % 20 == 0:
                await env.settle()
        await handle.wait_for(lambda rows: len(rows) == 200)
        assert env.counters.outbox_overflows == 1


async def test_two_servers_in_one_world_hear_each_other_and_number_for_themselves() -> None:
    world = World()
    one = TestEnv(make_server(cluster=memory_cluster("one", world)))
    two = TestEnv(make_server(cluster=memory_cluster("two", world)))
    async with one, two:
        handle = await two.connect().subscribe(remote("demo/rows"))
        await one.server.publish("rows", "created", {"id": 1})
        await handle.wait_for(lambda rows: rows == [{"id": 1}])
        assert two.counters.published == 0, "a relayed event is delivered, not published again"


async def test_two_servers_in_one_process_know_nothing_of_each_other() -> None:
    async with TestEnv(make_server()) as one, TestEnv(make_server()) as two:
        handle = await two.connect().subscribe(remote("demo/rows"))
        await one.server.publish("rows", "created", {"id": 1})
        await two.settle()
        assert handle.value == []


def test_the_context_of_the_kit_records_and_validates_publishes() -> None:
    ctx = create_test_context()
    ctx.publish("rows", "created", {"id": 1})
    assert ctx.events == [("rows", "created", {"id": 1})]
    with pytest.raises(LiveError, match="INVALID_TOPIC"):
        ctx.publish("__x", "created", 1)


@given(topic=st.text(), event=st.text())
def test_no_name_breaks_the_frame(topic: str, event: str) -> None:
    if topic_fault(topic) or topic_fault(event):
        return
    try:
        payload = event_payload(event_head(event_prefix(topic), event), b"1", 1)
    except UnicodeEncodeError:
        return  # lone surrogates have no UTF-8 form
    frame = decode_server_frame(payload)
    assert frame is not None
    assert (frame.topic, frame.event) == (topic, event)  # type: ignore[union-attr]

"""Which event led to which, and what a call went through."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import UNSET

from liverpc import Context, Inspect, LiveError, LiveServer, RpcError, Token, guard, live, public, remote
from liverpc.hub.tasks import RunningCalls
from liverpc.inspector.protocol import CallEvent, ConnectionEvent, Err, Event, Events, Get, Got, PublishEvent
from liverpc.telemetry import CAUSE, Cause, Tracing
from liverpc.testing import TestEnv
from tests.inspector.attach_kit import SECRETS, Observer
from tests.rooms.contract_kit import App, Page, serve


def traced_server(others: Sequence[LiveServer] = (), **options: Any) -> LiveServer:
    server: LiveServer

    def anybody(ctx: Context[Any]) -> None:
        return None

    @live
    def plain(ctx: Context[Any]) -> int:
        ctx.publish("rows", "created", {"id": 1})
        return 1

    @live
    async def later(ctx: Context[Any]) -> None:
        await asyncio.sleep(0.05)
        ctx.publish("rows", "created", {"id": 2})

    @live
    async def outside(ctx: Context[Any]) -> None:
        await server.publish("rows", "created", {"id": 3})

    @live
    async def across(ctx: Context[Any]) -> None:
        await others[0].publish("rows", "created", {"id": 1})

    @live
    async def many(ctx: Context[Any]) -> None:
        for number in range(250):
            ctx.publish("rows", "created", {"id": number})

    @live
    async def paced(ctx: Context[Any], number: int) -> None:
        ctx.throttle("rows", "moved", {"id": 9, "n": number}, 1.0)

    @live
    async def debounced(ctx: Context[Any]) -> None:
        ctx.debounce("rows", "moved", {"id": 9}, 0.5)

    @live
    async def together(ctx: Context[Any]) -> None:
        ctx.batch([("rows", "created", {"id": 5}), ("others", "created", {"id": 6})])

    @live
    async def task(ctx: Context[Any]) -> None:
        async def work() -> None:
            ctx.publish("rows", "created", {"id": 7})

        await asyncio.create_task(work())

    @live
    async def thrown_out(ctx: Context[Any]) -> None:
        ctx.connection.close(4000, "enough")

    @live
    async def fails(ctx: Context[Any]) -> None:
        await asyncio.sleep(0.2)
        raise LiveError("WRONG", "no")

    @live.lock("the only one")
    @live
    async def locked(ctx: Context[Any]) -> None:
        await asyncio.sleep(0.1)

    @live.stream("sums", invalidate_on=("rows",), merge="set")
    async def sums(ctx: Context[Any]) -> int:
        await asyncio.sleep(0.01)
        return 42

    made = (plain, later, outside, across, many, paced, debounced, together, task, thrown_out, fails, locked, sums)
    functions = {function.__name__: function for function in made}
    server = LiveServer(
        {"demo": SimpleNamespace(**functions, _guard=guard(anybody))},
        inspect=Inspect(
            enabled=True,
            tokens=(
                Token(secret=SECRETS["observe"]),
                Token(secret=SECRETS["scoped"], topics=("rows",)),
                Token(secret=SECRETS["metrics"], level="metrics"),
            ),
            **options,
        ),
    )
    return server


@pytest.fixture
async def env() -> AsyncIterator[TestEnv]:
    async with TestEnv(traced_server()) as env:
        yield env


async def seen(observer: Observer, count: int) -> list[Event]:
    """The next events, in order of their ids."""
    while len(observer.events) < count:
        await observer.wait(Events)
    events, observer.events = observer.events, []
    return sorted(events, key=lambda event: event.id)


def one(events: list[Event], kind: type[Any], **fields: Any) -> Any:
    [found] = [
        event
        for event in events
        if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items())
    ]
    return found


@pytest.mark.parametrize("path", ["plain", "later", "outside", "task"])
async def test_what_a_call_publishes_names_the_call(env: TestEnv, path: str) -> None:
    client = env.connect()
    await client.open()
    observer = await Observer.attach(env)
    await observer.watch(kind=["pub", "rpc"])
    await client.call(remote(f"demo/{path}"))
    events = await seen(observer, 2)
    call, publish = one(events, CallEvent), one(events, PublishEvent)
    assert call.id
    assert (call.cause, publish.cause) == (0, call.id)
    assert publish.id not in (0, call.id)
    await env.server.publish("rows", "created", {"id": 1})
    [alone] = await seen(observer, 1)
    assert alone.cause == 0, "the call is over"


async def test_messages_of_a_batch_have_their_own_ids_and_the_same_cause(env: TestEnv) -> None:
    client = env.connect()
    await client.open()
    observer = await Observer.attach(env)
    await observer.watch(kind=["pub", "rpc"])
    await client.call(remote("demo/together"))
    call, *publishes = await seen(observer, 3)
    assert [each.cause for each in publishes] == [call.id, call.id]
    assert len({each.id for each in (call, *publishes)}) == 3


async def test_a_value_that_waited_for_its_turn_names_the_call_that_passed_it(env: TestEnv) -> None:
    client = env.connect()
    await client.open()
    observer = await Observer.attach(env)
    await observer.watch(kind=["pub", "rpc"])
    for number in range(3):
        await client.call(remote("demo/paced"), number)
    await asyncio.sleep(1.5)
    events = await seen(observer, 5)
    calls = [event for event in events if isinstance(event, CallEvent)]
    first, last = [event for event in events if isinstance(event, PublishEvent)]
    assert first.cause == calls[0].id
    assert last.cause == calls[2].id, "not the one that opened the interval"
    assert last.data == {"id": 9, "n": 2}
    await client.call(remote("demo/debounced"))
    await asyncio.sleep(1)
    events = await seen(observer, 2)
    assert one(events, PublishEvent).cause == one(events, CallEvent).id


async def test_a_value_loaded_anew_names_the_publish_that_outdated_it(env: TestEnv) -> None:
    client = env.connect()
    await client.subscribe(remote("demo/sums"))
    observer = await Observer.attach(env)
    await observer.watch(kind=["pub", "rpc"])
    await client.call(remote("demo/plain"))
    await asyncio.sleep(1)
    events = await seen(observer, 3)
    call = one(events, CallEvent)
    publish, refreshed = one(events, PublishEvent, topic="rows"), one(events, PublishEvent, topic="sums")
    assert (refreshed.event, refreshed.cause, publish.cause) == ("refreshed", publish.id, call.id)
    # A later one is not blamed on the first.
    await env.server.publish("rows", "created", {"id": 1})
    await asyncio.sleep(1)
    events = await seen(observer, 2)
    assert one(events, PublishEvent, topic="sums").cause == one(events, PublishEvent, topic="rows").id


async def test_a_connection_closed_by_a_handler_names_the_call(env: TestEnv) -> None:
    observer = await Observer.attach(env)
    await observer.watch(kind=["conn", "rpc"])
    socket = await env.transport.connect("/ws")
    await socket.recv()
    await socket.send('{"rpc":"demo/thrown_out","id":"1","args":[]}')
    await asyncio.sleep(0.5)
    events = await seen(observer, 3)
    call = one(events, CallEvent)
    assert one(events, ConnectionEvent, what="close").cause == call.id
    assert one(events, ConnectionEvent, what="open").cause == 0
    assert all(event.id for event in events)
    await socket.close()


async def test_a_socket_that_just_goes_away_has_no_cause(env: TestEnv) -> None:
    observer = await Observer.attach(env)
    await observer.watch(kind=["conn"])
    socket = await env.transport.connect("/ws")
    await socket.recv()
    await socket.close()
    await asyncio.sleep(0.5)
    events = await seen(observer, 2)
    assert one(events, ConnectionEvent, what="close").cause == 0


async def test_causes_of_one_server_mean_nothing_to_another() -> None:
    others: list[LiveServer] = []
    async with TestEnv(traced_server()) as other_env, TestEnv(traced_server(others)) as one_env:
        others.append(other_env.server)
        await Observer.attach(one_env)
        observer = await Observer.attach(other_env)
        await observer.watch(kind=["pub"])
        await one_env.connect().call(remote("demo/across"))
        [event] = await seen(observer, 1)
        assert event.cause == 0


# -- steps ------------------------------------------------------------------------------------------------


async def test_steps_tell_what_a_call_went_through(env: TestEnv) -> None:
    client = env.connect()
    await client.open()
    observer = await Observer.attach(env)
    await observer.watch(kind=["rpc"])
    names = {}
    for path in ("plain", "later", "locked"):
        await client.call(remote(f"demo/{path}"))
        [call] = await seen(observer, 1)
        assert isinstance(call, CallEvent)
        names[path] = [name for name, _, _ in call.steps]
        assert call.steps[0][1] == 0
        assert sum(length for _, _, length in call.steps) == pytest.approx(call.ms, abs=0.01)
    assert names["plain"] == ["guard", "arguments", "handler", "reply"]
    assert names["later"] == ["guard", "turn", "arguments", "handler", "reply"]
    assert names["locked"] == ["guard", "turn", "arguments", "lock", "handler", "reply"]


async def test_steps_tell_where_the_time_went(env: TestEnv) -> None:
    client = env.connect()
    await client.open()
    observer = await Observer.attach(env)
    await observer.watch(kind=["rpc"])
    first = asyncio.create_task(env.connect().call(remote("demo/locked")))
    await env.settle()
    await client.call(remote("demo/locked"))
    await first
    _, second = await seen(observer, 2)
    assert isinstance(second, CallEvent)
    lengths = {name: length for name, _, length in second.steps}
    assert lengths["lock"] == pytest.approx(100, abs=1)
    assert lengths["handler"] == pytest.approx(100, abs=1)
    with pytest.raises(RpcError, match="WRONG"):
        await client.call(remote("demo/fails"))
    [failed] = await seen(observer, 1)
    assert isinstance(failed, CallEvent)
    assert failed.steps[-1][0] == "handler"
    assert failed.steps[-1][2] == pytest.approx(200, abs=1)


async def test_a_stream_has_steps_too(env: TestEnv) -> None:
    client = env.connect()
    await client.open()
    observer = await Observer.attach(env)
    await observer.watch(kind=["rpc"])
    await client.subscribe(remote("demo/sums"))
    [call] = await seen(observer, 1)
    assert isinstance(call, CallEvent)
    assert [name for name, _, _ in call.steps] == ["guard", "turn", "access", "loader", "reply"]
    assert {name: length for name, _, length in call.steps}["loader"] == pytest.approx(10, abs=1)


async def test_nothing_is_traced_while_nobody_looks(env: TestEnv) -> None:
    tracing = env.server.telemetry.tracing
    client = env.connect()
    await client.call(remote("demo/plain"))
    assert not (tracing.active or tracing.calls)
    assert tracing.number() == 1
    observer = await Observer.attach(env)
    assert tracing.active
    assert tracing.calls
    await observer.socket.close()
    await asyncio.sleep(1)
    assert not (tracing.active or tracing.calls)


async def test_calls_are_not_traced_while_the_budget_is_used_up() -> None:
    async with TestEnv(traced_server(max_events=4)) as env:
        client = env.connect()
        await client.open()
        observer = await Observer.attach(env)
        await observer.watch(kind=["pub", "rpc"])
        tracing = env.server.telemetry.tracing
        for _ in range(10):
            await client.call(remote("demo/plain"))
        assert (tracing.active, tracing.calls) == (True, False)
        before = tracing.last
        for path in ("plain", "together"):
            await client.call(remote(f"demo/{path}"))
        assert tracing.last == before
        with pytest.raises(RpcError, match="WRONG"):
            await client.call(remote("demo/fails"))
        while not (failed := [event for event in observer.events if isinstance(event, CallEvent) and not event.ok]):
            await observer.wait(Events)
        assert failed[0].id > 0, "it has a budget of its own"
        await asyncio.sleep(1)
        assert tracing.calls


# -- chains -----------------------------------------------------------------------------------------------


async def test_a_chain_holds_what_led_to_an_event_and_what_it_led_to(env: TestEnv) -> None:
    client = env.connect()
    await client.subscribe(remote("demo/sums"))
    observer = await Observer.attach(env)
    await observer.watch(kind=["pub", "rpc"])
    await client.call(remote("demo/plain"))
    await asyncio.sleep(1)
    await client.call(remote("demo/together"))
    await asyncio.sleep(1)
    events = await seen(observer, 7)
    call = one(events, CallEvent, path="demo/plain")
    publish = next(event for event in events if event.cause == call.id)
    refreshed = next(event for event in events if event.cause == publish.id)
    for number in (call.id, publish.id, refreshed.id):
        got = await observer.ask(Get(id=number, ref=["chain", str(number)]))
        assert isinstance(got, Got)
        assert sorted(event.id for event in got.items) == [call.id, publish.id, refreshed.id]
        assert [event.at for event in got.items] == sorted(event.at for event in got.items)


@pytest.mark.parametrize("number", ["999999", "0", "-1", "x", "", "١", "9" * 400])
async def test_a_chain_of_nothing_is_refused(env: TestEnv, number: str) -> None:
    observer = await Observer.attach(env)
    answer = await observer.ask(Get(id=1, ref=["chain", number]))
    assert isinstance(answer, Err)
    assert "kept" in answer.text


async def test_a_chain_is_bounded_and_says_how_much_it_leaves_out() -> None:
    async with TestEnv(traced_server(ring=300, max_events=1000.0)) as env:
        client = env.connect()
        await client.open()
        observer = await Observer.attach(env)
        await observer.watch(kind=["rpc"])
        await client.call(remote("demo/many"))
        [call] = await seen(observer, 1)
        got = await observer.ask(Get(id=1, ref=["chain", str(call.id)]))
        assert isinstance(got, Got)
        assert len(got.items) == 200
        assert got.left_out == 51
        assert got.items[0].id == call.id


# -- who may see it ---------------------------------------------------------------------------------------


async def test_a_scoped_observer_gets_ids_that_do_not_count_what_happens_elsewhere(env: TestEnv) -> None:
    client = env.connect()
    await client.subscribe(remote("demo/sums"))
    observer = await Observer.attach(env, token=SECRETS["scoped"])
    await observer.watch(kind=["pub", "rpc"])
    for _ in range(30):
        await env.server.publish("elsewhere", "created", {"id": 1})
    await client.call(remote("demo/plain"))
    await asyncio.sleep(1)
    events = await seen(observer, 2)
    call, publish = one(events, CallEvent), one(events, PublishEvent)
    assert publish.topic == "rows"
    assert publish.cause == call.id
    assert max(call.id, publish.id) <= 2
    got = await observer.ask(Get(id=1, ref=["chain", str(publish.id)]))
    assert isinstance(got, Got)
    assert {event.id for event in got.items} == {call.id, publish.id}, "and not what was loaded anew elsewhere"


async def test_level_metrics_gets_ids_and_steps_without_payloads(env: TestEnv) -> None:
    client = env.connect(user={"id": "ann"})
    await client.open()
    observer = await Observer.attach(env, "metrics")
    await observer.watch(kind=["pub", "rpc"])
    await client.call(remote("demo/plain"))
    events = await seen(observer, 2)
    got = await observer.ask(Get(id=1, ref=["chain", str(events[0].id)]))
    assert isinstance(got, Got)
    assert one(events, CallEvent).steps
    assert "ann" not in repr(got) + repr(events)
    assert all(event.data is UNSET for event in got.items if isinstance(event, PublishEvent))


async def test_frames_read_on_because_a_call_ended_are_not_that_calls_doing() -> None:
    seen_causes: list[object] = []

    class Link:
        def hold(self) -> None:
            pass

        def release(self) -> None:
            seen_causes.append(CAUSE.get())

    calls: RunningCalls[str] = RunningCalls(contextvars.copy_context(), Link(), 1)  # type: ignore[arg-type]  # as much of one as is looked at

    async def work() -> None:
        CAUSE.set(Cause(Tracing(), 1))
        calls.finished("it")

    calls.start("it", work())
    await asyncio.sleep(0.1)
    assert seen_causes == [None]


# -- rooms and contracts ----------------------------------------------------------------------------------


async def test_joining_a_room_and_being_thrown_out_name_what_led_to_them() -> None:
    @live.room("board:{board_id}", cursors=True, path="demo/board")
    async def board(ctx: Context[Any], board_id: str) -> list[Any]:
        return []

    @board.presence
    def who(ctx: Context[Any], board_id: str) -> dict[str, Any]:
        return {"name": "x"}

    @live
    async def out(ctx: Context[Any]) -> None:
        for each in server.connections:
            if each.user_id == "bob":
                each.close(4403, "out")

    server = LiveServer(
        {"demo": SimpleNamespace(board=board, out=out, _guard=public())},
        inspect=Inspect(enabled=True, tokens=(Token(secret=SECRETS["observe"]),)),
    )
    async with TestEnv(server) as env:
        observer = await Observer.attach(env)
        await observer.watch(kind=["pub", "rpc", "conn"])
        ann, bob = env.connect(user={"id": "ann"}), env.connect(user={"id": "bob"})
        for each in (ann, bob):
            await each.subscribe(remote("demo/board/__data"), "red")
        await asyncio.sleep(1)
        await observer.wait(Events)
        opened = {event.id for event in observer.events if isinstance(event, CallEvent)}
        joins = [event for event in observer.events if isinstance(event, PublishEvent)]
        assert len(joins) == 2
        assert {event.cause for event in joins} == opened
        observer.events.clear()
        await ann.call(remote("demo/out"))
        while not any(isinstance(event, PublishEvent) for event in observer.events):  # after its grace
            await observer.next()
        call = one(observer.events, CallEvent)
        assert one(observer.events, ConnectionEvent, what="close").cause == call.id
        assert one(observer.events, PublishEvent).cause == call.id


async def test_events_of_contracts_name_the_call_that_emitted_them() -> None:
    inspect = Inspect(enabled=True, tokens=(Token(secret=SECRETS["observe"]),))
    async with serve(App().Chat, inspect=inspect) as env:
        ann = await Page.open(env, "/rooms/general", user="ann")
        observer = await Observer.attach(env)
        await observer.watch(kind=["pub", "rpc"])
        await ann.call("chat/__event/send", {"text": "hi"})
        events = await seen(observer, 2)
        assert one(events, PublishEvent, topic="chat/chat").cause == one(events, CallEvent).id


async def test_a_stream_that_lasts_does_not_keep_what_was_traced(env: TestEnv) -> None:
    client = env.connect()
    await client.open()
    await Observer.attach(env)
    loading = asyncio.create_task(client.subscribe(remote("demo/sums")))
    await asyncio.sleep(0.005)
    inspector = env.server._inspector
    assert inspector is not None
    inspector.tap._pause()  # nobody hears of the end
    await loading
    [subscription] = env.server.connections[0].subscriptions.values()
    assert [stream.ctx.trace for stream in subscription.streams] == [None]

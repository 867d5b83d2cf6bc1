"""The door of the devtools, and what observers see."""

import asyncio
import json
import logging
from typing import Any

import pytest

from liverpc import Context, LiveServer, live, remote
from liverpc.client.socket import HandshakeRefused, SocketClosed
from liverpc.inspector.protocol import (
    AttachSession,
    CallEvent,
    Err,
    Events,
    Get,
    Got,
    Match,
    PublishEvent,
    State,
    Unwatch,
    Watch,
)
from liverpc.testing import TestEnv
from tests.inspector.attach_kit import SECRETS, Observer, knock, make_server


@pytest.fixture
def live_server() -> LiveServer:
    return make_server()


# -- the door ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "wrong-token-wrong-token", SECRETS["observe"] + "x", SECRETS["observe"][:-1]])
async def test_a_wrong_token_is_refused_and_in_no_log(
    live_env: TestEnv, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(HandshakeRefused) as caught:
        await knock(live_env, token)
    assert caught.value.status == 401
    assert not token or token not in caplog.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://localhost:8000"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example:8000"}, 403),
        ({"Authorization": f"Basic {SECRETS['observe']}"}, 401),
    ],
)
async def test_browsers_foreign_hosts_and_other_schemes_are_refused(
    live_env: TestEnv, headers: dict[str, str], status: int
) -> None:
    with pytest.raises(HandshakeRefused) as caught:
        await knock(live_env, **headers)
    assert caught.value.status == status


async def test_after_five_refused_tokens_an_address_waits_a_minute(live_env: TestEnv) -> None:
    for _ in range(5):
        with pytest.raises(HandshakeRefused):
            await knock(live_env, "wrong-token-wrong-token")
    with pytest.raises(HandshakeRefused) as caught:
        await knock(live_env)
    assert caught.value.status == 429


async def test_at_most_the_configured_observers_attach() -> None:
    async with TestEnv(make_server(max_observers=2)) as env:
        for _ in range(2):
            await Observer.attach(env)
        with pytest.raises(HandshakeRefused) as caught:
            await knock(env)
        assert caught.value.status == 503


async def test_without_being_enabled_there_is_no_door() -> None:
    async with TestEnv(LiveServer()) as env:
        with pytest.raises(HandshakeRefused) as caught:
            await knock(env)
        assert caught.value.status == 404


async def test_another_protocol_version_is_told_and_closed(live_env: TestEnv) -> None:
    socket = await knock(live_env)
    await socket.send('{"t":"hello","v":99,"client":"future"}')
    assert json.loads(await socket.recv())["code"] == "VERSION"
    with pytest.raises(SocketClosed):
        await socket.recv()


async def test_hostile_frames_are_ignored_and_the_session_lives(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env)
    for text in (
        "",
        "x",
        "[]",
        "{}",
        '{"t":"nope"}',
        '{"t":"watch","id":"x"}',
        "[" * 5000,
        '{"t":"get","id":1,"ref":[]}',
    ):
        await observer.socket.send(text)
    await observer.watch(kind=["rpc"])


# -- what is seen -----------------------------------------------------------------------------------------


async def test_the_first_state_is_complete_and_deltas_follow(live_env: TestEnv) -> None:
    client = live_env.connect(user={"id": "ann"})
    await client.subscribe(remote("demo/room"), "red")
    observer = await Observer.attach(live_env)
    await client.subscribe(remote("demo/room"), "blue")
    state = await observer.wait(State, lambda state: state.streams)
    assert [(stream.topic, stream.merge, stream.path) for stream in state.streams] == [
        ("room:blue", "crud", "demo/room")
    ]
    await client.call(remote("demo/say"), "red", "hi")
    state = await observer.wait(State, lambda state: state.stream_stats)
    [stats] = state.stream_stats
    assert (stats.subscribers, stats.published, stats.delivered, stats.event, stats.seq) == (1, 1, 1, "created", 1)
    await client.aclose()
    state = await observer.wait(State, lambda state: state.connections_gone)
    assert len(state.connections_gone) == 1
    assert len(state.streams_gone) == 2


async def test_all_connections_are_looked_at_within_a_second_and_only_some_at_a_time(live_env: TestEnv) -> None:
    clients = [live_env.connect() for _ in range(10)]
    for client in clients:
        await client.call(remote("demo/say"), "red", "hi")
    observer = await Observer.attach(live_env)
    told = [await observer.wait(State, lambda state: not state.full) for _ in range(4)]
    assert sorted(len(state.connection_stats) for state in told) == [2, 2, 3, 3]
    stats = {each.id: each for state in told for each in state.connection_stats}
    assert [each.calls for each in stats.values()] == [1] * 10
    await clients[0].call(remote("demo/say"), "red", "hi")
    again = [await observer.wait(State) for _ in range(4)]
    assert sorted(each.calls for state in again for each in state.connection_stats) == [1] * 9 + [2]
    newcomer = live_env.connect()
    await newcomer.call(remote("demo/say"), "red", "hi")
    state = await observer.wait(State, lambda state: state.connections)  # at once, not when it is its turn
    assert state.connections[0].id in {each.id for each in state.connection_stats}


async def test_a_second_observer_gets_everything_that_exists(live_env: TestEnv) -> None:
    await Observer.attach(live_env)
    client = live_env.connect(user={"id": "ann"})
    await client.subscribe(remote("demo/room"), "red")
    second = Observer(
        await knock(live_env),
        AttachSession(client="second", want="observe", monotonic=asyncio.get_running_loop().time),
    )
    state = await second.wait(State)
    assert state.full
    assert [stream.topic for stream in state.streams] == ["room:red"]
    assert [connection.user for connection in state.connections] == ["ann"]
    await second.wait(State, lambda state: state.rev > 0 and not state.full)


async def test_calls_are_seen_with_arguments_by_name_and_redacted(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env)
    await observer.watch(kind=["rpc"])
    client = live_env.connect(user={"id": "ann"})
    with pytest.raises(Exception, match="WRONG"):
        await client.call(remote("demo/login"), "ann@x.example", "hunter2")
    await observer.wait(Events)
    [event] = observer.events
    assert isinstance(event, CallEvent)
    assert event.args == {"email": "ann@x.example", "password": "[REDACTED]"}
    assert (event.path, event.ok, event.code, event.user) == ("demo/login", False, "WRONG", "ann")


async def test_surplus_arguments_without_a_name_are_only_counted(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env)
    await observer.watch(kind=["rpc"])
    client = live_env.connect()
    with pytest.raises(Exception, match="WRONG"):
        await client.call(remote("demo/login"), "a", "b", "my-surplus-secret")
    with pytest.raises(Exception, match="NOT_FOUND"):
        await client.call(remote("demo/nope"), "my-surplus-secret")
    await observer.wait(Events)
    assert "my-surplus-secret" not in repr(observer.events)


async def test_unknown_paths_are_not_labels(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env)
    await observer.watch(kind=["rpc"])
    with pytest.raises(Exception, match="NOT_FOUND"):
        await live_env.connect().call(remote("made/up"))
    await observer.wait(Events)
    [event] = observer.events
    assert isinstance(event, CallEvent)
    assert event.path == "__unknown__"


async def test_running_calls_are_seen_while_they_run(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env)
    client = await live_env.connect(user={"id": "ann"}).open()
    call = asyncio.create_task(client.call(remote("demo/wait")))
    state = await observer.wait(State, lambda state: state.pending)
    [pending] = state.pending
    assert (pending.path, pending.user) == ("demo/wait", "ann")
    call.cancel()
    await client.aclose()
    await observer.wait(State, lambda state: not state.pending)


async def test_payloads_are_redacted_when_they_are_recorded(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env)
    await observer.watch(kind=["pub"])
    client = live_env.connect()
    await client.call(remote("demo/say"), "red", {"password": "hunter2"})
    await observer.wait(Events)
    got = await observer.ask(Get(id=77, ref=["stream", "room:red"]))
    assert isinstance(got, Got)
    recorded = repr(live_env.server._inspector.tap.rings) + repr(observer.events) + repr(got)  # type: ignore[union-attr]  # it inspects
    assert "hunter2" not in recorded
    assert "s3cret-token" not in recorded


async def test_a_topic_keeps_its_last_events_and_history_its_calls() -> None:
    async with TestEnv(make_server(ring=3, history=4, max_events=1000)) as env:
        observer = await Observer.attach(env)
        client = env.connect()
        for number in range(6):
            await client.call(remote("demo/say"), "red", number)
        got = await observer.ask(Get(id=77, ref=["stream", "room:red"]))
        assert isinstance(got, Got)
        assert [event.data["text"] for event in got.items if isinstance(event, PublishEvent)] == [3, 4, 5]
        calls = await observer.ask(Get(id=78, ref=["calls"]))
        assert isinstance(calls, Got)
        assert len(calls.items) == 4
        assert isinstance(await observer.ask(Get(id=79, ref=["nothing"])), Err)


async def test_failed_calls_outlive_good_ones_in_the_history() -> None:
    async with TestEnv(make_server(history=4, max_events=1000)) as env:
        observer = await Observer.attach(env)
        client = env.connect()
        with pytest.raises(Exception, match="WRONG"):
            await client.call(remote("demo/login"), "a", "b")
        for number in range(10):
            await client.call(remote("demo/say"), "red", number)
        got = await observer.ask(Get(id=1, ref=["calls"]))
        assert isinstance(got, Got)
        assert [event.ok for event in got.items if isinstance(event, CallEvent)] == [False, True, True, True, True]


async def test_what_is_not_captured_is_counted_and_said() -> None:
    async with TestEnv(make_server(max_events=10)) as env:
        observer = await Observer.attach(env)
        await observer.watch(kind=["pub"])
        for number in range(100):
            await env.server.publish("room:red", "created", number)
        frame = await observer.wait(Events)
        assert len(frame.items) == 10
        assert frame.lost == 90
        assert frame.sample == pytest.approx(0.1)


async def test_good_calls_never_hide_failed_ones() -> None:
    async with TestEnv(make_server(max_events=4)) as env:
        observer = await Observer.attach(env)
        await observer.watch(kind=["rpc"])
        client = env.connect()
        for number in range(20):
            await client.call(remote("demo/say"), "red", number)
        with pytest.raises(Exception, match="WRONG"):
            await client.call(remote("demo/login"), "a", "b")
        await observer.wait(Events)
        assert [event.ok for event in observer.events if isinstance(event, CallEvent)][-1] is False


async def test_without_credit_events_are_counted_as_lost() -> None:
    async with TestEnv(make_server(max_events=5000)) as env:
        socket = await knock(env)
        await socket.send('{"t":"hello","v":1,"client":"greedy","budget":{"events":5000,"bytes":1000000}}')
        await socket.send('{"t":"watch","id":1}')
        await env.settle()
        for number in range(1200):
            await env.server.publish("room:red", "created", number)
        items = lost = 0
        while not lost:
            frame = json.loads(await socket.recv())
            if frame["t"] == "ev":
                items, lost = items + len(frame["items"]), frame.get("lost", 0)
        assert (items, lost) == (1000, 200)


async def test_nothing_is_recorded_while_nobody_looks(live_env: TestEnv) -> None:
    client = live_env.connect()
    await client.call(remote("demo/say"), "red", 1)
    telemetry = live_env.server.telemetry
    assert not telemetry.published
    assert not telemetry.call_finished
    observer = await Observer.attach(live_env)
    assert telemetry.published
    await observer.socket.close()
    await asyncio.sleep(1)
    assert not telemetry.published


async def test_an_ended_watch_sends_nothing_more(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env)
    await observer.send(Watch(id=5, match=Match(kind=["pub"])))
    await observer.send(Unwatch(id=5))
    await live_env.settle()
    await live_env.server.publish("room:red", "created", 1)
    for _ in range(4):
        await observer.wait(State)
    assert observer.events == []


async def test_a_quiet_topic_that_ends_is_told(live_env: TestEnv) -> None:
    client = live_env.connect()
    handle = await client.subscribe(remote("demo/room"), "quiet")
    observer = await Observer.attach(live_env)
    await handle.aclose()
    state = await observer.wait(State, lambda state: state.streams_gone)
    assert len(state.streams_gone) == 1


async def test_a_large_state_comes_in_parts_and_none_is_missing() -> None:
    server = make_server()
    async with TestEnv(server) as env:
        client = env.connect()
        for number in range(1203):
            await client.subscribe(remote("demo/room"), f"r{number}")
        observer = Observer(
            await knock(env),
            AttachSession(client="x", want="observe", monotonic=asyncio.get_running_loop().time),
        )
        topics: list[str] = []
        while True:
            state = await observer.wait(State, lambda state: state.full)
            topics += [stream.topic for stream in state.streams]
            if not state.more:
                break
        assert len(set(topics)) == len(topics) == 1203
        await observer.wait(State, lambda state: not state.full)


async def test_an_observer_that_stops_reading_gets_a_full_state_when_it_reads_again() -> None:
    server = make_server(max_events=5000)
    async with TestEnv(server) as env:
        observer = await Observer.attach(env)
        client = env.connect()
        handles = [await client.subscribe(remote("demo/room"), f"r{number}" + "x" * 200) for number in range(100)]
        observer.socket.stall()
        for _ in range(8):
            for number in range(100):
                await env.server.publish(f"room:r{number}" + "x" * 200, "created", {"id": 1})
            await asyncio.sleep(0.5)
        observer.socket.resume()
        await observer.wait(State)
        assert server.counters.outbox_overflows == 0
        assert handles[0].status == "connected"


async def test_a_history_larger_than_an_answer_is_cut_and_says_so() -> None:
    async with TestEnv(make_server(max_events=5000, history=500)) as env:
        observer = await Observer.attach(env)
        client = env.connect()
        for number in range(100):
            await client.call(remote("demo/say"), "red", [{"n": number, "text": "x" * 400}] * 50)
        got = await observer.ask(Get(id=1, ref=["calls"]))
        assert isinstance(got, Got)
        assert got.left_out > 0
        assert len(got.items) + got.left_out == 100
        assert len(json.dumps(got.items, default=str)) < 1 << 24
        last = got.items[-1]
        assert isinstance(last, CallEvent)
        assert last.args["text"][0]["n"] == 99


@pytest.mark.parametrize("topics", [["x"] * 17, ["x" * 257]])
async def test_a_watch_takes_a_bounded_number_of_bounded_globs(live_env: TestEnv, topics: list[str]) -> None:
    observer = await Observer.attach(live_env)
    answer = await observer.ask(Watch(id=4, match=Match(topic=topics)))
    assert isinstance(answer, Err)


async def test_slow_calls_are_noticed_while_the_budget_is_used_up() -> None:
    server = make_server(max_events=4)

    @live
    async def slow(ctx: Context[Any]) -> None:
        await asyncio.sleep(0.2)

    server.registry._add("demo/slow", slow, None, "snake")
    async with TestEnv(server) as env:
        observer = await Observer.attach(env)
        await observer.watch(kind=["rpc"], path=["demo/slow"])
        client = env.connect()
        running = asyncio.create_task(client.call(remote("demo/slow")))
        for _ in range(20):
            for number in range(20):
                await client.call(remote("demo/say"), "red", number)
            await asyncio.sleep(0.01)
        await running
        await observer.wait(Events, lambda frame: frame.items)
        assert [event.path for event in observer.events if isinstance(event, CallEvent)] == ["demo/slow"]


async def test_a_topic_that_is_open_is_captured_while_the_budget_is_used_up() -> None:
    async with TestEnv(make_server(max_events=8)) as env:
        observer = await Observer.attach(env)
        await observer.watch(topic=["room:open"])
        for number in range(200):
            await env.server.publish("room:other", "created", number)
        await env.server.publish("room:open", "created", "seen")
        await observer.wait(Events, lambda frame: frame.items)
        assert [event.data for event in observer.events if isinstance(event, PublishEvent)] == ["seen"]


async def test_a_server_that_stopped_with_an_observer_starts_clean() -> None:
    server = make_server()
    for _ in range(2):
        async with TestEnv(server) as env:
            await Observer.attach(env)
            assert server._hub.touched is not None
        assert server._hub.touched is None
        assert not server.telemetry.published


async def test_validation_errors_are_seen_with_their_issues_but_no_secret(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env)
    await observer.watch(kind=["rpc"])
    with pytest.raises(Exception, match="VALIDATION"):
        await live_env.connect().call(remote("demo/login"), 5, 6)
    await observer.wait(Events)
    [event] = observer.events
    assert isinstance(event, CallEvent)
    assert event.result == {
        "message": "Validation failed",
        "issues": ["email: Expected `str`, got `int`", "password: [REDACTED]"],
    }

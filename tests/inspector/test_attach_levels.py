"""What levels and scopes keep from observers, on every exit."""

import asyncio
from typing import Any

import pytest

from liverpc import Context, LiveServer, live, remote
from liverpc.inspector.protocol import (
    AttachSession,
    CallEvent,
    ChaosArm,
    ChaosClear,
    ChaosRule,
    ConnectionEvent,
    Err,
    Events,
    Get,
    Got,
    State,
    Watch,
    Welcome,
)
from liverpc.testing import TestEnv
from tests.inspector.attach_kit import SECRETS, Observer, knock, make_server


@pytest.fixture
def live_server() -> LiveServer:
    return make_server()


# -- levels and scopes ------------------------------------------------------------------------------------


async def test_level_metrics_sees_no_user_no_payload_and_no_argument(live_env: TestEnv) -> None:
    client = live_env.connect(user={"id": "ann"})
    await client.subscribe(remote("demo/room"), "red")
    call = asyncio.create_task(client.call(remote("demo/wait")))
    observer = await Observer.attach(live_env, "metrics")
    await observer.send(Watch(id=1))
    await observer.wait(State)
    await client.call(remote("demo/say"), "red", "private")
    await live_env.connect(user={"id": "bob"}).open()
    await observer.wait(Events)
    got = [await observer.ask(Get(id=70, ref=["calls"])), await observer.ask(Get(id=71, ref=["stream", "room:red"]))]
    seen = repr(observer.events) + repr(got)
    assert "private" not in seen
    assert "ann" not in seen
    assert "bob" not in seen
    assert isinstance(await observer.ask(ChaosClear(id=72)), Err)
    call.cancel()


async def test_a_scoped_token_sees_nothing_beyond_its_topics(live_env: TestEnv) -> None:
    blue, red = live_env.connect(user={"id": "blue-user"}), live_env.connect(user={"id": "red-user"})
    await blue.subscribe(remote("demo/room"), "blue")
    await red.subscribe(remote("demo/room"), "red")
    observer = Observer(
        await knock(live_env, SECRETS["scoped"]),
        AttachSession(client="scoped", want="observe", monotonic=asyncio.get_running_loop().time),
    )
    full = await observer.wait(State)
    assert [stream.topic for stream in full.streams] == ["room:red"]
    assert [connection.user for connection in full.connections] == ["red-user"]
    assert full.counters == {}
    assert full.paths == []
    await observer.send(Watch(id=1))
    await observer.wait(State)
    await blue.call(remote("demo/say"), "blue", "for blue only")
    with pytest.raises(Exception, match="WRONG"):
        await blue.call(remote("demo/login"), "blue@x", "y")
    await red.call(remote("demo/say"), "red", "for red")
    await observer.wait(Events)
    got = [await observer.ask(Get(id=9, ref=["calls"])), await observer.ask(Get(id=8, ref=["stream", "room:blue"]))]
    seen = repr(observer.events) + repr(got)
    assert "for red" in seen
    assert "blue" not in seen
    assert not [event for event in observer.events if isinstance(event, ConnectionEvent)]


@pytest.mark.parametrize("topic", ["*", "room:*", "room:blue", "room:r*"])
async def test_a_scoped_token_cannot_arm_faults_beyond_its_topics(live_env: TestEnv, topic: str) -> None:
    observer = await Observer.attach(live_env, "scoped")
    answer = await observer.ask(ChaosArm(id=5, rule=ChaosRule(rate=1, topic=topic)))
    assert isinstance(answer, Err)
    assert "scope" in answer.text
    assert live_env.server.faults.rules == []


async def test_nobody_gets_more_than_the_token_opens(live_env: TestEnv) -> None:
    observer = Observer(
        await knock(live_env),
        AttachSession(client="x", want="chaos", monotonic=asyncio.get_running_loop().time),
    )
    welcome = await observer.wait(Welcome)
    assert welcome.granted == "observe"
    assert welcome.denied
    assert isinstance(await observer.ask(ChaosArm(id=5, rule=ChaosRule(rate=1))), Err)


async def test_a_server_without_chaos_grants_none() -> None:
    async with TestEnv(make_server(chaos=False)) as env:
        observer = Observer(
            await knock(env, SECRETS["chaos"]),
            AttachSession(client="x", want="chaos", monotonic=asyncio.get_running_loop().time),
        )
        welcome = await observer.wait(Welcome)
        assert welcome.granted == "observe"
        assert isinstance(await observer.ask(ChaosArm(id=5, rule=ChaosRule(rate=1))), Err)


async def test_a_scoped_observer_follows_connections_into_its_scope_and_out_again(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env, "scoped")
    states: list[State] = []

    async def collect(seconds: float) -> State:
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            states.append(await observer.wait(State))
        return states[-1]

    wanderer = live_env.connect(user={"id": "wanderer"})
    blue = await wanderer.subscribe(remote("demo/room"), "blue")
    await collect(1)
    assert not [state for state in states if state.connections or state.streams]
    red = await wanderer.subscribe(remote("demo/room"), "red")
    await collect(1)
    assert [info.user for state in states for info in state.connections] == ["wanderer"]
    await blue.aclose()
    await collect(1)
    assert not [state for state in states if state.connections_gone or state.streams_gone]
    await red.aclose()
    await collect(1)
    assert len([number for state in states for number in state.streams_gone]) == 1
    assert len([connection for state in states for connection in state.connections_gone]) == 1
    stranger = live_env.connect(user={"id": "stranger"})
    await stranger.subscribe(remote("demo/room"), "blue")
    await stranger.aclose()
    states.clear()
    await collect(2)
    assert "blue" not in repr(states)
    assert not [state for state in states if state.connections_gone or state.streams_gone or state.counters]


async def test_a_scoped_observer_is_not_told_of_other_topics_a_call_published_to() -> None:
    server = make_server()

    @live
    async def both(ctx: Context[Any]) -> None:
        ctx.publish("room:red", "created", {"id": 1})
        ctx.publish("room:blue", "created", {"id": 1})

    server.registry._add("demo/both", both, None, "snake")
    async with TestEnv(server) as env:
        observer = await Observer.attach(env, "scoped")
        await observer.watch(kind=["rpc"])
        await env.connect().call(remote("demo/both"))
        await observer.wait(Events)
        [event] = observer.events
        assert isinstance(event, CallEvent)
        assert event.published == ["room:red"]
        for _ in range(500):
            await env.server.publish("room:blue", "created", 1)
        await asyncio.sleep(1)
        assert observer.lost == 0, "how much happens elsewhere is not its business"


# -- every level and scope, every exit ---------------------------------------------------------------------


async def everything(env: TestEnv, level: str) -> tuple[Observer, dict[str, Any]]:
    """All that an observer gets of what ann and bob do, by what it asked for."""
    ann, bob = env.connect(user={"id": "ann"}), env.connect(user={"id": "bob"})
    await ann.subscribe(remote("demo/room"), "red")
    await bob.subscribe(remote("demo/room"), "blue")
    observer = await Observer.attach(env, level)
    frames: list[Any] = []
    await observer.send(Watch(id=1))
    await observer.wait(State)
    await ann.call(remote("demo/say"), "red", "red-text")
    await bob.call(remote("demo/say"), "blue", "blue-text")
    end = asyncio.get_running_loop().time() + 1.5
    while asyncio.get_running_loop().time() < end:
        frames.append(await observer.next())
    connections = {each.user_id: each.id for each in env.server.connections}
    asked = {
        "calls": ["calls"],
        "stream": ["stream", "room:red"],
        "stream elsewhere": ["stream", "room:blue"],
        "chain": ["chain", str(next((event.id for event in observer.events), 1))],
        "subscribers": ["subscribers", "room:red"],
        "subscribers elsewhere": ["subscribers", "room:blue"],
        "subscriptions": ["subscriptions", connections["ann"]],
        "subscriptions elsewhere": ["subscriptions", connections["bob"]],
        "declared": ["declared"],
    }
    answers = {what: await observer.ask(Get(id=n, ref=ref)) for n, (what, ref) in enumerate(asked.items(), 100)}
    return observer, {"frames": frames, **answers}


_NOBODY = {"subscribers", "subscriptions", "subscribers elsewhere", "subscriptions elsewhere", "declared"}
_ELSEWHERE = {"subscribers elsewhere", "subscriptions elsewhere", "declared"}


@pytest.mark.parametrize(
    ("level", "refused"),
    [("metrics", _NOBODY), ("observe", set()), ("chaos", set()), ("admin", set()), ("scoped", _ELSEWHERE)],
)
async def test_every_exit_keeps_to_level_and_scope(live_env: TestEnv, level: str, refused: set[str]) -> None:
    observer, got = await everything(live_env, level)
    assert {what for what, answer in got.items() if isinstance(answer, Err)} == refused
    seen = repr([each for each in got.values() if not isinstance(each, Err)]) + repr(observer.events)
    told = {word for word in ("ann", "bob", "red-text", "blue-text", "room:blue") if word in seen}
    if level == "metrics":
        assert told == {"room:blue"}
    elif level == "scoped":
        assert told == {"ann", "red-text"}
    else:
        assert told == {"ann", "bob", "red-text", "blue-text", "room:blue"}
    states = [frame for frame in got["frames"] if isinstance(frame, State)]
    assert all(bool(state.memory) == (level != "scoped") for state in states)
    assert any(state.latencies for state in states) == (level != "scoped")
    assert any(state.deliveries for state in states) == (level != "scoped")
    calls = [event for event in observer.events if isinstance(event, CallEvent)]
    assert all(event.steps for event in calls)
    assert len(calls) == (1 if level == "scoped" else 2)
    causes = {event.cause for event in observer.events} - {0}
    assert causes == {event.id for event in calls}
    if level == "scoped":
        assert max(event.id for event in observer.events) == len(observer.events)


async def test_who_listens_is_told_row_by_row(live_env: TestEnv) -> None:
    client = live_env.connect(user={"id": "ann"})
    await client.subscribe(remote("demo/room"), "red")
    await client.subscribe(remote("demo/room"), "blue")
    observer = await Observer.attach(live_env)
    [connection] = live_env.server.connections
    by_topic = await observer.ask(Get(id=1, ref=["subscribers", "room:red"]))
    by_connection = await observer.ask(Get(id=2, ref=["subscriptions", connection.id]))
    assert isinstance(by_topic, Got)
    assert isinstance(by_connection, Got)
    [row] = by_topic.subscriptions
    assert (row.topic, row.connection, row.user, row.buffered, row.held, row.live) == (
        "room:red",
        connection.id,
        "ann",
        0,
        0,
        True,
    )
    assert [each.topic for each in by_connection.subscriptions] == ["room:red", "room:blue"]
    for n, ref in enumerate((["subscribers", "room:none"], ["subscriptions", "none"], ["nothing"], []), 10):
        answer = await observer.ask(Get(id=n, ref=ref))
        assert isinstance(answer, Err)
        assert answer.text


async def test_of_many_subscriptions_500_are_told_and_the_others_counted(live_env: TestEnv) -> None:
    client = live_env.connect()
    await client.open()
    [connection] = live_env.server.connections
    for number in range(501):
        live_env.server._hub.attach_bare(connection, f"topic:{number}")
    observer = await Observer.attach(live_env)
    answer = await observer.ask(Get(id=1, ref=["subscriptions", connection.id]))
    assert isinstance(answer, Got)
    assert (len(answer.subscriptions), answer.left_out) == (500, 1)

"""Observers of a running server, over the in-memory transport with the real attach client."""

import asyncio
import json
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from liverpc import AttachError, Context, Inspect, Limits, LiveError, LiveServer, Token, live, public, remote
from liverpc.client.socket import HandshakeRefused, SocketClosed
from liverpc.inspector.protocol import (
    ATTACH_PATH,
    SUBPROTOCOL,
    AttachSession,
    CallEvent,
    ChaosArm,
    ChaosClear,
    ChaosRenew,
    ChaosRule,
    ConnectionEvent,
    Err,
    Event,
    Events,
    Get,
    Got,
    Match,
    Ok,
    PublishEvent,
    ServerFrame,
    State,
    Unwatch,
    Watch,
    Welcome,
)
from liverpc.testing import TestEnv
from liverpc.transports.memory import MemorySocket, MemoryTransport

SECRETS = {level: f"token-for-{level}-level" for level in ("metrics", "observe", "chaos", "scoped")}
F = TypeVar("F")


def make_server(**options: Any) -> LiveServer:
    @live.stream("room:{room}")
    async def room(ctx: Context[Any], room: str) -> list[Any]:
        return []

    @live
    async def say(ctx: Context[Any], room: str, text: Any) -> None:
        ctx.publish(f"room:{room}", "created", {"id": 1, "text": text, "token": "s3cret-token"})

    @live
    async def login(ctx: Context[Any], email: str, password: str) -> str:
        raise LiveError("WRONG", "no such account")

    @live
    async def wait(ctx: Context[Any]) -> None:
        await asyncio.Event().wait()

    tokens = (
        Token(secret=SECRETS["metrics"], level="metrics"),
        Token(secret=SECRETS["observe"]),
        Token(secret=SECRETS["chaos"], level="chaos"),
        Token(secret=SECRETS["scoped"], level="chaos", topics=("room:red",)),
    )
    inspect = {"enabled": True, "tokens": tokens, "chaos": True, **options}
    functions = {"room": room, "say": say, "login": login, "wait": wait}
    return LiveServer({"demo": SimpleNamespace(**functions, _guard=public())}, inspect=Inspect(**inspect))


@pytest.fixture
def live_server() -> LiveServer:
    return make_server()


async def knock(env: Any, token: str = SECRETS["observe"], **headers: str) -> MemorySocket:
    given = {"Host": "localhost:8000", "Authorization": f"Bearer {token}", "Sec-WebSocket-Protocol": SUBPROTOCOL}
    socket: MemorySocket = await env.transport.connect(ATTACH_PATH, headers={**given, **headers})
    return socket


class Observer:
    """An attach client in a test."""

    def __init__(self, socket: MemorySocket, session: AttachSession) -> None:
        self.socket = socket
        self.session = session
        self.events: list[Event] = []
        self.lost = 0

    @classmethod
    async def attach(cls, env: Any, level: Any = "observe") -> "Observer":
        want: Any = "chaos" if level == "scoped" else level
        session = AttachSession(client="tests", want=want, monotonic=asyncio.get_running_loop().time)
        observer = cls(await knock(env, SECRETS[level]), session)
        await observer.wait(Welcome)
        await observer.wait(State)
        return observer

    async def send(self, *frames: Any) -> None:
        for frame in frames:
            self.session.send(frame)
        for text in self.session.outgoing():
            await self.socket.send(text.decode())

    async def next(self) -> ServerFrame | None:
        self.session.tick()
        await self.send()
        frame = self.session.receive(await asyncio.wait_for(self.socket.recv(), 5))
        if isinstance(frame, Events):
            self.events += frame.items
            self.lost += frame.lost
        return frame

    async def wait(self, kind: type[F], when: Callable[[F], object] = lambda frame: True) -> F:
        async with asyncio.timeout(30):
            while True:
                frame = await self.next()
                if isinstance(frame, kind) and when(frame):
                    return frame

    async def ask(self, frame: Any) -> Ok | Err | Got:
        await self.send(frame)
        async with asyncio.timeout(30):
            while True:
                answer = await self.next()
                if isinstance(answer, Ok | Err | Got) and answer.id == frame.id:
                    return answer

    async def watch(self, **match: Any) -> None:
        await self.send(Watch(id=self.session.new_id(), match=Match(**match)))
        await self.wait(State)


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
    recorded = repr(live_env.server._inspector.tap.rings) + repr(observer.events) + repr(got)  # type: ignore[union-attr]
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
        await socket.send('{"t":"hello","v":1,"client":"greedy"}')
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


# -- faults -----------------------------------------------------------------------------------------------


async def test_an_armed_fault_drops_publishes_and_is_counted_everywhere(live_env: TestEnv) -> None:
    handle = await live_env.connect().subscribe(remote("demo/room"), "red")
    observer = await Observer.attach(live_env, "chaos")
    answer = await observer.ask(ChaosArm(id=5, rule=ChaosRule(rate=0.6, topic="room:*", seed="rep-1234")))
    assert isinstance(answer, Ok)
    for number in range(4):
        await live_env.server.publish("room:red", "created", {"id": number})
    await handle.wait_for(lambda rows: [row["id"] for row in rows] == [1, 2])
    state = await observer.wait(State, lambda state: state.stream_stats)
    assert state.stream_stats[0].dropped == 2
    assert (state.chaos[0].hits, state.chaos[0].seen) == (2, 4)
    assert live_env.counters.fault_drops == 2


async def test_anybody_attached_may_end_a_fault(live_env: TestEnv) -> None:
    armer = await Observer.attach(live_env, "chaos")
    other = await Observer.attach(live_env)
    await armer.ask(ChaosArm(id=5, rule=ChaosRule(rate=1)))
    assert isinstance(await other.ask(ChaosClear(id=6)), Ok)
    assert live_env.server.faults.rules == []
    assert isinstance(await other.ask(ChaosClear(id=7, rule=99)), Err)


async def test_a_fault_ends_with_its_time_to_live(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env, "chaos")
    await observer.ask(ChaosArm(id=5, rule=ChaosRule(rate=1), ttl=10))
    began = asyncio.get_running_loop().time()
    await observer.wait(State, lambda state: not state.chaos)
    assert 10 <= asyncio.get_running_loop().time() - began < 11


async def test_a_fault_ends_with_the_connection_of_its_owner(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env, "chaos")
    await observer.ask(ChaosArm(id=5, rule=ChaosRule(rate=1), ttl=600))
    await observer.ask(ChaosArm(id=6, rule=ChaosRule(rate=1, topic="detached"), ttl=200, detach=True))
    observer.socket.cut()
    await live_env.settle()
    assert [rule.topic for rule in live_env.server.faults.rules] == ["detached"]


async def test_a_fault_ends_when_its_owner_falls_silent(live_env: TestEnv) -> None:
    watcher = await Observer.attach(live_env)
    observer = await Observer.attach(live_env, "chaos")
    await observer.ask(ChaosArm(id=5, rule=ChaosRule(rate=1), ttl=600))
    began = asyncio.get_running_loop().time()
    await watcher.wait(State, lambda state: state.chaos)
    await watcher.wait(State, lambda state: not state.chaos)
    assert 4 < asyncio.get_running_loop().time() - began < 7


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (ChaosArm(id=5, rule=ChaosRule(rate=1.5)), "0 to 1"),
        (ChaosArm(id=5, rule=ChaosRule(rate=1), ttl=901), "900"),
        (ChaosArm(id=5, rule=ChaosRule(rate=1), ttl=0), "0 and"),
        (ChaosArm(id=5, rule=ChaosRule(rate=1), ttl=301, detach=True), "300"),
        (ChaosArm(id=5, rule=ChaosRule(rate=1, topic="")), "glob"),
        (ChaosArm(id=5, rule=ChaosRule(action="explode", rate=1)), "explode"),
        (ChaosRenew(id=5, rule=7, ttl=10), "no fault 7"),
    ],
)
async def test_faults_that_make_no_sense_are_refused_with_the_reason(live_env: TestEnv, frame: Any, text: str) -> None:
    observer = await Observer.attach(live_env, "chaos")
    answer = await observer.ask(frame)
    assert isinstance(answer, Err)
    assert text in answer.text
    assert live_env.server.faults.rules == []


async def test_a_stopping_server_says_goodbye_and_leaves_no_fault() -> None:
    server = make_server()
    async with server.lifespan():
        transport = MemoryTransport(server)
        observer = await Observer.attach(SimpleNamespace(transport=transport), "chaos")
        await observer.ask(ChaosArm(id=5, rule=ChaosRule(rate=1)))

        async def read_to_the_end() -> None:
            while True:
                await observer.next()

        reading = asyncio.create_task(read_to_the_end())
    assert server.faults.rules == []
    with pytest.raises(AttachError, match="shutting down"):
        await reading
    await transport.aclose()


def test_a_token_shows_no_secret_and_must_be_long() -> None:
    assert "abcdefghijklmnop" not in repr(Token(secret="abcdefghijklmnop"))
    with pytest.raises(ValueError, match="16"):
        Token(secret="short")


async def test_limits_of_the_server_hold_for_observers_too() -> None:
    server = make_server()
    server.limits = Limits(message_bytes=1000)
    async with TestEnv(server) as env:
        observer = await Observer.attach(env)
        await observer.socket.send("x" * 1001)
        with pytest.raises(SocketClosed):
            while True:
                await observer.next()

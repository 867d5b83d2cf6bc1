"""Faults as observers lease them: who may strike what, the preview, and the seven stops."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import time
from typing import Any

import pytest

from liverpc import LiveServer, RpcError, Token, remote
from liverpc.backends.ports import Frame
from liverpc.contrib.prometheus import PrometheusSink
from liverpc.inspector.protocol import (
    ATTACH_PATH,
    SUBPROTOCOL,
    AttachSession,
    Blast,
    CallEvent,
    ChaosArm,
    ChaosChanged,
    ChaosClear,
    ChaosRenew,
    ChaosRule,
    ConnectionEvent,
    Err,
    Events,
    Get,
    Got,
    Ok,
    PublishEvent,
    State,
)
from liverpc.testing import TestEnv
from tests.inspector.attach_kit import SECRETS, Observer, make_server


@pytest.fixture
def live_server() -> LiveServer:
    return make_server()


def arm(action: str = "drop", *, ttl: float = 60.0, dry: bool = False, detach: bool = False, **rule: Any) -> ChaosArm:
    rule = {"rate": 1.0, "seed": "rep-1234", **rule}
    return ChaosArm(id=9, rule=ChaosRule(action=action, **rule), ttl=ttl, dry=dry, detach=detach)


async def listen(env: TestEnv, room: str = "red") -> Any:
    return await env.connect().subscribe(remote("demo/room"), room)


async def publish(env: TestEnv, count: int, room: str = "red") -> None:
    for number in range(count):
        await env.server.publish(f"room:{room}", "created", {"id": number})


# -- asking


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        ({"action": "explode"}, "there are drop, delay"),
        ({"rate": -0.1}, "rate is a number from 0 to 1"),
        ({"share": 1.1}, "share is a number from 0 to 1"),
        ({"event": ""}, "event is a glob"),
        ({"topic": "x" * 257}, "256"),
        ({"user": "x" * 257}, "256"),
        ({"action": "delay"}, "needs seconds"),
        ({"action": "delay", "seconds": 301.0}, "0 to 300"),
        ({"action": "delay", "seconds": 1.0, "jitter": 1.5}, "jitter"),
        ({"action": "duplicate", "copies": 11}, "1 to 10"),
        ({"action": "stall", "rate": 0.5}, "needs seconds"),
        ({"action": "disconnect", "code": "1006"}, "1012"),
        ({"action": "disconnect", "code": "BROKEN"}, "3000 to 4999"),
        ({"action": "error", "code": "a\nb"}, "printable"),
        ({"limit": -1}, "limit"),
        ({"action": "disconnect", "user": "ann"}, "needs level admin"),
        ({"action": "disconnect", "connection": "x"}, "needs level admin"),
    ],
)
async def test_each_field_is_checked_and_the_reason_told(live_env: TestEnv, wish: dict[str, Any], text: str) -> None:
    observer = await Observer.attach(live_env, "chaos")
    for dry in (False, True):
        answer = await observer.ask(arm(**wish, dry=dry))
        assert isinstance(answer, Err)
        assert text in answer.text
    assert live_env.server.faults.rules == []


@pytest.mark.parametrize(
    ("wish", "may"),
    [
        ({"topic": "room:red"}, True),
        ({"action": "delay", "topic": "room:red", "seconds": 1.0, "share": 0.5}, True),
        ({"action": "loader", "topic": "room:red"}, True),
        ({"topic": "*"}, False),
        ({"action": "error", "topic": "room:red"}, False),
        ({"action": "disconnect", "topic": "room:red"}, False),
        ({"action": "stall", "topic": "room:red"}, False),
        ({"topic": "room:red", "user": "ann"}, False),
        ({"topic": "room:red", "connection": "c"}, False),
    ],
)
async def test_a_scoped_token_strikes_its_topics_only(live_env: TestEnv, wish: dict[str, Any], may: bool) -> None:
    observer = await Observer.attach(live_env, "scoped")
    assert isinstance(await observer.ask(arm(**wish)), Ok if may else Err)


async def test_an_administrator_may_disconnect_one_user(live_env: TestEnv) -> None:
    await listen(live_env)
    observer = await Observer.attach(live_env, "admin")
    connection = live_env.server.connections[0].id
    await observer.watch(kind=["conn"])
    assert isinstance(await observer.ask(arm("disconnect", connection=connection)), Ok)
    async with asyncio.timeout(10):
        while not any(isinstance(each, ConnectionEvent) and each.what == "close" for each in observer.events):
            await observer.next()
    [closed] = [each for each in observer.events if isinstance(each, ConnectionEvent) and each.what == "close"]
    assert (closed.connection, closed.code, closed.fault) == (connection, 1012, "disconnect#1")


async def test_users_of_rules_are_hidden_at_level_metrics(live_env: TestEnv) -> None:
    armer, other = await Observer.attach(live_env, "chaos"), await Observer.attach(live_env, "metrics")
    await armer.ask(arm(user="ann"))
    assert (await armer.wait(State, lambda state: state.chaos)).chaos[0].user == "ann"
    assert (await other.wait(State, lambda state: state.chaos)).chaos[0].user == ""


async def test_a_rule_is_told_as_it_was_wished(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env, "chaos")
    await observer.ask(arm("delay", rate=0.25, topic="room:*", event="created", seconds=2.0, jitter=0.5, share=0.5))
    [rule] = (await observer.wait(State, lambda state: state.chaos)).chaos
    assert (rule.action, rule.rate, rule.topic, rule.event) == ("delay", 0.25, "room:*", "created")
    assert (rule.seconds, rule.jitter, rule.share, rule.seed, rule.by) == (2.0, 0.5, 0.5, "rep-1234", "tests")


async def test_events_carry_what_befell_them(live_env: TestEnv) -> None:
    await listen(live_env)
    observer = await Observer.attach(live_env, "chaos")
    await observer.watch()
    await observer.ask(arm(rate=0.6))
    await observer.ask(arm("error", path="demo/say", code="BROKEN"))
    await publish(live_env, 4)
    with pytest.raises(RpcError):
        await live_env.connect().call(remote("demo/say"), "red", "hello")
    while not any(isinstance(each, CallEvent) and each.path == "demo/say" for each in observer.events):
        await observer.next()
    told = [(each.dropped, each.fault) for each in observer.events if isinstance(each, PublishEvent)]
    assert told == [(True, "drop#1"), (False, ""), (False, ""), (True, "drop#1")]
    [call] = [each for each in observer.events if isinstance(each, CallEvent) and not each.ok]
    assert (call.path, call.code, call.fault) == ("demo/say", "BROKEN", "error#2")


async def test_each_event_of_a_batch_carries_what_befell_it(live_env: TestEnv) -> None:
    await listen(live_env)
    observer = await Observer.attach(live_env, "chaos")
    await observer.watch(kind=["pub"])
    await observer.ask(arm(limit=1, share=0.9999999))
    live_env.server._hub.publish_batch([("room:red", "created", {"id": 1}), ("room:red", "created", {"id": 2})])
    while len(observer.events) < 2:
        await observer.next()
    assert [each.fault for each in observer.events] == ["drop#1", ""]


async def test_an_event_of_another_node_is_not_taken_for_the_one_before(live_env: TestEnv) -> None:
    await listen(live_env)
    observer = await Observer.attach(live_env, "chaos")
    await observer.watch(kind=["pub"])
    await observer.ask(arm(event="created", share=0.9999999))
    await publish(live_env, 1)
    live_env.server._hub.deliver([Frame("room:red", "moved", b"{}", None, False)])
    while len(observer.events) < 2:
        await observer.next()
    assert [(each.event, each.fault) for each in observer.events if isinstance(each, PublishEvent)] == [
        ("created", "drop#1"),
        ("moved", ""),
    ]


@pytest.mark.parametrize(("topic", "shown"), [("*", ""), ("room:red", "drop#1")])
async def test_faults_of_other_topics_are_not_named_to_a_scoped_token(
    live_env: TestEnv, topic: str, shown: str
) -> None:
    armer, scoped = await Observer.attach(live_env, "chaos"), await Observer.attach(live_env, "scoped")
    await scoped.watch(kind=["pub"])
    await armer.ask(arm(topic=topic, limit=1))
    await publish(live_env, 1)
    await scoped.wait(Events)
    [event] = scoped.events
    assert isinstance(event, PublishEvent)
    assert (event.dropped, event.fault) == (True, shown)
    got = await scoped.ask(Get(id=8, ref=["stream", "room:red"]))
    assert isinstance(got, Got)
    assert [each.fault for each in got.items] == [shown]


# -- the preview


@pytest.mark.parametrize("narrow", [{}, {"share": 0.9999999}])
async def test_the_preview_is_what_then_happens(live_env: TestEnv, narrow: dict[str, Any]) -> None:
    for room in ("red", "red", "blue"):
        await listen(live_env, room)
    observer = await Observer.attach(live_env, "chaos")
    await publish(live_env, 15)
    await publish(live_env, 5, "blue")
    wish = arm("drop", rate=0.3, topic="room:red", dry=True, **narrow)
    answer = await observer.ask(wish)
    assert isinstance(answer, Ok)
    blast = answer.blast
    assert isinstance(blast, Blast)
    assert (blast.of_publishes, blast.topics, blast.of_topics) == (20, 1, 2)
    assert (blast.connections, blast.of_connections, blast.wide) == (2, 3, True)
    assert live_env.server.faults.rules == []
    await observer.watch(kind=["pub"])
    await observer.ask(arm("drop", rate=0.3, topic="room:red", **narrow))
    observer.events.clear()
    await publish(live_env, 15)
    while len(observer.events) < 15:
        await observer.next()
    struck = [each for each in observer.events if isinstance(each, PublishEvent) and each.fault]
    assert len(struck) == blast.publishes > 0


async def test_the_preview_of_failing_calls(live_env: TestEnv) -> None:
    client = live_env.connect()
    observer = await Observer.attach(live_env, "chaos")
    for _ in range(10):
        await client.call(remote("demo/say"), "red", "hello")
    await client.subscribe(remote("demo/room"), "red")
    answer = await observer.ask(arm("error", rate=0.6, path="demo/s*", dry=True))
    assert isinstance(answer, Ok)
    blast = answer.blast
    assert blast is not None
    assert (blast.publishes, blast.topics, blast.of_calls, blast.connections) == (0, 0, 11, 1)
    await observer.ask(arm("error", rate=0.6, path="demo/s*"))
    failed = 0
    for _ in range(10):
        try:
            await client.call(remote("demo/say"), "red", "hello")
        except RpcError:
            failed += 1
    assert failed == blast.calls > 0
    answer = await observer.ask(arm("loader", dry=True))
    assert isinstance(answer, Ok)
    assert answer.blast is not None
    assert answer.blast.calls == 1


# -- the stops


async def test_every_step_is_logged_with_who_took_it_and_no_token(
    live_env: TestEnv, caplog: pytest.LogCaptureFixture
) -> None:
    observer = await Observer.attach(live_env, "chaos")
    with caplog.at_level(logging.WARNING):
        await observer.ask(arm())
        await observer.ask(ChaosRenew(id=9, rule=1, ttl=30))
        await observer.ask(ChaosClear(id=9))
    told = [record.getMessage() for record in caplog.records if record.name == "liverpc.inspector"]
    token = hashlib.sha256(SECRETS["chaos"].encode()).hexdigest()[:8]
    for step in ("armed", "renewed", "ended"):
        assert any(f"tests (level chaos, token {token}) {step} fault 1: drop" in line for line in told)
    assert SECRETS["chaos"] not in caplog.text


async def test_faults_in_force_are_called_to_mind_every_10_seconds(
    live_env: TestEnv, caplog: pytest.LogCaptureFixture
) -> None:
    observer = await Observer.attach(live_env, "chaos")
    await observer.ask(arm(ttl=25, detach=True))
    observer.socket.cut()
    with caplog.at_level(logging.WARNING, logger="liverpc.faults"):
        await asyncio.sleep(40)
    assert [record.getMessage() for record in caplog.records if record.name == "liverpc.faults"] == [
        "faults in force: 1 by tests: drop of *, seed 'rep-1234'"
    ] * 2
    assert live_env.server.faults.rules == []  # without anybody who looks


async def test_a_detached_fault_is_renewed_for_300_seconds_at_most(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env, "chaos")
    await observer.ask(arm(ttl=10, detach=True))
    await observer.ask(arm(ttl=10))
    assert isinstance(await observer.ask(ChaosRenew(id=9, rule=1, ttl=301)), Err)
    assert isinstance(await observer.ask(ChaosRenew(id=9, rule=1, ttl=300)), Ok)
    assert isinstance(await observer.ask(ChaosRenew(id=9, rule=2, ttl=900)), Ok)


async def test_a_gauge_tells_how_many_are_in_force(live_env: TestEnv) -> None:
    sink = PrometheusSink()
    live_env.server.metrics(sink)
    assert b"liverpc_chaos_active 0.0" in sink.render()
    observer = await Observer.attach(live_env, "chaos")
    await observer.ask(arm())
    await observer.ask(arm("error"))
    assert b"liverpc_chaos_active 2.0" in sink.render()


@pytest.mark.parametrize(("failing", "trips"), [(20, False), (21, True)])
async def test_more_errors_than_meant_end_the_faults(live_env: TestEnv, failing: int, trips: bool) -> None:
    client, observer = live_env.connect(), await Observer.attach(live_env, "chaos")
    await observer.ask(arm())
    for _ in range(failing):
        with pytest.raises(RpcError):
            await client.call(remote("demo/login"), "ann", "secret")
    if trips:
        told = await observer.wait(ChaosChanged, lambda frame: not frame.active)
        assert "circuit breaker: 21 calls failed, 0 of them by faults" in told.text
    await asyncio.sleep(1)
    assert bool(live_env.server.faults.rules) is not trips


async def test_errors_that_are_meant_end_nothing(live_env: TestEnv) -> None:
    client, observer = live_env.connect(), await Observer.attach(live_env, "chaos")
    await observer.ask(arm("error", path="demo/say"))
    for _ in range(60):
        with pytest.raises(RpcError):
            await client.call(remote("demo/say"), "red", "hello")
    await asyncio.sleep(1)
    assert live_env.server.faults.rules


@pytest.mark.parametrize(("closed", "trips"), [(10, False), (11, True)])
async def test_more_closed_connections_than_meant_end_the_faults(live_env: TestEnv, closed: int, trips: bool) -> None:
    observer = await Observer.attach(live_env, "chaos")
    await observer.ask(arm())
    for _ in range(closed):
        socket = await live_env.transport.connect("/ws")
        socket.cut()
    await asyncio.sleep(1)
    assert bool(live_env.server.faults.rules) is not trips


async def test_a_reconnect_storm_that_is_meant_ends_nothing(live_env: TestEnv) -> None:
    for _ in range(40):
        await live_env.transport.connect("/ws")
    observer = await Observer.attach(live_env, "chaos")
    await observer.ask(arm(rate=0.0))
    await observer.ask(arm("disconnect", seconds=1.0))
    await asyncio.sleep(3)
    assert [rule.fault.action for rule in live_env.server.faults.rules] == ["drop"]  # the storm is over
    assert live_env.counters.connections_closed >= 40


@pytest.mark.realtime
async def test_an_event_loop_that_is_late_ends_the_faults() -> None:
    server = make_server()
    async with TestEnv(server) as env:
        observer = await Observer.attach(env, "chaos")
        await observer.ask(arm())
        time.sleep(0.6)  # blocks the loop, which is the subject
        told = await observer.wait(ChaosChanged, lambda frame: not frame.active)
        assert "the event loop came" in told.text


@pytest.mark.realtime
async def test_an_observer_whose_process_dies_leaves_a_clean_server() -> None:
    server: Any = make_server(tokens=(Token(secret=SECRETS["chaos"], level="chaos"),))
    async with server.serve(port=0) as listening:
        session = AttachSession(client="doomed", want="chaos", monotonic=asyncio.get_running_loop().time)
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        writer.write(
            f"GET {ATTACH_PATH} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Authorization: Bearer {SECRETS['chaos']}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        session.send(arm("delay", seconds=60.0, ttl=900))
        session.send(arm("error", path="demo/*", ttl=900))
        for text in session.outgoing():
            length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
            writer.write(b"\x81" + length + bytes(4) + text)  # masked with zeros
        async with asyncio.timeout(5):
            while len(server.faults.rules) < 2:
                await asyncio.sleep(0.01)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()
        async with asyncio.timeout(10):
            while server.faults.rules:
                await asyncio.sleep(0.01)
        assert server._hub.faults is None
        assert not (server._injector.gates or server._injector._wrapped or server._injector._tick)

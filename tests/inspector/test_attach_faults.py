"""Faults armed by observers, and everything that ends them."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import AttachError, Limits, LiveServer, Token, remote
from liverpc.client.socket import SocketClosed
from liverpc.inspector.protocol import (
    ChaosArm,
    ChaosClear,
    ChaosRenew,
    ChaosRule,
    Err,
    Ok,
    State,
)
from liverpc.testing import TestEnv
from liverpc.transports.memory import MemoryTransport
from tests.inspector.attach_kit import Observer, make_server


@pytest.fixture
def live_server() -> LiveServer:
    return make_server()


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
    assert [rule.fault.topic for rule in live_env.server.faults.rules] == ["detached"]


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

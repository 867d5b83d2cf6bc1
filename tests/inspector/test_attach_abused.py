"""Observers that ask too much, and what applications make that must not end what observers are told."""

import asyncio
import enum
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from liverpc import Context, Inspect, LiveServer, Token, live, public, remote
from liverpc.inspector.allowance import Allowance
from liverpc.inspector.matching import Matcher
from liverpc.inspector.protocol import (
    CallEvent,
    ChaosArm,
    ChaosChanged,
    ChaosRenew,
    ChaosRule,
    Err,
    Get,
    Got,
    Match,
    Ok,
    Resync,
    State,
    Watch,
)
from liverpc.inspector.redact import REDACTED, Redactor
from liverpc.policies.faults import Fault
from liverpc.testing import TestEnv
from tests.inspector.attach_kit import SECRETS, Observer, make_server


@pytest.fixture
def live_server() -> LiveServer:
    return make_server()


# -- text that is none


@pytest.mark.parametrize("how", ["topic", "event"])
async def test_a_name_that_is_no_text_does_not_end_what_observers_are_told(how: str) -> None:
    @live
    async def odd(ctx: Context[Any], how: str) -> str:
        topic, event = {"topic": ("room:\ud800", "x"), "event": ("room:red", "\ud800")}.get(how, ("room:red", "x"))
        ctx.publish(topic, event, 1)
        return how

    server = LiveServer(
        {"demo": SimpleNamespace(odd=odd, _guard=public())},
        inspect=Inspect(enabled=True, tokens=(Token(secret=SECRETS["observe"]),)),
    )
    async with TestEnv(server) as env:
        observer = await Observer.attach(env)
        await observer.watch()
        client = env.connect()
        await client.call(remote("demo/odd"), how)
        await client.call(remote("demo/odd"), "even")
        while not any(isinstance(event, CallEvent) and event.result == "even" for event in observer.events):
            await asyncio.wait_for(observer.next(), 5)
        assert "\ufffd" in repr(observer.events)


async def test_a_user_whose_id_is_no_text_does_not_end_the_state_of_anybody(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env)
    await live_env.connect(user={"id": "a\ud800"}).open()
    state = await observer.wait(State, lambda state: state.connections)
    assert state.connections[0].user == "a\ufffd"


# -- secrets


class _Key(enum.Enum):
    PASSWORD = "password"


class _Odd:
    def __str__(self) -> str:
        raise ValueError("no text")


def test_keys_are_judged_as_clients_get_them() -> None:
    assert Redactor()({_Key.PASSWORD: "s3cret"}) == {"password": REDACTED}
    assert Redactor()({_Odd(): 1}) == {"[_Odd]": 1}


class _Login(msgspec.Struct, frozen=True):
    password: str = "s3cret-1"
    name: str = "shown"


_NOBODY = _Login()


class _Outer(msgspec.Struct):
    login: _Login = _Login(password="s3cret-2")


async def test_secrets_within_defaults_are_not_told() -> None:
    @live
    async def first(ctx: Context[Any], login: _Login = _NOBODY) -> None: ...

    @live
    async def second(ctx: Context[Any], outer: _Outer) -> None: ...

    server = LiveServer(
        {"demo": SimpleNamespace(first=first, second=second, _guard=public())},
        inspect=Inspect(enabled=True, tokens=(Token(secret=SECRETS["observe"]),)),
    )
    async with TestEnv(server) as env:
        observer = await Observer.attach(env)
        got = await observer.ask(Get(id=50, ref=["declared"]))
        assert isinstance(got, Got)
        assert "s3cret" not in repr(got)
        assert repr(got).count("'name': 'shown'") == 2


# -- rights


async def test_who_may_not_arm_a_fault_may_not_renew_it_either(live_env: TestEnv) -> None:
    admin, chaos, scoped = [await Observer.attach(live_env, level) for level in ("admin", "chaos", "scoped")]
    client = live_env.connect(user={"id": "ann"})
    await client.subscribe(remote("demo/room"), "red")
    wishes = (
        ChaosRule(action="disconnect", rate=0.5, user="ann", topic="room:red"),
        ChaosRule(action="drop", rate=0.5, user="ann", topic="room:red"),
    )
    numbers = []
    for number, wish in enumerate(wishes):
        armed = await admin.ask(ChaosArm(id=50 + number, rule=wish))
        assert isinstance(armed, Ok)
        numbers.append(armed.rule)
    of_user, of_topic = numbers
    assert isinstance(await chaos.ask(ChaosRenew(id=60, rule=of_user, ttl=600)), Err)
    assert isinstance(await chaos.ask(ChaosRenew(id=61, rule=of_topic, ttl=600)), Ok)
    assert isinstance(await scoped.ask(ChaosRenew(id=62, rule=of_topic, ttl=900)), Err)
    assert max(rule.expires_at for rule in live_env.server.faults.rules) < asyncio.get_running_loop().time() + 601


async def test_scoped_observers_are_told_neither_whom_others_strike_nor_of_calls(live_env: TestEnv) -> None:
    admin, scoped = await Observer.attach(live_env, "admin"), await Observer.attach(live_env, "scoped")
    blue = live_env.connect(user={"id": "bob"})
    await blue.subscribe(remote("demo/room"), "blue")
    (connection,) = live_env.server.connections
    for number, wish in enumerate(
        (
            ChaosRule(action="error", rate=0.5, path="pay/secretly", topic="room:red"),
            ChaosRule(action="drop", rate=0.5, topic="room:red", user="bob", connection=connection.id),
        )
    ):
        assert isinstance(await admin.ask(ChaosArm(id=50 + number, rule=wish)), Ok)
    told = await scoped.wait(ChaosChanged, lambda told: len(told.active) == 1)
    assert told.active[0].action == "drop"
    assert not any(each in repr(told) for each in ("bob", connection.id, "secretly"))


# -- who asks too much


async def test_who_has_used_up_its_share_of_the_time_is_not_read_until_there_is_some_again(live_env: TestEnv) -> None:
    observer, other = await Observer.attach(live_env), await Observer.attach(live_env, "admin")
    allowance = live_env.server._inspector.allowances[SECRETS["observe"]]  # type: ignore[union-attr]  # it inspects
    allowance.spend(0.25 + 0.005)
    owed = allowance.wait
    assert 1 < owed < 2.5
    loop = asyncio.get_running_loop()
    began = loop.time()
    await observer.ask(Get(id=50, ref=["calls"]))  # it is read, and then nothing more
    assert loop.time() - began < owed / 2
    await other.ask(Get(id=50, ref=["calls"]))
    assert loop.time() - began < owed / 2
    await observer.ask(Get(id=51, ref=["calls"]))
    assert loop.time() - began >= owed


async def test_full_states_wait_until_there_is_time_for_them(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env)
    allowance = live_env.server._inspector.allowances[SECRETS["observe"]]  # type: ignore[union-attr]  # it inspects
    allowance.spend(0.25 + 0.005)
    owed = allowance.wait
    began = asyncio.get_running_loop().time()
    await observer.send(Resync())
    await observer.wait(State, lambda state: state.full)
    assert asyncio.get_running_loop().time() - began >= owed
    again = await Observer.attach(live_env)  # whoever comes back finds it as it was
    assert again.session.welcome is not None


def test_an_allowance_is_saved_up_for_a_moment_and_owed_for_as_long_as_it_takes() -> None:
    now = [0.0]
    allowance = Allowance(0.02, lambda: now[0])
    now[0] = 1000.0
    allowance.spend(0.25)
    assert allowance.wait == 0
    allowance.spend(0.02)
    assert allowance.wait == pytest.approx(1)
    now[0] += 1
    assert allowance.wait == pytest.approx(0)
    allowance.spend(0.0)
    assert allowance.wait == pytest.approx(0)


class _Listener:
    user_id = None

    def __init__(self, name: str) -> None:
        self.id = name


async def test_a_dry_run_draws_for_so_many_of_the_newest_events_only(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env, "chaos")
    for number in range(3):
        await live_env.connect(user={"id": f"u{number}"}).subscribe(remote("demo/room"), "red")
    for _ in range(20):
        await live_env.server.publish("room:red", "created", {"id": 1})
    topic = live_env.server._hub.topics["room:red"]
    (first, *_) = topic.subscriptions
    listeners: list[_Listener] = []
    for _ in range(2_000):  # as if so many listened
        listeners.append(_Listener(first.id))
        topic.subscriptions[listeners[-1]] = None  # type: ignore[index,assignment]  # as much of one as is looked at
    began = time.thread_time()
    answer = await observer.ask(ChaosArm(id=70, rule=ChaosRule(action="delay", seconds=1, rate=0.5), dry=True))
    spent = time.thread_time() - began
    for each in listeners:
        del topic.subscriptions[each]  # type: ignore[arg-type]  # as much of one as is looked at
    assert isinstance(answer, Ok)
    assert answer.blast is not None
    assert answer.blast.of_publishes == answer.blast.publishes == 9  # of 20
    assert spent < 0.5


async def test_a_capture_narrowed_by_many_globs_is_not_narrowed(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env, "metrics")
    tap = live_env.server._inspector.tap  # type: ignore[union-attr]  # it inspects
    for most, narrowed in ((15, True), (16, True), (17, False)):
        globs = [f"a{number}" for number in range(most)]
        watch = Match(event=globs[:16], path=globs[16:])
        await observer.send(Watch(id=1, match=watch, capture=True))
        await observer.wait(State)
        assert (tap._wanted is not None) is narrowed


def test_stars_in_a_row_cost_what_one_costs() -> None:
    matcher = Matcher(Match(event=["*" * 250 + "ed"] * 16))
    began = time.thread_time()
    for _ in range(200):
        assert not matcher.publish("room:red", "create")
        assert matcher.publish("room:red", "created")
    assert time.thread_time() - began < 0.05


def test_a_star_stands_for_anything_however_often_it_is_written() -> None:
    from liverpc.wire.names import glob

    assert glob("a**b***")("aXbY")
    assert not glob("a**b***")("aXcY")
    assert Fault(topic="**").topic == "**"

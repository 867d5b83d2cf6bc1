"""How much observers are told: budgets, samples, narrowed capture; and how a session may end."""

import asyncio
import logging
from collections.abc import AsyncIterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Inspect, LiveServer, RpcError, Token, live, public, remote
from liverpc.clock import Clock
from liverpc.errors import AttachError
from liverpc.inspector.bucket import Bucket
from liverpc.inspector.protocol import (
    AttachSession,
    Budget,
    CallEvent,
    Err,
    Events,
    Get,
    Got,
    Match,
    Note,
    Ok,
    PublishEvent,
    Redact,
    State,
    Unwatch,
    Watch,
    Welcome,
)
from liverpc.testing import TestEnv
from tests.inspector.attach_kit import SECRETS, Observer, knock, make_server


@pytest.fixture
def live_server() -> LiveServer:
    return make_server()


async def attach(env: TestEnv, budget: Budget, token: str = SECRETS["observe"]) -> tuple[Observer, Welcome]:
    now = asyncio.get_running_loop().time
    observer = Observer(
        await knock(env, token), AttachSession(client="tests", want="observe", monotonic=now, budget=budget)
    )
    welcome = await observer.wait(Welcome)
    await observer.wait(State)
    return observer, welcome


async def publish(env: TestEnv, count: int, topic: str = "room:red", event: str = "created", data: Any = 1) -> None:
    for _ in range(count):
        await env.server.publish(topic, event, data)


# -- budgets ----------------------------------------------------------------------------------------------


def test_a_bucket_fills_at_its_rate_and_holds_a_second_of_it() -> None:
    bucket = Bucket(10, 0.0)
    assert [bucket.take(0.0) for _ in range(11)] == 10 * [True] + [False]
    assert not bucket.take(0.09)
    assert bucket.take(0.1 + 1e-9)
    assert not bucket.take(100.0, 10.1)
    assert bucket.take(100.0, 10.0)
    assert bucket.level(100.5) == 5


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (Budget(), Budget(400.0, 262_144.0)),  # twice what the server captures
        (Budget(1e9, 1e12), Budget(400.0, float(1 << 20))),
        (Budget(10.0, 1000.0), Budget(10.0, 1000.0)),
        (Budget(-1.0, -1.0), Budget(0.0, 0.0)),
    ],
)
async def test_a_budget_is_granted_up_to_what_the_server_allows(
    live_env: TestEnv, wanted: Budget, given: Budget
) -> None:
    _, welcome = await attach(live_env, wanted)
    assert welcome.budget == given


async def test_events_above_the_budget_are_counted_as_lost(live_env: TestEnv) -> None:
    small, _ = await attach(live_env, Budget(events=10.0))
    large = await Observer.attach(live_env)
    for observer in (small, large):
        await observer.watch(kind=["pub"])
    await publish(live_env, 30)
    for observer in (small, large):
        await observer.wait(Events)
    assert (len(small.events), small.lost) == (10, 20)
    assert (len(large.events), large.lost) == (30, 0)


async def test_failed_calls_have_a_budget_of_their_own(live_env: TestEnv) -> None:
    client = live_env.connect()
    await client.open()
    observer, _ = await attach(live_env, Budget(events=8.0))
    await observer.watch()
    await publish(live_env, 20)
    for _ in range(4):
        with pytest.raises(RpcError, match="WRONG"):
            await client.call(remote("demo/login"), "a", "b")
    await observer.wait(Events)
    assert len([event for event in observer.events if isinstance(event, PublishEvent)]) == 8
    assert len([event for event in observer.events if isinstance(event, CallEvent)]) == 2
    assert observer.lost == 14


async def test_bytes_above_the_budget_are_counted_as_lost_and_the_newest_are_sent(live_env: TestEnv) -> None:
    observer, _ = await attach(live_env, Budget(bytes=2500.0))
    await observer.watch(kind=["pub"])
    for number in range(5):
        await publish(live_env, 1, data={"n": number, "text": 1000 * "x"})
    await observer.wait(Events)
    assert [event.data["n"] for event in observer.events if isinstance(event, PublishEvent)] == [3, 4]
    assert observer.lost == 3
    await asyncio.sleep(1)
    await publish(live_env, 2, data={"n": 9, "text": 1000 * "x"})
    await observer.wait(Events)
    assert (len(observer.events), observer.lost) == (4, 3)


# -- watches ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sample", "count"), [(1.0, 20), (0.5, 10), (0.1, 2), (0.3, 6)])
async def test_a_sample_is_every_nth_event_and_what_it_leaves_out_is_not_lost(
    live_env: TestEnv, sample: float, count: int
) -> None:
    observer = await Observer.attach(live_env)
    await observer.send(Watch(id=1, match=Match(kind=["pub"]), sample=sample))
    await observer.wait(State)
    for number in range(20):
        await publish(live_env, 1, data=number)
    await observer.wait(Events)
    numbers = [event.data for event in observer.events if isinstance(event, PublishEvent)]
    assert len(numbers) == count
    assert numbers[0] == 0
    gaps = {after - before for before, after in pairwise(numbers)}
    assert max(gaps) - min(gaps) <= 1
    assert observer.lost == 0


async def test_an_event_left_out_by_one_watch_is_sent_for_another(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env)
    await observer.send(Watch(id=1, match=Match(kind=["pub"]), sample=0.1), Watch(id=2, match=Match(event=["moved"])))
    await observer.wait(State)
    await publish(live_env, 5, event="moved")
    await observer.wait(Events)
    assert len(observer.events) == 5


@pytest.mark.parametrize("sample", [0.0, -1.0, 1.5])
async def test_a_sample_that_is_no_share_is_refused(live_env: TestEnv, sample: float) -> None:
    observer = await Observer.attach(live_env)
    answer = await observer.ask(Watch(id=9, sample=sample))
    assert isinstance(answer, Err)
    assert "share" in answer.text


async def test_watches_may_name_events(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env)
    await observer.watch(kind=["pub"], event=["cre*"])
    await publish(live_env, 1, event="moved")
    await publish(live_env, 1, event="created")
    await observer.wait(Events)
    assert [event.event for event in observer.events if isinstance(event, PublishEvent)] == ["created"]
    answer = await observer.ask(Watch(id=9, match=Match(event=["x" * 257])))
    assert isinstance(answer, Err)


async def test_what_a_narrowed_capture_leaves_out_costs_no_budget_and_is_not_lost() -> None:
    async with TestEnv(make_server(max_events=20)) as env:
        observer = await Observer.attach(env)
        await observer.send(Watch(id=1, match=Match(kind=["pub"], topic=["room:red"]), capture=True))
        await observer.wait(State)
        await publish(env, 500, "room:blue")
        await publish(env, 15)
        await observer.wait(Events)
        assert (len(observer.events), observer.lost) == (15, 0)
        got = await observer.ask(Get(id=1, ref=["stream", "room:blue"]))
        assert isinstance(got, Got)
        assert got.items == []
        # What matches and does not fit is lost: 20 a second, and 10 more of a topic that somebody has open.
        await asyncio.sleep(2)
        await publish(env, 50)
        await publish(env, 500, "room:blue")
        await observer.wait(Events)
        assert (len(observer.events), observer.lost) == (45, 20)


async def test_one_watch_that_does_not_narrow_is_enough_to_capture_everything() -> None:
    async with TestEnv(make_server(max_events=20)) as env:
        narrow, wide = await Observer.attach(env), await Observer.attach(env)
        await narrow.send(Watch(id=1, match=Match(kind=["pub"], topic=["room:red"]), capture=True))
        await wide.send(Watch(id=1, match=Match(kind=["pub"])))
        await wide.wait(State)
        await publish(env, 30, "room:blue")
        await wide.wait(Events)
        assert (len(wide.events), wide.lost) == (20, 10)
        await wide.send(Unwatch(id=1))
        await asyncio.sleep(2)
        while narrow.lost == 0:
            await narrow.wait(Events)
        before = narrow.lost
        await publish(env, 30, "room:blue")
        await publish(env, 1)
        await narrow.wait(Events, lambda frame: frame.items)
        assert (len(narrow.events), narrow.lost) == (1, before)


async def test_a_narrowed_capture_of_failed_calls_keeps_no_others(live_env: TestEnv) -> None:
    client = live_env.connect()
    await client.open()
    observer = await Observer.attach(live_env)
    await observer.send(Watch(id=1, match=Match(kind=["rpc"], ok=False), capture=True))
    await observer.wait(State)
    await client.call(remote("demo/say"), "red", 1)
    with pytest.raises(RpcError):
        await client.call(remote("demo/login"), "a", "b")
    await observer.wait(Events)
    assert [event.path for event in observer.events if isinstance(event, CallEvent)] == ["demo/login"]
    assert observer.lost == 0


async def test_at_the_hard_stop_payloads_are_left_out_until_it_is_calm_again(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env)
    await observer.watch(kind=["pub"])
    inspector = live_env.server._inspector
    assert inspector is not None
    for _ in range(8):  # halved to a 64th, and one more
        inspector._measure(1.0, 1.0)
    note = await observer.wait(Note)
    assert "payloads" in note.text
    await asyncio.sleep(0.3)
    await publish(live_env, 1, data={"id": 1})
    await observer.wait(Events)
    [event] = observer.events
    assert isinstance(event, PublishEvent)
    assert event.data is not None
    assert repr(event.data) == "UNSET"
    assert event.size > 0
    inspector._busy = 0.0
    for _ in range(10):
        inspector._measure(0.0, 1.0)
    assert "again" in (await observer.wait(Note)).text
    await publish(live_env, 1, data={"id": 2})
    await observer.wait(Events)
    assert observer.events[-1].data == {"id": 2}  # type: ignore[union-attr]  # there is one


# -- redaction --------------------------------------------------------------------------------------------


async def test_an_admin_redacts_further_keys_and_everybody_is_told(
    live_env: TestEnv, caplog: pytest.LogCaptureFixture
) -> None:
    other = await Observer.attach(live_env)
    admin = await Observer.attach(live_env, "admin")
    await other.watch(kind=["pub"])
    assert isinstance(await admin.ask(Redact(id=1, keys=["IBAN", "salary"])), Ok)
    assert "IBAN, salary" in (await other.wait(Note)).text
    await publish(live_env, 1, data={"iban": "DE00", "Salary": 1, "name": "x"})
    await other.wait(Events)
    [event] = other.events
    assert isinstance(event, PublishEvent)
    assert event.data == {"iban": "[REDACTED]", "Salary": "[REDACTED]", "name": "x"}
    late = Observer(
        await knock(live_env),
        AttachSession(client="late", want="observe", monotonic=asyncio.get_running_loop().time),
    )
    assert {"iban", "salary", "password"} <= set((await late.wait(Welcome)).redacted)
    assert [record.levelno for record in caplog.records if "redacts" in record.message] == [logging.WARNING]


@pytest.mark.parametrize("level", ["metrics", "observe", "chaos", "scoped"])
async def test_redacting_needs_level_admin(live_env: TestEnv, level: str) -> None:
    observer = await Observer.attach(live_env, level)
    answer = await observer.ask(Redact(id=1, keys=["iban"]))
    assert isinstance(answer, Err)
    assert "admin" in answer.text


@pytest.mark.parametrize("keys", [[], [""], [" "], ["x" * 65], ["a\x1b[2J"], [f"key{number}" for number in range(257)]])
async def test_keys_that_are_none_are_refused(live_env: TestEnv, keys: list[str]) -> None:
    admin = await Observer.attach(live_env, "admin")
    assert isinstance(await admin.ask(Redact(id=1, keys=keys)), Err)
    assert isinstance(await admin.ask(Redact(id=2, keys=["x" * 64])), Ok)


# -- tokens that expire -----------------------------------------------------------------------------------


class _Wall(Clock):
    now = 1_000_000.0

    def wall(self) -> float:
        return self.now


@pytest.fixture
async def expiring() -> AsyncIterator[tuple[TestEnv, _Wall]]:
    clock = _Wall()
    tokens = (Token(secret=SECRETS["observe"], expires_at=1_000_060.0), Token(secret=SECRETS["admin"], level="admin"))

    @live
    async def nothing(ctx: Any) -> None:
        return None

    server = LiveServer(
        {"demo": SimpleNamespace(nothing=nothing, _guard=public())},
        inspect=Inspect(enabled=True, tokens=tokens),
        clock=clock,
    )
    async with TestEnv(server) as env:
        yield env, clock


async def test_the_session_of_a_token_that_expires_ends(expiring: tuple[TestEnv, _Wall]) -> None:
    env, clock = expiring
    observer, other = await Observer.attach(env), await Observer.attach(env, "admin")
    clock.now = 1_000_059.9
    for _ in range(8):
        await observer.wait(State)
    clock.now = 1_000_060.0
    with pytest.raises(AttachError, match="expired") as ended:
        await observer.wait(Welcome)
    assert ended.value.kind == "refused"
    await other.wait(State)


async def test_an_expired_token_is_refused_at_the_door(
    expiring: tuple[TestEnv, _Wall], caplog: pytest.LogCaptureFixture
) -> None:
    env, clock = expiring
    clock.now = 1_000_060.0
    with pytest.raises(Exception, match="401"):
        await knock(env)
    assert "expired" in caplog.text
    assert SECRETS["observe"] not in caplog.text
    await Observer.attach(env, "admin")


async def test_what_was_kept_before_anybody_looked_is_not_taken_off_what_is_lost() -> None:
    async with TestEnv(make_server(capture="always", max_events=20)) as env:
        inspector = env.server._inspector
        assert inspector is not None
        await publish(env, 30)
        await asyncio.sleep(3)
        inspector.tap.attend()
        await publish(env, 30)
        events, lost = inspector.tap.drain()
        assert (len(events), lost) == (20, 10)

"""What observers see of policies: figures per path, locks, breakers, and where a call waits."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, Inspect, LiveError, LiveServer, RpcError, Token, UploadContext, live, public, remote
from liverpc.inspector.protocol import Awaited, Err, Get, Got, State
from liverpc.testing import TestClient, TestEnv
from tests.inspector.attach_kit import SECRETS, Observer

released = threading.Event()  # what the function in a thread waits for


async def nap() -> None:
    await asyncio.sleep(1000)


class Slow:
    """Something to await that is no coroutine."""

    def __await__(self) -> Generator[Any, None, None]:
        return nap().__await__()


async def rows() -> AsyncIterator[int]:
    await Slow()
    yield 1


async def read() -> None:
    async for _ in rows():
        pass


@live.lock(lambda ctx, account: f"account:{account}")
@live
async def pay(ctx: Context[Any], account: int) -> None:
    await asyncio.Event().wait()


@live
async def confirm(ctx: Context[Any]) -> Any:
    return await ctx.push(ctx.user["id"], "confirm", {"secret": "not to be told"}, timeout=60)


@live
async def report(ctx: Context[Any], secret: str) -> None:
    await read()


@live
async def begin(ctx: Context[Any]) -> None:
    await asyncio.create_task(nap())


@live(thread=True)
def crunch(ctx: Context[Any]) -> None:
    released.wait(30)


@live
async def deep(ctx: Context[Any]) -> None:
    await down(50)


async def down(levels: int) -> None:
    await (down(levels - 1) if levels else nap())


@live
async def elsewhere(ctx: Context[Any], file: str) -> None:
    names: dict[str, Any] = {"__name__": "app", "nap": nap}
    exec(compile("async def from_elsewhere(): await nap()", file, "exec"), names)
    await names["from_elsewhere"]()


@live.idempotent(key=lambda ctx: "the only one")
@live
async def once(ctx: Context[Any]) -> None:
    await asyncio.Event().wait()


@live.rate_limit(points=8, per=3600)
@live
async def ping(ctx: Context[Any], seconds: float = 0.0, code: str = "") -> None:
    await asyncio.sleep(seconds)
    if code:
        raise LiveError(code, "as you wish")


@live(class_of_service="background")
async def rebuild(ctx: Context[Any]) -> None: ...


@live.breaker("bank", failures=2, reset_after=30)
@live
async def charge(ctx: Context[Any]) -> None:
    raise LookupError("no route")


@live.upload()
async def store(ctx: UploadContext[Any]) -> int:
    received = 0
    async for chunk in ctx.upload:
        received += len(chunk)
    return received


@live.stream("room:{room}")
async def room(ctx: Context[Any], room: str) -> list[Any]:
    return []


FUNCTIONS = (pay, confirm, report, begin, crunch, deep, elsewhere, once, ping, rebuild, charge, store, room)


@pytest.fixture
def live_server() -> LiveServer:
    names = {each.handler.__name__: each for each in FUNCTIONS}
    tokens = [Token(secret=SECRETS["metrics"], level="metrics"), Token(secret=SECRETS["observe"])]
    tokens.append(Token(secret=SECRETS["scoped"], topics=("room:red",)))
    server = LiveServer(
        {"demo": SimpleNamespace(**names, _guard=public())}, inspect=Inspect(enabled=True, tokens=tuple(tokens))
    )
    server.admission({"background": lambda pressure: True})
    return server


class Calls:
    """Calls that wait, of one client each."""

    def __init__(self, env: TestEnv) -> None:
        self._env = env
        self._tasks: list[asyncio.Task[Any]] = []

    async def start(self, path: str, *args: Any, user: str = "ann") -> TestClient:
        """A new client's call."""
        client = self._env.connect(user={"id": user})
        await client.open()
        self._tasks.append(asyncio.create_task(client.call(remote(f"demo/{path}"), *args)))
        await settled()
        return client

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def calls(live_env: TestEnv) -> AsyncIterator[Calls]:
    calls = Calls(live_env)
    yield calls
    await calls.end()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def where(observer: Observer, path: str) -> Awaited:
    """Where the newest call of a path waits."""
    state = await observer.wait(State, lambda state: any(each.path == f"demo/{path}" for each in state.pending))
    row = [each for each in state.pending if each.path == f"demo/{path}"][-1]
    return await ask(observer, "call", row.connection, row.call, repr(row.started_at))


async def ask(observer: Observer, *ref: str) -> Awaited:
    got = await observer.ask(Get(id=900, ref=list(ref)))
    assert isinstance(got, Got), got
    assert got.awaited is not None
    return got.awaited


# -- figures of paths -------------------------------------------------------------------------------------


async def test_a_path_has_percentiles_codes_and_what_was_refused(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env)
    client = live_env.connect(user={"id": "ann"})
    for args in [(0.01,), (0.01,), (0.01,), (0.01,), (0.01,), (0.5,), (0.0, "LATE"), (0.0, "ODD"), (), (), ()]:
        with suppress(RpcError):
            await client.call(remote("demo/ping"), *args)
    with suppress(RpcError):
        await client.call(remote("demo/rebuild"))
    state = await observer.wait(State, lambda state: len(state.path_stats) == 2 and state.path_stats[0].p99 > 0.1)
    names = {each.id: each.path for each in state.paths}
    stats = {names[each.id]: each for each in state.path_stats}
    ping, rebuild = stats["demo/ping"], stats["demo/rebuild"]
    assert (ping.calls, ping.errors, ping.limited, ping.shed) == (11, 5, 3, 0)
    assert ping.codes[0] == ("RATE_LIMITED", 3)
    assert sorted(ping.codes[1:]) == [("LATE", 1), ("ODD", 1)]
    assert ping.p50 == pytest.approx(0.01, rel=0.1)
    assert ping.p95 == pytest.approx(0.5, rel=0.1)
    assert ping.p99 == pytest.approx(0.5, rel=0.1)
    assert (rebuild.calls, rebuild.limited, rebuild.shed) == (1, 0, 1)


async def test_a_path_tells_of_its_eight_most_frequent_codes(live_env: TestEnv) -> None:
    for number in range(9):
        client = live_env.connect(user={"id": f"user-{number}"})
        for _ in range(1 + (number > 0)):
            with suppress(RpcError):
                await client.call(remote("demo/ping"), 0.0, f"CODE_{number}")
    state = await full(await Observer.attach(live_env))
    [stats] = state.path_stats
    assert sorted(stats.codes) == [(f"CODE_{number}", 2) for number in range(1, 9)]


async def full(observer: Observer) -> State:
    return await observer.wait(State)


async def test_nothing_is_measured_before_somebody_attaches(live_env: TestEnv) -> None:
    client = live_env.connect(user={"id": "ann"})
    await client.call(remote("demo/ping"), 0.01)
    assert all(entry.latencies is None for entry in live_env.server.registry.entries)
    observer = await Observer.attach(live_env)
    [stats] = (await full(observer)).path_stats
    assert (stats.calls, stats.p50, stats.p99) == (1, 0.0, 0.0)


# -- locks and breakers -----------------------------------------------------------------------------------


async def test_locks_are_told_with_their_holder_and_who_waits(live_env: TestEnv, calls: Calls) -> None:
    await calls.start("pay", 1, user="ann")
    began = asyncio.get_running_loop().time()
    await calls.start("pay", 2, user="bob")
    await calls.start("pay", 2, user="cyd")
    await asyncio.sleep(2)
    await calls.start("pay", 2, user="dan")
    await calls.start("pay", 3, user="eve")
    observer = await Observer.attach(live_env)
    state = await full(observer)
    assert state.locks_total == 3
    assert [(each.key, each.path, each.user, each.waiting) for each in state.locks] == [
        ("account:2", "demo/pay", "bob", 2),
        ("account:1", "demo/pay", "ann", 0),
        ("account:3", "demo/pay", "eve", 0),
    ]
    assert [each.since for each in state.locks] == pytest.approx([began, began, began + 2])
    assert [each.waiting_since for each in state.locks] == pytest.approx([began, 0.0, 0.0])
    held = [(each.connection, each.call) for each in state.locks]
    holders = {each.user: (each.connection, each.call) for each in state.pending}
    assert held == [holders["bob"], holders["ann"], holders["eve"]]


async def test_at_most_a_hundred_locks_are_told(live_env: TestEnv, calls: Calls) -> None:
    for start in (0, 51):
        client = await calls.start("pay", start)
        for number in range(start + 1, start + 51):
            client.fire(remote("demo/pay"), number)
    await calls.start("pay", 100)
    state = await full(await Observer.attach(live_env))
    assert (len(state.locks), state.locks_total) == (100, 102)
    assert (state.locks[0].key, state.locks[0].waiting) == ("account:100", 1)


async def test_breakers_are_told_with_their_state_and_paths(live_env: TestEnv) -> None:
    client = live_env.connect(user={"id": "ann"})
    observer = await Observer.attach(live_env)
    [breaker] = (await full(observer)).breakers
    assert (breaker.name, breaker.state, breaker.tried_in, breaker.paths) == ("bank", "closed", None, ["demo/charge"])
    for _ in range(3):
        with suppress(RpcError):
            await client.call(remote("demo/charge"))
    [breaker] = (await observer.wait(State, lambda state: state.breakers[0].state == "open")).breakers
    assert breaker.failures == 2
    assert breaker.tried_in == pytest.approx(30, abs=1)


# -- where a call waits -----------------------------------------------------------------------------------


async def test_a_call_that_waits_for_a_lock_names_it_and_its_holder(live_env: TestEnv, calls: Calls) -> None:
    await calls.start("pay", 7, user="ann")
    await asyncio.sleep(1)
    await calls.start("pay", 7, user="bob")
    await calls.start("pay", 7, user="cyd")
    await asyncio.sleep(2)
    told = await where(await Observer.attach(live_env), "pay")
    assert told.on.startswith("the lock account:7, held by demo/pay of ann for 3.")
    assert told.on.endswith(" s, 1 before it")
    assert told.steps == []


async def test_a_call_that_waits_for_its_client_names_the_event(live_env: TestEnv, calls: Calls) -> None:
    await calls.start("confirm")
    told = await where(await Observer.attach(live_env), "confirm")
    assert told.on == "an answer of its client (event confirm)"
    assert [step.function for step in told.steps] == ["confirm"]


async def test_the_steps_lead_through_generators_awaitables_and_coroutines(live_env: TestEnv, calls: Calls) -> None:
    await calls.start("report", "a secret argument")
    told = await where(await Observer.attach(live_env), "report")
    assert told.on == "asyncio.tasks.sleep"
    assert [step.function for step in told.steps] == ["report", "read", "rows", "nap", "sleep"]
    assert {step.file for step in told.steps[:-1]} == {
        "test_attach_policies.py"
    }  # pytest puts its directory into sys.path
    assert told.steps[-1].file == "asyncio/tasks.py"
    source = Path(__file__).read_text().splitlines()
    lines = ["await read()", "async for _ in rows():", "await Slow()", "await asyncio.sleep(1000)"]
    assert [source[step.line - 1].strip() for step in told.steps[:-1]] == lines
    assert "secret" not in repr(told)


async def test_a_task_that_is_awaited_is_looked_into(live_env: TestEnv, calls: Calls) -> None:
    await calls.start("begin")
    told = await where(await Observer.attach(live_env), "begin")
    assert [step.function for step in told.steps] == ["begin", "nap", "sleep"]


async def test_of_a_long_way_the_end_is_told(live_env: TestEnv, calls: Calls) -> None:
    await calls.start("deep")
    told = await where(await Observer.attach(live_env), "deep")
    assert [step.function for step in told.steps] == ["down"] * 38 + ["nap", "sleep"]


async def test_a_repetition_waits_for_the_first_one(live_env: TestEnv, calls: Calls) -> None:
    observer = await Observer.attach(live_env)
    await calls.start("once", user="ann")
    assert (await where(observer, "once")).on == "asyncio.locks.Event.wait"
    await calls.start("once", user="bob")
    await observer.wait(State, lambda state: state.pending_total == 2)
    told = await where(observer, "once")
    assert (told.on, told.steps) == ("an idempotency key in flight", [])


@pytest.mark.realtime
async def test_a_function_in_a_thread_waits_for_the_thread(live_env: TestEnv, calls: Calls) -> None:
    released.clear()
    await calls.start("crunch")
    try:
        told = await where(await Observer.attach(live_env), "crunch")
        assert (told.on, told.steps) == ("a worker thread", [])
    finally:
        released.set()


async def test_an_upload_waits_for_bytes(live_env: TestEnv) -> None:
    client = live_env.connect(user={"id": "ann"})
    halted = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"begin"
        await halted.wait()

    upload = client.upload(remote("demo/store"), endless())
    observer = await Observer.attach(live_env)
    [row] = (await observer.wait(State, lambda state: state.uploads)).uploads
    told = await ask(observer, "call", row.connection, row.id)
    assert told.on == "bytes of its upload"
    assert [step.function for step in told.steps] == ["store"]
    halted.set()
    await upload


async def test_calls_without_an_id_are_told_apart_by_their_start(live_env: TestEnv, calls: Calls) -> None:
    client = await calls.start("pay", 1)
    client.fire(remote("demo/confirm"))
    await asyncio.sleep(1)
    client.fire(remote("demo/report"), "x")
    await asyncio.sleep(1)
    observer = await Observer.attach(live_env)
    assert (await where(observer, "confirm")).on.startswith("an answer")
    assert (await where(observer, "report")).on == "asyncio.tasks.sleep"


async def test_who_asks_for_a_call_that_has_ended_is_told_so(live_env: TestEnv, calls: Calls) -> None:
    await calls.start("pay", 1)
    observer = await Observer.attach(live_env)
    [call] = (await full(observer)).pending
    for ref in (["call", "nobody", call.call], ["call", call.connection, "unknown"]):
        answer = await observer.ask(Get(id=901, ref=ref))
        assert isinstance(answer, Err)
        assert answer.text == "it does not run any more"
    assert isinstance(await observer.ask(Get(id=902, ref=["call"])), Err)


async def test_a_file_is_told_as_seen_from_where_modules_are_found(
    live_env: TestEnv, calls: Calls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ann").mkdir()
    await calls.start("elsewhere", str(tmp_path / "ann" / "secret" / "app.py"))
    observer = await Observer.attach(live_env)

    async def told(cwd: str, *found: Any) -> str:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path / cwd)
            patch.setattr(sys, "path", [*sys.path, *found])
            steps = (await where(observer, "elsewhere")).steps
        assert [step.file for step in (steps[0], steps[2])] == ["test_attach_policies.py"] * 2
        return steps[1].file

    assert await told("") == "app.py", "nothing is found in the working directory"
    assert await told("", "/", b"bytes", Path("path")) == "app.py"
    assert await told("", str(tmp_path)) == "ann/secret/app.py"
    assert await told("ann", str(tmp_path), "") == "secret/app.py"
    assert await told("ann", "..") == "ann/secret/app.py"


# -- levels and scopes ------------------------------------------------------------------------------------


async def test_keys_of_locks_and_where_calls_wait_are_not_for_level_metrics(live_env: TestEnv, calls: Calls) -> None:
    await calls.start("pay", 7)
    observer = await Observer.attach(live_env, "metrics")
    state = await full(observer)
    assert (state.locks, state.locks_total, len(state.breakers)) == ([], 1, 1)
    [call] = state.pending
    assert isinstance(await observer.ask(Get(id=1, ref=["call", call.connection, call.call])), Err)


async def test_a_scoped_token_sees_neither_locks_nor_breakers_nor_where_calls_wait(
    live_env: TestEnv, calls: Calls
) -> None:
    await calls.start("pay", 7)
    observer = await Observer.attach(live_env, "scoped")
    state = await full(observer)
    assert (state.locks, state.locks_total, state.breakers, state.path_stats) == ([], 0, [], [])
    [call] = (await full(await Observer.attach(live_env))).pending
    answer = await observer.ask(Get(id=1, ref=["call", call.connection, call.call]))
    assert isinstance(answer, Err)
    assert "all topics" in answer.text

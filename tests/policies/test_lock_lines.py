"""One call at a time for each key."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liverpc import (
    Context,
    DeclarationError,
    Limits,
    LiveError,
    LiveServer,
    RoomContext,
    UploadContext,
    live,
    public,
)
from liverpc.policies.locks import Locks
from liverpc.telemetry import Counters
from liverpc.testing import TestEnv, virtual_loop_factory
from tests.policies.policy_kit import ANN, Caller, server

Ctx = Context[Any]


class Log(list[str]):
    """What ran, and how many at the same time at most."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0

    async def work(self, name: str, seconds: float = 1.0) -> str:
        self.append(name)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.running -= 1
        return name


def locked(log: Log, **options: Any) -> LiveServer:
    @live
    @live.lock(lambda ctx, key, name="", fails=False: key, **options)
    async def work(ctx: Ctx, key: str | None, name: str = "", fails: bool = False) -> str:
        await log.work(name)
        if fails:
            raise LiveError("BROKEN")
        return name

    return server(work=work)


def table(env: TestEnv) -> Locks:
    return env.server._policies.locks


async def test_119_calls_of_a_key_run_one_at_a_time_in_the_order_of_their_coming() -> None:
    log = Log()
    async with TestEnv(locked(log)) as env:
        ann = Caller(env, ANN)
        # acceptance 119, 123
        names = [str(n) for n in range(10)]
        assert await asyncio.gather(*(ann("work", "key", name) for name in names)) == names
        assert log == names
        assert log.most == 1
        await asyncio.gather(*(ann("work", f"key {name}", name) for name in names))
        assert log.most == 10
        assert env.counters.lock_waits == 9
        assert len(table(env)) == 0


async def test_120_a_failing_holder_lets_the_next_one_run_and_no_key_means_no_lock() -> None:
    log = Log()
    async with TestEnv(locked(log)) as env:
        ann = Caller(env, ANN)
        # acceptance 120
        codes = await asyncio.gather(ann.code("work", "key", "a", True), ann.code("work", "key", "b"))
        assert list(codes) == ["BROKEN", "ok"]
        for none in (None, ""):
            log.most = 0
            await asyncio.gather(*(ann("work", none) for _ in range(3)))
            assert log.most == 3
        assert await ann.code("work", "k" * 256) == "ok"
        assert await ann.code("work", "k" * 257) == "INVALID_REQUEST"


async def test_121_who_waits_too_long_is_told_and_nobody_else_is_disturbed() -> None:
    log = Log()
    async with TestEnv(locked(log, max_wait=1.5)) as env:
        ann = Caller(env, ANN)
        calls = [asyncio.create_task(ann("work", "account:7", name)) for name in "abcd"]
        answers = await asyncio.gather(*calls)
        # acceptance 121
        assert answers[:2] == ["a", "b"]
        assert [answer.code for answer in answers[2:]] == ["LOCK_TIMEOUT", "LOCK_TIMEOUT"]
        assert "'account:7'" in answers[2].message
        assert "1.5 s" in answers[2].message
        assert env.counters.lock_timeouts == 2
        assert len(table(env)) == 0


async def test_121_with_no_patience_at_all_a_busy_lock_refuses_at_once() -> None:
    log = Log()
    async with TestEnv(locked(log, max_wait=0)) as env:
        ann = Caller(env, ANN)
        busy = asyncio.create_task(ann("work", "key", "a"))
        await env.settle()
        assert await ann.code("work", "key", "b") == "LOCK_TIMEOUT"
        assert await busy == "a"
        assert await ann("work", "key", "c") == "c"


async def test_who_leaves_gives_the_lock_and_its_place_away() -> None:
    log = Log()
    async with TestEnv(locked(log)) as env:
        ann, ben, zoe = Caller(env, ANN), Caller(env, {"id": "ben"}), Caller(env, {"id": "zoe"})
        calls = [asyncio.create_task(each("work", "key", name)) for each, name in ((ann, "a"), (ben, "b"), (zoe, "c"))]
        await env.settle()
        await ben.client.aclose()
        await ann.client.aclose()
        assert await calls[2] == "c"
        assert log == ["a", "c"]
        await asyncio.gather(*calls)
        assert len(table(env)) == 0


async def test_only_so_many_wait_for_one_lock() -> None:
    log = Log()
    app = locked(log)
    turns = app._policies.locks._turns
    assert turns._most == Limits().lock_waiters == 1000
    turns._most = 16
    async with TestEnv(app) as env:
        users = [Caller(env, {"id": str(n)}) for n in range(9)]
        guests = [Caller(env) for _ in range(3)]
        # One has two of them, whoever it is and however often it is connected.
        own = asyncio.gather(*(Caller(env, {"id": "0"}).code("work", "key") for _ in range(4)))
        await env.settle()
        each = asyncio.gather(*(caller.code("work", "key") for caller in users[1:] for _ in range(2)))
        await env.settle()
        assert [await guest.code("work", "key") for guest in guests] == ["LOCK_QUEUE_FULL"] * 3
        assert await guests[0].code("work", "other") == "ok"
        assert sorted(await own) == ["LOCK_QUEUE_FULL", "ok", "ok", "ok"]
        assert (await each).count("ok") == 14
        assert len(table(env)) == 0
        assert env.counters.lock_overflows == 6


async def test_functions_with_one_name_exclude_each_other() -> None:
    log = Log()

    @live.lock("printer")
    @live
    async def draft(ctx: Ctx) -> str:
        return await log.work("draft")

    @live
    @live.lock("printer")
    async def print_(ctx: Ctx) -> str:
        return await log.work("print")

    async with TestEnv(server(draft=draft, print_=print_)) as env:
        ann = Caller(env, ANN)
        await asyncio.gather(ann("draft"), ann("print_"))
        assert log.most == 1


@pytest.mark.parametrize("key", ["", 7, None, b"k"])
def test_a_lock_needs_a_name_or_a_function(key: Any) -> None:
    with pytest.raises(DeclarationError, match="a lock takes a name"):
        live.lock(key)


@pytest.mark.parametrize("max_wait", [-1, float("nan"), "5", True])
def test_a_lock_needs_a_time(max_wait: Any) -> None:
    with pytest.raises(DeclarationError, match="max_wait="):
        live.lock("key", max_wait=max_wait)


def test_keys_are_functions_of_what_the_function_takes() -> None:
    def declare(line: Any) -> None:
        async def work(ctx: Ctx, name: str, times: int = 1) -> None: ...

        live(line(work))

    wrong: list[Any] = [
        live.lock(lambda ctx, name: name),
        live.idempotent(key=lambda ctx: "k"),
        live.rate_limit(points=1, per=1.0, key=lambda ctx, name: name),  # type: ignore[arg-type,misc]  # the mistake
        live.breaker(fallback=lambda: None),
    ]
    for line in wrong:
        with pytest.raises(DeclarationError, match=r"line \d+\): the (key|fallback) of @live\.\w+ takes \(ctx"):
            declare(line)
    declare(live.lock(lambda ctx, *arguments: str(arguments)))
    declare(live.breaker(fallback=dict))

    async def later(ctx: Ctx, name: str, times: int) -> str:
        return name

    lines: list[Callable[[Any], Any]] = [
        live.lock,
        lambda key: live.idempotent(key=key),
        lambda key: live.rate_limit(points=1, per=1.0, key=key),
    ]
    for line in lines:
        with pytest.raises(DeclarationError, match="not async"):
            line(later)


def test_locks_are_for_what_is_called() -> None:
    with pytest.raises(DeclarationError, match=r"test_lock_lines\.py, line \d+.*@live.lock is not for this kind"):

        @live.lock("key")
        @live.stream("rows")
        async def rows(ctx: Ctx) -> list[Any]:
            return []

    with pytest.raises(DeclarationError, match="there twice"):

        @live.lock("key")
        @live.lock("other")
        async def twice(ctx: Ctx) -> None: ...


@given(st.lists(st.tuples(st.sampled_from(["come", "leave", "cancel"]), st.integers(0, 5)), max_size=40))
@settings(max_examples=150, deadline=None)
def test_one_holds_it_whoever_comes_leaves_or_gives_up(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        locks = Locks(asyncio.get_running_loop().time, Counters(), 100)
        holding: list[int] = []
        came: list[int] = []
        leave = {n: asyncio.Event() for n in range(6)}
        tasks: dict[int, asyncio.Task[None]] = {}

        async def hold(n: int) -> None:
            came.append(n)
            try:
                await locks.acquire("key", n, None, owner=str(n))
            except asyncio.CancelledError:
                came.remove(n)
                raise
            holding.append(n)
            assert len(holding) == 1
            assert came[0] == n, "not in the order of their coming"
            try:
                await leave[n].wait()
            finally:
                holding.remove(n)
                came.remove(n)
                locks.release("key")

        for what, n in steps:
            task = tasks.get(n)
            if what == "come" and (task is None or task.done()):
                leave[n].clear()
                tasks[n] = asyncio.create_task(hold(n))
            elif what == "leave":
                leave[n].set()
            elif what == "cancel" and task is not None:
                task.cancel()
            if n % 2:
                await asyncio.sleep(0)
        for event in leave.values():
            event.set()
        results = await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        assert len(locks) == 0

    with asyncio.Runner(loop_factory=virtual_loop_factory) as runner:
        runner.run(play())


async def test_in_development_a_call_that_waits_for_itself_is_named(caplog: pytest.LogCaptureFixture) -> None:
    @live
    @live.lock("key", max_wait=1.0)
    async def ask(ctx: Ctx) -> str:
        answer: str = await ctx.connection.ask("confirm", timeout=10.0)
        return answer

    @live
    @live.lock("key", max_wait=1.0)
    async def confirm(ctx: Ctx) -> str:
        return "never"

    app = LiveServer({"m": SimpleNamespace(ask=ask, confirm=confirm, _guard=public())}, dev=True)
    async with TestEnv(app) as env:
        ann, ben = Caller(env, ANN), Caller(env, {"id": "ben"})

        async def answer(data: Any) -> Any:
            return await ann.code("confirm")

        ann.client.on_push("confirm", answer)
        call = asyncio.create_task(ann("ask"))
        await env.settle()
        assert await ben.code("confirm") == "LOCK_TIMEOUT"  # waits, but for nobody who waits for it
        assert await call == "LOCK_TIMEOUT"
    (warned,) = [record.getMessage() for record in caplog.records if record.name == "liverpc.dev"]
    assert warned.startswith("m/confirm waits for the lock 'key', which m/ask holds")


async def test_bytes_and_actions_of_rooms_take_locks_too() -> None:
    log = Log()
    one = live.lock("one")

    @live.binary(path="m/binary")
    @one
    async def binary(ctx: Ctx, data: bytes) -> str:
        return await log.work("binary")

    @live.upload(path="m/upload")
    @one
    async def upload(ctx: UploadContext[Any]) -> str:
        async for _ in ctx.upload:
            pass
        return await log.work("upload")

    @live.room("board:{board}")
    async def board(ctx: Ctx, board: str) -> list[Any]:
        return []

    @board.action
    @one
    async def act(ctx: RoomContext[Any], board: str) -> str:
        return await log.work("action")

    @board.action
    @live.lock(lambda ctx, board: ctx.room.topic)
    async def here(ctx: RoomContext[Any], board: str) -> str:
        return await log.work(ctx.room.topic)

    async with TestEnv(server(binary=binary, upload=upload, board=board)) as env:
        ann = Caller(env, ANN)
        await asyncio.gather(
            ann.client.binary(binary, b"1"), ann.client.upload(upload, b"1"), ann("board/__action/act", "b")
        )
        assert (sorted(log), log.most) == (["action", "binary", "upload"], 1)
        await asyncio.gather(*(ann("board/__action/here", board) for board in "bbc"))
        assert log.most == 2
        assert len(table(env)) == 0

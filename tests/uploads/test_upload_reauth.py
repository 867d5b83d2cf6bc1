"""Guards that are run again while an upload arrives (docs/protocol.md section 11)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from liverpc import Context, Issue, LiveError, UploadContext, live
from liverpc.telemetry import CallFinished
from tests.uploads.upload_kit import serving, turns

EVERY = 10


class Door:
    """A guard that is told when to refuse, and a function behind it."""

    def __init__(self, *, waits: float | None = None) -> None:
        self.runs = 0
        self.refuses_at: int | None = None
        self.error: BaseException = LiveError("EXPIRED", "sign in again")
        self.got: list[int] = []
        self.ended: list[str] = []
        self._waits = waits

    def guard(self, ctx: Context[Any]) -> Any:
        self.runs += 1
        if self._waits is not None:
            return self._later()
        self._look()
        return None

    async def _later(self) -> None:
        assert self._waits is not None
        await asyncio.sleep(self._waits)
        self._look()

    def _look(self) -> None:
        if self.runs == self.refuses_at:
            raise self.error

    def functions(self, every: int | None = EVERY) -> dict[str, Any]:
        @live.upload(reauth_every=every)
        async def guarded(ctx: UploadContext[Any]) -> int:
            try:
                async for chunk in ctx.upload:
                    self.got.append(len(chunk))
            except LiveError as error:
                self.ended.append(error.code)
                raise
            return sum(self.got)

        return {"guarded": guarded}


@pytest.fixture(params=[None, 0.5], ids=["at once", "later"])
def door(request: pytest.FixtureRequest) -> Door:
    return Door(waits=request.param)


async def upload(world: Any, chunks: list[int]) -> Any:
    sender = world.connect()
    sender.begin(1, "m/guarded", data=bytes(chunks[0]))
    for number, size in enumerate(chunks[1:], 1):
        sender.more(1, number, bytes(size))
    sender.more(1, len(chunks), last=True)
    await asyncio.sleep(60)
    return sender


@pytest.mark.parametrize(
    ("chunks", "runs"),
    [
        ([9], 1),
        ([5, 4], 1),
        ([10], 2),
        ([5, 5], 2),
        ([5, 5, 1], 2),
        ([10, 1], 2),
        ([10, 9, 1, 1], 3),
        ([1] * 35, 4),
        ([25, 1], 2),
    ],
)
async def test_it_runs_again_after_so_many_bytes(chunks: list[int], runs: int, door: Door) -> None:
    """Also where nothing but the end follows: only then the function knows that it has everything."""
    async with serving(guard=door.guard, **door.functions()) as world:
        sender = await upload(world, chunks)
        assert sender.outcomes == [(1, sum(chunks))]
        assert (door.runs, door.got) == (runs, chunks)


async def test_unless_asked_it_runs_once(door: Door) -> None:
    async with serving(guard=door.guard, **door.functions(None)) as world:
        await upload(world, [100] * 10)
        assert door.runs == 1


async def test_without_a_guard_there_is_nothing_to_run(door: Door) -> None:
    async with serving(**door.functions()) as world:
        sender = await upload(world, [100] * 10)
        assert sender.outcomes == [(1, 1000)]


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_when_it_refuses_the_upload_ends_with_its_code(at: int, door: Door) -> None:  # acceptance 190
    door.refuses_at = at
    async with serving(guard=door.guard, **door.functions()) as world:
        sender = await upload(world, [10] * 10)
        assert sender.outcomes == [(1, "EXPIRED")]
        assert door.got == [10] * (at - 1)
        assert door.ended == (["EXPIRED"] if at > 1 else [])
        assert door.runs == at
        world.is_idle()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("secret"), "UNAUTHENTICATED"),
        (LiveError("NO", "\ud800"), "INTERNAL_ERROR"),
        (asyncio.CancelledError("secret"), "INTERNAL_ERROR"),
    ],
)
async def test_however_it_fails_there_is_one_answer(error: BaseException, code: str, door: Door) -> None:
    door.refuses_at, door.error = 2, error
    async with serving(guard=door.guard, **door.functions()) as world:
        sender = await upload(world, [10] * 10)
        assert sender.outcomes == [(1, code)]
        assert "secret" not in str(sender.log)
        assert door.got == [10]
        world.is_idle()


@pytest.mark.parametrize("end", ["given up", "cut"])
async def test_an_upload_may_end_while_it_runs(end: str) -> None:
    door = Door(waits=2)
    async with serving(guard=door.guard, **door.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/guarded", data=bytes(10))
        sender.more(1, 1, bytes(10))
        await asyncio.sleep(3)
        assert (door.runs, door.got) == (2, [10])
        if end == "given up":
            sender.give_up(1)
        else:
            sender.leave()
        await asyncio.sleep(3)
        assert door.got == [10]
        assert door.ended == ["CANCELLED" if end == "given up" else "DISCONNECTED"]
        assert sender.outcomes == ([(1, "CANCELLED")] if end == "given up" else [])
        world.is_idle()


async def test_what_it_leaves_in_the_state_is_new() -> None:
    runs = 0

    def guard(ctx: Context[Any]) -> None:
        nonlocal runs
        runs += 1
        ctx.state["runs"] = runs

    @live.upload(reauth_every=1)
    async def tell(ctx: UploadContext[Any]) -> Any:
        return [ctx.state["runs"] async for _ in ctx.upload]

    async with serving(guard=guard, tell=tell) as world:
        sender = world.connect()
        sender.begin(1, "m/tell", data=b"a")
        sender.more(1, 1, b"a")
        sender.more(1, 2, b"a", last=True)
        await turns(10)
        assert sender.outcomes == [(1, [1, 2, 3])]


async def test_while_it_runs_only_one_task_reads() -> None:
    door = Door(waits=1)

    @live.upload(reauth_every=1)
    async def twice(ctx: UploadContext[Any]) -> Any:
        read = [(await anext(ctx.upload)).decode()]
        one = asyncio.create_task(anext(ctx.upload))
        await asyncio.sleep(0.5)
        with pytest.raises(RuntimeError, match="two tasks"):
            await anext(ctx.upload)
        return [*read, (await one).decode()]

    async with serving(guard=door.guard, twice=twice) as world:
        sender = world.connect()
        sender.begin(1, "m/twice", data=b"a")
        await asyncio.sleep(3)
        sender.more(1, 1, b"b")
        await asyncio.sleep(3)
        assert sender.outcomes == [(1, ["a", "b"])]


async def test_everybody_is_told_the_same_code(door: Door, caplog: Any) -> None:
    """Also of an error that cannot be sent as it is."""
    door.refuses_at, door.error = 2, LiveError("NO", "\ud800")
    async with serving(guard=door.guard, **door.functions()) as world:
        finished: list[CallFinished] = []
        world.server.telemetry.call_finished.append(finished.append)
        sender = await upload(world, [10] * 10)
        assert sender.outcomes == [(1, "INTERNAL_ERROR")]
        assert door.ended == ["INTERNAL_ERROR"]
        assert [event.code for event in finished] == ["INTERNAL_ERROR"]
        assert "no JSON form" in caplog.text


async def test_what_it_says_is_recorded_as_it_is_sent(door: Door) -> None:
    issue = Issue(["token"], "it has expired")
    door.refuses_at, door.error = 2, LiveError("EXPIRED", "sign in again", issues=[issue])
    async with serving(guard=door.guard, **door.functions()) as world:
        finished: list[CallFinished] = []
        world.server.telemetry.call_finished.append(finished.append)
        sender = await upload(world, [10] * 10)
        [(_, answer)] = sender.answers
        assert answer["issues"] == [{"path": ["token"], "message": "it has expired"}]
        assert [list(event.issues) for event in finished] == [[issue]]


async def test_when_it_refuses_too_late_the_first_end_counts() -> None:
    door = Door(waits=2)
    door.refuses_at = 2
    async with serving(guard=door.guard, **door.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/guarded", data=bytes(10))
        sender.more(1, 1, bytes(10))
        await asyncio.sleep(3)
        sender.give_up(1)
        await asyncio.sleep(3)
        assert sender.outcomes == [(1, "CANCELLED")]
        assert (door.got, door.ended) == ([10], ["CANCELLED"])

"""What uploads deliver, and their one answer (docs/protocol.md section 11)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from liverpc import Context, LiveError, UploadContext, live
from tests.uploads.upload_kit import serving, turns


@live.upload()
async def first(ctx: UploadContext[Any], chunks: int = 1) -> Any:
    """Read some, and return."""
    read: list[str] = []
    while len(read) < chunks:
        read.append((await anext(ctx.upload)).decode())
    return read


@pytest.mark.parametrize("chunks", [1, 2, 3, 100])
async def test_the_function_gets_all_bytes_in_their_order(chunks: int) -> None:  # acceptance 183
    async with serving() as world:
        sender = world.connect()
        sender.begin(1, data=b"0", last=chunks == 1)
        for number in range(1, chunks):
            sender.more(1, number, b"%d" % number, last=number == chunks - 1)
            if number % 3 == 0:
                await turns()
        await turns()
        assert sender.outcomes == [(1, [str(number) for number in range(chunks)])]


async def test_nothing_at_all_can_be_uploaded() -> None:  # acceptance 183
    async with serving() as world:
        sender = world.connect()
        sender.begin(1, last=True)
        await turns()
        assert sender.outcomes == [(1, [])]


async def test_chunks_without_data_are_no_chunks_to_the_function() -> None:
    async with serving() as world:
        sender = world.connect()
        sender.begin(1)
        sender.more(1, 1, b"a")
        sender.more(1, 2)
        await turns()
        sender.more(1, 3, b"b")
        sender.more(1, 4)
        sender.more(1, 5, last=True)
        await turns()
        assert sender.outcomes == [(1, ["a", "b"])]


async def test_the_function_runs_while_the_bytes_arrive() -> None:
    seen: list[Any] = []

    @live.upload()
    async def watch(ctx: UploadContext[Any], name: str, *, times: int = 2) -> None:
        seen.append((ctx.upload.id, ctx.upload.size, name, times))
        async for chunk in ctx.upload:
            assert type(chunk) is bytes
            seen.append((chunk, ctx.upload.received, ctx.upload.cancelled))

    async with serving(watch=watch) as world:
        sender = world.connect()
        sender.begin(0xBEEF, "m/watch", "ann", size=4, data=b"ab")
        await turns()
        assert seen == [("0000beef", 4, "ann", 2), (b"ab", 2, False)]
        assert world.states == ["receiving"]
        sender.more(0xBEEF, 1, b"cd", last=True)
        await turns()
        assert seen[2:] == [(b"cd", 4, False)]
        assert sender.outcomes == [(0xBEEF, None)]


async def test_an_announced_size_is_not_held_against_what_comes() -> None:
    async with serving() as world:
        sender = world.connect()
        sender.begin(1, size=100, data=b"a", last=True)
        sender.begin(2, size=0, data=b"b", last=True)
        await turns()
        assert sender.outcomes == [(1, ["a"]), (2, ["b"])]


async def test_uploads_and_calls_mix() -> None:
    async with serving() as world:
        sender = world.connect()
        sender.begin(1, data=b"a")
        sender.begin(2, data=b"x")
        sender.say(rpc="m/echo", id="1", args=[1])
        sender.more(2, 1, b"y", last=True)
        sender.more(1, 1, b"b", last=True)
        await turns()
        assert sorted(sender.outcomes) == [(1, ["a", "b"]), (2, ["x", "y"])]
        assert sender.replies == [("1", 1)]


async def test_one_answer_of_a_connection_tells_the_largest_message() -> None:
    async with serving(limits={"message_bytes": 70_000}) as world:
        for _ in range(2):
            sender = world.connect()
            sender.begin(1, "m/none")
            sender.begin(2, last=True)
            await turns()
            sender.begin(2, last=True)
            await turns()
            caps = [answer.get("__cap") for _, answer in sender.answers]
            assert caps == [70_000, None, None]


async def test_it_is_told_with_the_answer_to_who_gave_up_too() -> None:
    async with serving() as world:
        sender = world.connect(paces=True)
        sender.begin(1)
        sender.give_up(1)
        await turns()
        assert [answer["__cap"] for _, answer in sender.answers] == [1 << 20]


async def test_answers_have_no_id_inside() -> None:
    async with serving(first=first) as world:
        sender = world.connect()
        sender.begin(1, last=True)
        sender.begin(2, "m/first", "x")
        await turns()
        assert [answer.keys() - {"__cap"} for _, answer in sender.answers] == [
            {"ok", "data"},
            {"ok", "code", "error", "issues"},
        ]


# -- before the last chunk


async def test_a_function_may_return_before_the_end() -> None:  # acceptance 191
    async with serving(first=first) as world:
        sender = world.connect()
        sender.begin(1, "m/first", data=b"a")
        await turns()
        assert sender.outcomes == [(1, ["a"])]
        ignored = world.count("frames_ignored")
        sender.more(1, 1, b"late")
        sender.more(1, 7, b"late and out of turn")
        sender.more(1, 2, last=True)
        sender.give_up(1)
        await turns()
        assert sender.outcomes == [(1, ["a"])]
        assert (world.count("frames_ignored"), sender.closed_with) == (ignored, None)
        world.is_idle()


async def test_what_it_has_not_taken_is_gone_then() -> None:
    async with serving(first=first) as world:
        sender = world.connect()
        sender.begin(1, "m/first", data=b"a")
        sender.more(1, 1, b"x" * 1000)
        await turns()
        assert sender.outcomes == [(1, ["a"])]
        world.is_idle()


async def test_the_number_of_an_answered_upload_may_be_used_again() -> None:
    async with serving(first=first) as world:
        sender = world.connect()
        for name in ("a", "b", "c"):
            sender.begin(1, "m/first", data=name.encode())
            await turns()
        assert sender.outcomes == [(1, ["a"]), (1, ["b"]), (1, ["c"])]


FAILURES = {
    "live": (LiveError("TAKEN", "by somebody"), "TAKEN"),
    "error": (ValueError("secret"), "INTERNAL_ERROR"),
    "stop": (StopIteration("secret"), "INTERNAL_ERROR"),
    "stop async": (StopAsyncIteration("secret"), "INTERNAL_ERROR"),
    "timeout": (TimeoutError("secret"), "INTERNAL_ERROR"),
    "cancelled": (asyncio.CancelledError("secret"), "INTERNAL_ERROR"),
    "generator": (GeneratorExit("secret"), "INTERNAL_ERROR"),
    "base": (BaseException("secret"), "INTERNAL_ERROR"),
    "group": (ExceptionGroup("secret", [ValueError()]), "INTERNAL_ERROR"),
    "unspeakable": (LiveError("TAKEN", "\ud800"), "INTERNAL_ERROR"),
}


@pytest.mark.parametrize("when", ["at once", "after a chunk", "behind the last"])
@pytest.mark.parametrize("how", FAILURES)
async def test_a_function_that_fails_answers_as_calls_do(how: str, when: str) -> None:  # acceptance 191
    error, code = FAILURES[how]

    @live.upload()
    async def fail(ctx: UploadContext[Any]) -> None:
        if when != "at once":
            async for _ in ctx.upload:
                if when == "after a chunk":
                    break
        raise error

    async with serving(fail=fail) as world:
        sender = world.connect()
        sender.begin(1, "m/fail", data=b"a")
        await turns()
        sender.more(1, 1, b"b", last=True)
        await turns()
        assert sender.outcomes == [(1, code)]
        assert "secret" not in str(sender.log)
        world.is_idle()


@pytest.mark.parametrize(
    ("result", "code"),
    [(object(), "INTERNAL_ERROR"), ("\ud800", "INTERNAL_ERROR"), ("x" * (1 << 20), "PAYLOAD_TOO_LARGE")],
    ids=["no json", "half a character", "too large"],
)
async def test_results_that_cannot_be_sent_are_failures(result: Any, code: str) -> None:
    @live.upload()
    async def strange(ctx: UploadContext[Any]) -> Any:
        return result

    async with serving(strange=strange) as world:
        sender = world.connect()
        sender.begin(1, "m/strange", data=b"a")
        await turns()
        assert sender.outcomes == [(1, code)]
        world.is_idle()


@pytest.mark.parametrize("size", [-1, 0, 1])
async def test_results_have_the_room_of_those_of_calls(size: int) -> None:
    @live.upload()
    async def much(ctx: UploadContext[Any], length: int) -> str:
        return "x" * length

    @live
    def much_called(ctx: Context[Any], length: int) -> str:
        return "x" * length

    async with serving(much=much, much_called=much_called, limits={"reply_bytes": 2000}) as world:
        sender = world.connect()
        room = 2000 - 1024 - 2
        sender.begin(1, "m/much", room + size)
        sender.say(rpc="m/much_called", id="1", args=[room + size])
        await turns()
        [(_, uploaded)] = sender.outcomes
        [(_, called)] = sender.replies
        assert uploaded == called
        assert (uploaded == "PAYLOAD_TOO_LARGE") is (size > 0)


async def test_only_one_task_reads_an_upload() -> None:
    @live.upload()
    async def twice(ctx: UploadContext[Any]) -> Any:
        one = asyncio.create_task(anext(ctx.upload))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="two tasks"):
            await anext(ctx.upload)
        return (await one).decode()

    async with serving(twice=twice) as world:
        sender = world.connect()
        sender.begin(1, "m/twice")
        await turns()
        sender.more(1, 1, b"a")
        await turns()
        assert sender.outcomes == [(1, "a")]


async def test_behind_the_end_there_is_nothing_however_often_one_asks() -> None:
    @live.upload()
    async def again(ctx: UploadContext[Any]) -> Any:
        return [[len(chunk) async for chunk in ctx.upload] for _ in range(3)]

    async with serving(again=again) as world:
        sender = world.connect()
        sender.begin(1, "m/again", data=b"abc", last=True)
        await turns()
        assert sender.outcomes == [(1, [[3], [], []])]


async def test_a_reader_that_gave_up_waiting_loses_nothing() -> None:
    @live.upload()
    async def impatient(ctx: UploadContext[Any]) -> Any:
        read = []
        while True:
            try:
                read.append((await asyncio.wait_for(anext(ctx.upload), 1)).decode())
            except TimeoutError:
                read.append("-")
            except StopAsyncIteration:
                return read

    async with serving(impatient=impatient) as world:
        sender = world.connect()
        sender.begin(1, "m/impatient", data=b"a")
        await asyncio.sleep(1.5)
        sender.more(1, 1, b"b")
        await asyncio.sleep(1.2)
        sender.more(1, 2, b"c", last=True)
        await asyncio.sleep(0.1)
        assert sender.outcomes == [(1, ["a", "-", "b", "-", "c"])]


async def test_a_fast_client_leaves_others_their_turn() -> None:
    """A function that finds everything there already does not keep the loop."""
    order: list[str] = []

    @live.upload()
    async def greedy(ctx: UploadContext[Any]) -> None:
        async for _ in ctx.upload:
            order.append("chunk")  # noqa: PERF401 - one by one, as they come

    @live
    async def patient(ctx: Context[Any]) -> None:
        await asyncio.sleep(0)
        order.append("call")

    async with serving(greedy=greedy, patient=patient, limits={"upload_buffer_bytes": 64 << 20}) as world:
        sender = world.connect()
        sender.begin(1, "m/greedy")
        for number in range(1, 41):
            sender.more(1, number, bytes(65_536), last=number == 40)
        sender.say(rpc="m/patient", id="1")
        await turns(30)
        assert order.count("chunk") == 40
        assert order.index("call") < 30


@pytest.mark.parametrize("step", ["guard", "before", "access", "validation"])
async def test_refused_callers_bytes_reach_no_function(step: str) -> None:  # acceptance 190
    ran: list[str] = []

    def refuse(name: str, verdict: Any) -> Any:
        async def check(ctx: Context[Any], *rest: Any) -> Any:
            ran.append(name)
            await asyncio.sleep(1)
            if step == name:
                raise LiveError("NO", "refused")
            return verdict

        return check

    @live.scoped(refuse("access", True))
    @live.upload()
    async def deliver(ctx: UploadContext[Any], count: int) -> int:
        ran.append("handler")
        return count

    async with serving(deliver=deliver, guard=refuse("guard", None), before_execute=refuse("before", None)) as world:
        sender = world.connect()
        sender.begin(1, "m/deliver", "one" if step == "validation" else 1, data=b"x" * 1000)
        assert world.states == ["waiting"]
        await asyncio.sleep(0.5)
        sender.more(1, 1, b"y" * 1000)
        await asyncio.sleep(5)
        sender.more(1, 2, b"z" * 1000, last=True)
        order = ["guard", "before", "access"]
        expected = {
            "guard": order[:1],
            "before": order[:2],
            "access": order,
            "validation": order[:2],
        }
        assert ran == expected[step]
        assert sender.outcomes == [(1, "VALIDATION" if step == "validation" else "NO")]
        world.is_idle()


async def test_all_steps_run_in_the_order_of_calls() -> None:
    ran: list[str] = []

    async def middleware(ctx: Context[Any], following: Any) -> Any:
        ran.append(f"in {ctx.path}")
        result = await following()
        ran.append(f"out {result}")
        return result

    def guard(ctx: Context[Any]) -> None:
        ran.append("guard")

    def before(ctx: Context[Any], path: str, args: list[Any]) -> None:
        ran.append(f"before {path} {args}")

    def access(ctx: Context[Any], count: int) -> bool:
        ran.append("access")
        return True

    @live.scoped(access)
    @live.upload()
    async def deliver(ctx: UploadContext[Any], count: int) -> int:
        ran.append("handler")
        return count + len(b"".join([chunk async for chunk in ctx.upload]))

    async with serving(deliver=deliver, guard=guard, middlewares=[middleware], before_execute=before) as world:
        sender = world.connect()
        sender.begin(1, "m/deliver", 1, data=b"ab", last=True)
        await turns()
        assert ran == ["in m/deliver", "guard", "before m/deliver [1]", "access", "handler", "out 3"]
        assert sender.outcomes == [(1, 3)]


async def test_a_middleware_may_answer_and_change_the_answer() -> None:
    async def middleware(ctx: Context[Any], following: Any) -> Any:
        assert isinstance(ctx, UploadContext)
        if ctx.upload.id == "00000001":
            return "mine"
        return [await following()]

    async with serving(middlewares=[middleware]) as world:
        sender = world.connect()
        sender.begin(1, data=b"a")
        sender.begin(2, data=b"a", last=True)
        await turns()
        assert sender.outcomes == [(1, "mine"), (2, [["a"]])]
        world.is_idle()

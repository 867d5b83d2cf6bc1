"""Uploads that end early, and what their functions make of it (docs/protocol.md section 11)."""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, LiveError, LiveServer, UploadContext, live, public
from liverpc.client.socket import SocketClosed
from liverpc.transports.memory import MemoryTransport
from liverpc.wire.binary import upload_chunk, upload_header
from tests.uploads.upload_kit import Sender, serving, turns

GRACE = 5


class Watch:
    """Functions that remember how their uploads ended."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def functions(self) -> dict[str, Any]:
        seen = self.seen

        @live.upload(max_size=1000)
        async def read(ctx: UploadContext[Any]) -> None:
            try:
                async for chunk in ctx.upload:
                    seen.append(chunk.decode())
            except LiveError as error:
                seen.append(error.code)
                assert ctx.upload.cancelled
                raise

        @live.upload(max_size=1000)
        async def swallow(ctx: UploadContext[Any], then: str = "return") -> Any:
            try:
                async for chunk in ctx.upload:
                    seen.append(chunk.decode())
            except LiveError as error:
                seen.append(error.code)
            match then:
                case "return":
                    return {"never": "sent"}
                case "raise":
                    raise LiveError("ANOTHER", "never sent")
                case "wait":
                    await asyncio.sleep(1)
                    return {"never": "sent"}
                case "read":
                    return [chunk async for chunk in ctx.upload]
                case "strange":
                    return object()

        @live.upload(max_size=1000)
        async def deaf(ctx: UploadContext[Any], seconds: float = 1e6) -> None:
            try:
                await asyncio.sleep(seconds)
                seen.append("slept")
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
            finally:
                await asyncio.sleep(0)  # to clean up
                seen.append("clean")

        return {"read": read, "swallow": swallow, "deaf": deaf}


@pytest.fixture
def watch() -> Watch:
    return Watch()


# -- given up


async def test_giving_up_is_answered_at_once_and_the_function_sees_it(watch: Watch) -> None:  # acceptance 184
    async with serving(**watch.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/read", data=b"a")
        await turns()
        sender.give_up(1)
        assert sender.outcomes == [(1, "CANCELLED")]
        await turns()
        assert watch.seen == ["a", "CANCELLED"]
        sender.give_up(1)
        sender.more(1, 1, b"late", last=True)
        await turns()
        assert sender.outcomes == [(1, "CANCELLED")]
        assert world.count("uploads_aborted") == 1
        world.is_idle()


async def test_what_the_function_had_not_taken_it_does_not_get(watch: Watch) -> None:
    async with serving(**watch.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/read", data=b"a")
        await turns()
        sender.more(1, 1, b"b")
        sender.give_up(1)
        await turns()
        assert watch.seen == ["a", "CANCELLED"]


@pytest.mark.parametrize("stream", [0, 2, 2**32 - 1])
async def test_giving_up_what_does_not_run_does_nothing(stream: int, watch: Watch) -> None:
    async with serving(**watch.functions()) as world:
        sender, other = world.connect(), world.connect()
        sender.begin(1, "m/read", data=b"a")
        other.begin(2, "m/read", data=b"b")
        sender.give_up(stream)
        await turns()
        assert sender.log == other.log == []
        assert world.states == ["receiving"] * 2


async def test_nobody_gives_up_for_others(watch: Watch) -> None:
    async with serving(**watch.functions()) as world:
        sender, other = world.connect(), world.connect()
        sender.begin(1, "m/read", data=b"a")
        other.give_up(1)
        other.more(1, 1, b"x")
        await turns()
        sender.more(1, 1, b"b", last=True)
        await turns()
        assert (sender.outcomes, other.log) == ([(1, None)], [])
        assert watch.seen == ["a", "b"]


async def test_one_that_has_arrived_can_be_given_up(watch: Watch) -> None:
    async with serving(**watch.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/deaf", 2.0, last=True)
        await turns()
        assert world.states == ["complete"]
        sender.give_up(1)
        assert sender.outcomes == [(1, "CANCELLED")]
        await asyncio.sleep(3)
        assert watch.seen == ["slept", "clean"]
        assert sender.outcomes == [(1, "CANCELLED")]
        world.is_idle()


# -- before the function begins


@pytest.mark.parametrize("end", ["given up", "cut", "out of turn", "too large"])
@pytest.mark.parametrize("waits", ["in the guard", "in a middleware", "for its first turn", "for both"])
async def test_a_function_whose_upload_has_ended_never_begins(end: str, waits: str, watch: Watch, caplog: Any) -> None:
    ran: list[str] = []

    async def guard(ctx: Context[Any]) -> None:
        ran.append("guard")
        if waits in ("in the guard", "for both"):
            await asyncio.sleep(1e6)

    async def middleware(ctx: Context[Any], following: Any) -> Any:
        if waits == "in a middleware":
            await asyncio.sleep(1e6)
        return await following()

    middlewares = [middleware] if waits == "in a middleware" else []
    async with serving(guard=guard, middlewares=middlewares, **watch.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/deaf", data=b"a")
        if waits.startswith("in "):
            await turns()
            assert world.states == ["waiting"]
        match end:
            case "given up":
                sender.give_up(1)
            case "cut":
                sender.leave()
            case "out of turn":
                sender.more(1, 2)
            case "too large":
                sender.more(1, 1, bytes(1000))
        await turns(10)
        expected = {"given up": "CANCELLED", "out of turn": "INVALID_REQUEST", "too large": "PAYLOAD_TOO_LARGE"}
        assert sender.outcomes == ([(1, expected[end])] if end != "cut" else [])
        assert watch.seen == []
        world.is_idle()
    assert caplog.text == "", "nothing has failed"


# -- lost


async def test_a_lost_connection_ends_its_uploads(watch: Watch) -> None:  # acceptance 185
    async with serving(**watch.functions()) as world:
        sender, other = world.connect(), world.connect()
        sender.begin(1, "m/read", data=b"a")
        sender.begin(2, "m/read", data=b"b")
        other.begin(1, "m/read", data=b"c")
        await turns()
        sender.leave()
        await turns()
        assert watch.seen == ["a", "b", "c", "DISCONNECTED", "DISCONNECTED"]
        assert sender.outcomes == []
        assert len(world.server.uploads.running) == 1
        assert world.count("uploads_aborted") == 2


@pytest.mark.parametrize("after", range(12))
async def test_a_connection_may_be_lost_at_every_turn(after: int, watch: Watch) -> None:  # acceptance 185
    async def wait(ctx: Context[Any], *rest: Any) -> Any:
        await asyncio.sleep(0)
        return True

    async def middleware(ctx: Context[Any], following: Any) -> Any:
        await asyncio.sleep(0)
        try:
            return await following()
        finally:
            await asyncio.sleep(0)

    @live.scoped(wait)
    @live.upload()
    async def work(ctx: UploadContext[Any]) -> int:
        try:
            await asyncio.sleep(0)
            async for _ in ctx.upload:
                await asyncio.sleep(0)
            return 1
        finally:
            await asyncio.sleep(0)
            watch.seen.append("clean")

    async with serving(work=work, guard=wait, before_execute=wait, middlewares=[middleware]) as world:
        sender = world.connect()
        sender.begin(1, "m/work", data=b"a")
        sender.more(1, 1, b"b")
        sender.more(1, 2, b"c", last=True)
        await turns(after)
        sender.leave()
        await turns(20)
        assert sender.outcomes in ([], [(1, 1)])
        world.is_idle()


# -- a chunk that should not be


@pytest.mark.parametrize(
    ("numbers", "code"),
    [([2], 1), ([1, 1], 2), ([1, 3], 2), ([2**32 - 1], 1), ([1, 2, 1], 3)],
)
async def test_a_chunk_out_of_turn_ends_its_upload(numbers: list[int], code: int, watch: Watch) -> None:
    async with serving(**watch.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/read", data=b"0")
        sender.begin(2, "m/read", data=b"x")
        for number in numbers:
            await turns()
            sender.more(1, number, b"%d" % number)
        await turns()
        assert sender.outcomes == [(1, "INVALID_REQUEST")]
        assert [each for each in watch.seen if each != "x"] == [*map(str, range(code)), "INVALID_REQUEST"]
        assert len(world.server.uploads.running) == 1


async def test_nothing_follows_the_last_chunk(watch: Watch) -> None:
    async with serving(**watch.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/deaf", 1.0, last=True)
        sender.more(1, 1, b"x")
        await asyncio.sleep(2)
        assert sender.outcomes == [(1, "INVALID_REQUEST")]
        [(_, answer)] = sender.answers
        assert answer["error"] == "chunk 1 came behind the last one"


async def test_a_number_in_use_is_refused_and_the_running_upload_goes_on(watch: Watch) -> None:
    async with serving(**watch.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/read", data=b"a")
        await turns()
        sender.begin(1, "m/read", data=b"x", last=True)
        sender.begin(1, "m/none", data=b"x")
        sender.more(1, 1, b"b")
        await turns()
        sender.begin(1, "m/read", size=10**9)
        sender.more(1, 2, b"c", last=True)
        await turns()
        assert sender.outcomes == [*[(1, "INVALID_REQUEST")] * 3, (1, None)]
        assert watch.seen == ["a", "b", "c"]
        assert world.count("uploads_started") == 1


async def test_numbers_belong_to_a_connection(watch: Watch) -> None:
    async with serving(**watch.functions()) as world:
        senders = [world.connect() for _ in range(3)]
        for sender in senders:
            sender.begin(1, "m/read", data=b"a", last=True)
        await turns()
        assert [sender.outcomes for sender in senders] == [[(1, None)]] * 3


# -- what the function makes of it


async def give_up(sender: Sender) -> str:
    sender.give_up(1)
    return "CANCELLED"


async def send_out_of_turn(sender: Sender) -> str:
    sender.more(1, 9)
    return "INVALID_REQUEST"


async def send_too_much(sender: Sender) -> str:
    sender.more(1, 1, bytes(1000))
    return "PAYLOAD_TOO_LARGE"


async def vanish(sender: Sender) -> str:
    sender.leave()
    return "DISCONNECTED"


EARLY = [give_up, send_out_of_turn, send_too_much, vanish]


@pytest.mark.parametrize("early", EARLY)
@pytest.mark.parametrize("then", ["return", "raise", "wait", "read", "strange"])
async def test_whatever_it_returns_or_raises_the_answer_is_why_it_ended(early: Any, then: str, watch: Watch) -> None:
    logging.getLogger("liverpc.calls").disabled = True  # of what has no JSON form
    async with serving(**watch.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/swallow", then, data=b"a")
        await turns()
        code = await early(sender)
        await asyncio.sleep(2)
        assert watch.seen == ["a", code]
        assert sender.outcomes == ([] if early is vanish else [(1, code)])
        world.is_idle()
    logging.getLogger("liverpc.calls").disabled = False


@pytest.mark.parametrize("early", EARLY)
@pytest.mark.parametrize(("seconds", "ended"), [(GRACE - 1, "slept"), (GRACE + 1, "cancelled")])
async def test_a_function_that_waits_for_something_else_has_some_time_left(
    early: Any, seconds: float, ended: str, watch: Watch, caplog: Any
) -> None:
    async with serving(**watch.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/deaf", seconds, data=b"a")
        await turns()
        code = await early(sender)
        assert sender.outcomes == ([] if early is vanish else [(1, code)])
        assert world.states == ["ended early"]
        assert world.server.uploads.buffered == 0
        await asyncio.sleep(GRACE - 1.5)
        assert world.states == ["ended early"]
        await asyncio.sleep(2)
        assert watch.seen == [ended, "clean"]
        world.is_idle()
        assert ("did not end with its upload" in caplog.text) is (ended == "cancelled")
        assert len(sender.outcomes) == (early is not vanish)


async def test_the_time_it_has_left_is_a_setting(watch: Watch) -> None:
    async with serving(limits={"upload_grace_seconds": 100.0}, **watch.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/deaf", 99.0)
        await turns()
        sender.give_up(1)
        await asyncio.sleep(99.5)
        assert watch.seen == ["slept", "clean"]


async def test_a_function_that_will_not_end_is_cancelled_once() -> None:
    times = 0

    @live.upload()
    async def stubborn(ctx: UploadContext[Any]) -> None:
        nonlocal times
        for _ in range(3):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                times += 1

    async with serving(stubborn=stubborn) as world:
        sender = world.connect()
        sender.begin(1, "m/stubborn")
        await turns()
        sender.give_up(1)
        await asyncio.sleep(20)
        assert times == 1
        assert len(world.states) == 1
        await asyncio.sleep(20)
        world.is_idle()
        assert sender.outcomes == [(1, "CANCELLED")]


async def test_what_goes_wrong_in_it_afterwards_is_logged_and_not_sent(caplog: Any) -> None:
    @live.upload()
    async def breaks(ctx: UploadContext[Any]) -> None:
        try:
            async for _ in ctx.upload:
                pass
        finally:
            raise ValueError("while it cleaned up")

    async with serving(breaks=breaks) as world:
        sender = world.connect()
        sender.begin(1, "m/breaks")
        await turns()
        sender.give_up(1)
        await turns()
        assert sender.outcomes == [(1, "CANCELLED")]
        assert "while it cleaned up" in caplog.text


async def test_what_goes_wrong_when_it_is_cancelled_is_logged_too(caplog: Any) -> None:
    reported: list[BaseException] = []

    @live.upload()
    async def breaks(ctx: UploadContext[Any]) -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            raise ValueError("while it cleaned up")

    async with serving(on_error=lambda path, error, ctx: reported.append(error), breaks=breaks) as world:
        sender = world.connect()
        sender.begin(1, "m/breaks")
        await turns()
        sender.give_up(1)
        await asyncio.sleep(world.server.limits.upload_grace_seconds + 1)
        assert sender.outcomes == [(1, "CANCELLED")]
        assert [str(error) for error in reported] == ["while it cleaned up"]
        assert "while it cleaned up" in caplog.text


async def test_reading_on_after_the_end_fails_again_and_again() -> None:
    seen: list[str] = []

    @live.upload()
    async def insist(ctx: UploadContext[Any]) -> None:
        for _ in range(3):
            try:
                await anext(ctx.upload)
            except LiveError as error:
                seen.append(error.code)

    async with serving(insist=insist) as world:
        sender = world.connect()
        sender.begin(1, "m/insist")
        await turns()
        sender.give_up(1)
        await turns()
        assert seen == ["CANCELLED"] * 3


async def test_a_reader_that_outlives_its_function_gets_nothing() -> None:
    left: list[Any] = []

    @live.upload()
    async def leaves(ctx: UploadContext[Any]) -> None:
        async def read() -> None:
            try:
                left.append(await anext(ctx.upload))
            except LiveError as error:
                left.append(error.code)

        left.append(asyncio.create_task(read()))

    async with serving(leaves=leaves) as world:
        sender = world.connect()
        sender.begin(1, "m/leaves")
        await turns()
        sender.more(1, 1, b"late")
        await turns()
        task, *rest = left
        assert task.done()
        assert [each for each in rest if isinstance(each, bytes)] == []
        world.is_idle()


async def test_a_function_may_close_the_connection_of_its_upload(watch: Watch) -> None:
    @live.upload()
    async def close(ctx: UploadContext[Any]) -> int:
        ctx.connection.close(4400, "enough")
        return 1

    async with serving(close=close) as world:
        sender = world.connect()
        sender.begin(1, "m/close")
        await turns()
        assert sender.closed_with == 4400
        sender.leave()
        await turns()
        world.is_idle()


async def test_the_end_of_the_server_ends_uploads(watch: Watch, caplog: Any) -> None:
    reported: list[BaseException] = []
    server = LiveServer(
        {"m": SimpleNamespace(**watch.functions(), _guard=public())},
        on_error=lambda path, error, ctx: reported.append(error),
    )
    async with server.lifespan():
        sender = Sender(server)
        sender.begin(1, "m/read", data=b"a")
        sender.begin(2, "m/deaf")
        await turns()
    await turns()
    assert watch.seen == ["a", "cancelled", "clean"]
    assert (server.uploads.running, server.uploads.buffered) == ([], 0)
    assert "INTERNAL_ERROR" not in str(sender.log), "the functions have not failed"
    assert (reported, caplog.text) == ([], "")


@pytest.mark.parametrize(("seconds", "outcome"), [(1, "answered"), (20, "cut")])
async def test_a_server_that_shuts_down_waits_for_uploads_that_have_arrived(seconds: float, outcome: str) -> None:
    """Those that need more of the client end at once (docs/protocol.md section 6)."""
    codes: list[str] = []

    @live.upload()
    async def work(ctx: UploadContext[Any]) -> int:
        try:
            async for _ in ctx.upload:
                pass
        except LiveError as error:
            codes.append(error.code)
        await asyncio.sleep(seconds)
        return 1

    server = LiveServer({"m": SimpleNamespace(work=work, _guard=public())})
    async with server.lifespan():
        transport = MemoryTransport(server)
        whole, part = await transport.connect(), await transport.connect()
        header = upload_header("m/work", [], None)
        await whole.send(upload_chunk(1, 0, b"a", last=True, header=header))
        await part.send(upload_chunk(1, 0, b"a", last=False, header=header))
        await asyncio.sleep(0.1)
        begin = asyncio.get_running_loop().time()
        leaving = asyncio.create_task(transport.drain())
        heard: list[Any] = []
        for socket in (part, whole):
            frames: list[Any] = []
            heard.append(frames)
            with pytest.raises(SocketClosed) as closed:
                while True:
                    frames.append(json.loads(await socket.recv()))
            frames.append(closed.value.code)
        await leaving
        assert asyncio.get_running_loop().time() - begin < 6
        assert [frame for frame in heard[0] if "topic" in str(frame)] == []
        answers = [frame["data"]["data"] for frame in heard[1] if "topic" in str(frame)]
        assert answers == ([1] if outcome == "answered" else [])
        assert heard[0][-1] == heard[1][-1] == 1001
        await asyncio.sleep(30)
        assert codes == ["DISCONNECTED"]
        assert (server.uploads.running, server.uploads.buffered) == ([], 0)

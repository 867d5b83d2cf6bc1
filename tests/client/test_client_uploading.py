"""Uploads and binary calls of the asyncio client, against our own server over memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from liverpc import Context, LiveError, LiveServer, UploadContext, live, public, remote
from liverpc.client import Client, Progress, RpcError, UploadHandle, connect
from liverpc.config import Limits
from liverpc.testing import TestEnv
from liverpc.wire.binary import UploadChunk, decode_upload
from tests.client.client_kit import Pipe, Script, accept, until

BIG = bytes(range(256)) * 4_096  # 1 MiB


class Files(ModuleType):
    """A module of live functions, and what they have seen."""

    def __init__(self) -> None:
        super().__init__(__name__)
        self._guard = public()
        self.seen: list[str] = []
        self.gate = asyncio.Event()
        files = self

        @live
        async def ping(ctx: Context) -> str:
            return "pong"

        @live.stream("news")
        async def news(ctx: Context) -> list[Any]:
            return []

        @live.binary(max_size=1_000)
        async def thumb(ctx: Context, data: bytes, name: str = "") -> list[Any]:
            return [name, len(data)]

        @live.upload(max_size=len(BIG) + 1)
        async def put(ctx: UploadContext, name: str = "") -> list[Any]:
            digest = hashlib.sha256()
            try:
                async for chunk in ctx.upload:
                    digest.update(chunk)
            except LiveError as error:
                files.seen.append(error.code)
                raise
            return [name, ctx.upload.received, ctx.upload.size, digest.hexdigest()]

        @live.upload()
        async def slow(ctx: UploadContext) -> int:
            try:
                await files.gate.wait()
                return sum([len(chunk) async for chunk in ctx.upload])
            except LiveError as error:
                files.seen.append(error.code)
                raise

        @live.upload()
        async def first(ctx: UploadContext) -> int:
            return len(await anext(ctx.upload))

        @live.upload()
        async def fail(ctx: UploadContext) -> None:
            await anext(ctx.upload)
            raise LiveError("NO_SPACE", "the disk is full")

        self.news = news
        self.ping, self.thumb, self.put, self.slow, self.first, self.fail = ping, thumb, put, slow, first, fail


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
async def env(files: Files) -> AsyncIterator[TestEnv]:
    async with TestEnv(LiveServer([files], limits=Limits(upload_grace_seconds=1.0))) as env:
        yield env
        await env.settle()
        assert env.server.uploads.running == []
        assert env.server.uploads.buffered == 0


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def code_of(handle: UploadHandle[Any]) -> str:
    with pytest.raises(RpcError) as caught:
        await handle
    return caught.value.code


# -- binary calls


@pytest.mark.parametrize("data", [b"", b"abc", bytearray(b"abc"), memoryview(b"abc"), bytes(1_000)])
async def test_a_function_gets_bytes_and_other_arguments(env: TestEnv, files: Files, data: bytes) -> None:
    client = env.connect(user=1)  # acceptance 181
    assert await client.binary(files.thumb, data, "x") == ["x", len(data)]
    assert await client.binary(files.thumb, data, name="y") == ["y", len(data)]


async def test_what_cannot_be_sent_is_refused(env: TestEnv, files: Files) -> None:
    client = env.connect(user=1)
    with pytest.raises(RpcError) as caught:
        await client.binary(files.thumb, bytes(1_001))
    assert caught.value.code == "PAYLOAD_TOO_LARGE"  # acceptance 181
    with pytest.raises(RpcError) as caught:
        await client.binary(remote("nobody/knows"), b"")
    assert caught.value.code == "NOT_FOUND"
    for wrong, says in (("text", "encode"), (5, "int"), (None, "None")):
        with pytest.raises(TypeError, match=says):
            await client.binary(files.thumb, wrong)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(TypeError, match=r"is a function: use call\(\)"):
        await client.binary(files.ping, b"")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(TypeError, match=r"is an upload: use upload\(\)"):
        await client.binary(files.put, b"")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(TypeError, match=r"use binary\(\)"):
        client.upload(files.thumb, b"")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match="idempotency key"):
        await client.using(idempotency_key="k").binary(files.thumb, b"")
    with pytest.raises(ValueError, match="idempotency key"):
        client.using(idempotency_key="k").upload(files.put, b"")


async def test_a_message_the_server_would_not_take_leaves_the_connection_alone(files: Files) -> None:
    async with TestEnv(LiveServer([files], limits=Limits(message_bytes=2_000))) as env:  # acceptance 192
        client = await env.connect(user=1).open()
        await client.call(files.ping)
        with pytest.raises(RpcError) as caught:
            await client.binary(files.thumb, bytes(2_000))
        assert caught.value.code == "PAYLOAD_TOO_LARGE"
        assert await client.upload(files.put, BIG[:100_000]) == ["", 100_000, 100_000, digest(BIG[:100_000])]
        assert env.counters.connections_opened == 1


# -- uploads


async def test_the_same_bytes_arrive_and_progress_tells_how_many(env: TestEnv, files: Files) -> None:
    client = env.connect(user=1)  # acceptance 183
    handle = client.upload(files.put, BIG, name="x")
    progress: list[Progress] = []
    results: list[Any] = []
    handle.on_progress(progress.append)
    handle.on_complete(results.append)
    assert await handle == ["x", len(BIG), len(BIG), digest(BIG)]
    assert await handle == results[0]
    assert len(results) == 1
    assert [each.sent for each in progress] == sorted({each.sent for each in progress})
    assert len(progress) == -(-len(BIG) // 65_500)
    last = progress[-1]
    assert (last.sent, last.total, last.percent) == (len(BIG), len(BIG), 100.0)
    assert handle.done
    handle.cancel()
    assert await handle == results[0]


async def test_an_empty_upload_works(env: TestEnv, files: Files) -> None:  # acceptance 183
    client = env.connect(user=1)
    handle = client.upload(files.put, b"")
    assert await handle == ["", 0, 0, digest(b"")]
    assert (handle.progress.percent, handle.progress.bytes_per_second) == (100.0, 0.0)
    assert await client.upload(files.put, []) == ["", 0, None, digest(b"")]


async def test_cancelling_ends_it_here_at_once_and_there_soon(env: TestEnv, files: Files) -> None:  # acceptance 184
    client = await env.connect(user=1).open()
    handle = client.upload(files.put, endless())
    told: list[str] = []
    handle.on_error(lambda error: told.append(f"error {error.code}"))
    handle.on_cancel(lambda error: told.append(f"cancel {error.code}"))
    handle.on_complete(lambda _: told.append("complete"))
    await until(lambda: env.counters.upload_bytes > 100_000)
    handle.cancel()
    assert told == ["cancel CANCELLED", "error CANCELLED"]
    assert handle.done
    handle.cancel()
    assert await code_of(handle) == await code_of(handle) == "CANCELLED"
    await env.settle()
    assert files.seen == ["CANCELLED"]
    assert len(told) == 2
    assert await client.call(files.ping) == "pong"


@pytest.mark.parametrize("source", ["endless", "waiting"])
async def test_closing_right_after_cancelling_does_not_hide_it_from_the_server(  # acceptance 184
    env: TestEnv, files: Files, source: str
) -> None:
    async def waiting() -> AsyncIterator[bytes]:
        yield bytes(100_001)
        await asyncio.sleep(1_000.0)

    client = await env.connect(user=1).open()
    handle = client.upload(files.put, endless() if source == "endless" else waiting())
    await until(lambda: env.counters.upload_bytes > 100_000)
    handle.cancel()
    await client.aclose()
    assert files.seen == ["CANCELLED"]


async def test_cancelled_before_it_begins_it_is_never_heard_of(env: TestEnv, files: Files) -> None:
    client = await env.connect(user=1).open()
    handle = client.upload(files.put, b"x")
    handle.cancel()
    assert await code_of(handle) == "CANCELLED"
    await env.settle()
    assert env.counters.uploads_started == 0


async def test_who_waits_may_be_cancelled_and_the_upload_goes_on(env: TestEnv, files: Files) -> None:
    client = await env.connect(user=1).open()
    handle = client.upload(files.slow, BIG)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await handle
    assert not handle.done
    files.gate.set()
    assert await handle == len(BIG)


@pytest.mark.parametrize("how", ["cut", "close"])
async def test_the_end_of_the_connection_is_the_end_of_the_upload(  # acceptance 185
    env: TestEnv, files: Files, how: str
) -> None:
    client = await env.connect(user=1).open()
    handle = client.upload(files.put, endless())
    await until(lambda: env.counters.upload_bytes > 100_000)
    if how == "cut":
        client.cut()
        assert await code_of(handle) == "DISCONNECTED"
        assert await client.upload(files.put, b"x") == ["", 1, 1, digest(b"x")]
    else:
        await client.aclose()
        assert await code_of(handle) == "CONNECTION_CLOSED"
        assert await code_of(client.upload(files.put, b"x")) == "CONNECTION_CLOSED"
    await asyncio.sleep(2.0)
    assert files.seen == ["DISCONNECTED"]
    assert env.counters.uploads_aborted == 1


async def test_without_a_connection_it_waits_for_one(env: TestEnv, files: Files) -> None:
    client = await env.connect(user=1).open()
    client.cut()
    await until(lambda: client.status == "reconnecting")
    assert (await client.upload(files.put, b"abc"))[1] == 3


async def test_a_timeout_is_for_the_whole_of_it(env: TestEnv, files: Files) -> None:
    client = await env.connect(user=1).open()
    handle = client.using(timeout=5.0).upload(files.slow, BIG)
    assert await code_of(handle) == "TIMEOUT"
    assert asyncio.get_running_loop().time() == pytest.approx(5.0, abs=0.1)
    await env.settle()
    files.gate.set()
    await env.settle()
    assert files.seen == ["CANCELLED"]


async def test_a_slow_handler_delays_nothing_but_its_own_upload(env: TestEnv, files: Files) -> None:
    client = await env.connect(user=1).open()
    slow = client.upload(files.slow, BIG * 8)
    await until(lambda: slow.progress.sent > 500_000)
    assert await client.call(files.ping) == "pong"
    assert (await client.upload(files.put, BIG))[1] == len(BIG)
    sent = slow.progress.sent
    await asyncio.sleep(1.0)
    assert slow.progress.sent == sent < len(BIG) * 8
    assert env.counters.upload_holds == 0
    files.gate.set()
    assert await slow == len(BIG) * 8


@pytest.mark.parametrize(("name", "expected"), [("first", None), ("fail", "NO_SPACE"), ("unknown", "NOT_FOUND")])
async def test_an_early_answer_ends_the_reading_of_the_source(  # acceptance 190, 191
    env: TestEnv, files: Files, name: str, expected: str | None
) -> None:
    client = env.connect(user=1)
    closed: list[bool] = []
    target: Any = getattr(files, name, remote("nobody/knows"))
    handle = client.upload(target, endless(closed))
    if expected is None:
        assert await handle > 0
    else:
        assert await code_of(handle) == expected
    await until(lambda: closed == [True])
    assert await client.call(files.ping) == "pong"


async def test_more_than_the_function_takes_is_refused(env: TestEnv, files: Files) -> None:  # acceptance 188
    client = env.connect(user=1)
    assert (await client.upload(files.put, [BIG, b"1"]))[1] == len(BIG) + 1
    assert await code_of(client.upload(files.put, [BIG, b"12"])) == "PAYLOAD_TOO_LARGE"
    assert await code_of(client.upload(files.put, BIG + b"12")) == "PAYLOAD_TOO_LARGE"


async def test_too_many_at_once_are_refused(env: TestEnv, files: Files) -> None:  # acceptance 188
    client = await env.connect(user=1).open()
    handles = [client.upload(files.slow, b"x") for _ in range(5)]
    assert await code_of(handles[4]) == "TOO_MANY_UPLOADS"
    files.gate.set()
    assert [await handle for handle in handles[:4]] == [1] * 4


async def test_callbacks_that_raise_disturb_nobody(
    env: TestEnv, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    client = env.connect(user=1)

    def fail(_: object) -> None:
        raise RuntimeError("oops")

    told: list[Any] = []
    handle = client.upload(files.put, b"x")
    handle.on_progress(fail)
    handle.on_complete(fail)
    stop = handle.on_complete(lambda _: told.append("not me"))
    handle.on_complete(told.append)
    stop()
    assert await handle == told[0]
    assert len(told) == 1
    assert caplog.text.count("RuntimeError: oops") == 2


async def test_who_asks_after_the_end_hears_of_it_in_the_next_turn(env: TestEnv, files: Files) -> None:
    client = await env.connect(user=1).open()
    told: list[Any] = []

    def ask(handle: UploadHandle[Any]) -> None:
        handle.on_error(lambda error: told.append(f"error {error.code}"))
        handle.on_cancel(lambda error: told.append(f"cancel {error.code}"))
        handle.on_complete(lambda result: told.append(result[1]))
        handle.on_complete(lambda _: told.append("not me"))()
        handle.on_error(lambda _: told.append("not me"))()
        handle.on_progress(lambda _: told.append("not me"))

    stored, failed = client.upload(files.put, b"x"), client.upload(files.fail, b"x")
    cancelled = client.upload(files.put, endless())
    await stored
    assert await code_of(failed) == "NO_SPACE"
    cancelled.cancel()
    for handle, expected in (
        (stored, [1]),
        (failed, ["error NO_SPACE"]),
        (cancelled, ["error CANCELLED", "cancel CANCELLED"]),
    ):
        ask(handle)
        assert told == []
        await asyncio.sleep(0)
        assert told == expected
        told.clear()


async def test_what_a_late_callback_raises_is_logged(
    env: TestEnv, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("oops")

    handle = env.connect(user=1).upload(files.put, b"x")
    await handle
    handle.on_complete(fail)
    await asyncio.sleep(0)
    assert "RuntimeError: oops" in caplog.text


async def test_the_size_of_bytes_is_known_at_once(env: TestEnv, files: Files) -> None:
    client = await env.connect(user=1).open()
    handle = client.upload(files.put, memoryview(bytes(6)).cast("H"))
    assert (handle.progress.sent, handle.progress.total, handle.progress.percent) == (0, 6, 0.0)
    await handle


async def test_the_rate_counts_from_the_first_byte_and_never_jumps(env: TestEnv, files: Files) -> None:
    async def later() -> AsyncIterator[bytes]:
        await asyncio.sleep(100.0)
        for _ in range(10):
            yield bytes(1_000)
            await asyncio.sleep(1.0)

    rates: list[float] = []
    client = await env.connect(user=1).open()
    handle = client.upload(files.put, later())
    handle.on_progress(lambda progress: rates.append(progress.bytes_per_second))
    assert handle.progress.bytes_per_second == 0.0
    await handle
    assert rates[0] == 10_000.0  # as if the first byte was sent 0.1 s ago
    assert rates[1:] == pytest.approx([1_000 * (count + 1) / count for count in range(1, 10)])
    assert handle.progress.bytes_per_second == pytest.approx(1_000.0, rel=0.02)
    await asyncio.sleep(10.0)
    assert handle.progress.bytes_per_second == pytest.approx(1_000.0, rel=0.02)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_small_pieces_are_sent_together(env: TestEnv, files: Files, asynchronous: bool) -> None:
    def lines() -> Iterator[bytes]:
        for number in range(10_000):
            yield b"%d\n" % number

    async def later() -> AsyncIterator[bytes]:
        for line in lines():
            yield line

    client = await env.connect(user=1).open()
    settled = 0
    settle = client._connection.uploads.settle

    def count() -> None:
        nonlocal settled
        settled += 1
        settle()

    client._connection.uploads.settle = count
    progress: list[Progress] = []
    handle = client.upload(files.put, later() if asynchronous else lines())
    handle.on_progress(progress.append)
    assert (await handle)[3] == digest(b"".join(lines()))
    assert len(progress) < 200
    assert settled < 200


async def test_a_slow_piece_is_sent_at_once(env: TestEnv, files: Files) -> None:
    sent: list[int] = []

    async def later() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"abc"
            await asyncio.sleep(1.0)
            sent.append(handle.progress.sent)

    client = await env.connect(user=1).open()
    handle = client.upload(files.put, later())
    await handle
    assert sent == [3, 6, 9]


async def test_a_callback_may_cancel(env: TestEnv, files: Files) -> None:
    client = env.connect(user=1)
    handle = client.upload(files.put, BIG)
    handle.on_progress(lambda _: handle.cancel())
    assert await code_of(handle) == "CANCELLED"
    assert handle.progress.sent < len(BIG)
    assert await client.call(files.ping) == "pong"


async def test_a_result_of_another_shape_is_an_error_of_the_upload(env: TestEnv, files: Files) -> None:
    told: list[str] = []
    handle = env.connect(user=1).upload(remote(files.put.path, returns=int), b"x")
    handle.on_error(lambda error: told.append(error.code))
    assert [await code_of(handle)] == told == ["INVALID_RESULT"]


async def test_arguments_are_those_of_the_moment_of_the_call(env: TestEnv, files: Files) -> None:
    client = env.connect(user=1)
    args = ["a"]
    handle = client.upload(remote(files.put.path), b"", args[0])
    args[0] = "b"
    assert (await handle)[0] == "a"
    with pytest.raises(TypeError, match="no JSON form"):
        client.upload(remote(files.put.path), b"", "\ud800")
    with pytest.raises(TypeError):
        client.upload(remote(files.put.path), b"", object())


async def test_cuts_at_any_moment_leave_nothing(env: TestEnv, files: Files) -> None:
    client = env.connect(user=1)
    codes: set[str] = set()
    for turns in range(60):
        assert await client.call(files.ping) == "pong"
        closed: list[bool] = []
        handles = [client.upload(files.put, source) for source in (BIG[:200_000], endless(closed))]
        for _ in range(turns):
            await asyncio.sleep(0)
        client.cut()
        try:
            await handles[0]
            codes.add("COMPLETE")
        except RpcError as error:
            codes.add(error.code)
        handles[1].cancel()
        await env.settle()
        assert closed or turns < 3
    assert codes == {"COMPLETE", "DISCONNECTED"}  # the former began on the next connection, or was over


async def test_a_network_that_cuts_leaves_nothing(env: TestEnv, files: Files) -> None:
    client = env.connect(user=1)
    await client.subscribe(files.news)
    env.chaos.set(seed="cuts", disconnect_rate=0.5)
    ended: list[str] = []
    for _ in range(20):
        await client.wait_quiescent()
        handles = [client.upload(files.put, endless()) for _ in range(3)]
        await asyncio.sleep(0)
        env.server.publish_nowait("news", "created", {"id": 1})
        await env.settle()
        for handle in handles:
            handle.cancel()
            ended.append(await code_of(handle))
    assert set(ended) == {"CANCELLED", "DISCONNECTED"}
    assert env.chaos.disconnected > 3
    env.chaos.clear()
    assert (await client.upload(files.put, b"abc"))[1] == 3


@pytest.mark.parametrize("opened", [True, False])
async def test_closing_ends_what_was_about_to_begin(env: TestEnv, files: Files, opened: bool) -> None:
    client = env.connect(user=1)
    if opened:
        await client.open()
    handle = client.using(timeout=1_000.0).upload(files.put, b"x")
    await client.aclose()
    assert handle.done
    assert await code_of(handle) == "CONNECTION_CLOSED"


async def test_a_client_closed_before_it_was_opened_uploads_nothing(env: TestEnv, files: Files) -> None:
    client = env.connect(user=1)
    await client.aclose()
    assert await code_of(client.upload(files.put, b"x")) == "CONNECTION_CLOSED"


async def test_an_unopened_client_uploads_nothing(files: Files) -> None:
    client = connect("ws://nowhere/ws", connector=Script())
    with pytest.raises(RuntimeError, match="not open"):
        client.upload(files.put, b"")
    with pytest.raises(RuntimeError, match="not open"):
        await client.binary(files.thumb, b"")


# -- a server that does not say what it takes


class Bytes(Pipe):
    """A pipe that keeps messages as they are."""

    async def send(self, message: str | bytes) -> None:
        self.sent.append(message)
        self.arrived.set()


async def test_without_limits_the_first_answer_tells_the_size_of_messages() -> None:  # acceptance 192
    pipe = Bytes()
    client: Client = connect("ws://scripted/ws", connector=Script(accept(pipe)))
    async with client:
        for number, cap in ((1, 12_288), (2, 40_000)):
            pipe.sent.clear()
            handle = client.upload(remote("m/up"), bytes(100_000))
            await asyncio.sleep(1.5)
            messages = [each for each in pipe.sent if isinstance(each, bytes)]
            assert max(len(each) for each in messages) == cap
            decoded = [each for each in map(decode_upload, messages) if isinstance(each, UploadChunk)]
            assert sum(len(each.data) for each in decoded) == 100_000
            pipe.say(topic="__upload", event=f"{number:08x}", data={"ok": True, "data": 1, "__cap": 40_000})
            assert await handle == 1


def endless(closed: list[bool] | None = None) -> Iterator[bytes]:
    try:
        while True:
            yield bytes(10_000)
    finally:
        if closed is not None:
            closed.append(True)


async def test_a_file_is_read_as_it_is_sent(env: TestEnv, files: Files, tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(BIG)
    assert await env.connect(user=1).upload(files.put, path) == ["", len(BIG), len(BIG), digest(BIG)]

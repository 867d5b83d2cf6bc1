"""Where uploads take their bytes from, and what becomes of the source."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from liverpc import LiveError, LiveServer, UploadContext, live, public, remote
from liverpc.client import RpcError, UploadHandle
from liverpc.testing import TestClient, TestEnv
from tests.client.client_kit import until

Store = list[tuple[str, bytes]]


@pytest.fixture
def store() -> Store:
    return []


@pytest.fixture
async def client(store: Store) -> AsyncIterator[TestClient]:
    module = ModuleType(__name__)

    @live.upload(path="files/put")
    async def put(ctx: UploadContext) -> int:
        data = b""
        try:
            async for chunk in ctx.upload:
                data += chunk
        except LiveError as error:
            store.append((error.code, data))
            raise
        store.append(("complete", data))
        return len(data)

    module._guard = public()  # type: ignore[attr-defined]  # a module made here
    module.put = put  # type: ignore[attr-defined]  # likewise
    async with TestEnv(LiveServer([module])) as env:
        yield await env.connect(user=1).open()
        await env.settle()


def put(client: TestClient, source: Any, *, in_thread: bool = False) -> UploadHandle[int]:
    return client._upload(remote("files/put", returns=int), source, (), {}, in_thread)


async def failure(handle: UploadHandle[int]) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await handle
    return caught.value


class AsyncBytes:
    """An asynchronous file."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    async def read(self, size: int) -> bytes:
        await asyncio.sleep(0.1)
        return self._file.read(size)


class Unseekable(io.RawIOBase):
    """A file that only reads."""

    def __init__(self, *blocks: Any) -> None:
        self.blocks = list(blocks)

    def read(self, size: int = -1) -> Any:
        return self.blocks.pop(0) if self.blocks else b""


@pytest.mark.parametrize(
    ("source", "size"),
    [
        (lambda: b"hello", 5),
        (lambda: bytearray(b"hello"), 5),
        (lambda: memoryview(b"hello"), 5),
        (lambda: memoryview(b"hellohello").cast("H"), 10),
        (lambda: io.BytesIO(b"hello"), 5),
        (lambda: Unseekable(b"he", b"llo"), None),
        (lambda: AsyncBytes(b"hello"), None),
        (lambda: [b"he", bytearray(b"l"), memoryview(b"lo"), b""], None),
        (lambda: iter([b"hello"]), None),
        (lambda: (part for part in (b"he", b"llo")), None),
    ],
)
async def test_everything_that_gives_bytes_can_be_uploaded(  # acceptance 183
    client: TestClient, store: Store, source: Any, size: int | None
) -> None:
    for in_thread in (False, True):
        handle = put(client, source(), in_thread=in_thread)
        assert await handle in (5, 10)
        assert handle.progress.total == size
    assert all(data.startswith(b"hello") for _, data in store)


async def test_a_file_is_uploaded_from_where_it_stands_and_stays_open(client: TestClient, store: Store) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"hello")
        file.seek(2)
        handle = put(client, file)
        assert await handle == 3
        assert handle.progress.total == 3
        assert not file.closed
    assert store == [("complete", b"llo")]


async def test_a_path_is_opened_and_closed(client: TestClient, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 << 20))
    handle = put(client, path)
    assert await handle == 3 << 20
    assert handle.progress.total == 3 << 20
    await gone(str(path))


async def test_a_path_is_closed_when_the_upload_ends_early(client: TestClient, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(30 << 20))
    handle = put(client, path)
    await until_time(lambda: handle.progress.sent > 0)
    handle.cancel()
    await gone(str(path))


async def gone(path: str) -> None:
    """Until this process has the file open no more."""

    def is_open(name: str) -> bool:
        try:
            return os.readlink(f"/proc/self/fd/{name}") == path
        except OSError:
            return False

    await until_time(lambda: not any(is_open(name) for name in os.listdir("/proc/self/fd")))


async def until_time(condition: Any) -> None:
    for _ in range(1_000):
        if condition():
            return
        await asyncio.to_thread(threading.Event().wait, 0.002)  # real time, for a thread
    raise AssertionError("it does not happen")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("text", r"Path\(...\).*\.encode\(\)"),
        (io.StringIO("text"), "binary mode"),
        (5, "not a int"),
        (None, "not a NoneType"),
    ],
)
async def test_what_gives_no_bytes_is_refused(client: TestClient, source: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        put(client, source)


@pytest.mark.parametrize(
    "source",
    [
        lambda: Unseekable(b"abc", "text"),
        lambda: Unseekable(b"abc", None),
        lambda: [b"abc", "text"],
        lambda: iter([b"abc", 5]),
        lambda: Path("/nowhere/at/all"),
        lambda: Path("/"),
    ],
)
async def test_a_source_that_fails_or_gives_something_else_ends_the_upload(
    client: TestClient, store: Store, source: Any
) -> None:
    error = await failure(put(client, source()))
    assert error.code == "SOURCE_ERROR"
    assert isinstance(error.__cause__, TypeError | OSError)
    await until(lambda: not store or store[-1][0] == "CANCELLED")
    assert all(code == "CANCELLED" for code, _ in store)


async def test_what_the_source_raises_is_the_cause(client: TestClient, store: Store) -> None:
    reason = ValueError("the disk is gone")

    async def source() -> AsyncIterator[bytes]:
        yield b"abc"
        await asyncio.sleep(1.0)
        raise reason

    handle = put(client, source())
    told: list[str] = []
    handle.on_error(lambda error: told.append(error.code))
    handle.on_cancel(lambda error: told.append("cancelled"))
    error = await failure(handle)
    assert error.__cause__ is reason
    assert "the disk is gone" in str(error)
    assert told == ["SOURCE_ERROR"]
    await until(lambda: store)
    assert store == [("CANCELLED", b"abc")]


async def test_a_device_has_no_size(client: TestClient) -> None:
    for source in (Path("/dev/zero"), Path("/dev/null")):
        handle = put(client, source)
        handle.on_progress(lambda _, handle=handle: handle.cancel())  # type: ignore[misc]  # mypy: lambdas with defaults
        with suppress(RpcError):
            await handle
        assert handle.progress.total is handle.progress.percent is None


async def test_a_source_that_is_cancelled_by_itself_fails(client: TestClient, store: Store) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"abc"
        raise asyncio.CancelledError

    error = await failure(put(client, source()))
    assert error.code == "SOURCE_ERROR"
    assert isinstance(error.__cause__, asyncio.CancelledError)
    await until(lambda: not store or store == [("CANCELLED", b"abc")])


async def test_pieces_that_take_long_leave_turns_to_others(client: TestClient, monkeypatch: Any) -> None:
    taken = 0
    loop = asyncio.get_running_loop()
    passed = 0.0
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + passed)

    def slow() -> Iterator[bytes]:
        nonlocal taken, passed
        while True:
            taken += 1
            passed += 0.002
            yield b"x"

    handle = put(client, slow())
    await until(lambda: taken)
    before = taken
    await asyncio.sleep(0)
    handle.cancel()
    assert taken - before <= 5


@pytest.mark.parametrize("waits", ["for the socket", "for its data"])
async def test_a_generator_is_closed_when_the_upload_ends_early(client: TestClient, waits: str) -> None:
    closed: list[str] = []

    async def later() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
                if waits == "for its data":
                    await asyncio.sleep(1_000.0)
        finally:
            await asyncio.sleep(0)
            closed.append("later")

    def now() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
        finally:
            closed.append("now")

    sources = [later()] if waits == "for its data" else [later(), now()]
    handles = [put(client, source) for source in sources]
    await until(lambda: all(handle.progress.sent > 0 for handle in handles))
    for handle in handles:
        handle.cancel()
    await until(lambda: len(closed) == len(handles))


async def test_a_handle_does_not_keep_what_was_sent(client: TestClient) -> None:
    class Big(bytearray):
        """Bytes that a weak reference can point to."""

    source = Big(100_000)
    known = weakref.ref(source)
    handle = put(client, source)
    assert await handle == 100_000
    del source
    await asyncio.sleep(0)
    assert known() is None


async def test_a_source_that_cannot_even_be_asked_fails_as_one(client: TestClient) -> None:
    class Refusing:
        def __aiter__(self) -> AsyncIterator[bytes]:
            raise RpcError("FORBIDDEN", "not for you")

    assert (await failure(put(client, Refusing()))).code == "SOURCE_ERROR"


async def test_a_source_may_close_its_client(client: TestClient) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"abc"
        await client.aclose()
        yield b"def"

    assert (await failure(put(client, source()))).code == "CONNECTION_CLOSED"


async def test_closing_the_client_waits_until_sources_are_closed(client: TestClient) -> None:
    closed: list[bool] = []

    async def source() -> AsyncIterator[bytes]:
        try:
            yield b"abc"
            await asyncio.sleep(1_000.0)
        finally:
            await asyncio.sleep(1.0)
            closed.append(True)

    handle = put(client, source())
    await until(lambda: handle.progress.sent)
    await client.aclose()
    assert closed == [True]


async def test_a_read_that_blocks_for_ever_blocks_nobody(client: TestClient) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as file:
        handle = put(client, file)
        os.write(writer, b"abc")
        await until_time(lambda: handle.progress.sent == 3)
        handle.cancel()
        assert (await failure(handle)).code == "CANCELLED"
        await client.aclose()
        os.close(writer)  # lets the thread go
        await until_time(lambda: not any("liverpc upload" in thread.name for thread in threading.enumerate()))


@pytest.mark.parametrize("block", [b"", b"x"])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_iterator_that_never_waits_leaves_turns_to_others(
    client: TestClient, block: bytes, asynchronous: bool
) -> None:
    taken = 0

    def now() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield block

    async def also_now() -> AsyncIterator[bytes]:
        for each in now():
            yield each

    handle = put(client, also_now() if asynchronous else now())
    await until(lambda: taken)
    for _ in range(10):
        await asyncio.sleep(0)
    handle.cancel()
    assert taken < 8_000


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_source_that_fails_when_it_is_closed_is_in_the_log(
    client: TestClient, store: Store, caplog: pytest.LogCaptureFixture, in_thread: bool
) -> None:
    def source() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(1_000)
        finally:
            raise ValueError("the tape is stuck")

    handle = put(client, source(), in_thread=in_thread)
    await until_time(lambda: handle.progress.sent > 0)
    handle.cancel()
    assert (await failure(handle)).code == "CANCELLED"
    await until_time(lambda: "the tape is stuck" in caplog.text)


async def test_a_read_that_raises_what_no_future_holds_ends_the_upload(client: TestClient) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise StopIteration

    error = await failure(put(client, Broken()))
    assert error.code == "SOURCE_ERROR"
    assert "StopIteration" in str(error)


def test_a_read_that_blocks_for_ever_keeps_no_program_from_ending() -> None:
    program = """
import asyncio, os, threading
from liverpc.client.sources import open_source

async def main():
    reader, _ = os.pipe()
    async with open_source(os.fdopen(reader, "rb", buffering=0)) as (_, blocks):
        try:
            async with asyncio.timeout(0.05):
                await anext(blocks)
        except TimeoutError:
            assert threading.active_count() == 2

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-X", "dev", "-W", "error", "-c", program], check=True, timeout=20)

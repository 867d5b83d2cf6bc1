"""Uploads and binary calls of the blocking client, against our own server over sockets."""

from __future__ import annotations

import asyncio
import io
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from liverpc import Context, LiveServer, UploadContext, live, public, remote
from liverpc.client import Progress, RpcError, sync
from liverpc.config import Limits
from tests.e2e.doors import alone

pytestmark = pytest.mark.realtime

PUT: Any = remote("files/put", returns=int)
HOLD: Any = remote("files/hold")
THUMB: Any = remote("files/thumb")


def module() -> ModuleType:
    files = ModuleType(__name__)

    @live.upload(path="files/put")
    async def put(ctx: UploadContext) -> int:
        return sum([len(chunk) async for chunk in ctx.upload])

    @live.upload(path="files/hold")
    async def hold(ctx: UploadContext) -> None:
        await asyncio.sleep(1_000.0)

    @live.binary(path="files/thumb")
    async def thumb(ctx: Context, data: bytes, name: str) -> list[Any]:
        return [name, len(data)]

    vars(files).update(put=put, hold=hold, thumb=thumb, _guard=public())
    return files


@pytest.fixture
def client() -> Iterator[sync.Client]:
    urls: queue.Queue[str] = queue.Queue()
    loop = asyncio.new_event_loop()
    leave = asyncio.Event()

    async def main() -> None:
        async with alone(LiveServer([module()], limits=Limits(upload_grace_seconds=0.1))) as at:
            urls.put(at.url)
            await leave.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    try:
        with sync.connect(urls.get(timeout=5.0)) as client:
            yield client
    finally:
        loop.call_soon_threadsafe(leave.set)
        thread.join()
        loop.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.002)


def test_a_function_gets_bytes(client: sync.Client) -> None:  # acceptance 181
    assert client.binary(THUMB, bytes(100_000), "x") == ["x", 100_000]
    with pytest.raises(RpcError) as caught:
        client.binary(THUMB, bytes(2 << 20), "x")
    assert caught.value.code == "PAYLOAD_TOO_LARGE"
    assert client.counters.uploads_refused == 0


def test_bytes_files_and_iterators_that_block_are_uploaded(client: sync.Client, tmp_path: Path) -> None:
    data = bytes(3 << 20)  # acceptance 183
    path = tmp_path / "file"
    path.write_bytes(data)

    def blocking() -> Iterator[bytes]:
        for start in range(0, len(data), 1 << 20):
            time.sleep(0.01)
            yield data[start : start + (1 << 20)]

    for source, total in ((data, 3 << 20), (path, 3 << 20), (io.BytesIO(data), 3 << 20), (blocking(), None)):
        handle = client.upload(PUT, source)
        assert handle.result(timeout=20.0) == handle.result() == 3 << 20
        assert (handle.progress.sent, handle.progress.total, handle.done) == (3 << 20, total, True)


def test_callbacks_tell_what_happens(client: sync.Client) -> None:
    go = threading.Event()

    def source() -> Iterator[bytes]:
        go.wait(5.0)
        yield bytes(100_000)

    told: list[Any] = []
    progress: list[Progress] = []
    handle = client.upload(PUT, source())
    handle.on_progress(progress.append)
    handle.on_complete(told.append)
    handle.on_complete(lambda _: told.append("not me"))()
    go.set()
    assert handle.result() == 100_000
    assert told == [100_000]
    assert progress[-1].sent == 100_000


def test_cancelling_ends_it_at_once(client: sync.Client) -> None:  # acceptance 184
    told: list[str] = []
    handle = client.upload(HOLD, bytes(8 << 20))
    handle.on_error(lambda error: told.append(f"error {error.code}"))
    handle.on_cancel(lambda error: told.append(f"cancel {error.code}"))
    until(lambda: handle.progress.sent > 0)
    handle.cancel()
    handle.cancel()
    assert handle.done
    assert told == ["cancel CANCELLED", "error CANCELLED"]
    with pytest.raises(RpcError) as caught:
        handle.result()
    assert caught.value.code == "CANCELLED"


def test_who_asks_after_the_end_hears_of_it_on_the_thread_of_callbacks(client: sync.Client) -> None:
    told: list[Any] = []
    stored, failed = client.upload(PUT, b"abc"), client.upload(remote("files/nothing"), b"abc")
    until(lambda: stored.done and failed.done)
    stored.on_complete(lambda result: told.append((result, threading.current_thread().name)))
    failed.on_error(lambda error: told.append((error.code, threading.current_thread().name)))
    until(lambda: len(told) == 2)
    assert told == [(3, "liverpc client"), ("NOT_FOUND", "liverpc client")]
    client.close()
    stored.on_complete(lambda result: told.append(result))
    failed.on_error(lambda error: told.append(error.code))
    assert told[2:] == [3, "NOT_FOUND"]


def test_a_handle_shows_how_far_it_is(client: sync.Client) -> None:
    handle = client.upload(PUT, b"abc")
    handle.result()
    assert repr(handle) == "<UploadHandle files/put, 3 bytes sent, done>"


def test_a_wait_that_is_over_leaves_the_upload_as_it_is(client: sync.Client) -> None:
    handle = client.upload(HOLD, b"x")
    with pytest.raises(TimeoutError):
        handle.result(timeout=0.01)

    def interrupt() -> None:
        until(lambda: handle.progress.sent)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt):
        thread.start()  # here already: the signal may come before the wait
        handle.result()
    thread.join()
    assert not handle.done
    assert client.upload(PUT, b"abc").result() == 3


def test_closing_the_client_ends_uploads(client: sync.Client) -> None:
    handle = client.upload(HOLD, bytes(8 << 20))
    client.close()
    with pytest.raises(RpcError) as caught:
        handle.result()
    assert caught.value.code == "CONNECTION_CLOSED"
    assert handle.progress.total == 8 << 20 or handle.progress.sent == 0


def test_a_result_outlives_its_client(client: sync.Client) -> None:
    handle, failed = client.upload(PUT, b"abc"), client.upload(remote("files/nothing"), b"abc")
    until(lambda: handle.done and failed.done)
    client.close()
    assert handle.result() == handle.result(timeout=0.0) == 3
    with pytest.raises(RpcError) as caught:
        failed.result()
    assert caught.value.code == "NOT_FOUND"


def test_what_is_no_source_is_refused_at_once(client: sync.Client) -> None:
    with pytest.raises(TypeError, match="Path"):
        client.upload(PUT, "file.txt")  # type: ignore[arg-type]  # what is tested

"""Uploads that are larger than any buffer, and handlers that are slower than their clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.asyncio.client import connect as open_websocket

from liverpc import Context, Limits, LiveServer, UploadContext, live, public, remote
from liverpc.client import connect
from liverpc.wire.binary import upload_chunk, upload_header
from tests.e2e.upload_kit import client_process, idle_state, server_process, state_of, with_bystander

pytestmark = pytest.mark.realtime

MB = 1_000_000
#: What a process may grow beside what waits in the server: a read, messages on their way, and what the heap keeps.
SLACK = 24 << 20


# acceptance 183
@pytest.mark.parametrize(
    "size", [100 * MB, pytest.param(1000 * MB, marks=[pytest.mark.soak, pytest.mark.timeout(300)])]
)
async def test_memory_does_not_grow_with_the_size_of_an_upload(size: int, record_property: Any) -> None:
    limits = Limits()
    async with server_process(limits) as url, connect(url) as client:
        before = await state_of(client)
        done, latencies = await with_bystander(url, client_process(url, uploads=1, size=size))
        after = await idle_state(client)
    grown = after["memory"]["peak"] - before["memory"]["now"]
    record_property("bystander", str(latencies))
    print(f"{latencies}; {done}, server +{grown >> 20} MiB, at most {after['most_buffered']} bytes waiting")  # noqa: T201
    assert done["outcomes"] == {"right": 1}
    assert after["counters"]["upload_bytes"] == size
    assert grown <= limits.upload_buffer_bytes + SLACK
    assert done["grown"] <= SLACK


class App:
    """A handler that takes nothing before its gate is open."""

    def __init__(self, limits: Limits) -> None:
        self.gate = asyncio.Event()

        @live
        def echo(ctx: Context[Any], number: int) -> int:
            return number

        @live.upload()
        async def put(ctx: UploadContext[Any]) -> int:
            await self.gate.wait()
            return sum([len(chunk) async for chunk in ctx.upload])

        module = SimpleNamespace(echo=echo, put=put, _guard=public())
        self.server = LiveServer({"up": module}, limits=limits)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)


LIMITS = Limits(upload_buffer_bytes=1 << 18, upload_stall_seconds=0.5, linger_seconds=0.2)


# acceptance 188
async def test_a_slow_handler_delays_nothing_but_its_own_upload() -> None:
    app = App(LIMITS)
    async with app.server.serve(port=0) as at, connect(at.url) as client, connect(at.url) as other:
        put = client.upload(remote("up/put"), bytes(4 << 20))
        await app.until(lambda: app.server.uploads.buffered == LIMITS.upload_buffer_bytes)
        for number in range(50):
            assert await client.call(remote("up/echo"), number) == number
            assert await other.call(remote("up/echo"), number) == number
        assert app.server.uploads.buffered == LIMITS.upload_buffer_bytes
        assert put.progress.sent == LIMITS.upload_buffer_bytes
        await asyncio.sleep(2 * LIMITS.upload_stall_seconds)  # its client waits: that is no stall
        app.gate.set()
        assert await put == 4 << 20
        counters = app.server.counters
        assert (counters.upload_holds, counters.upload_stalls, counters.uploads_aborted) == (0, 0, 0)
        assert app.server.uploads.buffered == 0


def endless(data: bytes) -> Iterator[bytes]:
    seq = 0
    while True:
        yield upload_chunk(1, seq, data, last=False, header=b"" if seq else upload_header("up/put", [], None))
        seq += 1


# acceptance 188
async def test_a_client_that_does_not_wait_is_held_and_then_its_upload_ends() -> None:
    app = App(LIMITS)
    data = bytes(60_000)

    async with app.server.serve(port=0) as at, connect(at.url) as other, open_websocket(at.url) as ws:
        await ws.recv()

        async def send() -> None:
            for chunk in endless(data):
                await ws.send(chunk)

        sending = asyncio.create_task(send())
        await app.until(lambda: app.server.uploads.running and app.server.uploads.running[0].state == "held")
        assert LIMITS.upload_buffer_bytes < app.server.uploads.buffered <= LIMITS.upload_buffer_bytes + len(data)
        for number in range(20):
            assert await other.call(remote("up/echo"), number) == number
        answer = json.loads(await ws.recv())
        assert (answer["topic"], answer["event"]) == ("__upload", "00000001")
        assert answer["data"]["code"] == "FLOW_BACKPRESSURE"
        assert app.server.uploads.buffered == 0
        sending.cancel()  # between two messages: what it sent is ignored, and what comes now is not
        await asyncio.wait({sending})
        await ws.send('{"rpc":"up/echo","id":"k","args":[7]}')
        assert json.loads(await ws.recv())["data"]["data"] == 7
        app.gate.set()
        await app.until(lambda: not app.server.uploads.running)
        counters = app.server.counters
        assert (counters.upload_stalls, counters.uploads_aborted) == (1, 1)

"""Many uploads at once, from other processes and from connections that are cut."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.asyncio.client import connect as open_websocket

from liverpc import Limits, LiveError, LiveServer, UploadContext, live, public, remote
from liverpc.client import connect
from liverpc.wire.binary import upload_chunk, upload_header
from tests.e2e.upload_kit import client_process, idle_state, server_process, state_of, with_bystander

pytestmark = pytest.mark.realtime

UPLOADS, CONNECTIONS = 100, 25
LIMITS = Limits(message_bytes=1 << 16, uploads_buffer_bytes=16 << 20)
#: Beside what the limits say: on each connection one read and the beginning of a message, and what the heap keeps.
SLACK = CONNECTIONS * ((256 << 10) + LIMITS.message_bytes) + (16 << 20)


# acceptance 183, 185
@pytest.mark.parametrize(
    "size", [1_000_000, pytest.param(10_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(300)])]
)
@pytest.mark.parametrize("pause", [0, 0.002], ids=["quick", "slow"])
async def test_a_hundred_uploads_at_once_arrive_whole_within_the_caps(
    size: int, pause: float, record_property: Any
) -> None:
    async with server_process(LIMITS) as url, connect(url) as client:
        before = await state_of(client)
        uploading = client_process(url, uploads=UPLOADS, size=size, connections=CONNECTIONS, pause=pause)
        done, latencies = await with_bystander(url, uploading)
        after = await idle_state(client)
    grown = after["memory"]["peak"] - before["memory"]["now"]
    record_property("bystander", str(latencies))
    print(f"{latencies}; {done}, server +{grown >> 20} MiB, at most {after['most_buffered']} bytes waiting")  # noqa: T201
    refused = done["outcomes"].pop("OVERLOADED", 0)
    assert done["outcomes"] == {"right": UPLOADS}
    assert after["most_buffered"] <= LIMITS.uploads_buffer_bytes + UPLOADS * LIMITS.message_bytes
    assert grown <= LIMITS.uploads_buffer_bytes + UPLOADS * LIMITS.message_bytes + SLACK
    assert (after["buffered"], after["running"], after["tasks"]) == (0, 0, before["tasks"])
    counters = after["counters"]
    assert (counters["uploads_started"], counters["uploads_refused"]) == (UPLOADS, refused)
    assert (counters["uploads_aborted"], counters["upload_bytes"]) == (0, UPLOADS * size)


# acceptance 185
@pytest.mark.parametrize("reading", [True, False], ids=["reading", "held"])
async def test_a_storm_of_cut_connections_leaves_nothing(reading: bool) -> None:
    ends: list[str] = []
    begun = 0
    gate = asyncio.Event()

    @live.upload()
    async def put(ctx: UploadContext[Any]) -> None:
        nonlocal begun
        begun += 1
        if not reading:
            await gate.wait()
        try:
            async for _ in ctx.upload:
                pass
        except LiveError as error:
            ends.append(error.code)
            raise

    module = SimpleNamespace(put=put, _guard=public())
    limits = Limits(upload_buffer_bytes=1 << 18, upload_stall_seconds=0.3, linger_seconds=0.2)
    server = LiveServer({"up": module}, limits=limits)
    async with server.serve(port=0) as at, AsyncExitStack() as stack:
        idle = len(asyncio.all_tasks())
        header, data = upload_header("up/put", [], None), bytes(60_000)
        sockets = [await stack.enter_async_context(open_websocket(at.url)) for _ in range(50)]
        for ws in sockets:
            for seq in range(5):
                await ws.send(upload_chunk(1, seq, data, last=False, header=b"" if seq else header))
        counters = server.counters
        await _until(lambda: begun == 50 and counters.upload_bytes == 50 * 5 * len(data))
        assert counters.upload_holds == (0 if reading else 50)
        for ws in sockets:
            transport: Any = ws.transport
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        # Of who is not read from, nobody hears that he left until his handler has stalled for too long.
        await _until(lambda: counters.connections_closed == 50 and server.uploads.buffered == 0)
        gate.set()
        await _until(lambda: not server.uploads.running and len(ends) == 50)
        assert (counters.uploads_started, counters.uploads_aborted) == (50, 50)
        assert ends == ["DISCONNECTED" if reading else "FLOW_BACKPRESSURE"] * 50
        await stack.aclose()
        await _until(lambda: len(asyncio.all_tasks()) == idle)
        async with connect(at.url) as client:  # and the server is well
            assert await client.upload(remote("up/put"), b"x") is None


async def _until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)

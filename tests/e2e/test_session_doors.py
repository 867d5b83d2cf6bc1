"""The end of a session on real sockets, with a client that does not care."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import ConnectRequest, Context, Limits, LiveServer, live, public
from tests.e2e.doors import DOORS, Door
from tests.transports.transport_kit import TEXT, frame, unframe, until

pytestmark = pytest.mark.realtime

HEAD = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_who_goes_on_talking_after_the_goodbye_is_not_heard(door: Door) -> None:
    heard: list[str] = []

    @live
    def note(ctx: Context[Any], text: str) -> None:
        heard.append(text)

    def on_connect(request: ConnectRequest) -> dict[str, str]:
        return {"id": "ann"}

    module = SimpleNamespace(note=note, _guard=public())
    limits = Limits(close_seconds=0.5, linger_seconds=0.1)
    server = LiveServer({"m": module}, on_connect=on_connect, limits=limits, **door.options)
    async with door.serve(server) as at:
        reader, writer = await asyncio.open_connection(at.host, at.port)
        try:
            writer.write(HEAD.format(path=at.path).encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")

            def say(text: str) -> None:
                writer.write(frame(TEXT, json.dumps({"rpc": "m/note", "args": [text]}).encode()))

            say("before")
            await until(lambda: heard)
            say("on its way")
            assert server.disconnect(user="ann", reason="signed out") == 1
            got = b""
            while not (goodbyes := [data for first, data in unframe(got) if first == 0x88]):
                got += await reader.read(65536)
            assert goodbyes == [(4401).to_bytes(2) + b"signed out"]
            for number in range(3):
                say(f"after {number}")
                await asyncio.sleep(0.02)
            await until(lambda: not server.connections)
            assert heard == ["before"]
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

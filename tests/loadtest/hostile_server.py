"""A server that misbehaves as the path of its URL says, and a client of it: ``hostile_server.py URL`` connects to each.

The client runs in a process of its own, for it is patched by gevent. It prints what became of each attempt as JSON.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["MODES", "hostile_server"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ESCAPES = b"\x1b[2J\x1b]0;owned\x07\nsecond line"

# What it answers to the handshake, and then again and again while somebody reads.
MODES: dict[str, tuple[bytes, bytes]] = {
    "status": (b"HTTP/1.1 \xb2 OK\r\n\r\n", b""),
    "long-status": (b"HTTP/1.1 " + b"9" * 5000 + b" OK\r\n\r\n", b""),
    "length": (b"HTTP/1.1 503 X\r\nContent-Length: \xb2\r\n\r\nbusy", b""),
    "long-length": (b"HTTP/1.1 503 X\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nbusy", b""),
    "escapes": (b"HTTP/1.1 503 X\r\nContent-Length: 30\r\n\r\n" + _ESCAPES.ljust(30), b""),
    "goodbye": (b"101\x88" + bytes((2 + len(_ESCAPES),)) + b"\x10\x00" + _ESCAPES, b""),
    "endless-head": (b"HTTP/1.1 101 X\r\n", b"X: y\r\n" * 1000),
    "endless-pings": (b"101", b"\x89\x00" * 1000),
    "endless-message": (b"101\x01\x00", b"\x00\x00" * 1000),
}


async def _answer(mode: str, key: bytes, writer: asyncio.StreamWriter) -> None:
    first, again = MODES[mode]
    if first.startswith(b"101"):
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        head = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        first = head + accept + b"\r\n\r\n" + first[3:]
    writer.write(first)
    while again:
        writer.write(again)
        await writer.drain()
        await asyncio.sleep(0)
    await writer.drain()


@asynccontextmanager
async def hostile_server() -> AsyncIterator[str]:
    """Serve; gives the URL without a path."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                key = next(line for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key:"))
                await _answer(head.split(b" ")[1].decode().strip("/"), key.partition(b": ")[2], writer)
        finally:
            writer.close()
            running.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _client(url: str) -> None:
    import locust  # noqa: F401 - patches the process, as in a load test

    from liverpc.config import ClientConfig
    from liverpc.contrib.locust.client import Attempt, LiveClient
    from liverpc.errors import RpcError

    def attempt(mode: str) -> None:
        told: list[Attempt] = []
        seconds = 0.4 if mode.startswith("endless") else 10.0
        config = ClientConfig(max_attempts=1, timeout=seconds, connect_timeout=seconds)
        client = LiveClient(f"{url}/{mode}", config=config, on_attempt=told.append)
        with suppress(RpcError):
            client.open()
        client.close()
        sys.stdout.write(json.dumps({"mode": mode, "failure": told[0].failure, "reason": told[0].reason}) + "\n")

    for mode in MODES:  # one after the other: those without an end leave little time to others
        attempt(mode)


if __name__ == "__main__":
    _client(sys.argv[1])

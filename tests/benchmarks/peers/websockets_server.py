"""The package ``websockets`` as its documentation shows it: ``websockets_server echo|broadcast|rows|sink``."""

from __future__ import annotations

import asyncio
import sys

import msgspec
from websockets.asyncio.server import ServerConnection, broadcast, serve

from tests.benchmarks.peers.serving import ROWS, announce, event, run

listeners: set[ServerConnection] = set()


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


async def answer_rows(socket: ServerConnection) -> None:
    async for _ in socket:
        await socket.send(msgspec.json.encode(ROWS), text=True)


async def fan_out(socket: ServerConnection) -> None:
    """A message asks for so many events: ``[turns, events per turn, bytes]``."""
    listeners.add(socket)
    try:
        async for message in socket:
            turns, per_turn, size = msgspec.json.decode(message, type=tuple[int, int, int])
            for turn in range(turns):
                for number in range(per_turn):
                    seq = turn * per_turn + number
                    frame = {"topic": "bench", "event": "created", "data": event(seq, size), "seq": seq}
                    broadcast(listeners, msgspec.json.encode(frame).decode())
                await asyncio.sleep(0)
    finally:
        listeners.discard(socket)


async def sink(socket: ServerConnection) -> None:
    """Count what comes, and say how much it was after each text."""
    received = 0
    async for message in socket:
        if isinstance(message, str):
            await socket.send(str(received))
            received = 0
        else:
            received += len(message)


async def main(kind: str) -> None:
    handler = {"echo": echo, "broadcast": fan_out, "rows": answer_rows, "sink": sink}[kind]
    async with serve(handler, "127.0.0.1", 0, compression=None, backlog=2048) as server:
        await announce(next(iter(server.sockets)).getsockname()[1])


if __name__ == "__main__":
    run(main(sys.argv[1]), "asyncio")

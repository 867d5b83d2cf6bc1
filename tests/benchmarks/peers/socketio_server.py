"""python-socketio on aiohttp: calls with an answer, emits to a room, and a thousand rows."""

from __future__ import annotations

import asyncio
from typing import Any

import socketio
from aiohttp import web

from tests.benchmarks.peers.serving import ROWS, announce, event, run


def make() -> Any:
    # No ping while a load runs: the load client speaks WebSocket, not the heartbeat above it.
    server = socketio.AsyncServer(async_mode="aiohttp", ping_interval=600, ping_timeout=600, http_compression=False)

    async def connect(sid: str, environ: Any) -> None:
        await server.enter_room(sid, "bench")

    async def echo(sid: str, text: Any) -> Any:
        if not isinstance(text, str):
            return {"ok": False, "error": "text is a string"}
        return {"ok": True, "data": text}

    async def rows(sid: str) -> Any:
        return ROWS

    async def burst(sid: str, turns: int, per_turn: int, size: int) -> None:
        for turn in range(turns):
            for number in range(per_turn):
                await server.emit("created", event(turn * per_turn + number, size), room="bench")
            await asyncio.sleep(0)

    for handler in (connect, echo, rows, burst):
        server.on(handler.__name__, handler)
    return server


async def main() -> None:
    app = web.Application()
    make().attach(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    await announce(runner.addresses[0][1])


if __name__ == "__main__":
    run(main(), "asyncio")

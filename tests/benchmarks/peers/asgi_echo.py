"""An ASGI application that sends back what it receives, on uvicorn and uvloop, without a framework."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.peers.serving import run, serve_asgi


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


if __name__ == "__main__":
    run(serve_asgi(app, ws="websockets-sansio", lifespan="off"), "uvloop")

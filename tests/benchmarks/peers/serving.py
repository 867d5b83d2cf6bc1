"""What the Python servers under measurement share: a loop by name, and the line that says where they listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["ROWS", "announce", "event", "run", "serve_asgi"]

#: The initial value of the snapshot rows.
ROWS = [{"id": number, "title": f"a card with the number {number}", "done": False} for number in range(1000)]


def event(number: int, size: int) -> dict[str, Any]:
    """What is published: about ``size`` bytes with the envelope around it."""
    return {"id": number, "text": "x" * (size - 70)}


def run(main: Coroutine[Any, Any, None], loop: str) -> None:
    """Run on the default loop (``asyncio``) or on ``uvloop``."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


async def announce(port: int, **more: Any) -> None:
    """Say where the server listens, then wait until it is killed."""
    print(json.dumps({"port": port, **more}), flush=True)
    await asyncio.Event().wait()


async def serve_asgi(app: Any, **settings: Any) -> None:
    """Serve an ASGI application with uvicorn on a free port, without logs and compression."""
    import uvicorn

    config = uvicorn.Config(
        app, port=0, log_level="critical", access_log=False, ws_per_message_deflate=False, backlog=2048, **settings
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        if serving.done():
            raise RuntimeError("uvicorn did not start")
    await announce(server.servers[0].sockets[0].getsockname()[1])

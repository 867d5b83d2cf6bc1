"""liverpc inside uvicorn, on uvloop: ``liverpc_asgi door`` (with FastAPI) or ``liverpc_asgi plain`` (ASGI)."""

from __future__ import annotations

import sys
from typing import Any

from liverpc import Inspect, LiveServer
from tests.benchmarks.peers import handlers
from tests.benchmarks.peers.serving import run, serve_asgi


async def main(kind: str) -> None:
    server: Any = LiveServer({"bench": handlers}, inspect=Inspect(enabled=False), dev=False)
    if kind == "plain":
        await serve_asgi(server.asgi(), ws="websockets-sansio")
    else:
        from fastapi import FastAPI

        await serve_asgi(FastAPI(lifespan=server.lifespan), ws="liverpc.transports.uvicorn:LiveDoor")


if __name__ == "__main__":
    run(main(sys.argv[1]), "uvloop")

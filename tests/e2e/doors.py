"""The ways in which a server can be reached, each as a door that serves it on a real socket."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from liverpc import LiveServer
from liverpc.inspector.protocol import ATTACH_PATH


@dataclass(frozen=True)
class At:
    """Where a server is reached."""

    port: int
    path: str
    host: str = "127.0.0.1"

    @property
    def base(self) -> str:
        return f"ws://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return self.base + self.path

    @property
    def attach_url(self) -> str:
        return self.base + ATTACH_PATH


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for other, value in self.headers if other.lower() == name]

    def header(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)


@dataclass(frozen=True)
class Door:
    """One way in; ``options`` are what it needs of the ``LiveServer``."""

    name: str
    serve: Callable[..., AbstractAsyncContextManager[At]]  # (server, port=0, **of uvicorn)
    options: dict[str, Any] = field(default_factory=dict)
    goodbye: int = 1001  # the close code of a shutdown

    def __repr__(self) -> str:
        return self.name


@asynccontextmanager
async def alone(server: LiveServer, port: int = 0) -> AsyncIterator[At]:
    async with server.serve(port=port) as listening:
        yield At(listening.port, server.path)


class Runner(uvicorn.Server):
    """Stops when it is told, instead of looking ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stopping.wait()


@asynccontextmanager
async def under_uvicorn(app: Any, path: str, port: int = 0, **options: Any) -> AsyncIterator[At]:
    """An application under uvicorn on this loop."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        given: dict[str, Any] = {"ws": "websockets-sansio", "lifespan": "on", "timeout_graceful_shutdown": 5} | options
        runner = Runner(uvicorn.Config(app, log_config=None, access_log=False, **given))
        task = asyncio.create_task(runner.serve([listening]))
        while not runner.started and not task.done():
            await asyncio.sleep(0.005)
        try:
            yield At(listening.getsockname()[1], path)
        finally:
            runner.stopping.set()
            await task


def fastapi_around(server: LiveServer) -> FastAPI:
    """An application with routes and a WebSocket of its own, and the server behind them."""
    app = FastAPI(lifespan=server.lifespan)

    @app.get("/items/{number}")
    async def item(number: int) -> dict[str, int]:
        return {"number": number}

    @app.websocket("/foreign")
    async def foreign(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_text("foreign " + await ws.receive_text())
        await ws.close(4000)

    app.mount("/", server.asgi())
    return app


def starlette_around(server: LiveServer, prefix: str) -> Starlette:
    async def item(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.path_params["number"])

    routes = [Route("/items/{number}", item), Mount(prefix, server.asgi())]
    return Starlette(routes=routes, lifespan=server.lifespan)


def live_door(server: LiveServer, port: int = 0, **options: Any) -> AbstractAsyncContextManager[At]:
    given = {"ws": "liverpc.transports.uvicorn:LiveDoor"} | options
    return under_uvicorn(fastapi_around(server), server.path, port, **given)


def plain_asgi(server: LiveServer, port: int = 0, **options: Any) -> AbstractAsyncContextManager[At]:
    return under_uvicorn(server.asgi(), server.path, port, **options)


def in_fastapi(server: LiveServer, port: int = 0, **options: Any) -> AbstractAsyncContextManager[At]:
    return under_uvicorn(fastapi_around(server), server.path, port, **options)


FAST = Door("fast", alone, {"fast_path": True})
LIBRARY = Door("library", alone, {"fast_path": False})
UVICORN = Door("uvicorn", live_door)
# uvicorn ends the WebSockets of applications itself, before it tells them that it stops.
ASGI = Door("asgi", plain_asgi, goodbye=1012)
DOORS = [FAST, LIBRARY, UVICORN, ASGI]


@contextmanager
def subprocess_at(folder: Path, port: int, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A server program that listens on ``port``; it and its workers are killed at the end if they still run."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a group of their own
    )
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, process.communicate()[0]
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def ask(
    at: At, method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes | None = None
) -> Answer:
    """One plain HTTP request."""

    def run() -> Answer:
        connection = http.client.HTTPConnection(at.host, at.port, timeout=10)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    return await asyncio.to_thread(run)

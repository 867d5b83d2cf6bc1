"""ASGI servers that leave out what they may, never receive, or never send."""

import asyncio
from typing import Any

import pytest

from liverpc import Limits, LiveServer
from tests.attack.attack_kit import what_is_left

SCOPE = {"type": "websocket", "path": "/ws", "headers": [(b"host", b"localhost")], "query_string": b"a=1"}
QUICK = Limits(close_seconds=1, pong_seconds=1, drain_seconds=1)


class Host:
    """An ASGI server with one client."""

    def __init__(self, stuck_at: str = "") -> None:
        self.news: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[str] = []
        self.stuck_at = stuck_at
        self.news.put_nowait({"type": "websocket.connect"})

    async def send(self, message: Any) -> None:
        self.sent.append(message["type"])
        if message["type"] == self.stuck_at:
            await asyncio.Event().wait()


@pytest.mark.parametrize(
    "missing", ["query_string", "client", "root_path", "raw_path", "scheme", "extensions", "state"]
)
@pytest.mark.parametrize("value", [None, ...], ids=["None", "absent"])
async def test_scope_without_what_is_optional_is_served(missing: str, value: Any) -> None:
    scope: dict[str, Any] = SCOPE | {missing: None}
    if value is ...:
        del scope[missing]
    server, host = LiveServer({}), Host()
    async with server.lifespan():
        serving = asyncio.create_task(server.asgi()(scope, host.news.get, host.send))
        await asyncio.sleep(1)
        host.news.put_nowait({"type": "websocket.disconnect"})
        await serving
        assert host.sent == ["websocket.accept", "websocket.send"]
        assert not what_is_left(server)


async def test_http_scope_without_a_query_is_served() -> None:
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/healthz", "headers": [], "query_string": None}
    server, host = LiveServer({}), Host()
    await host.news.get()
    host.news.put_nowait({"type": "http.request"})
    async with server.lifespan():
        await server.asgi()(scope, host.news.get, host.send)
    assert host.sent == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "websocket.receive"},
        {"type": "websocket.receive", "text": None, "bytes": None},
        {"type": "websocket.receive", "text": "\ud800"},
        {"type": "websocket.disconnect", "code": "x"},
        {"type": "websocket.disconnect", "code": None, "reason": None},
        {"type": "nonsense"},
        {"type": "websocket.connect"},
    ],
    ids=str,
)
async def test_rubbish_from_the_asgi_server_ends_the_connection_and_leaves_nothing(message: dict[str, Any]) -> None:
    server, host = LiveServer({}), Host()
    host.news.put_nowait(message)
    async with server.lifespan():
        serving = asyncio.create_task(server.asgi()(SCOPE, host.news.get, host.send))
        await asyncio.wait([serving], timeout=10)
        assert serving.done()
        serving.exception()  # it is the ASGI server's, who made the mistake
        assert not what_is_left(server)


async def test_server_that_hears_nothing_of_its_client_gives_up_a_closed_connection() -> None:
    server, host = LiveServer({}, limits=QUICK), Host()
    async with server.lifespan():
        serving = asyncio.create_task(server.asgi()(SCOPE, host.news.get, host.send))
        await asyncio.sleep(1)
        server.connections[0].close(4403)
        await asyncio.sleep(5)
        assert serving.done()
        assert not what_is_left(server)


@pytest.mark.parametrize("stuck_at", ["websocket.send", "websocket.close"])
async def test_server_whose_messages_never_leave_gives_up_the_connection(stuck_at: str) -> None:
    server, host = LiveServer({}, limits=QUICK), Host(stuck_at)
    async with server.lifespan():
        serving = asyncio.create_task(server.asgi()(SCOPE, host.news.get, host.send))
        await asyncio.sleep(0.5)
        if server.connections:
            server.connections[0].close(4403)
        await asyncio.sleep(10)
        assert serving.done()
        assert not what_is_left(server)


async def test_server_stops_although_an_accept_never_leaves() -> None:
    server, host = LiveServer({}, limits=QUICK), Host("websocket.accept")
    async with server.lifespan():
        serving = asyncio.create_task(server.asgi()(SCOPE, host.news.get, host.send))
        await asyncio.sleep(1)
    await serving
    assert host.sent == ["websocket.accept"]

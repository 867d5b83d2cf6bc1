"""URLs of contracts, through every door, on real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from liverpc import Context, Contract, Events, LiveServer, event, live, public
from tests.e2e.doors import DOORS, At, Door, ask, fastapi_around, starlette_around, under_uvicorn
from tests.rooms.contract_kit import App, connected

pytestmark = pytest.mark.realtime


def below_a_prefix(server: LiveServer, port: int = 0) -> AbstractAsyncContextManager[At]:
    return under_uvicorn(starlette_around(server, "/live"), "/live/ws", port)


def in_fastapi(server: LiveServer, port: int = 0) -> AbstractAsyncContextManager[At]:
    return under_uvicorn(fastapi_around(server), "/ws", port)


class Where(msgspec.Struct):
    rest: str


WAYS = [*DOORS, Door("fastapi", in_fastapi), Door("mounted", below_a_prefix)]


@pytest.fixture(params=WAYS, ids=repr)
async def at(request: pytest.FixtureRequest) -> AsyncIterator[tuple[App, At, str]]:
    door: Door = request.param
    app = App()
    server = LiveServer([app.Chat], on_connect=connected, **door.options)
    async with door.serve(server) as at:
        yield app, at, at.base + at.path.removesuffix("/ws")


async def call(socket: Any, path: str, *args: Any) -> Any:
    await socket.send(json.dumps({"rpc": path, "id": "c", "args": args}))
    while (frame := json.loads(await socket.recv()))["topic"] != "__rpc":
        pass
    return frame["data"]


@pytest.mark.parametrize(
    ("segment", "room"), [("general", "general"), ("a%2Fb", "a/b"), ("caf%C3%A9", "café"), ("1+1", "1+1")]
)
async def test_the_room_is_what_the_url_says(at: tuple[App, At, str], segment: str, room: str) -> None:
    app, _, base = at
    async with connect(f"{base}/rooms/{segment}?user=ann", proxy=None) as socket:
        assert json.loads(await socket.recv())["type"] == "welcome"
        answer = await call(socket, "chat/__open", {"room_id": room})
        assert answer["data"] == {"joined": ["chat"], "refused": []}
        assert (await call(socket, "chat/__event/who"))["data"] == "ann"
        assert app.instances[0].params.room_id == room


async def test_what_is_on_no_route_is_a_404(at: tuple[App, At, str]) -> None:
    _, _, base = at
    for path in ("/rooms", "/rooms/a/b", "/nothing"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(base + path, proxy=None)
        assert refused.value.response.status_code in (403, 404)  # 403 is what uvicorn says for applications


async def test_a_page_that_is_asked_for_without_a_websocket_says_so(at: tuple[App, At, str]) -> None:
    _, where, base = at
    prefix = base.removeprefix(where.base)
    assert (await ask(where, "GET", f"{prefix}/rooms/a")).status == 426
    assert (await ask(where, "GET", f"{prefix}/rooms/a/b")).status == 404
    assert (await ask(where, "GET", f"{prefix}/healthz")).status == 200


@pytest.mark.parametrize("ws", ["liverpc.transports.uvicorn:LiveDoor", "websockets-sansio"], ids=["door", "asgi"])
async def test_a_page_and_its_contract_have_one_url(ws: str) -> None:
    app = App()
    site = fastapi_around(LiveServer([app.Chat], on_connect=connected))

    async def page(room_id: str) -> str:
        return f"the page of {room_id}"

    site.router.add_api_route("/rooms/{room_id}", page)
    site.router.routes.insert(0, site.router.routes.pop())  # before what is mounted
    async with under_uvicorn(site, "/ws", ws=ws) as at, connect(f"{at.base}/rooms/a", proxy=None) as socket:
        await socket.recv()
        assert (await call(socket, "chat/__open", {"room_id": "a"}))["data"]["joined"] == ["chat"]
        answer = await ask(at, "GET", "/rooms/a")
        assert (answer.status, answer.body) == (200, b'"the page of a"')


async def test_a_pattern_for_everything_is_below_the_prefix_of_its_mount() -> None:
    seen: list[str] = []

    class Anywhere(Contract[Events, Where], path="/{rest:path}"):
        @event
        def here(self) -> str:
            seen.append(self.params.rest)
            return self.params.rest

    async with below_a_prefix(LiveServer([Anywhere])) as at, connect(f"{at.base}/live/a/b", proxy=None) as socket:
        await socket.recv()
        assert (await call(socket, "anywhere/__event/here"))["data"] == "a/b"
        assert (await ask(at, "GET", "/live/healthz")).status == 200


async def test_a_path_with_the_prefix_of_its_mount_wins_over_a_pattern_that_fits_behind_it() -> None:
    class Anywhere(Contract[Events, Where], path="/{rest:path}"):
        pass

    @live
    def hello(ctx: Context[Any]) -> str:
        return "hello"

    modules = SimpleNamespace(Anywhere=Anywhere, hello=hello, _guard=public())
    server = LiveServer({"m": modules}, path="/live/ws")
    async with below_a_prefix(server) as at, connect(f"{at.base}/live/ws", proxy=None) as socket:
        await socket.recv()
        assert (await call(socket, "m/hello"))["data"] == "hello"
        assert (await call(socket, "anywhere/__event/x"))["code"] == "NOT_FOUND"

"""Doors into other servers: what lives beside liverpc goes on living, and the other way round."""

from types import SimpleNamespace
from typing import Any

import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from liverpc import ConnectRequest, Context, Inspect, Limits, LiveServer, live, public, remote
from liverpc.client import connect
from liverpc.config import Token
from liverpc.hub.link import HttpRequest, HttpResponse
from liverpc.inspector.protocol import SUBPROTOCOL
from tests.e2e.doors import (
    DOORS,
    UVICORN,
    Door,
    ask,
    fastapi_around,
    in_fastapi,
    starlette_around,
    under_uvicorn,
)

pytestmark = pytest.mark.realtime

LIVE_DOOR = "liverpc.transports.uvicorn:LiveDoor"
SECRET = "a-token-for-tests-only"


def make_server(**options: Any) -> LiveServer:
    @live
    def echo(ctx: Context[Any], value: Any) -> Any:
        return value

    @live
    def peer(ctx: Context[Any]) -> list[Any]:
        request: ConnectRequest = ctx.connection.request
        return [request.address, request.secure]

    given: dict[str, Any] = {"limits": Limits(close_seconds=1, linger_seconds=0.5, drain_seconds=0.4)} | options
    return LiveServer({"demo": SimpleNamespace(echo=echo, peer=peer, _guard=public())}, **given)


async def works(url: str) -> bool:
    async with connect(url) as client:
        return bool(await client.call(remote("demo/echo"), "ü") == "ü")


# -- beside an application of FastAPI or Starlette


async def test_routes_and_websockets_of_the_application_stay_its_own() -> None:
    async with UVICORN.serve(make_server()) as at:
        assert await works(at.url)
        assert (await ask(at, "GET", "/items/7")).body == b'{"number":7}'
        async with open_websocket(at.base + "/foreign") as ws:
            await ws.send("x" * 70_000)
            assert await ws.recv() == "foreign " + "x" * 70_000
            with pytest.raises(ConnectionClosed):
                await ws.recv()
            assert ws.close_code == 4000
        with pytest.raises(InvalidStatus) as caught:
            await open_websocket(at.base + "/nobody")
        assert caught.value.response.status_code == 404


async def test_without_the_door_the_mounted_application_answers_the_path() -> None:
    async with in_fastapi(make_server()) as at:
        assert await works(at.url)
        assert (await ask(at, "GET", "/items/7")).body == b'{"number":7}'
        async with open_websocket(at.base + "/foreign") as ws:
            await ws.send("a")
            assert await ws.recv() == "foreign a"


@pytest.mark.parametrize(
    ("prefix", "path", "wire"),
    [("/", "/ws", "/ws"), ("/rt", "/ws", "/rt/ws"), ("/rt", "/rt/ws", "/rt/ws"), ("/a%20b", "/ws", "/a%2520b/ws")],
)
async def test_the_server_is_found_below_the_prefix_of_its_mount(prefix: str, path: str, wire: str) -> None:
    server = make_server(path=path)
    async with under_uvicorn(starlette_around(server, prefix), wire) as at:
        assert await works(at.url)
        assert (await ask(at, "GET", "/items/7")).body == b"7"
        below = "" if prefix == "/" else wire.removesuffix("/ws")
        assert (await ask(at, "GET", f"{below}/healthz")).status == 200
        assert (await ask(at, "GET", wire)).status == 426
        with pytest.raises(InvalidStatus):
            await open_websocket(f"{at.base}{below}/nobody")


@pytest.mark.parametrize("ws", [LIVE_DOOR, "websockets-sansio", "wsproto"])
async def test_a_root_path_changes_nothing(ws: str) -> None:
    async with under_uvicorn(fastapi_around(make_server()), "/ws", ws=ws, root_path="/api") as at:
        assert await works(at.url)
        assert (await ask(at, "GET", "/healthz")).status == 200


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_devtools_attach_through_every_door(door: Door) -> None:
    inspect = Inspect(enabled=True, tokens=(Token(secret=SECRET),))
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with door.serve(make_server(inspect=inspect, **door.options)) as at:
        async with open_websocket(
            at.attach_url,
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
            additional_headers=headers,
        ) as ws:
            assert ws.subprotocol == SUBPROTOCOL
        for options, status in (({}, 401), ({"additional_headers": headers, "subprotocols": None}, 400)):
            with pytest.raises(InvalidStatus) as caught:
                await open_websocket(at.attach_url, **({"subprotocols": [SUBPROTOCOL]} | options))  # type: ignore[arg-type]
            assert caught.value.response.status_code == status


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_pages_are_answered_alike_through_every_door(door: Door) -> None:
    def authenticate(request: HttpRequest) -> HttpResponse | bool:
        return request.cookies["sid"] == "old" and HttpResponse(204, cookies=("sid=new; HttpOnly", "theme=dark"))

    own = {"sec-fetch-site": "same-origin", "cookie": "sid=old"}
    other = {"Origin": "https://app.example"}
    server = make_server(authenticate=authenticate, origins=["https://app.example"], **door.options)
    async with door.serve(server) as at:
        assert (await ask(at, "GET", "/readyz?a=1")).body == b'{"status":"ready"}\n'
        head = await ask(at, "HEAD", "/healthz")
        assert (head.status, head.body, head.header("content-length")) == (200, b"", "16")
        accepted = await ask(at, "POST", "/__ws/auth", headers=own, body=b"x" * 65_536)
        assert (accepted.status, accepted.all("set-cookie")) == (204, ["sid=new; HttpOnly", "theme=dark"])
        assert (await ask(at, "POST", "/__ws/auth", headers=own, body=b"x" * 65_537)).status == 413
        assert (await ask(at, "POST", "/__ws/auth", headers=own, body=b"x" * (2 << 20))).status == 413
        assert (await ask(at, "POST", "/__ws/auth", headers=own | {"cookie": "sid=no"})).status == 401
        assert (await ask(at, "POST", "/__ws/auth", headers={"cookie": "sid=old"})).status == 403
        assert (await ask(at, "GET", "/__ws/auth", headers=own)).header("allow") == "POST, OPTIONS"
        preflight = await ask(at, "OPTIONS", "/__ws/auth", headers=other)
        assert (preflight.status, preflight.header("access-control-allow-origin")) == (204, "https://app.example")
        assert len((await ask(at, "GET", "/healthz")).all("date")) == 1


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_the_word_of_a_trusted_proxy_counts_through_every_door(door: Door) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    options = {"trusted_proxies": ["127.0.0.0/8"]} | door.options
    quiet: dict[str, Any] = {"proxy_headers": False} if door.goodbye == 1012 or door is UVICORN else {}
    async with door.serve(make_server(**options), **quiet) as at, connect(at.url, headers=forwarded) as client:
        assert await client.call(remote("demo/peer")) == ["203.0.113.9", True]
    async with door.serve(make_server(**door.options), **quiet) as at, connect(at.url, headers=forwarded) as client:
        assert await client.call(remote("demo/peer")) == ["127.0.0.1", False]


async def test_uvicorns_own_rules_for_proxies_hold_at_its_door() -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    async with (
        UVICORN.serve(make_server(), forwarded_allow_ips="127.0.0.1") as at,
        connect(at.url, headers=forwarded) as client,
    ):
        assert await client.call(remote("demo/peer")) == ["203.0.113.9", True]
    async with (
        UVICORN.serve(make_server(), forwarded_allow_ips="192.0.2.1") as at,
        connect(at.url, headers=forwarded) as client,
    ):
        assert await client.call(remote("demo/peer")) == ["127.0.0.1", False]

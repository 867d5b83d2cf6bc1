"""The auth request before the handshake, against a small server of its own and against ours."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from liverpc import ConnectRequest, Context, LiveServer, Reject, live, public, remote
from liverpc.client import ClientConfig, RpcError, connect
from liverpc.client.preflight import CookieJar
from liverpc.errors import ConfigError

pytestmark = pytest.mark.realtime

QUICK = ClientConfig(backoff_base=0.01, backoff_max=0.01, connect_timeout=5.0, timeout=5.0)


class Door:
    """Plain HTTP on one port, where the auth requests go, and WebSockets behind the same port."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers) or ["204 No Content"]
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.connections: list[ServerConnection] = []
        self.handshakes: list[dict[str, str]] = []
        self.inner = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST"):
                await self._post(head, reader, writer)
            else:
                await self._relay(head, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _post(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.decode().rstrip().split("\r\n")
        fields = (line.split(": ", 1) for line in lines)
        self.requests.append((first, {name.lower(): value for name, value in fields}))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer != "hang up":
            writer.write(b"HTTP/1.1 " + answer.encode() + b"\r\nConnection: close\r\n\r\n")
            await writer.drain()

    async def _relay(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.inner)
        back.write(head)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
            target.close()

        await asyncio.gather(pump(reader, back), pump(there, writer))

    def look(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes.append({name.lower(): value for name, value in request.headers.raw_items()})
        return None


@asynccontextmanager
async def serving(door: Door, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async def idle(connection: ServerConnection) -> None:
        door.connections.append(connection)
        await connection.wait_closed()

    async with serve(idle, "127.0.0.1", 0, process_request=door.look) as inner:
        door.inner = next(iter(inner.sockets)).getsockname()[1]
        async with await asyncio.start_server(door, "127.0.0.1", 0, ssl=tls) as outer:
            yield f"ws://127.0.0.1:{outer.sockets[0].getsockname()[1]}/ws?room=1"


async def test_before_the_handshake_the_client_posts_to_the_endpoint() -> None:
    door = Door()
    async with serving(door) as url, connect(url, config=QUICK, auth=True, headers={"X-Token": "t"}):
        ((line, headers),) = door.requests
    assert line == "POST /__ws/auth HTTP/1.1"
    host = url.split("/")[2]
    assert (headers["host"], headers["origin"]) == (host, f"http://{host}")
    assert headers["x-requested-with"] == "svelte-adapter-uws"
    assert (headers["content-length"], headers["x-token"]) == ("0", "t")
    assert "cookie" not in headers


async def test_the_path_and_the_origin_can_be_others() -> None:
    door = Door()
    async with serving(door) as url, connect(url, config=QUICK, auth="/login", headers={"Origin": "https://a.example"}):
        ((line, headers),) = door.requests
    assert (line, headers["origin"]) == ("POST /login HTTP/1.1", "https://a.example")


async def test_credentials_in_the_url_go_with_the_auth_request_and_with_the_handshake() -> None:
    door = Door()
    async with serving(door) as url, connect(url.replace("//", "//ann:p%40ss%C3%A4@"), config=QUICK, auth=True):
        ((_, headers),) = door.requests
    expected = "Basic " + base64.b64encode("ann:p@ssä".encode()).decode()
    assert (headers["authorization"], door.handshakes[0]["authorization"]) == (expected, expected)
    host = url.split("/")[2]
    assert (headers["host"], headers["origin"]) == (host, f"http://{host}")


@pytest.mark.parametrize("answer", ["401 Unauthorized", "503 Later", "hang up"])
async def test_credentials_in_the_url_are_in_no_error(answer: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "liverpc")
    async with serving(Door(answer)) as url:
        config = ClientConfig(connect_timeout=0.2)
        with pytest.raises(RpcError) as caught:
            await connect(url.replace("//", "//ann:s3cret@"), config=config, auth=True).__aenter__()
    basic = base64.b64encode(b"ann:s3cret").decode()
    for text in (str(caught.value), caplog.text):
        assert "s3cret" not in text
        assert basic not in text


async def test_without_auth_nothing_is_posted() -> None:
    door = Door()
    async with serving(door) as url, connect(url, config=QUICK):
        assert (door.requests, len(door.handshakes)) == ([], 1)


async def test_cookies_it_sets_go_with_the_handshake_and_with_later_requests() -> None:
    door = Door(
        "200 OK\r\nSet-Cookie: session=s1; Path=/; HttpOnly\r\nSet-Cookie: mood=fine",
        "204 No Content\r\nSet-Cookie: mood=; Max-Age=0",
    )
    async with serving(door) as url, connect(url, config=QUICK, auth=True, headers={"Cookie": "own=1"}) as client:
        assert door.handshakes[0]["cookie"] == "own=1; session=s1; mood=fine"
        back = asyncio.Event()
        client.on_connect(back.set)
        door.connections[0].transport.abort()
        async with asyncio.timeout(5.0):
            await back.wait()
        assert door.requests[1][1]["cookie"] == "own=1; session=s1; mood=fine"
        assert door.handshakes[1]["cookie"] == "own=1; session=s1"


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "404 Not Found"])
async def test_a_refusal_ends_the_client(status: str) -> None:
    door = Door(f"{status}\r\n\r\nwho are you?")
    async with serving(door) as url:
        client = connect(url, config=QUICK, auth=True)
        with pytest.raises(RpcError, match=f"CONNECTION_CLOSED: .*auth request: HTTP {status[:3]}"):
            await client.__aenter__()
    assert client.status == "closed"
    assert client.failure is not None
    assert (client.failure.kind, client.failure.failure_class) == ("auth-preflight", "AUTH")
    assert (client.failure.status, client.failure.code) == (int(status[:3]), None)
    assert (len(door.requests), door.handshakes) == (1, [])


@pytest.mark.parametrize("first", ["500 Oops", "503 Later", "302 Found", "hang up"])
async def test_other_failures_are_repeated(first: str) -> None:
    door = Door(first, first, "204 No Content")
    async with serving(door) as url, connect(url, config=QUICK, auth=True) as client:
        assert client.failure is None
    assert (len(door.requests), len(door.handshakes)) == (3, 1)


async def test_a_large_body_is_read_no_further_than_anybody_wants() -> None:
    door = Door("401 Unauthorized\r\nContent-Length: 10000000\r\n\r\n" + "x" * 10_000)
    async with serving(door) as url:
        with pytest.raises(RpcError, match=r"HTTP 401 x+$") as caught:
            await connect(url, config=QUICK, auth=True).__aenter__()
    assert len(str(caught.value)) < 400


async def test_nobody_there_is_a_timeout_with_the_reason() -> None:
    config = ClientConfig(connect_timeout=0.3, backoff_base=0.05)
    with pytest.raises(RpcError, match=r"TIMEOUT: .*auth request: "):
        await connect("ws://127.0.0.1:9/ws", config=config, auth=True).__aenter__()


async def test_an_encrypted_url_makes_an_encrypted_request() -> None:
    certificate = Path(__file__).parents[1] / "transports" / "localhost.pem"
    identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    door = Door()
    async with serving(door, identity) as plain:
        url = plain.replace("ws://127.0.0.1", "wss://localhost")
        async with connect(url, config=QUICK, auth=True, ssl=trusting):
            assert door.requests[0][1]["origin"] == "https://" + url.split("/")[2]


async def test_an_endpoint_that_does_not_answer_is_what_failed() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"
        config = ClientConfig(connect_timeout=0.4, backoff_base=1.0)
        with pytest.raises(RpcError, match=r"TIMEOUT: .*auth request: no answer within 0\.2 s"):
            await connect(url, config=config, auth=True).__aenter__()


async def test_cancelled_while_it_waits_for_the_answer_it_leaves_nothing() -> None:
    arrived, hold = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        await reader.read()
        hold.set()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"
        entering = asyncio.create_task(connect(url, config=QUICK, auth=True).__aenter__())
        await arrived.wait()
        entering.cancel()
        await asyncio.wait([entering])
        await asyncio.wait_for(hold.wait(), 5.0)


@pytest.mark.parametrize("auth", ["login", ""])
async def test_what_is_no_path_is_refused_at_once(auth: str) -> None:
    with pytest.raises(ConfigError, match="a path such as"):
        connect("ws://example.org/ws", auth=auth)


async def test_a_connector_makes_no_auth_requests() -> None:
    async def never() -> Any:
        raise AssertionError

    with pytest.raises(ConfigError, match="not a connector"):
        connect("ws://example.org/ws", auth=True, connector=never)


# -- cookies


@pytest.mark.parametrize(
    ("set_cookie", "kept"),
    [
        ("a=1", {"Cookie": "a=1"}),
        ("a=", {"Cookie": "a="}),
        (" a = 1=2 ; Secure", {"Cookie": "a=1=2"}),
        ("a=1; Max-Age=60", {"Cookie": "a=1"}),
        ("a=1; Max-Age=0", {}),
        ("a=1; max-age=-1; Expires=Fri, 31 Dec 9999 23:59:59 GMT", {}),
        ("a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", {}),
        ("a=1; Expires=Fri, 31 Dec 9999 23:59:59 GMT", {"Cookie": "a=1"}),
        ("a=1; Expires=whenever", {"Cookie": "a=1"}),
        ("nonsense", {}),
        ("=1", {}),
        ("a=1\x01", {}),
        ("", {}),
        ("a=" + "x" * 4094, {"Cookie": "a=" + "x" * 4094}),
        ("a=" + "x" * 4095, {}),
    ],
)
async def test_what_becomes_of_a_cookie(set_cookie: str, kept: dict[str, str]) -> None:
    jar = CookieJar()
    jar.take(set_cookie)
    assert jar.header({}) == kept


async def test_the_oldest_of_too_many_cookies_goes_and_the_given_ones_win() -> None:
    jar = CookieJar()
    for number in range(51):
        jar.take(f"c{number}=1")
    cookies = jar.header({"cookie": "c7=mine", "X": "y"})
    assert cookies["X"] == "y"
    assert cookies["Cookie"].startswith("c7=mine; c1=1; c2=1")
    assert (cookies["Cookie"].count("c7="), cookies["Cookie"].count("=")) == (1, 50)


# -- our own server


async def test_our_server_lets_the_client_in_and_out() -> None:
    async def authenticate(request: Any) -> bool:
        return "authorization" in request.headers

    def on_connect(request: ConnectRequest) -> str:
        if not request.headers.get("authorization"):
            raise Reject("UNAUTHENTICATED")
        return "ann"

    @live
    async def whoami(ctx: Context[str]) -> str:
        return ctx.user

    module: Any = ModuleType("m")
    module.whoami = whoami
    module._guard = public()
    server = LiveServer(modules={"m": module}, on_connect=on_connect, authenticate=authenticate)
    async with server.serve("127.0.0.1", 0) as listening:
        url = listening.url
        async with connect(url, config=QUICK, auth=True, headers={"Authorization": "Bearer x"}) as client:
            assert await client.call(remote("m/whoami")) == "ann"
        with pytest.raises(RpcError, match="auth request: HTTP 401"):
            await connect(url, config=QUICK, auth=True).__aenter__()

"""The whole server on real sockets, through every door."""

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from liverpc import (
    ClientConfig,
    ConfigError,
    ConnectRequest,
    Context,
    Inspect,
    Limits,
    LiveServer,
    Reject,
    RpcError,
    live,
    public,
    remote,
)
from liverpc.client import connect
from liverpc.inspector.protocol import runtime_directory, runtime_entries
from tests.e2e.doors import DOORS, At, Door, ask

pytestmark = pytest.mark.realtime

QUICK = Limits(close_seconds=1, linger_seconds=0.5, drain_seconds=0.2)
EAGER = ClientConfig(backoff_base=0.05, backoff_max=0.2)


class App:
    """A small application and what it saw."""

    def __init__(self) -> None:
        self.requests: list[ConnectRequest] = []
        self.gone: list[tuple[int, str]] = []
        self.rows: list[dict[str, Any]] = []

    def on_connect(self, request: ConnectRequest) -> Any:
        self.requests.append(request)
        match request.query.get("as"):
            case "expired":
                raise Reject("UNAUTHENTICATED", "token expired")
            case "banned":
                raise Reject("FORBIDDEN", "x" * 200)
            case "early":
                raise Reject("UNAUTHENTICATED", "no", before_upgrade=True)
            case "crash":
                raise RuntimeError("internal text")
            case user:
                return user

    async def on_disconnect(self, connection: Any, code: int, reason: str) -> None:
        self.gone.append((code, reason))

    def server(self, **options: Any) -> LiveServer:
        @live
        async def add(ctx: Context[Any], row: dict[str, Any]) -> int:
            self.rows.append(row)
            ctx.publish("rows", "created", row)
            return len(self.rows)

        @live
        def echo(ctx: Context[Any], value: Any) -> Any:
            return value

        @live.stream("rows")
        async def rows(ctx: Context[Any]) -> list[dict[str, Any]]:
            return list(self.rows)

        module = SimpleNamespace(add=add, rows=rows, echo=echo, _guard=public())
        return LiveServer(
            {"demo": module},
            on_connect=self.on_connect,
            on_disconnect=self.on_disconnect,
            limits=QUICK,
            **options,
        )


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture(params=DOORS, ids=repr)
def door(request: pytest.FixtureRequest) -> Door:
    given: Door = request.param
    return given


@pytest.fixture
async def at(door: Door, app: App) -> AsyncIterator[At]:
    async with door.serve(app.server(**door.options)) as at:
        yield at


@contextmanager
def closing(code: int) -> Iterator[None]:
    with pytest.raises(ConnectionClosed) as caught:
        yield
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == code


async def test_calls_and_streams_work(at: At) -> None:
    async with connect(at.url) as client, client.stream(remote("demo/rows")) as rows:
        assert await client.call(remote("demo/echo"), {"ü": [1, None]}) == {"ü": [1, None]}
        assert await client.call(remote("demo/add"), {"id": 1}) == 1
        assert rows.value == [{"id": 1}]


async def test_large_and_many_messages_arrive_whole_and_in_order(at: At) -> None:
    async with connect(at.url) as client:
        for size in (125, 126, 65_535, 65_536, 900_000):
            assert await client.call(remote("demo/echo"), "x" * size) == "x" * size
        calls = [client.call(remote("demo/echo"), number) for number in range(500)]
        assert await asyncio.gather(*calls) == list(range(500))


async def test_the_first_frame_is_welcome(at: At) -> None:
    async with open_websocket(at.url) as ws:
        assert json.loads(await ws.recv())["type"] == "welcome"


@pytest.mark.parametrize(("who", "code", "reason"), [("expired", 4401, "token expired"), ("banned", 4403, "x" * 123)])
async def test_a_rejected_client_is_accepted_and_closed_for_good(at: At, who: str, code: int, reason: str) -> None:
    async with open_websocket(f"{at.url}?as={who}") as ws:
        with closing(code):
            await ws.recv()
        assert ws.close_reason == reason
    with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
        async with connect(f"{at.url}?as={who}") as client:
            await client.call(remote("demo/echo"), 1)


@pytest.mark.parametrize(("who", "status"), [("early", 401), ("crash", 500)])
async def test_a_refusal_before_the_upgrade_is_an_http_answer_without_details(at: At, who: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await open_websocket(f"{at.url}?as={who}")
    assert caught.value.response.status_code == status
    assert b"internal text" not in (caught.value.response.body or b"")


async def test_the_request_is_seen_whole_and_shows_no_secret(at: At, app: App) -> None:
    headers = {"Cookie": "session=s3cret; theme=dark", "X-Thing": "1"}
    async with open_websocket(f"{at.url}?token=s3cret&x=a%20b", additional_headers=headers):
        pass
    [request] = app.requests
    assert request.path == "/ws"
    assert request.query == {"token": "s3cret", "x": "a b"}
    assert request.cookies == {"session": "s3cret", "theme": "dark"}
    assert request.headers["x-thing"] == "1"
    assert request.address == "127.0.0.1"
    assert "s3cret" not in repr(request)


@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        ("http://127.0.0.1:{port}", True),
        ("http://127.0.0.1:1", False),
        ("http://evil.example", False),
        ("null", False),
        ("http://[", False),
        (None, True),
    ],
)
async def test_only_pages_of_the_same_host_may_connect(at: At, origin: str | None, accepted: bool) -> None:
    given: Any = origin.format(port=at.port) if origin else None
    if accepted:
        async with open_websocket(at.url, origin=given) as ws:
            await ws.recv()
        return
    with pytest.raises(InvalidStatus) as caught:
        await open_websocket(at.url, origin=given)
    assert caught.value.response.status_code == 403


async def test_listed_origins_may_connect_and_no_others(door: Door, app: App) -> None:
    async with door.serve(app.server(origins=["https://app.example"], **door.options)) as at:
        async with open_websocket(at.url, origin="https://app.example"):  # type: ignore[arg-type]
            pass
        with pytest.raises(InvalidStatus):
            await open_websocket(at.url, origin=f"http://127.0.0.1:{at.port}")  # type: ignore[arg-type]


async def test_an_oversized_frame_closes_that_connection_only(at: At) -> None:
    async with connect(at.url) as other, open_websocket(at.url) as ws:
        await ws.recv()
        await ws.send('{"rpc":"demo/echo","id":"1","args":["' + "x" * (1 << 20) + '"]}')
        with closing(1009):
            await ws.recv()
        assert await other.call(remote("demo/echo"), 1) == 1


async def test_health_is_answered_on_the_same_port(at: At) -> None:
    answer = await ask(at, "GET", "/healthz")
    assert (answer.status, answer.body) == (200, b'{"status":"ok"}\n')


@pytest.mark.parametrize(("target", "status"), [("/nope", 404), ("/ws", 426)])
async def test_other_http_requests_are_told_what_is_wrong(at: At, target: str, status: int) -> None:
    assert (await ask(at, "GET", target)).status == status


async def test_a_client_comes_back_after_a_restart_and_has_the_new_value(door: Door, app: App) -> None:
    async with door.serve(app.server(**door.options)) as at:
        client = connect(at.url, config=EAGER)
        await client.__aenter__()
        rows = await client.stream(remote("demo/rows")).open()
    assert client.status == "reconnecting"
    app.rows.append({"id": "while away"})
    async with door.serve(app.server(**door.options), port=at.port):
        assert await rows.wait_for(lambda value: len(value) == 1) == [{"id": "while away"}]
        await client.aclose()


async def test_shutting_down_says_goodbye_and_tells_the_application(door: Door, app: App) -> None:
    async with door.serve(app.server(**door.options)) as at:
        ws = await open_websocket(at.url)
        await ws.recv()
    with closing(door.goodbye):
        await ws.recv()
    assert [code for code, _ in app.gone] == [door.goodbye]


async def test_a_port_in_use_is_one_clear_sentence(app: App) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}.*choose another port"):
            async with app.server().serve(port=port):
                pass


async def test_a_server_serves_again_after_it_stopped(door: Door, app: App) -> None:
    server = app.server(**door.options)
    for _ in range(2):
        async with door.serve(server) as at, connect(at.url) as client:
            assert await client.call(remote("demo/echo"), 1) == 1


async def test_the_token_is_in_a_file_only_the_user_can_read_while_the_server_runs(
    app: App, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    async with app.server(inspect=Inspect(enabled=True)).serve(port=0) as at:
        [entry] = runtime_entries()
        assert entry.url == at.attach_url
        assert len(entry.token) >= 16
        assert entry.token not in repr(entry)
        [file] = runtime_directory().iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert runtime_entries() == []

"""The asyncio client over real sockets, against a small server of the ``websockets`` package."""

from __future__ import annotations

import asyncio
import json
import logging
import socket as sockets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from liverpc._types import remote
from liverpc.client import Client, ClientConfig, RpcError, connect
from liverpc.client.socket import SocketClosed
from liverpc.client.websocket import websocket_connector
from liverpc.errors import ConfigError
from liverpc.wire.codec import call_text

pytestmark = pytest.mark.realtime

Handler = Callable[[ServerConnection], Awaitable[None]]


class Row(msgspec.Struct):
    id: str


class Demo:
    """Answers ``demo/echo``, ``demo/add`` and the stream ``demo/rows`` as other servers of the protocol do."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []
        self.connections: list[ServerConnection] = []
        self.controls: list[Any] = []

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        await connection.send('{"type":"welcome","sessionId":"6f0d7c1e"}')
        async for text in connection:
            # Other servers tell frames apart by their first bytes.
            if text[:3] == '{"t':
                self.controls.append(json.loads(text))
            else:
                assert text[:3] == '{"r'
                await self._answer(connection, json.loads(text))

    async def _answer(self, connection: ServerConnection, frame: Any) -> None:
        members: dict[str, Any] = {"data": frame["args"]}
        if frame["rpc"] == "demo/rows":
            members = {"data": self.rows, "topic": "rows", "merge": "crud", "key": "id"}
        elif frame["rpc"] == "demo/add":
            row = {"id": frame["args"][0]}
            self.rows.append(row)
            event = {"topic": "rows", "event": "created", "data": row, "seq": len(self.rows)}
            await connection.send(json.dumps({"type": "batch", "events": [event]}))
        body = {"id": frame["id"], "ok": True} | members
        await connection.send(json.dumps({"topic": "__rpc", "event": frame["id"], "data": body}))


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[tuple[Server, str]]:
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield server, f"ws://127.0.0.1:{port}/ws"


QUICK = ClientConfig(backoff_base=0.01, connect_timeout=5.0, timeout=5.0)


async def status(client: Client, wanted: str) -> None:
    changed = asyncio.Event()
    stop = client.on_status(lambda _: changed.set())
    try:
        async with asyncio.timeout(5.0):
            while client.status != wanted:
                changed.clear()
                await changed.wait()
    finally:
        stop()


async def test_calls_and_streams_against_a_server_of_the_protocol() -> None:
    demo = Demo()
    async with serving(demo) as (_, url), connect(url, config=QUICK) as client:
        assert await client.call(remote("demo/echo", returns=list[str]), "hällo") == ["hällo"]
        async with client.stream(remote("demo/rows", returns=list[Row])) as rows:
            assert rows.value == []
            await client.call(remote("demo/add"), "t1")
            assert rows.value == [Row("t1")]
        await client.call(remote("demo/echo"))
        assert demo.controls == [
            {"type": "hello", "caps": ["batch", "upload"]},
            {"type": "unsubscribe", "topic": "rows"},
        ]


async def test_frames_of_one_turn_leave_in_one_piece_and_in_order() -> None:
    demo = Demo()
    async with serving(demo) as (_, url):
        socket: Any = await websocket_connector(url, config=QUICK)()
        pieces: list[bytes] = []
        write = socket._connection.transport.write

        def counted(data: bytes) -> None:
            pieces.append(data)
            write(data)

        socket._connection.transport.write = counted
        await socket.send_all(iter([call_text("demo/echo", str(number), [number]) for number in range(20)]))
        assert len(pieces) == 1
        assert "welcome" in await socket.recv()
        answers = [json.loads(await socket.recv()) for _ in range(20)]
        assert [answer["data"]["data"] for answer in answers] == [[number] for number in range(20)]
        await socket.close()
        with pytest.raises(SocketClosed):
            await socket.send_all(iter(["{}"]))


async def test_behind_bytes_a_piece_ends_and_they_are_sent_as_binary_messages() -> None:
    got: list[str | bytes] = []

    async def keep(connection: ServerConnection) -> None:
        got.extend([message async for message in connection])

    async with serve(keep, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        socket: Any = await websocket_connector(f"ws://127.0.0.1:{port}/", config=QUICK)()
        pieces: list[bytes] = []
        write = socket._connection.transport.write

        def counted(data: bytes) -> None:
            pieces.append(data)
            write(data)

        socket._connection.transport.write = counted
        messages: list[str | bytes] = ["a", "b", b"1", "c", b"2", b"3"]
        await socket.send_all(iter(messages))
        await socket.send(b"4")
        assert len(pieces) == 3 + 1
        await socket.close()
    assert got == [*messages, b"4"]


async def test_the_kernel_queues_little_that_nothing_could_overtake() -> None:
    async with serving(Demo()) as (_, url):
        socket: Any = await websocket_connector(url, config=QUICK)()
        raw = socket._connection.transport.get_extra_info("socket")
        option = getattr(sockets, "TCP_NOTSENT_LOWAT", None)  # not on every system
        assert option is None or raw.getsockopt(sockets.IPPROTO_TCP, option) == 65_536
        await socket.close()


async def test_far_more_than_the_network_takes_at_once_arrives_in_order() -> None:
    demo = Demo()
    async with serving(demo) as (_, url), connect(url, config=QUICK) as client:
        text = "x" * 20_000
        calls = [asyncio.create_task(client.call(remote("demo/echo"), number, text)) for number in range(100)]
        assert [first for first, _ in await asyncio.gather(*calls)] == list(range(100))


async def test_a_lost_connection_comes_back_with_its_streams() -> None:
    demo = Demo()
    async with (
        serving(demo) as (_, url),
        connect(url, config=QUICK) as client,
        client.stream(remote("demo/rows")) as rows,
    ):
        demo.rows.append({"id": "missed"})
        demo.connections[0].transport.abort()
        await status(client, "reconnecting")
        assert client.failure is not None
        assert client.failure.code == 1006
        assert await rows.wait_for(lambda value: value == [{"id": "missed"}])
        assert (client.status, rows.status, len(demo.connections)) == ("connected", "connected", 2)


async def test_the_servers_close_code_and_reason_arrive() -> None:
    async def refuse(connection: ServerConnection) -> None:
        await connection.close(4401, "session expired")

    async with serving(refuse) as (_, url), connect(url, config=QUICK) as client:
        await status(client, "closed")
        assert client.failure is not None
        assert (client.failure.code, client.failure.reason) == (4401, "session expired")
        with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
            await client.call(remote("demo/echo"))


async def test_headers_travel_and_stay_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[Any] = []

    def look(connection: ServerConnection, request: Request) -> Response | None:
        seen.append(request.headers.get("Authorization"))
        return None

    quiet = logging.getLogger("tests.quiet")
    quiet.setLevel(logging.INFO)
    async with (
        serving(Demo(), process_request=look, logger=quiet) as (_, url),
        connect(url, config=QUICK, headers={"Authorization": "Bearer s3cret"}) as client,
    ):
        await client.call(remote("demo/echo"))
    assert seen == ["Bearer s3cret"]
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("code", [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN])
async def test_a_handshake_refused_for_good_is_told_with_its_text(code: HTTPStatus) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(code, "who are you?\n" + "x" * 1000)

    async with serving(Demo(), process_request=refuse) as (_, url):
        with pytest.raises(RpcError, match=rf"CONNECTION_CLOSED: .* HTTP {code.value} who are you\?") as caught:
            async with connect(url, config=QUICK):
                pass
        assert len(str(caught.value)) < 400


async def test_a_handshake_refused_for_now_is_tried_again() -> None:
    answers = iter([HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.BAD_GATEWAY])

    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        code = next(answers, None)
        return connection.respond(code, "later") if code else None

    async with serving(Demo(), process_request=refuse) as (_, url), connect(url, config=QUICK) as client:
        assert await client.call(remote("demo/echo"), 1) == [1]


def test_connecting_outside_of_a_loop_names_the_client_that_needs_none() -> None:
    with pytest.raises(RuntimeError, match=r"liverpc\.client\.sync"):
        connect("ws://127.0.0.1:1/ws")


async def test_nobody_there_is_a_timeout_with_the_reason() -> None:
    with sockets.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/ws"
        config = ClientConfig(connect_timeout=0.2, backoff_base=0.05)
        with pytest.raises(RpcError, match=r"TIMEOUT: no connection within 0.2 s: 1006 .*[Cc]onnect"):
            async with connect(url, config=config):
                pass


async def test_something_that_is_no_websocket_server_is_a_timeout_with_the_reason() -> None:
    async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(chatter, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"
        config = ClientConfig(connect_timeout=0.3, backoff_base=0.05)
        with pytest.raises(RpcError, match="does not speak WebSocket"):
            async with connect(url, config=config):
                pass


@pytest.mark.parametrize("over", [False, True])
async def test_a_frame_above_the_limit_costs_the_connection_and_one_below_does_not(over: bool) -> None:
    async def big(connection: ServerConnection) -> None:
        async for text in connection:
            frame = json.loads(text)
            if "rpc" in frame:
                head = f'{{"topic":"__rpc","event":"{frame["id"]}","data":{{"ok":true,"data":"'
                size = 1000 + over - len(head) - 3
                await connection.send(head + "x" * size + '"}}')

    config = ClientConfig(message_bytes=1000, timeout=5.0, backoff_base=0.01)
    async with serving(big) as (_, url), connect(url, config=config) as client:
        if not over:
            assert set(await client.call(remote("demo/big", returns=str))) == {"x"}
            return
        with pytest.raises(RpcError, match="DISCONNECTED"):
            await client.call(remote("demo/big"))


async def test_a_server_without_a_word_stays_connected_and_one_without_a_pong_does_not() -> None:
    async def silent(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async def deaf(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await connection.wait_closed()

    pinged = ClientConfig(silence_seconds=0.2, backoff_base=0.01)
    async with serving(deaf, close_timeout=0.1) as (_, url), connect(url, config=pinged) as client:
        await status(client, "reconnecting")
        assert client.failure is not None
        assert "ping" in client.failure.reason
    async with serving(silent) as (_, url), connect(url, config=pinged) as client:
        told: list[str] = []
        client.on_status(told.append)
        with pytest.raises(RpcError, match="TIMEOUT"):
            await client.using(timeout=0.6).call(remote("demo/echo"))
        assert told == []


async def test_cancelling_the_close_leaves_no_socket_and_no_task() -> None:
    async def deaf(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await connection.wait_closed()

    async with serving(deaf, close_timeout=0.1) as (_, url):
        client = connect(url, config=QUICK)
        await client.__aenter__()
        before = asyncio.get_running_loop().time()
        closing = asyncio.create_task(client.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert client.status == "closed"
        assert asyncio.get_running_loop().time() - before < 1.0


@pytest.mark.parametrize("url", ["http://u:s3cret@example.org/ws?s3cret", "example.org", "", "ws:///ws"])
async def test_a_wrong_url_is_refused_at_once_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"wss://example\.org/ws; here ") as caught:
        connect(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "ws://ann:s3cret/x@example.org/ws",  # for a parser, s3cret is the port
        "ws://ann:[s3cret@example.org/ws",
        "ws://ann:s3cret\u2100@example.org/ws",
        "ws://ann:s3cret%FF@example.org/ws",
        "ws://a%3An:s3cret@example.org/ws",
    ],
)
@pytest.mark.parametrize("auth", [False, True])
async def test_credentials_that_cannot_be_sent_are_refused_at_once_without_repeating_them(url: str, auth: bool) -> None:
    with pytest.raises(ConfigError, match="percent-encode") as caught:
        connect(url, auth=auth)
    assert "s3cret" not in str(caught.value)


async def test_credentials_are_given_once() -> None:
    with pytest.raises(ConfigError, match="in the URL and as a header") as caught:
        connect("ws://ann:s3cret@example.org/ws", headers={"authorization": "Bearer s3cret"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("auth", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer s3cret\n"),
        ("Authorization", "Bearer s3cret\r\nX: y"),
        ("Authorization", "Bearer s3cret €"),
        ("Authorization", " Bearer s3cret"),
        ("X Token", "s3cret"),
        ("", "s3cret"),
    ],
)
async def test_a_header_that_cannot_be_sent_is_refused_at_once_without_its_value(
    name: str, value: str, auth: bool
) -> None:
    with pytest.raises(ConfigError, match=f"{name!r} cannot be sent") as caught:
        connect("ws://example.org/ws", headers={name: value}, auth=auth)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "x", "Bearer a.b", "a\tb", "ä"])
async def test_headers_arrive_as_they_were_given(value: str) -> None:
    seen: list[str] = []

    def look(connection: ServerConnection, request: Request) -> Response | None:
        seen.append(request.headers["X-Token"])
        return None

    async with serving(Demo(), process_request=look) as (_, url), connect(url, headers={"X-Token": value}):
        assert seen == [value]


@pytest.mark.parametrize("scheme", ["ws", "https"])
async def test_redirects_are_refusals(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(Demo()) as (_, other):

        def redirect(connection: ServerConnection, request: Request) -> Response | None:
            response = connection.respond(HTTPStatus.FOUND, "elsewhere")
            response.headers["Location"] = other.replace("ws", scheme, 1)
            return response

        config = ClientConfig(connect_timeout=0.3, backoff_base=0.05)
        async with serving(Demo(), process_request=redirect) as (_, url):
            with pytest.raises(RpcError, match=r"TIMEOUT: .* s: HTTP 302 elsewhere"):
                async with connect(url, config=config):
                    pass
    assert "connectors should not" not in caplog.text


async def test_a_certificate_store_for_an_unencrypted_url_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="ssl"):
        connect("ws://example.org/ws", ssl=ssl.create_default_context())


async def test_an_encrypted_connection_trusts_only_the_given_authorities() -> None:
    certificate = Path(__file__).parents[1] / "transports" / "localhost.pem"
    identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity.load_cert_chain(certificate)
    async with serving(Demo(), ssl=identity) as (_, url):
        url = url.replace("ws://127.0.0.1", "wss://localhost")
        trusting = ssl.create_default_context(cafile=str(certificate))
        async with connect(url, config=QUICK, ssl=trusting) as client:
            assert await client.call(remote("demo/echo"), 1) == [1]
        with pytest.raises(RpcError, match="CERTIFICATE_VERIFY_FAILED"):
            async with connect(url, config=ClientConfig(connect_timeout=0.2)):
                pass

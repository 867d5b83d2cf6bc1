"""The gevent client, in processes of its own against servers in this one; and users of one's own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import ssl
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import ConnectRequest, Context, LiveError, LiveServer, Reject, UploadContext, live, public
from liverpc.contrib.locust.frames import CLOSE, PING, PONG, TEXT
from tests.loadtest.load_kit import ROOT, locust

pytestmark = pytest.mark.realtime

PEM = ROOT / "tests" / "transports" / "localhost.pem"
PROBE = Path(__file__).with_name("gevent_probe.py")


@live.stream("numbers", merge="latest")
async def numbers(ctx: Context[Any]) -> list[int]:
    return [0]


@live
async def add(ctx: Context[Any], number: int) -> None:
    ctx.publish("numbers", "event", number)


@live
async def wait(ctx: Context[Any]) -> None:
    await asyncio.Event().wait()


@live
def echo(ctx: Context[Any], value: str) -> str:
    return value


def desk(on_connect: Any = None) -> LiveServer:
    functions = SimpleNamespace(numbers=numbers, add=add, wait=wait, echo=echo, _guard=public())
    return LiveServer({"desk": functions}, on_connect=on_connect)


class Probe:
    """The probe's process, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        fact: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return fact

    async def everything(self) -> list[dict[str, Any]]:
        out, _ = await self._process.communicate()
        assert self._process.returncode == 0
        return [json.loads(line) for line in out.splitlines()]


@asynccontextmanager
async def probing(*arguments: str) -> AsyncIterator[Probe]:
    process = await asyncio.create_subprocess_exec(sys.executable, PROBE, *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        yield Probe(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def probed(*arguments: str) -> list[dict[str, Any]]:
    async with probing(*arguments) as probe:
        return await probe.everything()


# -- against the real server


async def test_calls_and_streams_work_over_tls_with_headers() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    seen: list[str] = []

    def on_connect(request: ConnectRequest) -> None:
        seen.append(request.headers["authorization"])

    server = desk(on_connect)
    async with server.serve("127.0.0.1", 0, ssl=context) as listening:
        url = listening.url.replace("127.0.0.1", "localhost")
        assert await probed("session", url, str(PEM), "secret") == [
            {"opened": True, "echo": True},
            {
                "named": "desk/echo is only a path, so its parameters have no names here: pass value by position, "
                "or the declaration instead of the path"
            },
            {"value": [0, 1]},
            {"code": "NOT_FOUND"},
            {"code": "VALIDATION"},
            {"closed": "closed", "quickly": True},
        ]
        assert seen == ["secret"]


@pytest.mark.parametrize("before_upgrade", [True, False], ids=["by HTTP", "by close code"])
async def test_a_refusal_is_final_and_says_why(before_upgrade: bool) -> None:
    def on_connect(request: ConnectRequest) -> None:
        raise Reject("FORBIDDEN", "not you", before_upgrade=before_upgrade)

    async with desk(on_connect).serve("127.0.0.1", 0) as listening:
        (fact,) = await probed("session", listening.url, str(PEM), "secret")
        assert (fact["opened"], fact["code"]) == (False, "CONNECTION_CLOSED")
        assert "not you" in fact["text"]
        assert "403" in fact["text"]


async def test_a_stream_outlives_its_server() -> None:
    async with AsyncExitStack() as stack:
        async with desk().serve("127.0.0.1", 0) as listening:
            port = int(listening.url.rpartition(":")[2].partition("/")[0])
            probe = await stack.enter_async_context(probing("comes_back", listening.url))
            assert await probe.says() == {"subscribed": True}
        server = desk()
        await stack.enter_async_context(server.serve("127.0.0.1", port))
        assert await probe.says() == {"subscribed": "again"}
        server.publish_nowait("numbers", "event", 7)
        assert await probe.everything() == [{"event": 7}]


async def test_a_call_times_out_on_a_silent_connection() -> None:
    async with desk().serve("127.0.0.1", 0) as listening:
        assert await probed("times_out", listening.url) == [{"code": "TIMEOUT"}]


class Bytes:
    """A server whose functions take bytes."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.seen: set[str] = set()
        self.ended: dict[str, str] = {}

        @live.binary()
        async def weigh(ctx: Context[Any], data: bytes, times: int) -> int:
            return len(data) * times

        @live.upload()
        async def store(ctx: UploadContext[Any], name: str = "") -> int:
            size = 0
            try:
                async for chunk in ctx.upload:
                    size += len(chunk)
                    self.seen.add(name)
            except LiveError as error:
                self.ended[name] = error.code
                raise
            return size

        @live.upload()
        async def hold(ctx: UploadContext[Any]) -> int:
            size = len(await anext(ctx.upload))
            self.seen.add("hold")
            await self.released.wait()
            return size + sum([len(chunk) async for chunk in ctx.upload])

        @live.upload()
        async def refuse(ctx: UploadContext[Any]) -> None:
            raise LiveError("CONFLICT", "not this one")

        @live
        def held(ctx: Context[Any]) -> bool:
            return "hold" in self.seen

        @live
        def release(ctx: Context[Any]) -> None:
            self.released.set()

        @live
        def seen(ctx: Context[Any], name: str) -> bool:
            return name in self.seen

        @live
        def ended(ctx: Context[Any]) -> dict[str, str]:
            return self.ended

        functions = (weigh, store, hold, refuse, held, release, seen, ended)
        names = {each.__name__: each for each in functions}
        self.server = LiveServer({"desk": SimpleNamespace(**names, _guard=public())})


async def test_bytes_go_both_ways_beside_calls_and_end_early_as_they_should() -> None:
    async with Bytes().server.serve("127.0.0.1", 0) as listening:
        assert await probed("uploads", listening.url) == [
            {"binary": 140_000},
            {"bytes": 0},
            {"bytes": 3},
            {"bytes": 300_000},
            {"bytes": 3_000_000},
            {"waits": True},
            {"bytes": 6_553_600},
            {"code": "CONFLICT"},
            {"raised": "no more"},
            {"done": True, "sends": False},
            {"code": "CANCELLED"},
            {"code": "CONNECTION_CLOSED"},
            {"code": "CONNECTION_CLOSED"},
            {
                "ended": {
                    "broken": "CANCELLED",
                    "killed": "CANCELLED",
                    "cut False": "DISCONNECTED",
                    "cut True": "DISCONNECTED",
                    "brief": "CANCELLED",
                }
            },
        ]


# -- against servers that say what the real one does not


def server_frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    return bytes([opcode | (128 if fin else 0), len(payload)]) + payload


async def read_frame(reader: StreamReader) -> tuple[int, bytes]:
    first, size = await reader.readexactly(2)
    assert size & 128
    size &= 127
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    key = await reader.readexactly(4)
    data = await reader.readexactly(size)
    return first & 15, bytes(byte ^ key[i % 4] for i, byte in enumerate(data))


async def handshake(reader: StreamReader) -> bytes:
    """What makes a client believe that this is a WebSocket server."""
    head = await reader.readuntil(b"\r\n\r\n")
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", head)
    assert key is not None
    return base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


async def raw(
    answer: bytes, frames: bytes, action: str = "raw"
) -> tuple[list[dict[str, Any]], list[tuple[int, bytes]]]:
    """What the probe says of a server that sends this, and what it sent.

    ``answer`` goes out instead of the end of the handshake if it is not empty; ``{accept}`` in it is filled in.
    """
    got: list[tuple[int, bytes]] = []
    done = asyncio.Event()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            writer.write(answer.replace(b"{accept}", await handshake(reader)) + frames)
            while True:
                got.append(await read_frame(reader))
        except asyncio.IncompleteReadError:
            writer.close()
            done.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        said = await probed(action, f"ws://127.0.0.1:{port}/ws")
        await done.wait()
    return said, got


AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: {accept}\r\n\r\n"
)


async def test_fragments_pings_and_the_goodbye_are_answered_as_they_should() -> None:
    said, got = await raw(
        AGREED,
        server_frame(TEXT, b"he", fin=False)
        + server_frame(PING, b"?")
        + server_frame(0, b"llo")
        + server_frame(TEXT, b"more")
        + server_frame(CLOSE, b"\x03\xe9bye"),
    )
    assert said == [{"message": "hello"}, {"message": "more"}, {"code": 1001, "reason": "bye"}]
    assert sorted(got) == sorted(
        [(TEXT, b"one"), (TEXT, b"two" * 30_000), (PONG, b"?"), (CLOSE, (1000).to_bytes(2, "big"))]
    )


async def test_a_server_that_breaks_the_protocol_is_told_so() -> None:
    said, got = await raw(AGREED, server_frame(TEXT, b"last") + b"\x81\xff")
    assert said[0] == {"message": "last"}
    assert said[1]["code"] == 1002
    assert (CLOSE, (1002).to_bytes(2, "big")) in got


async def test_a_server_that_does_not_say_goodbye_is_left_all_the_same() -> None:
    said, got = await raw(AGREED, server_frame(TEXT, b"welcome"), "stubborn")
    assert said == [{"closed": "closed", "soon": True}]
    assert got[-1] == (CLOSE, (1000).to_bytes(2, "big"))


async def test_an_attempt_that_was_given_up_is_no_failure_of_the_server() -> None:
    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(AGREED.replace(b"{accept}", await handshake(reader)))
        opcode, payload = await read_frame(reader)
        writer.write(server_frame(opcode, payload))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await probed("unwelcome", f"ws://127.0.0.1:{port}/ws") == [{"attempts": [], "left": True}]


async def test_a_ping_is_answered_while_there_is_no_end_of_messages() -> None:
    answered = asyncio.Event()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(AGREED.replace(b"{accept}", await handshake(reader)))
        await read_frame(reader)
        writer.write(server_frame(PING, b"?"))
        for _ in range(20_000):
            if await read_frame(reader) == (PONG, b"?"):
                answered.set()
                break
        writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        said = await probed("busy", f"ws://127.0.0.1:{port}/ws")
    assert answered.is_set()
    assert said == [{"closed": True}]


async def test_a_server_that_stops_reading_in_the_middle_of_an_upload_is_left_all_the_same() -> None:
    left = asyncio.Event()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(AGREED.replace(b"{accept}", await handshake(reader)))
        writer.write(server_frame(TEXT, b'{"type":"upload-limits","frameBytes":65536,"windowBytes":99999999}'))
        await left.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        said = await probed("stuck", f"ws://127.0.0.1:{port}/ws")
        left.set()
    assert said == [{"soon": True, "code": "CONNECTION_CLOSED"}]


@pytest.mark.parametrize(
    ("answer", "refused", "text"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", "HandshakeRefused", "busy"),
        (AGREED.replace(b"{accept}", b"wrong"), "SocketClosed", "does not speak WebSocket"),
        (b"SSH-2.0-server\r\n\r\n", "SocketClosed", "does not speak HTTP"),
    ],
    ids=["refused", "wrong answer", "not HTTP"],
)
async def test_a_handshake_that_fails_says_how(answer: bytes, refused: str, text: str) -> None:
    said, _ = await raw(answer, b"")
    assert said[0]["refused"] == refused
    assert text in said[0]["text"]


# -- users of one's own


def test_uploads_and_binary_calls_of_a_user_are_recorded(host: str, environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "locustfile.py"
    file.write_text(
        "from contextlib import suppress\n"
        "from locust import constant, task\n"
        "from liverpc import RpcError\n"
        "from liverpc.contrib.locust import LiveUser\n"
        "class Uploader(LiveUser):\n"
        "    wait_time = constant(3600)\n"
        "    @task\n"
        "    def once(self):\n"
        "        assert self.upload('files/store', [b'a', b'b'], 'x')['bytes'] == 2\n"
        "        assert self.binary('files/avatar', b'GIF8')['kind'] == 'gif'\n"
        "        with suppress(RpcError):\n"
        "            self.upload('files/none', b'')\n"
    )
    done = locust(
        *("--headless", "--only-summary", "-t", "3s", "--host", host), environ=environ, cwd=tmp_path, file=file
    )
    assert "Traceback" not in done.stderr
    lines = [line.split() for line in done.stderr.splitlines()]
    for series in (["UP", "files/store"], ["RPC", "files/avatar"]):
        assert next(line[2] for line in lines if line[:2] == series) == "1"
    assert "UP files/none: NOT_FOUND" in done.stderr


def test_a_user_that_is_refused_stops_and_is_counted(host: str, environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "locustfile.py"
    file.write_text(
        "from locust import task\n"
        "from liverpc.contrib.locust import ConnectOptions, LiveUser\n"
        "class Stranger(LiveUser):\n"
        "    def connect_options(self):\n"
        "        return ConnectOptions(url=self.host + '/ws?user=' + 'x' * 65)\n"
        "    @task\n"
        "    def talk(self):\n"
        "        self.call('chat/send', 'general', 'never')\n"
    )
    done = locust(
        *("--headless", "--only-summary", "-t", "3s", "--host", host), environ=environ, cwd=tmp_path, file=file
    )
    assert done.returncode == 1
    assert "WS connect: close_4403" in done.stderr
    assert "chat/send" not in done.stderr


def test_without_locust_the_error_names_the_extra() -> None:
    code = (
        "import sys\n"
        "sys.modules['locust'] = sys.modules['gevent'] = None\n"
        "import liverpc.contrib.locust.ledger, liverpc.contrib.locust.frames\n"
        "from liverpc.contrib.locust import LiveUser\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError" in done.stderr
    assert "pip install 'liverpc[loadtest]'" in done.stderr


def test_the_pure_parts_load_neither_gevent_nor_locust() -> None:
    names = ("ledger", "histogram", "schedule", "frames", "target", "people", "mix")
    code = "import sys\n" + "".join(f"import liverpc.contrib.locust.{name}\n" for name in names)
    code += "print({'gevent', 'locust', 'asyncio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_locust_is_changed_by_the_first_recorder_and_not_by_an_import() -> None:
    code = """
from liverpc.contrib.locust.recorder import recorder_of
from locust import stats
from locust.env import Environment
one, other = Environment(), Environment()
before = stats.bucket_response_time(1.234)
for each in (one, other):
    each.create_local_runner()
recorders = [recorder_of(each) for each in (one, one, other)]
print(before, stats.bucket_response_time(1.234), [recorders.index(each) for each in recorders])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "1 1.23 [0, 0, 2]\n"

"""Programs that serve, as people start and stop them: uvicorn with the door, hypercorn, granian."""

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from liverpc import remote
from liverpc.client import connect
from tests.e2e.doors import At, ask, free_port, subprocess_at

pytestmark = pytest.mark.realtime

PROGRAM = """
import asyncio
from types import SimpleNamespace

from fastapi import FastAPI, WebSocket
from liverpc import Limits, LiveServer, Reject, live, public


@live
def echo(ctx, value):
    return value


@live
async def slow(ctx, seconds):
    await asyncio.sleep(seconds)
    return "done"


def on_connect(request):
    if request.query.get("as") == "early":
        raise Reject("THROTTLED", "later", before_upgrade=True)
    if request.query.get("as") == "expired":
        raise Reject("UNAUTHENTICATED", "expired")


server = LiveServer(
    {"demo": SimpleNamespace(echo=echo, slow=slow, _guard=public())},
    on_connect=on_connect,
    limits=Limits(close_seconds=0.5, linger_seconds=0.5, drain_seconds=5),
)
alone = server.asgi()
app = FastAPI(lifespan=server.lifespan)


@app.get("/items/{number}")
async def item(number: int):
    return {"number": number}


@app.websocket("/foreign")
async def foreign(ws: WebSocket):
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text("foreign " + text)


app.mount("/", server.asgi())
unaware = FastAPI()  # whoever wrote it forgot the lifespan
unaware.mount("/", app)
"""
DOOR = ("--ws", "liverpc.transports.uvicorn:LiveDoor")
# uvicorn prefers httptools where it is installed; it is not among its own dependencies.
PARSERS = ["h11", *(["httptools"] if find_spec("httptools") else [])]


@asynccontextmanager
async def running(folder: Path, *command: str) -> AsyncIterator[tuple[At, subprocess.Popen[str]]]:
    (folder / "program.py").write_text(PROGRAM)
    port = free_port()
    where = ("--bind", f"127.0.0.1:{port}") if command[0] == "hypercorn" else ("--port", str(port))
    with subprocess_at(folder, port, *command, *where) as process:
        yield At(port, "/ws"), process


def uvicorn(*options: str) -> tuple[str, ...]:
    return ("uvicorn", "program:app", "--no-access-log", *DOOR, *options)


def ending(process: subprocess.Popen[str]) -> float:
    """Seconds until a program ends that was just told to."""
    begin = time.monotonic()
    process.wait(15)
    return time.monotonic() - begin


async def code_of_the_goodbye(url: str, process: subprocess.Popen[str]) -> int | None:
    async with open_websocket(url) as ws:
        await ws.recv()  # the welcome
        process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as caught:
            await ws.recv()
    return caught.value.rcvd.code if caught.value.rcvd else None


async def test_the_example_of_the_manual_is_served(tmp_path: Path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()
    code = manual.split("```python name=api.py\n")[1].split("```")[0]
    (tmp_path / "api.py").write_text(code)
    async with running(tmp_path, "uvicorn", "api:app", *DOOR) as (at, _), connect(at.url) as client:
        assert await client.call(remote("demo/double"), 21) == 42
        assert (await ask(at, "GET", "/items/7")).body == b'{"number":7}'
        assert (await ask(at, "GET", "/readyz")).status == 200


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_the_uvicorn_door_works_with_every_parser_and_loop(tmp_path: Path, parser: str, loop: str) -> None:
    async with running(tmp_path, *uvicorn("--http", parser, "--loop", loop)) as (at, process):
        async with connect(at.url) as client:
            for size in (1, 70_000, 900_000):
                assert await client.call(remote("demo/echo"), "x" * size) == "x" * size
            calls = [client.call(remote("demo/echo"), number) for number in range(300)]
            assert await asyncio.gather(*calls) == list(range(300))
        assert (await ask(at, "GET", "/items/7")).body == b'{"number":7}'
        assert (await ask(at, "GET", "/readyz")).status == 200
        with pytest.raises(InvalidStatus, match="429"):
            await open_websocket(at.url + "?as=early")
        async with open_websocket(at.base + "/foreign") as foreign:
            await foreign.send("x" * 70_000)
            assert await foreign.recv() == "foreign " + "x" * 70_000
            # A peer that reads nothing and answers nothing must not hold the end up.
            reader, writer = await asyncio.open_connection(at.host, at.port)
            writer.write(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            assert await code_of_the_goodbye(at.url, process) == 1001
            with pytest.raises(ConnectionClosed):
                await foreign.recv()
        assert await asyncio.to_thread(ending, process) < 4
        writer.close()


async def test_a_call_that_runs_when_uvicorn_ends_is_answered(tmp_path: Path) -> None:
    async with running(tmp_path, *uvicorn()) as (at, process), connect(at.url) as client:
        await client.call(remote("demo/echo"), 1)
        call = asyncio.create_task(client.call(remote("demo/slow"), 0.5))
        await client.call(remote("demo/echo"), 1)  # the other one has arrived
        process.send_signal(signal.SIGTERM)
        assert await call == "done"
        await asyncio.to_thread(ending, process)


async def test_the_goodbyes_fit_into_uvicorns_patience(tmp_path: Path) -> None:
    # By its own limits the server would wait for the call for five seconds.
    async with running(tmp_path, *uvicorn("--timeout-graceful-shutdown", "1")) as (at, process):
        async with open_websocket(at.url) as busy:
            await busy.recv()
            await busy.send('{"rpc":"demo/slow","id":"1","args":[60]}')
            await busy.send('{"rpc":"demo/echo","id":"2","args":[1]}')
            await busy.recv()
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as caught:
                await busy.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001
        assert await asyncio.to_thread(ending, process) < 2


@pytest.mark.parametrize("app", ["unaware", "app"])
async def test_an_empty_state_is_one_warning_with_the_cure(tmp_path: Path, app: str) -> None:
    lifespan = "off" if app == "app" else "on"
    command = ("uvicorn", f"program:{app}", "--lifespan", lifespan, *DOOR)
    async with running(tmp_path, *command) as (at, process):
        for _ in range(3):
            with pytest.raises(InvalidStatus) as caught:
                await open_websocket(at.url)
            assert caught.value.response.status_code == 503
            assert b"FastAPI(lifespan=server.lifespan)" in (caught.value.response.body or b"")
        async with open_websocket(at.base + "/foreign") as foreign:
            await foreign.send("a")
            assert await foreign.recv() == "foreign a"
        process.send_signal(signal.SIGTERM)
        log, _ = await asyncio.to_thread(process.communicate)
    assert log.count("found no LiveServer") == 1


@pytest.mark.parametrize("app", ["alone", "app"])
@pytest.mark.parametrize("program", ["hypercorn", "granian"])
async def test_other_asgi_servers_serve_it_alone_and_mounted(tmp_path: Path, program: str, app: str) -> None:
    command = {
        "hypercorn": ("hypercorn", f"program:{app}"),
        "granian": ("granian", "--interface", "asgi", f"program:{app}"),
    }[program]
    async with running(tmp_path, *command) as (at, process):
        async with connect(at.url) as client:
            for size in (1, 70_000, 900_000):
                assert await client.call(remote("demo/echo"), "x" * size) == "x" * size
            calls = [client.call(remote("demo/echo"), number) for number in range(300)]
            assert await asyncio.gather(*calls) == list(range(300))
        assert (await ask(at, "GET", "/readyz")).status == 200
        assert (await ask(at, "GET", "/ws")).status == 426
        assert (await ask(at, "POST", "/__ws/auth", headers={"sec-fetch-site": "same-origin"})).status == 204
        assert (await ask(at, "GET", "/items/7")).status == (200 if app == "app" else 404)
        with pytest.raises(InvalidStatus) as caught:
            await open_websocket(at.url + "?as=early")
        assert caught.value.response.status_code == 429
        async with open_websocket(at.url + "?as=expired") as ws:
            with pytest.raises(ConnectionClosed):
                await ws.recv()
            assert (ws.close_code, ws.close_reason) == (4401, "expired")
        async with open_websocket(at.url) as ws:
            await ws.recv()
            await ws.send('{"rpc":"demo/echo","id":"1","args":["' + "x" * (1 << 20) + '"]}')
            with pytest.raises(ConnectionClosed):
                await ws.recv()
            assert ws.close_code == 1009
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(ending, process) < 8

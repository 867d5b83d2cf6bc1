"""A server that is killed and started again: its clients end with what it has, whatever its log says then."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from liverpc import ClientConfig, remote
from liverpc.client import connect

pytestmark = pytest.mark.realtime

PROGRAM = """
import sys
from pathlib import Path
from types import SimpleNamespace

from liverpc import LiveServer, live, public

file = Path(sys.argv[2])


def saved():
    return [{"id": line} for line in file.read_text().split()]


@live.stream("rows", replay=True)
def rows(ctx):
    return saved()


@live.stream("last", merge="latest", max=100, replay=True)
def last(ctx):
    return saved()


@live
def add(ctx, name: str) -> None:
    file.write_text(file.read_text() + name + "\\n")
    for topic in ("rows", "last"):
        ctx.publish(topic, "created", {"id": name})


LiveServer({"demo": SimpleNamespace(rows=rows, last=last, add=add, _guard=public())}).run(port=int(sys.argv[1]))
"""
CONFIG = ClientConfig(backoff_base=0.05, backoff_max=0.2)


@asynccontextmanager
async def running(program: Path, port: int, file: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), str(port), str(file), stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        while b"listens on" not in (line := await process.stderr.readline()):
            assert line, "the server ended"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("later", [0, 2, 6], ids=["none", "fewer", "more"])
async def test_after_a_kill_every_client_has_what_the_server_has(tmp_path: Path, later: int) -> None:
    program, file = tmp_path / "program.py", tmp_path / "rows"
    program.write_text(PROGRAM)
    file.write_text("")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"ws://127.0.0.1:{port}/ws"
    add = remote("demo/add")
    async with (
        running(program, port, file) as first,
        connect(url, config=CONFIG) as client,
        client.stream(remote("demo/rows")) as rows,
        client.stream(remote("demo/last")) as last,
    ):
        for name in "abc":
            await client.call(add, name)
        await rows.wait_for(lambda value: len(value) == 3)
        first.kill()
        await rows.wait_for(lambda _: rows.status == "reconnecting")
        await first.wait()
        file.write_text(file.read_text() + "lost\n")  # happened while no server was there to tell
        async with running(program, port, file):
            async with connect(url, config=CONFIG) as other:
                for number in range(later):
                    await other.call(add, f"n{number}")
                await rows.wait_for(lambda _: rows.status == "connected", timeout=20)
                await client.call(add, "end")
            expected = [{"id": name} for name in file.read_text().split()]
            for handle in (rows, last):
                assert await handle.wait_for(lambda value: value[-1:] == expected[-1:], timeout=20) == expected

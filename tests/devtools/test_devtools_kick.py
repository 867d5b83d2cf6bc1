"""The devtools against a server of ours on a real socket: its rooms, and the closing of connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, Inspect, LiveServer, Token, guard, live, remote
from liverpc.client import ClientConfig, connect
from liverpc.inspector.protocol import ATTACH_PATH, Look
from liverpc_devtools.core.attach import Link, Want
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.target import Target

pytestmark = pytest.mark.realtime

ADMIN, OBSERVE = "the-token-of-an-admin", "the-token-of-an-observer"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    @live.room("board:{board_id}", cursors=True, path="demo/board")
    async def board(ctx: Context[Any], board_id: str) -> list[Any]:
        return []

    tokens = Token(secret=ADMIN, level="admin"), Token(secret=OBSERVE)
    server = LiveServer(
        {"demo": SimpleNamespace(board=board, _guard=guard(lambda ctx: None))},
        on_connect=lambda request: {"id": request.query["user"]},
        inspect=Inspect(enabled=True, tokens=tokens),
    )
    async with server.serve(port=0) as listening:
        yield f"ws://127.0.0.1:{listening.port}"


@contextlib.asynccontextmanager
async def attached(url: str, want: Want = "admin") -> AsyncIterator[Model]:
    model = Model()
    link = Link(lambda: Target(url + ATTACH_PATH, ADMIN if want == "admin" else OBSERVE), want, model)
    task = asyncio.create_task(link.run())
    try:
        yield model
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def run(command: str, url: str, *argv: str, token: str = ADMIN) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "liverpc_devtools.cli", command, url, *argv),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LIVERPC_ATTACH_TOKEN": token, "XDG_RUNTIME_DIR": "/nonexistent"},
    )
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def kick(url: str, *argv: str, token: str = ADMIN) -> tuple[int, str, str]:
    return await run("kick", url, *argv, "--yes", token=token)


async def test_a_snapshot_has_the_rooms(url: str) -> None:
    async with connect(f"{url}/ws?user=ann") as ann, ann.stream(remote("demo/board/__data"), "b1"):
        _, out, _ = await run("snapshot", url, token=OBSERVE)
    record = json.loads(out)
    assert [(each["name"], each["members"]) for each in record["rooms"]] == [("board:b1", 1)]
    assert [(each["name"], each["key"], each["how"]) for each in record["room_members"]] == [
        ("board:b1", "ann", "stream")
    ]
    assert record["room_totals"] == {"rooms": 1, "members": 1, "refused": 0, "more": False}


async def test_members_are_seen_come_and_go(url: str) -> None:
    async with attached(url) as model:
        model.look(Look())
        async with connect(f"{url}/ws?user=ann") as ann, ann.stream(remote("demo/board/__data"), "b1"):
            await until(lambda: model.rooms.rows)
            (row,) = model.rooms.rows.values()
            assert (row.name, row.declared, row.members, row.connections) == ("board:b1", "demo/board", 1, 1)
            model.look(Look(kind=row.kind, number=row.number))
            await until(lambda: model.rooms.members)
            (member,) = model.rooms.members
            assert (member.key, member.how) == ("ann", "stream")
            assert list(member.connections) == list(model.rows.connections)
        await until(lambda: not model.rooms.rows or next(iter(model.rooms.rows.values())).away)


async def test_a_user_is_kicked_for_good(url: str) -> None:
    async with connect(f"{url}/ws?user=ann") as ann, connect(f"{url}/ws?user=bob") as bob:
        code, out, _ = await kick(url, "--user", "ann", "--for-good")
        assert (code, json.loads(out)["closed"]) == (0, 1)
        await until(lambda: ann.status == "closed")
        assert bob.status == "connected"


async def test_a_kicked_connection_comes_back_with_its_streams(url: str) -> None:
    impatient = ClientConfig(backoff_base=0.05)
    async with (
        attached(url) as model,
        connect(f"{url}/ws?user=ann", config=impatient) as ann,
        ann.stream(remote("demo/board/__data"), "b1"),
    ):
        await until(lambda: [row.stats.topics for row in model.rows.connections.values()] == [1])
        (before,) = model.rows.connections
        code, out, _ = await kick(url, "--connection", before)
        assert (code, json.loads(out)["closed"]) == (0, 1)
        await until(lambda: before not in model.rows.connections and model.rows.connections)
        await until(lambda: [row.stats.topics for row in model.rows.connections.values()] == [1])


async def test_an_observer_is_refused(url: str) -> None:
    async with connect(f"{url}/ws?user=ann") as ann:
        code, out, err = await kick(url, "--user", "ann", token=OBSERVE)
        assert (code, out) == (3, "")
        assert "the token opens observe" in err
        assert ann.status == "connected"
        assert (await kick(url, "--user", "nobody"))[0] == 1

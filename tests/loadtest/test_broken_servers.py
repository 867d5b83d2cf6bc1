"""Servers that do wrong, and scenarios that must notice it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, LiveServer, live, public
from tests.loadtest.load_kit import cells, locust

pytestmark = pytest.mark.realtime

RUN = ("--headless", "--only-summary", "-t", "2s", "--scenario")


@live
def echo(ctx: Context[Any], value: Any) -> Any:
    return value


class Counter:
    """Counts what it is asked to run, and leaves some out."""

    def __init__(self) -> None:
        self.number = 0

    def functions(self) -> SimpleNamespace:
        @live
        def once(ctx: Context[Any], name: str, number: int) -> int:
            self.number += number % 10 != 0
            return number

        @live
        def counted(ctx: Context[Any], name: str) -> int:
            return self.number

        return SimpleNamespace(echo=echo, once=once, counted=counted, _guard=public())


async def test_calls_that_are_answered_and_never_run_are_noticed(environ: dict[str, str]) -> None:
    server = LiveServer({"load": Counter().functions()})
    async with server.serve("127.0.0.1", 0) as listening:
        burst = (*RUN, "rpc_burst", "-u", "2", "--rate", "5", "--batch", "10", "--duplicates", "0")
        done = await asyncio.to_thread(locust, *burst, "--host", listening.url, environ=environ)
    assert done.returncode == 3, done.stdout + done.stderr
    table = cells(done.stdout)
    assert table["calls: answered, and not executed"] == [table["batches of 10"][0], "0", "FAIL"]
    assert table["calls: executed twice"] == ["0", "0", "ok"]


async def test_connections_that_end_are_lost_whether_they_come_back_or_not(environ: dict[str, str]) -> None:
    server = LiveServer({"load": SimpleNamespace(echo=echo, _guard=public())})
    async with server.serve("127.0.0.1", 0) as listening:
        connect = (*RUN, "connect", "-u", "5", "--rate", "20", "--host", listening.url)
        running = asyncio.create_task(asyncio.to_thread(locust, *connect, environ=environ))
        while len(server.connections) < 5:
            await asyncio.sleep(0.02)
    table = cells((await running).stdout)
    assert table["connections lost"] == ["5", "0", "FAIL"]

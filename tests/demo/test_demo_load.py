"""What the load tests drive: logs whose readers can be audited."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from liverpc.demo import load
from liverpc.demo.app import make_server
from liverpc.demo.world import LogRow, Visitor, World
from liverpc.testing import TestEnv, create_test_context


@pytest.fixture
async def env() -> AsyncIterator[TestEnv]:
    async with TestEnv(make_server(World())) as env:
        yield env


async def test_who_was_away_gets_the_rows_that_it_missed(env: TestEnv) -> None:
    reader, writer = env.connect(), env.connect()
    rows = await reader.subscribe(load.log, "a")
    assert [await writer.call(load.append, "a", value) for value in ("x", "y")] == [0, 1]
    reader.cut()
    assert await writer.call(load.append, "a", "z") == 2
    await rows.wait_for(lambda value: value == [LogRow(0, "x"), LogRow(1, "y"), LogRow(2, "z")])
    state = await writer.call(load.log_state, "a")
    assert state == load.LogState(rows.value, next=3, loads=1)


async def test_readers_and_server_keep_the_same_last_rows(env: TestEnv) -> None:
    client = env.connect()
    rows = await client.subscribe(load.log, "a")
    for number in range(load.LOG_ROWS + 2):
        await client.call(load.append, "a", number)
    await rows.wait_for(lambda value: value[-1].n == load.LOG_ROWS + 1)
    assert rows.value == (await client.call(load.log_state, "a")).rows
    assert len(rows.value) == load.LOG_ROWS


async def test_the_oldest_log_is_forgotten_when_there_are_too_many() -> None:
    world = World()
    ctx = create_test_context(user=Visitor("ann", world))
    for number in range(load.MAX_LOGS + 1):
        await load.append(ctx, f"log-{number}")
    assert len(world.logs) == load.MAX_LOGS
    assert next(iter(world.logs)) == "log-1"

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

import msgspec
import pytest

from liverpc import RpcError
from liverpc.demo import load
from liverpc.demo.app import make_server
from liverpc.demo.world import World
from liverpc.testing import TestEnv


@pytest.fixture
async def env() -> AsyncIterator[TestEnv]:
    async with TestEnv(make_server(World())) as env:
        yield env


async def test_a_repetition_is_not_counted(env: TestEnv) -> None:
    client = env.connect(query={"user": "ann"})
    keyed = client.using(idempotency_key="k1")
    both = await asyncio.gather(keyed.call(load.once, "n", 1), keyed.call(load.once, "n", 1))
    assert list(both) == [1, 1]
    assert await client.using(idempotency_key="k2").call(load.once, "n", 2) == 2
    assert await client.call(load.counted, "n") == 2
    assert await client.call(load.counted, "other") == 0


async def test_counts_are_forgotten_with_one_more_than_there_may_be(env: TestEnv) -> None:
    client = env.connect()
    for number in range(load.MAX_COUNTS + 1):
        await client.call(load.once, f"n{number}", 0)
    counts = [await client.call(load.counted, f"n{number}") for number in (0, 1, load.MAX_COUNTS)]
    assert counts == [0, 1, 1]


@pytest.mark.parametrize("count", [0, 1, load.MAX_ROWS])
async def test_rows_are_those_that_the_sum_is_of(env: TestEnv, count: int) -> None:
    client = env.connect()
    found = await client.call(load.table_sum, count)
    value = (await env.connect().subscribe(load.rows, "n", 1, count)).value
    assert (len(value), zlib.crc32(msgspec.json.encode(value))) == (found.rows, found.crc32)
    assert found.rows == count


async def test_more_rows_are_refused(env: TestEnv) -> None:
    with pytest.raises(RpcError, match="VALIDATION"):
        await env.connect().call(load.table_sum, load.MAX_ROWS + 1)


async def test_each_subscriber_loads_and_a_change_is_loaded_once(env: TestEnv) -> None:
    client = env.connect()
    for _ in range(3):
        await env.connect().subscribe(load.rows, "n", 1, 5)
    assert await client.call(load.counted, "n") == 3
    await client.call(load.publish, "rows-changed")
    await env.settle()
    assert await client.call(load.counted, "n") == 4


async def test_the_server_tells_its_tasks(env: TestEnv) -> None:
    assert await env.connect().call(load.tasks) > 0

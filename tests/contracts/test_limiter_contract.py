from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Start = Callable[[str], Awaitable[Any]]


@pytest.mark.parametrize("count", [4, 5, 6])
async def test_as_many_hits_as_the_limit_are_allowed_at_once(start: Start, count: int) -> None:
    limiter = (await start("a")).cluster.limiter
    decisions = [await limiter.hit("k", limit=5, per=60) for _ in range(count)]
    assert [d.allowed for d in decisions] == [True, True, True, True, True, False][:count]
    assert [d.remaining for d in decisions] == [4, 3, 2, 1, 0, 0][:count]
    assert all(d.retry_after == 0 for d in decisions[:5])


async def test_the_limit_holds_over_all_nodes(start: Start) -> None:
    nodes = [await start(name) for name in "abc"]
    decisions = await asyncio.gather(
        *(node.cluster.limiter.hit("k", limit=50, per=600) for node in nodes for _ in range(100))
    )
    assert sum(d.allowed for d in decisions) == 50
    assert not any(d.degraded for d in decisions)


async def test_a_refused_hit_is_allowed_after_the_time_it_was_told(start: Start) -> None:
    limiter = (await start("a")).cluster.limiter
    for _ in range(5):
        await limiter.hit("k", limit=5, per=2.5)
    refused = await limiter.hit("k", limit=5, per=2.5)
    assert 0.4 < refused.retry_after <= 0.5
    await asyncio.sleep(refused.retry_after - 0.2)
    assert not (await limiter.hit("k", limit=5, per=2.5)).allowed
    await asyncio.sleep(0.25)
    assert (await limiter.hit("k", limit=5, per=2.5)).allowed


async def test_after_the_whole_time_the_whole_limit_is_back(start: Start) -> None:
    limiter = (await start("a")).cluster.limiter
    for _ in range(2):
        assert [(await limiter.hit("k", limit=3, per=1.0)).allowed for _ in range(4)] == [True, True, True, False]
        await asyncio.sleep(1.1)


async def test_refused_hits_do_not_count(start: Start) -> None:
    limiter = (await start("a")).cluster.limiter
    decisions = [await limiter.hit("k", limit=2, per=1.0) for _ in range(100)]
    assert decisions[-1].retry_after <= 0.5
    await asyncio.sleep(1.1)
    assert (await limiter.hit("k", limit=2, per=1.0)).remaining == 1


async def test_keys_are_independent(start: Start) -> None:
    limiter = (await start("a")).cluster.limiter
    assert (await limiter.hit("k", limit=1, per=60)).allowed
    assert not (await limiter.hit("k", limit=1, per=60)).allowed
    assert (await limiter.hit("l", limit=1, per=60)).allowed


async def test_a_hit_can_cost_more_than_one(start: Start) -> None:
    limiter = (await start("a")).cluster.limiter
    assert (await limiter.hit("k", limit=10, per=60, cost=8)).remaining == 2
    assert not (await limiter.hit("k", limit=10, per=60, cost=3)).allowed
    assert (await limiter.hit("k", limit=10, per=60, cost=2)).allowed
    assert not (await limiter.hit("l", limit=10, per=60, cost=11)).allowed


async def test_a_hit_that_costs_nothing_tells_what_remains(start: Start) -> None:
    limiter = (await start("a")).cluster.limiter
    assert [(await limiter.hit("k", limit=2, per=60, cost=0)).remaining for _ in range(3)] == [2, 2, 2]
    await limiter.hit("k", limit=2, per=60, cost=2)
    assert (await limiter.hit("k", limit=2, per=60, cost=0)).remaining == 0
    assert not (await limiter.hit("k", limit=2, per=60)).allowed


async def test_hits_of_guests_are_limited_like_all_others(start: Start) -> None:
    nodes = [await start(name) for name in "ab"]
    decisions = [await node.cluster.limiter.hit("g", limit=3, per=60, guest=True) for node in nodes for _ in range(2)]
    assert [d.allowed for d in decisions] == [True, True, True, False]
    assert 0 < decisions[-1].retry_after <= 20


async def test_hits_of_guests_and_others_on_one_key_count_together(start: Start) -> None:
    limiter = (await start("a")).cluster.limiter
    decisions = [await limiter.hit("k", limit=3, per=60, guest=guest) for guest in (True, False, True, False, True)]
    assert [d.remaining for d in decisions] == [2, 1, 0, 0, 0]
    assert [d.allowed for d in decisions] == [True, True, True, False, False]


async def test_many_keys_refuse_nobody_and_many_guests_free_nobody(start: Start) -> None:
    limiter = (await start("a")).cluster.limiter
    await limiter.hit("user", limit=1, per=600)
    decisions = [await limiter.hit(f"g{n}", limit=1, per=600, guest=True) for n in range(200)]
    assert all(d.allowed for d in decisions)
    assert not (await limiter.hit("user", limit=1, per=600)).allowed

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from liverpc.backends.locks import LockStore, LockTimeout

Start = Callable[[str], Awaitable[Any]]


async def test_one_of_many_gets_a_lease(start: Start) -> None:
    nodes = [await start(name) for name in "abc"]
    grants = await asyncio.gather(*(node.cluster.leases.acquire("x", 10) for node in nodes for _ in range(10)))
    assert sum(grant is not None for grant in grants) == 1


async def test_names_are_independent(start: Start) -> None:
    leases = (await start("a")).cluster.leases
    assert await leases.acquire("x", 10) is not None
    assert await leases.acquire("y", 10) is not None


async def test_a_released_lease_is_free_and_the_next_fence_is_greater(start: Start) -> None:
    a, b = await start("a"), await start("b")
    first = await a.cluster.leases.acquire("x", 10)
    assert await a.cluster.leases.release(first)
    second = await b.cluster.leases.acquire("x", 10)
    assert second.fence > first.fence
    assert second.token != first.token


async def test_a_lease_ends_by_itself_not_before_its_deadline(start: Start) -> None:
    a, b = await start("a"), await start("b")
    loop = asyncio.get_running_loop()
    asked = loop.time()
    first = await a.cluster.leases.acquire("x", 1.0)
    assert first.deadline <= loop.time() + 1.0
    assert first.deadline >= asked + 1.0
    await asyncio.sleep(first.deadline - loop.time() - 0.25)
    assert await b.cluster.leases.acquire("x", 1.0) is None
    await asyncio.sleep(0.5)
    second = await b.cluster.leases.acquire("x", 1.0)
    assert second.fence > first.fence


async def test_renewing_moves_the_deadline_and_keeps_token_and_fence(start: Start) -> None:
    a, b = await start("a"), await start("b")
    grant = await a.cluster.leases.acquire("x", 1.0)
    for _ in range(5):
        await asyncio.sleep(0.5)
        renewed = await a.cluster.leases.renew(grant, 1.0)
        assert (renewed.token, renewed.fence) == (grant.token, grant.fence)
        assert renewed.deadline > grant.deadline
        grant = renewed
        assert await b.cluster.leases.acquire("x", 1.0) is None


async def test_a_late_holder_can_neither_renew_nor_release(start: Start) -> None:
    a, b = await start("a"), await start("b")
    late = await a.cluster.leases.acquire("x", 0.5)
    await asyncio.sleep(0.75)
    assert await a.cluster.leases.renew(late, 10) is None
    assert not await a.cluster.leases.release(late)
    current = await b.cluster.leases.acquire("x", 10)
    assert await a.cluster.leases.renew(late, 10) is None
    assert not await a.cluster.leases.release(late)
    assert await b.cluster.leases.renew(current, 10) is not None


async def test_a_lock_serialises_blocks_on_all_nodes(start: Start) -> None:
    nodes = [await start(name) for name in "abc"]
    counter = 0

    async def work(node: Any) -> None:
        nonlocal counter
        locks = LockStore(node.cluster.leases)
        for _ in range(10):
            async with locks.lock("counter", max_wait=60):
                seen = counter
                await asyncio.sleep(0.001)
                counter = seen + 1

    await asyncio.gather(*(work(node) for node in nodes))
    assert counter == 30


async def test_a_lock_that_is_not_free_in_time_is_a_timeout(start: Start) -> None:
    a, b = await start("a"), await start("b")
    async with LockStore(a.cluster.leases).lock("x"):
        for max_wait in (0.0, 0.3):
            with pytest.raises(LockTimeout, match="'x' was not free"):
                async with LockStore(b.cluster.leases).lock("x", max_wait=max_wait):
                    raise AssertionError("two holders")
    async with LockStore(b.cluster.leases).lock("x", max_wait=0):
        pass

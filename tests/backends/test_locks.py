from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

import pytest

from liverpc.backends.locks import LockLost, LockStore, LockTimeout
from liverpc.backends.memory import memory_cluster
from liverpc.backends.ports import Grant, LeaseStore


class Leases:
    """A real lease store whose renewals and releases can be made to fail."""

    def __init__(self) -> None:
        self.inner: LeaseStore = memory_cluster().leases
        self.renewals = 0
        self.before_renew: Callable[[], object] = lambda: None
        self.hang = False
        self.before_release: Callable[[], object] = lambda: None

    async def acquire(self, name: str, ttl: float) -> Grant | None:
        return await self.inner.acquire(name, ttl)

    async def renew(self, grant: Grant, ttl: float) -> Grant | None:
        self.renewals += 1
        self.before_renew()
        if self.hang:
            await asyncio.Event().wait()
        return await self.inner.renew(grant, ttl)

    async def release(self, grant: Grant) -> bool:
        self.before_release()
        return await self.inner.release(grant)


def away() -> None:
    raise ConnectionError("away")


def now() -> float:
    return asyncio.get_running_loop().time()


def only_this_task() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


async def is_free(leases: Leases, name: str = "x") -> bool:
    grant = await leases.acquire(f"lock:{name}", 1)
    return grant is not None and await leases.inner.release(grant)


async def test_a_lock_is_renewed_as_long_as_its_block_runs_and_then_released() -> None:
    leases = Leases()
    async with LockStore(leases).lock("x", ttl=3):
        await asyncio.sleep(100)
        assert not await is_free(leases)
    assert leases.renewals == 99
    assert await is_free(leases)
    assert only_this_task()


async def test_an_exception_passes_and_frees_the_lock() -> None:
    leases = Leases()
    with pytest.raises(LookupError):
        async with LockStore(leases).lock("x"):
            raise LookupError
    assert await is_free(leases)
    assert only_this_task()


async def test_a_timeout_of_the_block_itself_passes() -> None:
    leases = Leases()
    with pytest.raises(TimeoutError) as caught:
        async with LockStore(leases).lock("x"), asyncio.timeout(1):
            await asyncio.sleep(2)
    assert not isinstance(caught.value, LockTimeout)
    assert await is_free(leases)


async def test_a_cancelled_block_frees_the_lock() -> None:
    leases = Leases()

    async def work() -> None:
        async with LockStore(leases).lock("x"):
            await asyncio.sleep(100)

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await is_free(leases)
    assert only_this_task()


async def test_a_cancelled_waiter_leaves_nothing_behind() -> None:
    leases = Leases()
    locks = LockStore(leases)

    async def wait() -> None:
        async with locks.lock("x", max_wait=100):
            raise AssertionError("two holders")

    async with locks.lock("x"):
        waiter = asyncio.create_task(wait())
        await asyncio.sleep(1)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
    assert await is_free(leases)


async def test_a_waiter_gives_up_exactly_when_it_said() -> None:
    leases = Leases()
    locks = LockStore(leases, random.Random(1))
    async with locks.lock("x"):
        start = now()
        with pytest.raises(LockTimeout, match=r"'x' was not free within 2\.5 s"):
            async with locks.lock("x", max_wait=2.5):
                raise AssertionError("two holders")
        assert now() - start == pytest.approx(2.5)


async def test_a_block_whose_lease_was_taken_is_cancelled_at_the_next_renewal() -> None:
    leases = Leases()
    ended: list[float] = []
    with pytest.raises(LockLost, match="'x' was lost"):
        async with LockStore(leases).lock("x", ttl=3) as grant:
            await leases.inner.release(grant)
            thief = await leases.acquire("lock:x", 100)
            try:
                await asyncio.sleep(100)
            finally:
                ended.append(now())
    assert ended == [1.0]
    assert thief is not None
    assert await leases.inner.renew(thief, 1) is not None  # not released by the one who lost it
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
    assert only_this_task()


async def test_one_failing_renewal_is_survived() -> None:
    leases = Leases()
    leases.before_renew = lambda: away() if leases.renewals == 1 else None
    async with LockStore(leases).lock("x", ttl=3):
        await asyncio.sleep(10)


async def test_a_block_ends_at_the_deadline_when_no_renewal_succeeds() -> None:
    leases = Leases()
    leases.before_renew = away
    with pytest.raises(LockLost):
        async with LockStore(leases).lock("x", ttl=3):
            await asyncio.sleep(100)
    assert now() == 3.0


async def test_a_block_ends_at_the_deadline_when_a_renewal_hangs() -> None:
    leases = Leases()
    leases.hang = True
    with pytest.raises(LockLost):
        async with LockStore(leases).lock("x", ttl=3):
            await asyncio.sleep(100)
    assert now() == 3.0
    assert only_this_task()


async def test_a_block_that_swallows_its_cancellation_learns_of_the_loss_at_its_end() -> None:
    leases = Leases()
    leases.before_renew = away
    with pytest.raises(LockLost):
        async with LockStore(leases).lock("x", ttl=3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(100)


async def test_a_lost_block_may_take_its_time_to_clean_up() -> None:
    leases = Leases()
    leases.before_renew = lambda: away() if leases.renewals < 3 else None
    with pytest.raises(LockLost):
        async with LockStore(leases).lock("x", ttl=3):
            await asyncio.sleep(0)
            (keeper,) = asyncio.all_tasks() - {asyncio.current_task()}
            try:
                await asyncio.sleep(100)
            finally:
                await asyncio.sleep(50)
    assert now() == 53.0
    assert leases.renewals == 3
    assert keeper.exception() is None


async def test_a_failing_release_is_logged_and_the_lease_ends_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    leases = Leases()
    leases.before_release = away
    async with LockStore(leases).lock("x", ttl=3):
        pass
    assert "it ends by itself" in caplog.text
    assert not await is_free(leases)
    await asyncio.sleep(3)
    assert await is_free(leases)

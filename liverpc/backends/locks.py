"""Mutual exclusion between nodes, over any :class:`~liverpc.backends.ports.LeaseStore`."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from liverpc.backends.ports import Grant, LeaseStore
from liverpc.errors import LiveRpcError

__all__ = ["LockLost", "LockStore", "LockTimeout"]

log = logging.getLogger("liverpc.backends")

FIRST_RETRY_SECONDS = 0.01
LAST_RETRY_SECONDS = 0.25


class LockTimeout(LiveRpcError, TimeoutError):
    """The lock was somebody else's for as long as the caller wanted to wait."""


class LockLost(LiveRpcError):
    """The lease behind a lock ended while its block ran: another holder may have run beside it."""


class LockStore:
    """Named locks. They are not re-entrant, and waiters get them in no particular order.

    Args:
        leases: Where the locks live.
        jitter: Spreads the tries of waiters. Default: a generator of its own.
    """

    def __init__(self, leases: LeaseStore, jitter: random.Random | None = None) -> None:
        self._leases = leases
        self._jitter = jitter or random.Random()

    @asynccontextmanager
    async def lock(self, name: str, *, ttl: float = 30.0, max_wait: float = 5.0) -> AsyncIterator[Grant]:
        """Hold a lock while the block runs.

        The lease is renewed every third of ``ttl``. When it cannot be prolonged before its deadline, or
        proves to be somebody else's, the block is cancelled and :class:`LockLost` raised in its place. The
        fence of the grant lets what the block writes to refuse a holder that was late to notice.

        Args:
            name: Of the lock.
            ttl: Seconds after which others get the lock of a holder that vanished.
            max_wait: Seconds to wait for it; 0 tries once.

        Raises:
            LockTimeout: It was not free in time.
            LockLost: It was lost while the block ran.
        """
        grant = await self._acquire(name, ttl, max_wait)
        held = asyncio.timeout_at(grant.deadline)
        try:
            async with held:
                keeper = asyncio.create_task(self._keep(grant, ttl, held), name=f"keep lock {name}")
                try:
                    yield grant
                finally:
                    keeper.cancel()
                    await asyncio.wait([keeper])
        except TimeoutError:
            if not held.expired():  # the block's own
                raise
        finally:
            await self._release(grant)
        if held.expired():
            raise LockLost(f"the lock {name!r} was lost while its block ran; what it did may have been done twice")

    async def _acquire(self, name: str, ttl: float, max_wait: float) -> Grant:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + max_wait
        delay = FIRST_RETRY_SECONDS
        while (grant := await self._leases.acquire(f"lock:{name}", ttl)) is None:
            left = give_up - loop.time()
            if left <= 0:
                raise LockTimeout(f"the lock {name!r} was not free within {max_wait:g} s")
            await asyncio.sleep(min(delay * self._jitter.uniform(0.75, 1.25), left))
            delay = min(delay * 2, LAST_RETRY_SECONDS)
        return grant

    async def _keep(self, grant: Grant, ttl: float, held: asyncio.Timeout) -> None:
        while True:
            await asyncio.sleep(ttl / 3)
            try:
                renewed = await self._leases.renew(grant, ttl)
            except Exception:
                # The deadline stands; the next try may still come before it.
                log.warning("renewing %r failed", grant.name, exc_info=True)
                continue
            if held.expired():
                return
            if renewed is None:
                held.reschedule(asyncio.get_running_loop().time())
                return
            held.reschedule(renewed.deadline)

    async def _release(self, grant: Grant) -> None:
        try:
            await self._leases.release(grant)
        except Exception:
            log.warning("releasing %r failed; it ends by itself", grant.name, exc_info=True)

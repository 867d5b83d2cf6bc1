"""Requests that must not run twice: a repetition gets the result of the first (docs/protocol.md section 4)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec

from liverpc.backends.ports import IdempotencyStore
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.tasks import Background
from liverpc.policies.declared import Idempotency
from liverpc.policies.turns import Crowded, Turns
from liverpc.telemetry import Counters

__all__ = ["Once", "Request"]

log = logging.getLogger("liverpc.calls")

HOLD_SECONDS = 60.0  # a claim of a process that vanished is free after that
POLL_SECONDS = 0.1  # while another process runs the request
_RUNS = "the same request runs already; try again later"


class Request(msgspec.Struct, frozen=True):
    """What is not to run twice.

    Attributes:
        key: Says which request it is, on all paths and of all callers.
        fingerprint: Of what it asks for.
        owner: Whose results make place for this one.
        guest: The owner is anonymous.
    """

    key: str
    fingerprint: str
    owner: str
    guest: bool


class Once:
    """Runs requests once, on behalf of one server.

    Args:
        store: Knows which ran, and their results.
        background: Owns what must be told to the store whoever is cancelled.
        counters: Of the server.
        now: Loop time.
        most: That wait for one request, as for :class:`Turns`.
    """

    def __init__(
        self,
        store: IdempotencyStore,
        background: Background,
        counters: Counters,
        now: Callable[[], float],
        most: int,
    ) -> None:
        self._store = store
        self._background = background
        self._counters = counters
        self._now = now
        self._turns = Turns(now, most)  # of this process; those of others are asked for again and again

    def __len__(self) -> int:
        return len(self._turns)

    async def run(self, request: Request, settings: Idempotency, call: Callable[[], Awaitable[bytes]]) -> msgspec.Raw:
        """The result of a request, which ``call`` gives unless it ran before.

        What fails or is cancelled counts as not run: of those who wait for it the first one runs it next.

        Args:
            request: Which.
            settings: How long to keep the result, and to wait for another run.
            call: Runs it; gives the result as JSON.

        Raises:
            LiveError: ``CONFLICT``: it runs already and took too long, or the key belongs to another request.
            Exception: That of ``call``.
        """
        give_up = self._now() + settings.max_wait
        try:
            await self._turns.take(request.key, None, settings.max_wait, owner=request.owner)
        except (TimeoutError, Crowded):
            raise self._conflict(_RUNS) from None
        try:
            while True:
                claim = await self._store.begin(request.key, fingerprint=request.fingerprint, hold=HOLD_SECONDS)
                if claim.state == "fresh":
                    return msgspec.Raw(await self._first(request, claim.token, settings.ttl, call))
                if claim.state == "done":
                    self._counters.idempotent_replays += 1
                    return msgspec.Raw(claim.result)
                if claim.state == "mismatch":
                    raise self._conflict("this idempotency key was used for another request")
                if (left := give_up - self._now()) <= 0:
                    raise self._conflict(_RUNS)
                await asyncio.sleep(min(left, POLL_SECONDS))
        finally:
            self._turns.give(request.key)

    async def _first(self, request: Request, token: str, ttl: float, call: Callable[[], Awaitable[bytes]]) -> bytes:
        ended = asyncio.Event()
        keeper = asyncio.get_running_loop().call_later(HOLD_SECONDS / 3, self._extend, request.key, token, ended)
        try:
            try:
                result = await call()
            except BaseException:
                await self._tell(self._store.abort(request.key, token))
                raise
            commit = self._store.commit(request.key, token, result, ttl=ttl, owner=request.owner, guest=request.guest)
            if not await self._tell(commit):
                log.warning("what came of a request could not be kept: its claim has ended; it may run twice")
            return result
        finally:
            keeper.cancel()
            ended.set()

    async def _tell(self, message: Coroutine[Any, Any, bool]) -> bool:
        """Tell the store, even if the caller is cancelled meanwhile; False: it does not know."""
        try:
            return await asyncio.shield(self._background.start(message, name="end of an idempotent call"))
        except (ConnectionError, TimeoutError):  # which the background has logged; the call is over all the same
            return False

    def _extend(self, key: str, token: str, ended: asyncio.Event) -> None:
        self._background.start(self._keep(key, token, ended), name="claim of an idempotent call")

    async def _keep(self, key: str, token: str, ended: asyncio.Event) -> None:
        held = True
        while held and not ended.is_set():
            try:
                held = await self._store.extend(key, token, HOLD_SECONDS)
            except (ConnectionError, TimeoutError):
                log.warning("the claim of a request could not be prolonged; trying again", exc_info=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(HOLD_SECONDS / 3):
                    await ended.wait()

    def _conflict(self, text: str) -> LiveError:
        self._counters.idempotent_conflicts += 1
        return LiveError(ErrorCode.CONFLICT, text)

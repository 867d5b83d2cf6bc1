"""Circuit breakers: calls that would fail anyway are not made for a while (docs/handlers.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from inspect import isawaitable
from typing import Any, Literal, TypeVar

import msgspec

from liverpc.errors import DeclarationError, ErrorCode, LiveError, PushFailed
from liverpc.policies.declared import NO_FALLBACK, Breaking
from liverpc.telemetry import Counters

__all__ = ["Breaker", "BreakerRow", "Breakers"]

R = TypeVar("R")
State = Literal["closed", "open", "half-open"]

_SOON = 1.0  # seconds: a call is being tried
# What is meant for the caller, what the caller's own client did, and what ended for another reason.
_SAYS_NOTHING = (LiveError, PushFailed, asyncio.CancelledError)


class BreakerRow(msgspec.Struct, frozen=True):
    """A breaker, for those who look at a server."""

    name: str
    state: State
    failures: int  #: in a row
    tried_in: float | None  #: seconds until a call is tried; None: calls go through, or one is being tried
    paths: list[str]


class Breaker:
    """Closed until so many calls in a row failed; then open, so that none is made; then one is tried.

    Every call is either made, with :meth:`watch` at once, or not, and then there is :meth:`instead`; :meth:`admit` says
    which.
    """

    def __init__(self, name: str, settings: Breaking, now: Callable[[], float], counters: Counters) -> None:
        self.name = name
        self.paths: list[str] = []
        self.failures = 0
        self.most = settings.failures
        self.reset_after = settings.reset_after
        self._now = now
        self._counters = counters
        self._open_until: float | None = None  # None: it is closed
        self._trying = False
        self._era = 0  # another one with each change: calls of an earlier one say nothing any more

    @property
    def state(self) -> State:
        if self._open_until is None:
            return "closed"
        return "half-open" if self._trying or self._now() >= self._open_until else "open"

    @property
    def tried_in(self) -> float | None:
        """Seconds until a call is tried."""
        if self._open_until is None or self._trying:
            return None
        return max(0.0, self._open_until - self._now())

    def admit(self) -> bool:
        """Whether a call may be made; if not, it is counted."""
        if self._open_until is None:
            return True
        now = self._now()
        if now < self._open_until:
            self._counters.breaker_refusals += 1
            return False
        # A call that does not end decides nothing: after the same time again another one is tried.
        self._open_until = now + self.reset_after
        self._trying = True
        self._era += 1
        return True

    async def instead(self, fallback: Any, *arguments: Any) -> Any:
        """What a caller gets who is not admitted.

        Args:
            fallback: A value or a function; ``NO_FALLBACK``: none.
            *arguments: For a function: ``ctx``, and those of the call.

        Raises:
            LiveError: ``SERVICE_UNAVAILABLE``: there is no fallback.
            Exception: The fallback's.
        """
        if fallback is NO_FALLBACK:
            raise self.refusal()
        if callable(fallback):
            fallback = fallback(*arguments)
        return await fallback if isawaitable(fallback) else fallback

    def refusal(self) -> LiveError:
        """The error for a call that is not made."""
        left = self.tried_in
        return LiveError(
            ErrorCode.SERVICE_UNAVAILABLE,
            "this does not work at present; try again later",
            retry_after=min(_SOON, self.reset_after) if left is None else left,
        )

    async def watch(self, call: Awaitable[R]) -> R:
        """Await a call that was admitted, and learn from how it ends.

        Raises:
            Exception: That of the call.
        """
        era = self._era
        try:
            result = await call
        except _SAYS_NOTHING:
            if era == self._era and self._trying:
                self._trying = False
                self._open_until = self._now()  # the next one is tried instead
            raise
        except BaseException:
            if era == self._era:
                self._failed()
            raise
        if era == self._era:
            self.failures = 0
            if self._open_until is not None:
                self._open_until = None
                self._trying = False
                self._era += 1
        return result

    def _failed(self) -> None:
        self.failures += 1
        if self._trying or self.failures >= self.most:
            self._open_until = self._now() + self.reset_after
            self._trying = False
            self._era += 1
            self._counters.breaker_openings += 1


class Breakers:
    """The breakers of one server."""

    def __init__(self, now: Callable[[], float], counters: Counters) -> None:
        self._now = now
        self._counters = counters
        self._by_name: dict[str, Breaker] = {}

    def of(self, path: str, settings: Breaking) -> Breaker:
        """The breaker of a path.

        Raises:
            DeclarationError: Another path has one of this name that opens or closes otherwise.
        """
        name = settings.name or path
        breaker = self._by_name.get(name)
        if breaker is None:
            breaker = self._by_name[name] = Breaker(name, settings, self._now, self._counters)
        if (breaker.most, breaker.reset_after) != (settings.failures, settings.reset_after):
            raise DeclarationError(
                f"{path} and {breaker.paths[0]} share the breaker {name!r}, but not failures= and reset_after="
            )
        if path not in breaker.paths:
            breaker.paths.append(path)
        return breaker

    def rows(self) -> Iterator[BreakerRow]:
        """All of them."""
        for each in self._by_name.values():
            yield BreakerRow(each.name, each.state, each.failures, each.tried_in, list(each.paths))

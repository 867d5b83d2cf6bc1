"""Why a client has no connection, and when it tries again."""

from __future__ import annotations

import random
from enum import StrEnum
from typing import Literal

import msgspec

from liverpc.config import ClientConfig
from liverpc.errors import ErrorCode
from liverpc.wire.close import Advice

__all__ = ["TRANSIENT", "Backoff", "Failure", "FailureClass", "Retry"]

_FACTOR = 2.2
_STEPS = 64  # beyond any sensible maximum, and far from overflowing a float
_THROTTLED_STEP = 5

# What may be otherwise the next time. Everything else is the server's decision, which stands for this connection.
TRANSIENT = frozenset(
    (
        ErrorCode.TIMEOUT,
        ErrorCode.DISCONNECTED,
        ErrorCode.OVERLOADED,
        ErrorCode.RATE_LIMITED,
        ErrorCode.SERVICE_UNAVAILABLE,
        ErrorCode.INTERNAL_ERROR,
    )
)


class FailureClass(StrEnum):
    """What a failure means for the client."""

    RETRY = "RETRY"  #: it tries again
    THROTTLE = "THROTTLE"  #: it tries again, but not soon
    TERMINAL = "TERMINAL"  #: the server forbids it to try again
    EXHAUSTED = "EXHAUSTED"  #: it gave up after ``max_attempts`` failed attempts in a row
    AUTH = "AUTH"  #: the auth request before the connection failed; final when its status is a 4xx


class Failure(msgspec.Struct, frozen=True):
    """Why the connection was lost, refused or could not be opened (docs/protocol.md section 6)."""

    kind: Literal["ws-close", "auth-preflight"]
    failure_class: FailureClass
    reason: str
    code: int | None = None  #: of a ``ws-close``; 1006 without one, 4000 plus the status for a refused handshake
    status: int | None = None  #: HTTP status of an ``auth-preflight``; None: there was no answer

    def __str__(self) -> str:
        if self.kind == "ws-close":
            if self.code is not None and self.reason.startswith(f"HTTP {self.code - 4000}"):
                return self.reason  # of a refused handshake, which has no close code of its own
            return f"{self.code} {self.reason}".strip()
        return f"auth request: {'' if self.status is None else f'HTTP {self.status} '}{self.reason}".strip()


class Backoff:
    """How long to wait between attempts: longer after each failure, up to ``config.backoff_max``.

    Attributes:
        failed: Failed attempts since the last success.
    """

    def __init__(self, config: ClientConfig, rng: random.Random) -> None:
        self._config = config
        self._random = rng
        self._step = 0
        self.failed = 0

    def reset(self) -> None:
        """An attempt succeeded, or the world has changed."""
        self._step = self.failed = 0

    @property
    def exhausted(self) -> bool:
        """Whether as many attempts failed as the configuration allows."""
        limit = self._config.max_attempts
        return limit is not None and self.failed >= limit

    def delay(self, advice: Advice) -> float:
        """Seconds until the next attempt."""
        if advice is Advice.THROTTLE:
            self._step = max(self._step, _THROTTLED_STEP)
        seconds = min(self._config.backoff_base * _FACTOR**self._step, self._config.backoff_max)
        self._step = min(self._step + 1, _STEPS)
        return seconds * self._random.uniform(*self._config.jitter)


class Retry(msgspec.Struct):
    """When to ask again for what was not answered, or is missing still."""

    backoff: Backoff
    due: float

    def postpone(self, now: float, at_least: float = 0.0) -> None:
        """Ask again after the next wait, of ``at_least`` so many seconds."""
        self.due = now + max(self.backoff.delay(Advice.RETRY), at_least)

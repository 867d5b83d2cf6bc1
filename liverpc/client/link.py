"""Whether a client has a connection, why not, and when to try again."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import Literal

import msgspec

from liverpc.client.failure import Backoff, Failure, FailureClass
from liverpc.config import ClientConfig
from liverpc.errors import ErrorCode, RpcError
from liverpc.wire.close import Advice, advice

__all__ = ["Link", "Status"]

Status = Literal["connecting", "connected", "reconnecting", "closed"]


class Link(ABC):
    """The part of :class:`ClientCore` that decides what becomes of the client when a connection is lost.

    Attributes:
        status: ``connecting`` until the first open, then ``connected`` or ``reconnecting``; ``closed`` is
            final.
        failure: Why the connection was last lost; None while connected and after :meth:`close`.
        retry_delay: Seconds to wait before the next attempt, while there shall be one.
    """

    def __init__(self, config: ClientConfig, rng: random.Random) -> None:
        self.status: Status = "connecting"
        self.failure: Failure | None = None
        self.retry_delay: float | None = None
        self._backoff = Backoff(config, rng)
        self._why_closed = ""

    def connection_lost(self, code: int, reason: str = "") -> None:
        """The socket is closed, or an attempt to open one failed; ``retry_delay`` says what to do now.

        Calls that were made on an open connection fail with ``DISCONNECTED``, with an offline queue only those
        that were sent; the others wait on. A code that forbids retrying, or one failure too many, closes the client.

        Args:
            code: The close code; 1006 without one, 4000 plus the status for a refused handshake.
            reason: For people.
        """
        kind = advice(code)
        self._lost(Failure("ws-close", FailureClass(kind), reason, code=code), kind)

    def preflight_failed(self, status: int | None, reason: str = "") -> None:
        """The auth request before an attempt failed. A 4xx closes the client, everything else is tried again.

        Args:
            status: The HTTP status; None: there was no answer.
            reason: For people.
        """
        final = status is not None and 400 <= status < 500
        failure = Failure("auth-preflight", FailureClass.AUTH, reason, status=status)
        self._lost(failure, Advice.TERMINAL if final else Advice.RETRY)

    def retry_afresh(self) -> None:
        """The world has changed, and earlier failures say nothing any more: the waits begin anew."""
        self._backoff.reset()

    def close(self) -> None:
        """End the client: unfinished calls, streams and whatever is asked later get ``CONNECTION_CLOSED``."""
        if self.status != "closed":
            self.failure = None
            self._close("the client was closed", lost=False)

    def closed_error(self) -> RpcError:
        """What everything gets once the status is ``closed``; a new one for each, for exceptions collect traces."""
        return RpcError(ErrorCode.CONNECTION_CLOSED, self._why_closed)

    def _opened(self) -> None:
        self.status = "connected"
        self.failure = None
        self.retry_delay = None
        self._backoff.reset()

    def _lost(self, failure: Failure, what: Advice) -> None:
        if self.status == "closed":
            return
        was_open = self.status == "connected"
        if not was_open:
            self._backoff.failed += 1
            if what is not Advice.TERMINAL and self._backoff.exhausted:
                what = Advice.TERMINAL
                reason = f"gave up after {self._backoff.failed} failed attempts: {failure.reason or failure}"
                failure = msgspec.structs.replace(failure, failure_class=FailureClass.EXHAUSTED, reason=reason)
        self.failure = failure
        if what is Advice.TERMINAL:
            self._close(f"the connection is closed for good: {failure}", lost=True)
            return
        self.retry_delay = self._backoff.delay(what)
        if was_open:
            self.status = "reconnecting"
            self._suspend(str(failure))

    def _close(self, why: str, *, lost: bool) -> None:
        self.status = "closed"
        self.retry_delay = None
        self._why_closed = why
        self._end(lost=lost)

    @abstractmethod
    def _suspend(self, told: str) -> None:
        """The connection is lost, and there will be another."""

    @abstractmethod
    def _end(self, *, lost: bool) -> None:
        """There will be no other; ``lost``: and nothing can be sent on the last one any more."""

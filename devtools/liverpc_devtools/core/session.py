"""One session with a server as its observer sees it: its state, its clock, what is allowed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Literal

from liverpc.inspector.protocol import ClientFrame, Welcome

__all__ = ["Phase", "Session", "nowhere"]

Phase = Literal["connecting", "live", "stale", "reconnecting", "gone"]

_STALE_SECONDS = 3.0
_NOTES = 20


class Session:
    """The state of the session, and times.

    Attributes:
        welcome: What the server said about itself; None before it did.
        notes: Sentences for people, oldest first; whoever shows them takes them out.
        reason: Why there is no session.
        send: Hands a frame to the server. Does nothing while there is no session.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.welcome: Welcome | None = None
        self.send: Callable[[ClientFrame], None] = nowhere
        self.notes: deque[str] = deque(maxlen=_NOTES)
        self.reason = ""
        self._monotonic = monotonic
        self._phase: Phase = "connecting"
        self._offset = 0.0
        self._heard = 0.0
        self._retry_at = 0.0
        self._lost_at: float | None = None  # the server's time when it was heard of last; None: there is a session

    def heard(self, offset: float) -> None:
        """Something arrived; ``offset`` turns our monotonic time into the server's."""
        self._heard = self._monotonic()
        self._offset = offset

    def detached(self, reason: str, retry_in: float) -> None:
        """The session is over; another attempt follows."""
        if self._lost_at is None and self.welcome is not None:
            self._lost_at = self._heard + self._offset
        self._phase, self.reason, self.send = "reconnecting", reason, nowhere
        self._retry_at = self._monotonic() + retry_in

    def gone(self, reason: str) -> None:
        """The session is over for good."""
        self._phase, self.reason, self.send = "gone", reason, nowhere

    @property
    def phase(self) -> Phase:
        """The state of the session; ``stale`` when nothing arrived for three seconds."""
        if self._phase == "live" and self.silence > _STALE_SECONDS:
            return "stale"
        return self._phase

    @property
    def silence(self) -> float:
        """Seconds since something arrived."""
        return self._monotonic() - self._heard

    @property
    def retry_in(self) -> float:
        """Seconds until the next attempt."""
        return max(self._retry_at - self._monotonic(), 0.0)

    def now(self) -> float:
        """The server's monotonic time."""
        return self._monotonic() + self._offset

    def tick(self) -> float:
        """The server's monotonic time, moving on four times a second: what changes faster cannot be read."""
        return math.floor(self.now() * 4) / 4

    def wall(self, at: float) -> float:
        """Seconds since the epoch, by the server's calendar, at its monotonic time ``at``."""
        return at if self.welcome is None else self.welcome.wall + at - self.welcome.at

    @property
    def may_arm(self) -> bool:
        """Whether this observer may inject faults now."""
        welcome = self.welcome
        return welcome is not None and welcome.chaos and welcome.granted in ("chaos", "admin")

    @property
    def may_kick(self) -> bool:
        """Whether this observer may close connections."""
        return self.welcome is not None and self.welcome.granted == "admin"


def nowhere(frame: ClientFrame) -> None:
    """There is no session."""

"""How much of the server's time observers may use for what they ask."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Allowance"]

_AT_ONCE = 0.25  # seconds of processor time that are saved up at most


class Allowance:
    """Processor time for the holders of one token: a share of all time, and a quarter of a second of it at once.

    Whoever leaves and comes back finds it as it was.

    Args:
        share: Of the time, above 0.
        monotonic: The server's time.
    """

    def __init__(self, share: float, monotonic: Callable[[], float]) -> None:
        self._share = share
        self._now = monotonic
        self._left = _AT_ONCE
        self._at = monotonic()

    def spend(self, seconds: float) -> None:
        """So much was used, even if it is more than there was."""
        now = self._now()
        self._left = min(_AT_ONCE, self._left + (now - self._at) * self._share) - seconds
        self._at = now

    @property
    def wait(self) -> float:
        """Seconds until there is some again; 0.0 while there is."""
        return max(0.0, -self._left / self._share - (self._now() - self._at))

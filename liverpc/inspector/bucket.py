"""How much is recorded and told at most."""

from __future__ import annotations

__all__ = ["Bucket"]


class Bucket:
    """A token bucket: ``rate`` per second, saved up for at most one second.

    Attributes:
        rate: Of tokens, per second.
    """

    __slots__ = ("_at", "_level", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._level = rate
        self._at = now

    def level(self, now: float) -> float:
        """How many there are now."""
        self._level = min(self.rate, self._level + (now - self._at) * self.rate)
        self._at = now
        return self._level

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take so many, if there are."""
        if self.level(now) < amount:
            return False
        self._level -= amount
        return True

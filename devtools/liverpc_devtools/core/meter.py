"""Rates out of totals that only grow."""

from __future__ import annotations

from collections import deque

__all__ = ["Meter"]

_WINDOW = 3.0
_SPACING = 0.4  # totals closer together share one point: a meter keeps at most ten


class Meter:
    """The rate of a total over the last three seconds of the server's clock."""

    __slots__ = ("_points", "total")

    def __init__(self, at: float, total: int) -> None:
        self.total = total
        self._points: deque[tuple[float, int]] = deque([(at, total)])

    def add(self, at: float, total: int) -> None:
        """The total was ``total`` at server time ``at``; times do not go back."""
        points = self._points
        if len(points) > 1 and at - points[-2][0] < _SPACING:
            points[-1] = (at, total)
        else:
            points.append((at, total))
        self.total = total
        self._forget(at)

    def rate(self, now: float) -> float:
        """Per second, at server time ``now``."""
        self._forget(now)
        first_at, first = self._points[0]
        elapsed = min(max(now - first_at, 1.0), _WINDOW)
        return max(self.total - first, 0) / elapsed

    def _forget(self, now: float) -> None:
        points = self._points
        while len(points) > 1 and points[1][0] <= now - _WINDOW:
            points.popleft()

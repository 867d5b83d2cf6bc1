"""Rates out of totals that only grow, and figures over the last minutes."""

from __future__ import annotations

from collections import deque

__all__ = ["Meter", "Trend"]

_WINDOW = 3.0
_KEPT = 180  # seconds of a trend
_STEP = 2  # seconds between its values at most, unless there is a gap
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


class Trend:
    """A figure, second by second. Of several values within a second the highest counts."""

    __slots__ = ("_points",)

    def __init__(self) -> None:
        self._points: deque[tuple[int, float]] = deque(maxlen=_KEPT)

    def add(self, at: float, value: float) -> None:
        """The figure was ``value`` at the server's time ``at``."""
        second, points = int(at), self._points
        if points and points[-1][0] == second:
            points[-1] = (second, max(points[-1][1], value))
        else:
            points.append((second, value))

    @property
    def last(self) -> float:
        """The latest value; 0.0 before the first."""
        return self._points[-1][1] if self._points else 0.0

    def series(self, now: float, points: int) -> list[float | None]:
        """``points`` values of a second each, the last one now; None: not known."""
        values: list[float | None] = [None] * points
        first, last = int(now) - points + 1, -_STEP
        for second, value in self._points:
            # Between two values that came as usual there is no gap.
            for each in range(last + 1 if second - last <= _STEP else second, second + 1):
                if 0 <= each - first < points:
                    values[each - first] = value
            last = second
        return values

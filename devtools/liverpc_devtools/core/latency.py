"""How long things took: counts in the buckets of the protocol, over a window of time, of one server or several."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping

from liverpc.inspector.protocol import BUCKETS

__all__ = ["Latency", "merge", "quantile"]

Counts = Mapping[int, int]  # by the bucket's number

_WINDOW = 60.0  # seconds


def merge(parts: Iterable[Counts]) -> Counter[int]:
    """Counts of several servers, or several times, as if all had been measured in one place."""
    total: Counter[int] = Counter()
    for each in parts:
        total.update(each)
    return total


def quantile(counts: Counts, q: float) -> float | None:
    """Seconds within which a share ``q`` ended, to the width of a bucket (about 6 %); None when there were none."""
    wanted, reached = q * sum(counts.values()), 0
    for bucket in sorted(counts):
        reached += counts[bucket]
        if counts[bucket] > 0 and reached >= wanted:
            return (BUCKETS[max(0, bucket - 1)] + BUCKETS[min(bucket, len(BUCKETS) - 1)]) / 2
    return None


class Latency:
    """Totals that only grow, as differences over the last minute.

    Attributes:
        at: The server's time of the last totals; None before the first.
    """

    def __init__(self) -> None:
        self.at: float | None = None
        self._totals: dict[int, int] = {}
        self._steps: deque[tuple[float, dict[int, int]]] = deque()

    def add(self, at: float, totals: Iterable[tuple[int, int]], *, anew: bool = False) -> None:
        """The totals of some buckets at the server's time ``at``; what came before the first ones is not counted.

        Args:
            at: Does not go back, unless ``anew``.
            totals: Of the buckets that changed, or of all of them.
            anew: Count from these totals on: there is a gap before them.
        """
        known = dict(totals)
        if not known:
            return
        if self.at is not None and not anew:
            step = {each: more for each, total in known.items() if (more := total - self._totals.get(each, 0)) > 0}
            self._steps.append((at, step))
            while self._steps[0][0] <= at - _WINDOW:
                self._steps.popleft()
        self.at = at
        self._totals.update(known)

    def counts(self, now: float, seconds: float = _WINDOW) -> Counter[int]:
        """What was counted in the last ``seconds``, at most 60."""
        return merge(step for at, step in self._steps if now - seconds < at <= now)

    def series(self, now: float, points: int, q: float) -> list[float | None]:
        """The quantile over time: ``points`` values of a second each, the last one now; None: nothing was counted."""
        seconds: list[list[dict[int, int]]] = [[] for _ in range(points)]
        for at, step in self._steps:
            index = points - 1 - int(now - at)
            if at <= now and index >= 0:
                seconds[index].append(step)
        return [quantile(merge(each), q) if each else None for each in seconds]

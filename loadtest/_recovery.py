"""How fast connections came back after they were all lost."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import msgspec

__all__ = ["Outage", "outages"]

_POINTS = 200  # of a curve


class Outage(msgspec.Struct, frozen=True):
    """One loss of all connections."""

    users: int
    back: list[float]  #: seconds from the loss until each was live again, ascending

    def recovered(self, share: float) -> float:
        """Seconds until so many of the users were live again; infinite when they never were."""
        wanted = max(1, math.ceil(share * self.users))
        return self.back[wanted - 1] if len(self.back) >= wanted else math.inf

    def curve(self) -> list[tuple[float, float]]:
        """Seconds, and the share that was live again by then; not more points than a plot shows."""
        step = max(1, math.ceil(len(self.back) / _POINTS))
        shown = {*range(step - 1, len(self.back), step), *range(max(0, len(self.back) - 1), len(self.back))}
        return [(0.0, 0.0), *((round(self.back[n], 3), round((n + 1) / self.users, 4)) for n in sorted(shown))]


def outages(cuts: Sequence[float], back: Sequence[float], users: int) -> list[Outage]:
    """What followed each cut. ``back`` are the moments when one more was live again, on the clock of ``cuts``."""
    found: list[list[float]] = [[] for _ in cuts]
    for moment in sorted(back):
        number = bisect_right(cuts, moment) - 1
        if number >= 0:
            found[number].append(moment - cuts[number])
    return [Outage(users, each) for each in found]

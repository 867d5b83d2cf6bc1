"""How fast something grows: a slope that single outliers do not move, and how sure it is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import combinations

import msgspec

from loadtest._gate import told
from loadtest._result import Row

__all__ = ["SHORT_SECONDS", "Trend", "drift", "trend", "trend_rows"]

SHORT_SECONDS = 600.0  #: in less, slopes per hour mean little
_BUCKETS = 60
_HOUR = 3600.0
_TENTHS = 10
_CERTAIN = 1.96  # of a normal distribution, 95 %


class Trend(msgspec.Struct, frozen=True):
    """Growth per hour; it lies between ``low`` and ``high`` with 95 % certainty if what disturbs it is random."""

    per_hour: float
    low: float
    high: float
    seconds: float  #: from the first look to the last


def trend(points: Sequence[tuple[float, float]]) -> Trend | None:
    """The slope by Theil and Sen: the median of the slopes between all pairs, with the interval of Sen.

    Args:
        points: Seconds and value, ascending. Many are put together first, to the medians of 60 parts.

    Returns:
        None: fewer than three points tell nothing.
    """
    size = max(1, math.ceil(len(points) / _BUCKETS))
    parts = [points[at : at + size] for at in range(0, len(points), size)]
    medians = [(statistics.median(t for t, _ in part), statistics.median(v for _, v in part)) for part in parts]
    number = len(medians)
    if number < 3:  # two always lie on a line
        return None
    slopes = sorted((v1 - v0) / (t1 - t0) * _HOUR for (t0, v0), (t1, v1) in combinations(medians, 2))
    spread = _CERTAIN * math.sqrt(number * (number - 1) * (2 * number + 5) / 18)
    low = max(0, math.floor((len(slopes) - spread) / 2))
    high = min(len(slopes) - 1, math.ceil((len(slopes) + spread) / 2))
    return Trend(statistics.median(slopes), slopes[low], slopes[high], points[-1][0] - points[0][0])


def trend_rows(key: str, what: str, points: Sequence[tuple[float, float]], unit: str, *, digits: int = 1) -> list[Row]:
    """How fast ``what`` grows, as a figure whose text says how sure it is; none where it was not looked at.

    Args:
        key: Of the figure.
        what: For people.
        points: As of :func:`trend`.
        unit: Of the values, ``""`` for numbers of things.
        digits: Behind the point.
    """
    found = trend(points)
    if found is None:
        return []
    row = told(key, f"{what}: growth per hour", found.per_hour, unit, better="less", digits=digits)
    sure = f"{found.low:.{digits}f} to {found.high:.{digits}f}"
    short = ", too short to mean much" if found.seconds < SHORT_SECONDS else ""
    return [msgspec.structs.replace(row, value=f"{row.value} ({sure}{short})")]


def drift(values: Sequence[float]) -> float | None:
    """How much larger the median of the last tenth is than that of the first; None: there are too few."""
    tenth = len(values) // _TENTHS
    if not tenth:
        return None
    first = statistics.median(values[:tenth])
    return statistics.median(values[-tenth:]) / first if first else None

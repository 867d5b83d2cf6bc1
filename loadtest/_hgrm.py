"""Percentile distributions in the text form that HdrHistogram prints and its plotting tools read."""

from __future__ import annotations

import math
from typing import NamedTuple

from loadtest._result import Series

__all__ = ["Point", "hgrm", "points"]

_TICKS = 5  # lines for each halving of what remains to 100 %
_NANOS = 1e6  # in a millisecond


class Point(NamedTuple):
    """That share of the samples took at most so long."""

    ms: float
    share: float
    seen: int  #: samples up to there


def points(series: Series) -> list[Point]:
    """The distribution, ever finer towards 100 %, where the last point is.

    As in HdrHistogram, the distance to 100 % is halved every five points. Empty without samples.
    """
    found: list[Point] = []
    count = sum(number for _, number in series.buckets)
    seen, share = 0, 0.0
    for nanos, number in series.buckets:
        seen += number
        ms = min(max(nanos / _NANOS, series.min), series.max)
        if seen == count:
            found.append(Point(ms, share, seen))
            break
        while share * count <= seen:
            found.append(Point(ms, share, seen))
            share += 0.5 ** (math.floor(math.log2(1 / (1 - share))) + 1) / _TICKS
    if found:
        found.append(Point(series.max, 1.0, count))
    return found


def hgrm(series: Series) -> str:
    """The distribution as text; values in milliseconds.

    Four columns: Value, Percentile (0 to 1), TotalCount, 1/(1-Percentile). The last line has no fourth one, as it
    would be infinite. Mean and maximum are exact, the standard deviation is of the buckets.
    """
    count = sum(number for _, number in series.buckets)
    square = sum(number * (nanos / _NANOS - series.mean) ** 2 for nanos, number in series.buckets)
    deviation = math.sqrt(square / count) if count else 0.0
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    for ms, share, seen in points(series):
        inverse = f" {1 / (1 - share):14.2f}" if share < 1 else ""
        lines.append(f"{ms:12.3f} {share:.12f} {seen:10d}{inverse}")
    lines += [
        f"#[Mean    = {series.mean:12.3f}, StdDeviation   = {deviation:12.3f}]",
        f"#[Max     = {series.max:12.3f}, Total count    = {count:12d}]",
        f"#[Buckets = {len(series.buckets):12d}, SubBuckets     = {128:12d}]",
    ]
    return "\n".join(lines) + "\n"

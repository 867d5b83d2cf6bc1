"""Latencies in buckets of constant relative width."""

from __future__ import annotations

import math

__all__ = ["Histogram"]

_BITS = 7  # 128 buckets per power of two: each is 0.8 % wide, its middle at most 0.4 % off


class Histogram:
    """Durations in seconds, kept as counts per bucket; any reading is within 1 % (or one nanosecond).

    Its size depends on the spread of the values, not on their number: about 130 buckets per doubling.

    Attributes:
        counts: Samples per bucket, whose key is the bucket's middle in nanoseconds.
        count: Samples.
        total: Their sum.
        min, max: Exact; ``min`` is infinite and ``max`` 0.0 while there are none.
    """

    __slots__ = ("count", "counts", "max", "min", "total")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.min = math.inf
        self.max = 0.0

    def add(self, seconds: float) -> None:
        """Take one sample; a negative one counts as 0."""
        if seconds < 0.0:
            seconds = 0.0
        nanos = int(seconds * 1e9)
        shift = nanos.bit_length() - 1 - _BITS
        key = nanos if shift <= 0 else (nanos >> shift << shift) + (1 << (shift - 1))
        self.counts[key] = self.counts.get(key, 0) + 1
        self.count += 1
        self.total += seconds
        if seconds < self.min:
            self.min = seconds
        if seconds > self.max:
            self.max = seconds

    def merge(self, other: Histogram) -> None:
        """Take all samples of another one."""
        for key, count in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + count
        self.count += other.count
        self.total += other.total
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    def percentile(self, share: float) -> float:
        """The smallest value that at least ``share`` (0 to 1) of the samples do not exceed; 0.0 without samples."""
        wanted = max(1, math.ceil(share * self.count))
        seen = 0
        for key in sorted(self.counts):
            seen += self.counts[key]
            if seen >= wanted:
                return min(max(key / 1e9, self.min), self.max)
        return 0.0

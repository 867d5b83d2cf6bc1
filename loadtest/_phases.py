"""A run in three parts: quiet, disturbed, quiet again; and what the disturbance did to the others and to the server."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from liverpc.contrib.locust.histogram import Histogram
from loadtest._gate import must, told
from loadtest._profile import Options
from loadtest._result import Row

__all__ = ["PHASES", "Phases", "bounded", "memory_rows", "p99_rows", "phases_of", "slow_rows"]

PHASES = ("before", "under", "after")


class Phases(msgspec.Struct, frozen=True):
    """When the disturbance begins and ends, in seconds since the first operation was due."""

    begin: float
    end: float

    def of(self, at: float) -> str:
        """In which of :data:`PHASES` a moment lies."""
        return "before" if at < self.begin else "under" if at < self.end else "after"


def phases_of(options: Options, quiet: float) -> Phases:
    """``quiet`` seconds before and after the disturbance, but no more than a third of the run each.

    A run without an end is disturbed until it is ended. The warm-up comes before all this.
    """
    if not options.seconds:
        return Phases(options.warmup + quiet, math.inf)
    quiet = min(quiet, (options.seconds - options.warmup) / 3)
    return Phases(options.warmup + quiet, options.seconds - quiet)


def bounded(row: Row, most: float) -> Row:
    """A figure that must not exceed ``most``, or the test fails."""
    assert row.number is not None
    mark = "ok" if row.number <= most else "FAIL"
    return msgspec.structs.replace(row, limit=f"<= {most:g}", mark=mark, kind="must")


def p99_rows(totals: Mapping[tuple[str, str], Histogram], series: Mapping[str, tuple[str, str]]) -> list[Row]:
    """The p99 of the healthy in each phase, and by how much it is larger under the disturbance than before.

    Args:
        totals: All latencies, by kind and name.
        series: Kind and name of those of the healthy, without the phase, by what they are called here.
    """
    rows: list[Row] = []
    ratios: list[float] = []
    for what, (kind, name) in series.items():
        p99 = {
            phase: found.percentile(0.99) * 1000
            for phase in PHASES
            if (found := totals.get((kind, f"{name} {phase}"))) is not None and found.count
        }
        rows += [
            told(f"{what}_p99_{phase}_ms", f"healthy {what}: p99 {phase}", value, "ms", better="less")
            for phase, value in p99.items()
        ]
        if p99.keys() >= {"before", "under"}:
            ratios.append(p99["under"] / p99["before"])
    if ratios:
        rows.append(
            told("healthy_p99_ratio", "healthy: p99 meanwhile, divided by before", max(ratios), better="less", digits=2)
        )
    return rows


def memory_rows(looks: Iterable[tuple[float, int]], phases: Phases) -> list[Row]:
    """How much memory the server took for the disturbance, if it was looked at before and since.

    Args:
        looks: Seconds since the first operation was due, and the resident bytes then, in their order.
        phases: Of the run.
    """
    before: list[int] = []
    since: list[int] = []
    for at, rss in looks:
        (before if at < phases.begin else since).append(rss)
    if not before or not since:
        return []
    return [
        told("server_memory_mb", "server: memory before", before[-1] / 1e6, "MB", digits=1),
        told(
            "server_memory_growth_mb",
            "server: most memory above that",
            (max(since) - before[-1]) / 1e6,
            "MB",
            better="less",
            digits=1,
        ),
        told(
            "server_memory_kept_mb",
            "server: memory above that at the end",
            (since[-1] - before[-1]) / 1e6,
            "MB",
            digits=1,
        ),
    ]


def slow_rows(counts: Mapping[str, float]) -> list[Row]:
    """What became of subscribers that did not take what they got.

    Args:
        counts: ``slow``; ``slow_ended HOW`` for each way in which connections ended; of those that did not end,
            ``slow_late``, and among them ``slow_kept`` for whom more waited than may; ``slow_gaps``: events that one
            missed, or got twice or out of order, while it was connected.
    """
    ends = {name.removeprefix("slow_ended "): int(n) for name, n in counts.items() if name.startswith("slow_ended ")}
    wrong = sum(number for how, number in ends.items() if how not in ("close 1011", "close 1013", "cut"))
    return [
        told("slow", "slow subscribers", int(counts["slow"])),
        *(told(f"slow_{how.replace(' ', '_')}", f"slow: ended with {how}", number) for how, number in ends.items()),
        told("slow_late", "slow: served late", int(counts.get("slow_late", 0))),
        must("slow_wrong_endings", "slow: ended otherwise than with 1011, 1013 or cut", wrong, 0),
        must("slow_kept", "slow: neither closed nor within outbox_bytes", int(counts.get("slow_kept", 0)), 0),
        must("slow_gaps", "slow: lost, twice or out of order before their end", int(counts.get("slow_gaps", 0)), 0),
    ]

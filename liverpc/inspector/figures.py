"""What the policies of a server come to: figures of its paths, locks that are held, breakers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import nlargest
from math import inf
from operator import itemgetter
from typing import TypeAlias

import msgspec

from liverpc.declare.context import Context
from liverpc.declare.registry import Entry, Registry
from liverpc.errors import ErrorCode
from liverpc.inspector.protocol import BreakerInfo, LockInfo, PathInfo, PathStats
from liverpc.inspector.protocol.frames import Limits
from liverpc.policies.breaker import BreakerRow
from liverpc.policies.locks import Locks
from liverpc.telemetry import Latencies

__all__ = ["Load", "PathFigures", "breaker_infos", "lock_infos", "who"]

_MAX_CODES = 8  # of a path
_MAX_LOCKS = 100
_MAX_PATHS = 20  # of a breaker
_Three: TypeAlias = tuple[float, float, float]


class Load(msgspec.Struct, frozen=True):
    """How hard the process works."""

    busy: float  #: share of the loop's time that the devtools take
    lag: float  #: seconds the loop was late, at worst
    memory: int  #: bytes; 0: not known


class PathFigures:
    """The figures of the paths that were called.

    Percentiles are dear: those of a path are computed at most once a second, and only when it was called since.
    """

    def __init__(self, registry: Registry, monotonic: Callable[[], float]) -> None:
        self._registry = registry
        self._now = monotonic
        self._percentiles: dict[int, tuple[int, float, _Three]] = {}  # with the calls, when, and themselves

    def rows(self) -> tuple[list[PathInfo], list[PathStats]]:
        """What each path is, and its figures."""
        called = [entry for entry in self._registry.entries if entry.calls]
        return [PathInfo(entry.number, entry.path) for entry in called], [self._stats(entry) for entry in called]

    def latencies(self) -> list[tuple[int, int]]:
        """How long the calls of all paths took, as :attr:`State.latencies`."""
        return Latencies.of_all(entry.latencies for entry in self._registry.entries if entry.latencies).sparse()

    def _stats(self, entry: Entry) -> PathStats:
        return PathStats(
            entry.number,
            entry.calls,
            entry.errors,
            round(entry.seconds, 6),
            round(entry.max_seconds, 6),
            *self._percentiles_of(entry),
            nlargest(_MAX_CODES, entry.codes.items(), itemgetter(1)),
            entry.codes.get(ErrorCode.RATE_LIMITED, 0),
            entry.codes.get(ErrorCode.OVERLOADED, 0),
        )

    def _percentiles_of(self, entry: Entry) -> _Three:
        now = self._now()
        calls, at, values = self._percentiles.get(entry.number, (0, -inf, (0.0, 0.0, 0.0)))
        if entry.latencies is not None and calls != entry.calls and now - at >= 1:
            # They are those of buckets, so the highest may lie above all that was measured.
            p50, p95, p99 = (min(entry.latencies.quantile(q), entry.max_seconds) for q in (0.5, 0.95, 0.99))
            values = round(p50, 6), round(p95, 6), round(p99, 6)
            self._percentiles[entry.number] = entry.calls, now, values
        return values


def lock_infos(locks: Locks) -> list[LockInfo]:
    """The locks that are held, those with the most waiters first, then those held longest; at most 100."""
    return [
        LockInfo(row.key, *who(row.holder), row.since, row.waiting, row.waiting_since) for row in locks.rows(_MAX_LOCKS)
    ]


def who(holder: object) -> tuple[str, str, str, str]:
    """Path, connection, id and user of the call that holds a lock."""
    if not isinstance(holder, Context):
        return "", "", "", ""
    connection = holder.connection
    return holder.path, connection.id, (holder.call or "")[: Limits.MAX_CALL_ID], connection.user_id or ""


def breaker_infos(rows: Iterable[BreakerRow]) -> list[BreakerInfo]:
    """The breakers there are."""
    return [BreakerInfo(row.name, row.state, row.failures, row.tried_in, row.paths[:_MAX_PATHS]) for row in rows]

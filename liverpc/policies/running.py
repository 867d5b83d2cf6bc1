"""What of a server the policies of its declarations work on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import msgspec

from liverpc.backends.ports import Cluster
from liverpc.config import Limits
from liverpc.hub.tasks import Background
from liverpc.policies.breaker import Breakers
from liverpc.policies.locks import Locks
from liverpc.policies.once import Once
from liverpc.policies.rates import Rates
from liverpc.telemetry import Counters

__all__ = ["RunningPolicies"]


class RunningPolicies(msgspec.Struct, frozen=True):
    """One server's limits, locks, claims and breakers."""

    rates: Rates
    locks: Locks
    once: Once
    breakers: Breakers
    counters: Counters

    @classmethod
    def of(
        cls, cluster: Cluster, background: Background, limits: Limits, counters: Counters, now: Callable[[], float]
    ) -> Self:
        """Those of a server.

        Args:
            cluster: Where hits are counted and results kept.
            background: Of the server.
            limits: Likewise.
            counters: Likewise.
            now: Loop time.
        """
        return cls(
            Rates(cluster.limiter, counters),
            Locks(now, counters, limits.lock_waiters),
            Once(cluster.idempotency, background, counters, now, limits.lock_waiters),
            Breakers(now, counters),
            counters,
        )

"""Figures over the last minutes, for graphs."""

from __future__ import annotations

from collections.abc import Mapping

from liverpc.inspector.protocol import State
from liverpc_devtools.core.latency import Latency
from liverpc_devtools.core.meter import Trend
from liverpc_devtools.core.rows import Rows

__all__ = ["Rates", "Trends"]


class Rates:
    """How fast the counters of a server grow, each with its trend."""

    def __init__(self) -> None:
        self._totals: dict[str, int] = {}
        self._at: float | None = None
        self._trends: dict[str, Trend] = {}

    def add(self, at: float, totals: Mapping[str, int], *, anew: bool = False) -> None:
        """The totals at the server's time ``at``, taken into account once a second; ``anew``: there is a gap before."""
        before = None if anew else self._at
        if before is not None and at - before < 1.0:
            return
        if before is not None:
            for name, total in totals.items():
                grown = max(total - self._totals.get(name, total), 0)
                if grown or name in self._trends:
                    self._trends.setdefault(name, Trend()).add(at, grown / (at - before))
        self._totals, self._at = dict(totals), at

    def __getitem__(self, name: str) -> Trend:
        """The trend of one counter, per second; empty for one that never grew."""
        return self._trends.get(name) or Trend()


class Trends:
    """What the states of a server tell, over time.

    Attributes:
        rates: Of all counters.
        latency: How long calls took.
        delivery: From a publish until the socket had taken it, of events that were captured.
        levels: ``connections``, ``pending``, ``lag`` (seconds), ``memory`` (bytes) and, per second, ``calls``,
            ``errors``, ``published``, ``delivered``.
        at: The server's time of the last state.
    """

    def __init__(self) -> None:
        self.rates = Rates()
        self.latency = Latency()
        self.delivery = Latency()
        names = ("connections", "pending", "lag", "memory", "calls", "errors", "published", "delivered")
        self.levels = {name: Trend() for name in names}
        self.at = 0.0
        self._anew = {"latency": True, "delivery": True, "rates": True}

    def apply(self, state: State, rows: Rows) -> None:
        """Fold a state in, after the rows did."""
        at, totals = state.at, rows.totals
        self.at = at
        if state.full:
            self._anew = dict.fromkeys(self._anew, True)
        if state.counters:
            self.rates.add(at, state.counters, anew=self._anew["rates"])
            self._anew["rates"] = False
        for name, latency, known in (
            ("latency", self.latency, state.latencies),
            ("delivery", self.delivery, state.deliveries),
        ):
            if known:
                latency.add(at, known, anew=self._anew[name])
                self._anew[name] = False
        values = {
            "connections": len(rows.connections),
            "pending": state.pending_total,
            "lag": state.lag,
            "memory": state.memory,
            "calls": totals.calls.rate(at),
            "errors": totals.errors.rate(at),
            "published": totals.published.rate(at),
            "delivered": totals.delivered.rate(at),
        }
        for name, value in values.items():
            self.levels[name].add(at, value)

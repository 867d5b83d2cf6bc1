"""The scenario ``idle``: connections that do nothing but live, and what they cost the server."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import ClassVar

from loadtest._connect import Connect, ConnectUser
from loadtest._gate import told
from loadtest._knee import of_server
from loadtest._result import Row, Second
from loadtest._run import Run
from loadtest._scenario import Scenario, Tally
from loadtest._trend import trend_rows

__all__ = ["Idle", "IdleUser"]

_BEFORE_SECONDS = 2.5  # in which the server is looked at without connections
_REST = 2  # seconds, for the work of connecting to be over, and told


class Idle(Connect):
    """Open connections as ``connect`` does, and leave them alone."""

    name = "idle"
    defaults: ClassVar = {"users": 500, "rate": 200.0}

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._before: list[Second] = []

    def begin(self) -> None:
        self.run.pause(_BEFORE_SECONDS)
        self._before = list(self.run.lead.seconds)

    def rows(self, tally: Tally) -> list[Row]:
        users, seconds = max(1, tally.count("connected")), self._idle_seconds(tally.count("begun"))
        if not seconds:
            self.run.broken("the connections were not idle for a second: make the run longer, or --rate higher")
        rows = [
            *super().rows(tally),
            told("idle_s", "all connections were idle for", len(seconds), "s"),
        ]
        cpu, fds = (_more(self._before, seconds, of_server(name)) for name in ("cpu", "fds"))
        if cpu is not None:
            share = max(0.0, cpu) / users * 1000 * 100
            rows.append(told("cpu_per_1000", "server: CPU per 1000 idle connections", share, "%", better="less"))
        if fds is not None:
            rows.append(told("fds_per_connection", "server: open files per connection", fds / users, better="less"))
        memory = [(each.at, rss / 1e6) for each in seconds if (rss := of_server("rss_bytes")(each)) is not None]
        return [*rows, *trend_rows("rss_slope_mb_h", "server: memory", memory, "MB")]

    def _idle_seconds(self, due: int) -> list[Second]:
        """Those after the last connection was opened."""
        seconds: list[Second] = self.run.lead.seconds[len(self._before) :]
        opened = 0
        for number, second in enumerate(seconds):
            opened += second.done.get("WS connect", 0)
            if opened >= due:
                return seconds[number + 1 + _REST :]
        return []


class IdleUser(ConnectUser):
    """Connects when it is due, and answers pings."""

    scenario: ClassVar[type[Scenario]] = Idle


def _more(before: Sequence[Second], after: Sequence[Second], of: Callable[[Second], float | None]) -> float | None:
    """By how much a figure is higher, on average; None: it is not known."""
    values = [[value for each in seconds if (value := of(each)) is not None] for seconds in (before, after)]
    return statistics.fmean(values[1]) - statistics.fmean(values[0]) if all(values) else None

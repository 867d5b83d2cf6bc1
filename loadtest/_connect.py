"""The scenario ``connect``: connections at a steady rate, which stay."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import ClassVar

from gevent import GreenletExit

from liverpc.contrib.locust.client import Attempt
from liverpc.contrib.locust.schedule import due_times
from loadtest._gate import must, told
from loadtest._result import Row, Second
from loadtest._run import Run, run_of
from loadtest._scenario import Scenario, StayingUser, Tally, drain

__all__ = ["Connect", "ConnectUser"]

_ENOUGH = 100  # connections, whose memory is more than what a server's varies by


class Connect(Scenario):
    """Open connections at a steady rate and keep them."""

    name = "connect"
    headline = "WS connect from due"
    calls_demo = False

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.begun = 0
        self.connected = 0
        self._due: Iterator[tuple[int, float]] | None = None

    def due(self, number: int) -> float:
        """When a user connects; asked for ascending numbers, after the starting signal."""
        if self._due is None:
            options = self.run.options
            self._due = zip(count(), due_times(options.rate, self.run.start, options.random_arrivals), strict=False)
        return next(due for n, due in self._due if n == number)

    def settle(self) -> dict[str, int]:
        drain(lambda: self.connected == self.begun)
        return {}

    def count(self, published: object) -> Tally:
        return Tally(counts={"begun": self.begun, "connected": self.connected})

    def rows(self, tally: Tally) -> list[Row]:
        if not tally.count("connected"):
            self.run.broken("no connection was opened")
        return [
            told("connects", "connections that were due", tally.count("begun")),
            must("connected", "connected, of those that were due", tally.count("connected"), tally.count("begun")),
            *_memory_rows(self.run.lead.seconds),
        ]


def _memory_rows(seconds: Sequence[Second]) -> list[Row]:
    """What a connection costs the server, where it can be looked at and there are enough of them to tell."""
    looks = [
        (each.server.connections, each.server.rss_bytes)
        for each in seconds
        if each.server and each.server.connections is not None and each.server.rss_bytes is not None
    ]
    if not looks:
        return []
    (few, least), (many, most) = min(looks), max(looks)
    if many - few < _ENOUGH:
        return []
    each = (most - least) / (many - few) / 1024
    return [told("rss_kb_per_connection", "server: memory per connection", each, "KB", better="less", digits=1)]


class ConnectUser(StayingUser):
    """Connects when it is due, and stays."""

    scenario: ClassVar[type[Scenario]] = Connect

    def on_start(self) -> None:
        run = run_of(self.environment)
        number = run.next_user()
        self.due = 0.0
        self.connected = False
        run.ready()
        run.begun.wait()
        self.due = run.scenario.due(number)
        run.wait_until(self.due)
        if run.stopping:
            raise GreenletExit  # as if Locust had stopped it already
        run.scenario.begun += 1
        super().on_start()

    def on_attempt(self, attempt: Attempt) -> None:
        super().on_attempt(attempt)
        if not attempt.failure and not self.connected:
            self.connected = True
            run_of(self.environment).scenario.connected += 1
            self.recorder.add("WS", "connect from due", time.perf_counter() - self.due, part=True)

"""What ``steps`` and ``devtools`` share: calls or publishes on a schedule, told apart by the part of the run."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, ClassVar, Literal

import msgspec

from liverpc.contrib.locust.client import LiveClient
from liverpc.contrib.locust.users import LiveUser
from loadtest._fanout import Fanout
from loadtest._gate import told
from loadtest._result import Row
from loadtest._run import Run, run_of
from loadtest._scenario import FOREVER, Operations, StayingUser, Tally, drain, operation_rows

__all__ = ["Driven", "DrivenUser", "Of"]

Of = Annotated[
    Literal["rpc", "fanout"],
    msgspec.Meta(description="rpc: calls, from all connections in turn; fanout: publishes, to all connections"),
]


class Driven(Fanout):
    """Its knob ``of`` says which load it is. Each latency is in a series of its part of the run, too.

    Attributes:
        of: The load.
        series: Kind and name of its latencies; with a blank and the part behind it, of those of the part.
    """

    topic: ClassVar[str] = ""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.of: str = self.knobs.of
        self.series = ("RPC", "load/echo") if self.of == "rpc" else ("PUB", "deliver")
        self.headline = " ".join(self.series)
        self.channel = f"{self.name}-{run.plan.id}"
        self.calls = Operations(run, "load/echo", "calls", also=lambda due: f"load/echo {self.part(due - run.start)}")
        self._clients: list[LiveClient] = []
        if self.of == "rpc" and not run.lead_only:
            run.spawn(self._call)

    # -- for users

    def join(self, user: LiveUser) -> None:
        """A user is connected, and takes part."""
        self._clients.append(user.client)
        if self.of == "fanout":
            user.stream("load/events", self.channel, on_event=self.receiver())

    def _call(self) -> None:
        """This process's share of all calls: each time one is due, the next connection makes it."""
        run, clients = self.run, self._clients
        run.begun.wait()
        value = "x" * run.options.size
        share = islice(self.times(), run.index, None, run.plan.processes)
        for turn, due in enumerate(run.when_due(share)):
            self.calls.send(clients[turn % len(clients)], due, value)

    # -- the leading process

    def lead(self) -> None:
        if self.of == "fanout":
            super().lead()

    def rows(self, tally: Tally) -> list[Row]:
        if self.of == "fanout":
            return super().rows(tally)
        if not tally.count("calls"):
            self.run.broken("no call was made")
        return [
            told("connections", "connections", self.run.users),
            *operation_rows(tally, "calls", "calls", self.run.options.rate),
        ]

    # -- every process

    def settle(self) -> dict[str, int]:
        drain(lambda: not self.calls.pending)
        return super().settle()

    def count(self, published: Mapping[str, int]) -> Tally:
        tally = super().count(published)
        tally.add(self.calls.tally())
        return tally


class DrivenUser(StayingUser):
    """Calls when it is told to, or listens."""

    abstract = True
    wait_time = FOREVER

    def on_start(self) -> None:
        super().on_start()
        run = run_of(self.environment)
        run.scenario.join(self)
        run.ready()

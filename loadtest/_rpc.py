"""The scenario ``rpc``: calls at a steady rate."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from locust import task
from msgspec import Meta

from liverpc.contrib.locust.users import LiveUser
from loadtest._gate import told
from loadtest._result import Row
from loadtest._run import Run, run_of
from loadtest._scenario import FOREVER, Operations, Scenario, Tally, drain, operation_rows

__all__ = ["Rpc", "RpcUser"]


class RpcKnobs(msgspec.Struct, frozen=True):
    """The options of the scenario."""

    waiting: Annotated[
        bool, Meta(description="each connection waits for an answer before its next call, which is then made at once")
    ] = False


class Rpc(Scenario):
    """Calls at a steady rate, from all connections in turn."""

    name = "rpc"
    headline = "RPC load/echo"
    Knobs = RpcKnobs

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.calls = Operations(run, "load/echo", "calls")

    def settle(self) -> dict[str, int]:
        drain(lambda: self.calls.pending == 0)
        return {}

    def count(self, published: object) -> Tally:
        return self.calls.tally()

    def rows(self, tally: Tally) -> list[Row]:
        if not tally.count("calls"):
            self.run.broken("no call was made")
        return [
            told("connections", "connections", self.run.users),
            *operation_rows(tally, "calls", "calls", self.run.options.rate),
        ]


class RpcUser(LiveUser):
    """Calls ``load/echo`` when it is due, however late the answers to earlier calls are, unless told to wait."""

    wait_time = FOREVER
    scenario: ClassVar[type[Scenario]] = Rpc

    def on_start(self) -> None:
        super().on_start()
        run = run_of(self.environment)
        self.number = run.next_user()
        run.ready()

    @task  # type: ignore[untyped-decorator]  # Locust has no types
    def calls(self) -> None:
        run = run_of(self.environment)
        value = "x" * run.options.size
        for due in run.when_due(run.times_of(self.number)):
            answered = run.scenario.calls.send(self.client, due, value)
            if run.scenario.knobs.waiting:
                answered.wait()

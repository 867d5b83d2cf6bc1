"""The scenario ``rpc_burst``: many calls at once on one connection, some of them sent twice."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import msgspec
from locust import task

from liverpc.client.calls import Call
from liverpc.contrib.locust.client import LiveClient
from liverpc.contrib.locust.users import ConnectOptions, LiveUser
from liverpc.errors import RpcError
from loadtest._gate import must, told
from loadtest._result import Row
from loadtest._run import Run, run_of
from loadtest._scenario import FOREVER, Scenario, Tally, drain, rate_rows

__all__ = ["BurstKnobs", "RpcBurst", "RpcBurstUser", "numbers"]


class BurstKnobs(msgspec.Struct, frozen=True):
    """The options of the scenario. A caller's last 100 results are kept for repetitions, hence the limit."""

    batch: Annotated[int, msgspec.Meta(description="calls that are sent at once, on one connection", ge=1, le=100)] = 50
    duplicates: Annotated[
        float, msgspec.Meta(description="share of them that are sent twice, with one idempotency key", ge=0, le=1)
    ] = 0.1


def numbers(batch: int, duplicates: float, rng: random.Random) -> list[int]:
    """The order in which the calls of a batch are sent, by number; those sent twice come again somewhere behind."""
    order = list(range(batch))
    for number in rng.sample(order, round(batch * duplicates)):
        order.insert(rng.randint(order.index(number) + 1, len(order)), number)
    return order


class RpcBurst(Scenario):
    """Batches at a steady rate, from all connections in turn. Each call has an idempotency key."""

    name = "rpc_burst"
    headline = "RPC batch"
    defaults: ClassVar = {"rate": 10.0}
    Knobs = BurstKnobs

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.counted = f"burst-{run.plan.id}"  # what the server counts them under
        self.batches = 0
        self.sent = 0
        self.repeated = 0
        self.failed = 0
        self.unlike = 0  # repetitions that were not answered with the result of the first
        self.pending = 0  # batches
        self._last = 0.0

    def send(self, client: LiveClient, due: float, order: Sequence[int], first: int) -> None:
        """Send a batch whose time counts from ``due``; ``first`` is what its numbers begin at."""
        self.batches += 1
        self.sent += len(order)
        self.repeated += len(order) - len(set(order))
        self.pending += 1
        self._last = time.perf_counter() - self.run.start
        batch = _Batch(self, due, len(order))
        for number in order:
            each = first + number
            key = f"{self.counted}-{each}"
            client.begin("load/once", self.counted, each, on_done=partial(batch.done, number), idempotency_key=key)

    def settle(self) -> dict[str, int]:
        drain(lambda: not self.pending)
        return {}

    def count(self, published: object) -> Tally:
        counts = {name: getattr(self, name) for name in ("batches", "sent", "repeated", "failed", "unlike", "pending")}
        return Tally(counts=counts, peaks={"batches_last": self._last})

    def rows(self, tally: Tally) -> list[Row]:
        batches, sent, repeated = (tally.count(name) for name in ("batches", "sent", "repeated"))
        if not batches:
            self.run.broken("no batch was sent")
        failed = tally.count("failed")
        return [
            told("connections", "connections", self.run.users),
            *rate_rows(tally, "batches", f"batches of {self.knobs.batch}", self.run.options.rate),
            told("calls", "calls, repetitions included", sent),
            told("repeated", "calls: repeated", repeated),
            must("calls_failed", "calls: failed", failed, 0),
            must("batches_unanswered", "batches: unanswered", tally.count("pending"), 0),
            must("unlike", "repetitions: answered otherwise than the first", tally.count("unlike"), 0),
            *self._executed(sent - repeated, failed),
        ]

    def _executed(self, wanted: int, failed: int) -> list[Row]:
        """How many calls ran more often than once, or never, by the server's own count."""
        client = LiveClient(self.run.url)
        try:
            client.open()
            executed = client.call("load/counted", self.counted)
        except RpcError as error:
            self.run.broken(f"the server does not say what it executed: {error}")
            return []
        finally:
            client.close()
        return [
            must("executed_twice", "calls: executed twice", max(0, executed - wanted), 0),
            # What failed may have run, or not.
            must("not_executed", "calls: answered, and not executed", max(0, wanted - failed - executed), 0),
        ]


class _Batch:
    """What is known of a batch."""

    def __init__(self, scenario: RpcBurst, due: float, size: int) -> None:
        self._scenario = scenario
        self._due = due
        self._left = size
        self._failed = ""
        self._results: dict[int, Any] = {}

    def done(self, number: int, call: Call) -> None:
        """One call has ended."""
        scenario = self._scenario
        if isinstance(call.outcome, RpcError):
            scenario.failed += 1
            self._failed = call.outcome.code
        else:
            result = call.result()
            scenario.unlike += self._results.setdefault(number, result) != result
        self._left -= 1
        if self._left:
            return
        scenario.pending -= 1
        seconds, recorder = time.perf_counter() - self._due, scenario.run.recorder
        if self._failed:
            recorder.fail("RPC", "batch", seconds, self._failed)
        else:
            recorder.add("RPC", "batch", seconds)


class RpcBurstUser(LiveUser):
    """Sends a batch when it is due, however late the answers to the one before are."""

    wait_time = FOREVER
    scenario: ClassVar[type[Scenario]] = RpcBurst

    def connect_options(self) -> ConnectOptions:
        # Somebody with a name, for results of guests are kept less long.
        return ConnectOptions(url=f"{run_of(self.environment).url}?user=burst-{self.number}")

    def on_start(self) -> None:
        run = run_of(self.environment)
        self.number = run.next_user()
        super().on_start()
        run.ready()

    @task  # type: ignore[untyped-decorator]  # Locust has no types
    def bursts(self) -> None:
        run = run_of(self.environment)
        knobs, rng = run.scenario.knobs, random.Random(f"{run.options.seed}/{self.number}")
        order = numbers(knobs.batch, knobs.duplicates, rng)
        for batch, due in enumerate(run.when_due(run.times_of(self.number))):
            run.scenario.send(self.client, due, order, (batch * run.users + self.number) * knobs.batch)
            order = numbers(knobs.batch, knobs.duplicates, rng)

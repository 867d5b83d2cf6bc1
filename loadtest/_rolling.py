"""The scenario ``rolling``: the server is restarted again and again, as when a new version is rolled out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

from locust import task
from msgspec import Meta

from liverpc.client.calls import Call
from liverpc.errors import ErrorCode, RpcError
from loadtest._gate import must, told
from loadtest._readers import Appender, ClientKnobs, Readers, ReaderUser, audit_rows, named, server_rows, words
from loadtest._recovery import outages
from loadtest._result import Row
from loadtest._run import Run, run_of
from loadtest._scenario import Scenario, Tally, drain

__all__ = ["Rolling", "RollingUser"]

#: What may become of calls whose connection is lost or not there yet; none of them waits for 30 seconds.
_OF_RESTARTS = {"in time", "late", ErrorCode.DISCONNECTED, ErrorCode.QUEUE_FULL, ErrorCode.SERVICE_UNAVAILABLE}


class RollingKnobs(ClientKnobs, frozen=True):
    """The options of the scenario."""

    every: Annotated[float, Meta(gt=0, description="seconds between two restarts of the server")] = 30.0
    appends: Annotated[float, Meta(gt=0, description="rows per second on the log that everybody reads")] = 5.0
    patience: Annotated[float, Meta(gt=0, description="seconds after which an answer is too late for its user")] = 1.0


class Rolling(Scenario):
    """Everybody calls ``load/echo`` and reads one log, and the server ends gracefully every now and then."""

    name = "rolling"
    headline = "RPC load/echo"
    defaults: ClassVar[Mapping[str, Any]] = {"users": 100, "rate": 50.0}
    Knobs = RollingKnobs
    needs = "server"
    expects_lost_connections = True
    settle_seconds = 45.0  # calls wait for a connection for 30 seconds

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.readers = Readers(run, self.knobs)
        self._appender = Appender(run, self.readers.name)
        self._restarts: list[float] = []  # when each began
        self._restarting = False
        self._calls: Counter[str] = Counter()  # by what became of them: a code, ``in time`` or ``late``
        self._started = 0

    # -- users

    def call(self, user: RollingUser, due: float) -> None:
        """Start a call that is due."""
        self._started += 1
        user.client.begin("load/echo", "x" * self.run.options.size, on_done=partial(self._answered, due))

    def _answered(self, due: float, call: Call) -> None:
        seconds = time.perf_counter() - due
        if isinstance(call.outcome, RpcError):
            self._calls[call.outcome.code] += 1
            self.run.recorder.fail("RPC", "load/echo", seconds, call.outcome.code)
        else:
            self._calls["in time" if seconds <= self.knobs.patience else "late"] += 1
            self.run.recorder.add("RPC", "load/echo", seconds)

    # -- in the leading process

    def begin(self) -> None:
        self._appender.open()
        self.run.spawn(self._append)

    def _append(self) -> None:
        self._appender.work(self.knobs.appends)

    def lead(self) -> None:
        lead = self.run.lead
        while self.run.pause(self.knobs.every):
            self._restarting = True
            lead.order("outage")
            self._restarts.append(time.perf_counter())
            lead.say("server terminated")
            if not lead.server.terminate():
                self.run.broken("the server did not end within its time and was killed")
            lead.server.start()
            self._restarting = False
            lead.say("server started")

    def rows(self, tally: Tally) -> list[Row]:
        users = self.run.users
        restarts = outages(self._restarts, tally.lists["back"], users)
        calls = named(tally, "call ")
        wrong = {code: number for code, number in calls.items() if code not in _OF_RESTARTS}
        started, back = int(tally.count("calls")), int(tally.count("back"))
        if not started or not restarts:
            self.run.broken("the run ended before the first restart: use --every, or a longer run")
        away = tally.count("away_seconds")
        mean = away / max(back + tally.count("otherwise"), 1)
        if restarts:
            slowest = max(restarts, key=lambda each: each.recovered(1.0))
            self.run.lead.details["recovery"] = slowest.curve()
        return [
            told("restarts", "restarts", len(restarts)),
            told("calls", "calls", started),
            must("calls_unanswered", "calls: unanswered", started - sum(calls.values()), 0),
            must("calls_wrong", "calls: failed, and not by a restart", sum(wrong.values()), 0, words(wrong)),
            told(
                "availability_percent",
                f"calls answered within {self.knobs.patience:g} s",
                100 * calls.get("in time", 0) / max(started, 1),
                "%",
                better="more",
                digits=3,
            ),
            told("calls_late", "calls: answered later", calls.get("late", 0), better="less"),
            *(
                told(f"calls_{code}", f"calls: {code}", number, better="less")
                for code, number in sorted(calls.items())
                if code not in ("in time", "late")
            ),
            told(
                "live_percent",
                "streams were live, of the time",
                100 * (1 - away / max(users * tally.peaks["counted_at"], 1e-9)),
                "%",
                better="more",
                digits=3,
            ),
            told("recovery_mean_s", "connection lost until live again, mean", mean, "s", better="less"),
            told(
                "recovery_worst_s",
                "connection lost until live again, at worst",
                tally.peaks.get("away_longest", 0.0),
                "s",
                better="less",
            ),
            must("not_back", "readers that did not come back", users * len(restarts) - back, 0),
            *audit_rows(tally),
            *self._appender.rows(server_ends=True),
            *server_rows(self.run),
        ]

    # -- in every process

    def settle(self) -> Mapping[str, int]:
        drain(
            lambda: not self._restarting and not self._appender.pending and self._calls.total() == self._started,
            self.settle_seconds,
        )
        return {}

    def count(self, published: Mapping[str, int]) -> Tally:
        tally = self.readers.tally(resets=None)
        tally.peaks["counted_at"] = time.perf_counter() - self.run.start
        tally.counts |= {"calls": self._started} | {f"call {what}": number for what, number in self._calls.items()}
        return tally

    def close(self) -> None:
        self._appender.close()


class RollingUser(ReaderUser):
    """Reads the log, and calls ``load/echo`` when it is due."""

    scenario: ClassVar[type[Scenario]] = Rolling

    def on_start(self) -> None:
        self.number = run_of(self.environment).next_user()
        super().on_start()

    @task  # type: ignore[untyped-decorator]  # Locust has no types
    def calls(self) -> None:
        run = run_of(self.environment)
        for due in run.when_due(run.times_of(self.number)):
            run.scenario.call(self, due)

"""The scenario ``replay``: what was called in a recording of the devtools, as often and as mixed."""

from __future__ import annotations

import time
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from liverpc.contrib.locust.mix import Mix, Recorded
from liverpc.contrib.locust.recorded import RecordedUser, Replayed
from liverpc.errors import ConfigError
from loadtest._gate import must, told
from loadtest._profile import OptionError
from loadtest._result import Row
from loadtest._run import Run, run_of
from loadtest._scenario import FOREVER, Scenario, Tally, drain

__all__ = ["Replay", "ReplayUser"]

_ALL = "replayed"  # the series of all calls together


class ReplayKnobs(msgspec.Struct, frozen=True):
    """The options of the scenario."""

    recording: Annotated[str, Meta(description="file of `liverpc-tui record`")] = ""
    speed: Annotated[
        float, Meta(gt=0, le=1000, description="calls per second and connection, compared with the recording")
    ] = 1.0


_mix = lru_cache(maxsize=1)(Mix.read)  # it may be long


class Replay(Scenario):
    """Every user stands for one connection of the recording."""

    name = "replay"
    headline = f"RPC {_ALL}"
    calls_demo = False
    Knobs = ReplayKnobs

    @classmethod
    def check(cls, knobs: Any) -> None:
        if not knobs.recording:
            raise OptionError("the scenario replay needs --recording FILE, which `liverpc-tui record -o FILE` writes")
        _mix(Path(knobs.recording))

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.replayed = Replayed()
        self.due = 0
        self.last = 0.0
        self.mix: Mix | None = None
        try:
            self.mix = _mix(Path(self.knobs.recording))
        except ConfigError as error:  # on the machine of this process
            run.broken(str(error))

    def begin(self) -> None:
        if self.mix is not None:
            self.run.lead.wanted = self._wanted

    def settle(self) -> dict[str, int]:
        drain(lambda: self.replayed.pending == 0)
        return {}

    def count(self, published: object) -> Tally:
        done = self.replayed
        return Tally(
            counts={
                "due": self.due,
                "calls": done.started,
                "calls_failed": done.failed,
                "calls_unanswered": done.pending,
                "events": done.events,
                "left_out": sum(done.left_out.values()),
            },
            peaks={"calls_last": self.last},
            lists={"left_out": [[path, number] for path, number in done.left_out.items()]},
        )

    def rows(self, tally: Tally) -> list[Row]:
        if self.mix is None or not tally.count("calls"):
            self.run.broken("no call was made: the log tells what was left out")
            return []
        if tally.count("calls_failed") == tally.count("calls"):
            self.run.broken("no call ended as it was recorded: is this the server, and who calls, of the recording?")
        left_out: Counter[str] = Counter()
        for path, number in tally.lists["left_out"]:
            left_out[path] += number
        self.run.lead.details["left_out"] = self.mix.left_out | {path: f"{left_out[path]} times" for path in left_out}
        seconds = max(tally.peaks["calls_last"], 1e-9)
        return [
            told("recorded_connections", "recorded: connections, on average", self.mix.connections, digits=1),
            told("recorded_calls_per_s", "recorded: calls of all together", self.mix.rate, "/s", digits=1),
            told("connections", "connections", self.run.users),
            told("calls", "calls", tally.count("calls")),
            told("calls_left_out", "calls, and uses of streams: left out", tally.count("left_out")),
            told("calls_wanted_per_s", "calls: rate wanted, those left out included", self._wanted, "/s", digits=1),
            told("calls_due_ratio", "calls: came due, of those", tally.count("due") / seconds / self._wanted, digits=3),
            told("calls_per_s", "calls: rate done", tally.count("calls") / seconds, "/s", better="more", digits=1),
            told("calls_failed", "calls: ended otherwise than recorded", tally.count("calls_failed"), better="less"),
            must("calls_unanswered", "calls: unanswered", tally.count("calls_unanswered"), 0),
            told("events", "events of streams", tally.count("events")),
        ]

    @property
    def _wanted(self) -> float:
        """Calls per second of all users together."""
        assert self.mix is not None
        return float(self.mix.rate * self.knobs.speed * self.run.users / max(self.mix.connections, 1.0))


class ReplayUser(RecordedUser):
    """Does what one connection of the recording did, from the starting signal on."""

    scenario: ClassVar[type[Scenario]] = Replay

    def wait_time(self) -> float:
        return float(FOREVER(self))

    def on_start(self) -> None:
        run = run_of(self.environment)
        scenario = run.scenario
        if scenario.mix is not None:
            self.mix, self.replayed = scenario.mix, scenario.replayed
            self.speed, self.seed = scenario.knobs.speed, run.options.seed
            super().on_start()
        run.ready()

    def call_what_is_due(self) -> None:
        run = run_of(self.environment)
        run.begun.wait()
        if run.scenario.mix is None:
            return
        for due, recorded in self.schedule(run.start):
            run.wait_until(due)
            if run.stopping:
                return
            run.scenario.due += 1
            run.scenario.last = max(run.scenario.last, due - run.start)
            self.begin(due, recorded)

    def answered(self, recorded: Recorded, code: str, due: float, sent: float) -> None:
        super().answered(recorded, code, due, sent)
        if not code:
            self.recorder.add("RPC", _ALL, time.perf_counter() - due, part=True)

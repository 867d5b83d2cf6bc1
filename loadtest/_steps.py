"""The scenario ``steps``: more and more load, until something gives way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import msgspec

from liverpc.contrib.locust.histogram import Histogram
from loadtest._driven import Driven, DrivenUser, Of
from loadtest._gate import GATED_SECONDS, told
from loadtest._ladder import Ladder, broke
from loadtest._result import Row
from loadtest._run import Run
from loadtest._scenario import Scenario, Tally

__all__ = ["Steps", "StepsKnobs", "StepsUser"]

_GRACE = 2.5  # seconds after a step in which its answers still come, and are told by all processes


class StepsKnobs(msgspec.Struct, frozen=True):
    """The options of the scenario."""

    of: Of = "rpc"
    factor: Annotated[float, msgspec.Meta(description="by which the rate grows from step to step", gt=1, le=10)] = 1.5
    step: Annotated[float, msgspec.Meta(description="seconds of each", ge=2, le=3600)] = 10.0
    limit: Annotated[float, msgspec.Meta(description="milliseconds that the p99 of a step may have", gt=0)] = 50.0


class Steps(Driven):
    """The rate grows by a factor every few seconds; the run ends by itself when a step does not hold."""

    name = "steps"
    defaults: ClassVar = {"rate": 200.0}
    Knobs = StepsKnobs

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        options, knobs = run.options, self.knobs
        # Latencies count from the second in which the warm-up was found to be over, everywhere.
        begin = options.warmup + 2.0 if options.warmup else 0.0
        self.ladder = Ladder(options.rate, knobs.factor, begin, knobs.step)
        self._steps: list[dict[str, Any]] = []

    def part(self, at: float) -> str:
        number = self.ladder.number(at)
        return "before" if number < 0 else f"step {number + 1}, {self.ladder.rate_of(number):.0f}/s"

    def times(self) -> Iterator[float]:
        return self.ladder.times(self.run.start, self.run.options.random_arrivals)

    # -- the leading process

    def lead(self) -> None:
        self.run.spawn(self._judge)
        super().lead()

    def _judge(self) -> None:
        run, lead, ladder = self.run, self.run.lead, self.ladder
        lead.details["steps"] = self._steps
        announced = -1
        while not run.stopping:
            number = ladder.number(lead.at)
            if number > announced:
                announced = number
                lead.wanted = ladder.rate_of(number)
                lead.say(f"{lead.wanted:.0f}/s")
            if lead.at > ladder.end_of(len(self._steps)) + _GRACE and not self._held(len(self._steps)):
                lead.say(f"{self._steps[-1]['rate']:.0f}/s did not hold: {self._steps[-1]['broke']}")
                lead.finish()
                return
            run.pause(0.1)

    def _held(self, number: int) -> bool:
        """Judge the next step."""
        lead, ladder = self.run.lead, self.ladder
        begin, end, rate = ladder.end_of(number - 1), ladder.end_of(number), ladder.rate_of(number)
        kind, name = self.series
        done = lead.totals.get((kind, f"{name} {self.part((begin + end) / 2)}"), Histogram())
        each = 1 if self.of == "rpc" else self.run.users
        seconds = [second for second in lead.seconds if begin + 1 <= second.at <= end + 1]
        health, options = self.run.plan.health, self.run.options
        wanted = ladder.due_in(number, options.random_arrivals) * each
        long = not options.seconds or options.seconds - options.warmup >= GATED_SECONDS
        gated = long if health.gate is None else health.gate
        why, generator = broke(done, wanted, self.knobs.limit, seconds, health, gated=gated)
        self._steps.append(
            {
                "rate": round(rate, 1),
                "done_ratio": round(done.count / wanted, 4),
                "p50_ms": round(done.percentile(0.5) * 1000, 3),
                "p99_ms": round(done.percentile(0.99) * 1000, 3),
                "broke": why,
                "generator": generator,
            }
        )
        return not why

    def rows(self, tally: Tally) -> list[Row]:
        if not self._steps:
            self.run.broken(f"no step came to its end: one takes {self.ladder.step:g} s, and its answers a little more")
        held = [each["rate"] for each in self._steps if not each["broke"]]
        last = self._steps[-1] if self._steps else {"broke": "", "generator": False}
        why = last["broke"] or "nothing: the run ended before"
        return [
            *(self._judged(row) for row in super().rows(tally) if "wanted" not in row.key and "ratio" not in row.key),
            *(told(f"step_{n}", f"step {n}", _line(each)) for n, each in enumerate(self._steps, 1)),
            told("knee_rate", "knee: the last rate that held", max(held, default=0.0), "/s", better="more", digits=1),
            told("knee_broke", "knee: what gave way at the next", why),
            told("knee_of", "knee: whose it is", self._whose(last)),
        ]

    def _whose(self, last: dict[str, Any]) -> str:
        if not last["broke"]:
            return "not reached"
        return (
            "the load generator's: use more --processes, or cores of their own" if last["generator"] else "the server's"
        )

    def _judged(self, row: Row) -> Row:
        """Beyond the knee, failures and losses are what was looked for; otherwise they are as wrong as ever."""
        knee = len(self._steps) > 1 and self._steps[-1]["broke"]
        looked_for = row.kind == "must" and row.key not in ("duplicates", "out_of_order")
        return msgspec.structs.replace(row, kind="told", limit="", mark="") if knee and looked_for else row


def _line(step: dict[str, Any]) -> str:
    end = f"broke: {step['broke']}" if step["broke"] else "held"
    return f"{step['rate']:.0f}/s, p50 {step['p50_ms']:.2f} p99 {step['p99_ms']:.2f} ms, {end}"


class StepsUser(DrivenUser):
    """Calls when it is told to, or listens."""

    scenario: ClassVar[type[Scenario]] = Steps

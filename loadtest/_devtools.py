"""The scenario ``devtools``: what it costs a server, and its users, to be looked at."""

from __future__ import annotations

import signal
import statistics
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar

import gevent
import msgspec
from gevent import subprocess

from liverpc.contrib.locust.target import devtools_url
from loadtest._disturbed import Quiet
from loadtest._driven import Driven, DrivenUser, Of
from loadtest._gate import must, told
from loadtest._knee import of_server
from loadtest._observer import Told
from loadtest._phases import PHASES, p99_rows, phases_of
from loadtest._result import Row
from loadtest._run import Run
from loadtest._scenario import Scenario, Tally
from loadtest._server import end_with_parent

__all__ = ["Devtools", "DevtoolsKnobs", "DevtoolsUser"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_PATIENCE = 30.0  # seconds that the server has with an observer who is silent
_NOTICED = 5.0  # until that has been noticed, and said
_END_SECONDS = 10.0
_LATE = 2.0  # seconds before the moment of a ``Second`` lies what it tells, at most


class DevtoolsKnobs(msgspec.Struct, frozen=True):
    """The options of the scenario."""

    of: Of = "fanout"
    observers: Annotated[
        int, msgspec.Meta(description="that are told everything; one of them is stopped", ge=1, le=5)
    ] = 4
    quiet: Quiet = 15.0


class Devtools(Driven):
    """A steady load; in the middle part of the run observers are attached, each a process of its own."""

    name = "devtools"
    needs = "devtools"
    defaults: ClassVar = {"users": 10, "rate": 300.0}  # more than the server tells observers of
    Knobs = DevtoolsKnobs

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.phases = phases_of(run.options, self.knobs.quiet)
        self._observers: list[Any] = []
        self._told: list[Told] = []
        self._watching: Any = None
        self._first = 0  # of the seconds of the run

    def part(self, at: float) -> str:
        return self.phases.of(at)

    # -- the leading process

    def begin(self) -> None:
        super().begin()
        command = [sys.executable, "-m", "loadtest._observer", devtools_url(self.run.url)]
        token_file = self.run.environment.parsed_options.attach_token_file
        if token_file:
            command += ["--token-file", str(Path(token_file).resolve())]
        self._observers = [
            subprocess.Popen(
                command,
                cwd=_CHECKOUT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
            for _ in range(self.knobs.observers)
        ]

    def lead(self) -> None:
        self._first = len(self.run.lead.seconds)
        self._watching = self.run.spawn(self._watch)
        super().lead()

    def _watch(self) -> None:
        run, lead = self.run, self.run.lead
        if run.pause(self.phases.begin - lead.at):
            for observer in self._observers:
                observer.stdin.write(b"attach\n")
                observer.stdin.flush()
            lead.say(f"{len(self._observers)} observers attach")
            if run.pause(1.0):
                self._observers[0].send_signal(signal.SIGSTOP)
                lead.say("one of them is stopped")
            run.pause(self.phases.end - lead.at)
        lead.say("the observers leave")
        self._leave()

    def _leave(self) -> None:
        observers, self._observers = self._observers, []
        for observer in observers:
            observer.send_signal(signal.SIGCONT)
        gevent.sleep(0.5)  # in which who was stopped hears why it was thrown out
        for observer in observers:
            observer.send_signal(signal.SIGTERM)
        for observer in observers:
            with suppress(subprocess.TimeoutExpired):
                said, _ = observer.communicate(timeout=_END_SECONDS)
                self._told.append(msgspec.json.decode(said, type=Told) if said else Told(ended="it never attached"))
            observer.kill()

    def settle(self) -> dict[str, int]:
        if self._watching is not None:
            self._watching.join()
        return super().settle()

    def rows(self, tally: Tally) -> list[Row]:
        kind, name = self.series
        what = "calls" if self.of == "rpc" else "deliveries"
        return [
            *super().rows(tally),
            *p99_rows(self.run.lead.totals, {what: (kind, name)}),
            *self._cpu_rows(),
            *self._observer_rows(),
        ]

    def _cpu_rows(self) -> list[Row]:
        """What the observers take of the server's core, which is what its users lose when they need all of it.

        That holds for a load above the budget that the server has for telling observers: what they cost grows no more.
        """
        used: dict[str, float] = {}
        rows: list[Row] = []
        for phase in PHASES:
            seconds = [
                second
                for second in self.run.lead.seconds[self._first :]
                if second.at >= _LATE and self.phases.of(second.at) == phase == self.phases.of(second.at - _LATE)
            ]
            shares = [cpu for second in seconds if (cpu := of_server("cpu")(second)) is not None]
            done = sum(second.done.get(self.headline, 0) for second in seconds)
            if shares and done:
                used[phase] = statistics.fmean(shares)
                each = used[phase] * len(seconds) / done * 1e6
                rows.append(
                    told(f"cpu_us_{phase}", f"server: CPU per operation {phase}", each, "us", better="less", digits=1)
                )
        quiet = [used[phase] for phase in ("before", "after") if phase in used]
        if quiet and "under" in used:
            taken = used["under"] - statistics.fmean(quiet)
            rows += [
                told("observers_cpu", "server: CPU for the observers", taken * 100, "% of a core", better="less"),
                told(
                    "throughput_ratio", "throughput with observers, of that without", 1 - taken, better="more", digits=3
                ),
            ]
        return rows

    def _observer_rows(self) -> list[Row]:
        if not self._told:
            self.run.broken("no observer was attached: make the run longer")
            return []
        stopped, *others = self._told
        why = "; ".join(each.ended for each in others if each.ended)
        rows = [
            told("observers", "observers", len(self._told)),
            told("observed_events", "observers: events told", sum(each.events for each in others)),
            must("observed_nothing", "observers: that were told nothing", sum(not each.events for each in others), 0),
            told("observed_gaps", "observers: events they know they were not told", sum(each.lost for each in others)),
            must("observers_ended", "observers: sessions that ended", sum(bool(each.ended) for each in others), 0, why),
        ]
        seconds = self.phases.end - self.phases.begin
        if seconds >= _PATIENCE + _NOTICED:
            row = must("stopped_thrown_out", "observer that was stopped: thrown out", bool(stopped.ended), True)
        else:
            short = f"not to be expected within {seconds:.0f} s of {_PATIENCE:g}"
            row = told("stopped_thrown_out", "observer that was stopped: thrown out", stopped.ended or short)
        return [*rows, row]

    def close(self) -> None:
        super().close()
        for observer in self._observers:
            observer.kill()


class DevtoolsUser(DrivenUser):
    """Calls when it is told to, or listens."""

    scenario: ClassVar[type[Scenario]] = Devtools

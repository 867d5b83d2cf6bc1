"""The leading part of a run: gives the signals, gathers what all processes counted, and decides."""

from __future__ import annotations

import datetime
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import msgspec
from gevent.event import Event as Signal

from liverpc.contrib.locust.attach import Attachment
from liverpc.contrib.locust.histogram import Histogram
from liverpc.contrib.locust.target import devtools_url
from liverpc.errors import AttachError, ConfigError, RpcError
from loadtest._clocks import Clocks
from loadtest._floor import floor_of
from loadtest._gate import GATED_SECONDS, VERDICTS, exit_code, limited, must, told
from loadtest._gathered import Gathered
from loadtest._orders import GONE, Orders
from loadtest._outlets import Outlets
from loadtest._profile import Plan
from loadtest._reach import FAULT_SECONDS, attached
from loadtest._result import Box, Event, Result, Row, Second, ServerSecond
from loadtest._run import ORDER, Run
from loadtest._sampler import Sampler
from loadtest._scenario import Tally
from loadtest._server import Freezer, ServerProcess

__all__ = ["Lead"]

log = logging.getLogger("loadtest")

_LEAD_SECONDS = 0.05  # between the starting signal and the first operation; more where it has to travel
_TRAVEL_SECONDS = 0.5
_CLOCK_ROUNDS = 20
_CLOCK_SECONDS = 5.0
_KEPT_SECONDS = 24 * 3600  # of the time axis


class Lead:
    """What is led from here, and what came of it.

    Attributes:
        run: This process's own part.
        plan: What the run shall be.
        attachment: To the devtools, where the run needs them.
        server: The server's process, if it was started for this run.
        wanted: Operations per second that are due now; a scenario that changes its rate says so here.
        seconds: The time axis so far.
        orders: To the processes with users.
        details: What a scenario adds to the report.
    """

    def __init__(
        self,
        run: Run,
        *,
        server: ServerProcess | None,
        attachment: Attachment | None,
        box: Box,
        outlets: Outlets,
        members: Callable[[], int],
    ) -> None:
        self.run = run
        run.lead = self
        self.plan: Plan = run.plan
        self.server = server
        self.attachment = attachment
        self._environment = run.environment
        self._sampler = Sampler(
            devtools_url(self.plan.url),
            token_file=self._environment.parsed_options.attach_token_file,
            pid=(lambda: server.pid) if server is not None else None,
        )
        self._server_second: ServerSecond | None = None
        self._outlets = outlets
        self._box = box
        self.wanted = run.options.rate
        self.seconds: list[Second] = []
        self.events: list[Event] = []
        self.details: dict[str, Any] = {}
        self.result: Result | None = None
        self._clocks = Clocks()
        self._members = members
        self._started = datetime.datetime.now(datetime.UTC)
        self._error = ""
        self._aborted = False
        self._ready = 0
        self.orders = Orders(partial(run.environment.runner.send_message, ORDER), members)
        self._gathered = Gathered()
        self._warm = not run.options.warmup
        self._breach = 0
        self._ending = False  # it is asked for
        self._concluding = False
        self._over = False
        self._concluded = Signal()
        self._beginning: Any = None
        freeze = run.options.freeze
        self._freezer = Freezer(server, freeze) if server is not None and freeze is not None else None
        self._sampler.start()
        run.spawn(self._each_second)

    # -- for scenarios

    def say(self, text: str) -> None:
        """Note on the time axis that something was done now."""
        self.events.append(Event(round(self.at, 3), text))

    @property
    def totals(self) -> Mapping[tuple[str, str], Histogram]:
        """All latencies since the warm-up, by kind and name, except those of the last second."""
        return self._gathered.totals

    @property
    def failures(self) -> Mapping[tuple[str, str, str], int]:
        """All failures, by kind, name and code, except those of the last second."""
        return self._gathered.failures

    @property
    def at(self) -> float:
        """Seconds since the first operation was due."""
        return time.perf_counter() - self.run.start

    def order(self, verb: str, data: Any = None, *, timeout: float = 30.0) -> list[Any]:
        """Let every process with users do what its scenario gave ``run.on_order``; returns their answers.

        Raises:
            TimeoutError: One of them did not answer.
        """
        return self.orders.give(verb, data, timeout)

    def finish(self) -> None:
        """End the run: its time is over, or the scenario has done what it does."""
        if self._ending:
            return
        self._ending = True
        runner = self._environment.runner
        # Not from inside the runner's own greenlets, which quitting ends.
        gevent.spawn(runner.stop if self._environment.web_ui else runner.quit)

    def broken(self, error: str) -> None:
        """The test itself went wrong; the first reason counts."""
        self._error = self._error or error

    def attach(self) -> Attachment:
        """A session with the devtools, which this run closes; a new one when the server was restarted.

        Raises:
            AttachError: As of ``Attachment.open``.
        """
        if self.attachment is not None:
            self.attachment.close()
        self.attachment = attached(
            self.plan, type(self.run.scenario), self._environment.parsed_options.attach_token_file
        )
        return self.attachment

    @property
    def server_pid(self) -> int | None:
        """Of the server's process, if it is this user's on this machine and has the devtools."""
        if self.server is not None:
            return self.server.pid
        return self.attachment.server.pid if self.attachment is not None and self.attachment.local else None

    @property
    def fault_seconds(self) -> float:
        """How long a fault may live: a little longer than the run, should this process be gone by then."""
        return self.plan.options.seconds + FAULT_SECONDS

    # -- told by the processes

    def hear(self, verb: str, data: Any) -> None:
        """Something was told."""
        if verb == "ready":
            self._ready += data
            if self._ready >= self.plan.options.users and self._beginning is None:
                self._beginning = self.run.spawn(self._begin)
                self._beginning.link_exception(lambda _: self.finish())
        elif verb == "broken":
            self.broken(data)
        elif verb == "second":
            self._gathered.take(data)

    # -- the run

    def _begin(self) -> None:
        wait = _TRAVEL_SECONDS if self.run.lead_only else _LEAD_SECONDS
        try:
            self._compare_clocks()
            self.run.scenario.begin()
            self._all("tidy", None, _CLOCK_SECONDS)
            if self._ending:
                return
            self._all("go", {"start": time.perf_counter() + wait, "offsets": self._clocks.offsets}, _CLOCK_SECONDS)
        except (RpcError, AttachError, ConfigError, OSError) as error:
            self.broken(str(error))
            self.finish()
            return
        if self._freezer is not None:
            self._freezer.start()
            self.say("the server is stopped again and again from now on")
        if self.plan.options.seconds:
            gevent.spawn_later(wait + self.plan.options.seconds, self.finish)
        self.run.scenario.lead()

    def shift(self, by: float) -> None:
        """Now that it is known when the first operation is due, the time axis begins there."""
        self.seconds = [msgspec.structs.replace(each, at=round(each.at + by, 3)) for each in self.seconds]
        self.events = [msgspec.structs.replace(each, at=round(each.at + by, 3)) for each in self.events]

    def _compare_clocks(self) -> None:
        for _ in range(_CLOCK_ROUNDS):
            asked = time.perf_counter()
            answers = self.order("clock", timeout=_CLOCK_SECONDS)
            self._clocks.take(asked, time.perf_counter(), dict(answers))

    def _each_second(self) -> None:
        due = time.perf_counter()
        while not self._over:
            due += 1.0
            gevent.sleep(max(0.0, due - time.perf_counter()))
            if not self._over:
                self._second()

    def _second(self) -> None:
        if not self._warm and self.run.begun.is_set() and self.at >= self.plan.options.warmup:
            self._warm = True
            if self.plan.options.warmup:
                self.say("warm-up over")
                self._environment.runner.stats.reset_all()
        second = self._gathered.second(
            at=self.at,
            users=self._environment.runner.user_count,
            wanted=self.wanted if self.run.begun.is_set() else 0.0,
            server=self._server_second,
        )
        self._server_second = self._sampler.second()  # what the processes tell arrives later, by up to a second
        self.seconds.append(second)
        del self.seconds[:-_KEPT_SECONDS]
        self._outlets.second(second, self.totals, self.failures)
        self._watch(second)
        if self._beginning is None:
            if len(self.seconds) > self.plan.options.ready_seconds or self._environment.runner.exceptions:
                self.finish()
        elif self._environment.runner.target_user_count != self.plan.options.users:
            self.broken("the number of users was changed during the run")
        if self._is_somebody_gone():
            self.finish()

    def _is_somebody_gone(self) -> bool:
        gone = self._members() < self.plan.processes
        if gone:
            self.broken(GONE)
        return gone

    def _watch(self, second: Second) -> None:
        """End the run when the headline's p99 was above its limit for too long."""
        limit = self.plan.limits.get("p99_ms_max")
        if not (self._warm and limit and self.plan.options.abort_after):
            return
        p99 = second.p99.get(self.run.scenario.headline)
        if p99 is not None:  # when nothing was answered, it is not better
            self._breach = self._breach + 1 if p99 > limit else 0
        if self._breach >= self.plan.options.abort_after and not self._aborted:
            self._aborted = True
            self.say(f"aborted: p99 above {limit:g} ms for {self._breach} s")
            self.finish()

    # -- the end

    def conclude(self) -> None:
        """Let what is under way come to its end, count, and decide. Users are still connected.

        Whoever asks for it a second time, such as by Ctrl-C, waits for that.
        """
        if self._concluding:
            self._concluded.wait()
            return
        if self.run.begun.is_set() and self.plan.options.seconds and not self._ending and not self._environment.web_ui:
            self._aborted = True
            self.say("ended before its time")
        self._concluding = self._ending = True
        self._is_somebody_gone()
        rows: list[Row] = []
        measured = max(0.0, self.at - self.plan.options.warmup) if self.run.begun.is_set() else 0.0
        try:
            if not self.run.begun.is_set():
                raised = [f"; one raised {each['msg']!r}" for each in self._environment.runner.exceptions.values()]
                ready = f"{self._ready} of {self.plan.options.users} users became ready"
                self.broken(f"nothing was done: {ready}{''.join(raised[:1])}")
                self.run.stopping = True
            else:
                rows = self.run.scenario.rows(self._counted())
        except TimeoutError as error:
            self.broken(str(error))
        except Exception:
            log.exception("counting failed")
            self.broken("counting failed, the log tells why")
        except BaseException:
            self.broken("it was interrupted while it was counted")
            raise
        finally:
            self._over = True
            try:
                self._decide(rows + self._own_rows(measured), measured)
            finally:
                self._concluded.set()

    def _counted(self) -> Tally:
        """What all processes counted."""
        self.run.stopping = True  # what is led from here ends before others are asked how they did
        if self._freezer is not None:
            self._freezer.stop()
        seconds = self.run.scenario.settle_seconds + 5.0
        published: Counter[str] = Counter()
        for each in self._all("settle", None, seconds):
            published.update(each or {})
        tally = Tally()
        for each in self._all("count", dict(published), seconds):
            if each is not None:  # it failed there, and was told to be broken
                tally.add(msgspec.convert(each, Tally))
        return tally

    def _all(self, verb: str, data: Any, timeout: float) -> list[Any]:
        answers = self.order(verb, data, timeout=timeout)
        if self.run.lead_only:
            answers.append(self.run.obey(verb, data))
        return answers

    def _own_rows(self, measured: float) -> list[Row]:
        """Of connections, and of the load generator itself."""
        failed = sum(number for (kind, _, _), number in self.failures.items() if kind == "WS")
        health = self.plan.health
        gated = measured >= GATED_SECONDS if health.gate is None else health.gate
        rows = []
        if not self.run.scenario.expects_lost_connections:
            rows.append(must("connects_failed", "connects: failed", failed, 0))
            rows.append(must("false_disconnects", "connections lost", self._gathered.lost, 0))
        return [
            *rows,
            *self._gathered.headline_rows(self.run.scenario.headline),
            *self._gathered.health_rows(health, gated=gated),
            *self._clocks.rows(self._gathered.smallest("PUB")),
            *self._sampler.rows(),
            told("measured_s", "measured", measured, "s", digits=1),
        ]

    def _decide(self, rows: list[Row], measured: float) -> None:
        try:
            rows = limited(rows, self.plan.limits)
        except ValueError as error:
            self.broken(f"profile {self.plan.profile}: {error}")
        code = exit_code(rows, self._error, aborted=self._aborted)
        self.result = Result(
            scenario=self.plan.scenario,
            profile=self.plan.profile,
            options=msgspec.to_builtins(self.plan.options) | self.plan.knobs,
            started=self._started.isoformat(timespec="seconds"),
            warmup=self.plan.options.warmup,
            measured=round(measured, 3),
            users=self.plan.options.users,
            processes=self.plan.processes,
            exit_code=code,
            verdict=VERDICTS[code],
            error=self._error,
            rows=rows,
            headline=self.run.scenario.headline,
            latencies=self._gathered.latencies(),
            seconds=self.seconds,
            events=self.events,
            details=self.details,
            box=self._box,
        )
        if (folder := self._environment.parsed_options.run_dir) is not None:
            try:
                floor = floor_of(Path(folder), self.result)
                self.result = msgspec.structs.replace(self.result, floor=floor)
            except ConfigError as error:
                self.say(str(error))
        self._outlets.finished(self.result)

    def close(self) -> None:
        """End what this run opened. Harmless when done already."""
        self._over = True
        if self._beginning is not None:
            self._beginning.kill()
        if self._freezer is not None:
            self._freezer.stop()
        if self.attachment is not None:
            self.attachment.close()
        self._sampler.close()

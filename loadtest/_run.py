"""One process's part in a run: its users, when they begin and end, how the process itself is doing."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import gevent
import msgspec
from gevent import GreenletExit
from gevent.event import Event
from locust.runners import MasterRunner

from liverpc.contrib.locust.histogram import Histogram
from liverpc.contrib.locust.recorder import recorder_of
from liverpc.contrib.locust.schedule import due_times
from loadtest._profile import Plan
from loadtest._scenario import Scenario

__all__ = ["ANSWER", "ORDER", "TELL", "Run", "node_of", "packed", "run_of", "unpacked"]

#: Messages between the processes: to all with users, their answers, and what they tell unasked.
ORDER, ANSWER, TELL = "liverpc.order", "liverpc.answer", "liverpc.tell"

_TICK = 0.01
_GARBAGE = (50_000, 50, 100)  # new objects, and collections of the younger generations, before one of each


class Run:
    """What happens in this process.

    Attributes:
        plan: What the run shall be.
        options: Those of the plan that all scenarios have.
        url: Of the server.
        scenario: Its state in this process.
        recorder: For latencies.
        begun: Whether the starting signal was given.
        start: When the first operation is due, on this process's ``time.perf_counter``.
        offset: What is added to ``time.perf_counter`` for a moment on the leading process's clock, which is the
            clock of everything that travels between processes; 0.0 on one machine.
        stopping: Whether operations shall no longer be started.
        users: How many there shall be, in all processes.
        lead: The leading part, where it is in this process. Its methods are for the leading parts of scenarios.
        lead_only: Whether this process leads others and has no users itself.
        node: Names this process among the others.
    """

    def __init__(self, environment: Any, plan: Plan, scenario: type[Scenario], tell: Callable[[str, str, Any], None]):
        self.environment = environment
        self.plan = plan
        self.options = plan.options
        self.url = plan.url
        self.recorder = recorder_of(environment)
        self.recorder.on_flush = self._flushed
        self.begun = Event()
        self.start = time.perf_counter()
        self.offset = 0.0
        self.stopping = False
        self.users = plan.options.users
        self.lead: Any = None
        self.lead_only = isinstance(environment.runner, MasterRunner)
        self.node = node_of(environment.runner)
        self._tell = partial(tell, plan.id)
        self._numbers = 0
        self._measured = False
        self._closed = False
        self._lag, self._loop_lag = Histogram(), Histogram()
        self._cpu, self._cpu_at = time.process_time(), time.perf_counter()
        self._told_failures: dict[tuple[str, str, str], int] = {}
        self._told_lost = 0
        self._orders: dict[str, Callable[[Any], Any]] = {
            "tidy": self._tidy,
            "go": self._go,
            "settle": self._settle,
            "count": self._count,
            "clock": lambda _: [self.node, time.perf_counter()],
        }
        self.scenario: Any = scenario(self)  # its own users know more of it
        self.spawn(self._tick)

    # -- for users and scenarios

    @property
    def index(self) -> int:
        """Which of the processes with users this is, from 0 on."""
        return self.plan.nodes.index(self.node)

    def next_user(self) -> int:
        """The number of a new user, among those of all processes: some of 0, 1, 2…"""
        if self.node not in self.plan.nodes:
            raise GreenletExit  # this process came late, which breaks the test
        self._numbers += 1
        return (self._numbers - 1) * self.plan.processes + self.index

    def ready(self) -> None:
        """One more user is ready; the last one gives the starting signal."""
        self._tell("ready", 1)

    def now(self) -> float:
        """This moment on the leading process's clock, for stamps that another process reads."""
        return time.perf_counter() + self.offset

    def wait_until(self, due: float) -> None:
        """Sleep until an operation is due, on this process's clock, and note how late it is."""
        gevent.sleep(max(0.0, due - time.perf_counter()))  # whoever is late lets others have their turn, too
        self._lag.add(time.perf_counter() - due)

    def when_due(self, times: Iterable[float]) -> Iterator[float]:
        """Each of these moments once it has come, until the run ends; none before the starting signal."""
        self.begun.wait()
        for due in times:
            self.wait_until(due)
            if self.stopping:
                return
            yield due

    def times_of(self, number: int) -> Iterator[float]:
        """When the operations of one user are due, of all those that users start in turn at the rate of the run."""
        options = self.options
        seed = options.random_arrivals and f"{options.seed}/{number}"
        yield from due_times(options.rate / self.users, self.start + number / options.rate, seed)

    def pause(self, seconds: float) -> bool:
        """Sleep, at most until the run ends; returns whether it goes on."""
        until = time.perf_counter() + seconds
        while not self.stopping and (left := until - time.perf_counter()) > 0:
            gevent.sleep(min(left, 0.1))
        return not self.stopping

    def on_order(self, verb: str, function: Callable[[Any], Any]) -> None:
        """Let ``run.lead.order(verb, …)`` call a function here, in a greenlet of its own."""
        self._orders[verb] = function

    def spawn(self, function: Callable[[], None]) -> Any:
        """Run something beside the users, until Locust quits at the latest; what it raises breaks the test."""
        greenlet = self.environment.runner.greenlet.spawn(function)
        greenlet.link_exception(lambda dead: self.broken(f"{function.__name__} raised {dead.exception!r}"))
        return greenlet

    def broken(self, error: str) -> None:
        """The test itself went wrong; the first reason counts."""
        self._tell("broken", error)

    # -- for the leading part

    def obey(self, verb: str, data: Any) -> Any:
        """Carry out an order; returns what it answers."""
        return self._orders[verb](data)

    def close(self) -> None:
        """Close what the scenario opened. Harmless when done already."""
        if not self._closed:
            self._closed = True
            self.scenario.close()

    # -- inside

    def _tidy(self, _: Any) -> None:
        # Python would look through all users again and again: tens of milliseconds, which would be the server's.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GARBAGE)

    def _go(self, data: Any) -> None:
        self.recorder.flush()  # getting ready comes before the warm-up, and is in the latencies
        self.offset = data["offsets"].get(self.node, 0.0)
        before, self.start = self.start, data["start"] - self.offset
        if self.lead is not None:
            self.lead.shift(before - self.start)
        self._measured = not self.options.warmup
        self.begun.set()
        if not self._measured:
            self.spawn(self._warm_up)

    def _warm_up(self) -> None:
        gevent.sleep(max(0.0, self.start + self.options.warmup - time.perf_counter()))
        self.recorder.flush()
        self._measured = True

    def _settle(self, _: Any) -> dict[str, int]:
        self.stopping = True
        return dict(self.scenario.settle())

    def _count(self, published: Mapping[str, int]) -> Any:
        tally = self.scenario.count(published)
        self.close()
        for raised in self.environment.runner.exceptions.values():
            self.broken(f"a user raised {raised['msg']!r} ({raised['count']} times)")
        self.recorder.flush()
        return msgspec.to_builtins(tally)

    def _tick(self) -> None:
        while self.recorder.on_flush == self._flushed:  # until the next run begins, in the web interface
            began = time.perf_counter()
            gevent.sleep(_TICK)
            self._loop_lag.add(time.perf_counter() - began - _TICK)

    def _flushed(self, fresh: Mapping[tuple[str, str], Histogram]) -> None:
        """Tell the leading process about the last second."""
        now, cpu = time.perf_counter(), time.process_time()
        failures = {
            key: count - self._told_failures.get(key, 0)
            for key, count in self.recorder.failures.items()
            if count != self._told_failures.get(key, 0)
        }
        self._told_failures = dict(self.recorder.failures)
        data = {
            "node": self.node,
            "lost": self.recorder.lost - self._told_lost,
            "counts": self._measured or not self.begun.is_set(),
            "measured": self._measured,
            "cpu": cpu - self._cpu,
            "seconds": now - self._cpu_at,
            "lag": packed(self._lag),
            "loop_lag": packed(self._loop_lag),
            "series": [[kind, name, packed(histogram)] for (kind, name), histogram in fresh.items()],
            "failures": [[*key, count] for key, count in failures.items()],
        }
        self._cpu, self._cpu_at, self._told_lost = cpu, now, self.recorder.lost
        self._lag, self._loop_lag = Histogram(), Histogram()
        self._tell("second", data)


def packed(histogram: Histogram) -> list[Any]:
    """A histogram for another process."""
    return [histogram.counts, histogram.count, histogram.total, histogram.min, histogram.max]


def unpacked(data: list[Any]) -> Histogram:
    """What :func:`packed` made."""
    histogram = Histogram()
    histogram.counts, histogram.count, histogram.total, histogram.min, histogram.max = data
    return histogram


def node_of(runner: Any) -> str:
    """What names a process among the others."""
    return str(getattr(runner, "client_id", "lead"))


def run_of(environment: Any) -> Run:
    """The run of a Locust environment."""
    run: Run = environment.liverpc_run
    return run

"""One run: who is ready, when it begins and ends, how the generator itself is doing, and the verdict."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import gevent
import msgspec
from gevent.event import Event
from locust.runners import LocalRunner

from liverpc.config import ClientConfig
from liverpc.contrib.locust.attach import Attachment
from liverpc.contrib.locust.client import Attempt, LiveClient
from liverpc.contrib.locust.histogram import Histogram
from liverpc.contrib.locust.recorder import recorder_of
from liverpc.contrib.locust.target import devtools_url, live_url
from liverpc.errors import AttachError, ConfigError, RpcError
from liverpc.inspector.protocol import find_token, shown_url
from liverpc.wire.names import glob
from loadtest._cli import SCENARIOS, Options
from loadtest._gate import Row, equals, exit_code, healthy, shown
from loadtest._report import latency_rows, table, write_report

__all__ = ["Run", "prepare", "run_of"]

_USERS = 50
_SPAWN_RATE = 100.0  # Locust warns above
_LEAD_SECONDS = 0.05  # between the starting signal and the first operation
_TICK = 0.01
_CHAOS_MARGIN = 30.0
_CHAOS_MAX = 900.0  # seconds a fault lives at most


class Scenario(Protocol):
    """What happens in a run.

    Attributes:
        name: As ``--scenario`` takes it.
        waits_for_all: Whether the starting signal is given when all users are ready.
        publishes: Whether it makes publishes that a fault could drop.
        looks_inside: Whether it compares what the server says of itself.
    """

    name: str
    waits_for_all: bool
    publishes: bool
    looks_inside: bool

    def begin(self) -> None:
        """All users are ready; the starting signal follows."""

    def finish(self) -> list[Row]:
        """Wait for what is under way, and count. The users are still connected."""
        ...


class Run:
    """A test from its start to its verdict.

    Attributes:
        options: What was asked for.
        url: Of the server.
        begun: Whether the starting signal was given: everybody is ready.
        start: When the first operation is due, on ``time.perf_counter``.
        stopping: Whether operations shall no longer be started.
        lag: How late operations were started.
        details: What a scenario adds to the JSON report.
        attachment: To the devtools, if a fault is to be injected or the scenario looks inside.
        server_pid: Of the server, if it is on this machine and has the devtools.

    Args:
        environment: Locust's.
        options: What was asked for.
        scenario: Makes what runs the scenario, for one run.
        url: Of the server.
    """

    def __init__(self, environment: Any, options: Options, scenario: Callable[[Run], Scenario], url: str) -> None:
        self.environment = environment
        self.options = options
        self.url = url
        self.recorder = recorder_of(environment)
        self.attachment: Attachment | None = None
        self.server_pid: int | None = None
        self._make_scenario = scenario
        self._started = False
        self._code = 0
        self._table = ""
        self._reset()

    def _reset(self) -> None:
        self.begun = Event()
        self.start = time.perf_counter()
        self.stopping = False
        self.lag = Histogram()
        self.details: dict[str, Any] = {}
        self.scenario: Any = self._make_scenario(self)  # its own users know more of it
        self._users = 0
        self._ready = 0
        self._rows: list[Row] | None = None
        self._error = ""
        self._loop_lag = Histogram()
        self._cpu = 0.0

    # -- for users and scenarios

    def next_user(self) -> int:
        """The number of a new user: 0, 1, 2…"""
        self._users += 1
        return self._users - 1

    @property
    def fault_seconds(self) -> float:
        """How long a fault may live: a little longer than the run, should this process be gone by then."""
        return float(self.environment.parsed_options.run_time) + _CHAOS_MARGIN

    @property
    def users(self) -> int:
        """How many there shall be."""
        return int(self.environment.runner.target_user_count)

    def ready(self) -> None:
        """One more user is ready; the last one gives the starting signal."""
        self._ready += 1
        if self._ready == self.users and not self.begun.is_set():
            self.spawn(self._begin)

    def spawn(self, function: Callable[[], None]) -> None:
        """Run something beside the users, until Locust quits at the latest; what it raises breaks the test."""
        greenlet = self.environment.runner.greenlet.spawn(function)
        greenlet.link_exception(lambda dead: self.broken(f"{function.__name__} raised {dead.exception!r}"))

    def wait_until(self, due: float) -> None:
        """Sleep until an operation is due and note how late it is."""
        delay = due - time.perf_counter()
        if delay > 0:
            gevent.sleep(delay)
        self.lag.add(time.perf_counter() - due)

    def broken(self, error: str) -> None:
        """The test itself went wrong; the first reason counts."""
        self._error = self._error or error

    # -- Locust's events

    def on_test_start(self, **_: Any) -> None:
        self._reset()
        self._started = True
        self._cpu = time.process_time()
        self.spawn(self._tick)

    def on_test_stopping(self, **_: Any) -> None:
        """Let what is under way come to its end, then count; users are still connected."""
        if self._rows is not None:
            return
        self._rows = []
        self.stopping = True
        try:
            self._rows = self._count()
        except Exception:
            self.broken("counting failed, the log tells why")
            raise
        for raised in self.environment.runner.exceptions.values():
            self.broken(f"a user raised {raised['msg']!r} ({raised['count']} times)")

    def on_quitting(self, **_: Any) -> None:
        if self._started:  # the web interface may be left without a test
            self.on_test_stopping()
            self._conclude()
        if self.attachment is not None:
            self.attachment.close()

    def on_quit(self, **_: Any) -> None:
        if self._table:
            sys.stdout.write(self._table + "\n")
            sys.stdout.flush()

    # -- inside

    def _count(self) -> list[Row]:
        measured = time.perf_counter() - self.start
        busy = (time.process_time() - self._cpu) / max(measured, 1e-9)
        rows: list[Row] = []
        if self.scenario.waits_for_all and not self.begun.is_set():
            self.broken(f"nothing was done: {self._ready} of {self.users} users became ready")
        else:
            rows = self.scenario.finish()
        failures = sum(count for (kind, _, _), count in self.recorder.failures.items() if kind == "WS")
        return [
            *rows,
            equals("connects: failed", failures, 0),
            healthy("generator: cpu", busy * 100, 75, "%", measured),
            healthy("generator: schedule lag p99", self.lag.percentile(0.99) * 1000, 5, "ms", measured),
            healthy("generator: loop lag p99", self._loop_lag.percentile(0.99) * 1000, 10, "ms", measured),
            shown("measured", f"{measured:.1f} s"),
        ]

    def _conclude(self) -> None:
        rows = self._rows or []
        self.recorder.flush()
        totals = self.recorder.totals
        self._code = exit_code(rows, self._error)
        if self.options.report is not None:
            try:
                write_report(
                    self.options.report,
                    options=self.options,
                    rows=rows,
                    totals=totals,
                    details=self.details,
                    code=self._code,
                    error=self._error,
                )
            except OSError as error:
                self.broken(f"cannot write the report: {error}")
                self._code = exit_code(rows, self._error)
        title = f"{self.scenario.name}: {self.users} users, {self.options.rate:g}/s {self.options.arrivals}"
        self._table = table(title, rows, latency_rows(totals), self._code, self._error)
        self.environment.process_exit_code = self._code

    def _begin(self) -> None:
        try:
            self.scenario.begin()
        except (RpcError, AttachError) as error:
            self.broken(str(error))
            # Not from inside the runner's own greenlets, which quitting ends.
            gevent.spawn(self.environment.runner.quit)
            return
        self.start = time.perf_counter() + _LEAD_SECONDS
        self._cpu = time.process_time()
        self._loop_lag = Histogram()
        self.begun.set()

    def _tick(self) -> None:
        while not self.stopping:
            began = time.perf_counter()
            gevent.sleep(_TICK)
            self._loop_lag.add(time.perf_counter() - began - _TICK)


def run_of(environment: Any) -> Run:
    """The run of a Locust environment."""
    run: Run = environment.liverpc_run
    return run


def prepare(environment: Any, runner: Any, **_: Any) -> None:
    """Locust's hook ``init``: check what was asked for, before any user starts.

    Ends the process with one sentence on stderr and exit code 1 when it cannot be done, 2 when it makes no sense.
    """
    given = environment.parsed_options
    options = msgspec.convert(given, Options, from_attributes=True)
    if not isinstance(runner, LocalRunner):
        _refuse("the load tests run in one process so far: leave out --processes, --master and --worker")
    if options.cancelled + options.killed > 1:
        given_shares = f"{options.cancelled:g} and {options.killed:g}"
        _refuse(f"--cancelled and --killed are shares of all uploads, together 1 at most: not {given_shares}", 2)
    user_class = _choose(environment, options)
    if given.num_users is None:
        given.num_users = _USERS
    if given.spawn_rate is None:
        given.spawn_rate = _SPAWN_RATE
    if options.chaos is not None:
        if not user_class.scenario.publishes:
            _refuse(f"--chaos drops publishes, and the scenario {user_class.scenario.name} makes none: use fanout")
        if not given.run_time or given.run_time + _CHAOS_MARGIN > _CHAOS_MAX:
            _refuse(f"--chaos needs --run-time (-t), of at most {_CHAOS_MAX - _CHAOS_MARGIN:g} s")
    if not environment.host:
        _refuse("--host is missing: --host ws://127.0.0.1:8000 names the server")
    try:
        url = live_url(environment.host)
        run = Run(environment, options, user_class.scenario, url)
        _try_out(url, needs_demo=user_class.scenario.waits_for_all)
        _attach(run)
    except (ConfigError, AttachError) as error:
        _refuse(str(error))
    # By itself, Ctrl-C is raised in whichever greenlet happens to run: a user's, or one that swallows it.
    gevent.signal_handler(signal.SIGINT, gevent.kill, gevent.getcurrent(), KeyboardInterrupt)
    environment.user_classes = [user_class]
    environment.liverpc_run = run
    events = environment.events
    events.test_start.add_listener(run.on_test_start)
    events.test_stopping.add_listener(run.on_test_stopping)
    events.quitting.add_listener(run.on_quitting)
    events.quit.add_listener(run.on_quit)


def _attach(run: Run) -> None:
    """Open the devtools, if the run needs them."""
    chaos = run.options.chaos
    if chaos is not None and not glob(chaos.topic)(run.scenario.topic):
        raise ConfigError(f"--chaos topic={chaos.topic} spares the topic of the test: use load:*")
    if chaos is None and not run.scenario.looks_inside:
        return
    devtools = devtools_url(run.url)
    token = find_token(devtools, file=run.options.attach_token_file)
    run.attachment = Attachment.open(devtools, token.secret, want="chaos" if chaos is not None else "metrics")
    if token.renewable and token.secret:  # a server of this user left it on this machine
        run.server_pid = run.attachment.server.pid


def _choose(environment: Any, options: Options) -> Any:
    classes = environment.user_classes
    if options.scenario is not None:
        classes = [
            each for each in environment.available_user_classes.values() if each.scenario.name == options.scenario
        ]
    if len(classes) != 1:
        _refuse(f"one scenario at a time: choose one with --scenario {'|'.join(SCENARIOS)}")
    return classes[0]


def _try_out(url: str, *, needs_demo: bool) -> None:
    attempts: list[Attempt] = []
    client = LiveClient(
        url, config=ClientConfig(max_attempts=1, timeout=5, connect_timeout=5), on_attempt=attempts.append
    )
    try:
        client.open()
    except RpcError:
        _refuse(f"cannot connect to {shown_url(url)}: {attempts[-1].reason}")
    try:
        if needs_demo:
            client.call("load/echo", 1)
    except RpcError as error:
        _refuse(f"{shown_url(url)} does not answer load/echo ({error}); the load tests drive `liverpc demo --users 0`")
    finally:
        client.close()


def _refuse(sentence: str, code: int = 1) -> NoReturn:
    sys.stderr.write(f"loadtest: {sentence}\n")
    sys.exit(code)

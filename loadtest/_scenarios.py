"""The scenarios: what a user does, and what is counted at the end.

A scenario's name is its user class's in snake case, without ``User``.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import gevent
import msgspec
from gevent import GreenletExit
from locust import constant, task

from liverpc.client.calls import Call
from liverpc.contrib.locust.client import Attempt, LiveClient
from liverpc.contrib.locust.ledger import Ledger
from liverpc.contrib.locust.schedule import due_times
from liverpc.contrib.locust.users import LiveUser
from liverpc.errors import AttachError, RpcError
from liverpc.wire.frames import EventFrame
from loadtest._chaos import agreement
from loadtest._gate import Row, equals, shown
from loadtest._run import Run, run_of

__all__ = ["FOREVER", "ConnectUser", "FanoutUser", "Operations", "RpcUser", "drain"]

_DRAIN_SECONDS = 2.0
_EXAMPLES = 100  # lost publishes named in the report
FOREVER = constant(3600)  # Locust ends a waiting user at once, even with --stop-timeout


def drain(done: Callable[[], bool], seconds: float = _DRAIN_SECONDS) -> None:
    """Wait until ``done()``, but not longer than that."""
    until = time.perf_counter() + seconds
    while not done() and time.perf_counter() < until:
        gevent.sleep(0.01)


class Operations:
    """Calls of one kind that are started on schedule and not waited for.

    Args:
        run: Which they belong to.
        path: What is called.
        name: Of their latencies; the path by default.

    Attributes:
        started, failed: How many.
        pending: How many are not answered yet.
    """

    def __init__(self, run: Run, path: str, *, name: str | None = None) -> None:
        self._run = run
        self._path = path
        self._name = name or path
        self.started = 0
        self.failed = 0
        self.pending = 0
        self._last = run.start

    def send(self, client: LiveClient, due: float, *args: Any) -> None:
        """Start one call, whose time counts from ``due``."""
        self.started += 1
        self.pending += 1
        self._last = sent = time.perf_counter()
        client.begin(self._path, *args, on_done=partial(self._done, due, sent))

    def _done(self, due: float, sent: float, call: Call) -> None:
        self.pending -= 1
        now = time.perf_counter()
        recorder = self._run.recorder
        if isinstance(call.outcome, RpcError):
            self.failed += 1
            recorder.fail("RPC", self._name, now - due, call.outcome.code)
        else:
            recorder.add("RPC", self._name, now - due)
            recorder.add("RPC", f"{self._name} from send", now - sent, part=True)

    def rows(self, what: str, share: float = 1.0) -> list[Row]:
        """What became of them; ``share``: of the wanted rate."""
        seconds = max(self._last - self._run.start, 1e-9)
        rate = (self.started - 1) / seconds if self.started > 1 else 0.0
        return [
            shown(what, self.started),
            shown(f"{what}: rate, wanted and done", f"{self._run.options.rate * share:g}/s, {rate:.1f}/s"),
            equals(f"{what}: failed", self.failed, 0),
            equals(f"{what}: unanswered", self.pending, 0),
        ]


class _Staying(LiveUser):
    """Does nothing more once it is connected; what comes then comes by itself."""

    abstract = True
    wait_time = FOREVER

    @task  # type: ignore[untyped-decorator]  # Locust has no types
    def stay(self) -> None:
        """The waiting time does it."""


class Connect:
    """Open connections at a steady rate and keep them."""

    name = "connect"
    waits_for_all = False
    publishes = False
    looks_inside = False

    def __init__(self, run: Run) -> None:
        self._run = run
        self.due = due_times(run.options.rate, run.start, run.options.random_arrivals)
        self.begun = 0
        self.connected = 0
        self.again = 0

    def begin(self) -> None:
        """Nobody waits for the others here."""

    def finish(self) -> list[Row]:
        drain(lambda: self.connected == self.begun)
        if not self.connected:
            self._run.broken("no connection was opened")
        return [
            equals("connected, of those that were due", self.connected, self.begun),
            equals("connections lost and opened again", self.again, 0),
        ]


class ConnectUser(_Staying):
    """Connects when it is due, and stays."""

    scenario: ClassVar[type] = Connect

    def on_start(self) -> None:
        run = run_of(self.environment)
        self.due = next(run.scenario.due)
        self.connected = False
        run.wait_until(self.due)
        if run.stopping:
            raise GreenletExit  # as if Locust had stopped it already
        run.scenario.begun += 1
        super().on_start()

    def on_attempt(self, attempt: Attempt) -> None:
        super().on_attempt(attempt)
        scenario = run_of(self.environment).scenario
        if attempt.failure:
            return
        if self.connected:
            scenario.again += 1
        else:
            self.connected = True
            scenario.connected += 1
            self.recorder.add("WS", "connect from due", time.perf_counter() - self.due, part=True)


class Rpc:
    """Calls at a steady rate, from all connections in turn."""

    name = "rpc"
    waits_for_all = True
    publishes = False
    looks_inside = False

    def __init__(self, run: Run) -> None:
        self._run = run
        self.calls = Operations(run, "load/echo")

    def begin(self) -> None:
        """The users make the calls."""

    def finish(self) -> list[Row]:
        drain(lambda: self.calls.pending == 0)
        if not self.calls.started:
            self._run.broken("no call was made")
        return [shown("connections", self._run.users), *self.calls.rows("calls")]


class RpcUser(LiveUser):
    """Calls ``load/echo`` when it is due, however late the answers to earlier calls are."""

    wait_time = FOREVER
    scenario: ClassVar[type] = Rpc

    def on_start(self) -> None:
        super().on_start()
        run = run_of(self.environment)
        self.number = run.next_user()
        run.ready()

    @task  # type: ignore[untyped-decorator]  # Locust has no types
    def calls(self) -> None:
        run = run_of(self.environment)
        run.begun.wait()
        options = run.options
        value = "x" * options.size
        first = run.start + self.number / options.rate
        seed = options.random_arrivals and f"{options.seed}/{self.number}"
        for due in due_times(options.rate / run.users, first, seed):
            run.wait_until(due)
            if run.stopping:
                return
            run.scenario.calls.send(self.client, due, value)


class _Stamp(msgspec.Struct, frozen=True, gc=False):
    p: int  # the publisher
    n: int  # of its publishes, from 0
    due: float  # when it should have been sent, on time.perf_counter
    ts: float  # when it was


_stamp = msgspec.json.Decoder(_Stamp).decode


class Fanout:
    """One publisher, and everybody else subscribed to what it publishes."""

    name = "fanout"
    waits_for_all = True
    publishes = True
    looks_inside = False

    def __init__(self, run: Run) -> None:
        self._run = run
        self.channel = f"fanout-{secrets.token_hex(4)}"  # runs on one server do not disturb each other
        self.topic = f"load:{self.channel}"
        self._ledgers: list[Ledger] = []
        self._operations = Operations(run, "load/publish")
        self._publisher = LiveClient(run.url)
        self._rule = 0

    def receiver(self) -> Callable[[EventFrame], None]:
        """What takes the events of one more subscriber."""
        ledger = Ledger()
        self._ledgers.append(ledger)
        add = self._run.recorder.add

        def receive(frame: EventFrame) -> None:
            now = time.perf_counter()
            stamp = _stamp(frame.data)
            ledger.add(stamp.n)
            add("PUB", "deliver", now - stamp.due)
            add("PUB", "deliver from send", now - stamp.ts, part=True)

        return receive

    def begin(self) -> None:
        chaos, attachment = self._run.options.chaos, self._run.attachment
        if chaos is not None and attachment is not None:
            self._rule = attachment.arm(
                rate=chaos.rate, seed=chaos.seed, topic=chaos.topic, ttl=self._run.fault_seconds
            )
        self._publisher.open()
        self._run.spawn(self._publish)

    def _publish(self) -> None:
        run, options = self._run, self._run.options
        run.begun.wait()
        padding = "x" * options.size
        for number, due in enumerate(due_times(options.rate, run.start, options.random_arrivals)):
            run.wait_until(due)
            if run.stopping:
                return
            value = {"p": 0, "n": number, "due": due, "ts": time.perf_counter(), "pad": padding}
            self._operations.send(self._publisher, due, self.channel, value)

    def finish(self) -> list[Row]:
        published = self._operations.started
        ledgers = self._ledgers
        drain(lambda: not self._operations.pending and not any(ledger.lost(published) for ledger in ledgers))
        if not published:
            self._run.broken("nothing was published")
        lost = sum(ledger.lost(published) for ledger in ledgers)
        duplicates = sum(ledger.duplicates for ledger in ledgers)
        capped = sum(ledger.capped for ledger in ledgers)
        swapped = f"at most {max((ledger.displacement for ledger in ledgers), default=0)} behind"
        note = f"{capped} subscribers lost more than is remembered of each: duplicates may be late" if capped else ""
        rows = [
            shown("subscribers", len(ledgers)),
            *self._operations.rows("publishes"),
            shown("deliveries", sum(ledger.received for ledger in ledgers)),
            equals("lost", lost, 0, note),
            equals("duplicate", duplicates, 0, note),
            equals("out of order", sum(ledger.out_of_order for ledger in ledgers), 0, swapped),
        ]
        missing = set().union(*(ledger.missing(published) for ledger in ledgers))
        self._run.details["lost_publishes"] = sorted(missing)[:_EXAMPLES]
        rows += self._fault_rows(published)
        self._publisher.close()
        return rows

    def _fault_rows(self, published: int) -> list[Row]:
        chaos, attachment = self._run.options.chaos, self._run.attachment
        if chaos is None or attachment is None or not self._rule:
            return []
        try:
            counts = attachment.counts()
        except AttachError as error:
            self._run.broken(str(error))
            return []
        attachment.clear(self._rule)
        stream = counts.streams.get(self.topic)
        lost = [ledger.missing(published) for ledger in self._ledgers]
        return agreement(chaos, published, lost, counts.rules.get(self._rule), stream.dropped if stream else None)


class FanoutUser(_Staying):
    """Subscribes, and accounts for everything it should receive."""

    scenario: ClassVar[type] = Fanout

    def on_start(self) -> None:
        super().on_start()
        run = run_of(self.environment)
        self.stream("load/events", run.scenario.channel, on_event=run.scenario.receiver())
        run.ready()

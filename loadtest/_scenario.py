"""What a scenario is, and what they have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import gevent
import msgspec
from gevent.event import Event
from locust import constant, task

from liverpc.client.calls import Call
from liverpc.contrib.locust.client import LiveClient
from liverpc.contrib.locust.users import LiveUser
from liverpc.errors import RpcError
from loadtest._gate import must, told
from loadtest._result import Row

if TYPE_CHECKING:
    from loadtest._run import Run

__all__ = ["FOREVER", "NoKnobs", "Operations", "Scenario", "StayingUser", "Tally", "drain", "operation_rows"]
__all__ += ["rate_rows"]

_DRAIN_SECONDS = 2.0
FOREVER = constant(3600)  # Locust ends a waiting user at once, even with --stop-timeout


def drain(done: Callable[[], bool], seconds: float = _DRAIN_SECONDS) -> None:
    """Wait until ``done()``, but not longer than that."""
    until = time.perf_counter() + seconds
    while not done() and time.perf_counter() < until:
        gevent.sleep(0.01)


class Tally(msgspec.Struct):
    """What one process counted. Those of all processes add up."""

    counts: dict[str, int | float] = {}  #: are added
    peaks: dict[str, int | float] = {}  #: of them the largest counts
    lists: dict[str, list[Any]] = {}  #: are joined

    def add(self, other: Tally) -> None:
        """Take another one in."""
        for name, value in other.counts.items():
            self.counts[name] = self.count(name) + value
        for name, value in other.peaks.items():
            self.peaks[name] = max(value, self.peaks.get(name, value))
        for name, items in other.lists.items():
            self.lists.setdefault(name, []).extend(items)

    def count(self, name: str) -> Any:
        """A count; 0 when nobody counted it. Whole numbers stay whole."""
        return self.counts.get(name, 0)


class NoKnobs(msgspec.Struct, frozen=True):
    """A scenario without options of its own."""


class Scenario:
    """One process's part in a run. The leading process has one, too; if it has users itself, it is the same one.

    Its Locust class is its name in CamelCase with ``User`` behind it, and has it as ``scenario``.
    The order of a run: each user calls ``run.ready()``, most when they are connected · :meth:`begin` · the starting
    signal (``run.begun``, ``run.start``) · :meth:`lead` and users at work · ``run.stopping`` · :meth:`settle` in
    every process · :meth:`count` in every process · :meth:`rows`.

    Attributes:
        name: As ``--scenario`` and profiles have it.
        headline: The series whose percentiles are the figures ``p50_ms``, ``p99_ms``…
        defaults: Of ``Options``, where they differ here.
        Knobs: The type of its own options: command line and profile are made from its fields, whose
            ``Meta(description=…)`` is their help.
        calls_demo: Whether it needs the functions of the demo.
        topic: A topic on which it makes publishes that ``--chaos`` could drop, with ``{id}`` for the plan's; empty:
            there are none.
        needs: What it cannot do without: the devtools, the right to inject faults through them, or a server it may
            kill (``--serve``, with devtools).
        expects_lost_connections: Whether lost connections, and failed attempts to connect, belong to it.
        settle_seconds: How long :meth:`settle` and :meth:`count` may take, each.

    Args:
        run: Which it is part of.
    """

    name: ClassVar[str]
    headline: str = ""
    defaults: ClassVar[Mapping[str, Any]] = {}
    Knobs: ClassVar[type[msgspec.Struct]] = NoKnobs
    calls_demo: ClassVar[bool] = True
    needs: ClassVar[Literal["", "devtools", "chaos", "server"]] = ""
    expects_lost_connections: ClassVar[bool] = False
    settle_seconds: ClassVar[float] = 15.0
    topic: ClassVar[str] = ""

    @classmethod
    def check(cls, knobs: Any) -> None:
        """Look at its own options, in the leading process, before anything is done.

        Raises:
            ConfigError: It cannot be done with them; the text says why.
        """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.knobs: Any = msgspec.convert(run.plan.knobs, self.Knobs)  # each scenario knows its own

    # -- in the leading process

    def begin(self) -> None:
        """All users are ready; the starting signal follows.

        Raises:
            RpcError, AttachError, ConfigError: It cannot begin; the text says why.
        """

    def lead(self) -> None:
        """What is done beside the users from the starting signal on, until ``run.stopping``.

        It may end the run by itself: ``run.lead.finish()``.
        """

    def rows(self, tally: Tally) -> list[Row]:
        """The figures, of what all processes counted."""
        raise NotImplementedError

    # -- in every process

    def settle(self) -> Mapping[str, int]:
        """Wait for what this process has under way; returns how much it published, by whatever it calls it."""
        return {}

    def count(self, published: Mapping[str, int]) -> Tally:
        """Wait for what this process should still receive, and count; ``published`` is of all processes."""
        return Tally()

    def close(self) -> None:
        """Close what it opened besides the users. Called at the end, in every process."""


class Operations:
    """Calls of one kind that are started on schedule and not waited for.

    Args:
        run: Which they belong to.
        path: What is called.
        key: Of their figures.
        name: Of their latencies; the path by default.
        also: The name of another series that a latency belongs to, by the moment from which it counts.

    Attributes:
        started, failed: How many.
        pending: How many are not answered yet.
    """

    def __init__(
        self, run: Run, path: str, key: str, *, name: str | None = None, also: Callable[[float], str] | None = None
    ) -> None:
        self._run = run
        self._path = path
        self._key = key
        self._name = name or path
        self._also = also
        self.started = 0
        self.failed = 0
        self.pending = 0
        self._last = run.start

    def send(self, client: LiveClient, due: float, *args: Any, then: Callable[[Any], object] | None = None) -> Event:
        """Start one call, whose time counts from ``due``; returns what tells that it was answered.

        ``then`` is told what it returns.
        """
        self.started += 1
        self.pending += 1
        self._last = sent = time.perf_counter()
        answered = Event()
        client.begin(self._path, *args, on_done=partial(self._done, due, sent, answered, then))
        return answered

    def _done(self, due: float, sent: float, answered: Event, then: Callable[[Any], object] | None, call: Call) -> None:
        answered.set()
        self.pending -= 1
        now = time.perf_counter()
        recorder = self._run.recorder
        if isinstance(call.outcome, RpcError):
            self.failed += 1
            recorder.fail("RPC", self._name, now - due, call.outcome.code)
        else:
            recorder.add("RPC", self._name, now - due)
            recorder.add("RPC", f"{self._name} from send", now - sent, part=True)
            if then is not None:
                then(call.result(Any))
            if self._also is not None:
                recorder.add("RPC", self._also(due), now - due, part=True)

    def tally(self) -> Tally:
        """What became of them; :func:`operation_rows` makes rows of it."""
        key = self._key
        return Tally(
            counts={key: self.started, f"{key}_failed": self.failed, f"{key}_unanswered": self.pending},
            peaks={f"{key}_last": self._last - self._run.start},
        )


def rate_rows(tally: Tally, key: str, what: str, wanted: float) -> list[Row]:
    """How many there were of something, and their rate beside the one ``wanted``, per second.

    ``tally`` has them under ``key``, and the moment of the last one as a peak, ``<key>_last``.
    """
    started = tally.count(key)
    seconds = max(tally.peaks.get(f"{key}_last", 0.0), 1e-9)
    rate = (started - 1) / seconds if started > 1 else 0.0
    return [
        told(key, what, started),
        told(f"{key}_wanted_per_s", f"{what}: rate wanted", wanted, "/s", digits=1),
        told(f"{key}_per_s", f"{what}: rate done", rate, "/s", better="more", digits=1),
        told(f"{key}_rate_ratio", f"{what}: done of wanted", rate / wanted, digits=3),
    ]


def operation_rows(tally: Tally, key: str, what: str, wanted: float) -> list[Row]:
    """What became of :class:`Operations`: :func:`rate_rows`, and failures."""
    return [
        *rate_rows(tally, key, what, wanted),
        must(f"{key}_failed", f"{what}: failed", tally.count(f"{key}_failed"), 0),
        must(f"{key}_unanswered", f"{what}: unanswered", tally.count(f"{key}_unanswered"), 0),
    ]


class StayingUser(LiveUser):
    """Does nothing more once it is connected; what comes then comes by itself."""

    abstract = True
    wait_time = FOREVER

    @task  # type: ignore[untyped-decorator]  # Locust has no types
    def stay(self) -> None:
        """The waiting time does it."""

"""Subscribers of one log, audited through all their connections, and who appends to it."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from typing import Annotated, Any

import msgspec

from liverpc.client.calls import Call
from liverpc.client.subscription import Subscription
from liverpc.config import ClientConfig
from liverpc.contrib.locust.audit import ResumeAudit
from liverpc.contrib.locust.client import Attempt, LiveClient
from liverpc.contrib.locust.schedule import due_times
from liverpc.contrib.locust.users import ConnectOptions, LiveUser
from liverpc.errors import RpcError
from loadtest._gate import must, told
from loadtest._result import Row
from loadtest._run import Run, run_of
from loadtest._scenario import FOREVER, Tally, drain

__all__ = ["Appender", "ClientKnobs", "Reader", "ReaderUser", "Readers", "audit_rows", "named", "server_rows"]
__all__ += ["words"]

_BACK_SECONDS = 40.0  # for those who are away at the end; the longest of usual pauses
_SOON = ClientConfig(backoff_base=0.1, backoff_max=0.5, max_attempts=20)


class ClientKnobs(msgspec.Struct, frozen=True):
    """How the clients of a scenario come back."""

    jitter: Annotated[
        bool, msgspec.Meta(description="the clients' pauses differ by a quarter, as they do by default")
    ] = True
    backoff: Annotated[
        float, msgspec.Meta(gt=0, description="seconds of the clients' first pause; each further one is longer")
    ] = 3.0

    @property
    def config(self) -> ClientConfig:
        """Of each client."""
        jitter = ClientConfig().jitter if self.jitter else (1.0, 1.0)
        return ClientConfig(backoff_base=self.backoff, jitter=jitter)


class Reader:
    """One subscriber: observes its stream, and is told when its connection is lost.

    Attributes:
        audit: Of its events.
        away: Whether it is not live since its connection was lost.
        outage: The last one that it came back from.
    """

    client: LiveClient
    subscription: Subscription

    def __init__(self, group: Readers) -> None:
        self.audit = ResumeAudit(lambda row: row["n"])
        self._group = group
        self._run = group.run
        self.outage = 0
        self._lost_at: float | None = None

    @property
    def away(self) -> bool:
        return self._lost_at is not None

    def lost(self, code: int) -> None:
        """Its connection is gone."""
        self._group.closes[code] += 1
        if self._lost_at is None:
            self._lost_at = time.perf_counter()

    def whole(self, value: Any, /) -> None:
        self.audit.whole(value)
        self._live()

    def missed(self, data: list[Any], /) -> None:
        self.audit.missed(data)
        now, add = self._run.now(), self._run.recorder.add
        for row in data:
            add("PUB", "deliver replayed", now - row["value"]["due"], part=True)
        self._live()

    def event(self, row: Any, /) -> None:
        self.audit.event(row)
        self._run.recorder.add("PUB", "deliver", self._run.now() - row["value"]["due"])

    def _live(self) -> None:
        if self._lost_at is not None:
            seconds = time.perf_counter() - self._lost_at
            self._lost_at = None
            self._run.recorder.add("RC", "reconnect", seconds)
            self._group.is_back(self, seconds)


class Readers:
    """All of one process.

    Args:
        run: Of this process.
        knobs: Of their clients.

    Attributes:
        name: Of the log, the same in all processes of a run.
        config: Of their connections.
        back: When one more was live again after an outage, on the clock of the leading process.
        closes: Lost connections, by close code.
    """

    def __init__(self, run: Run, knobs: ClientKnobs) -> None:
        self.run = run
        self.config = knobs.config
        self.name = f"{run.plan.scenario.replace('_', '-')}-{run.plan.id}"
        self.all: list[Reader] = []
        self.back: list[float] = []
        self.closes: Counter[int] = Counter()
        self._outages = 0
        self._otherwise = 0  # times that one came back from none of them
        self._away_seconds = 0.0
        self._away_longest = 0.0
        self._connects: Counter[int] = Counter()  # by second of the leading process's clock
        self._failed: Counter[str] = Counter()
        run.on_order("outage", self._outage)
        run.on_order("back", lambda _: len(self.back))

    def new(self) -> Reader:
        """One more."""
        reader = Reader(self)
        self.all.append(reader)
        return reader

    def _outage(self, offline: float | None) -> None:
        """All connections are lost from now on: cut here, with no network for so many seconds; None: by the server."""
        self._outages += 1
        if offline is not None:
            for reader in self.all:
                reader.client.cut(offline)

    def is_back(self, reader: Reader, seconds: float) -> None:
        """One is live again after so long."""
        if reader.outage < self._outages:
            reader.outage = self._outages
            self.back.append(self.run.now())
        else:
            self._otherwise += 1
        self._away_seconds += seconds
        self._away_longest = max(self._away_longest, seconds)

    def attempted(self, attempt: Attempt) -> None:
        """One tried to connect."""
        if not self.run.begun.is_set():
            return
        if attempt.failure:
            self._failed[attempt.failure] += 1
        else:
            self._connects[int(self.run.now())] += 1
            self.run.recorder.add("RC", "attempt", attempt.total, part=True)

    def tally(self, *, resets: int | None) -> Tally:
        """What they got, compared with what the server has. Waits until nothing is missing, but not for ever.

        Args:
            resets: How many each of them should have been told; None: any number.
        """
        drain(lambda: not any(reader.away for reader in self.all), _BACK_SECONDS)
        state = self._state()
        rows, published = state["rows"], state["next"]
        readers = self.all
        drain(lambda: all(reader.audit.lost(published) == 0 for reader in readers))
        audits = [reader.audit for reader in readers]
        counts = {
            "readers": len(readers),
            "received": sum(audit.received for audit in audits),
            "replayed": sum(audit.replayed for audit in audits),
            "resumed": sum(audit.resumed for audit in audits),
            "resets": sum(audit.resets for audit in audits),
            "resets_other": sum(audit.resets != resets for audit in audits if resets is not None),
            "lost": sum(audit.lost(published) for audit in audits),
            "duplicates": sum(audit.duplicates for audit in audits),
            "out_of_order": sum(audit.out_of_order for audit in audits),
            "values_wrong": sum(reader.subscription.value != rows for reader in readers),
            "back": len(self.back),
            "otherwise": self._otherwise,
            "away_seconds": self._away_seconds,
            **{f"close {code}": number for code, number in self.closes.items()},
            **{f"failed {kind}": number for kind, number in self._failed.items()},
            **{f"connects {second}": number for second, number in self._connects.items()},
        }
        peaks = {"away_longest": self._away_longest, "loads": state["loads"]}
        return Tally(counts=counts, peaks=peaks, lists={"back": self.back})

    def _state(self) -> Any:
        client = LiveClient(self.run.url, config=_SOON)
        try:
            client.open()
            return client.call("load/log_state", self.name)
        except RpcError as error:
            self.run.broken(f"the server does not say what the log has: {error}")
            return {"rows": [], "next": 0, "loads": 0}
        finally:
            client.close()


class ReaderUser(LiveUser):
    """Subscribes to the log of ``scenario.readers``."""

    abstract = True
    wait_time = FOREVER

    def connect_options(self) -> ConnectOptions:
        config = run_of(self.environment).scenario.readers.config
        return msgspec.structs.replace(super().connect_options(), config=config)

    def on_start(self) -> None:
        run = run_of(self.environment)
        readers: Readers = run.scenario.readers
        self.reader = readers.new()
        super().on_start()
        self.reader.client = self.client
        self.reader.subscription = self.stream("load/log", readers.name, observer=self.reader)
        run.ready()

    def on_attempt(self, attempt: Attempt) -> None:
        super().on_attempt(attempt)
        run_of(self.environment).scenario.readers.attempted(attempt)

    def on_lost(self, code: int) -> None:
        self.reader.lost(code)


class Appender:
    """Appends to a log all the time, on schedule, also while connections are lost.

    Attributes:
        started: Rows.
        failed: Those that failed, by code; whether they were appended is unknown.
        pending: Those not answered yet.
    """

    def __init__(self, run: Run, name: str) -> None:
        self._run = run
        self._name = name
        self._client = LiveClient(run.url, config=_SOON)
        self.started = 0
        self.pending = 0
        self.failed: Counter[str] = Counter()

    def open(self) -> None:
        """Connect; raises as :meth:`LiveClient.open`."""
        self._client.open()

    def close(self) -> None:
        self._client.close()

    def loads(self) -> int:
        """How often the server has loaded the log's value."""
        loads: int = self._client.call("load/log_state", self._name)["loads"]
        return loads

    def work(self, rate: float) -> None:
        """Append so many rows per second from the starting signal on, until the run ends."""
        run = self._run
        run.begun.wait()
        padding = "x" * run.options.size
        for due in run.when_due(due_times(rate, run.start, run.options.random_arrivals)):
            self.started += 1
            self.pending += 1
            value = {"due": due, "pad": padding}
            self._client.begin("load/append", self._name, value, on_done=partial(self._done, due))

    def _done(self, due: float, call: Call) -> None:
        self.pending -= 1
        seconds = time.perf_counter() - due
        if isinstance(call.outcome, RpcError):
            self.failed[call.outcome.code] += 1
            self._run.recorder.fail("RPC", "load/append", seconds, call.outcome.code)
        else:
            self._run.recorder.add("RPC", "load/append", seconds)

    def rows(self, *, server_ends: bool) -> list[Row]:
        """What became of them. They may fail where the server ended meanwhile, in no other case."""
        failed = self.failed.total()
        about = ", ".join(f"{number} {code}" for code, number in self.failed.items())
        return [
            told("appended", "rows appended", self.started),
            told("appends_failed", "rows: failed", failed)
            if server_ends
            else must("appends_failed", "rows: failed", failed, 0, about),
            must("appends_unanswered", "rows: unanswered", self.pending, 0),
        ]


def audit_rows(tally: Tally, *, loads_before: int = 0) -> list[Row]:
    """What must be right of the readers of a log, and how it came about.

    ``loads_before``: how often this server had loaded its value when the run began.
    """
    resumed, resets = tally.count("resumed"), tally.count("resets")
    failed = named(tally, "failed ")
    connects = named(tally, "connects ").values()
    loads = int(tally.peaks["loads"]) - loads_before
    return [
        told("readers", "readers", tally.count("readers")),
        told("received", "rows received", tally.count("received")),
        must("lost", "lost", tally.count("lost"), 0),
        must("duplicates", "duplicate", tally.count("duplicates"), 0),
        must("out_of_order", "out of order", tally.count("out_of_order"), 0),
        must("values_wrong", "readers whose value is not the server's", tally.count("values_wrong"), 0),
        told("replayed", "rows replayed", tally.count("replayed")),
        told("resets", "resets", resets, better="less"),
        told("resume_ratio", "resumed, of all that came back", resumed / max(resumed + resets, 1), better="more"),
        told("closes", "connections lost, by close code", words(named(tally, "close "))),
        told("lost_otherwise", "connections lost at other times", tally.count("otherwise"), better="less"),
        told("attempts", "attempts to connect", sum(failed.values()) + sum(connects)),
        told("attempts_failed", "attempts: failed", sum(failed.values()), better="less"),
        *(told(f"attempts_{kind}", f"attempts: {kind}", number) for kind, number in sorted(failed.items())),
        told("connects_peak_per_s", "connections in the busiest second", max(connects, default=0)),
        told("loads", "times the server loaded the value, since its start or the run's", loads, better="less"),
    ]


def server_rows(run: Run) -> list[Row]:
    """The server at its worst, where it can be looked at."""
    known = [second.server for second in run.lead.seconds if second.server is not None]
    memory = [each.rss_bytes / 1e6 for each in known if each.rss_bytes is not None]
    lag = [each.lag_ms for each in known if each.lag_ms is not None]
    return [
        *(
            [told("server_rss_peak_mb", "server: most memory", max(memory), "MB", better="less", digits=0)]
            if memory
            else []
        ),
        *([told("server_lag_peak_ms", "server: longest event loop lag", max(lag), "ms", better="less")] if lag else []),
    ]


def named(tally: Tally, prefix: str) -> dict[str, int]:
    """The counts whose names begin so, without that."""
    return {name.removeprefix(prefix): int(number) for name, number in tally.counts.items() if name.startswith(prefix)}


def words(numbers: dict[str, int]) -> str:
    """Numbers by name, for people."""
    return ", ".join(f"{number} with {name}" for name, number in sorted(numbers.items())) or "none"

"""The scenario ``soak``: a bit of everything for hours, and whether anything grows."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Annotated, Any, ClassVar

import gevent
import msgspec

from liverpc.config import ClientConfig
from liverpc.contrib.locust.client import LiveClient
from liverpc.contrib.locust.ledger import Ledger
from liverpc.contrib.locust.schedule import due_times
from liverpc.errors import AttachError, RpcError
from liverpc.wire.frames import EventFrame
from loadtest._fanout import Stamp, ledger_rows, ledger_tally
from loadtest._gate import must, told
from loadtest._knee import of_server
from loadtest._result import Row, Second
from loadtest._run import Run, run_of
from loadtest._scenario import Operations, Scenario, StayingUser, Tally, drain, operation_rows
from loadtest._trend import drift, trend_rows
from loadtest._words import parse_mix

__all__ = ["Soak", "SoakKnobs", "SoakUser"]

_LOOKS = 300  # at the server, in a run
_LOOK_SECONDS = 2.0  # between two of them, at least
_SOME_SECONDS = 3.0  # for the first figures of the server to be there
_CLEAN_SECONDS = 10.0  # for the server to be rid of it all: more than ``close_seconds`` and ``upload_grace_seconds``

_RECENT = 5  # seconds that tell how many open files there are

_stamped = msgspec.json.Decoder(Stamp).decode


class SoakKnobs(msgspec.Struct, frozen=True):
    """The options of the scenario."""

    mix: Annotated[
        str, msgspec.Meta(description="shares of publishes, calls, connections made and closed, and uploads")
    ] = "60/25/10/5"
    channels: Annotated[int, msgspec.Meta(description="to publish on, each with its share of the users", ge=1)] = 10
    upload_bytes: Annotated[int, msgspec.Meta(description="of each upload", ge=1, le=100_000_000)] = 100_000

    def __post_init__(self) -> None:
        parse_mix(self.mix)


class _Look(msgspec.Struct, frozen=True):
    """What the server has at a moment."""

    at: float
    has: dict[str, int]


class Soak(Scenario):
    """Users listen to channels, call, and upload; connections come and go beside them. At the end all leave."""

    name = "soak"
    headline = "PUB deliver"
    defaults: ClassVar = {"rate": 40.0}
    Knobs = SoakKnobs
    needs = "devtools"
    settle_seconds = 30.0

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._shares = [share * run.options.rate for share in parse_mix(self.knobs.mix)]
        self._ledgers: dict[str, list[Ledger]] = {}
        self._clients: list[LiveClient] = []
        self._publishes = Operations(run, "load/publish", "publishes")
        self._calls = Operations(run, "load/echo", "calls")
        self._done = {"connections": 0, "connections_failed": 0, "uploads": 0, "uploads_failed": 0, "uploads_wrong": 0}
        self._pending = 0  # connections and uploads
        self._data = random.Random(run.options.seed).randbytes(self.knobs.upload_bytes)
        self._sum = hashlib.sha256(self._data).hexdigest()
        self._publisher: LiveClient | None = None  # in the leading process
        self._before = _Look(0.0, {})  # likewise, as all that follow
        self._looks: list[_Look] = []
        self._first = 0  # of the seconds that count
        if not run.lead_only:
            for share, work in zip(self._shares[1:], (self._call, self._connect, self._upload), strict=True):
                self._work(share, work)

    def _channel(self, number: int) -> str:
        return f"soak-{self.run.plan.id}-{number}"

    # -- every process

    def join(self, user: SoakUser) -> None:
        """A user is connected: it listens to one of the channels."""
        number = self.run.next_user()
        self._clients.append(user.client)
        channel = self._channel(number % self.knobs.channels)
        ledger = Ledger()
        self._ledgers.setdefault(channel, []).append(ledger)
        run, add = self.run, self.run.recorder.add

        def receive(frame: EventFrame) -> None:
            stamp = _stamped(frame.data)
            ledger.add(stamp.n)
            add("PUB", "deliver", run.now() - stamp.due)

        user.stream("load/events", channel, on_event=receive)

    def _work(self, rate: float, work: Callable[[LiveClient, float], None]) -> None:
        """Do it on schedule, on one connection after the other."""

        def working() -> None:
            run = self.run
            run.begun.wait()
            times = islice(self._times(rate), run.index, None, run.plan.processes)
            for turn, due in enumerate(run.when_due(times)):
                work(self._clients[turn % len(self._clients)], due)

        self.run.spawn(working)

    def _times(self, rate: float) -> Any:
        seed = self.run.options.random_arrivals
        return due_times(rate, self.run.start, seed and f"{seed}/{rate}")

    def _call(self, client: LiveClient, due: float) -> None:
        self._calls.send(client, due, "x" * self.run.options.size)

    def _connect(self, _: LiveClient, due: float) -> None:
        """Somebody comes, calls once, and leaves."""
        client = LiveClient(self.run.url, config=ClientConfig(max_attempts=1))

        def visit() -> None:
            try:
                client.open()
                client.call("load/echo", 1)
            finally:
                client.close()

        self._beside("connections", "WS", "visit", due, visit)

    def _upload(self, client: LiveClient, due: float) -> None:
        def upload() -> None:
            stored = client.upload("files/store", self._data, "soak")
            self._done["uploads_wrong"] += stored != {"bytes": len(self._data), "sha256": self._sum}

        self._beside("uploads", "UP", "files/store", due, upload)

    def _beside(self, what: str, kind: str, name: str, due: float, work: Callable[[], None]) -> None:
        """Do something that takes a while, in a greenlet of its own."""
        self._done[what] += 1
        self._pending += 1

        def working() -> None:
            try:
                work()
            except RpcError as error:
                self._done[f"{what}_failed"] += 1
                self.run.recorder.fail(kind, name, time.perf_counter() - due, error.code)
            else:
                self.run.recorder.add(kind, name, time.perf_counter() - due)
            finally:
                self._pending -= 1

        self.run.spawn(working)

    def settle(self) -> dict[str, int]:
        drain(lambda: not self._pending and not self._calls.pending and not self._publishes.pending, 10.0)
        started, channels = self._publishes.started, self.knobs.channels
        return {self._channel(n): len(range(n, started, channels)) for n in range(channels)} if started else {}

    def count(self, published: Mapping[str, int]) -> Tally:
        numbers = {channel: published.get(channel, 0) for channel in self._ledgers}
        drain(lambda: not any(each.lost(numbers[name]) for name, all_ in self._ledgers.items() for each in all_))
        tally = Tally(counts={**self._done, "pending": self._pending}, lists={"channels": [*self._ledgers]})
        tally.add(self._calls.tally())
        tally.add(self._publishes.tally())
        for name, ledgers in self._ledgers.items():
            tally.add(ledger_tally(ledgers, numbers[name]))
        return tally

    def close(self) -> None:
        """All leave."""
        clients = self._clients if self._publisher is None else [*self._clients, self._publisher]
        gevent.joinall([gevent.spawn(client.close) for client in clients])

    # -- the leading process

    def begin(self) -> None:
        seconds = self.run.lead.seconds
        drain(lambda: any(of_server("fds")(second) is not None for second in seconds), _SOME_SECONDS)
        self._before = self._look()
        self._publisher = LiveClient(self.run.url)
        self._publisher.open()
        self._first = len(seconds)

    def lead(self) -> None:
        self.run.spawn(self._watch)
        assert self._publisher is not None
        channels, padding = self.knobs.channels, "x" * self.run.options.size
        for number, due in enumerate(self.run.when_due(self._times(self._shares[0]))):
            value = {"n": number // channels, "due": due, "ts": time.perf_counter(), "pad": padding}
            self._publishes.send(self._publisher, due, self._channel(number % channels), value)

    def _watch(self) -> None:
        pause = max(_LOOK_SECONDS, self.run.options.seconds / _LOOKS)
        while self.run.pause(pause):
            try:
                self._looks.append(self._look())
            except (AttachError, RpcError) as error:
                self.run.broken(f"the server cannot be looked at any more: {error}")
                return

    def _look(self) -> _Look:
        """What the server has now.

        Raises:
            AttachError, RpcError: It does not say.
        """
        counts = self.run.lead.attachment.counts()
        if counts.uploads is None:
            raise AttachError("refused", "the devtools say nothing of uploads: the token is for some topics only")
        client = LiveClient(self.run.url, config=ClientConfig(max_attempts=1))
        try:
            client.open()
            tasks = client.call("load/tasks")
        finally:
            client.close()
        has = {
            "connections": counts.connections,
            "topics": len(counts.streams),
            "tasks": tasks,
            "uploads": counts.uploads.running,
        }
        known = [fds for each in self.run.lead.seconds[-_RECENT:] if (fds := of_server("fds")(each)) is not None]
        return _Look(self.run.lead.at, has | ({"open files": int(known[-1])} if known else {}))

    def rows(self, tally: Tally) -> list[Row]:
        publishes, calls, *_ = self._shares
        count = tally.count
        return [
            told("connections", "connections", self.run.users),
            *operation_rows(tally, "publishes", "publishes", publishes),
            *ledger_rows(tally),
            *operation_rows(tally, "calls", "calls", calls),
            told("visits", "visits: connections made and closed", count("connections")),
            must("visits_failed", "visits: failed", count("connections_failed"), 0),
            told("uploads", "uploads", count("uploads")),
            must("uploads_failed", "uploads: failed", count("uploads_failed"), 0),
            must("uploads_wrong", "uploads: stored wrong", count("uploads_wrong"), 0),
            must("unfinished", "visits and uploads: not finished", count("pending"), 0),
            *self._trends(),
            *self._left(len(set(tally.lists["channels"]))),
        ]

    def _trends(self) -> list[Row]:
        warmup = self.run.options.warmup
        seconds: list[Second] = [each for each in self.run.lead.seconds[self._first :] if each.at >= warmup]
        looks = [look for look in self._looks if look.at >= warmup]

        def of(name: str, scale: float = 1.0) -> list[tuple[float, float]]:
            return [(each.at, value * scale) for each in seconds if (value := of_server(name)(each)) is not None]

        rows = [
            *trend_rows("rss_slope_mb_h", "server: memory", of("rss_bytes", 1e-6), "MB"),
            *trend_rows("fd_slope_h", "server: open files", of("fds"), ""),
        ]
        for what, key in (("tasks", "task"), ("topics", "topic"), ("connections", "connection")):
            points = [(look.at, float(look.has[what])) for look in looks]
            rows += trend_rows(f"{key}_slope_h", f"server: {what}", points, "")
        p99 = drift([p99 for each in seconds if (p99 := each.p99.get(self.headline)) is not None])
        if p99 is not None:
            what = "p99 of a second, the last tenth of the run to the first"
            rows.append(told("p99_drift", what, p99, better="less"))
        return rows

    def _left(self, topics: int) -> list[Row]:
        """Whether the server has no more than at the beginning, less what the users had."""
        users = self.run.users
        had = {"connections": users, "open files": users, "topics": topics}
        wanted = {what: number - had.get(what, 0) for what, number in self._before.has.items()}
        until = time.perf_counter() + _CLEAN_SECONDS
        try:
            while (left := _more(self._look().has, wanted)) and time.perf_counter() < until:
                gevent.sleep(0.2)
        except (AttachError, RpcError) as error:
            return [must("looked_at", "server: can be looked at", f"no: {error}", "yes")]
        return [
            must(f"{what.replace(' ', '_')}_left", f"server: {what} left over", left.get(what, 0), 0) for what in wanted
        ]


def _more(has: Mapping[str, int], wanted: Mapping[str, int]) -> dict[str, int]:
    return {what: more for what, number in wanted.items() if (more := has.get(what, number) - number) > 0}


class SoakUser(StayingUser):
    """Listens; the rest is done on its connection, or beside it."""

    scenario: ClassVar[type[Scenario]] = Soak

    def on_start(self) -> None:
        super().on_start()
        run = run_of(self.environment)
        run.scenario.join(self)
        run.ready()

"""The scenario ``slow_consumer``: a share of the subscribers does not take what it gets; the others must not notice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from locust import task

from liverpc.contrib.locust.ledger import Ledger
from liverpc.contrib.locust.users import LiveUser
from liverpc.errors import AttachError
from loadtest._disturbed import Disturbed, Quiet
from loadtest._fanout import Stamp
from loadtest._gate import must, told
from loadtest._peer import Aim, Ended, Peer
from loadtest._phases import bounded, p99_rows, slow_rows
from loadtest._result import Row
from loadtest._run import Run, run_of
from loadtest._scenario import FOREVER, Scenario, Tally, drain

__all__ = ["SlowConsumer", "SlowConsumerUser", "SlowKnobs"]

_RECEIVE_BUFFER = 16_384  # bytes; the system of a slow client shall not read in its place
_TRICKLE = 1_000  # bytes per second
_PATIENCE = 10.0  # seconds, to connect
_LATE_SECONDS = 10.0  # for slow ones to catch up at the end
_LOOK_SECONDS = 0.5
_DAY = 86_400.0
_KERNEL_BYTES = 8 << 20  # that the systems of both sides may hold for one connection; usually 4 MB at most


class SlowKnobs(msgspec.Struct, frozen=True):
    """The options of the scenario."""

    share: Annotated[float, msgspec.Meta(description="of the subscribers that are slow, one at least", gt=0, le=1)] = (
        0.05
    )
    how: Annotated[
        Literal["stop", "trickle"], msgspec.Meta(description="stop: they take nothing; trickle: 1 kB per second")
    ] = "stop"
    quiet: Quiet = 5.0


class _Event(msgspec.Struct, frozen=True):
    topic: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class Laggard:
    """A subscriber that takes too little in the middle part of the run, and everything before and afterwards.

    Attributes:
        ledger: What it got.
        end: How its connection ended; empty: it has not.

    Args:
        scenario: Its own.

    Raises:
        Ended: It could not subscribe.
    """

    def __init__(self, scenario: SlowConsumer) -> None:
        self.ledger = Ledger()
        self.end = ""
        self._run, self._phases = scenario.run, scenario.phases
        self._trickles = scenario.knobs.how == "trickle"
        self._topic = f"load:{scenario.channel}"
        self._peer = peer = Peer(Aim(scenario.run.url, scenario.limits), _PATIENCE, receive_buffer=_RECEIVE_BUFFER)
        peer.open()
        peer.call("load/events", scenario.channel, stream=True)
        if not (answer := next(peer.answers))["data"]["ok"]:
            raise Ended(f"the stream is refused: {answer}")
        peer.until = time.monotonic() + _DAY

    def follow(self) -> None:
        """Take what comes, until the connection ends."""
        event, stamp = msgspec.json.Decoder(_Event).decode, msgspec.json.Decoder(Stamp).decode
        most = 1 << 16
        try:
            while True:
                for message in self._peer.messages(most):
                    each = event(message)
                    if each.topic == self._topic:
                        self.ledger.add(stamp(each.data).n)
                most = 1 << 16
                if self._lags():
                    self._run.pause(1.0 if self._trickles else self._phases.end - self._at())
                    most = _TRICKLE if self._trickles and self._lags() else most
        except Ended as ended:
            self.end = str(ended)

    def close(self) -> None:
        self._peer.close()

    def _at(self) -> float:
        return time.perf_counter() - self._run.start

    def _lags(self) -> bool:
        return self._run.begun.is_set() and not self._run.stopping and self._phases.of(self._at()) == "under"


class SlowConsumer(Disturbed):
    """One publisher in the leading process, subscribers, and some slow ones among them."""

    name = "slow_consumer"
    headline = "PUB deliver under"
    Knobs = SlowKnobs
    defaults: ClassVar[Mapping[str, Any]] = {"users": 40, "size": 16_000}
    settle_seconds = 30.0

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.slow = max(1, round(run.users * self.knobs.share))  # users with the first numbers
        self.laggards: list[Laggard] = []
        self._closed_at: list[float] = []  # when the server had closed another one as too slow

    # -- the leading process

    def lead(self) -> None:
        self.run.spawn(self._watch)
        super().lead()

    def _watch(self) -> None:
        """See when the server loses its patience."""
        try:
            while self.run.pause(_LOOK_SECONDS):
                new = self._too_slow() - len(self._closed_at)
                if new > 0:
                    self._closed_at += [self.run.lead.at - self.phases.begin] * new
                    self.run.lead.say(f"{new} closed as too slow")
        except AttachError:
            pass  # counting says so

    def _too_slow(self) -> int:
        return sum(self.counted(name) for name in ("outbox_overflows", "outbox_frame_overflows"))

    def rows(self, tally: Tally) -> list[Row]:
        lead = self.run.lead
        ended = int(sum(number for name, number in tally.counts.items() if name.startswith("slow_ended ")))
        rows = [
            *slow_rows(tally.counts),
            *(
                told(f"slow_closed_{which}_s", f"slow: {which} one closed after", at, "s", digits=1)
                for which, at in zip(("first", "last"), self._closed_at[:1] + self._closed_at[-1:], strict=False)
            ),
            *super().rows(tally),
            *p99_rows(lead.totals, {"deliveries": ("PUB", "deliver")}),
            *self.memory(),
        ]
        waiting = [
            each.server.outbox_bytes for each in lead.seconds if each.server and each.server.outbox_bytes is not None
        ]
        if waiting:
            row = told("outbox_mb", "server: most bytes waiting for sockets", max(waiting) / 1e6, "MB")
            rows.append(bounded(row, (self.slow + 1) * self.limits.outbox_bytes / 1e6))  # one more for all healthy ones
        return rows + self._inside(ended)

    def _inside(self, ended: int) -> list[Row]:
        """What the server says of it."""
        left = self.left_over(ended)
        try:
            closed, silent = self._too_slow(), self.counted("deadline_aborts") + self.counted("ping_timeouts")
        except AttachError:
            return left  # says so
        # However little waits: without a byte taken by a full socket, or an answer to a ping, they go, too.
        wanted = min(max(closed, ended - silent), ended)
        return [must("closed_as_too_slow", "server: connections closed as too slow", closed, wanted), *left]

    # -- every process

    def count(self, published: Mapping[str, int]) -> Tally:
        number = published[self.channel]
        drain(lambda: all(each.end or not each.ledger.lost(number) for each in self.laggards), _LATE_SECONDS)
        tally = super().count(published)
        tally.add(Tally(counts=dict(self._slow_counts(number))))
        return tally

    def _slow_counts(self, published: int) -> Counter[str]:
        counts: Counter[str] = Counter(slow=len(self.laggards))
        lagged = min(self.phases.end, time.perf_counter() - self.run.start) - self.phases.begin
        waited = lagged * (self.run.options.rate * self.run.options.size - _TRICKLE * (self.knobs.how == "trickle"))
        for each in self.laggards:
            ledger = each.ledger
            if each.end:
                counts[f"slow_ended {each.end}"] += 1
            else:
                counts["slow_late"] += 1
                counts["slow_kept"] += waited > self.limits.outbox_bytes + _KERNEL_BYTES
            counts["slow_gaps"] += ledger.lost(ledger.next if each.end else published)
            counts["slow_gaps"] += ledger.duplicates + ledger.out_of_order
        return counts

    def close(self) -> None:
        super().close()
        for each in self.laggards:
            each.close()


class SlowConsumerUser(LiveUser):
    """Subscribes; the first ones are slow."""

    wait_time = FOREVER
    scenario: ClassVar[type[Scenario]] = SlowConsumer

    def on_start(self) -> None:
        run = run_of(self.environment)
        self.laggard: Laggard | None = None
        if run.next_user() < run.scenario.slow:
            self.laggard = Laggard(run.scenario)
            run.scenario.laggards.append(self.laggard)
        else:
            super().on_start()
            self.stream("load/events", run.scenario.channel, on_event=run.scenario.receiver())
        run.ready()

    @task  # type: ignore[untyped-decorator]  # Locust has no types
    def stay(self) -> None:
        """What healthy ones get comes by itself."""
        if self.laggard is not None:
            self.laggard.follow()

"""The scenario ``fanout``: one publisher, many subscribers, and an account of every delivery."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar

import msgspec

from liverpc.contrib.locust.client import LiveClient
from liverpc.contrib.locust.ledger import Ledger
from liverpc.contrib.locust.schedule import due_times
from liverpc.errors import AttachError
from liverpc.inspector.protocol import ChaosRule
from liverpc.wire.frames import EventFrame
from loadtest._faults import agreement
from loadtest._gate import must, told
from loadtest._result import Row
from loadtest._run import Run, run_of
from loadtest._scenario import Operations, Scenario, StayingUser, Tally, drain, operation_rows

__all__ = ["Fanout", "FanoutUser", "Stamp", "ledger_rows", "ledger_tally", "lost_sets"]

_EXAMPLES = 100  # lost publishes named in the report


class Stamp(msgspec.Struct, frozen=True, gc=False):
    """What a publish carries besides its padding. Moments are on the leading process's clock."""

    n: int  #: of the publishes on its topic, from 0
    due: float  #: when it should have been sent
    ts: float  #: when it was


_stamped = msgspec.json.Decoder(Stamp).decode


class Fanout(Scenario):
    """One publisher in the leading process, and everybody else subscribed to what it publishes."""

    name = "fanout"
    headline = "PUB deliver"
    topic = "load:fanout-{id}"  # runs on one server do not disturb each other

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.channel = f"fanout-{run.plan.id}"
        self.ledgers: list[Ledger] = []
        self.publishes = Operations(run, "load/publish", "publishes")
        self._publisher: LiveClient | None = None
        self._rule = 0

    # -- a subscriber

    def receiver(self) -> Callable[[EventFrame], None]:
        """What takes the events of one more subscriber."""
        ledger = Ledger()
        self.ledgers.append(ledger)
        run, add, part = self.run, self.run.recorder.add, self.part

        def receive(frame: EventFrame) -> None:
            now = run.now()
            stamp = _stamped(frame.data)
            ledger.add(stamp.n)
            add("PUB", "deliver", now - stamp.due)
            add("PUB", "deliver from send", now - stamp.ts, part=True)
            if name := part(stamp.due - run.start - run.offset):
                add("PUB", f"deliver {name}", now - stamp.due, part=True)

        return receive

    def part(self, at: float) -> str:
        """Names the part of the run in which a moment lies, in seconds since the first operation was due.

        What was due in it is in a series of its own, too, with that behind its name. Empty: there are no parts.
        """
        return ""

    # -- the leading process

    def begin(self) -> None:
        chaos, attachment = self.run.options.chaos, self.run.lead.attachment
        if chaos is not None:
            rule = ChaosRule(rate=chaos.rate, seed=chaos.seed, topic=chaos.topic)
            self._rule = attachment.arm(rule, ttl=self.run.lead.fault_seconds)
        self._publisher = LiveClient(self.run.url)
        self._publisher.open()

    def lead(self) -> None:
        self.publish()

    def times(self) -> Iterator[float]:
        """When something is due."""
        options = self.run.options
        return due_times(options.rate, self.run.start, options.random_arrivals)

    def publish(self) -> None:
        """Publish on schedule until the run ends."""
        assert self._publisher is not None
        padding = "x" * self.run.options.size
        for number, due in enumerate(self.run.when_due(self.times())):
            value = {"n": number, "due": due, "ts": time.perf_counter(), "pad": padding}
            self.publishes.send(self._publisher, due, self.channel, value)

    # -- the end

    def settle(self) -> dict[str, int]:
        drain(lambda: not self.publishes.pending)
        return {self.channel: self.publishes.started}

    def count(self, published: Mapping[str, int]) -> Tally:
        number = published[self.channel]
        drain(lambda: not any(ledger.lost(number) for ledger in self.ledgers))
        tally = self.publishes.tally()
        tally.add(ledger_tally(self.ledgers, number))
        return tally

    def rows(self, tally: Tally) -> list[Row]:
        published = int(tally.count("publishes"))
        if not published:
            self.run.broken("nothing was published")
        self.run.lead.details["lost_publishes"] = sorted({n for lost, _ in tally.lists["lost_sets"] for n in lost})[
            :_EXAMPLES
        ]
        return [
            told("subscribers", "subscribers", tally.count("subscribers")),
            *operation_rows(tally, "publishes", "publishes", self.run.options.rate),
            *ledger_rows(tally),
            *self._fault_rows(tally, published),
        ]

    def close(self) -> None:
        if self._publisher is not None:
            self._publisher.close()

    def _fault_rows(self, tally: Tally, published: int) -> list[Row]:
        chaos, attachment = self.run.options.chaos, self.run.lead.attachment
        if chaos is None or not self._rule:
            return []
        try:
            counts = attachment.counts()
        except AttachError as error:
            self.run.broken(str(error))
            return []
        attachment.clear(self._rule)
        stream = counts.streams.get(f"load:{self.channel}")
        rule, dropped = counts.rules.get(self._rule), stream.dropped if stream else None
        return agreement(chaos, published, lost_sets(tally), rule, dropped)


def ledger_tally(ledgers: Iterable[Ledger], published: int) -> Tally:
    """What subscribers of one publisher got and did not get of its ``published`` messages."""
    counts: Counter[str] = Counter()
    same: Counter[tuple[int, ...]] = Counter()
    displaced = 0
    for ledger in ledgers:
        counts["subscribers"] += 1
        counts["deliveries"] += ledger.received
        counts["lost"] += ledger.lost(published)
        counts["duplicates"] += ledger.duplicates
        counts["out_of_order"] += ledger.out_of_order
        counts["capped"] += ledger.capped
        displaced = max(displaced, ledger.displacement)
        same[tuple(sorted(ledger.missing(published)))] += 1
    lists = {"lost_sets": [[list(lost), number] for lost, number in same.items()]}
    return Tally(counts=dict(counts), peaks={"displaced": displaced}, lists=lists)


def lost_sets(tally: Tally) -> list[tuple[set[int], int]]:
    """Which messages were lost, and by how many subscribers exactly these."""
    return [(set(lost), number) for lost, number in tally.lists["lost_sets"]]


def ledger_rows(tally: Tally) -> list[Row]:
    """The figures of :func:`ledger_tally`: nothing lost, twice or out of order."""
    capped = tally.count("capped")
    note = f"{capped} subscribers lost more than is remembered of each: duplicates may be late" if capped else ""
    swapped = f"at most {tally.peaks.get('displaced', 0)} behind"
    return [
        told("deliveries", "deliveries", tally.count("deliveries")),
        must("lost", "lost", tally.count("lost"), 0, note),
        must("duplicates", "duplicate", tally.count("duplicates"), 0, note),
        must("out_of_order", "out of order", tally.count("out_of_order"), 0, swapped),
    ]


class FanoutUser(StayingUser):
    """Subscribes, and accounts for everything it should receive."""

    scenario: ClassVar[type[Scenario]] = Fanout

    def on_start(self) -> None:
        super().on_start()
        run = run_of(self.environment)
        self.stream("load/events", run.scenario.channel, on_event=run.scenario.receiver())
        run.ready()

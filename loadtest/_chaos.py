"""The scenario ``chaos``: rooms while one fault after the other is injected, with quiet times between them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

import gevent
from msgspec import Meta

from liverpc.contrib.locust.client import LiveClient
from liverpc.contrib.locust.histogram import Histogram
from liverpc.errors import AttachError, ConfigError, RpcError
from liverpc.inspector.protocol import ChaosRule
from loadtest._faults import (
    Fault,
    Noticed,
    Strike,
    fault_rows,
    lost_by,
    parse_faults,
    recovery_row,
    strike_rows,
    uninjected,
)
from loadtest._gate import must, told
from loadtest._result import Row
from loadtest._room_audit import Manner
from loadtest._run import Run
from loadtest._scenario import Operations, Scenario, Tally, drain
from loadtest._talk import KEPT, PLAIN, Guest, Kind, Talk, TalkKnobs, TalkUser, by_room

__all__ = ["Chaos", "ChaosUser"]

_BETWEEN_SECONDS = 0.05  # from what clients are told until it is so on the server
_LEASE_SECONDS = 30.0  # a fault outlives its time by that much at most, should this process be gone
_UNUSUAL_SECONDS = 0.1  # no delivery is unusual below
_END_SECONDS = 5.0
#: How a fault shows besides in latencies. Who seldom speaks shows the gaps of a drop when another one is over, too.
_SIGNS: Mapping[str, tuple[Manner, ...]] = {
    "drop": ("gap", "replayed"),
    "delay": ("replayed",),
    "duplicate": ("again",),
    "reorder": ("late", "replayed"),
}
_SLACK_SECONDS = 0.2  # for what is said to reach the server


class ChaosKnobs(TalkKnobs, frozen=True):
    """The options of the scenario."""

    topics: Annotated[int, Meta(ge=1, le=10_000, description="how many rooms there are")] = 10
    rooms_per_user: Annotated[int, Meta(ge=1, description="in how many of them each user is")] = 3
    faults: Annotated[
        str,
        Meta(
            description="ACTION=RATE[/SECONDS],... one after the other: drop, delay, duplicate, reorder; seconds of "
            "delay and reorder"
        ),
    ] = "drop=0.2,delay=0.1/0.2,duplicate=0.1,reorder=0.05"
    trouble: Annotated[float, Meta(gt=0, le=800, description="seconds that each fault lasts")] = 4.0
    calm: Annotated[float, Meta(gt=0, description="seconds before each fault, and after the last one")] = 2.0


class Speaker(Guest):
    """Also looks at the order of what it hears, and remembers how the server numbered what it said.

    Attributes:
        numbers: By room and number of what it said in plain rooms: its number in the group.
    """

    talk: Chaos

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.numbers: dict[tuple[str, int], int] = {}
        self._newest = -1

    def speak(self, due: float) -> None:
        if not self.talk.hushed:
            super().speak(due)

    def answered(self, room: str, number: int) -> Callable[[Any], object] | None:
        return partial(self.numbers.__setitem__, (room, number)) if self.kind is PLAIN else None

    def heard(self, row: Any, manner: Manner) -> None:
        super().heard(row, manner)
        # On one connection, everything in plain rooms comes in the order in which it was said.
        swapped = self.kind is PLAIN and row["k"] < self._newest and manner != "again"
        self._newest = max(self._newest, row["k"])
        self.talk.watch(self.kind, row, manner, swapped=swapped)


class Chaos(Talk):
    """Half of the users are in plain rooms, where each fault must be noticed, half in such with replay, where none may.

    Attributes:
        faults: One after the other.
        hushed: Whether nobody says anything for the moment.
    """

    name = "chaos"
    needs = "chaos"
    defaults: ClassVar[Mapping[str, Any]] = {"users": 40}
    Knobs = ChaosKnobs
    kinds = (PLAIN, KEPT)
    guest_type = Speaker

    @classmethod
    def check(cls, knobs: Any) -> None:
        super().check(knobs)
        try:
            parse_faults(knobs.faults)
        except ValueError as error:
            raise ConfigError(f"--faults {error}") from None

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.faults = parse_faults(self.knobs.faults)
        self._last_words = {
            kind: Operations(run, kind.say, f"last_{kind.name}", name=f"{kind.say} last") for kind in self.kinds
        }
        self.hushed = False
        self._phase = 0  # the number of the last fault that was armed, from 1
        self._armed = False
        self._cleared = 0.0  # when, on this process's clock; 0.0 while it is armed
        self._usual = Histogram()  # before the first fault
        self._unusual_after = 0.0
        self._noticed: Counter[str] = Counter()
        self._recovered: dict[str, float] = {}
        self._strikes: dict[str, list[Strike]] = {kind.name: [] for kind in self.kinds}  # in the leading process
        self._asker: LiveClient | None = None  # likewise
        run.on_order("fault", self._begin_fault)
        run.on_order("hush", self._hush)
        run.on_order("calm", self._end_fault)

    # -- for speakers

    def watch(self, kind: Kind, row: Any, manner: Manner, *, swapped: bool) -> None:
        """Something came to one of them."""
        run, phase = self.run, self._phase
        now = run.now()
        where = f"{phase} {kind.name}"
        if manner:
            self._noticed[f"{where} {manner}"] += 1
        if swapped:
            self._noticed[f"{where} swapped"] += 1
        if not phase:
            self._usual.add(now - row["due"])
            return
        fault = self.faults[phase - 1]
        if fault.action == "delay" and now - row["ts"] >= fault.seconds:
            self._noticed[f"{where} felt"] += 1
        unusual = swapped or manner in _SIGNS[fault.action] or now - row["due"] > self._unusual_after
        if self._cleared and unusual:
            self._recovered[where] = time.perf_counter() - self._cleared

    def _begin_fault(self, phase: int) -> None:
        if phase == 1:
            self._unusual_after = max(_UNUSUAL_SECONDS, 3 * self._usual.percentile(0.99))
        self._phase, self._armed, self._cleared = phase, True, 0.0

    def _hush(self, _: Any) -> None:
        self.hushed = True

    def _end_fault(self, _: Any) -> None:
        self._armed, self.hushed, self._cleared = False, False, time.perf_counter()

    # -- in the leading process

    def begin(self) -> None:
        self._asker = LiveClient(self.run.url)
        self._asker.open()

    def lead(self) -> None:
        run, lead = self.run, self.run.lead
        for phase, fault in enumerate(self.faults, 1):
            if not run.pause(self.knobs.calm):
                return
            lead.order("fault", phase)
            try:
                self._inject(fault)
            except (AttachError, RpcError) as error:
                run.broken(str(error))
                lead.finish()
                return
            finally:
                lead.order("calm")
        if run.pause(self.knobs.calm):
            lead.finish()

    def _inject(self, fault: Fault) -> None:
        run, attachment = self.run, self.run.lead.attachment
        gevent.sleep(_BETWEEN_SECONDS)
        if run.stopping:
            return
        armed: list[tuple[Kind, int, ChaosRule, tuple[int, int]]] = []
        for kind in self.kinds:
            rule = ChaosRule(
                action=fault.action,
                rate=fault.rate,
                topic=f"{kind.topic}{kind.group(run)}-*",
                event="created",
                seed=f"{run.options.seed}/{fault.name}/{kind.name}",
                seconds=fault.seconds,
            )
            before = self._said(kind)
            number = attachment.arm(rule, ttl=self.knobs.trouble + _LEASE_SECONDS)
            armed.append((kind, number, rule, (before, self._said(kind))))
        run.lead.say(f"fault: {fault}")
        run.pause(self.knobs.trouble)
        if fault.action == "delay":  # what it holds at its end it lets go at once, which nobody would notice
            run.lead.order("hush")
            gevent.sleep(fault.seconds + _SLACK_SECONDS)
        for kind, number, rule, first in armed:
            end = self._said(kind)
            over = attachment.clear(number)
            seen, hits = (over.seen, over.hits) if over is not None else (0, None)
            self._strikes[kind.name].append(Strike(fault, rule.seed, hits, seen, first, end))
        run.lead.say(f"end of {fault.name}")

    def _said(self, kind: Kind) -> int:
        """How much was said in such rooms so far."""
        assert self._asker is not None
        number: int = self._asker.call("load/said", kind.group(self.run))
        return number

    def close(self) -> None:
        if self._asker is not None:
            self._asker.close()

    # -- the end

    def settle(self) -> dict[str, int]:
        drain(lambda: not self._armed, _END_SECONDS)
        # Everybody has a last word everywhere: a message that was lost is noticed when the next one comes.
        for guest, room, _ in self.stays():
            guest.say(room, time.perf_counter(), self._last_words)
        drain(lambda: not any(each.pending for each in self._last_words.values()))
        return super().settle()

    def count(self, published: Mapping[str, int]) -> Tally:
        tally = super().count(published)
        said = by_room(published, "said")
        for kind in self.kinds:
            tally.add(_prefixed(kind.name, self.account(said, [each for each in self.guests if each.kind is kind])))
        for operations in self._last_words.values():
            tally.add(operations.tally())
        counts: Counter[str] = Counter(self._noticed)
        counts["resyncs"] = sum(each.client.core.streams.counters.resyncs for each in self.guests)
        lost: Counter[tuple[str, str, int]] = Counter()
        numbers: list[int] = []
        for guest, room, stay in self.stays():
            if not isinstance(guest, Speaker) or guest.kind is not PLAIN:
                continue
            counts[f"members {room}"] += 1
            for who, number in said.get(room, {}).items():
                missing = stay.missing(who, number)
                lost.update((room, who, each) for each in missing)
                if who == guest.name:
                    numbers += [guest.numbers.get((room, each), -1) for each in missing]
        lists: dict[str, list[Any]] = {"lost": [[*key, number] for key, number in lost.items()], "numbers": numbers}
        tally.add(Tally(counts=dict(counts), peaks=dict(self._recovered), lists=lists))
        return tally

    def rows(self, tally: Tally) -> list[Row]:
        plain, kept = self._strikes[PLAIN.name], self._strikes[KEPT.name]
        noticed = [self._noticed_by(tally, phase, PLAIN) for phase in range(1, len(plain) + 1)]
        lost, by_subscribers = set(tally.lists["numbers"]), lost_by(map(tuple, tally.lists["lost"]))
        members = {
            name.removeprefix("members "): int(n) for name, n in tally.counts.items() if name.startswith("members ")
        }
        if not plain:
            self.run.broken("the run ended before the first fault")
        for strike in (*plain, *kept):
            if strike.hits == 0:
                self.run.broken(f"{strike.fault.name} struck nothing: make --rate or --trouble larger")
        rows = [*self.said_rows(tally), told("faults", "faults", len(plain))]
        rows += [
            must(f"last_{kind.name}_failed", f"last words in {kind.name} rooms: failed", failed, 0)
            for kind in self.kinds
            for failed in (tally.count(f"last_{kind.name}_failed") + tally.count(f"last_{kind.name}_unanswered"),)
        ]
        for phase, (strike, healed, each) in enumerate(zip(plain, kept, noticed, strict=True), 1):
            rows += fault_rows(strike, each, lost)
            rows += strike_rows(healed, KEPT.name)
            rows += [
                recovery_row(strike.fault, kind.name, self._noticed_by(tally, phase, kind).recovered)
                for kind in self.kinds
            ]
        some = sum(number != members.get(room, 0) for (room, _, _), number in by_subscribers.items())
        rows.append(must("lost_by_some", "lost by some of the room only", some, 0))
        before = self._noticed_by(tally, 0, PLAIN)
        rows += [
            must(f"uninjected_{what.replace(' ', '_')}", f"{what}, and not injected", number, 0)
            for what, number in uninjected(plain, noticed, lost, before).items()
        ]
        rows += [
            must(f"kept_{key}", f"with replay: {what}", tally.count(f"kept {key}"), 0)
            for key, what in (
                ("lost", "lost"),
                ("duplicates", "duplicate"),
                ("out_of_order", "out of order"),
                ("resets", "values loaded anew"),
            )
        ]
        return [
            *rows,
            told("kept_replayed", "with replay: messages asked for", tally.count("kept replayed")),
            told("resyncs", "with replay: times that clients asked", tally.count("resyncs")),
            *self.value_rows(tally),
        ]

    def _noticed_by(self, tally: Tally, phase: int, kind: Kind) -> Noticed:
        where = f"{phase} {kind.name}"
        again, swapped, felt = (int(tally.count(f"{where} {what}")) for what in ("again", "swapped", "felt"))
        return Noticed(again, swapped, felt, tally.peaks.get(where))


def _prefixed(prefix: str, tally: Tally) -> Tally:
    return Tally(counts={f"{prefix} {name}": number for name, number in tally.counts.items()})


class ChaosUser(TalkUser):
    """See :class:`Chaos`."""

    scenario: ClassVar[type[Scenario]] = Chaos

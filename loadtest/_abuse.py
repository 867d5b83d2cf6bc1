"""The scenario ``abuse``: clients that follow no rules, beside healthy ones that must not notice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, cycle
from typing import Annotated, Any, ClassVar

import gevent
import msgspec
from locust import task

from liverpc.contrib.locust.users import LiveUser
from loadtest._attackers import KINDS, Attack, Ending, attacks, load
from loadtest._disturbed import Disturbed, Quiet
from loadtest._gate import must, told
from loadtest._peer import Aim
from loadtest._phases import p99_rows
from loadtest._result import Row
from loadtest._run import Run, run_of
from loadtest._scenario import FOREVER, Operations, Scenario, Tally, drain, operation_rows

__all__ = ["Abuse", "AbuseKnobs", "AbuseUser"]

_EXAMPLES = 100  # wrong endings named in the report
_FADE_SECONDS = 1.0  # before the end of the attack, in which nobody begins another one; at most a quarter of it
_REST_SECONDS = 0.25  # of an attacker between two attacks: more would be a test of the load generator


class AbuseKnobs(msgspec.Struct, frozen=True):
    """The options of the scenario."""

    kind: Annotated[
        str, msgspec.Meta(description=f"of attackers: all, {', '.join(KINDS)}", pattern=f"^(all|{'|'.join(KINDS)})$")
    ] = "all"
    attackers: Annotated[int, msgspec.Meta(description="at the same time", ge=1, le=10_000)] = 20
    quiet: Quiet = 5.0


class Abuse(Disturbed):
    """Users call and listen on schedule; attackers, in the leading process, come in the middle part of the run."""

    name = "abuse"
    headline = "RPC load/echo under"
    Knobs = AbuseKnobs
    settle_seconds = 30.0

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.calls = Operations(run, "load/echo", "calls", also=lambda due: f"load/echo {self.part(due - run.start)}")
        self._attackers: Any = None
        self._again: dict[str, float] = {}  # kinds that are not to be tried before
        self._endings: dict[str, Counter[str]] = {}
        self._slowest: dict[str, float] = {}
        self._wrong: list[dict[str, Any]] = []
        self._wrong_endings = 0

    # -- the leading process

    def begin(self) -> None:
        load(self.limits)
        super().begin()

    def lead(self) -> None:
        self._attackers = self.run.spawn(self._attack)
        super().lead()

    def _attack(self) -> None:
        if not self.run.pause(self.phases.begin - self.run.lead.at):
            return
        self.run.lead.say("attack begins")
        kinds = attacks(self.limits)
        chosen = list(kinds.values()) if self.knobs.kind == "all" else [kinds[self.knobs.kind]]
        attackers = [gevent.spawn(self._attack_on, chosen, number) for number in range(self.knobs.attackers)]
        try:
            gevent.joinall(attackers, raise_error=True)
        finally:
            gevent.killall(attackers)
        self.run.lead.say("attack is over")

    def _attack_on(self, kinds: Sequence[Attack], number: int) -> None:
        """One attacker after the other, until the time is over."""
        aim, lead = Aim(self.run.url, self.limits), self.run.lead
        rng = random.Random(f"{self.run.options.seed}/{number}")
        end = self.phases.end - min(_FADE_SECONDS, (self.phases.end - self.phases.begin) / 4)
        first = kinds[number % len(kinds)]  # enough attackers try everything
        for attack in chain([first], cycle(rng.sample(kinds, len(kinds)))):
            left = end - lead.at
            if left <= 0 or self.run.stopping:
                return
            rests = len(kinds) > 1 and lead.at < self._again.get(attack.kind, 0.0)
            if attack.soonest < left and not rests:
                self._again[attack.kind] = lead.at + attack.rest
                self._ended(attack, attack.run(aim, rng))
            gevent.sleep(_REST_SECONDS)

    def _ended(self, attack: Attack, ending: Ending) -> None:
        self._endings.setdefault(attack.kind, Counter())[ending.how] += 1
        self._slowest[attack.kind] = max(ending.seconds, self._slowest.get(attack.kind, 0.0))
        if ending.right:
            return
        self._wrong_endings += 1
        if len(self._wrong) < _EXAMPLES:
            example = {"kind": attack.kind, "at": round(self.run.lead.at, 3), "promised": attack.promise}
            self._wrong.append(example | msgspec.to_builtins(ending))

    def rows(self, tally: Tally) -> list[Row]:
        lead, number = self.run.lead, sum(ends.total() for ends in self._endings.values())
        if not number:
            self.run.broken(f"nobody attacked: {self.knobs.kind} takes longer than the middle part of the run")
        lead.details |= {"attacks": self._endings, "wrong_endings": self._wrong}
        what = ", ".join([*dict.fromkeys(f"{each['kind']}: {each['how']}" for each in self._wrong)][:3])
        return [
            told("attacks", "attacks", number),
            told("right_endings", "attacks: ended as promised", number - self._wrong_endings),
            must("wrong_endings", "attacks: ended otherwise", self._wrong_endings, 0, what),
            *(
                told(f"{kind}_s", f"{kind}: {_listed(ends)}; at most", self._slowest[kind], "s", better="less")
                for kind, ends in self._endings.items()
            ),
            *operation_rows(tally, "calls", "healthy calls", self.run.options.rate),
            *super().rows(tally),
            *p99_rows(lead.totals, {"calls": ("RPC", "load/echo"), "deliveries": ("PUB", "deliver")}),
            *self.left_over(),
            *self.memory(),
        ]

    # -- every process

    def settle(self) -> dict[str, int]:
        if self._attackers is not None:
            self._attackers.join()  # each of them has its own patience
        drain(lambda: not self.calls.pending)
        return super().settle()

    def count(self, published: Mapping[str, int]) -> Tally:
        tally = super().count(published)
        tally.add(self.calls.tally())
        return tally


def _listed(ends: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {how}" for how, number in ends.items())


class AbuseUser(LiveUser):
    """A healthy one: it listens, and calls when it is due."""

    wait_time = FOREVER
    scenario: ClassVar[type[Scenario]] = Abuse

    def on_start(self) -> None:
        super().on_start()
        run = run_of(self.environment)
        self.number = run.next_user()
        self.stream("load/events", run.scenario.channel, on_event=run.scenario.receiver())
        run.ready()

    @task  # type: ignore[untyped-decorator]  # Locust has no types
    def calls(self) -> None:
        run = run_of(self.environment)
        value = "x" * run.options.size
        for due in run.when_due(run.times_of(self.number)):
            run.scenario.calls.send(self.client, due, value)

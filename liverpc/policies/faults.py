"""Faults injected on purpose: what they are, whom they strike, and what ends them.

The same seed and the same events, the same faults, here and in svelte-realtime's test harness: both hash the seed
string as ``h * 31 + unit`` over UTF-16 units in 32 bits and draw from the same small generator. What a fault does
where it strikes stands in :mod:`.faults_gate` and :mod:`.faults_injector`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256

from liverpc.errors import ConfigError
from liverpc.hub.connection import Connection
from liverpc.policies.faults_wish import Fault, Place
from liverpc.wire.names import glob

__all__ = ["Chance", "Fault", "FaultRule", "FaultRules", "draws"]

MAX_RULES = 32  # each is asked about each publish
_MASK = 0xFFFFFFFF


def draws(seed: str) -> Iterator[float]:
    """Numbers in [0, 1) that depend on ``seed`` alone."""
    units = seed.encode("utf-16-le", "surrogatepass")
    state = 0
    for i in range(0, len(units), 2):
        state = (state * 31 + int.from_bytes(units[i : i + 2], "little")) & _MASK
    while True:
        state = (state + 0x6D2B79F5) & _MASK
        mixed = ((state ^ (state >> 15)) * (1 | state)) & _MASK
        mixed ^= (mixed + (((mixed ^ (mixed >> 7)) * (61 | mixed)) & _MASK)) & _MASK
        yield ((mixed ^ (mixed >> 14)) & _MASK) / 4294967296


class Chance:
    """Decides for one fault which of the things that match it it strikes, and whom it is for.

    Attributes:
        seen, hits: Things that matched, and those of them that were struck.
    """

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.seen = 0
        self.hits = 0
        self._topic, self._event, self._path = glob(fault.topic), glob(fault.event), glob(fault.path)
        self._draws = draws(fault.seed)

    @property
    def exhausted(self) -> bool:
        """Whether it has struck as often as it may."""
        return 0 < self.fault.limit <= self.hits

    def on(self, topic: str, event: str | None = None) -> bool:
        """Whether events on a topic, or one of a name, match."""
        return self._topic(topic) and (event is None or self.fault.event == "*" or self._event(event))

    def of(self, path: str) -> bool:
        """Whether calls of a path match."""
        return self._path(path)

    def targets(self, connection: Connection) -> bool:
        """Whether a connection may suffer."""
        fault = self.fault
        if (fault.connection and fault.connection != connection.id) or (
            fault.user and fault.user != connection.user_id
        ):
            return False
        return fault.share == 1 or _position(connection.id) < fault.share

    def listens(self, connection: Connection) -> bool:
        """Whether it is on a topic that matches, or all are meant."""
        return self.fault.topic == "*" or any(
            self._topic(each.topic.wire) for each in connection.subscriptions.values()
        )

    def draw(self) -> float | None:
        """One more that matches: None, or when it is struck a number in [0, 1) for what is left to chance then."""
        self.seen += 1
        rate = self.fault.rate
        if self.fault.action == "partition":
            self.hits += 1
            return 0.0
        drawn = next(self._draws)
        if drawn >= rate:
            return None
        self.hits += 1
        return drawn / rate


def _position(connection: str) -> float:
    return int.from_bytes(sha256(connection.encode()).digest()[:8], "big") / 2**64


class FaultRule(Chance):
    """A fault in force.

    Attributes:
        expires_at: Monotonic seconds.
        owner: Who holds the lease; None when it needs no owner.
        by: Its name.
        over: It is in force no more.
        lasting: Strikes that are not over yet, of a fault whose strikes last.
    """

    def __init__(self, number: int, fault: Fault, *, expires_at: float, owner: object, by: str) -> None:
        super().__init__(fault)
        self.number = number
        self.expires_at = expires_at
        self.owner = owner
        self.by = by
        self.over = False
        self.lasting = 0
        self.place = fault.place

    @property
    def name(self) -> str:
        """As events carry it that it befell."""
        return f"{self.fault.action}#{self.number}"


class FaultRules:
    """The faults of one server, in order of arming; at each place the first that matches decides.

    Args:
        monotonic: For expiry. An expired rule never acts again, whether or not anybody collected it.
        changed: Called after each change, with what happened, for people.

    Attributes:
        rules: Those in force.
        ended: The last that are over.
    """

    def __init__(self, monotonic: Callable[[], float], changed: Callable[[str], None]) -> None:
        self.rules: list[FaultRule] = []
        self.ended: deque[FaultRule] = deque(maxlen=MAX_RULES)
        self._monotonic = monotonic
        self._changed = changed
        self._numbers = 0

    def at(self, place: Place) -> list[FaultRule]:
        """Those that strike there."""
        return [rule for rule in self.rules if rule.place == place]

    def named(self, name: str) -> FaultRule | None:
        """The rule of a name; None: there was none, or it ended long ago."""
        return next((rule for rule in (*self.rules, *self.ended) if rule.name == name), None)

    def drops(self, topic: str, event: str) -> str:
        """What loses a publish on ``topic``; empty: nothing does."""
        struck = self.strike(rule for rule in self.at("publish") if rule.on(topic, event))
        return "" if struck is None else struck[0].name

    def strike(self, matching: Iterable[FaultRule]) -> tuple[FaultRule, float] | None:
        """Let the first rule in force decide; the rule, when it strikes, with the number that it drew."""
        for rule in matching:
            if rule.over or rule.exhausted:
                continue
            if self._monotonic() >= rule.expires_at:
                self.expire()
                continue
            drawn = rule.draw()
            if drawn is None:
                return None
            if not rule.fault.lasts:
                self.settle(rule)
            return rule, drawn
        return None

    def arm(self, fault: Fault, *, ttl: float = math.inf, owner: object = None, by: str = "") -> FaultRule:
        """Put a fault in force for ``ttl`` seconds.

        Raises:
            ConfigError: The fault makes no sense, or there are 32 already.
        """
        fault.check()
        if len(self.rules) >= MAX_RULES:
            raise ConfigError(f"{MAX_RULES} faults are in force, the limit; end one first")
        if not ttl > 0:
            raise ConfigError(f"a fault lives for more than 0 seconds, not {ttl!r}")
        self._numbers += 1
        rule = FaultRule(self._numbers, fault, expires_at=self._monotonic() + ttl, owner=owner, by=by)
        self.rules = [*self.rules, rule]
        self._changed(f"fault {rule.number} armed by {by or 'a test'}: {fault}")
        return rule

    def renew(self, number: int, ttl: float) -> bool:
        """Let a rule live ``ttl`` seconds from now; False when there is none."""
        for rule in self.rules:
            if rule.number == number:
                rule.expires_at = self._monotonic() + ttl
                self._changed(f"fault {number} renewed for {ttl:g} s")
                return True
        return False

    def clear(self, number: int = 0, *, by: str = "") -> int:
        """Remove one rule, or all with 0; returns how many there were."""
        gone = [rule for rule in self.rules if number in (0, rule.number)]
        self._end(gone, f"removed{f' by {by}' if by else ''}")
        return len(gone)

    def settle(self, rule: FaultRule) -> None:
        """Remove a rule that will not strike again, and whose strikes are over."""
        if rule.exhausted and not (rule.over or rule.lasting):
            self.end(rule, f"struck {rule.hits} times, its limit")

    def end(self, rule: FaultRule, why: str) -> None:
        """Remove a rule that has done its work. Harmless when it is gone."""
        self._end([] if rule.over else [rule], f"ended: {why}")

    def expire(self) -> None:
        """Remove the rules whose time is over."""
        now = self._monotonic()
        self._end([rule for rule in self.rules if now >= rule.expires_at], "ended: time is over")

    def orphaned(self, owner: object) -> None:
        """Remove the rules of an owner who is gone."""
        self._end([rule for rule in self.rules if rule.owner is owner], "removed: the owner is gone")

    def _end(self, gone: list[FaultRule], why: str) -> None:
        if gone:
            for rule in gone:
                rule.over = True
                rule.owner = None  # it is remembered longer than its owner is there
            self.ended += gone
            self.rules = [rule for rule in self.rules if not rule.over]
            self._changed(f"fault {', '.join(str(rule.number) for rule in gone)} {why}")

"""Faults injected on purpose, decided per publish by a seeded generator.

The same seed drops the same publishes, here and in svelte-realtime's test harness: both hash the seed
string as ``h * 31 + unit`` over UTF-16 units in 32 bits and draw from the same small generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from liverpc.errors import ConfigError

__all__ = ["FaultRule", "FaultRules", "draws", "glob"]

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


def glob(pattern: str) -> Callable[[str], bool]:
    """A test for names in which ``*`` stands for any run of characters, and everything else for itself.

    Its time is linear in the name, whatever the pattern: patterns come from observers.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return pattern.__eq__
    *middle, last = rest

    def matches(name: str) -> bool:
        at, end = len(first), len(name) - len(last)
        if at > end or not name.startswith(first) or not name.endswith(last):
            return False
        for part in middle:
            at = name.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True

    return matches


class FaultRule:
    """One fault in force: publishes on matching topics are dropped with probability ``rate``.

    Attributes:
        seen, hits: Publishes that matched, and those of them that were dropped.
        limit: Ends after that many hits; 0: no limit.
        expires_at: Monotonic seconds.
        owner: Who holds the lease; None when it needs no owner.
    """

    def __init__(
        self,
        number: int,
        *,
        rate: float,
        topic: str,
        seed: str,
        limit: int = 0,
        expires_at: float = math.inf,
        owner: object = None,
        by: str = "",
    ) -> None:
        if not 0 <= rate <= 1:  # false for NaN, too
            raise ConfigError(f"a drop rate is a number from 0 to 1, not {rate!r}")
        if not topic:
            raise ConfigError("a fault needs a topic glob, such as 'board:*' or '*'")
        if limit < 0:
            raise ConfigError(f"a hit limit is 0 (none) or more, not {limit}")
        self.number = number
        self.rate = float(rate)
        self.topic = topic
        self.seed = seed
        self.limit = limit
        self.expires_at = expires_at
        self.owner = owner
        self.by = by
        self.seen = 0
        self.hits = 0
        self.matches = glob(topic)
        self._draws = draws(seed)

    def drops(self) -> bool:
        """Decide about one publish."""
        self.seen += 1
        if next(self._draws) < self.rate:
            self.hits += 1
            return True
        return False


class FaultRules:
    """The faults of one server, in order of arming; the first that matches a topic decides.

    Args:
        monotonic: For expiry. An expired rule never acts again, whether or not anybody collected it.
        changed: Called after each change, with what happened, for people.
    """

    def __init__(self, monotonic: Callable[[], float], changed: Callable[[str], None]) -> None:
        self.rules: list[FaultRule] = []
        self._monotonic = monotonic
        self._changed = changed
        self._numbers = 0

    def drops(self, topic: str) -> bool:
        """Whether a publish on ``topic`` is lost (``hub.FaultGate``)."""
        for rule in self.rules:
            if rule.matches(topic):
                if self._monotonic() >= rule.expires_at:
                    self.expire()
                    return self.drops(topic)
                dropped = rule.drops()
                if dropped and rule.hits == rule.limit:
                    self._end([rule], f"fault {rule.number} ended: {rule.limit} publishes dropped, its limit")
                return dropped
        return False

    def arm(
        self,
        *,
        rate: float,
        topic: str,
        seed: str,
        ttl: float = math.inf,
        limit: int = 0,
        owner: object = None,
        by: str = "",
    ) -> FaultRule:
        """Put a rule in force for ``ttl`` seconds.

        Raises:
            ConfigError: The rule makes no sense, or there are 32 already.
        """
        if len(self.rules) >= MAX_RULES:
            raise ConfigError(f"{MAX_RULES} faults are in force, the limit; end one first")
        if not ttl > 0:
            raise ConfigError(f"a fault lives for more than 0 seconds, not {ttl!r}")
        self._numbers += 1
        expires_at = self._monotonic() + ttl
        rule = FaultRule(
            self._numbers,
            rate=rate,
            topic=topic,
            seed=seed,
            limit=limit,
            expires_at=expires_at,
            owner=owner,
            by=by,
        )
        self.rules.append(rule)
        self._changed(f"fault {rule.number} armed by {by or 'a test'}: drop {rate:.0%} of {topic}, seed {seed!r}")
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
        self._end(gone, f"{_faults(gone)} removed{f' by {by}' if by else ''}")
        return len(gone)

    def expire(self) -> None:
        """Remove the rules whose time is over."""
        now = self._monotonic()
        gone = [rule for rule in self.rules if now >= rule.expires_at]
        self._end(gone, f"{_faults(gone)} ended: time is over")

    def orphaned(self, owner: object) -> None:
        """Remove the rules of an owner who is gone."""
        gone = [rule for rule in self.rules if rule.owner is owner]
        self._end(gone, f"{_faults(gone)} removed: the owner is gone")

    def _end(self, gone: list[FaultRule], text: str) -> None:
        if gone:
            self.rules = [rule for rule in self.rules if rule not in gone]
            self._changed(text)


def _faults(rules: list[FaultRule]) -> str:
    return "fault " + ", ".join(str(rule.number) for rule in rules)

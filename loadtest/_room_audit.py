"""Who goes to which room, what must be heard there, and who must be seen."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import accumulate
from typing import Any, Literal, TypeAlias

from liverpc.contrib.locust.histogram import Histogram
from liverpc.contrib.locust.ledger import Ledger

__all__ = ["Arrivals", "Cursors", "Manner", "Roster", "Stay", "Zipf", "converged"]

_TRIES = 20
_ARRIVALS_MAX = 50_000  # remembered, in each process

Manner: TypeAlias = Literal["", "gap", "late", "again", "replayed"]
"""How something came: in its turn, after others that are missing, after later ones, once more, or when asked for."""


class Zipf:
    """Chooses numbers from 0 on, the first ones most often: the one at ``i`` with the weight ``1 / (i + 1) ** s``.

    Args:
        number: How many there are.
        s: 0: all are equal.
    """

    def __init__(self, number: int, s: float) -> None:
        self._sums = list(accumulate((i + 1) ** -s for i in range(number)))

    def choose(self, rng: random.Random, without: Collection[int] = ()) -> int:
        """One of them, but none of these, which must not be all; where they are nearly all, any other one."""
        sums = self._sums
        for _ in range(_TRIES):
            number = bisect(sums, rng.random() * sums[-1], hi=len(sums) - 1)
            if number not in without:
                return number
        return rng.choice([number for number in range(len(sums)) if number not in without])


class Stay:
    """One subscriber in one room: a ledger for each who speaks there. Pass it as ``observer=`` when you subscribe.

    Whoever comes gets what each said last, with its number: so for each speaker it is known from which number on
    everything must come. Speakers who are not in there begin at 0. Whoever leaves asks how much each has said by
    then; the answer comes behind everything that was said before.

    Args:
        heard: Told each row and how it came.

    Attributes:
        resets: Whole values after the first one: what was missed before is not known.
        replayed: Rows that came when they were asked for.
    """

    def __init__(self, heard: Callable[[Any, Manner], object]) -> None:
        self._heard = heard
        self._ledgers: dict[str, Ledger] | None = None
        self._begins: dict[str, int] = {}
        self.resets = 0
        self.replayed = 0

    # -- what the stream tells

    def whole(self, value: Any, /) -> None:
        """The server sent the whole value."""
        if self._ledgers is not None:
            self.resets += 1
            return  # what was missed counts as lost
        self._ledgers = {}
        for row in value:
            self._begin(row["id"], row["n"] + 1)

    def missed(self, data: list[Any], /) -> None:
        """The server sent what was missed."""
        self.replayed += len(data)
        for row in data:
            self._ledger(row["id"]).add(row["n"])
            self._heard(row, "replayed")

    def event(self, data: Any, /) -> None:
        """An event came."""
        number = data["n"]
        ledger = self._ledger(data["id"])
        expected, duplicates = ledger.next, ledger.duplicates
        ledger.add(number)
        if number == expected:
            self._heard(data, "")
        else:
            self._heard(data, "gap" if number > expected else "again" if ledger.duplicates > duplicates else "late")

    def _ledger(self, speaker: str) -> Ledger:
        assert self._ledgers is not None, "a stream begins with a whole value"
        return self._ledgers.get(speaker) or self._begin(speaker, 0)

    def _begin(self, speaker: str, number: int) -> Ledger:
        assert self._ledgers is not None
        ledger = self._ledgers[speaker] = Ledger()
        ledger.next = self._begins[speaker] = number
        return ledger

    # -- what is to be said

    def lost(self, said: Mapping[str, int]) -> int:
        """How much of what was said is missing; ``said`` is how much each has said in the room altogether."""
        ledgers = self._ledgers or {}
        return sum(ledgers[who].lost(number) if who in ledgers else number for who, number in said.items())

    def behind(self, said: Mapping[str, int]) -> bool:
        """Whether somebody's last message has not come."""
        ledgers = self._ledgers or {}
        return any(number > (ledgers[who].next if who in ledgers else 0) for who, number in said.items())

    def missing(self, who: str, said: int) -> set[int]:
        """Which numbers of one speaker."""
        ledger = (self._ledgers or {}).get(who)
        return set(range(said)) if ledger is None else ledger.missing(said)

    def counts(self, said: Mapping[str, int]) -> dict[str, int]:
        """What came of it, as ``ledger_rows`` has it; and how much was expected."""
        ledgers = self._ledgers or {}
        expected = 0
        for who in {*said, *ledgers}:
            reached = ledgers[who].next if who in ledgers else 0
            expected += max(said.get(who, 0), reached) - self._begins.get(who, 0)
        return {
            "subscribers": 1,
            "expected": expected,
            "deliveries": sum(each.received for each in ledgers.values()),
            "lost": self.lost({**{who: ledger.next for who, ledger in ledgers.items()}, **said}),
            "duplicates": sum(each.duplicates for each in ledgers.values()),
            "out_of_order": sum(each.out_of_order for each in ledgers.values()),
            "capped": sum(each.capped for each in ledgers.values()),
            "resets": self.resets,
            "replayed": self.replayed,
        }

    @property
    def displaced(self) -> int:
        """How far behind a later one the latest was."""
        return max((each.displacement for each in (self._ledgers or {}).values()), default=0)


class Roster:
    """Who is in a room, as one subscriber of its presence sees it; an ``observer=``.

    Args:
        came: Told the key of somebody who came, and when that was by what is shown of him.

    Attributes:
        keys: Of those who are there.
    """

    def __init__(self, came: Callable[[str, float], object]) -> None:
        self._came = came
        self.keys: set[str] = set()

    def whole(self, value: Any, /) -> None:
        """The whole list."""
        self.keys = {row["key"] for row in value}

    def missed(self, data: list[Any], /) -> None:
        """Never told: presence has no replay."""

    def event(self, data: Any, /) -> None:
        """Somebody came, or left."""
        if "data" in data:
            self.keys.add(data["key"])
            self._came(data["key"], data["data"]["at"])
        else:
            self.keys.discard(data["key"])


class Cursors:
    """Where the cursors in a room are, as one subscriber sees it; an ``observer=``. Positions are numbered by movers.

    Args:
        moved: Told when the position that came was taken.

    Attributes:
        last: By mover the number of its last position, and when that was taken.
        received: Positions.
        skipped: Positions that never came, since later ones took their place.
        back: Positions that came after later ones.
    """

    def __init__(self, moved: Callable[[float], object]) -> None:
        self._moved = moved
        self.last: dict[str, tuple[int, float]] = {}
        self.received = 0
        self.skipped = 0
        self.back = 0

    def whole(self, value: Any, /) -> None:
        """All of them."""
        self.last = {row["key"]: (row["n"], row["at"]) for row in value}

    def missed(self, data: list[Any], /) -> None:
        """Never told: cursors have no replay."""

    def event(self, data: Any, /) -> None:
        """One was moved, or removed."""
        key = data["key"]
        if "n" not in data:
            self.last.pop(key, None)
            return
        number, at = data["n"], data["at"]
        before = self.last.get(key)
        if before is not None and number <= before[0]:
            self.back += number < before[0]  # the same: it was known before it was its turn to be sent
            return
        self.received += 1
        if before is not None:
            self.skipped += number - before[0] - 1
        self.last[key] = (number, at)
        self._moved(at)

    @property
    def numbers(self) -> dict[str, int]:
        """Of the last positions."""
        return {key: number for key, (number, _) in self.last.items()}


class Arrivals:
    """When those who came somewhere were seen, by the others of one process.

    Attributes:
        forgotten: How many are not in there, for want of room.
    """

    def __init__(self, most: int = _ARRIVALS_MAX) -> None:
        self._most = most
        self._latest: dict[tuple[str, float], float] = {}
        self.forgotten = 0

    def seen(self, who: str, at: float, seconds: float) -> None:
        """One more saw that somebody came ``at`` that moment, so much later."""
        key = (who, at)
        before = self._latest.get(key)
        if before is None and len(self._latest) == self._most:
            self.forgotten += 1
        elif before is None or seconds > before:
            self._latest[key] = seconds

    def told(self) -> list[list[Any]]:
        """For the others' :func:`converged`."""
        return [[*key, seconds] for key, seconds in self._latest.items()]


def converged(told: Iterable[list[Any]]) -> Histogram:
    """How long it took each who came until all others had seen it; of what all processes told."""
    latest: dict[tuple[str, float], float] = {}
    for who, at, seconds in told:
        latest[who, at] = max(seconds, latest.get((who, at), 0.0))
    histogram = Histogram()
    for seconds in latest.values():
        histogram.add(seconds)
    return histogram

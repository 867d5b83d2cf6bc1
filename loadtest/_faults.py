"""Injected faults: which there are, what the seed says they did, and whether that was noticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

import msgspec

from liverpc.inspector.protocol import ChaosRule
from liverpc.policies.faults import draws
from loadtest._gate import must, told
from loadtest._result import Row
from loadtest._words import Chaos

__all__ = [
    "Fault",
    "Noticed",
    "Strike",
    "agreement",
    "fault_rows",
    "losses",
    "lost_by",
    "parse_faults",
    "predicted",
    "recovery_row",
    "strike_rows",
    "struck",
    "uninjected",
]

_SECONDS = {"delay": 0.2, "reorder": 1.0}  # unless given
_SECONDS_MAX = 3.0  # of which the end of a run can be kept waiting
_ACTIONS = ("drop", "delay", "duplicate", "reorder")
_EXAMPLES = 5


class Fault(msgspec.Struct, frozen=True):
    """What shall go wrong for a while."""

    name: str  #: of its figures: the action, with a number when it is not the first of its kind
    action: str
    rate: float
    seconds: float = 0.0  #: how long an event is late, or waits for another at most

    def __str__(self) -> str:
        return f"{self.action} {self.rate:g}" + (f", {self.seconds:g} s" if self.seconds else "")


class Strike(msgspec.Struct, frozen=True):
    """What a fault did to one kind of rooms, by the server's count."""

    fault: Fault
    seed: str
    hits: int | None  #: None: it was gone before its time
    seen: int
    first: tuple[int, int]  #: the first message it could have struck: from this to that one
    end: int  #: the number after the last message that was said before it ended, at least


class Noticed(msgspec.Struct, frozen=True):
    """What clients noticed from the moment a fault was armed until the next one was."""

    again: int  #: events that came once more
    swapped: int  #: events that came after later ones, on one connection
    felt: int  #: events that were as late as the fault makes them
    recovered: float | None  #: seconds after its end when the last thing was unusual; None: nothing was


def parse_faults(text: str) -> list[Fault]:
    """``drop=0.2,delay=0.1/0.3`` and the like: one fault after the other, with its rate and, behind a slash, seconds.

    Raises:
        ValueError: It is something else.
    """
    faults: list[Fault] = []
    for part in text.split(","):
        action, _, figures = part.partition("=")
        first, slash, second = figures.partition("/")
        try:
            rate, seconds = float(first), float(second) if slash else _SECONDS.get(action, 0.0)
        except ValueError:
            rate = seconds = -1.0
        if (
            action not in _ACTIONS
            or not 0 < rate <= 1
            or (slash and not (action in _SECONDS and 0 < seconds <= _SECONDS_MAX))
        ):
            raise ValueError(
                f"{part!r} is not like drop=0.2 or delay=0.1/0.3: {', '.join(_ACTIONS)}, a rate up to 1, and seconds "
                f"up to {_SECONDS_MAX:g} behind {' and '.join(_SECONDS)}"
            )
        number = sum(fault.action == action for fault in faults) + 1
        faults.append(Fault(action if number == 1 else f"{action}{number}", action, rate, seconds))
    return faults


def _struck(seed: str, rate: float, number: int) -> set[int]:
    """Which of so many events, from 0: there is one draw for each, in order."""
    return {n for n, draw in enumerate(islice(draws(seed), number)) if draw < rate}


def predicted(chaos: Chaos, publishes: int) -> set[int]:
    """The publishes that ``--chaos`` drops, of so many."""
    return _struck(chaos.seed, chaos.rate, publishes)


def agreement(
    chaos: Chaos, published: int, lost: Sequence[tuple[set[int], int]], rule: ChaosRule | None, dropped: int | None
) -> list[Row]:
    """The rows that compare the ledgers, the rule and the server's counters.

    Args:
        chaos: The fault as it was asked for.
        published: How many publishes were made.
        lost: Which publishes were lost, and by how many subscribers exactly these.
        rule: The fault at the end of the run; None when it was gone by then.
        dropped: Publishes the server counted as dropped on the topic; None when the topic was gone.
    """
    union = set().union(*(each for each, _ in lost))
    differing = sum(number for each, number in lost if each != union)
    rows = [
        told("fault", "fault", f"drop {chaos.rate:g} of {chaos.topic}, seed {chaos.seed}"),
        must("fault_subscribers_differ", "fault: subscribers that lost other publishes", differing, 0),
    ]
    if rule is None:
        why = "by somebody else, or its time was over"
        return [*rows, must("fault_state", "fault: state at the end", "removed", "in force", why)]
    others = "others publish on matching topics, or some failed"
    wanted = predicted(chaos, published)
    return [
        *rows,
        must("fault_seen", "fault: publishes it saw", rule.seen, published, others),
        must("fault_hits", "fault: its hits, and publishes lost", rule.hits, len(union)),
        must("fault_dropped", "fault: dropped by the server's count, and lost", dropped, len(union)),
        must(
            "fault_predicted", "fault: losses as the seed predicts", _differences(union - wanted, wanted - union), "all"
        ),
    ]


def struck(strike: Strike) -> set[int]:
    """Which of the events that it saw the fault struck, as the seed says; from 0."""
    return _struck(strike.seed, strike.fault.rate, strike.seen)


def losses(strike: Strike, lost: set[int]) -> tuple[set[int], set[int]]:
    """What the seed says was lost and was not, and what was lost besides in its time.

    When the fault was armed, others spoke: the first message that it saw is known but for a few, of which one makes
    everything agree.

    Args:
        strike: Of a fault that drops.
        lost: The messages nobody got, as they are numbered in the group of rooms.
    """
    wanted = struck(strike)
    best: tuple[set[int], set[int]] | None = None
    for first in range(strike.first[0], strike.first[1] + 1):
        there = {number for number in lost if first <= number < first + strike.seen}
        here = {first + number for number in wanted}
        if best is None or len(here ^ there) < len(best[0]) + len(best[1]):
            best = here - there, there - here
    assert best is not None
    return best


def uninjected(
    strikes: Sequence[Strike], noticed: Sequence[Noticed], lost: set[int], before: Noticed
) -> dict[str, int]:
    """What was noticed in plain rooms though it was not injected, by what it is.

    ``noticed`` is by fault, ``before`` of the time until the first one.
    """
    times = [
        range(strike.first[0], strike.first[1] + strike.seen) for strike in strikes if strike.fault.action == "drop"
    ]
    pairs = list(zip(strikes, noticed, strict=True))
    again = sum(each.again for strike, each in pairs if strike.fault.action != "duplicate")
    swapped = sum(each.swapped for strike, each in pairs if strike.fault.action != "reorder")
    return {
        "lost": sum(not any(number in time for time in times) for number in lost),
        "duplicate": before.again + again,
        "out of order": before.swapped + swapped,
    }


def strike_rows(strike: Strike, kind: str = "") -> list[Row]:
    """What a fault did in one kind of rooms: what the seed predicts, of everything that was said in its time.

    ``kind``: names the rooms; empty: plain ones.
    """
    key = f"{strike.fault.name}_{kind}".rstrip("_")
    about = f"{strike.fault.name}{f', {kind}' if kind else ''}: "
    if strike.hits is None:
        why = "by somebody else, or by the server since it did more harm than it should"
        return [must(f"{key}_state", f"{about}at the end of its time", "removed", "in force", why)]
    unseen = max(0, strike.end - strike.first[1] - strike.seen)
    return [
        told(f"{key}_seen", f"{about}events it saw", strike.seen),
        must(f"{key}_unseen", f"{about}events it did not see", unseen, 0),
        must(f"{key}_hits", f"{about}its strikes, and as the seed predicts", strike.hits, len(struck(strike))),
    ]


def fault_rows(strike: Strike, noticed: Noticed, lost: set[int]) -> list[Row]:
    """What a fault did in plain rooms, and whether it was noticed there.

    Args:
        strike: What it did.
        noticed: What clients noticed.
        lost: The messages nobody got, as they are numbered in the group of rooms.
    """
    fault, hits = strike.fault, strike.hits
    name, about = fault.name, f"{fault.name}: "
    rows = [told(f"{name}_fault", f"{about}fault", f"{fault}, seed {strike.seed}"), *strike_rows(strike)]
    if hits is None:
        return rows
    if fault.action == "drop":
        unnoticed, besides = losses(strike, lost)
        found = hits - len(unnoticed)
        rows.append(
            must(f"{name}_predicted", f"{about}losses as the seed predicts", _differences(besides, unnoticed), "all")
        )
    elif fault.action == "delay":
        found = min(noticed.felt, hits)  # what is behind a late one is late, too
        rows += [
            told(f"{name}_late", f"{about}events late by {fault.seconds:g} s", noticed.felt),
            must(f"{name}_noticed", f"{about}late ones, as far as there are strikes", found, hits),
        ]
    elif fault.action == "duplicate":
        found = noticed.again
        rows.append(must(f"{name}_noticed", f"{about}duplicates noticed, of its strikes", found, hits))
    else:
        found = noticed.swapped
        # A strike changes nothing while another event waits for one to let pass, or when it waits in vain.
        rows += [
            told(f"{name}_noticed", f"{about}swaps noticed", found),
            must(f"{name}_surplus", f"{about}swaps that were not injected", max(0, found - hits), 0),
        ]
        if hits and not found:
            rows.append(must(f"{name}_none", f"{about}anything was noticed", "no", "yes"))
    if hits:
        rows.append(told(f"{name}_detection_ratio", f"{about}noticed of injected", found / hits, digits=3))
    return rows


def recovery_row(fault: Fault, kind: str, recovered: float | None) -> Row:
    """How long after a fault the last thing was unusual."""
    seconds = max(0.0, recovered or 0.0)
    key = f"{fault.name}_{kind}_recovered_s"
    return told(key, f"{fault.name}: {kind} rooms usual again after", seconds, "s", better="less", digits=3)


def lost_by(lists: Iterable[tuple[str, str, int, int]]) -> Counter[tuple[str, str, int]]:
    """How many lost each message, of what all processes told."""
    counts: Counter[tuple[str, str, int]] = Counter()
    for room, who, number, subscribers in lists:
        counts[room, who, number] += subscribers
    return counts


def _differences(besides: set[int], unnoticed: set[int]) -> str:
    parts = [("lost and not predicted", besides), ("predicted and not lost", unnoticed)]
    texts = [
        f"{len(numbers)} {what}: {', '.join(map(str, sorted(numbers)[:_EXAMPLES]))}"
        for what, numbers in parts
        if numbers
    ]
    return "; ".join(texts) or "all"

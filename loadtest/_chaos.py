"""Whether everybody agrees on what an injected fault did."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from liverpc.inspector.protocol import ChaosRule
from liverpc.policies.faults import draws
from loadtest._cli import Chaos
from loadtest._gate import Row, equals, shown

__all__ = ["agreement", "predicted"]

_EXAMPLES = 5


def predicted(chaos: Chaos, publishes: int) -> set[int]:
    """The publishes the server drops: one draw for each, in order."""
    return {number for number, draw in enumerate(islice(draws(chaos.seed), publishes)) if draw < chaos.rate}


def agreement(
    chaos: Chaos, published: int, lost: Sequence[set[int]], rule: ChaosRule | None, dropped: int | None
) -> list[Row]:
    """The rows that compare the ledgers, the rule and the server's counters.

    Args:
        chaos: The fault as it was asked for.
        published: How many publishes were made.
        lost: The publishes each subscriber lost.
        rule: The fault at the end of the run; None when it was gone by then.
        dropped: Publishes the server counted as dropped on the topic; None when the topic was gone.
    """
    union = set().union(*lost)
    rows = [shown("fault", f"drop {chaos.rate:g} of {chaos.topic}, seed {chaos.seed}")]
    differing = sum(each != union for each in lost)
    rows.append(equals("fault: subscribers that lost other publishes", differing, 0))
    if rule is None:
        rows.append(equals("fault: state at the end", "removed", "in force", "by somebody else, or its time was over"))
        return rows
    rows.append(
        equals("fault: publishes it saw", rule.seen, published, "others publish on matching topics, or some failed")
    )
    rows.append(equals("fault: its hits, and publishes lost", rule.hits, len(union)))
    rows.append(equals("fault: dropped by the server's count, and lost", dropped, len(union)))
    wanted = predicted(chaos, published)
    rows.append(equals("fault: losses as the seed predicts", _differences(union, wanted), "all"))
    return rows


def _differences(lost: set[int], wanted: set[int]) -> str:
    if lost == wanted:
        return "all"
    parts = [("lost and not predicted", lost - wanted), ("predicted and not lost", wanted - lost)]
    return "; ".join(
        f"{len(numbers)} {what}: {', '.join(map(str, sorted(numbers)[:_EXAMPLES]))}"
        for what, numbers in parts
        if numbers
    )

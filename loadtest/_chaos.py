"""Whether everybody agrees on what an injected fault did."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from liverpc.inspector.protocol import ChaosRule
from liverpc.policies.faults import draws
from loadtest._gate import must, told
from loadtest._result import Row
from loadtest._words import Chaos

__all__ = ["agreement", "predicted"]

_EXAMPLES = 5


def predicted(chaos: Chaos, publishes: int) -> set[int]:
    """The publishes the server drops: one draw for each, in order."""
    return {number for number, draw in enumerate(islice(draws(chaos.seed), publishes)) if draw < chaos.rate}


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
        must("fault_predicted", "fault: losses as the seed predicts", _differences(union, wanted), "all"),
    ]


def _differences(lost: set[int], wanted: set[int]) -> str:
    if lost == wanted:
        return "all"
    parts = [("lost and not predicted", lost - wanted), ("predicted and not lost", wanted - lost)]
    return "; ".join(
        f"{len(numbers)} {what}: {', '.join(map(str, sorted(numbers)[:_EXAMPLES]))}"
        for what, numbers in parts
        if numbers
    )

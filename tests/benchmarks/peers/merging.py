"""The cost of one event to a fold that holds many rows, timed in this process.

Each line of input is ``STRATEGY ROWS SECONDS``; it is answered with nanoseconds per event.
"""

from __future__ import annotations

import json
import random
import sys
import time
from functools import cache
from itertools import cycle
from typing import Any

from liverpc.merge import Fold, make_fold

EVENTS = 3000


@cache
def prepared(strategy: str, rows: int) -> tuple[Fold, list[tuple[str, Any]]]:
    """A full fold, and events that can be applied again and again: after all of them it is as full as before."""
    key = "id" if strategy == "crud" else "key"
    fold = make_fold(strategy, max=rows if strategy in ("crud", "latest") else 0)
    fold.load([{key: number, "text": "a row"} for number in range(rows)])
    if strategy == "latest":
        return fold, [("event", {"id": number, "text": "new"}) for number in range(EVENTS)]
    upsert, update, remove = {
        "crud": ("created", "updated", "deleted"),
        "presence": ("join", "join", "leave"),
        "cursor": ("update", "update", "remove"),
    }[strategy]
    draw = random.Random(1)
    events: list[tuple[str, Any]] = []
    # A third each: a row changes, goes, comes back (at the end).
    for _ in range(EVENTS // 3):
        changed, gone = ({key: draw.randrange(rows), "text": "changed"} for _ in range(2))
        events += [(update, changed), (remove, gone), (upsert, gone)]
    return fold, events


def main() -> None:
    print("{}", flush=True)
    for line in sys.stdin:
        strategy, rows, seconds = line.split()
        fold, events = prepared(strategy, int(rows))
        applied, start = 0, time.process_time_ns()
        end = start + int(float(seconds) * 1e9)
        blocks = cycle(events[at : at + 300] for at in range(0, len(events), 300))
        while (now := time.process_time_ns()) < end or applied % len(events):
            for event, data in next(blocks):
                fold.apply(event, data)
            applied += 300
        assert len(fold.value) == int(rows), "the events changed the number of rows"
        print(json.dumps({"ns": (now - start) / applied}), flush=True)


if __name__ == "__main__":
    main()

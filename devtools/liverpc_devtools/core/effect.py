"""What came of the faults in force: counters since the first of them was armed, second by second."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise

from liverpc.inspector.protocol import ChaosRule

__all__ = ["COUNTED", "STRUCK", "Effect"]

STRUCK = "struck"  #: hits of all faults
#: Counters of the server that faults move, whoever else moves them, too.
COUNTED = (
    "published",
    "fault_drops",
    "fault_losses",
    "fault_hurried",
    "resumes",
    "resume_misses",
    "connections_opened",
    "connections_closed",
    "calls",
    "call_errors",
    "outbox_overflows",
)
_SECONDS = 121


class Effect:
    """Figures from the moment on when a fault was armed while none was in force, until that happens again.

    Attributes:
        began: Server time when the first fault was seen; None: none was.
        ended: Server time when no fault was in force any more; None: one is.
    """

    def __init__(self) -> None:
        self.began: float | None = None
        self.ended: float | None = None
        self._hits: dict[int, int] = {}  # of the rules in force
        self._struck = 0
        self._first: dict[str, int] = {}  # totals when it began
        self._last: dict[str, int] = {}
        self._points: deque[tuple[int, dict[str, int]]] = deque(maxlen=_SECONDS)  # totals at the end of a second

    def add(self, at: float, counters: Mapping[str, int], rules: Sequence[ChaosRule]) -> None:
        """The server's figures at its time ``at``."""
        if rules and (self.began is None or self.ended is not None):
            self.began, self.ended, self._struck, self._hits = at, None, 0, {}
            # What was counted in the state before is not the fault's, what is in the first with it may be.
            self._first = {**(self._last or self._totals(counters)), STRUCK: 0}
            self._points.clear()
            self._points.append((int(at) - 1, self._first))
        self._struck += sum(max(rule.hits - self._hits.get(rule.id, 0), 0) for rule in rules)
        self._hits = {rule.id: rule.hits for rule in rules}
        if not rules and self.began is not None and self.ended is None:
            self.ended = at
        self._last = self._totals(counters)
        if self._points and self._points[-1][0] == int(at):
            self._points.pop()
        self._points.append((int(at), self._last))

    def since(self, name: str) -> int:
        """By how much a total has grown since the first fault was armed."""
        return 0 if self.began is None else max(self._last.get(name, 0) - self._first.get(name, 0), 0)

    def rates(self, *names: str, seconds: int) -> list[int]:
        """How much these totals grew together in each of the last seconds, oldest first, without the one that runs."""
        sums = [(second, sum(totals[name] for name in names)) for second, totals in self._points][:-1]
        grown = {second: max(total - before, 0) for (_, before), (second, total) in pairwise(sums)}
        end = sums[-1][0] if sums else 0
        return [grown.get(second, 0) for second in range(end - seconds + 1, end + 1)]

    def _totals(self, counters: Mapping[str, int]) -> dict[str, int]:
        return {**{name: counters.get(name, 0) for name in COUNTED}, STRUCK: self._struck}

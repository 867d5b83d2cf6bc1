"""Whether processes on several machines have one clock, and what to add to those that have another one."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from loadtest._gate import told
from loadtest._result import Row

__all__ = ["Clocks"]


class Clocks:
    """The clocks of other processes beside this one's, from questions of what time it is.

    The fastest question decides: between asking and answering, nobody knows when the other clock was read. A clock
    that may be the same as this one by all questions is the same: that of another machine counts from its start.

    Attributes:
        offsets: What to add to a process's clock for this one's, by process; 0.0 is left out.
        error: Seconds by which these may be wrong; 0.0 when there are none.
    """

    def __init__(self) -> None:
        self.offsets: dict[str, float] = {}
        self.error = 0.0
        self._best: float | None = None

    def take(self, asked: float, answered: float, clocks: Mapping[str, float]) -> None:
        """Take the answers to one question; the moments are on this process's clock."""
        took = answered - asked
        if self._best is not None and took >= self._best:
            return
        self._best = took
        self.offsets = {name: (asked + answered) / 2 - at for name, at in clocks.items() if not asked <= at <= answered}
        self.error = took / 2 if self.offsets else 0.0

    def rows(self, smallest: float | None) -> list[Row]:
        """What is told of it, if there is another clock: INVALID unless it is a quarter of the smallest at most.

        Args:
            smallest: Median of the series between processes, in milliseconds; None: there are none.
        """
        if not self.error:
            return []
        error = self.error * 1000
        row = told("clock_error_ms", "clocks of the machines: wrong by at most", error, "ms", digits=3)
        if smallest is None or smallest >= 4 * error:
            return [row]
        return [msgspec.structs.replace(row, limit=f"< {smallest / 4:.3f} ms", mark="INVALID", kind="health")]

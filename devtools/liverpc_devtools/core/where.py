"""Where a call that runs waits, asked again while somebody looks."""

from __future__ import annotations

from math import inf

from liverpc.inspector.protocol import Awaited

__all__ = ["Where"]

_EVERY = 1.0  # seconds


class Where:
    """What the server said of one call.

    Attributes:
        told: Where it waits; None: not known.
        problem: Why not; empty: the server has not answered yet.
    """

    def __init__(self) -> None:
        self.told: Awaited | None = None
        self.problem = ""
        self._ref: list[str] = []  # as in ``Get``
        self._asked = -inf

    def due(self, ref: list[str], now: float) -> bool:
        """Whether to ask for ``ref`` now: it is another one, or a second has passed."""
        if ref != self._ref:
            self.told, self.problem = None, ""
        elif now - self._asked < _EVERY:
            return False
        self._ref, self._asked = ref, now
        return True

    def answered(self, ref: list[str], told: Awaited | None, problem: str = "") -> None:
        """The server's answer to ``ref``, or why there is none."""
        if ref == self._ref:
            self.told, self.problem = told, problem

"""What is asked of a server again and again while somebody looks."""

from __future__ import annotations

from math import inf
from typing import Generic, TypeVar

__all__ = ["Asked"]

T = TypeVar("T")

_EVERY = 1.0  # seconds


class Asked(Generic[T]):
    """The last answer about one thing at a time.

    Attributes:
        told: The answer; None: there is none.
        problem: Why not; empty: the server has not answered yet.
    """

    def __init__(self) -> None:
        self.told: T | None = None
        self.problem = ""
        self._ref: list[str] = []  # as in ``Get``
        self._at = -inf

    def due(self, ref: list[str], now: float) -> bool:
        """Whether to ask for ``ref`` now: it is another one, or a second has passed."""
        if ref != self._ref:
            self.told, self.problem = None, ""
        elif now - self._at < _EVERY:
            return False
        self._ref, self._at = ref, now
        return True

    def answered(self, ref: list[str], told: T | None, problem: str = "") -> None:
        """The server's answer to ``ref``, or why there is none."""
        if ref == self._ref:
            self.told, self.problem = told, problem

"""Who listens to a topic, or to which topics a connection listens, as far as the server told."""

from __future__ import annotations

from math import inf

from liverpc.inspector.protocol import SubscriptionInfo

__all__ = ["Listeners"]

_EVERY = 1.0  # seconds


class Listeners:
    """What the server said of one topic or connection.

    Attributes:
        told: The subscriptions; None: the server has not answered yet.
        problem: Why it does not tell.
    """

    def __init__(self) -> None:
        self.told: list[SubscriptionInfo] | None = None
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

    def answered(self, ref: list[str], told: list[SubscriptionInfo] | None, problem: str = "") -> None:
        """The server's answer to ``ref``, or why there is none."""
        if ref == self._ref:
            self.told, self.problem = told, problem

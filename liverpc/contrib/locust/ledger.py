"""Accounts for every message a subscriber should have received."""

from __future__ import annotations

__all__ = ["MISSING_MAX", "Ledger"]

MISSING_MAX = 10_000  # numbers remembered as missing, per ledger


class Ledger:
    """What one subscriber got of one publisher's messages on one topic, which are numbered from 0.

    A number that was skipped is missing until it arrives, then it was out of order; any other number at or
    below the highest is a duplicate. One early message makes everything it overtook out of order;
    :attr:`displacement` tells that apart from many small swaps.

    At most :data:`MISSING_MAX` missing numbers are remembered. Beyond, they are only counted: such a
    message that arrives late counts as a duplicate and stays lost (:attr:`capped`).

    Attributes:
        next: The number after the highest received.
        received: Messages, duplicates included.
        duplicates: Messages received before.
        out_of_order: Messages that arrived after a higher number.
        displacement: How far behind the highest number the latest of them was.
    """

    __slots__ = ("_limit", "_missing", "_untracked", "displacement", "duplicates", "next", "out_of_order", "received")

    def __init__(self, missing_max: int = MISSING_MAX) -> None:
        self.next = 0
        self.received = 0
        self.duplicates = 0
        self.out_of_order = 0
        self.displacement = 0
        self._limit = missing_max
        self._missing: set[int] = set()
        self._untracked = 0

    def add(self, number: int) -> None:
        """Take one message. Costs a fraction of a microsecond while they arrive in order."""
        self.received += 1
        expected = self.next
        if number == expected:
            self.next = expected + 1
        elif number > expected:
            gap = number - expected
            tracked = min(gap, self._limit - len(self._missing))
            self._missing.update(range(expected, expected + tracked))
            self._untracked += gap - tracked
            self.next = number + 1
        elif number in self._missing:
            self._missing.discard(number)
            self.out_of_order += 1
            self.displacement = max(self.displacement, expected - 1 - number)
        else:
            self.duplicates += 1

    @property
    def capped(self) -> bool:
        """Whether more were missing than are remembered."""
        return self._untracked > 0

    def lost(self, published: int) -> int:
        """How many of the numbers below ``published`` did not arrive."""
        return len(self._missing) + self._untracked + max(0, published - self.next)

    def missing(self, published: int) -> set[int]:
        """Which ones; incomplete when :attr:`capped`."""
        return self._missing | set(range(self.next, published))

"""Accounts for every event of a stream with replay, through all connections of a subscriber."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from liverpc.contrib.locust.ledger import Ledger

__all__ = ["ResumeAudit"]


class ResumeAudit:
    """What one subscriber got of a stream whose value is a list of numbered rows, the newest last.

    The server numbers the rows from 0, one more for each event, and begins anew when it has forgotten them. Pass the
    audit as ``observer=`` when you subscribe. Nothing may be lost and nothing may come twice between two values that
    were sent as a whole; what was missed before the later one is not known and is no loss, but a reset.

    Args:
        number: Tells the number of a row; the row is as it came over the wire.

    Attributes:
        received: Events, those that were replayed included.
        replayed: Events that an answer brought after they were missed.
        resumed: Answers that brought what was missed, or that it was nothing.
        resets: Whole values after the first one.
    """

    def __init__(self, number: Callable[[Any], int]) -> None:
        self._number = number
        self._ledger: Ledger | None = None  # since the last whole value
        self.received = 0
        self.replayed = 0
        self.resumed = 0
        self.resets = 0
        self._lost = 0  # these three: before it
        self._duplicates = 0
        self._out_of_order = 0

    # -- what the stream tells

    def whole(self, value: Any, /) -> None:
        """The server sent the whole value."""
        before = self._ledger
        if before is not None:
            self.resets += 1
            self._lost += before.lost(before.next)
            self._duplicates += before.duplicates
            self._out_of_order += before.out_of_order
        self._ledger = Ledger()
        self._ledger.next = self._number(value[-1]) + 1 if value else 0

    def missed(self, data: list[Any], /) -> None:
        """The server sent what was missed."""
        self.resumed += 1
        self.replayed += len(data)
        for row in data:
            self.event(row)

    def event(self, data: Any, /) -> None:
        """An event came."""
        self.received += 1
        assert self._ledger is not None, "a stream begins with a whole value"
        self._ledger.add(self._number(data))

    # -- what is to be said

    def lost(self, published: int) -> int:
        """Events that should have come: of the rows below ``published``, which is as the server counts now."""
        return self._lost + (0 if self._ledger is None else self._ledger.lost(published))

    @property
    def duplicates(self) -> int:
        """Events that came before."""
        return self._duplicates + (0 if self._ledger is None else self._ledger.duplicates)

    @property
    def out_of_order(self) -> int:
        """Events that came after a later one."""
        return self._out_of_order + (0 if self._ledger is None else self._ledger.out_of_order)

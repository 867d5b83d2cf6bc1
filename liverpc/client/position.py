"""Where a client stands in the log of a topic (docs/protocol.md section 5, Catching up)."""

from __future__ import annotations

from collections.abc import Iterator

from liverpc.wire.frames import EventFrame

__all__ = ["EARLY_MAX", "Position"]

EARLY_MAX = 1000  # events that wait for those before them; with one more all are dropped, and asked for again


class Position:
    """The number of the last event that was applied, and the events that came before their turn.

    Only with a number and an epoch are events counted. A number alone is forgotten: servers that tell no epoch do
    not promise that nothing is missing between two numbers, nor that a number is not one of an earlier log.

    Attributes:
        seq: The number; None: the server told none that counts.
        epoch: The log it belongs to; None exactly when there is no number.
    """

    __slots__ = ("_early", "epoch", "seq")

    def __init__(self) -> None:
        self.seq: int | None = None
        self.epoch: str | None = None
        self._early: dict[int, EventFrame] = {}

    @property
    def behind(self) -> bool:
        """Whether an event is missing: later ones are here."""
        return bool(self._early)

    def is_turn_of(self, seq: int | None) -> bool:
        """Whether the event with this number is to be applied now; if so, it counts as applied."""
        if seq is None or self.seq is None:
            return True
        if seq != self.seq + 1:
            return False
        self.seq = seq
        return True

    def hold(self, frame: EventFrame) -> int:
        """Keep an event whose turn it was not, unless it was applied before.

        Returns:
            How many events were dropped for want of room; the answer to the next resync has them.
        """
        assert frame.seq is not None
        assert self.seq is not None
        if frame.seq <= self.seq:
            return 0
        self._early[frame.seq] = frame
        if len(self._early) <= EARLY_MAX:
            return 0
        dropped = len(self._early)
        self._early.clear()
        return dropped

    def due(self) -> Iterator[EventFrame]:
        """The kept events whose turn it is now, in order; each counts as applied."""
        while self._early and self.seq is not None and (frame := self._early.pop(self.seq + 1, None)) is not None:
            self.seq += 1
            yield frame

    def move(self, seq: int | None, epoch: str | None) -> None:
        """The value is as of this event; without one, or its log, nothing counts.

        What was kept from before it, or from another log, is forgotten.
        """
        if seq is None or epoch is None:
            self.seq = self.epoch = None
            self._early.clear()
            return
        if epoch != self.epoch:
            self._early.clear()
        elif self._early:
            self._early = {number: frame for number, frame in self._early.items() if number > seq}
        self.seq = seq
        self.epoch = epoch

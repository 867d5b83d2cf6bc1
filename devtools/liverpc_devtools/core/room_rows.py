"""Rooms: who is in them, and who was not let in."""

from __future__ import annotations

from collections import deque

from liverpc.inspector.protocol import Look, RefusedJoin, RoomInfo, RoomMember, Rooms, RoomTotals

__all__ = ["RoomId", "RoomRows"]

RoomId = tuple[str, int]  # kind and number

_REFUSED = 200


class RoomRows:
    """Folds what a server tells of its rooms into rows.

    Attributes:
        rows: By kind and number.
        totals: Of all rooms; None until the server has told of them.
        members: Of the room that is looked at.
        refused: The last joins that were refused, oldest first.
        changes: How often a row was told.
    """

    def __init__(self) -> None:
        self.rows: dict[RoomId, RoomInfo] = {}
        self.totals: RoomTotals | None = None
        self.members: list[RoomMember] = []
        self.refused: deque[RefusedJoin] = deque(maxlen=_REFUSED)
        self.changes = 0
        self._looked_at: RoomId | None = None

    @property
    def untold(self) -> int:
        """How many rooms there are of which we are told nothing, for there are too many."""
        return 0 if self.totals is None else self.totals.rooms - len(self.rows)

    def look(self, wish: Look) -> None:
        """Another room is looked at, or none."""
        room = (wish.kind, wish.number) if wish.kind else None
        if room != self._looked_at:
            self._looked_at, self.members = room, []

    def apply(self, news: Rooms) -> None:
        """Fold one frame in."""
        if news.full:
            self.rows = {}
            self.refused.clear()
        self.changes += len(news.rows)
        for row in news.rows:
            self.rows[row.kind, row.number] = row
        for gone in news.gone:
            self.rows.pop(gone, None)
        if news.of is not None and news.of == self._looked_at:  # not the one that was looked at before
            self.members = news.members
        self.refused.extend(sorted(news.refused, key=lambda each: each.at))
        self.totals = news.totals

"""Who is in which room, as observers are told: only while one of them looks, in changes, and within bounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from math import inf
from typing import Any

import msgspec

from liverpc.inspector.protocol import Look, RefusedJoin, RoomInfo, RoomMember, Rooms, RoomTotals
from liverpc.inspector.redact import Redactor
from liverpc.inspector.telling import encoded
from liverpc.inspector.view import View
from liverpc.rooms.census import Census, Occupant, Refusal, RoomRow

__all__ = ["RoomsTold", "Seen", "Survey"]

_EVERY = 1.0  # seconds
_REST = 100  # times as long as it took: 1 % of the loop's time for surveys, and as much for members
_MAX_COUNTED = 20_000  # occupants in a survey
_MAX_ROWS = 1000
_MAX_MEMBERS = 200
_MAX_MEMBER_BYTES = 256 * 1024
_MAX_KEY = 256  # characters
_MAX_ASKED = 200  # characters

RoomId = tuple[str, int]  # kind and number


class Seen(msgspec.Struct, frozen=True):
    """What a survey found, as far as one view shows it."""

    rooms: dict[RoomId, RoomRow]
    rows: dict[RoomId, RoomInfo]  #: of the first rooms; a row that did not change is the same object as before
    refusals: list[Refusal]  #: the last ones
    totals: RoomTotals


class Survey:
    """Looks at the rooms of a server, whoever asks: once a second at most, and seldom when it takes long.

    Args:
        censuses: Of each kind of room.
        monotonic: The server's time.
        redactor: For presence and cursors, and for what was asked for.
    """

    def __init__(self, censuses: Sequence[Census], monotonic: Callable[[], float], redactor: Redactor) -> None:
        self.redactor = redactor
        self._censuses = censuses
        self._monotonic = monotonic
        self._found: list[RoomRow] | None = None
        self._more = False  # further rooms were left out
        self._seen: dict[object, Seen] = {}  # by view
        self._before: dict[object, Seen] = {}  # in the last survey
        self._taken_at = -inf
        self._spent = 0.0  # seconds, for the last survey
        self._members_again_at = -inf

    @property
    def _rests(self) -> bool:
        return self._monotonic() < self._taken_at + max(_EVERY, self._spent * _REST)

    def take(self, view: View) -> Seen:
        """What there is, or was when it was looked at last; the same object until it is looked at again."""
        began = time.thread_time()
        if self._found is None or not self._rests:
            self._taken_at, self._spent = self._monotonic(), 0.0
            self._look()
        seen = self._seen.get(view.key)
        if seen is None:
            seen = self._seen[view.key] = self._see(self._found or [], view, self._before.get(view.key))
            self._spent += time.thread_time() - began
        return seen

    def members(self, room: RoomRow) -> list[bytes] | None:
        """Who is in a room, encoded; None: not now, lately that has taken long enough.

        Of the time in which nobody asked, a second counts.
        """
        now = self._monotonic()
        if now < self._members_again_at:
            return None
        began = time.thread_time()
        members = self._encoded(room.occupants)
        spent = time.thread_time() - began
        self._members_again_at = max(self._members_again_at, now - _EVERY) + spent * _REST
        return members

    def forget(self) -> None:
        """Nobody looks any more. What is known is kept until it may be looked at anew, so that looking stays cheap."""
        if not self._rests:
            self._found = None
            self._seen, self._before = {}, {}

    def _look(self) -> None:
        rooms: list[RoomRow] = []
        left, more = _MAX_COUNTED, False
        for room in chain.from_iterable(census.rows() for census in self._censuses):
            if more := left <= 0:
                break
            rooms.append(room)
            left -= len(room.occupants) + 1
        self._found, self._more = rooms, more
        self._before, self._seen = self._seen, {}

    def _see(self, found: list[RoomRow], view: View, before: Seen | None) -> Seen:
        rooms: dict[RoomId, RoomRow] = {(each.kind, each.number): each for each in found if view.covers(each.name)}
        rows: dict[RoomId, RoomInfo] = {}
        for each, room in rooms.items():
            if len(rows) == _MAX_ROWS:
                break
            row = _info(room, view.anonymous)
            known = None if before is None else before.rows.get(each)
            rows[each] = known if known is not None and known == row else row
        refusals = [each for census in self._censuses for each in census.refusals() if view.covers(each.room)]
        totals = RoomTotals(
            len(rooms),
            sum(len(room.occupants) for room in rooms.values()),
            None if view.scoped else sum(census.refused for census in self._censuses),
            self._more,
        )
        return Seen(rooms, rows, [] if view.anonymous else refusals, totals)

    def _encoded(self, occupants: Iterable[Occupant]) -> list[bytes]:
        members: list[bytes] = []
        left = _MAX_MEMBER_BYTES
        for each in occupants:
            shown, cursor = self.redactor(each.shown), self.redactor(each.cursor)
            member = encoded(RoomMember(each.key, list(each.connections), each.how, each.since, shown, cursor))
            left -= len(member)
            if left < 0 or len(members) == _MAX_MEMBERS:
                break
            members.append(member)
        return members


class RoomsTold:
    """What one observer knows of the rooms, so that it is told only what is new.

    Args:
        view: What it may see; nothing of members at level ``metrics``.
        survey: Of the server.
    """

    def __init__(self, view: View, survey: Survey) -> None:
        self._view = view
        self._survey = survey
        self._selected: RoomId | None = None
        self._seen: Seen | None = None  # None: it was told nothing yet
        self._due = False  # to tell of the members, when they changed
        self._members: list[bytes] | None = None
        self._refused: set[Refusal] = set()

    def look(self, wish: Look) -> None:
        """Tell of the members of this room from now on, whatever was told of them before."""
        self._selected = (wish.kind, wish.number) if wish.kind else None
        self._members, self._due = None, True

    def news(self, at: float) -> Rooms | None:
        """What the observer does not know yet; None when it knows all. Whatever is returned has to be sent."""
        before, seen = self._seen, self._survey.take(self._view)
        of, members = self._members_of(seen)
        frame = Rooms(at=at, totals=seen.totals, full=before is None, of=of, members=members)
        if seen is before:
            return frame if of else None
        known = {} if before is None else before.rows
        frame = msgspec.structs.replace(
            frame,
            rows=[row for each, row in seen.rows.items() if known.get(each) is not row],
            gone=[each for each in known if each not in seen.rows],
            refused=[self._refusal(each) for each in seen.refusals if each not in self._refused],
        )
        self._seen, self._refused = seen, set(seen.refusals)
        news = frame.rows or frame.gone or of or frame.refused
        return frame if news or before is None or before.totals != seen.totals else None

    def _members_of(self, seen: Seen) -> tuple[RoomId | None, list[Any]]:
        """The room that is looked at and its members, if the observer knows others or none."""
        self._due |= seen is not self._seen
        if not self._due:
            return None, []
        room = None if self._selected is None or self._view.anonymous else seen.rooms.get(self._selected)
        members = [] if room is None else self._survey.members(room)
        if members is None:
            return None, []
        before, self._members, self._due = self._members, members, False
        return (None, []) if members == before else (self._selected, [msgspec.Raw(each) for each in members])

    def _refusal(self, refusal: Refusal) -> RefusedJoin:
        asked = ""
        if refusal.asked:
            try:
                plain = msgspec.json.decode(refusal.asked)
            except (msgspec.MsgspecError, ValueError):  # such as 1e999, which is a number for some types only
                plain = "cannot be shown"
            asked = encoded(self._survey.redactor(plain)).decode()[:_MAX_ASKED]
        return RefusedJoin(refusal.at, refusal.room, refusal.connection, refusal.user or "", refusal.reason, asked)


def _info(room: RoomRow, anonymous: bool) -> RoomInfo:
    away = connections = cursors = 0
    joined_at = 0.0
    for each in room.occupants:
        here = len(each.connections)
        connections += here
        away += not here
        cursors += each.cursor is not None
        joined_at = max(joined_at, each.since)
    return RoomInfo(
        room.kind,
        room.number,
        room.name,
        "" if anonymous else room.key[:_MAX_KEY],
        room.declared,
        len(room.occupants),
        away,
        connections,
        cursors,
        joined_at,
    )

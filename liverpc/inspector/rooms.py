"""Who is in which room, as observers are told: only while one of them looks, in changes, and within bounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec

from liverpc.inspector.protocol import Look, RefusedJoin, RoomInfo, RoomMember, Rooms, RoomTotals
from liverpc.inspector.redact import Redactor
from liverpc.inspector.view import View
from liverpc.rooms.census import Census, Occupant, Refusal, RoomRow
from liverpc.wire.codec import encode

__all__ = ["RoomsTold", "Survey", "Surveyed"]

_EVERY = 1.0  # seconds
_REST = 50  # times as long as it took, at least, until the next survey: 2 % of the loop's time
_MAX_COUNTED = 20_000  # occupants in a survey
_MAX_ROWS = 1000
_MAX_MEMBERS = 200
_MAX_MEMBER_BYTES = 256 * 1024
_MAX_KEY = 256  # characters

RoomId = tuple[str, int]  # kind and number


class Surveyed(msgspec.Struct, frozen=True):
    """What a survey found."""

    rooms: list[RoomRow]
    more: bool  #: further rooms were left out
    refusals: list[Refusal]  #: the last ones
    refused: int


class Survey:
    """Looks at the rooms of a server, whoever asks: once a second at most, and seldom when it takes long.

    Args:
        censuses: Of each kind of room.
        monotonic: The server's time.
    """

    def __init__(self, censuses: Sequence[Census], monotonic: Callable[[], float]) -> None:
        self._censuses = censuses
        self._monotonic = monotonic
        self._last: Surveyed | None = None
        self._again_at = 0.0

    def take(self) -> Surveyed:
        """What there is, or was when it was looked at last."""
        now = self._monotonic()
        if self._last is None or now >= self._again_at:
            began = time.thread_time()
            self._last = self._look()
            self._again_at = now + max(_EVERY, (time.thread_time() - began) * _REST)
        return self._last

    def forget(self) -> None:
        """Nobody looks any more. What is known is kept until it may be looked at anew, so that looking stays cheap."""
        if self._monotonic() >= self._again_at:
            self._last = None

    def _look(self) -> Surveyed:
        rooms: list[RoomRow] = []
        left, more = _MAX_COUNTED, False
        for room in chain.from_iterable(census.rows() for census in self._censuses):
            if more := left <= 0:
                break
            rooms.append(room)
            left -= len(room.occupants) + 1
        refusals = [refusal for census in self._censuses for refusal in census.refusals()]
        return Surveyed(rooms, more, refusals, sum(census.refused for census in self._censuses))


class RoomsTold:
    """What one observer knows of the rooms, so that it is told only what is new.

    Args:
        view: What it may see; nothing of members at level ``metrics``.
        redactor: For presence and cursors.
    """

    def __init__(self, view: View, redactor: Redactor) -> None:
        self._view = view
        self._redactor = redactor
        self._selected: RoomId | None = None
        self._found: Surveyed | None = None
        self._rows: dict[RoomId, RoomInfo] | None = None  # None: it was told nothing yet
        self._members: list[bytes] | None = None
        self._refused: set[Refusal] = set()
        self._totals: RoomTotals | None = None

    def look(self, wish: Look) -> None:
        """Tell of the members of this room from now on, whatever was told of them before."""
        self._selected = (wish.kind, wish.number) if wish.kind else None
        self._found = self._members = None

    def news(self, found: Surveyed, at: float) -> Rooms | None:
        """What the observer does not know yet; None when it knows all. Whatever is returned has to be sent."""
        if found is self._found:
            return None
        self._found = found
        view, before = self._view, self._rows
        visible = [room for room in found.rooms if view.covers(room.name)]
        rows: dict[RoomId, RoomInfo] = {(each.kind, each.number): self._info(each) for each in visible[:_MAX_ROWS]}
        selected = next((room for room in visible if (room.kind, room.number) == self._selected), None)
        members = [] if selected is None or view.anonymous else self._encoded(selected.occupants)
        of = None if members == self._members else self._selected
        refusals = [each for each in found.refusals if view.covers(each.room) and not view.anonymous]
        known = before or {}
        totals = RoomTotals(
            len(visible),
            sum(len(room.occupants) for room in visible),
            None if view.scoped else found.refused,
            found.more,
        )
        frame = Rooms(
            at=at,
            totals=totals,
            full=before is None,
            rows=[row for each, row in rows.items() if known.get(each) != row],
            gone=[each for each in known if each not in rows],
            of=of,
            members=[] if of is None else _raw(members),
            refused=[_refused(each) for each in refusals if each not in self._refused],
        )
        news = frame.full or frame.rows or frame.gone or frame.of or frame.refused or totals != self._totals
        self._rows, self._members, self._refused, self._totals = rows, members, set(refusals), totals
        return frame if news else None

    def _info(self, room: RoomRow) -> RoomInfo:
        occupants = room.occupants
        return RoomInfo(
            room.kind,
            room.number,
            room.name,
            "" if self._view.anonymous else room.key[:_MAX_KEY],
            room.declared,
            len(occupants),
            sum(not each.connections for each in occupants),
            sum(len(each.connections) for each in occupants),
            sum(each.cursor is not None for each in occupants),
            max((each.since for each in occupants), default=0.0),
        )

    def _encoded(self, occupants: Iterable[Occupant]) -> list[bytes]:
        encoded: list[bytes] = []
        room = _MAX_MEMBER_BYTES
        for each in occupants:
            shown, cursor = self._redactor(each.shown), self._redactor(each.cursor)
            member = encode(RoomMember(each.key, list(each.connections), each.how, each.since, shown, cursor))
            room -= len(member)
            if room < 0 or len(encoded) == _MAX_MEMBERS:
                break
            encoded.append(member)
        return encoded


def _raw(members: list[bytes]) -> list[Any]:
    return [msgspec.Raw(each) for each in members]


def _refused(refusal: Refusal) -> RefusedJoin:
    return RefusedJoin(refusal.at, refusal.room, refusal.connection, refusal.user or "", refusal.reason)

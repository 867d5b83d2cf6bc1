"""One timeline of all that a model is told: what happened, and where something is missing."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Literal

from liverpc.inspector.protocol import CallEvent, ConnectionEvent, Event, PublishEvent
from liverpc_devtools.core.capture import SLOW_MS
from liverpc_devtools.core.history import Calls, weight

__all__ = ["Entry", "EventLog", "Remark", "failed", "groups", "kind", "notable"]

_MOST, _MOST_BYTES = 20_000, 64_000_000
_SHARE = 100  # of the entries one part is forgotten at a time
_GAP_SECONDS = 1.0  # losses closer together make one line
_FINE = (1000, 1001, 1005, 1012)  # close codes of connections that ended as they should


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that is no event of the server: a gap, a fault that was armed, a note."""

    at: float
    kind: Literal["gap", "chaos", "note"]
    text: str
    lost: int = 0  #: events that are missing here


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the timeline.

    Attributes:
        number: Identifies it; grows in the order of arrival.
        era: Grows whenever the server's clock began anew.
        wall: Seconds since the epoch at which it happened.
        what: The event, or a remark.
        weight: Bytes it takes, roughly.
    """

    number: int
    era: int
    wall: float
    what: Event | Remark
    weight: int

    @property
    def place(self) -> tuple[int, float, int]:
        """By what entries are ordered: the server's time; of the same time those that arrived first."""
        return (self.era, self.what.at, self.number)


class EventLog:
    """The last 20,000 entries, at most 64 MB, ordered by the server's time.

    When there is no room, failed and slow calls, faults and gaps stay and the rest goes, as long as they take no more
    than half of the room.

    Args:
        most: Entries.
        most_bytes: Of all entries, as estimated.

    Attributes:
        evicted: How many entries were forgotten for want of room.
    """

    def __init__(self, *, most: int = _MOST, most_bytes: int = _MOST_BYTES) -> None:
        self.evicted = 0
        self._most, self._most_bytes = most, most_bytes
        self._number = 0
        self._era = 0
        self._cleared = float("-inf")
        self._gap = 0  # the number of the last loss
        self._empty()

    def _empty(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._order: list[Entry] = []
        self._numbers: dict[Hashable, int] = {}  # by what identifies an event
        self._arrived: dict[bool, deque[int]] = {True: deque(), False: deque()}  # notable ones, and the rest
        self._weights = {True: 0, False: 0}

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._order)

    def __reversed__(self) -> Iterator[Entry]:
        return reversed(self._order)

    @property
    def total(self) -> int:
        """How many entries there ever were."""
        return self._number

    @property
    def weight(self) -> int:
        """Bytes of all entries, roughly."""
        return sum(self._weights.values())

    def get(self, event: int) -> Event | None:
        """The event of this server with that id, if it is kept."""
        entry = self._entries.get(self._numbers.get((self._era, event), 0))
        return None if entry is None or isinstance(entry.what, Remark) else entry.what

    def events(self) -> Iterator[Event]:
        """The events of this server, as long as its ids are the same ones."""
        return (each.what for each in self._order if each.era == self._era and not isinstance(each.what, Remark))

    # -- what happens -------------------------------------------------------------------------------------

    def add(self, event: Event, wall: float) -> None:
        """Keep an event. One that is known already replaces what was known of it when it tells more."""
        if event.at <= self._cleared:
            return
        name = self._name(event)
        known = self._entries.get(self._numbers.get(name, 0)) if name is not None else None
        if known is None:
            self._keep(event, wall, name)
        elif isinstance(event, PublishEvent) and event.sent_ms is not None:
            self._replace(known, event)

    def lost(self, count: int, at: float, wall: float) -> None:
        """So many events are missing at this time; further ones within a second are told together."""
        last = self._entries.get(self._gap)
        if last is not None and isinstance(last.what, Remark) and 0 <= at - last.what.at < _GAP_SECONDS:
            missing = last.what.lost + count
            self._replace(last, replace(last.what, lost=missing, text=_missing(missing)))
        else:
            self.remark("gap", _missing(count), at, wall, lost=count)
            self._gap = self._number

    def remark(
        self, kind: Literal["gap", "chaos", "note"], text: str, at: float, wall: float, *, lost: int = 0
    ) -> None:
        """Say something between the events."""
        self._keep(Remark(at, kind, text, lost), wall, None)

    def restart(self) -> None:
        """The server's clock and its ids begin anew."""
        self._era += 1
        self._cleared = float("-inf")
        self._gap = 0

    def clear(self, at: float) -> None:
        """Forget everything that happened until ``at``, also when it arrives later."""
        self._cleared = at
        self.evicted = self._gap = 0
        self._empty()

    # -- keeping ------------------------------------------------------------------------------------------

    def _name(self, event: Event) -> Hashable | None:
        if event.id:
            return (self._era, event.id)
        return (self._era, *Calls.key(event)) if isinstance(event, CallEvent) else None

    def _keep(self, what: Event | Remark, wall: float, name: Hashable | None) -> None:
        self._number += 1
        entry = Entry(self._number, self._era, wall, what, weight(None if isinstance(what, Remark) else what))
        self._entries[entry.number] = entry
        if name is not None:
            self._numbers[name] = entry.number
        if not self._order or entry.place > self._order[-1].place:
            self._order.append(entry)
        else:
            insort(self._order, entry, key=_place)
        self._arrived[notable(what)].append(entry.number)
        self._weights[notable(what)] += entry.weight
        if len(self._order) > self._most or self.weight > self._most_bytes:
            self._evict()

    def _replace(self, entry: Entry, what: Event | Remark) -> None:
        new = replace(entry, what=what)  # its weight stays: it is estimated anyway
        self._entries[entry.number] = self._order[self._index(entry)] = new

    def _evict(self) -> None:
        """Make room for some more at once: looking through all entries for each would be dear."""
        most = self._most - self._most // _SHARE
        while len(self._entries) > most or self.weight > self._most_bytes:
            many = len(self._arrived[True]) > self._most // 2 or self._weights[True] > self._most_bytes // 2
            which = many or not self._arrived[False]
            entry = self._entries.pop(self._arrived[which].popleft())
            self._weights[which] -= entry.weight
            if not isinstance(entry.what, Remark) and (name := self._name(entry.what)) is not None:
                self._numbers.pop(name, None)
            self.evicted += 1
        self._order = [each for each in self._order if each.number in self._entries]

    def _index(self, entry: Entry) -> int:
        return bisect_left(self._order, entry.place, key=_place)


_place: Callable[[Entry], tuple[int, float, int]] = attrgetter("place")


def failed(what: Event | Remark) -> bool:
    """Whether something went wrong: a call failed, a connection was cut, an event was dropped."""
    if isinstance(what, CallEvent):
        return not what.ok
    if isinstance(what, PublishEvent):
        return what.dropped
    return isinstance(what, ConnectionEvent) and what.what == "close" and what.code not in _FINE


def notable(what: Event | Remark) -> bool:
    """Whether it is kept longer than the rest: it failed, was slow, or was caused on purpose; or it is a remark."""
    if isinstance(what, Remark):
        return True
    return failed(what) or bool(what.fault) or (isinstance(what, CallEvent) and what.ms >= SLOW_MS)


def kind(what: Event | Remark) -> str:
    """``pub``, ``rpc``, ``conn``, ``gap``, ``chaos`` or ``note``."""
    return what.kind if isinstance(what, Remark) else str(what.__struct_config__.tag)


def _missing(count: int) -> str:
    return f"{count:,} event{'s' if count != 1 else ''} not captured, or not sent, here"


def groups(calls: Iterable[CallEvent]) -> list[tuple[CallEvent, int]]:
    """Failed calls by path and code: the last of each, and how many there are; the latest first."""
    found: dict[tuple[str, str], tuple[CallEvent, int]] = {}
    for call in calls:
        if not call.ok:
            key = (call.path, call.code)
            found[key] = (call, found[key][1] + 1 if key in found else 1)
    return sorted(found.values(), key=lambda each: each[0].at, reverse=True)

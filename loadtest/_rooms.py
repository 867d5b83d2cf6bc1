"""The scenario ``rooms``: many rooms with few people each, their cursors, and who sees whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import gevent
from msgspec import Meta

from liverpc.contrib.locust.schedule import due_times
from liverpc.errors import ConfigError, RpcError
from loadtest._fanout import ledger_rows
from loadtest._gate import must, told
from loadtest._result import Row
from loadtest._room_audit import Arrivals, Cursors, Roster, converged
from loadtest._run import Run
from loadtest._scenario import Operations, Scenario, Tally, drain
from loadtest._talk import Guest, Talk, TalkKnobs, TalkUser, by_room

__all__ = ["Rooms", "RoomsUser"]

_LOOK_SECONDS = 0.02  # between two looks at the cursors that one user sees
_GRACE_SECONDS = 7.0  # in which those who left are gone; more than the server's ``presence_grace_seconds``
_MOVE = "load/room/__action/move_cursor"


class RoomsKnobs(TalkKnobs, frozen=True):
    """The options of the scenario."""

    cursor_hz: Annotated[float, Meta(ge=0, le=100, description="cursor moves of each user per second")] = 1.0
    churn: Annotated[
        float, Meta(ge=0, le=10, description="room changes of each user per second: it enters one and leaves another")
    ] = 0.02


class Visitor(Guest):
    """Also sees who else is there, and where their cursors are.

    Attributes:
        rosters, cursors: By room.
        shown: By room the number of the last position of its own cursor, where it has one.
        busy: Whether it is changing rooms.
    """

    talk: Rooms

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rosters: dict[str, Roster] = {}
        self.cursors: dict[str, Cursors] = {}
        self.shown: dict[str, int] = {}
        self.busy = False
        self._moves: dict[str, int] = {}

    def enter(self, room: str) -> None:
        talk = self.talk
        self.client.begin("load/arrive", talk.run.now())
        super().enter(room)
        roster, cursors = Roster(talk.came), Cursors(talk.moved)
        self.listen(room, "load/room/__presence", observer=roster)
        self.listen(room, "load/room/__cursors", observer=cursors)
        self.rosters[room], self.cursors[room] = roster, cursors

    def leave(self, room: str) -> None:
        self.shown.pop(room, None)
        cursors = self.cursors.pop(room)
        del self.rosters[room]
        super().leave(room)
        self.talk.count_cursors(cursors)

    def move(self, due: float) -> None:
        """Move the cursor in the room in which it has been longest."""
        room = next(iter(self.stays))
        number = self._moves.get(room, 0)
        self._moves[room] = number + 1
        self.shown[room] = number
        position = {"n": number, "at": due + self.talk.run.offset}
        self.talk.moves.send(self.client, due, room, position)

    def change(self) -> None:
        """Enter another room, then leave one; RpcError when it is refused."""
        left = self.rng.choice(list(self.stays))
        self.enter(self.choose())
        self.leave(left)


class Rooms(Talk):
    """Everybody is in a few of many rooms, speaks, moves a cursor, and now and then goes elsewhere."""

    name = "rooms"
    Knobs = RoomsKnobs
    guest_type = Visitor
    settle_seconds = 20.0

    @classmethod
    def check(cls, knobs: Any) -> None:
        super().check(knobs)
        if knobs.churn and knobs.rooms_per_user == knobs.topics:
            raise ConfigError("nobody can go elsewhere who is in all rooms: use more --topics, or --churn 0")

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.moves = Operations(run, _MOVE, "moves")
        self._arrivals = Arrivals()
        self._changes = 0
        self._changes_failed = 0
        self._received = self._skipped = self._back = 0  # cursors of rooms that were left
        for work in (self._move, self._change, self._look):
            run.spawn(work)

    # -- for visitors

    def came(self, who: str, at: float) -> None:
        """One saw that somebody came."""
        seconds = self.run.now() - at
        self.run.recorder.add("ROOM", "seen", seconds)
        self._arrivals.seen(who, at, seconds)

    def moved(self, at: float) -> None:
        """One got a position."""
        self.run.recorder.add("CUR", "deliver", self.run.now() - at)

    def count_cursors(self, cursors: Cursors) -> None:
        """What came of one that is not looked at any more."""
        self._received += cursors.received
        self._skipped += cursors.skipped
        self._back += cursors.back

    # -- beside the users

    def _visitors(self) -> list[Visitor]:
        """All of this process, once everything has begun."""
        self.run.begun.wait()
        return [guest for guest in self.guests if isinstance(guest, Visitor)]

    def _move(self) -> None:
        visitors = self._visitors()
        if not (visitors and self.knobs.cursor_hz):
            return
        times = due_times(self.knobs.cursor_hz * len(visitors), self.run.start)
        for number, due in enumerate(self.run.when_due(times)):
            visitors[number % len(visitors)].move(due)

    def _change(self) -> None:
        visitors = self._visitors()
        if not (visitors and self.knobs.churn):
            return
        seed = f"{self.run.options.seed}/changes/{visitors[0].number}"
        times = due_times(self.knobs.churn * len(visitors), self.run.start, seed)
        for number, _ in enumerate(self.run.when_due(times)):
            visitor = visitors[number % len(visitors)]
            if not visitor.busy:
                self._let_change(visitor)

    def _let_change(self, visitor: Visitor) -> None:
        def change() -> None:
            try:
                visitor.change()
                self._changes += 1
            except RpcError:
                self._changes_failed += 1
            finally:
                visitor.busy = False

        visitor.busy = True
        self.run.spawn(change)

    def _look(self) -> None:
        """How old what is shown is: at one visitor's cursors after the other's."""
        visitors = self._visitors()
        add, number = self.run.recorder.add, 0
        while visitors and not self.run.stopping:
            gevent.sleep(_LOOK_SECONDS)
            now = self.run.now()
            for cursors in visitors[number % len(visitors)].cursors.values():
                for _, at in cursors.last.values():
                    add("CUR", "age", now - at, part=True)
            number += 1

    # -- the end

    def settle(self) -> dict[str, int]:
        visitors = self._visitors()
        drain(lambda: not any(each.busy for each in visitors), 10.0)
        drain(lambda: not self.moves.pending)
        told = super().settle()
        for each in visitors:
            told |= {f"in {room} {each.name}": 1 for room in each.stays}
            told |= {f"cursor {room} {each.name}": number for room, number in each.shown.items()}
        return told

    def count(self, published: Mapping[str, int]) -> Tally:
        tally = super().count(published)
        tally.add(self.moves.tally())
        there, positions = by_room(published, "in"), by_room(published, "cursor")
        visitors = self._visitors()
        rosters = [(roster, there.get(room, {}).keys()) for each in visitors for room, roster in each.rosters.items()]
        cursors = [(cursors, positions.get(room, {})) for each in visitors for room, cursors in each.cursors.items()]
        drain(lambda: all(roster.keys == keys for roster, keys in rosters), _GRACE_SECONDS)
        drain(lambda: all(each.numbers == numbers for each, numbers in cursors))
        for each, _ in cursors:
            self.count_cursors(each)
        counts: dict[str, int | float] = {
            "presence_wrong": sum(roster.keys != keys for roster, keys in rosters),
            "cursors_wrong": sum(each.numbers != numbers for each, numbers in cursors),
            "cursors_received": self._received,
            "cursors_skipped": self._skipped,
            "cursors_back": self._back,
            "changes": self._changes,
            "changes_failed": self._changes_failed,
            "arrivals_forgotten": self._arrivals.forgotten,
        }
        tally.add(Tally(counts=counts, lists={"arrivals": self._arrivals.told()}))
        return tally

    def rows(self, tally: Tally) -> list[Row]:
        seen = converged(tally.lists["arrivals"])
        age = self.run.lead.totals.get(("CUR", "age"))
        received, skipped = tally.count("cursors_received"), tally.count("cursors_skipped")
        rows = [
            *self.said_rows(tally),
            *ledger_rows(tally),
            must("delivered", "delivered, of what was expected", tally.count("deliveries"), tally.count("expected")),
            *self.value_rows(tally),
            told("changes", "changes of rooms", tally.count("changes")),
            must("changes_failed", "changes of rooms: failed", tally.count("changes_failed"), 0),
            told("arrivals", "presence: arrivals seen by others", seen.count),
            *(
                told(
                    f"converged_{name}_ms", f"presence: all others saw it, {name}", seconds * 1000, "ms", better="less"
                )
                for name, seconds in (("p50", seen.percentile(0.5)), ("p99", seen.percentile(0.99)))
                if seen.count
            ),
            must("presence_wrong", "presence: wrong lists at the end", tally.count("presence_wrong"), 0),
            told("moves", "cursors: moves", tally.count("moves")),
            must("moves_failed", "cursors: moves failed", tally.count("moves_failed"), 0),
        ]
        if tally.count("arrivals_forgotten"):
            rows.append(told("arrivals_forgotten", "presence: not looked at", tally.count("arrivals_forgotten")))
        if age is not None and age.count:
            rows += [
                told(f"cursor_age_{name}_ms", f"cursors: age of what is shown, {name}", ms, "ms", better="less")
                for name, ms in (("p50", age.percentile(0.5) * 1000), ("p99", age.percentile(0.99) * 1000))
            ]
        if received:
            ratio = skipped / (received + skipped)
            rows.append(told("coalesced_ratio", "cursors: positions left out for later ones", ratio, digits=3))
        return [
            *rows,
            must("cursors_back", "cursors: that went back", tally.count("cursors_back"), 0),
            must("cursors_wrong", "cursors: wrong at the end", tally.count("cursors_wrong"), 0),
        ]


class RoomsUser(TalkUser):
    """See :class:`Rooms`."""

    scenario: ClassVar[type[Scenario]] = Rooms

"""What observers are told of rooms: changes only, within bounds, and at what cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from liverpc.inspector.protocol import Look, RoomMember, Rooms, RoomTotals
from liverpc.inspector.redact import Redactor
from liverpc.inspector.rooms import RoomsTold, Survey
from liverpc.inspector.view import View
from liverpc.rooms.census import Occupant, Refusal, RoomRow


class Building:
    """A census of whatever rooms a test puts into it (``rooms.census.Census``)."""

    def __init__(self, *rooms: RoomRow) -> None:
        self.rooms = list(rooms)
        self.refused = 0
        self.last: list[Refusal] = []
        self.made = 0  # rows

    def rows(self) -> Iterator[RoomRow]:
        for room in self.rooms:
            self.made += 1
            yield room

    def refusals(self) -> list[Refusal]:
        return list(self.last)

    def refuse(self, room: str, reason: str = "not a member", user: str | None = "eve", asked: bytes = b"") -> None:
        self.refused += 1
        self.last.append(Refusal(float(self.refused), room, f"c{self.refused}", user, reason, asked))


class Bench:
    """An observer of a building; ``at`` is the time."""

    def __init__(self, building: Building, *, level: Any = "observe", topics: tuple[str, ...] = ("*",)) -> None:
        self.at = 100.0
        self.survey = Survey([building], lambda: self.at, Redactor())
        self.told = self.another(level, topics)

    def news(self, *, after: float = 10.0) -> Rooms | None:
        self.at += after
        return self.told.news(self.at)

    def another(self, level: Any = "observe", topics: tuple[str, ...] = ("*",)) -> RoomsTold:
        """A further observer of the same server."""
        source: Any = SimpleNamespace()
        return RoomsTold(View(source, level, topics), self.survey)

    def look(self, kind: str = "", number: int = 0) -> None:
        self.told.look(Look(kind=kind, number=number))


def occupant(key: str = "ann", *connections: str, **values: Any) -> Occupant:
    return Occupant(key, connections, **{"how": "stream", "since": 90.0, **values})


def room(number: int = 1, *occupants: Occupant, **values: Any) -> RoomRow:
    rest: dict[str, Any] = {"kind": "room", "name": f"board:{number}", "key": "", "declared": "test/board", **values}
    return RoomRow(number=number, occupants=list(occupants), **rest)


def members(news: Rooms | None) -> list[RoomMember]:
    assert news is not None
    return msgspec.json.decode(msgspec.json.encode(news.members), type=list[RoomMember])


def test_a_row_sums_up_who_is_in_the_room() -> None:
    people = [occupant("ann", "c1", "c2", cursor={"x": 1}), occupant("bob", since=95.0), occupant("__guest_7", "c3")]
    news = Bench(Building(room(3, *people))).news()
    assert news is not None
    (row,) = news.rows
    assert (row.kind, row.number, row.name, row.declared) == ("room", 3, "board:3", "test/board")
    assert (row.members, row.away, row.connections, row.cursors, row.joined_at) == (3, 1, 3, 1, 95.0)
    assert (news.full, news.totals, news.of) == (True, RoomTotals(1, 3, 0), None)


def test_only_what_changed_is_told() -> None:
    building = Building(room(1, occupant()), room(2, occupant()))
    bench = Bench(building)
    bench.news()
    assert bench.news() is None
    building.rooms[1] = room(2, occupant(), occupant("bob"))
    news = bench.news()
    assert news is not None
    assert ([row.number for row in news.rows], news.gone, news.full) == ([2], [], False)
    del building.rooms[0]
    news = bench.news()
    assert news is not None
    assert (news.rows, news.gone, news.totals.rooms) == ([], [("room", 1)], 1)


def test_rooms_of_both_kinds_with_one_number_are_two() -> None:
    news = Bench(Building(room(1), room(1, kind="contract", name="chat/chat"))).news()
    assert news is not None
    assert [(row.kind, row.number) for row in news.rows] == [("room", 1), ("contract", 1)]


def test_members_are_told_of_the_room_that_is_looked_at_when_they_change() -> None:
    building = Building(room(1, occupant("ann", "c1")), room(2, occupant("bob", "c2", shown={"name": "Bob"})))
    bench = Bench(building)
    bench.news()
    bench.look("room", 2)
    news = bench.news(after=0.0)
    assert news is not None
    assert news.of == ("room", 2)
    assert members(news) == [RoomMember("bob", ["c2"], "stream", 90.0, {"name": "Bob"}, None)]
    building.rooms[0] = room(1, occupant("ann", "c1", cursor={"x": 1}))
    assert members(bench.news()) == []  # another room's
    building.rooms[1] = room(2, occupant("bob"))
    assert members(bench.news()) == [RoomMember("bob", [], "stream", 90.0, None, None)]
    del building.rooms[1]
    news = bench.news()
    assert news is not None
    assert (news.of, members(news)) == (("room", 2), [])


def test_a_cursor_that_is_gone_goes_from_the_row_too() -> None:
    building = Building(room(1, occupant("ann", "c1", cursor={"x": 1})))
    bench = Bench(building)
    bench.look("room", 1)
    assert members(bench.news())[0].cursor == {"x": 1}
    building.rooms[0] = room(1, occupant("ann", "c1"))
    news = bench.news()
    assert news is not None
    assert (news.rows[0].cursors, members(news)[0].cursor) == (0, None)


def test_secrets_are_in_no_presence_and_no_cursor() -> None:
    ann = occupant("ann", "c1", shown={"name": "Ann", "token": "s3cret"}, cursor={"x": 1, "Session": "s3cret"})
    bench = Bench(Building(room(1, ann)))
    bench.look("room", 1)
    (member,) = members(bench.news())
    assert member.shown == {"name": "Ann", "token": "[REDACTED]"}
    assert member.cursor == {"x": 1, "Session": "[REDACTED]"}


def test_level_metrics_sees_figures_only() -> None:
    building = Building(room(1, occupant("ann", "c1"), kind="contract", name="chat/chat", key='["ann"]'))
    building.refuse("chat/chat")
    bench = Bench(building, level="metrics")
    bench.look("contract", 1)
    news = bench.news()
    assert news is not None
    assert (news.rows[0].members, news.rows[0].name, news.totals.refused) == (1, "chat/chat", 1)
    assert "ann" not in repr(news)
    assert "eve" not in repr(news)


def test_a_scope_hides_the_other_rooms_their_members_and_who_was_turned_away() -> None:
    building = Building(room(1, occupant("ann", "c1")), room(2, occupant("bob", "c2")))
    for name in ("board:1", "board:2", "test/board"):
        building.refuse(name)
    bench = Bench(building, topics=("board:1",))
    bench.look("room", 2)
    news = bench.news()
    assert news is not None
    assert ([row.name for row in news.rows], [each.room for each in news.refused]) == (["board:1"], ["board:1"])
    assert news.totals == RoomTotals(1, 1, None)
    assert "bob" not in repr(news)


def test_refusals_are_told_once() -> None:
    building = Building()
    bench = Bench(building)
    building.refuse("chat/chat", "not a member")
    news = bench.news()
    assert news is not None
    assert [(each.room, each.user, each.reason) for each in news.refused] == [("chat/chat", "eve", "not a member")]
    building.refuse("chat/chat", "no such project", user=None)
    news = bench.news()
    assert news is not None
    assert [(each.user, each.reason) for each in news.refused] == [("", "no such project")]
    assert news.totals.refused == 2


@pytest.mark.parametrize(("count", "told"), [(999, 999), (1000, 1000), (1001, 1000)])
def test_so_many_rooms_are_told_and_all_are_counted(count: int, told: int) -> None:
    news = Bench(Building(*(room(number, occupant()) for number in range(count)))).news()
    assert news is not None
    assert (len(news.rows), news.totals.rooms, news.totals.members, news.totals.more) == (told, count, count, False)


@pytest.mark.parametrize(("count", "told"), [(199, 199), (200, 200), (201, 200)])
def test_so_many_members_are_told(count: int, told: int) -> None:
    bench = Bench(Building(room(1, *(occupant(f"u{number}") for number in range(count)))))
    bench.look("room", 1)
    news = bench.news()
    assert news is not None
    assert (len(members(news)), news.rows[0].members) == (told, count)


def test_large_presence_leaves_no_room_for_further_members() -> None:
    large = {str(number): "x" * 900 for number in range(30)}
    bench = Bench(Building(room(1, *(occupant(f"u{number}", shown=large) for number in range(20)))))
    bench.look("room", 1)
    news = bench.news()
    assert news is not None
    assert 8 <= len(news.members) < 10
    assert len(msgspec.json.encode(news)) < 257 * 1024


def test_beyond_so_many_occupants_rooms_are_not_even_looked_at() -> None:
    building = Building(*(room(number, *[occupant()] * 99) for number in range(300)))
    news = Bench(building).news()
    assert news is not None
    assert (building.made, news.totals) == (201, RoomTotals(200, 19_800, 0, more=True))
    building.rooms, building.made = building.rooms[:200], 0
    news = Bench(building).news()
    assert news is not None
    assert (building.made, news.totals.more) == (200, False)


def test_rooms_are_looked_at_once_a_second_whoever_asks_how_often() -> None:
    building = Building(room(1, occupant()))
    bench = Bench(building)
    for _ in range(9):
        bench.news(after=0.1)
        bench.look("room", 1)
        bench.survey.forget()
    assert building.made == 1
    bench.news(after=0.3)
    assert building.made == 2


def test_a_look_that_takes_long_is_followed_by_a_long_pause() -> None:
    class Slow(Building):
        def rows(self) -> Iterator[RoomRow]:
            began = time.thread_time()
            while time.thread_time() - began < 0.1:
                pass
            return super().rows()

    building = Slow(room(1, occupant()))
    bench = Bench(building)
    bench.news()
    bench.news(after=4.9)
    assert building.made == 1
    bench.news(after=60)
    assert building.made == 2


def test_when_nobody_looks_nothing_is_kept() -> None:
    bench = Bench(Building(room(1, occupant())))
    bench.news()
    bench.at += 2
    bench.survey.forget()
    assert bench.survey._found is None


def test_observers_with_one_view_share_the_work() -> None:
    bench = Bench(Building(room(1, occupant())))
    bench.news()
    other = bench.another()
    first, second = bench.survey.take(bench.told._view), bench.survey.take(other._view)
    assert first is second
    assert other.news(bench.at) is not None


def test_rows_that_did_not_change_are_not_made_anew() -> None:
    building = Building(room(1, occupant()), room(2, occupant()))
    bench = Bench(building)
    first = bench.survey.take(bench.told._view)
    bench.at += 10
    building.rooms[1] = room(2)
    second = bench.survey.take(bench.told._view)
    assert [second.rows[each] is first.rows[each] for each in first.rows] == [True, False]


def test_looking_at_one_room_after_the_other_tells_of_members_only() -> None:
    building = Building(*(room(number, occupant(f"u{number}")) for number in range(3)))
    bench = Bench(building)
    bench.news()
    for number in range(3):
        bench.look("room", number)
        news = bench.news(after=0.0)
        assert news is not None
        assert (news.rows, news.refused, news.of) == ([], [], ("room", number))
    assert bench.news(after=0.0) is None
    assert building.made == 3


def test_looking_costs_little_however_often_an_observer_looks() -> None:
    shown = {str(number): "x" * 100 for number in range(200)}
    bench = Bench(Building(*(room(n, *(occupant(f"u{k}", shown=shown) for k in range(50))) for n in range(2))))
    bench.news()
    told = 0
    for turn in range(400):
        bench.look("room", turn % 2)
        told += bench.news(after=0.0) is not None
    assert 1 <= told < 50  # 10 ms, and half a millisecond or more for each
    late = None
    while late is None:
        late = bench.news(after=0.5)
    assert late.of == ("room", 1)
    assert late.members


def test_what_was_asked_for_is_told_without_secrets_and_not_all_of_it() -> None:
    building = Building()
    bench = Bench(building)
    building.refuse("chat/project", asked=b'{"data":{"project_id":"p1","token":"s3cret"}}')
    building.refuse("chat/project", asked=b'{"password":"s3cret"}')
    building.refuse("chat/project", asked=b'{"data":"' + b"x" * 500 + b'"}')
    building.refuse("chat/project")
    news = bench.news()
    assert news is not None
    first, second, third, fourth = (each.asked for each in news.refused)
    assert (first, second, fourth) == (
        '{"data":{"project_id":"p1","token":"[REDACTED]"}}',
        '{"password":"[REDACTED]"}',
        "",
    )
    assert (len(third), third[:12]) == (200, '{"data":"xxx')

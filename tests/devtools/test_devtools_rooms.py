"""Rooms: the rows, the screen, and the closing of connections."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from liverpc.inspector.protocol import (
    ConnectionInfo,
    ConnectionStats,
    Err,
    Kick,
    Look,
    Ok,
    RefusedJoin,
    RoomInfo,
    RoomMember,
    Rooms,
    RoomTotals,
)
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.room_rows import RoomRows
from tests.devtools.attach_frames import Hand, full, welcome
from tests.devtools.conftest import Bench, OpenBench, column, fed, selected

TOTALS = RoomTotals(2, 3, 1)


def room(number: int = 1, name: str = "board:1", *, kind: str = "room", **changes: Any) -> RoomInfo:
    values: dict[str, Any] = {"key": "", "declared": "board/cards", "members": 2, "away": 0, "connections": 3}
    return RoomInfo(kind, number, name, **{**values, "cursors": 1, "joined_at": 1090.0, **changes})


def member(key: str = "ann", *connections: str, **changes: Any) -> RoomMember:
    return RoomMember(key, list(connections), **{"how": "stream", "since": 1080.0, **changes})


def told(*rows: RoomInfo, **changes: Any) -> Rooms:
    return Rooms(at=1100.0, rows=list(rows), **{"totals": TOTALS, **changes})


def refused(at: float = 1099.0, reason: str = "not a member", user: str = "eve") -> RefusedJoin:
    return RefusedJoin(at, "chat/project", "c9-of-eve", user, reason, '{"data":"p1"}')


CHAT = room(1, "chat/chat", kind="contract", key='["general"]', declared="/rooms/{room_id}", members=1)
ANN = member("ann", "c1", "c2", since=1070.0, shown={"name": "Ann"}, cursor={"x": 4})
WORLD = told(room(), CHAT, full=True, of=("room", 1), members=[ANN, member("__guest_7", "c3-of-a-guest")])


# -- rows


@pytest.fixture
def rooms() -> RoomRows:
    rooms = RoomRows()
    rooms.look(Look(kind="room", number=1))
    rooms.apply(WORLD)
    return rooms


def test_rows_are_changed_and_go(rooms: RoomRows) -> None:
    assert [row.name for row in rooms.rows.values()] == ["board:1", "chat/chat"]
    rooms.apply(told(room(members=5), gone=[("contract", 1)]))
    assert [(row.name, row.members) for row in rooms.rows.values()] == [("board:1", 5)]
    assert [each.key for each in rooms.members] == ["ann", "__guest_7"]
    rooms.apply(told(room(9), full=True))
    assert list(rooms.rows) == [("room", 9)]


def test_members_of_the_room_that_was_looked_at_before_are_not_taken_for_those_of_this_one(rooms: RoomRows) -> None:
    rooms.look(Look(kind="contract", number=1))
    assert rooms.members == []
    rooms.apply(told(of=("room", 1), members=[ANN]))  # it was on its way
    assert rooms.members == []
    rooms.apply(told(of=("contract", 1), members=[ANN]))
    assert rooms.members == [ANN]
    rooms.look(Look(kind="contract", number=1))
    assert rooms.members == [ANN]


def test_refused_joins_are_kept_in_order_and_not_twice_after_a_reconnection(rooms: RoomRows) -> None:
    rooms.apply(told(refused=[refused(1099.0), refused(1098.0, "no key")]))
    assert [each.reason for each in rooms.refused] == ["no key", "not a member"]
    rooms.apply(told(full=True, refused=[refused(1099.0)]))
    assert [each.reason for each in rooms.refused] == ["not a member"]


@pytest.mark.parametrize(("count", "kept"), [(199, 199), (200, 200), (201, 200)])
def test_so_many_refused_joins_are_kept(rooms: RoomRows, count: int, kept: int) -> None:
    rooms.apply(told(refused=[refused(float(number)) for number in range(count)]))
    assert len(rooms.refused) == kept
    assert rooms.refused[-1].at == count - 1


def test_rooms_of_which_nothing_is_told_are_counted(rooms: RoomRows) -> None:
    assert rooms.untold == 0
    rooms.apply(told(totals=RoomTotals(5000, 10_000, 0)))
    assert rooms.untold == 4998


# -- the model


@pytest.fixture
def sent() -> list[Any]:
    return []


@pytest.fixture
def model(sent: list[Any]) -> Model:
    model = Model(monotonic=Hand())
    model.attached(welcome(granted="admin"), sent.append)
    return model


def test_the_server_is_told_once_what_is_looked_at_and_again_after_a_reconnection(
    model: Model, sent: list[Any]
) -> None:
    for _ in range(3):
        model.look(Look(kind="room", number=1))
    model.attached(welcome(session="another"), sent.append)
    model.look(None)
    model.attached(welcome(session="a third"), sent.append)
    looks = [each for each in sent if isinstance(each, Look)]
    assert looks == [Look(kind="room", number=1), Look(kind="room", number=1), Look(rooms=False)]


def test_what_came_of_a_kick_is_a_note(model: Model, sent: list[Any]) -> None:
    number = model.kick(Kick(id=0, user="ann", for_good=True))
    assert sent[-1] == Kick(id=number, user="ann", for_good=True)
    model.apply(Ok(id=number, closed=2))
    model.apply(Ok(id=model.kick(Kick(id=0, user="bob")), closed=1))
    model.apply(Err(id=model.kick(Kick(id=0, user="eve")), text="no user of that name is connected"))
    assert list(model.notes)[-3:] == [
        "closed 2 connections",
        "closed 1 connection",
        "refused: no user of that name is connected",
    ]


def test_an_older_observer_ignores_what_is_newer() -> None:
    longer = msgspec.json.encode(room())[:-1] + b',"something newer"]'
    assert msgspec.json.decode(longer, type=RoomInfo) == room()
    assert msgspec.json.decode(b'{"t":"ok","id":1}', type=Ok).closed == 0


# -- the screen


def looked_at(bench: Bench) -> Look:
    look: Look = bench.of(Look)[-1]
    return look


@pytest.mark.realtime
async def test_rooms_are_asked_for_while_they_are_shown(bench: OpenBench) -> None:
    async with bench() as it:
        assert it.of(Look) == []
        await it.press("6")
        assert looked_at(it) == Look()
        text = await fed(it, WORLD)
        assert looked_at(it) == Look(kind="room", number=1)
        assert "[6 Rooms] 2" in text
        await it.press("j")
        assert looked_at(it) == Look(kind="contract", number=1)
        text = await it.press("2")
        assert looked_at(it) == Look(rooms=False)
        assert "6 Rooms 2" not in " ".join(text.split())


@pytest.mark.realtime
async def test_a_room_shows_its_figures_and_its_members(bench: OpenBench) -> None:
    async with bench(screen="rooms", size=(160, 40)) as it:
        text = await fed(it, WORLD, WORLD)
        row = " ".join((await it.line("▸ room")).split())
        assert row == "▸ room board:1 2 3 0 1 10s board/cards"
        assert '["general"]' in text
        assert "/rooms/{room_id}" in text
        assert " ".join((await it.line("▸ __guest_7")).split()).startswith("▸ __guest_7 stream 20s 1")
        await it.press("enter", "j")
        text = await it.text()
        for part in ("has the data stream", "connection c1", "connection c2", '"Ann"', "cursor", '{"x": 4}'):
            assert part in text
        assert '{"name": "Ann"}' in await it.press("v")


@pytest.mark.realtime
async def test_a_narrow_screen_shows_all_figures(bench: OpenBench) -> None:
    async with bench(screen="rooms", size=(80, 24)) as it:
        await fed(it, WORLD, WORLD)
        header = (await it.line("grace")).split()
        assert header == ["kind", "name", "▲", "key", "members", "conns", "grace", "cursors", "joined"]
        assert (await it.line("▸ room")).rstrip().endswith("10s")


@pytest.mark.realtime
async def test_on_a_small_screen_enter_makes_room_for_the_members(bench: OpenBench) -> None:
    async with bench(screen="rooms", size=(60, 14)) as it:
        assert "ann" not in await fed(it, WORLD, WORLD)
        assert "ann" in await it.press("enter")
        assert "ann" not in await it.press("escape")
        await fed(it, told(refused=[refused()]))
        assert "not a member" in await it.press("o", "enter")
        assert "not a member" not in await it.press("escape")


@pytest.mark.realtime
async def test_who_is_in_its_grace_says_so(bench: OpenBench) -> None:
    async with bench(screen="rooms") as it:
        away = told(room(away=1), full=True, of=("room", 1), members=[member("bob", since=1000.0)])
        text = await fed(it, away, away)
        assert "1 in grace" in text
        assert "grace" in (await it.line("▸ bob")).split()


@pytest.mark.realtime
async def test_a_room_that_goes_takes_its_members_along(bench: OpenBench) -> None:
    async with bench(screen="rooms") as it:
        assert "ann" in await fed(it, WORLD, WORLD)
        text = await fed(it, told(gone=[("room", 1)]))
        assert selected(text) == "contract"
        assert "ann" not in text
        text = await fed(it, told(gone=[("contract", 1)]))
        assert "nobody is in a room" in text
        assert "no room selected" in text


@pytest.mark.realtime
async def test_enter_on_a_member_shows_its_connections(bench: OpenBench) -> None:
    connections = [ConnectionInfo(f"c{n}-of-{user}", user, "10.0.0.1", 1000.0) for n, user in ((1, "ann"), (2, "bob"))]
    guest = ConnectionInfo("c3-of-a-guest", "", "10.0.0.9", 1000.0)
    stats = [ConnectionStats(each.id, 1, 1, 1, 0, 0) for each in (*connections, guest)]
    async with bench(screen="rooms") as it:
        await fed(it, full(connections=[*connections, guest], connection_stats=stats), WORLD, WORLD)
        text = await it.press("enter", "j", "enter")
        assert 'filter "ann" 1 shown' in text
        assert "[4 Conns]" in text
        await it.press("6")
        await fed(it, WORLD)
        await it.pilot.press("enter", "g", "enter")
        assert 'filter "c3-of-a-" 1 shown' in await it.text()


@pytest.mark.realtime
async def test_f_shows_who_was_turned_away_and_why(bench: OpenBench) -> None:
    async with bench(screen="rooms") as it:
        await fed(it, WORLD, told(refused=[refused(1098.0, user=""), refused(1099.0, "evil\x1b[31m")]))
        text = await it.press("o")
        assert "1 refused" in text
        assert column(text, "asked for", 2)
        row = "chat/project anonymous c9-of-ev not a member"
        assert " ".join((await it.line("anonymous")).split()[1:]) == f'{row} {{"data":"p1"}}'
        assert r"evil\x1b[31m" in text
        assert "ann" not in text
        assert "nobody was turned away" not in text
        await it.pilot.press("enter", "enter")
        assert 'filter "c9-of-ev"' in await it.text()


@pytest.mark.realtime
async def test_rooms_are_filtered_and_sorted(bench: OpenBench) -> None:
    async with bench(screen="rooms") as it:
        await fed(it, WORLD)
        text = await it.press("slash", *"general", "enter")
        assert ("chat/chat" in text, "board:1" in text) == (True, False)
        await it.press("escape")
        for _ in range(2):
            text = await it.press("s")
        assert "members ▼" in text
        assert column(text, "members", 2) == ["room", "contract"]
        assert column(await it.press("S"), "members", 2) == ["contract", "room"]


@pytest.mark.realtime
async def test_what_is_not_shown_is_stated(bench: OpenBench) -> None:
    async with bench(screen="rooms", size=(160, 36)) as it:
        assert "not shown" not in await fed(it, WORLD, WORLD)
        many = told(room(members=500), totals=RoomTotals(5204, 9000, 0, more=True))
        text = await fed(it, many)
        assert "5,202 not shown  more not counted" in text
        assert "[6 Rooms] 5,204+" in text
        assert "498 not shown" in text


@pytest.mark.realtime
async def test_an_older_server_and_a_low_level_are_explained(bench: OpenBench) -> None:
    async with bench(screen="rooms") as it:
        assert "nobody is in a room" in await it.text()
        assert "the server tells nothing of rooms" in await fed(it, full())
    async with bench(screen="rooms", granted="metrics") as it:
        assert "members are not shown at this level" in await fed(it, told(room(), full=True))


@pytest.mark.realtime
async def test_ascii_draws_with_ascii_only(bench: OpenBench) -> None:
    async with bench(screen="rooms", ascii_only=True, granted="admin") as it:
        assert (await fed(it, WORLD, WORLD)).isascii()
        assert (await it.press("o")).isascii()
        await it.press("o", "enter")
        assert (await it.press("D")).isascii()


# -- closing connections


@pytest.mark.realtime
@pytest.mark.parametrize("granted", ["observe", "chaos"])
async def test_without_level_admin_there_is_no_way_to_kick(bench: OpenBench, granted: str) -> None:
    async with bench(screen="connections", granted=granted) as it:
        text = await fed(it, full())
        assert "D kick" not in text
        assert "Nobody is locked out" not in await it.press("D")


@pytest.mark.realtime
async def test_a_connection_is_closed_after_a_confirmation(bench: OpenBench) -> None:
    async with bench(screen="connections", granted="admin") as it:
        assert "D kick" in await fed(it, full())
        text = await it.press("D")
        assert "connection c1; it comes back by itself" in text
        assert "all connections of u1, for good" in text
        await it.press("enter")  # on "nothing"
        await it.press("D", "escape")
        assert it.of(Kick) == []
        await it.press("D", "j", "enter")
        await it.press("D", "j", "j", "enter")
        await it.press("D", "j", "j", "j", "enter")
        await it.press("D", "up", "enter")
        assert [(each.connection, each.user, each.for_good) for each in it.of(Kick)] == [
            ("c1", "", False),
            ("c1", "", True),
            ("", "u1", False),
            ("", "u1", True),
        ]
        assert len({each.id for each in it.of(Kick)}) == 4
        assert "closed 3 connections" in await fed(it, Ok(id=it.of(Kick)[-1].id, closed=3))


@pytest.mark.realtime
async def test_of_a_room_the_selected_member_is_closed(bench: OpenBench) -> None:
    async with bench(screen="rooms", granted="admin") as it:
        await fed(it, WORLD, WORLD)
        text = await it.press("enter", "D")  # a guest: there is no user to close
        assert "connection c3-of-a-" in text
        assert "all connections" not in text
        await it.press("j", "enter", "j", "D", "j", "enter")
        assert [(each.connection, each.user) for each in it.of(Kick)] == [("c3-of-a-guest", ""), ("", "ann")]
        gone = told(of=("room", 1), members=[member("bob")])
        assert "D kick" not in await fed(it, gone)


@pytest.mark.realtime
async def test_the_question_shows_names_as_text(bench: OpenBench) -> None:
    async with bench(screen="connections", granted="admin") as it:
        evil = ConnectionInfo("c1", "[red]\x1b[31m\u202e", "10.0.0.1", 1000.0)
        await fed(it, full(connections=[evil]))
        assert r"all connections of [red]\x1b[31m\u202e" in await it.press("D")

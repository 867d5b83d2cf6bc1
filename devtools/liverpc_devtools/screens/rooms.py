"""Rooms: which there are, who is in the selected one, and who was not let in."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from liverpc.inspector.protocol import Look, RefusedJoin, RoomInfo, RoomMember
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.row_fields import REFUSED_FIELDS, ROOM_FIELDS
from liverpc_devtools.core.text import age, clean, clock, count
from liverpc_devtools.screens.view import View, number, short
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.forms import FORMS, Form, following, written
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.payload import Payload
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["RoomsView"]

_GUEST = "__guest_"
_UNTOLD = "the server tells nothing of rooms: it is older"


class RoomsView(View):
    """Rooms above; below, the members of the selected one and what they show, or those who were not let in."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter", "open", "the members, then the connections of one", key_display="enter members", id="rooms.open"
        ),
        Binding(
            "o", "refused", "those who were not let in, or the members", key_display="o refused", id="rooms.refused"
        ),
        Binding("v", "form", "presence and cursor pretty, raw or as bytes", key_display="v form", id="rooms.form"),
    ]
    DIGIT = "6"
    TITLE = "Rooms"

    def __init__(self, model: Model, glyphs: Glyphs) -> None:
        table: Table[RoomInfo] = Table(
            _columns(model),
            lambda: model.rooms.rows.values(),
            lambda row: (row.kind, row.number),
            facts=lambda row: (row.name, row.key),
            fields=ROOM_FIELDS,
            glyphs=glyphs,
            sort=1,
            id="occupied",
        )
        super().__init__(model, glyphs, table, id="rooms")
        self._rooms = table
        self._members: Table[RoomMember] = Table(
            _member_columns(model),
            lambda: model.rooms.members,
            lambda member: member.key,
            glyphs=glyphs,
            sort=2,
            id="members",
        )
        self._refused: Table[RefusedJoin] = Table(
            _refused_columns(model),
            lambda: reversed(model.rooms.refused),
            lambda refused: refused,
            fields=REFUSED_FIELDS,
            glyphs=glyphs,
            follow=True,
            empty="nobody was turned away",
            id="refused",
        )
        self._title = Bar("bar", id="room-title")
        self._payload = Payload(id="member")
        self._form: Form = FORMS[0]

    def compose(self) -> ComposeResult:
        yield self._rooms
        yield self._title
        with Horizontal(id="inside"):
            yield self._members
            yield self._payload
        yield self._refused

    # -- for the app --------------------------------------------------------------------------------------

    def figure(self) -> str:
        totals = self.model.rooms.totals
        return "" if totals is None or not self.model.looking else f"{count(totals.rooms)}{'+' if totals.more else ''}"

    def happened(self) -> int:
        return self.model.rooms.changes

    def flush(self) -> None:
        told = self.model.rooms.totals is not None or not self.model.rows.complete
        self._rooms.empty = "nobody is in a room" if told else _UNTOLD
        super().flush()
        self.fit_table(len(self.model.rooms.rows))
        room = self._rooms.selected
        self.model.look(Look() if room is None else Look(kind=room.kind, number=room.number))
        metrics = self.model.welcome is not None and self.model.welcome.granted == "metrics"
        self._members.empty = "members are not shown at this level" if metrics else "nobody"
        self._members.flush()
        self._refused.flush()
        self._show_title(room)
        self._show_member()

    def left(self) -> None:
        self.model.look(None)

    def marks(self) -> Line:
        totals, untold = self.model.rooms.totals, self.model.rooms.untold
        left_out: Line = [(f"{count(untold)} not shown  ", "warn")] if untold else []
        if totals is not None and totals.more:
            left_out.append(("more not counted  ", "warn"))
        return left_out + super().marks()

    def target(self) -> tuple[str, str] | None:
        if self.has_class("-refused"):
            refused = self._refused.selected
            return None if refused is None else (refused.connection, refused.user)
        member = self._members.selected
        if member is None or not member.connections:
            return None
        return (member.connections[0], "") if member.key.startswith(_GUEST) else ("", member.key)

    # -- drawing ------------------------------------------------------------------------------------------

    def _show_title(self, room: RoomInfo | None) -> None:
        totals = self.model.rooms.totals
        refused = "" if totals is None or totals.refused is None else f"{count(totals.refused)} refused "
        if self.has_class("-refused"):
            self._title.show([[(" Not let in ", "strong")]], [(refused, "dim")])
            return
        if room is None:
            self._title.show([[(" no room selected", "dim")]], [(refused, "dim")])
            return
        untold = room.members - len(self.model.rooms.members) if self.model.rooms.members else 0
        left: list[Line] = [
            [(f" {clean(room.name)} ", "strong"), (f"{clean(room.key)} ", "text")],
            [(f" {count(untold)} not shown ", "warn")] if untold > 0 else [],
            [(f" {count(room.away)} in grace ", "warn")] if room.away else [],
            [(f" {clean(room.declared)} ", "dim")],
        ]
        self._title.show(left, [(refused, "dim"), (self._form, "accent"), (" ", "")])

    def _show_member(self) -> None:
        member = self._members.selected
        if member is None:
            self._payload.tell(None, None, list)
        else:
            self._payload.tell(member.key, (self._form, member), lambda: _about(member, self._form))

    # -- keys ---------------------------------------------------------------------------------------------

    def action_open(self) -> None:
        if self.focused(self._rooms) or self.focused(self._payload):
            self.enter_details()
            self.screen.set_focus(self._refused if self.has_class("-refused") else self._members)
        elif self.focused(self._refused) and (refused := self._refused.selected) is not None:
            self.post_message(self.Goto("connections", short(refused.connection)))
        elif (member := self._members.selected) is not None and member.connections:
            needle = short(member.connections[0]) if member.key.startswith(_GUEST) else clean(member.key)
            self.post_message(self.Goto("connections", needle))

    def action_refused(self) -> None:
        inside = not self.focused(self._rooms)
        self.toggle_class("-refused")
        if inside:
            self.screen.set_focus(self._refused if self.has_class("-refused") else self._members)

    def action_form(self) -> None:
        self._form = following(self._form, compares=False)


_HOW = {
    "stream": "has the data stream",
    "auto": "joined by itself",
    "asked": "asked to join",
    "handler": "was joined by a handler",
}


def _about(member: RoomMember, form: Form) -> list[Line]:
    lines: list[Line] = [
        [(f"{clean(member.key)} ", "strong"), (f" {_HOW.get(member.how, clean(member.how))}", "dim")],
        *([("connection ", "key"), (clean(each), "text")] for each in member.connections),
    ]
    for title, value in (("presence", member.shown), ("cursor", member.cursor)):
        if value is not None:
            lines += [[(title, "head")], *([("  ", ""), *line] for line in written(value, form))]
    return lines


def _columns(model: Model) -> list[Column[RoomInfo]]:
    return [
        Column("kind", 8, lambda row: (clean(row.kind), "dim"), attrgetter("kind")),
        Column("name", 14, lambda row: (clean(row.name), "strong"), attrgetter("name"), most=44),
        Column("key", 10, lambda row: (clean(row.key), "text"), attrgetter("key"), most=32),
        _figure("members", 7, "members"),
        _figure("conns", 5, "connections"),
        _figure("grace", 5, "away"),
        _figure("cursors", 7, "cursors"),
        Column("joined", 6, partial(_joined, model), lambda row: -row.joined_at, right=True),
        Column("declared", 12, lambda row: (clean(row.declared), "dim"), attrgetter("declared"), most=32, optional=1),
    ]


def _figure(title: str, width: int, name: str) -> Column[RoomInfo]:
    value: Callable[[RoomInfo], int] = attrgetter(name)
    return Column(title, width, lambda row: number(value(row)), value, right=True, falling=True)


def _joined(model: Model, row: RoomInfo) -> Piece:
    return age(model.tick() - row.joined_at), "text"


def _member_columns(model: Model) -> list[Column[RoomMember]]:
    return [
        Column("who", 10, lambda row: (clean(row.key), "strong"), attrgetter("key"), most=28),
        Column("how", 7, lambda row: (clean(row.how), "dim"), attrgetter("how")),
        Column("since", 6, lambda row: (age(model.tick() - row.since), "text"), lambda row: -row.since, right=True),
        Column("conns", 5, _connections, lambda row: len(row.connections), right=True, falling=True),
        Column("cursor", 12, _cursor, most=48, optional=1),
    ]


def _connections(row: RoomMember) -> Piece:
    return (count(len(row.connections)), "text") if row.connections else ("grace", "warn")


def _cursor(row: RoomMember) -> Piece:
    return "" if row.cursor is None else clean(json.dumps(row.cursor, ensure_ascii=False)), "dim"


def _refused_columns(model: Model) -> list[Column[RefusedJoin]]:
    return [
        Column("time", 12, lambda row: (clock(model.wall(row.at)), "dim")),
        Column("room", 14, lambda row: (clean(row.room), "strong"), most=36),
        Column("user", 9, lambda row: (clean(row.user) or "anonymous", "text"), most=20),
        Column("conn", 8, lambda row: (clean(short(row.connection)), "dim"), optional=1),
        Column("reason", 13, lambda row: (clean(row.reason), "warn"), most=60),
        Column("asked for", 12, lambda row: (clean(row.asked), "text"), most=80),
    ]

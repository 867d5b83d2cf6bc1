"""Connections: who is connected, and who came and went."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from liverpc.inspector.protocol import ConnectionEvent
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.rows import Connection
from liverpc_devtools.core.text import age, clean, clock, count, size
from liverpc_devtools.screens.view import View, number, per_second, short
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["ConnectionsView"]

_SLOW_BYTES = 64 * 1024


class ConnectionsView(View):
    """Open connections above; openings and closings below."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "go to openings and closings", key_display="enter log")
    ]
    DIGIT = "4"
    TITLE = "Connections"

    def __init__(self, model: Model, glyphs: Glyphs) -> None:
        table: Table[Connection] = Table(
            _columns(model),
            lambda: model.rows.connections.values(),
            lambda row: row.info.id,
            facts=lambda row: row.info,
            glyphs=glyphs,
            sort=3,
            empty="nobody is connected",
            id="connected",
        )
        super().__init__(model, glyphs, table, id="connections")
        self._connected = table
        self._log: Table[ConnectionEvent] = Table(
            _log_columns(model),
            lambda: reversed(model.connection_events),
            lambda event: (event.at, event.connection, event.what),
            glyphs=glyphs,
            follow=True,
            empty="nothing since you attached",
            id="connection-log",
        )
        self._title = Bar("bar", id="connection-title")

    def compose(self) -> ComposeResult:
        yield self._connected
        yield self._title
        yield self._log

    def figure(self) -> str:
        return count(len(self.model.rows.connections))

    def happened(self) -> int:
        return len(self.model.connection_events)

    def flush(self) -> None:
        super().flush()
        row = self._connected.selected
        left: list[Line] = [[(" Opened and closed ", "strong")]]
        if row is not None:
            left.append([(f" selected {clean(row.info.id)} ", "dim")])
            left.append(self._uploads(row.info.id))
        self._title.show(left, [(f"{count(self._log.shown)} ", "dim")])
        self._log.flush()

    def _uploads(self, connection: str) -> Line:
        running = self.model.uploads.running(connection)
        if not running:
            return []
        now = self.model.tick()
        shares = ", ".join(filter(None, (each.percent for each in running)))
        rate = size(int(sum(each.rate(now) for each in running)))
        text = f"{len(running)} {shares and f'({shares}) '}{rate}/s "
        return [(" uploads ", "dim"), (text, "text")]

    def target(self) -> tuple[str, str] | None:
        row = self._connected.selected
        return None if row is None else (row.info.id, row.info.user)

    def action_open(self) -> None:
        self.enter_details()
        self.screen.set_focus(self._log)


def _columns(model: Model) -> list[Column[Connection]]:
    return [
        Column("id", 8, lambda row: (clean(short(row.info.id)), "strong"), lambda row: row.info.id),
        Column("user", 9, _user, lambda row: row.info.user, most=24),
        Column("address", 11, lambda row: (clean(row.info.address), "dim"), lambda row: row.info.address, most=24),
        Column("since", 6, partial(_since, model), lambda row: -row.info.opened_at, right=True),
        Column("topics", 6, lambda row: number(row.stats.topics), attrgetter("stats.topics"), right=True, falling=True),
        Column("in/s", 4, partial(_in, model), lambda row: row.frames.rate(model.tick()), right=True, falling=True),
        Column("calls", 5, lambda row: number(row.stats.calls), attrgetter("stats.calls"), right=True, falling=True),
        Column("pend", 4, lambda row: number(row.stats.pending), attrgetter("stats.pending"), right=True, falling=True),
        Column("buffer", 7, _buffered, lambda row: row.stats.buffered, right=True, falling=True),
    ]


def _log_columns(model: Model) -> list[Column[ConnectionEvent]]:
    return [
        Column("time", 12, lambda event: (clock(model.wall(event.at)), "dim")),
        Column("what", 5, lambda event: (clean(event.what), "ok" if event.what == "open" else "warn")),
        Column("id", 8, lambda event: (clean(short(event.connection)), "strong")),
        Column("user", 9, lambda event: (clean(event.user) or "anonymous", "text"), most=20, optional=1),
        Column("address", 11, lambda event: (clean(event.address), "dim"), most=24, optional=2),
        Column("code", 4, lambda event: (str(event.code) if event.code else "", "text"), right=True),
        Column("reason", 10, lambda event: (clean(event.reason), "text"), most=48),
    ]


def _user(row: Connection) -> Piece:
    return (clean(row.info.user), "text") if row.info.user else ("anonymous", "dim")


def _since(model: Model, row: Connection) -> Piece:
    return age(model.tick() - row.info.opened_at), "text"


def _in(model: Model, row: Connection) -> Piece:
    return per_second(row.frames.rate(model.tick()))


def _buffered(row: Connection) -> Piece:
    value = row.stats.buffered
    return size(value), "warn" if value >= _SLOW_BYTES else "text" if value else "dim"

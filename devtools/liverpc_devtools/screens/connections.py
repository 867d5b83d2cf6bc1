"""Connections: who is connected, and who came and went."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from liverpc.inspector.protocol import ChaosRule, ConnectionEvent, SubscriptionInfo
from liverpc_devtools.core.fields import CONNECTION_FIELDS
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.row_fields import SLOW_BYTES, SUBSCRIPTION_FIELDS, connection_fields
from liverpc_devtools.core.rows import Connection
from liverpc_devtools.core.terms import Term, show
from liverpc_devtools.core.text import age, clean, clock, count, size
from liverpc_devtools.screens.stream_columns import subscription_figures
from liverpc_devtools.screens.view import View, number, per_second, short
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.chaosform import ask_for_fault
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["ConnectionsView"]


class ConnectionsView(View):
    """Open connections above; below, to what the selected one listens, and who came and went."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter",
            "open",
            "what it listens to; from there the stream",
            key_display="enter streams",
            id="connections.open",
        ),
        Binding(
            "t", "pane", "openings and closings, or what it listens to", key_display="t log", id="connections.pane"
        ),
        Binding("u", "user", "only connections of this user, or all", key_display="u user", id="connections.user"),
        Binding("d", "fault", "inject a fault for this connection only", show=False, id="connections.fault"),
    ]
    DIGIT = "4"
    TITLE = "Conns"

    def __init__(self, model: Model, glyphs: Glyphs) -> None:
        table: Table[Connection] = Table(
            _columns(model),
            lambda: model.rows.connections.values(),
            lambda row: row.info.id,
            facts=lambda row: row.info,
            fields=connection_fields(model),
            glyphs=glyphs,
            sort=3,
            empty="nobody is connected",
            id="connected",
        )
        super().__init__(model, glyphs, table, id="connections")
        self._connected = table
        self._subscriptions: Table[SubscriptionInfo] = Table(
            _subscription_columns(),
            lambda: model.listeners.told or (),
            lambda row: row.topic,
            facts=lambda row: row,
            fields=SUBSCRIPTION_FIELDS,
            glyphs=glyphs,
            sort=0,
            id="subscriptions",
        )
        self._log: Table[ConnectionEvent] = Table(
            _log_columns(model),
            lambda: reversed(model.connection_events),
            lambda event: (event.at, event.connection, event.what),
            fields=CONNECTION_FIELDS,
            glyphs=glyphs,
            follow=True,
            empty="nothing since you attached",
            id="connection-log",
        )
        self._inner: Table[SubscriptionInfo] | Table[ConnectionEvent] = self._subscriptions
        self._title = Bar("bar", id="connection-title")

    def compose(self) -> ComposeResult:
        yield self._connected
        yield self._title
        with Horizontal(id="about"):
            yield self._subscriptions
            yield self._log

    def on_mount(self) -> None:
        self._show_pane()

    def figure(self) -> str:
        return count(len(self.model.rows.connections))

    def happened(self) -> int:
        return len(self.model.connection_events)

    def flush(self) -> None:
        super().flush()
        row = self._connected.selected
        if row is not None:
            self.model.listen("subscriptions", row.info.id)
        listeners = self.model.listeners
        asked = clean(listeners.problem) or "the server is asked"
        self._subscriptions.empty = asked if row is not None and listeners.told is None else "listens to nothing"
        self._subscriptions.flush()
        self._log.flush()
        self._title.show(self._about(row), [(f"log {count(self._log.shown)} ", "dim")])

    def _about(self, row: Connection | None) -> list[Line]:
        if row is None:
            return [[(" Opened and closed ", "strong")]]
        info, stats = row.info, row.stats
        left: list[Line] = [
            [(f" {clean(info.id)} ", "strong")],
            [(f" {clean(info.user) or 'anonymous'} ", "text")],
            [(f" topics {count(stats.topics)} ", "dim")],
            self._uploads(info.id),
            [(f" calls {count(stats.calls)}, {count(stats.pending)} pending ", "dim")],
        ]
        if stats.buffered >= SLOW_BYTES:
            left.insert(1, [(f" slow: {size(stats.buffered)} not taken ", "warn")])
        return left

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

    # -- keys ---------------------------------------------------------------------------------------------

    def action_open(self) -> None:
        if self.focused(self._subscriptions) and (row := self._subscriptions.selected) is not None:
            self.post_message(self.Goto("streams", show(Term("topic", ":", row.topic))))
        else:
            self.enter_details()
            self.screen.set_focus(self._inner)

    def action_pane(self) -> None:
        inside = self.focused(self._inner)
        self._inner = self._log if self._inner is self._subscriptions else self._subscriptions
        self._show_pane()
        if inside:
            self.screen.set_focus(self._inner)

    def _show_pane(self) -> None:
        for each in (self._subscriptions, self._log):
            each.set_class(each is not self._inner, "-other")

    def action_user(self) -> None:
        row = self._connected.selected
        if row is not None:
            only = show(Term("user", ":", row.info.user))
            self._connected.needle = "" if self._connected.needle == only else only

    def action_fault(self) -> None:
        row = self._connected.selected
        if row is not None:
            ask_for_fault(self, ChaosRule(action="delay", connection=row.info.id))


def _subscription_columns() -> list[Column[SubscriptionInfo]]:
    topic: Column[SubscriptionInfo] = Column(
        "listens to", 16, lambda row: (clean(row.topic), "strong"), attrgetter("topic"), most=44
    )
    return [topic, *subscription_figures()]


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
    return size(value), "warn" if value >= SLOW_BYTES else "text" if value else "dim"

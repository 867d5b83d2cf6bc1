"""Streams: every topic somebody is subscribed to, and the last events of the selected one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from liverpc.inspector.protocol import PublishEvent
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.rows import Stream
from liverpc_devtools.core.text import age, clean, clock, count, ordinal, size
from liverpc_devtools.screens.view import View, number, per_second
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.payload import Payload, pretty, raw
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["StreamsView"]


class StreamsView(View):
    """Topics above; below, figures and last events of the selected topic, and the payload of the selected event."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "go to the events of the topic", key_display="enter events"),
        Binding("p", "pause", "pause the capture of the topic's events", key_display="p pause"),
        Binding("v", "form", "payload pretty or raw", key_display="v raw"),
        Binding("c", "clear", "clear the events of the topic", key_display="c clear"),
        Binding("C", "clear_all", "clear the events of all topics", show=False),
    ]
    DIGIT = "2"
    TITLE = "Streams"

    def __init__(self, model: Model, glyphs: Glyphs) -> None:
        table: Table[Stream] = Table(
            _columns(model),
            lambda: model.rows.streams.values(),
            lambda row: row.info.id,
            facts=lambda row: (row.info, row.stats.event, row.stats.error),
            glyphs=glyphs,
            sort=0,
            empty="nobody is subscribed to anything yet",
            id="topics",
        )
        super().__init__(model, glyphs, table, id="streams")
        self._topics = table
        self._events: Table[PublishEvent] = Table(
            _event_columns(model, glyphs),
            lambda: reversed(model.ring),
            lambda event: (event.at, event.seq),
            glyphs=glyphs,
            follow=True,
            period=0.1,
            id="events",
        )
        self._payload = Payload(id="payload")
        self._title = Bar("bar", id="ring")
        self._figures = Bar("head", id="figures")
        self._raw = False
        self._shown: PublishEvent | None = None

    def compose(self) -> ComposeResult:
        yield self._topics
        yield self._title
        yield self._figures
        with Horizontal(id="detail"):
            yield self._events
            yield self._payload

    def figure(self) -> str:
        return count(len(self.model.rows.streams))

    def happened(self) -> int:
        return self.model.rows.totals.published.total

    def flush(self) -> None:
        super().flush()
        self.fit_table(len(self.model.rows.streams))
        selected = self._topics.selected
        if selected is not None:
            self.model.look_at(selected.info.topic)
        self._events.empty = "paused" if self.model.paused else "no events kept yet"
        self._events.flush()
        self._show_payload()
        self._show_title()
        self._show_figures(selected)

    def _show_payload(self) -> None:
        event = self._events.selected
        lines: list[Line] = []
        if event is not None and event.dropped:
            lines.append([(f"{self.glyphs.cut} dropped by a fault: nobody received it", "warn")])
        if event is not None and event.data is msgspec.UNSET:
            lines.append([("payloads are not shown at this level", "dim")])
        elif event is not None:
            lines += raw(event.data) if self._raw else pretty(event.data)
        self._payload.show(lines, top=event is not self._shown)
        self._shown = event

    def _show_title(self) -> None:
        model, topic = self.model, self.model.topic
        if topic is None:
            self._title.show([[(" no topic selected", "dim")]], [])
            return
        kept = len(model.ring)
        events = "event" if kept == 1 else "events"
        left: list[Line] = [[(f" {clean(topic)} ", "strong")], [(f" last {kept} {events} ", "dim")]]
        if model.left_out:
            left.append([(f" {count(model.left_out)} older left out ", "warn")])
        if model.paused:
            left.append([(f" paused (+{count(model.missed)})", "warn")])
        self._title.show(left, [("Raw" if self._raw else "Pretty", "accent"), (" ", "")])

    def _show_figures(self, stream: Stream | None) -> None:
        """Those for which a narrow table has no room."""
        if stream is None:
            self._figures.show([[]], [])
            return
        stats = stream.stats
        figures = {
            "replay": stats.replay_depth,
            "reloads": stats.reloads,
            "held": stats.held,
            "coalesced": stats.coalesced,
            "missed": stats.volatile_drops,
        }
        left: list[Line] = [[(f" {title} ", "dim"), (f"{count(value)} ", "text")] for title, value in figures.items()]
        left.insert(0, [(" seq ", "dim"), (f"{ordinal(stats.seq)} ", "text")])
        self._figures.show([*left, [(f" {clean(stats.error)}", "error")]], [])

    def action_open(self) -> None:
        self.enter_details()
        self.screen.set_focus(self._payload if self.focused(self._events) else self._events)

    def action_pause(self) -> None:
        self.model.pause()

    def action_form(self) -> None:
        self._raw = not self._raw

    def action_clear(self) -> None:
        self.model.clear()
        self._events.reload()

    def action_clear_all(self) -> None:
        self.model.clear(everything=True)
        self._events.reload()


def _columns(model: Model) -> list[Column[Stream]]:
    return [
        Column("topic", 16, lambda row: (clean(row.info.topic), "strong"), lambda row: row.info.topic, most=44),
        Column("merge", 8, lambda row: (clean(row.info.merge), "dim"), lambda row: row.info.merge, optional=3),
        Column(
            "subs",
            5,
            lambda row: number(row.stats.subscribers),
            attrgetter("stats.subscribers"),
            right=True,
            falling=True,
        ),
        Column("last", 9, lambda row: (clean(row.stats.event), "text"), lambda row: row.stats.event, most=18),
        Column("age", 5, partial(_age, model), lambda row: -row.stats.at, right=True),
        Column("ev/s", 5, partial(_published, model), partial(_per_second, model), right=True, falling=True),
        Column("out/s", 6, partial(_delivered, model), partial(_out, model), right=True, falling=True),
        Column("drop", 5, _dropped, lambda row: row.stats.dropped, right=True, falling=True),
        _figure("coal", 6, "coalesced", optional=6),
        _figure("miss", 6, "volatile_drops", optional=7),
        _figure("held", 5, "held", optional=5),
        Column(
            "seq",
            8,
            lambda row: (ordinal(row.stats.seq), "text"),
            attrgetter("stats.seq"),
            right=True,
            optional=2,
            falling=True,
        ),
        _figure("replay", 6, "replay_depth", optional=8),
        _figure("reload", 6, "reloads", optional=9),
        Column("error", 11, _error, lambda row: row.stats.error, most=24, falling=True),
        Column(
            "opened by", 12, lambda row: (clean(row.info.path), "dim"), attrgetter("info.path"), most=32, optional=4
        ),
    ]


def _figure(title: str, width: int, name: str, *, optional: int) -> Column[Stream]:
    value: Callable[[Stream], int] = attrgetter(f"stats.{name}")
    return Column(title, width, lambda row: number(value(row)), value, right=True, optional=optional, falling=True)


def _event_columns(model: Model, glyphs: Glyphs) -> list[Column[PublishEvent]]:
    return [
        Column("time", 12, lambda event: (clock(model.wall(event.at)), "dim")),
        Column("event", 9, partial(_event, glyphs), most=20),
        Column(
            "seq",
            8,
            lambda event: ("" if event.seq is None else ordinal(event.seq), "text"),
            right=True,
            optional=1,
        ),
        Column("size", 7, lambda event: (size(event.size), "text"), right=True, optional=2),
        Column("to", 5, lambda event: number(event.receivers), right=True),
    ]


def _event(glyphs: Glyphs, event: PublishEvent) -> Piece:
    name = clean(event.event)
    return (f"{glyphs.cut} {name}", "warn") if event.dropped else (name, "text")


def _age(model: Model, row: Stream) -> Piece:
    if not row.stats.at:
        return "", "dim"
    seconds = model.tick() - row.stats.at
    return age(seconds), "text" if seconds < 2 else "dim"


def _published(model: Model, row: Stream) -> Piece:
    return per_second(row.published.rate(model.tick()))


def _delivered(model: Model, row: Stream) -> Piece:
    return per_second(row.delivered.rate(model.tick()))


def _per_second(model: Model, row: Stream) -> float:
    return row.published.rate(model.tick())


def _out(model: Model, row: Stream) -> float:
    return row.delivered.rate(model.tick())


def _dropped(row: Stream) -> Piece:
    return count(row.stats.dropped), "warn" if row.stats.dropped else "dim"


def _error(row: Stream) -> Piece:
    return clean(row.stats.error), "error"

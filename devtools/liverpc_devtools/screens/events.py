"""Events: everything that happens on a server, on one timeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from liverpc.inspector.protocol import CallEvent, Event, PublishEvent
from liverpc_devtools.core.events import Entry, Remark, failed, kind
from liverpc_devtools.core.fields import EVENT_FIELDS
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.text import clean, clock, count, ms, ordinal
from liverpc_devtools.screens.details import about, headline
from liverpc_devtools.screens.unfold import Unfold
from liverpc_devtools.screens.view import View, short
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.forms import FORMS, Form, following
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.payload import Payload
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["EventsView"]

_SHORT = 160  # characters of a payload on a line
_SHORTS = 2_000  # of them are kept
_MARKS = {"pub": 0, "rpc": 1, "conn": 2, "gap": 3, "chaos": 4, "note": 5}


def _of(name: str) -> Callable[[Entry], object]:
    def value(entry: Entry) -> object:
        if isinstance(entry.what, Remark):
            return entry.what.kind if name == "kind" else () if name == "is" else None
        return EVENT_FIELDS[name](entry.what)

    return value


_FIELDS = {name: _of(name) for name in EVENT_FIELDS}


class _Timeline(Table[Entry]):
    def content(self, row: Entry) -> Event | Remark:
        return row.what


class EventsView(View):
    """The timeline, the newest on top; below, the payload of the selected event."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter", "unfold", "what led to the event and what it led to", key_display="enter chain", id="events.unfold"
        ),
        Binding("v", "form", "payload pretty, raw, as difference, as bytes", key_display="v form", id="events.form"),
        Binding("c", "clear", "clear the timeline", key_display="c clear", id="events.clear"),
    ]
    DIGIT = "5"
    TITLE = "Events"

    def __init__(self, model: Model, glyphs: Glyphs) -> None:
        self._shorts: dict[int, str] = {}
        self._timeline = _Timeline(
            self._columns(model, glyphs),
            lambda: reversed(model.events),
            lambda entry: entry.number,
            fields=_FIELDS,
            glyphs=glyphs,
            follow=True,
            empty="nothing happened yet",
            period=0.25,
            id="timeline",
        )
        super().__init__(model, glyphs, self._timeline, id="events")
        self._title = Bar("bar", id="event-title")
        self._payload = Payload(id="event-payload")
        self._form: Form = FORMS[0]

    def compose(self) -> ComposeResult:
        yield self._timeline
        yield self._title
        yield self._payload

    def figure(self) -> str:
        return count(len(self.model.events))

    def happened(self) -> int:
        return self.model.events.total

    def marks(self) -> Line:
        model = self.model
        line: Line = []
        if model.sample < 1:
            line.append((f"sampled {f'1:{round(1 / model.sample)}' if model.sample > 0 else 'none'}  ", "warn"))
        if model.events.evicted:
            line.append((f"{count(model.events.evicted)} evicted  ", "warn"))
        return line + super().marks()

    def left(self) -> None:
        self.model.watch_publishes(False)

    def flush(self) -> None:
        self.model.watch_publishes(True)
        super().flush()
        entry = self._timeline.selected
        right: Line = [(self._form, "accent"), (" ", "")]
        if entry is None:
            self._title.show([[(" no event selected", "dim")]], right)
            self._payload.tell(None, None, list)
        else:
            self._title.show(headline(entry.what), right)
            events, glyphs = self.model.events.events, self.glyphs
            version = (entry.what, self._form)
            self._payload.tell(entry.number, version, lambda: about(entry.what, self._form, events(), glyphs))

    def target(self) -> tuple[str, str] | None:
        entry = self._timeline.selected
        if entry is None or isinstance(entry.what, Remark | PublishEvent):
            return None
        return entry.what.connection, entry.what.user

    def action_unfold(self) -> None:
        entry = self._timeline.selected
        if entry is not None and not isinstance(entry.what, Remark):
            self.app.push_screen(Unfold(self.model, self.glyphs, entry.what))
        else:
            self.enter_details()
            self.screen.set_focus(self._payload)

    def action_form(self) -> None:
        self._form = following(self._form)

    def action_clear(self) -> None:
        self.model.events.clear(self.model.now())
        self._timeline.reload()

    # -- cells --------------------------------------------------------------------------------------------

    def _columns(self, model: Model, glyphs: Glyphs) -> list[Column[Entry]]:
        return [
            Column("time", 12, lambda entry: (clock(entry.wall), "dim")),
            Column("kind", 6, partial(_kind, glyphs)),
            Column("conn", 8, _connection, optional=3),
            Column("topic, path", 24, _name, most=60),
            Column("event, code", 10, partial(_event, glyphs), most=28),
            Column("seq", 8, _seq, right=True, optional=2),
            Column("to, took", 8, partial(_effect, glyphs), right=True),
            Column("payload", 10, self._payload_cell, most=_SHORT, optional=1),
        ]

    def _payload_cell(self, entry: Entry) -> Piece:
        """Rows are formatted many times a second, and payloads may be large."""
        text = self._shorts.get(entry.number)
        if text is None:
            if len(self._shorts) >= _SHORTS:
                self._shorts.clear()
            text = self._shorts[entry.number] = _payload(entry)
        return text, "dim"


def _kind(glyphs: Glyphs, entry: Entry) -> Piece:
    name = kind(entry.what)
    styles = {"pub": "ok", "rpc": "accent", "conn": "number", "note": "dim"}
    return f"{glyphs.marks[_MARKS[name]]}{name}", styles.get(name, "warn")


def _name(entry: Entry) -> Piece:
    what = entry.what
    if isinstance(what, Remark):
        return clean(what.text), "warn"
    if isinstance(what, PublishEvent):
        return clean(what.topic), "strong"
    if isinstance(what, CallEvent):
        return clean(what.path), "strong"
    return clean(what.user) or "anonymous", "strong"


def _connection(entry: Entry) -> Piece:
    what = entry.what
    return ("" if isinstance(what, Remark | PublishEvent) else clean(short(what.connection))), "dim"


def _event(glyphs: Glyphs, entry: Entry) -> Piece:
    what = entry.what
    if isinstance(what, Remark):
        return "", ""
    struck = f"{glyphs.cut} " if what.fault or (failed(what) and isinstance(what, PublishEvent)) else ""
    if isinstance(what, PublishEvent):
        return f"{struck}{clean(what.event)}{' dropped' if what.dropped else ''}", "warn" if struck else "text"
    if isinstance(what, CallEvent):
        return (f"{struck}OK", "ok") if what.ok else (f"{struck}ERR {clean(what.code)}", "error")
    code = f" {what.code}" if what.code else ""
    return f"{struck}{clean(what.what)}{code} {clean(what.reason)}".rstrip(), "warn" if failed(what) else "text"


def _seq(entry: Entry) -> Piece:
    what = entry.what
    return (ordinal(what.seq), "text") if isinstance(what, PublishEvent) and what.seq is not None else ("", "")


def _effect(glyphs: Glyphs, entry: Entry) -> Piece:
    what = entry.what
    if isinstance(what, PublishEvent):
        waiting = f" {glyphs.half}{count(what.waiting)}" if what.waiting else ""
        return f"{glyphs.to}{count(what.receivers)}{waiting}", "warn" if waiting else "text"
    if isinstance(what, CallEvent):
        return ms(what.ms), "text"
    return "", ""


def _payload(entry: Entry) -> str:
    what = entry.what
    if isinstance(what, PublishEvent):
        value = what.data
    elif isinstance(what, CallEvent):
        value = what.args if what.ok else what.result
    else:
        return ""
    return "" if value is msgspec.UNSET else clean(json.dumps(value, ensure_ascii=False)[:_SHORT])

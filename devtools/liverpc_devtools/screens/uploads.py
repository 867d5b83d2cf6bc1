"""Uploads: what is being received, how fast, and how those of the last minute ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from liverpc_devtools.core.model import Model
from liverpc_devtools.core.row_fields import upload_fields
from liverpc_devtools.core.text import age, clean, clock, count, size
from liverpc_devtools.core.upload_rows import Upload
from liverpc_devtools.screens.calls import waiting
from liverpc_devtools.screens.details import call_lines
from liverpc_devtools.screens.view import View, short
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.forms import FORMS, Form, following
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece, gauge
from liverpc_devtools.widgets.payload import Payload
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["UploadsView"]

_GAUGE, _WIDE_GAUGE = 3, 24  # cells
_UNTOLD = "running uploads are not shown: the server is older, or your token is limited to topics"
_STYLES = {"held": "warn", "full": "warn", "ended early": "error", "waiting": "dim"}  # of those that run
_FIGURES = {
    "started": "uploads_started",
    "refused": "uploads_refused",
    "aborted": "uploads_aborted",
    "holds": "upload_holds",
    "stalls": "upload_stalls",
}


class UploadsView(View):
    """Uploads above, the running ones first; below, what the selected one is about."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "go to the details of the upload", key_display="enter details", id="uploads.open"),
        Binding("v", "form", "arguments and result pretty, raw or as bytes", key_display="v form", id="uploads.form"),
        Binding("c", "clear", "forget the uploads that ended", key_display="c clear", id="uploads.clear"),
    ]
    DIGIT = "7"
    TITLE = "Uploads"

    def __init__(self, model: Model, glyphs: Glyphs) -> None:
        table: Table[Upload] = Table(
            _columns(model, glyphs),
            lambda: model.uploads.rows,
            lambda row: row.key,
            group=lambda row: row.ended_at is not None,
            facts=lambda row: (row.info.user, row.info.address, row.state),
            fields=upload_fields(model),
            glyphs=glyphs,
            sort=0,
            period=0.25,
            id="transfers",
        )
        super().__init__(model, glyphs, table, id="uploads")
        self._table = table
        self._title = Bar("bar", id="upload-title")
        self._figures = Bar("head", id="upload-figures")
        self._payload = Payload(id="upload")
        self._form: Form = FORMS[0]

    def compose(self) -> ComposeResult:
        yield self._table
        yield self._title
        yield self._figures
        yield self._payload

    def figure(self) -> str:
        totals = self.model.uploads.totals
        if totals is None or not totals.running:
            return ""
        return f"{count(totals.running)}, {_bytes(self.model.uploads.bytes.rate(self.model.tick()))}/s"

    def happened(self) -> int:
        return self.model.counters.get("uploads_started", 0)

    def flush(self) -> None:
        untold = self.model.rows.complete and self.model.uploads.totals is None
        self._table.empty = _UNTOLD if untold else "nobody uploads anything"
        super().flush()
        self._show_figures()
        row = self._table.selected
        form = (self._form, "accent")
        if row is None:
            self._title.show([[(" no upload selected", "dim")]], [])
            self._payload.tell(None, None, list)
        else:
            self._title.show(_headline(row), [form, (" ", "")])
            told = self.model.where  # of a running one
            version = (self._form, row.info, row.answer, self.model.tick(), told.told, told.problem)
            self._payload.tell(row.key, version, lambda: self._details(row))

    def _show_figures(self) -> None:
        uploads, counters = self.model.uploads, self.model.counters
        figures = []
        if (totals := uploads.totals) is not None:
            figures += [
                ("running", f"{count(totals.running)} of {count(totals.most)}{_untold(uploads.untold)}"),
                ("buffered", f"{size(totals.buffered)} of {size(totals.most_buffered)}"),
            ]
        figures += [(title, count(counters[name])) for title, name in _FIGURES.items() if name in counters]
        self._figures.show([[(f" {title} ", "dim"), (f"{text} ", "text")] for title, text in figures], [])

    def _details(self, row: Upload) -> list[Line]:
        model, info = self.model, row.info
        now = model.tick()
        line: Line = []
        if (share := row.share) is not None:
            line.append((f"{gauge(share, _WIDE_GAUGE, self.glyphs)} {row.percent}  ", "accent"))
        line.append((size(info.received), "text"))
        if info.size is not None:
            line.append((f" of {size(info.size)}", "text"))
        if row.ended_at is None:
            line.append((f"  {_bytes(row.rate(now))}/s", "text"))
            if left := row.seconds_left(now):
                line.append((f"  {age(left)} left", "dim"))
        lines = [line]
        figures = [
            ("began", f"{clock(model.wall(info.started_at))}, {'ran ' if row.ended_at else ''}{age(row.seconds(now))}"),
            ("id", clean(info.id)),
            ("received", f"{count(info.received)} bytes" + ("" if info.size is None else f" of {count(info.size)}")),
        ]
        if row.ended_at is None:
            figures += [("taken", f"{count(info.taken)} bytes"), ("buffered", f"{count(info.buffered)} bytes")]
            if self._payload.display:
                model.look_into(info.connection, info.id)
        lines += [[(f"{title:<9}", "key"), (text, "text")] for title, text in figures]
        if row.answer is not None:
            return [*lines, *call_lines(row.answer, self._form)]
        return lines if row.ended_at is not None else [*lines, *waiting(model)]

    def action_open(self) -> None:
        self.enter_details()
        self.screen.set_focus(self._payload)

    def action_form(self) -> None:
        self._form = following(self._form, compares=False)

    def action_clear(self) -> None:
        self.model.uploads.clear(self.model.now())
        self._table.reload()


def _columns(model: Model, glyphs: Glyphs) -> list[Column[Upload]]:
    def cell(text: Callable[[Upload], str], name: str = "text") -> Callable[[Upload], Piece]:
        return lambda row: (text(row), name if row.ended_at is None else "dim")

    def rate(row: Upload) -> float:
        return row.rate(model.tick())

    def seconds(row: Upload) -> float:
        return row.seconds(model.tick())

    return [
        Column("time", 5, cell(lambda row: age(seconds(row))), seconds, right=True, falling=True),
        Column("user", 9, cell(lambda row: clean(row.info.user) or "anonymous"), lambda row: row.info.user, most=20),
        Column("path", 11, cell(lambda row: clean(row.info.path), "strong"), lambda row: row.info.path, most=36),
        Column(
            "conn",
            8,
            cell(lambda row: clean(short(row.info.connection)), "dim"),
            lambda row: row.info.connection,
            optional=2,
        ),
        Column(
            "address",
            11,
            cell(lambda row: clean(row.info.address), "dim"),
            lambda row: row.info.address,
            most=24,
            optional=3,
        ),
        Column("bytes", 7, cell(lambda row: size(row.info.received)), _received, right=True, falling=True),
        Column("size", 7, cell(_size), lambda row: row.info.size or 0, right=True, optional=1, falling=True),
        Column(
            "done",
            8,
            cell(lambda row: _done(row, glyphs), "accent"),
            lambda row: row.share or 0.0,
            right=True,
            falling=True,
        ),
        Column("rate/s", 7, cell(lambda row: _bytes(rate(row)) if rate(row) else ""), rate, right=True, falling=True),
        Column("buffer", 7, _buffered, lambda row: row.info.buffered, right=True, falling=True),
        Column("state", 9, _state, lambda row: row.state, most=24),
    ]


def _received(row: Upload) -> int:
    return row.info.received


def _size(row: Upload) -> str:
    return "" if row.info.size is None else size(row.info.size)


def _done(row: Upload, glyphs: Glyphs) -> str:
    return "" if (share := row.share) is None else f"{gauge(share, _GAUGE, glyphs)} {row.percent:>4}"


def _buffered(row: Upload) -> Piece:
    waiting = row.info.buffered
    if row.ended_at is not None:
        return "", "dim"
    return size(waiting), "warn" if row.info.state in ("held", "full") else "text" if waiting else "dim"


def _state(row: Upload) -> Piece:
    text = clean(row.state)
    if row.answer is not None:
        return text, "ok" if row.answer.ok else "error"
    if row.ended_at is not None:
        return text, "dim"
    return text, _STYLES.get(row.info.state, "accent")


def _headline(row: Upload) -> list[Line]:
    info = row.info
    state, name = _state(row)
    return [
        [(f" {clean(info.path)} ", "strong"), (f" {state} ", name)],
        [(f" user {clean(info.user) or 'anonymous'} ", "dim")],
        [(f" conn {clean(info.connection)} ", "dim")],
        [(f" {clean(info.address)} ", "dim")] if info.address else [],
    ]


def _untold(number: int) -> str:
    return f", {count(number)} not shown" if number else ""


def _bytes(amount: float) -> str:
    return size(round(amount))

"""RPC: the calls that run, the history of those answered, the paths they go to, and what keeps them apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from liverpc.inspector.protocol import CallEvent, PendingCall
from liverpc_devtools.core.fields import CALL_FIELDS, Fields
from liverpc_devtools.core.history import Calls
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.text import clean, clock, count, ms, size
from liverpc_devtools.screens import locks, paths
from liverpc_devtools.screens.details import call_lines, causes, headline
from liverpc_devtools.screens.unfold import Unfold
from liverpc_devtools.screens.view import View, short
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.forms import FORMS, Form, following
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.payload import Payload
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["CallsView", "waiting"]

Row = CallEvent | PendingCall


def _of(name: str) -> Callable[[Row], object]:
    def value(row: Row) -> object:
        if isinstance(row, CallEvent):
            return CALL_FIELDS[name](row)
        getter = _PENDING_FIELDS.get(name)
        return None if getter is None else getter(row)

    return value


_PENDING_FIELDS: Fields[PendingCall] = {
    "kind": lambda row: ("rpc", row.carries) if row.carries else "rpc",
    "path": lambda row: row.path,
    "user": lambda row: row.user,
    "conn": lambda row: row.connection,
    "is": lambda row: ("pending",),
}
_FIELDS: Fields[Row] = {name: _of(name) for name in CALL_FIELDS}


class CallsView(View):
    """Pending calls on top, then answered ones, the newest first; or paths; or locks and breakers.

    Below, a line about locks and breakers when there are any, then what the selected row is about.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "table", "calls; paths; locks and breakers", key_display="t paths, locks", id="rpc.table"),
        Binding("o", "failed", "failed calls only, or all", key_display="o failed only", id="rpc.failed"),
        Binding(
            "enter",
            "open",
            "details, then what led to the call and what it led to; of a running call where it waits",
            key_display="enter details",
            id="rpc.open",
        ),
        Binding(
            "v",
            "form",
            "arguments and result pretty, raw, as difference, as bytes",
            key_display="v form",
            id="rpc.form",
        ),
        Binding("c", "clear", "clear the history", key_display="c clear", id="rpc.clear"),
    ]
    DIGIT = "3"
    TITLE = "RPC"

    def __init__(self, model: Model, glyphs: Glyphs) -> None:
        self._failed_only = False
        self._calls: Table[Row] = Table(
            _columns(model, glyphs),
            self._rows,
            _key,
            fields=_FIELDS,
            glyphs=glyphs,
            sort=0,
            follow=True,
            empty="no calls yet",
            period=0.2,
            id="calls",
        )
        self._paths = paths.table(model, glyphs)
        self._locks = locks.table(model, glyphs)
        self._tables: list[Table[Any]] = [self._calls, self._paths, self._locks]
        super().__init__(model, glyphs, self._calls, id="rpc")
        self._payload = Payload(id="call")
        self._title = Bar("bar", id="call-title")
        self._policies = Bar("head", id="policies")
        self._form: Form = FORMS[0]

    def compose(self) -> ComposeResult:
        self._show_table()
        yield from self._tables
        yield self._policies
        yield self._title
        yield self._payload

    def _rows(self) -> Iterator[Row]:
        if not self._failed_only:
            yield from self.model.running()
        for call in self.model.calls:
            if not (self._failed_only and call.ok):
                yield call

    def figure(self) -> str:
        calls, pending = self.model.counters.get("calls"), self.model.pending_total
        figures = ["" if calls is None else count(calls), f"{count(pending)} pending" if pending else ""]
        return ", ".join(filter(None, figures))

    def happened(self) -> int:
        return self.model.rows.totals.calls.total

    def marks(self) -> Line:
        only: Line = [("failed only  ", "warn")] if self._failed_only and self.table is self._calls else []
        return only + super().marks()

    def flush(self) -> None:
        super().flush()
        policies = locks.summary(self.model)
        self._policies.display = bool(policies)
        self._policies.show(policies, [])
        if self.table is self._paths:
            path = self._paths.selected
            left = [] if path is None else paths.headline(self.model, path)
            self._show(left, [], [] if path is None else paths.details(path, self.glyphs), path and path.info.id)
        elif self.table is self._locks:
            row = self._locks.selected
            left = [] if row is None else locks.headline(row)
            self._show(left, [], [] if row is None else locks.details(self.model, row), row and locks.key(row))
        else:
            self._show_call(self._calls.selected)

    def _show_call(self, row: Row | None) -> None:
        if row is None:
            self._show([[(" no call selected", "dim")]], self._history(), [], None)
            return
        right: Line = [*self._history(), (self._form, "accent"), (" ", "")]
        if isinstance(row, PendingCall):
            if self._payload.display:
                self.model.look_into(row.connection, row.call, repr(row.started_at))
            self._show(_headline(self.model, row), right, waiting(self.model), _key(row))
            return
        self._title.show(_headline(self.model, row), right)
        # What followed is looked for in the timeline, four times a second.
        self._payload.tell(_key(row), (self._form, self.model.tick()), lambda: self._told_of(row))

    def _told_of(self, call: CallEvent) -> list[Line]:
        found = causes(call, self.model.events, self.glyphs)
        return [*call_lines(call, self._form, self.model.calls), *found]

    def _show(self, left: list[Line], right: Line, lines: list[Line], of: Hashable) -> None:
        self._title.show(left, right)
        self._payload.tell(of, lines, lambda: lines)

    def _history(self) -> Line:
        calls = self.model.calls
        line: Line = [(f"history {count(len(calls))}, {count(calls.failed)} failed  ", "dim")]
        if calls.left_out:
            line.append((f"{count(calls.left_out)} older left out  ", "warn"))
        return line

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action not in ("failed", "form", "clear") or self.table is self._calls

    def action_table(self) -> None:
        inside = not (self.focused(self.table) or self.has_class("-detail"))
        self.remove_class("-detail")  # where there is room for one of them only, the other table is meant
        self.table = self._tables[(self._tables.index(self.table) + 1) % len(self._tables)]
        self._show_table()
        if not inside:
            self.screen.set_focus(self.table)

    def _show_table(self) -> None:
        for each in self._tables:
            each.set_class(each is not self.table, "-other")

    def action_failed(self) -> None:
        self._failed_only = not self._failed_only
        self._calls.empty = "no failed calls" if self._failed_only else "no calls yet"
        frozen, self._calls.frozen = self._calls.frozen, False
        self._calls.frozen = frozen  # what is frozen are the rows of the other choice now

    def action_open(self) -> None:
        row = self._calls.selected
        if self.table is self._calls and isinstance(row, CallEvent) and self.focused(self._payload):
            self.app.push_screen(Unfold(self.model, self.glyphs, row))
            return
        self.enter_details()
        self.screen.set_focus(self._payload)

    def action_form(self) -> None:
        self._form = following(self._form)

    def action_clear(self) -> None:
        self.model.calls.clear(self.model.now())
        self._calls.reload()


def _key(row: Row) -> Hashable:
    if isinstance(row, CallEvent):
        return Calls.key(row)
    return (row.connection, row.call, row.path, row.started_at)


def _columns(model: Model, glyphs: Glyphs) -> list[Column[Row]]:
    return [
        Column("time", 12, partial(_time, model), _when, falling=True),
        Column("st", 3, partial(_status, glyphs), lambda row: _status(glyphs, row)[0]),
        Column("kind", 6, _kind, lambda row: _kind(row)[0], optional=3, falling=True),
        Column("path", 22, lambda row: (clean(row.path), "strong"), lambda row: row.path, most=44, end=True),
        Column("took", 7, partial(_took, model), partial(_millis, model), right=True, falling=True),
        Column("wait/run/rest", 13, _steps, right=True, optional=7),
        Column("user", 9, _user, lambda row: row.user, most=20, optional=1),
        Column(
            "conn",
            8,
            lambda row: (clean(short(row.connection)), "dim"),
            lambda row: row.connection,
            optional=4,
        ),
        Column("code", 12, _code, lambda row: _code(row)[0], most=24, optional=2, falling=True),
        Column("data", 7, _data, _received, right=True, optional=6, falling=True),
        Column("published", 9, _published, most=32, optional=5),
    ]


def _time(model: Model, row: Row) -> Piece:
    return clock(model.wall(row.at if isinstance(row, CallEvent) else row.started_at)), "dim"


def _when(row: Row) -> tuple[bool, float]:
    if isinstance(row, CallEvent):
        return (False, row.at)
    return (True, -row.started_at)  # the one that runs longest on top


def _status(glyphs: Glyphs, row: Row) -> Piece:
    if isinstance(row, CallEvent):
        return ("OK", "ok") if row.ok else ("ERR", "error")
    return glyphs.spinner[int(time.monotonic() * 8) % len(glyphs.spinner)], "accent"


def _kind(row: Row) -> Piece:
    if row.carries:
        return clean(row.carries), "accent"
    return "stream" if isinstance(row, CallEvent) and row.stream else "call", "dim"


def _received(row: Row) -> int:
    return row.received if isinstance(row, CallEvent) else 0


def _data(row: Row) -> Piece:
    return size(_received(row)) if row.carries and isinstance(row, CallEvent) else "", "text"


def _millis(model: Model, row: Row) -> float:
    return row.ms if isinstance(row, CallEvent) else (model.now() - row.started_at) * 1000


def _took(model: Model, row: Row) -> Piece:
    value = _millis(model, row)
    return ms(value), "accent" if isinstance(row, PendingCall) else "warn" if value >= 100 else "text"


def _steps(row: Row) -> Piece:
    """How long it waited until its handler began, how long that took, and how long the rest."""
    if isinstance(row, CallEvent):
        for name, start, length in row.steps:
            if name == "handler":
                parts = (start, length, max(row.ms - start - length, 0.0))
                return "/".join(f"{each:.1f}" if each < 99.95 else f"{each:.0f}" for each in parts), "dim"
    return "", "dim"


def _code(row: Row) -> Piece:
    return (clean(row.code), "error") if isinstance(row, CallEvent) else ("", "")


def _user(row: Row) -> Piece:
    return (clean(row.user), "text") if row.user else ("anonymous", "dim")


def _published(row: Row) -> Piece:
    return (clean(" ".join(row.published)), "dim") if isinstance(row, CallEvent) else ("", "")


def _headline(model: Model, row: Row) -> list[Line]:
    if isinstance(row, CallEvent):
        return headline(row)
    carried: Line = [(f" {clean(row.carries)} ", "accent")] if row.carries else []
    return [
        [(f" {clean(row.path)} ", "strong"), (" running ", "accent"), (f" {_took(model, row)[0]} ", "text"), *carried],
        [(f" user {clean(row.user) or 'anonymous'} ", "dim")],
        [(f" conn {clean(row.connection)} ", "dim")],
        [(f" call {clean(row.call)} ", "dim")] if row.call else [],
    ]


def waiting(model: Model) -> list[Line]:
    """Where the call waits that the model looks into, the innermost function last."""
    told = model.where.told
    if told is None:
        return [[(clean(model.where.problem) or "the server is asked where it waits", "dim")]]
    lines: list[Line] = [[("waits for ", "key"), (clean(told.on), "strong")]]
    if not told.steps:
        lines.append([("  no coroutine of the application is under way", "dim")])
    return lines + [
        [(f"  {clean(step.function)}  ", "text"), (f"{clean(step.file)}:{step.line}", "key")] for step in told.steps
    ]

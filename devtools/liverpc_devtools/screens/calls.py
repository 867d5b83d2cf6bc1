"""RPC: the calls that run, the history of those answered, the paths they go to, and what keeps them apart."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any, ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from liverpc.inspector.protocol import CallEvent, PendingCall
from liverpc_devtools.core.history import Calls
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.text import clean, clock, count, ms, size
from liverpc_devtools.screens import locks, paths
from liverpc_devtools.screens.view import View, short
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.payload import Payload, pretty, raw
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["CallsView", "details", "waiting"]

Row = CallEvent | PendingCall


class CallsView(View):
    """Pending calls on top, then answered ones, the newest first; or paths; or locks and breakers.

    Below, a line about locks and breakers when there are any, then what the selected row is about.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "table", "calls; paths; locks and breakers", key_display="t paths, locks"),
        Binding("f", "failed", "failed calls only, or all", key_display="f failed only"),
        Binding("enter", "open", "details; of a running call where it waits", key_display="enter details"),
        Binding("v", "form", "arguments and result pretty or raw", key_display="v raw"),
        Binding("c", "clear", "clear the history", key_display="c clear"),
    ]
    DIGIT = "3"
    TITLE = "RPC"

    def __init__(self, model: Model, glyphs: Glyphs) -> None:
        self._failed_only = False
        self._calls: Table[Row] = Table(
            _columns(model, glyphs),
            self._rows,
            _key,
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
        self._raw = False
        self._shown: Hashable = None

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
        right: Line = [*self._history(), ("Raw" if self._raw else "Pretty", "accent"), (" ", "")]
        if isinstance(row, PendingCall):
            if self._payload.display:
                self.model.look_into(row.connection, row.call, repr(row.started_at))
            lines = waiting(self.model)
        else:
            lines = details(row, raw_form=self._raw)
        self._show(_headline(self.model, row), right, lines, _key(row))

    def _show(self, left: list[Line], right: Line, lines: list[Line], of: Hashable) -> None:
        self._title.show(left, right)
        self._payload.show(lines, top=of != self._shown)
        self._shown = of

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
        self.enter_details()
        self.screen.set_focus(self._payload)

    def action_form(self) -> None:
        self._raw = not self._raw

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


def _code(row: Row) -> Piece:
    return (clean(row.code), "error") if isinstance(row, CallEvent) else ("", "")


def _user(row: Row) -> Piece:
    return (clean(row.user), "text") if row.user else ("anonymous", "dim")


def _published(row: Row) -> Piece:
    return (clean(" ".join(row.published)), "dim") if isinstance(row, CallEvent) else ("", "")


def _headline(model: Model, row: Row) -> list[Line]:
    took = ms(_millis(model, row))
    if isinstance(row, CallEvent):
        state: Piece = (" OK ", "ok") if row.ok else (f" ERR {clean(row.code)} ", "error")
    else:
        state = (" running ", "accent")
    return [
        [(f" {clean(row.path)} ", "strong"), state, (f" {took} ", "text"), *_carried(row)],
        [(f" user {clean(row.user) or 'anonymous'} ", "dim")],
        [(f" conn {clean(row.connection)} ", "dim")],
        [(f" call {clean(row.call)} ", "dim")] if row.call else [],
    ]


def _carried(row: Row) -> Line:
    if not row.carries:
        return []
    return [(f" {clean(row.carries)} ", "accent"), (f"{_data(row)[0]} ", "text")]


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


def details(row: CallEvent, *, raw_form: bool) -> list[Line]:
    """What a call was about: arguments, result or error, and where it published."""
    lines: list[Line] = []
    lines.append([("args", "head")])
    lines += _value(row.args, raw_form=raw_form)
    if row.ok:
        lines.append([("result", "head")])
        lines += _value(row.result, raw_form=raw_form)
    else:
        lines.append([("error", "error")])
        lines += _error(row.result, raw_form=raw_form)
    if row.published:
        lines.append([("published", "head")])
        lines += [[("  ", ""), (clean(topic), "text")] for topic in row.published]
    return lines


def _error(value: Any, *, raw_form: bool) -> list[Line]:
    if raw_form or not isinstance(value, dict) or not isinstance(value.get("issues"), list):
        return _value(value, raw_form=raw_form)
    issues = [[("    - ", "dim"), (clean(str(each)), "text")] for each in value["issues"]]
    return [[("  ", ""), (clean(str(value.get("message", ""))), "text")], *issues]


def _value(value: Any, *, raw_form: bool) -> list[Line]:
    if value is msgspec.UNSET:
        return [[("  not recorded", "dim")]]
    return [[("  ", ""), *line] for line in (raw(value) if raw_form else pretty(value))]

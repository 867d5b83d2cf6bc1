"""Overview: how a server is doing, at a glance; every block leads to where more is told."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Click, DescendantFocus, Resize

from liverpc.inspector.protocol import CallEvent
from liverpc_devtools.core.events import groups
from liverpc_devtools.core.latency import Latency, quantile
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.row_fields import SLOW_BYTES, stream_fields
from liverpc_devtools.core.rows import Path, Stream
from liverpc_devtools.core.text import age, clean, clock, count, ms, rate, size
from liverpc_devtools.screens.details import only
from liverpc_devtools.screens.view import View, number, per_second
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece, fit
from liverpc_devtools.widgets.sparkline import Figures, Values, graph
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["OverviewView"]

R = TypeVar("R")
Group = tuple[CallEvent, int]

_SECONDS = 60
_LABEL, _VALUE = 9, 9  # cells
_HIGHEST = 6  # lines of a graph
_WIDE = 150  # columns from which on three blocks stand side by side


class _Row(NamedTuple):
    """A figure and its graph."""

    label: str
    value: str
    name: str  # the style
    values: Values | str  #: or words in place of the graph


class _Errors(Table[Group]):
    def content(self, row: Group) -> CallEvent:
        return row[0]


class OverviewView(View):
    """Blocks of figures, and the worst and busiest of errors, topics and paths."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "drill", "go to where more of it is told", key_display="enter more", id="overview.drill"),
    ]
    DIGIT = "1"
    TITLE = "Overview"

    def __init__(self, model: Model, glyphs: Glyphs) -> None:
        self._blocks = {
            "calls": Figures("Calls, 60 s", ("rpc", ""), id="about-calls"),
            "delivery": Figures("Publish to socket, 60 s", ("streams", ""), id="about-delivery"),
            "pressure": Figures("Backpressure and drops", ("connections", ""), id="about-pressure"),
            "load": Figures("Load", ("connections", ""), id="about-load"),
            "traffic": Figures("Traffic", ("events", ""), id="about-traffic"),
        }
        self._errors = _Errors(
            _grey(model, _error_columns(model)),
            lambda: groups(model.calls),
            lambda group: (group[0].path, group[0].code),
            glyphs=glyphs,
            fields={"path": lambda group: group[0].path, "code": lambda group: group[0].code},
            empty="no call failed",
            follow=True,
            id="recent-errors",
        )
        self._topics: Table[Stream] = Table(
            _grey(model, _topic_columns(model)),
            lambda: model.rows.streams.values(),
            lambda row: row.info.id,
            glyphs=glyphs,
            sort=1,
            fields=stream_fields(model),
            empty="nobody is subscribed to anything yet",
            follow=True,
            id="top-topics",
        )
        self._paths: Table[Path] = Table(
            _grey(model, _path_columns(model)),
            lambda: model.rows.paths.values(),
            lambda row: row.info.id,
            glyphs=glyphs,
            sort=1,
            fields={"path": lambda row: row.info.path, "ms": lambda row: row.stats.p99 * 1000},
            empty="nothing was called yet",
            follow=True,
            id="slowest-paths",
        )
        self._tables: dict[str, tuple[Bar, Table[Any]]] = {
            "Recent errors": (Bar("bar", id="recent-errors-title"), self._errors),
            "Top topics": (Bar("bar", id="top-topics-title"), self._topics),
            "Slowest paths": (Bar("bar", id="slowest-paths-title"), self._paths),
        }
        super().__init__(model, glyphs, self._errors, id="overview")
        self._drawn: Hashable = None

    def compose(self) -> ComposeResult:
        yield from self._blocks.values()
        for bar, table in self._tables.values():
            with Vertical(id=f"{table.id}-block"):
                yield bar
                yield table

    def figure(self) -> str:
        return ""

    def happened(self) -> int:
        totals = self.model.rows.totals
        return totals.calls.total + totals.published.total

    def flush(self) -> None:
        for _, table in self._tables.values():
            table.flush()
        drawn = (self.model.tick(), self.model.trends.at, self.model.phase, self.size)
        if drawn == self._drawn or self.table.frozen:
            return
        self._drawn = drawn
        notes = {
            "Recent errors": f"of the last {count(len(self.model.calls))} calls kept",
            "Top topics": f"of {count(len(self.model.rows.streams))}",
            "Slowest paths": f"p99 since it is measured, of {count(len(self.model.rows.paths))}",
        }
        for title, (bar, _) in self._tables.items():
            bar.show([[(f" {title} ", "strong")], [(f" {notes[title]}", "dim")]], _stale(self.model))
        trends = self.model.trends
        self._show("calls", *_quantiles(trends.latency, trends.at, "calls"), [self._failures()])
        self._show("delivery", *_quantiles(trends.delivery, trends.at, "captured"), [])
        self._show("pressure", self._pressure(), "", [])
        self._show("load", self._load(), "", [])
        self._show("traffic", self._traffic(), "", [])

    # -- figures ------------------------------------------------------------------------------------------

    def _show(self, name: str, rows: list[_Row], note: str, below: list[Line]) -> None:
        block = self._blocks[name]
        cells, lines = block.room
        wide = max(cells - _LABEL - _VALUE - 2, 1)
        bare = sum(isinstance(row.values, str) for row in rows)
        high = min(max((lines - len(below) - bare) // max(len(rows) - bare, 1), 1), _HIGHEST)
        stale = _stale(self.model)
        shown: list[Line] = []
        for row in rows:
            values = row.values
            drawn = [values] if isinstance(values, str) else graph(values[-wide:], high, self.glyphs)
            for index, text in enumerate(drawn):
                label, value = (row.label, row.value) if index == len(drawn) - 1 else ("", "")
                line: Line = [
                    (fit(label, _LABEL, self.glyphs.ellipsis), "dim"),
                    (fit(value, _VALUE, self.glyphs.ellipsis, right=True), "dim" if stale else row.name),
                    (f"  {text}", "dim" if stale else "accent"),
                ]
                shown.append(line)
        shown += [[(text, "dim" if stale else name) for text, name in line] for line in below]
        block.show(shown, stale or [(note, "dim")])

    def _failures(self) -> Line:
        rates, at = self.model.trends.rates, self.model.trends.at
        calls, errors = (
            sum(each or 0.0 for each in rates[name].series(at, _SECONDS)) for name in ("calls", "call_errors")
        )
        share = errors / calls if calls else 0.0
        recent = [each for each in self.model.calls if each.at > at - _SECONDS] if errors else []
        codes = "  ".join(f"{clean(call.code)} {count(seen)}" for call, seen in groups(recent)[:3])
        return [
            (f"{'failed':<{_LABEL}}", "dim"),
            (f"{share:>{_VALUE}.1%}", "error" if errors else "text"),
            (f"  {codes}", "dim"),
        ]

    def _pressure(self) -> list[_Row]:
        rates, at = self.model.trends.rates, self.model.trends.at
        slow = sum(row.stats.buffered >= SLOW_BYTES for row in self.model.rows.connections.values())
        self._blocks["pressure"].opened = ("connections", "is:slow" if slow else "")
        cut = self.model.counters.get("outbox_overflows", 0) + self.model.counters.get("outbox_frame_overflows", 0)
        rows = [_Row("slow", count(slow), "warn" if slow else "text", f"sockets; {count(cut)} cut off")]
        for label, name in (("missed", "volatile_drops"), ("coalesced", "latest_replaced"), ("faults", "fault_drops")):
            trend = rates[name]
            name = "warn" if trend.last >= 0.05 else "text"
            rows.append(_Row(label, f"{rate(trend.last)}/s", name, trend.series(at, _SECONDS)))
        return rows

    def _load(self) -> list[_Row]:
        levels, at = self.model.trends.levels, self.model.trends.at
        lag, memory = self.model.lag, self.model.memory
        return [
            _Row("conns", count(len(self.model.rows.connections)), "text", levels["connections"].series(at, _SECONDS)),
            _Row("pending", count(self.model.pending_total), "text", levels["pending"].series(at, _SECONDS)),
            _Row("loop lag", ms(lag * 1000), "warn" if lag >= 0.1 else "text", levels["lag"].series(at, _SECONDS)),
            _Row("memory", size(memory) if memory else "?", "text", "of the process"),
        ]

    def _traffic(self) -> list[_Row]:
        trends = self.model.trends
        rows = [
            _Row(
                label, f"{rate(trends.levels[name].last)}/s", "number", trends.levels[name].series(trends.at, _SECONDS)
            )
            for label, name in (("calls", "calls"), ("publishes", "published"), ("out", "delivered"))
        ]
        sent = trends.rates["delivered_bytes"]
        return [*rows, _Row("bytes", f"{size(int(sent.last))}/s", "number", sent.series(trends.at, _SECONDS))]

    # -- going somewhere ----------------------------------------------------------------------------------

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        if isinstance(event.widget, Table):
            self.table = event.widget

    def on_click(self, event: Click) -> None:
        if not isinstance(event.widget, Table) or event.y > 0:
            self.action_drill()

    def action_drill(self) -> None:
        here = self.screen.focused
        where: tuple[str, str] | None = None
        if isinstance(here, Figures):
            where = here.opened
        elif here is self._errors and (group := self._errors.selected) is not None:
            where = ("rpc", only(path=group[0].path, code=group[0].code))
        elif here is self._topics and (stream := self._topics.selected) is not None:
            where = ("streams", only(topic=stream.info.topic))
        elif here is self._paths and (path := self._paths.selected) is not None:
            where = ("rpc", only(path=path.info.path))
        if where is not None:
            self.post_message(self.Goto(*where))

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width >= _WIDE, "-wide")


def _stale(model: Model) -> Line:
    """How old the figures are, when they are not told anew."""
    if model.phase == "live" or model.welcome is None:
        return []
    since = model.trends.at
    return [(f"as of {clock(model.wall(since), millis=False)} ({age(model.now() - since)} old) ", "warn")]


def _told(model: Model) -> float:
    """Now, or when something was told last: what is not told anew does not become nothing."""
    return model.tick() if model.phase == "live" else model.trends.at


def _quantiles(latency: Latency, at: float, of: str) -> tuple[list[_Row], str]:
    if latency.at is None:
        return [], "not measured yet"
    counts = latency.counts(at)
    rows = []
    for label, q, name in (("p50", 0.5, "text"), ("p99", 0.99, "number")):
        value = quantile(counts, q)
        text = "?" if value is None else ms(value * 1000)
        rows.append(_Row(label, text, name if value is not None else "dim", latency.series(at, _SECONDS, q)))
    return rows, f"{count(counts.total())} {of}"


def _grey(model: Model, columns: list[Column[R]]) -> list[Column[R]]:
    """What is not told anew is grey."""

    def greyed(cell: Callable[[R], Piece], row: R) -> Piece:
        text, name = cell(row)
        return text, name if model.phase == "live" else "dim"

    return [replace(each, cell=partial(greyed, each.cell)) for each in columns]


def _error_columns(model: Model) -> list[Column[Group]]:
    def last(group: Group) -> Piece:
        return clock(model.wall(group[0].at), millis=False), "dim"

    return [
        Column("path", 12, lambda group: (clean(group[0].path), "strong"), most=40, end=True),
        Column("code", 11, lambda group: (clean(group[0].code), "error"), most=24),
        Column("last", 8, last, lambda group: group[0].at, optional=1, falling=True),
        Column("n", 4, lambda group: number(group[1]), lambda group: group[1], right=True, falling=True),
    ]


def _topic_columns(model: Model) -> list[Column[Stream]]:
    def out(row: Stream) -> float:
        return row.delivered.rate(_told(model))

    return [
        Column("topic", 14, lambda row: (clean(row.info.topic), "strong"), lambda row: row.info.topic, most=48),
        Column("out/s", 6, lambda row: per_second(out(row)), out, right=True, falling=True),
        Column(
            "subs",
            5,
            lambda row: number(row.stats.subscribers),
            lambda row: row.stats.subscribers,
            right=True,
            falling=True,
        ),
    ]


def _path_columns(model: Model) -> list[Column[Path]]:
    def calls(row: Path) -> float:
        return row.calls.rate(_told(model))

    def p99(row: Path) -> Piece:
        return ms(row.stats.p99 * 1000) if row.stats.p99 else "?", "text" if row.stats.p99 else "dim"

    return [
        Column("path", 12, lambda row: (clean(row.info.path), "strong"), lambda row: row.info.path, most=48, end=True),
        Column("p99", 7, p99, lambda row: row.stats.p99, right=True, falling=True),
        Column("calls/s", 7, lambda row: per_second(calls(row)), calls, right=True, falling=True),
        Column("calls", 7, lambda row: number(row.stats.calls), lambda row: row.stats.calls, right=True, optional=1),
    ]

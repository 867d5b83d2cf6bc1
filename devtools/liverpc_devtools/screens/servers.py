"""All servers at once: a row for each, and their totals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from liverpc_devtools.core.latency import merge, quantile
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.text import age, clean, count, ms, rate, size
from liverpc_devtools.screens.server import ServerPane, titles
from liverpc_devtools.screens.view import View, number, per_second
from liverpc_devtools.widgets.bars import Bar, state
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["ServersView"]


class ServersView(View):
    """A row for each attached server, and below what all of them come to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "show the selected server", key_display="enter server", id="servers.open"),
    ]
    DIGIT = ""
    TITLE = "All servers"

    def __init__(self, panes: Sequence[ServerPane], glyphs: Glyphs, show: Callable[[ServerPane], None]) -> None:
        def named(pane: ServerPane) -> str:
            return titles(panes)[panes.index(pane)]

        table: Table[ServerPane] = Table(
            _columns(glyphs, named),
            lambda: panes,
            id,
            facts=_facts,
            glyphs=glyphs,
            empty="no server",
            id="servers-table",
        )
        super().__init__(Model(), glyphs, table, id="all")
        self._panes = panes
        self._show = show
        self._totals = Bar("head", id="servers-totals")

    def compose(self) -> ComposeResult:
        yield self.table
        yield self._totals

    def figure(self) -> str:
        return count(len(self._panes))

    def happened(self) -> int:
        return sum(each.model.rows.totals.calls.total for each in self._panes)

    def flush(self) -> None:
        super().flush()
        self._totals.show(_totals([each.model for each in self._panes]), [])

    def action_open(self) -> None:
        if (pane := self.table.selected) is not None:
            self._show(pane)


def _facts(pane: ServerPane) -> object:
    return pane.title, pane.model.phase, pane.model.reason, pane.url


def _known(models: Iterable[Model]) -> list[Model]:
    """Those whose figures are of now."""
    return [each for each in models if each.phase == "live"]


def _totals(models: Sequence[Model]) -> list[Line]:
    known = _known(models)
    counts = merge(each.trends.latency.counts(each.now()) for each in known)
    left_out = len(models) - len(known)
    figures = {
        "conns": count(sum(len(each.rows.connections) for each in known)),
        "streams": count(sum(len(each.rows.streams) for each in known)),
        "calls": f"{rate(sum(each.rows.totals.calls.rate(each.now()) for each in known))}/s",
        "errors": f"{rate(sum(each.rows.totals.errors.rate(each.now()) for each in known))}/s",
        "p50": _quantile(counts, 0.5),
        "p99": _quantile(counts, 0.99),
        "pub": f"{rate(sum(each.rows.totals.published.rate(each.now()) for each in known))}/s",
        "out": f"{rate(sum(each.rows.totals.delivered.rate(each.now()) for each in known))}/s",
    }
    line: list[Line] = [[(f" {title} ", "dim"), (f"{figure} ", "text")] for title, figure in figures.items() if figure]
    line.insert(0, [(f" {len(known)} live ", "strong")])
    if left_out:
        line.insert(1, [(f" without {left_out} that {'is' if left_out == 1 else 'are'} not live ", "warn")])
    return line


def _quantile(counts: dict[int, int], q: float) -> str:
    seconds = quantile(counts, q)
    return "" if seconds is None else ms(seconds * 1000)


def _columns(glyphs: Glyphs, named: Callable[[ServerPane], str]) -> list[Column[ServerPane]]:
    def live(piece: Callable[[Model], Piece]) -> Callable[[ServerPane], Piece]:
        """Figures that are not of now are dim, as their state says."""
        return lambda row: piece(row.model) if row.model.phase == "live" else (piece(row.model)[0], "dim")

    def quick(value: Callable[[Model], float]) -> Callable[[ServerPane], Piece]:
        return live(lambda model: per_second(value(model)))

    def calls(model: Model) -> float:
        return model.rows.totals.calls.rate(model.tick())

    def errors(model: Model) -> float:
        return model.rows.totals.errors.rate(model.tick())

    def published(model: Model) -> float:
        return model.rows.totals.published.rate(model.tick())

    def delivered(model: Model) -> float:
        return model.rows.totals.delivered.rate(model.tick())

    def took(q: float) -> Callable[[ServerPane], Piece]:
        return live(lambda model: (_quantile(model.trends.latency.counts(model.tick()), q), "text"))

    def rated(title: str, value: Callable[[Model], float], optional: int = 0) -> Column[ServerPane]:
        return Column(title, 8, quick(value), lambda row: value(row.model), right=True, falling=True, optional=optional)

    return [
        Column("server", 12, lambda row: (clean(named(row)), "strong"), named, most=28, end=True),
        Column("state", 15, lambda row: state(row.model, glyphs), lambda row: row.model.phase, most=26),
        Column("level", 7, lambda row: _level(row), optional=8),
        Column(
            "conns",
            6,
            live(lambda model: number(len(model.rows.connections))),
            lambda row: len(row.model.rows.connections),
            right=True,
            falling=True,
        ),
        Column("streams", 7, live(lambda model: number(len(model.rows.streams))), right=True, optional=3),
        rated("calls/s", calls),
        rated("errors/s", errors),
        Column("p50", 7, took(0.5), right=True, optional=2),
        Column("p99", 7, took(0.99), right=True, optional=1),
        Column("lag", 7, live(_lag), lambda row: row.model.lag, right=True, optional=4, falling=True),
        rated("pub/s", published, 6),
        rated("out/s", delivered, 5),
        Column("chaos", 8, lambda row: _chaos(row.model), optional=1),
        Column("memory", 8, live(_memory), right=True, optional=9),
        Column("devtools", 8, live(_busy), right=True, optional=10),
        Column("version", 9, _version, optional=12),
        Column("up", 6, _up, right=True, optional=7),
        Column("url", 12, lambda row: (clean(row.model.reason or row.url), "dim"), most=60, optional=11),
    ]


def _level(row: ServerPane) -> Piece:
    welcome = row.model.welcome
    return ("" if welcome is None else f"{welcome.granted}{' (read only)' if row.readonly else ''}"), "accent"


def _lag(model: Model) -> Piece:
    return ms(model.lag * 1000), "warn" if model.lag > 0.1 else "text"


def _memory(model: Model) -> Piece:
    return (size(model.memory) if model.memory else ""), "text"


def _busy(model: Model) -> Piece:
    return f"{model.busy:.1%}", "warn" if model.busy > 0.02 else "dim"


def _chaos(model: Model) -> Piece:
    return (f"{len(model.chaos)} armed", "error") if model.chaos else ("none", "dim")


def _version(row: ServerPane) -> Piece:
    return ("" if row.model.welcome is None else clean(row.model.welcome.server.version)), "dim"


def _up(row: ServerPane) -> Piece:
    welcome, model = row.model.welcome, row.model
    return ("" if welcome is None else age(model.wall(model.now()) - welcome.server.started)), "dim"

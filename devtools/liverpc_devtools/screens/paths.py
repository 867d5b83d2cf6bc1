"""Paths: how often each is called, how long it takes, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable

from rich.cells import cell_len

from liverpc_devtools.core.model import Model
from liverpc_devtools.core.rows import Path
from liverpc_devtools.core.text import clean, count, ms
from liverpc_devtools.screens.view import number, per_second
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece, fit, gauge
from liverpc_devtools.widgets.sparkline import spark
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["details", "headline", "table"]

_GAUGE = 16  # cells
_TREND = 10  # cells, each a second
_WIDEST = 9  # of a count


def table(model: Model, glyphs: Glyphs) -> Table[Path]:
    """The paths that were called, the busiest first."""
    return Table(
        _columns(model, glyphs),
        lambda: model.rows.paths.values(),
        lambda row: row.info.id,
        facts=lambda row: (row.info.path, row.stats.codes),
        fields={"path": lambda row: row.info.path, "code": lambda row: [code for code, _ in row.stats.codes]},
        glyphs=glyphs,
        sort=1,
        empty="nothing was called yet, or your token is limited to topics",
        id="paths",
    )


def headline(model: Model, row: Path) -> list[Line]:
    """What stands above the details."""
    return [
        [(f" {clean(row.info.path)} ", "strong"), (f" {per_second(row.calls.rate(model.tick()))[0]} calls/s ", "text")],
        [(f" {count(row.stats.calls)} calls ", "dim")],
    ]


def details(row: Path, glyphs: Glyphs) -> list[Line]:
    """All figures of a path, and its errors by code."""
    stats = row.stats
    mean = stats.total / stats.calls if stats.calls else 0.0
    times = {"p50": stats.p50, "p95": stats.p95, "p99": stats.p99, "mean": mean, "max": stats.max}
    refused = {"errors": stats.errors, "limited": stats.limited, "shed": stats.shed}
    lines: list[Line] = [
        _named({name: _time(seconds)[0] or "?" for name, seconds in times.items()}),
        _named({name: count(seen) for name, seen in refused.items()}),
    ]
    if stats.codes:
        lines.append([("errors by code", "head")])
    cells = max((cell_len(clean(code)) for code, _ in stats.codes), default=0)
    for code, seen in stats.codes:
        share = gauge(min(seen / max(stats.errors, 1), 1.0), _GAUGE, glyphs)
        name = fit(clean(code), cells, glyphs.ellipsis)
        lines.append([(f"  {share} ", "error"), (f"{name}  ", "text"), (count(seen), "number")])
    if (others := stats.errors - sum(seen for _, seen in stats.codes)) > 0:
        lines.append([(f"  {count(others)} with other codes", "dim")])
    return lines


def _named(figures: dict[str, str]) -> Line:
    return [piece for name, figure in figures.items() for piece in ((f"{name} ", "key"), (f"{figure}  ", "text"))]


def _columns(model: Model, glyphs: Glyphs) -> list[Column[Path]]:
    def calls(row: Path) -> float:
        return row.calls.rate(model.tick())

    def trend(row: Path) -> Piece:
        at, known = model.trends.at, model.trends.levels["calls"]
        # Of a path nothing is told while it is not called.
        values = zip(row.trend.series(at, _TREND), known.series(at, _TREND), strict=True)
        return spark([None if told is None else value or 0.0 for value, told in values], glyphs), "accent"

    return [
        Column("path", 20, lambda row: (clean(row.info.path), "strong"), lambda row: row.info.path, most=44, end=True),
        Column("calls/s", 7, lambda row: per_second(calls(row)), calls, right=True, falling=True),
        Column("last 10 s", _TREND, trend, optional=9),
        _duration("p50", lambda row: row.stats.p50),
        _duration("p95", lambda row: row.stats.p95, optional=3),
        _duration("p99", lambda row: row.stats.p99),
        _figure("errors", 7, lambda row: row.stats.errors, "error"),
        _figure("limited", 7, lambda row: row.stats.limited, "warn", optional=2),
        _figure("shed", 6, lambda row: row.stats.shed, "warn", optional=4),
        _figure("calls", 9, lambda row: row.stats.calls, "text", optional=5),
        _duration("max", lambda row: row.stats.max, optional=6),
        Column("errors by code", 14, _codes, most=60, optional=7),
    ]


def _duration(title: str, value: Callable[[Path], float], *, optional: int = 0) -> Column[Path]:
    return Column(title, 7, lambda row: _time(value(row)), value, right=True, falling=True, optional=optional)


def _time(seconds: float) -> Piece:
    return ms(seconds * 1000) if seconds else "", "text"


def _figure(title: str, width: int, value: Callable[[Path], int], name: str, *, optional: int = 0) -> Column[Path]:
    def cell(row: Path) -> Piece:
        return number(value(row))[0], name if value(row) else "dim"

    return Column(title, width, cell, value, right=True, falling=True, most=_WIDEST, optional=optional)


def _codes(row: Path) -> Piece:
    return ", ".join(f"{clean(code)} {count(seen)}" for code, seen in row.stats.codes), "error"

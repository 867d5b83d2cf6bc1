"""Locks that are held, and breakers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import inf

from liverpc.inspector.protocol import BreakerInfo, LockInfo
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.text import age, clean, count
from liverpc_devtools.screens.view import number, short
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["Row", "details", "headline", "key", "summary", "table"]

Row = LockInfo | BreakerInfo

_STYLES = {"closed": "ok", "open": "error", "half-open": "warn"}


def table(model: Model, glyphs: Glyphs) -> Table[Row]:
    """Breakers that are not closed, then locks, the most waited for first, then the other breakers."""

    def rows() -> Iterator[Row]:
        yield from (each for each in model.breakers if each.state != "closed")
        yield from model.locks
        yield from (each for each in model.breakers if each.state == "closed")

    return Table(
        _columns(model),
        rows,
        key,
        facts=lambda row: (_name(row), _paths(row)),
        glyphs=glyphs,
        empty="no lock is held that you may see, and there are no breakers",
        id="locks",
    )


def summary(model: Model) -> list[Line]:
    """Locks and breakers in one line, what matters most first; empty when there is nothing to tell."""
    lines: list[Line] = []
    waiting = sum(each.waiting for each in model.locks)
    if model.locks_total:
        lines.append([(" locks ", "dim"), (f"{count(model.locks_total)} held ", "text")])
        if waiting:
            lines[-1].append((f"{count(waiting)} wait ", "warn"))
    states = [each.state for each in model.breakers]
    if states:
        lines.append([(" breakers ", "dim")])
        shown = (each for each in ("open", "half-open", "closed") if each in states)
        lines[-1] += [(f"{states.count(each)} {each} ", _STYLES[each]) for each in shown]
    if waiting:
        first = model.locks[0]
        lines.append([(f" {clean(first.key)}", "strong"), (f" {_held(model, first)} ", "text")])
    return lines


def headline(row: Row) -> list[Line]:
    """What stands above the details."""
    state, style = _state(row)
    return [[(f" {_kind(row)} ", "dim"), (f"{clean(_name(row))} ", "strong"), (f" {state} ", style)]]


def details(model: Model, row: Row) -> list[Line]:
    """Who holds a lock and how long others wait, or what a breaker does."""
    figures: dict[str, str] = {}
    if isinstance(row, LockInfo):
        figures["held by"] = f"{clean(row.path) or '?'} of {clean(row.user) or 'anonymous'}"
        figures["conn"] = f"{clean(row.connection)}  call {clean(row.call) or 'without an id'}"
        figures["for"] = age(model.tick() - row.since)
        longest = f", the longest for {_longest(model, row)[0]}" if row.waiting else ""
        figures["waiting"] = count(row.waiting) + longest
    else:
        figures["failures"] = f"{count(row.failures)} in a row"
        if row.tried_in:
            figures["tried in"] = age(row.tried_in)
        figures["paths"] = ", ".join(map(clean, row.paths))
    return [[(f"{title:<9}", "key"), (text, "text")] for title, text in figures.items()]


def _held(model: Model, row: LockInfo) -> str:
    who = clean(row.user or short(row.connection))
    return f"held by {clean(row.path)} of {who} for {age(model.tick() - row.since)}, {count(row.waiting)} wait"


def _columns(model: Model) -> list[Column[Row]]:
    return [
        Column("kind", 7, lambda row: (_kind(row), "dim"), _kind, optional=2),
        Column("name", 14, lambda row: (clean(_name(row)), "strong"), _name, most=44),
        Column("state", 10, _state, lambda row: _state(row)[0]),
        Column("path", 12, lambda row: (clean(_paths(row)), "text"), _paths, most=40, optional=1, end=True),
        Column("user", 9, _user, lambda row: _user(row)[0], most=20, optional=3),
        Column("held", 5, partial(_since, model), lambda row: getattr(row, "since", inf), right=True),
        Column("waiting", 7, _waiting, lambda row: getattr(row, "waiting", -1), right=True, falling=True),
        Column("longest", 7, partial(_longest, model), lambda row: getattr(row, "waiting_since", 0) or inf, right=True),
        Column("failed", 6, _failures, lambda row: getattr(row, "failures", -1), right=True, falling=True, optional=4),
    ]


def key(row: Row) -> tuple[str, str]:
    """What identifies a row."""
    return _kind(row), _name(row)


def _kind(row: Row) -> str:
    return "lock" if isinstance(row, LockInfo) else "breaker"


def _name(row: Row) -> str:
    return row.key if isinstance(row, LockInfo) else row.name


def _state(row: Row) -> Piece:
    if isinstance(row, LockInfo):
        return "held", "warn" if row.waiting else "text"
    left = f" {age(row.tried_in)}" if row.tried_in else ""  # 0: whoever calls next is let through
    return f"{clean(row.state)}{left}", _STYLES.get(row.state, "text")


def _paths(row: Row) -> str:
    return row.path if isinstance(row, LockInfo) else ", ".join(row.paths)


def _user(row: Row) -> Piece:
    if isinstance(row, BreakerInfo):
        return "", ""
    return (clean(row.user), "text") if row.user else ("anonymous", "dim")


def _since(model: Model, row: Row) -> Piece:
    return age(model.tick() - row.since) if isinstance(row, LockInfo) else "", "text"


def _waiting(row: Row) -> Piece:
    return number(row.waiting) if isinstance(row, LockInfo) else ("", "")


def _longest(model: Model, row: Row) -> Piece:
    if isinstance(row, BreakerInfo) or not row.waiting:
        return "", ""
    return age(model.tick() - row.waiting_since), "warn"


def _failures(row: Row) -> Piece:
    return number(row.failures) if isinstance(row, BreakerInfo) else ("", "")

"""When each part of a chain began and how long it took, as bars below each other."""

from __future__ import annotations

from liverpc_devtools.core.chain import Part
from liverpc_devtools.core.text import ms
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece, fit

__all__ = ["bar", "steps", "styled"]

_NAME, _BAR = 14, 24


def bar(begin: float, length: float | None, whole: float, cells: int, glyphs: Glyphs) -> str:
    """A bar from ``begin`` on, of ``whole`` for all ``cells``; at least one cell, a dot when it took no time."""
    if whole <= 0:
        whole = 1.0
    first = min(max(int(begin / whole * cells), 0), cells - 1)
    if length is None:
        return " " * first + glyphs.dot + " " * (cells - first - 1)
    last = min(max(round((begin + length) / whole * cells), first + 1), cells)
    return " " * first + glyphs.blocks[-1] * (last - first) + " " * (cells - last)


def styled(part: Part) -> str:
    """The style of a part's bar."""
    return "error" if part.problem else {"rpc": "accent", "pub": "ok", "step": "number"}.get(part.kind, "text")


def steps(taken: list[tuple[str, float, float]], whole: float, glyphs: Glyphs) -> list[Line]:
    """The steps of a call that took ``whole`` milliseconds; ``taken`` are cleaned names, begins and lengths."""
    lines: list[Line] = []
    for name, begin, length in taken:
        drawn: Piece = (bar(begin, length, whole, _BAR, glyphs), "number")
        lines.append([(f"  {fit(name, _NAME, glyphs.ellipsis)} ", "text"), drawn, (f" {ms(length)}", "text")])
    return lines

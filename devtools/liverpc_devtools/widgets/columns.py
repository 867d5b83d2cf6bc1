"""The columns of a table, and how a line of it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.segment import Segment
from textual.strip import Strip

from liverpc_devtools.widgets.palette import Glyphs, Piece, fit, style

__all__ = ["MARGIN", "Column", "at", "card", "header", "lay_out", "line"]

R = TypeVar("R")
Shown = Sequence[tuple["Column[R]", int]]

_GAP = 2
MARGIN = 2  #: cells left of the first column, for the cursor and what was noted about a row


@dataclass(frozen=True)
class Column(Generic[R]):
    """A column.

    Args:
        title: Its heading.
        width: Cells it needs at least.
        cell: A row's text, cleaned, and the name of its style.
        sort: What rows are ordered by; None: this column does not sort.
        right: Aligned right, for numbers.
        most: Cells it takes at most when there is room; 0: never more than ``width``.
        optional: Left out when there is no room; the highest first, 0 never.
        falling: Sorts the largest first.
        end: Of a text that is too long the end is shown.
    """

    title: str
    width: int
    cell: Callable[[R], Piece]
    sort: Callable[[R], Any] | None = None
    right: bool = False
    most: int = 0
    optional: int = 0
    falling: bool = False
    end: bool = False


def lay_out(columns: Sequence[Column[R]], cells: int) -> list[tuple[Column[R], int]]:
    """Those of the columns for which there is room, and how wide each is.

    When the optional ones are left out and it is still too narrow, the last ones are: of half a figure nobody sees
    that it is one.
    """
    room = cells - MARGIN
    shown = list(columns)
    while len(shown) > 1 and sum(each.width + _GAP for each in shown) - _GAP > room:
        least = max(shown, key=lambda each: each.optional)
        shown.remove(least if least.optional else shown[-1])
    spare = max(room - sum(each.width + _GAP for each in shown) + _GAP, 0)
    result = []
    growing = [each for each in shown if each.most]
    for column in shown:
        extra = min(spare // len(growing), column.most - column.width) if column in growing else 0
        if column in growing:
            growing.remove(column)
        spare -= extra
        result.append((column, column.width + extra))
    return result


def header(shown: Shown[R], sorted_by: Column[R] | None, glyphs: Glyphs, *, reverse: bool) -> Strip:
    """The line with the titles."""
    segments = [Segment(" " * (MARGIN - 1), style("head", "head"))]
    for column, size in shown:
        here = column is sorted_by
        mark = f" {glyphs.down if reverse else glyphs.up}" if here else ""
        # One cell of the gap on either side, so that the mark fits beside the longest title.
        text = f"{column.title}{mark or ' '}" if column.right else f" {column.title}{mark}"
        text = fit(text, size + _GAP, glyphs.ellipsis, right=column.right)
        segments.append(Segment(text, style("accent" if here else "head", "head")))
    return Strip(segments)


def line(pieces: Sequence[Piece], shown: Shown[R], ground: str, glyphs: Glyphs, margin: Piece) -> Strip:
    """The line of a row; ``margin`` stands before it."""
    segments = [Segment(fit(margin[0], MARGIN, glyphs.ellipsis), style(margin[1], ground))]
    for (text, name), (column, size) in zip(pieces, shown, strict=True):
        text = fit(text, size, glyphs.ellipsis, right=column.right, end=column.end)
        segments.append(Segment(text + " " * _GAP, style(name, ground)))
    return Strip(segments)


def card(pieces: Sequence[Piece], columns: Sequence[Column[R]], ground: str) -> Strip:
    """The second line of a row: what its first line has no room for, with titles."""
    segments = [Segment(" " * MARGIN, style("dim", ground))]
    for (text, name), column in zip(pieces, columns, strict=True):
        if text := text.strip():
            title = f"{column.title} " if column.title else ""
            segments += [Segment(title, style("dim", ground)), Segment(f"{text}  ", style(name, ground))]
    return Strip(segments)


def at(shown: Shown[R], x: int) -> Column[R] | None:
    """The column at a cell of the line."""
    left = MARGIN
    for column, size in shown:
        if left <= x < left + size + _GAP:
            return column
        left += size + _GAP
    return None

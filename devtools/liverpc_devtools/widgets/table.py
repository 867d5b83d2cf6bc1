"""A table of keyed rows that change many times a second.

It draws through Textual's line API: only lines whose text changed are drawn again, so that the cost depends
on what is visible, not on how many rows there are or how often they change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from liverpc_devtools.widgets.palette import Glyphs, Piece, fit, style

__all__ = ["Column", "Table"]

R = TypeVar("R")

_GAP = 2
_MARGIN = 2  # the cursor's mark


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


class Table(ScrollView, Generic[R], can_focus=True):
    """Rows with a cursor, sorting, a filter and a header.

    Call :meth:`flush` often: it draws what changed, and looks for new, gone and reordered rows every
    ``period`` seconds.

    Args:
        columns: From left to right.
        rows: The rows there are now, in their natural order.
        key: What identifies a row; the cursor stays on it while rows come and go.
        group: Rows of the lower group stand above the others, however they are sorted.
        facts: What the texts that the filter looks at are made of. A row is looked at again only when its
            facts changed. Default: the row itself, for rows that never change.
        sort: Index of the column sorted by at first; None: the natural order.
        follow: While the cursor is on the first row it stays on the first row, whichever that is, and rows
            inserted above the cursor do not move what is visible.
        empty: Shown when there are no rows.
        period: Seconds.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "next row", show=False),
        Binding("k,up", "move(-1)", "previous row", show=False),
        Binding("pagedown,ctrl+d", "page(1)", "page down", show=False),
        Binding("pageup,ctrl+u", "page(-1)", "page up", show=False),
        Binding("g,home", "first", "first row", show=False),
        Binding("G,end", "last", "last row", show=False),
    ]

    def __init__(
        self,
        columns: Sequence[Column[R]],
        rows: Callable[[], Iterable[R]],
        key: Callable[[R], Hashable],
        *,
        group: Callable[[R], int] | None = None,
        facts: Callable[[R], object] = lambda row: row,
        glyphs: Glyphs,
        sort: int | None = None,
        follow: bool = False,
        empty: str = "",
        period: float = 0.5,
        id: str | None = None,  # noqa: A002  Textual's name for it
    ) -> None:
        super().__init__(id=id)
        self.columns = columns
        self._empty = empty
        self.sort_column = sort
        self.reverse = sort is not None and columns[sort].falling
        self._source = rows
        self._key = key
        self._group = group
        self._facts = facts
        self._glyphs = glyphs
        self._follow = follow
        self._period = period
        self._needle = ""
        self._passes: dict[Hashable, tuple[object, bool]] = {}  # what the filter said, and of which facts
        self._kept: list[R] | None = None  # the rows of a frozen table
        self._rows: dict[Hashable, R] = {}
        self._order: list[Hashable] = []
        self._place: dict[Hashable, int] = {}
        self._cells: dict[Hashable, list[Piece]] = {}
        self._shown: list[tuple[Column[R], int]] = []
        self._cursor: Hashable | None = None
        self._reloaded = float("-inf")

    # -- what others ask ----------------------------------------------------------------------------------

    @property
    def selected(self) -> R | None:
        """The row under the cursor."""
        return None if self._cursor is None else self._rows.get(self._cursor)

    @property
    def shown(self) -> int:
        """How many rows pass the filter."""
        return len(self._order)

    @property
    def empty(self) -> str:
        """What stands there when there are no rows."""
        return self._empty

    @empty.setter
    def empty(self, text: str) -> None:
        if text != self._empty:
            self._empty = text
            self.refresh()

    @property
    def needle(self) -> str:
        """Rows whose visible text contains this, whatever the case, are shown; figures do not count."""
        return self._needle

    @needle.setter
    def needle(self, text: str) -> None:
        self._needle = text.casefold()
        self._passes = {}
        self.reload()

    @property
    def frozen(self) -> bool:
        """While true no row comes, goes or changes; they can still be sorted and filtered."""
        return self._kept is not None

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self._kept = list(self._source()) if frozen else None
        self._cells = {self._key(row): self._format(row) for row in self._kept or ()}
        self._passes = {}
        self.reload()

    # -- drawing ------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Draw what changed."""
        if self._kept is not None or not self.size:
            return
        if time.monotonic() - self._reloaded >= self._period or (not self._order and not self._needle):
            self.reload()
        top, cells, regions = self.scroll_offset.y, {}, []
        for line, key in enumerate(self._order[top : top + max(self.size.height - 1, 0)], 1):
            text = cells[key] = self._format(self._rows[key])
            if self._cells.get(key) != text:
                regions.append(Region(0, line, self._width, 1))
        self._cells = cells
        if regions:
            self.refresh(*regions)

    def reload(self) -> None:
        """Look for new, gone and reordered rows."""
        if not self._shown:
            return
        self._reloaded = time.monotonic()
        rows = {self._key(each): each for each in (self._source() if self._kept is None else self._kept)}
        if self._needle:
            rows = self._filtered(rows)
        order = list(rows)
        column = None if self.sort_column is None else self.columns[self.sort_column]
        if column is not None and (value := column.sort) is not None:
            order.sort(key=lambda key: value(rows[key]), reverse=self.reverse)
        if (group := self._group) is not None:
            order.sort(key=lambda key: group(rows[key]))
        before, place = self._order, self._place.get(self._cursor) if self._cursor is not None else None
        self._rows = rows
        if order != before:
            self._order = order
            self._place = {key: index for index, key in enumerate(order)}
            self.virtual_size = Size(self._width, len(order) + 1)
            self.refresh()
        self._keep_cursor(place)
        self._scroll(self.scroll_offset.y)

    def _keep_cursor(self, before: int | None) -> None:
        if not self._order:
            self._cursor = None
        elif before is None or (self._follow and before == 0 and self.scroll_offset.y == 0):
            self._select(0)
        elif self._cursor not in self._place:
            self._select(before)
        elif self._follow and (moved := self._place[self._cursor] - before):
            self.scroll_to(y=self.scroll_offset.y + moved, animate=False, immediate=True)

    def _filtered(self, rows: dict[Hashable, R]) -> dict[Hashable, R]:
        known, passes = self._passes, {}
        for key, row in rows.items():
            facts, before = self._facts(row), known.get(key)
            if before is not None and (facts is before[0] or facts == before[0]):
                passes[key] = before
            else:
                passes[key] = facts, self._needle in self._text(key, row)
        self._passes = passes
        return {key: row for key, row in rows.items() if passes[key][1]}

    def _text(self, key: Hashable, row: R) -> str:
        """What the filter looks at: no figures, which change too often."""
        left = [index for index, (column, _) in enumerate(self._shown) if not column.right]
        if self._kept is None:
            pieces = [self._shown[index][0].cell(row) for index in left]
        else:
            pieces = [self._cells[key][index] for index in left]
        return " ".join([text for text, _ in pieces]).casefold()

    def _format(self, row: R) -> list[Piece]:
        return [column.cell(row) for column, _ in self._shown]

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width  # `size` counts the scrollbar

    def _layout(self) -> None:
        room = self._width - _MARGIN
        shown = list(self.columns)
        while sum(each.width + _GAP for each in shown) - _GAP > room:
            least = max(shown, key=lambda each: each.optional)
            if not least.optional:
                break
            shown.remove(least)
        spare = max(room - sum(each.width + _GAP for each in shown) + _GAP, 0)
        self._shown = []
        growing = [each for each in shown if each.most]
        for column in shown:
            extra = min(spare // len(growing), column.most - column.width) if column in growing else 0
            if column in growing:
                growing.remove(column)
            spare -= extra
            self._shown.append((column, column.width + extra))

    def render_line(self, y: int) -> Strip:
        cells = self._width
        if y == 0:
            return self._header().adjust_cell_length(cells, style("head", "head"))
        index = y - 1 + self.scroll_offset.y
        if index >= len(self._order):
            text = ""
            if y == 1 and not self._order:
                text = f'nothing contains "{self._needle}"; esc clears the filter' if self._needle else self._empty
            return Strip([Segment(fit("  " + text, cells, self._glyphs.ellipsis), style("dim"))])
        key = self._order[index]
        pieces = self._cells.get(key)
        if pieces is None or len(pieces) != len(self._shown):
            pieces = self._format(self._rows[key])
        current = key == self._cursor
        ground = "zebra" if index & 1 else "base"
        if current:
            ground = "cursor" if self.has_focus else "cursor-idle"
        line = [Segment(f"{self._glyphs.cursor} " if current else "  ", style("accent", ground))]
        for (text, name), (column, size) in zip(pieces, self._shown, strict=True):
            text = fit(text, size, self._glyphs.ellipsis, right=column.right, end=column.end)
            line.append(Segment(text + " " * _GAP, style(name, ground)))
        return Strip(line).adjust_cell_length(cells, style("text", ground))

    def _header(self) -> Strip:
        line = [Segment(" " * (_MARGIN - 1), style("head", "head"))]
        for column, size in self._shown:
            sorted_by = self.sort_column is not None and self.columns[self.sort_column] is column
            mark = f" {self._glyphs.down if self.reverse else self._glyphs.up}" if sorted_by else ""
            # One cell of the gap on either side, so that the mark fits beside the longest title.
            text = f"{column.title}{mark or ' '}" if column.right else f" {column.title}{mark}"
            text = fit(text, size + _GAP, self._glyphs.ellipsis, right=column.right)
            line.append(Segment(text, style("accent" if sorted_by else "head", "head")))
        return Strip(line)

    # -- moving and sorting -------------------------------------------------------------------------------

    def sort_next(self) -> None:
        """Sort by the next column that is shown and sorts."""
        sortable = self._sortable()
        if sortable:
            here = -1 if self.sort_column is None else self.sort_column
            self.sort_by(next((index for index in sortable if index > here), sortable[0]))

    def _sortable(self) -> list[int]:
        return [self.columns.index(each) for each, _ in self._shown if each.sort is not None]

    def sort_by(self, column: int) -> None:
        """Sort by a column, or reverse the order when it is sorted by already."""
        self.reverse = not self.reverse if column == self.sort_column else self.columns[column].falling
        self.sort_column = column
        self._resort()

    def sort_reverse(self) -> None:
        """Turn the order around."""
        if self.sort_column is not None:
            self.reverse = not self.reverse
            self._resort()

    def _resort(self) -> None:
        self.reload()
        self._show_cursor()
        self.refresh()

    def action_move(self, by: int) -> None:
        self._select(self._place.get(self._cursor, 0) + by)

    def action_page(self, by: int) -> None:
        self.action_move(by * max(self.size.height - 2, 1))

    def action_first(self) -> None:
        self._select(0)

    def action_last(self) -> None:
        self._select(len(self._order) - 1)

    def _select(self, index: int) -> None:
        if self._order:
            key = self._order[min(max(index, 0), len(self._order) - 1)]
            if key != self._cursor:
                self._cursor = key
                self.refresh()
            self._show_cursor()

    def _show_cursor(self) -> None:
        if self._cursor not in self._place:
            return
        place, top, lines = self._place[self._cursor], self.scroll_offset.y, max(self.size.height - 1, 1)
        self._scroll(min(max(top, place - lines + 1), place))

    def _scroll(self, top: int) -> None:
        """Begin with this row, or above it when there would be empty lines below the last."""
        top = min(top, max(len(self._order) - max(self.size.height - 1, 1), 0))
        if top != self.scroll_offset.y:
            self.scroll_to(y=top, animate=False, immediate=True)

    def on_click(self, event: Click) -> None:
        if event.y > 0:
            index = event.y - 1 + self.scroll_offset.y
            if index < len(self._order):
                self._select(index)
            return
        x = _MARGIN
        for column, size in self._shown:
            if x <= event.x < x + size + _GAP and column.sort is not None:
                self.sort_by(self.columns.index(column))
            x += size + _GAP

    def on_resize(self, event: Resize) -> None:
        self._layout()
        self.virtual_size = Size(self._width, len(self._order) + 1)
        self._cells = {self._key(row): self._format(row) for row in self._kept or ()}
        self._passes = {}
        if self.sort_column is not None and self.sort_column not in self._sortable():
            self.sort_next()  # nobody sees by what the rows are ordered
        self.reload()
        self._show_cursor()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

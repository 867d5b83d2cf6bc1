"""Keyed rows that change many times a second: what of them is drawn, and where the cursor is.

It draws through Textual's line API: only lines whose text changed are drawn again, so that the cost depends
on what is visible, not on how many rows there are or how often they change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from rich.segment import Segment
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from liverpc_devtools.core.fields import Fields
from liverpc_devtools.core.sieve import Sieve
from liverpc_devtools.core.text import clean
from liverpc_devtools.widgets import columns as drawing
from liverpc_devtools.widgets.columns import Column
from liverpc_devtools.widgets.palette import Glyphs, Piece, fit, style

__all__ = ["Grid"]

_CARDS = 60  # columns of the terminal below which what has no room in a row stands on a line of its own

R = TypeVar("R")


class Grid(ScrollView, Generic[R], can_focus=True):
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
        fields: What a filter can ask of a row, by name; ``is`` are its words, of which ``error`` is one that
            keys look for.
        sort: Index of the column sorted by at first; None: the natural order.
        follow: The first row is the newest one. While the cursor is on it, it stays on the first row, whichever
            that is, and rows inserted above the cursor do not move what is visible.
        empty: Shown when there are no rows.
        period: Seconds.
    """

    def __init__(
        self,
        columns: Sequence[Column[R]],
        rows: Callable[[], Iterable[R]],
        key: Callable[[R], Hashable],
        *,
        group: Callable[[R], int] | None = None,
        facts: Callable[[R], object] | None = None,
        fields: Fields[R] | None = None,
        glyphs: Glyphs,
        sort: int | None = None,
        follow: bool = False,
        empty: str = "",
        period: float = 0.5,
        id: str | None = None,  # noqa: A002  Textual's name for it
    ) -> None:
        super().__init__(id=id)
        self.columns = columns
        self._hidden: set[str] = set()
        self.pinned: dict[Hashable, R] = {}  #: rows that stay, on top
        self._empty = empty
        self.sort_column = sort
        self.reverse = sort is not None and columns[sort].falling
        self.sieve: Sieve[R] = Sieve(fields or {}, key, facts)
        self._source = rows
        self._key = key
        self._group = group
        self._glyphs = glyphs
        self.newest_first = follow
        self._follow = follow
        self._period = period
        self._kept: list[R] | None = None  # the rows of a frozen table
        self._rows: dict[Hashable, R] = {}
        self._order: list[Hashable] = []
        self._place: dict[Hashable, int] = {}
        self._cells: dict[Hashable, list[Piece]] = {}
        self._shown: list[tuple[Column[R], int]] = []
        self._below: list[Column[R]] = []  # on the second line of each row, which then is a card
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

    def shown_rows(self) -> list[R]:
        """The rows that pass the filter, in their order."""
        return [self._rows[key] for key in self._order]

    def cells(self, row: R) -> list[tuple[str, str]]:
        """The titles of the shown columns, and a row's texts."""
        columns = [*(column for column, _ in self._shown), *self._below]
        return [(column.title, column.cell(row)[0].strip()) for column in columns]

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
        """The filter: fields and texts, see docs/devtools.md. Of texts only visible ones count, and no figures."""
        return self.sieve.needle

    @needle.setter
    def needle(self, text: str) -> None:
        self.sieve.needle = text
        self.reload()

    @property
    def frozen(self) -> bool:
        """While true no row comes, goes or changes; they can still be sorted and filtered."""
        return self._kept is not None

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self._kept = list(self._source()) if frozen else None
        self._cells = {self._key(row): self._format(row) for row in self._kept or ()}
        self.sieve.forget()
        self.reload()

    @property
    def following(self) -> bool:
        """Whether the cursor stays on the newest row."""
        return self._follow

    def follow(self, follow: bool) -> None:
        """Go to the newest row and stay on it; or stay on the present one."""
        self._follow = follow and self.newest_first
        if self._follow:
            self._select(self._newest)

    @property
    def hidden(self) -> set[str]:
        """Titles of columns that are not wanted."""
        return self._hidden

    @hidden.setter
    def hidden(self, titles: set[str]) -> None:
        self._hidden = titles
        if self._shown:
            self._laid_out()
            self.refresh()

    def toggle(self, title: str) -> bool:
        """Hide a column, or show it again; whether there is such a column, and another one besides."""
        names = [each.title for each in self.columns]
        if title not in names or (title not in self.hidden and len(self.hidden) + 1 == len(names)):
            return False
        self.hidden = self.hidden ^ {title}
        return True

    # -- drawing ------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Draw what changed."""
        if self._kept is not None or not self.size:
            return
        if time.monotonic() - self._reloaded >= self._period or (not self._order and not self.needle):
            self.reload()
        top, tall, cells, regions = self.scroll_offset.y, self._tall, {}, []
        first, after = top // tall, -(-(top + max(self.size.height - 1, 0)) // tall)
        for index, key in enumerate(self._order[first:after], first):
            text = cells[key] = self._format(self._rows[key])
            if self._cells.get(key) != text:
                regions.append(Region(0, index * tall - top + 1, self._width, tall))
        self._cells = cells
        if regions:
            self.refresh(*regions)

    def reload(self) -> None:
        """Look for new, gone and reordered rows."""
        if not self._shown:
            return
        self._reloaded = time.monotonic()
        rows = {self._key(each): each for each in self._all()}
        self.pinned = {key: rows.get(key, row) for key, row in self.pinned.items()}
        rows = {**self.pinned, **self.sieve.passing(rows, self._text)}
        order = list(rows)
        column = None if self.sort_column is None else self.columns[self.sort_column]
        if column is not None and (value := column.sort) is not None:
            order.sort(key=lambda key: value(rows[key]), reverse=self.reverse)
        if (group := self._group) is not None:
            order.sort(key=lambda key: group(rows[key]))
        if self.pinned:
            order.sort(key=lambda key: key not in self.pinned)
        before, place = self._order, self._place.get(self._cursor) if self._cursor is not None else None
        self._rows = rows
        if order != before:
            self._order = order
            self._place = {key: index for index, key in enumerate(order)}
            self.virtual_size = Size(self._width, len(order) * self._tall + 1)
            self.refresh()
        self._keep_cursor(place)
        self._scroll(self.scroll_offset.y)

    def _all(self) -> Iterable[R]:
        return self._source() if self._kept is None else self._kept

    def _keep_cursor(self, before: int | None) -> None:
        if not self._order:
            self._cursor = None
        elif before is None or (self._follow and before == self._newest and self.scroll_offset.y == 0):
            self._select(self._newest if self.newest_first else 0)
        elif self._cursor not in self._place:
            self._select(before)
        elif self.newest_first and (moved := (self._place[self._cursor] - before) * self._tall):
            self.scroll_to(y=self.scroll_offset.y + moved, animate=False, immediate=True)

    @property
    def _newest(self) -> int:
        """The first row that is not pinned."""
        return min(len(self.pinned), len(self._order) - 1)

    def _text(self, key: Hashable, row: R) -> str:
        """What the filter looks at: no figures, which change too often."""
        left = [index for index, (column, _) in enumerate(self._shown) if not column.right]
        if self._kept is None or key not in self._cells:
            pieces = [self._shown[index][0].cell(row) for index in left]
        else:
            pieces = [self._cells[key][index] for index in left]
        return " ".join([text for text, _ in pieces])

    def _format(self, row: R) -> list[Piece]:
        return [column.cell(row) for column, _ in self._shown] + [column.cell(row) for column in self._below]

    @property
    def _tall(self) -> int:
        """Lines of a row."""
        return 2 if self._below else 1

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width  # `size` counts the scrollbar

    def render_line(self, y: int) -> Strip:
        cells = self._width
        if y == 0:
            sorted_by = None if self.sort_column is None else self.columns[self.sort_column]
            titles = drawing.header(self._shown, sorted_by, self._glyphs, reverse=self.reverse)
            return titles.adjust_cell_length(cells, style("head", "head"))
        index, below = divmod(y - 1 + self.scroll_offset.y, self._tall)
        if index >= len(self._order):
            text = self._nothing() if y == 1 and not self._order else ""
            return Strip([Segment(fit("  " + text, cells, self._glyphs.ellipsis), style("dim"))])
        key = self._order[index]
        pieces = self._cells.get(key)
        if pieces is None or len(pieces) != len(self._shown) + len(self._below):
            pieces = self._format(self._rows[key])
        ground = "zebra" if index & 1 else "base"
        if key == self._cursor:
            ground = "cursor" if self.has_focus else "cursor-idle"
        if below:
            row = drawing.card(pieces[len(self._shown) :], self._below, ground)
        else:
            row = drawing.line(pieces[: len(self._shown)], self._shown, ground, self._glyphs, self._margin(key))
        return row.adjust_cell_length(cells, style("text", ground))

    def _margin(self, key: Hashable) -> Piece:
        cursor = self._glyphs.cursor if key == self._cursor else " "
        noted = "^" if key in self.pinned else "*" if key in self.sieve.marks else " "
        return cursor + noted, "accent"

    def _nothing(self) -> str:
        if not self.needle:
            return self._empty
        verb = "contains" if self.sieve.filter.textual else "matches"
        return f'nothing {verb} "{clean(self.needle)}"; esc clears the filter'

    # -- moving and sorting -------------------------------------------------------------------------------

    def sort_next(self) -> None:
        """Sort by the next column that is shown and sorts."""
        self.sort_pick(1)

    def sort_pick(self, by: int) -> None:
        """Sort by the next column to the right, or to the left."""
        if not (sortable := self._sortable()):
            return
        here = -1 if self.sort_column is None else self.sort_column
        further = [index for index in sortable if (index > here if by > 0 else index < here)]
        chosen = (further or sortable)[0 if by > 0 else -1]
        if chosen != here:
            self.sort_by(chosen)

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
        self.action_move(by * max((self.size.height - 2) // self._tall, 1))

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
        first, tall, top = self._place[self._cursor] * self._tall, self._tall, self.scroll_offset.y
        self._scroll(min(max(top, first + tall - max(self.size.height - 1, tall)), first))

    def _scroll(self, top: int) -> None:
        """Begin with this line, or above it when there would be empty ones below the last."""
        top = min(top, max(len(self._order) * self._tall - max(self.size.height - 1, 1), 0))
        if top != self.scroll_offset.y:
            self.scroll_to(y=top, animate=False, immediate=True)

    def on_click(self, event: Click) -> None:
        if event.y > 0:
            index = (event.y - 1 + self.scroll_offset.y) // self._tall
            if index < len(self._order):
                self._select(index)
                if event.chain == 2:
                    self.app.simulate_key("enter")
            return
        column = drawing.at(self._shown, event.x)
        if column is not None and column.sort is not None:
            self.sort_by(self.columns.index(column))

    def on_resize(self, event: Resize) -> None:
        self._laid_out()
        self.virtual_size = Size(self._width, len(self._order) * self._tall + 1)
        self._show_cursor()

    def _laid_out(self) -> None:
        wanted = [each for each in self.columns if each.title not in self.hidden]
        self._shown = drawing.lay_out(wanted, self._width)
        first = [column for column, _ in self._shown]
        self._below = [each for each in wanted if each not in first] if self.app.size.width < _CARDS else []
        self._cells = {self._key(row): self._format(row) for row in self._kept or ()}
        self.sieve.forget()
        if self.sort_column is not None and self.sort_column not in self._sortable():
            self.sort_next()  # nobody sees by what the rows are ordered
        self.reload()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

"""The table of the screens: rows that can be searched, pinned, marked, copied and exported."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any, ClassVar, Generic, TypeVar

from textual.binding import Binding, BindingType
from textual.message import Message

from liverpc_devtools.core import copying, exporting
from liverpc_devtools.core.filter import Filter, FilterError, parse
from liverpc_devtools.core.text import clean, count
from liverpc_devtools.widgets.columns import Column
from liverpc_devtools.widgets.grid import Grid
from liverpc_devtools.widgets.menus import Ask, Menu
from liverpc_devtools.widgets.palette import Line

__all__ = ["Column", "Table"]

R = TypeVar("R")


class Table(Grid[R], Generic[R]):
    """Rows with a cursor, sorting, a filter and a header, and keys for what can be done with them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "next row", show=False, id="table.down"),
        Binding("k,up", "move(-1)", "previous row", show=False, id="table.up"),
        Binding("pagedown,ctrl+d", "page(1)", "page down", show=False, id="table.page_down"),
        Binding("pageup,ctrl+u", "page(-1)", "page up", show=False, id="table.page_up"),
        Binding("g,home", "first", "first row", show=False, id="table.first"),
        Binding("G,end", "last", "last row", show=False, id="table.last"),
        Binding("less_than_sign", "pick(-1)", "sort by the column to the left", show=False, id="table.sort_left"),
        Binding("greater_than_sign", "pick(1)", "sort by the column to the right", show=False, id="table.sort_right"),
        Binding("f", "follow", "follow the newest row, or stay", show=False, id="table.follow"),
        Binding("F", "pin", "pin the row on top, or let it go", show=False, id="table.pin"),
        Binding("m", "mark", "mark the row, or unmark it", show=False, id="table.mark"),
        Binding("semicolon", "comment", "mark the row with a comment", show=False, id="table.comment"),
        Binding("ctrl+s", "search", "search for rows; n and N go through them", show=False, id="table.search"),
        Binding("n", "hit(1)", "next row found", show=False, id="table.next_hit"),
        Binding("N", "hit(-1)", "previous row found", show=False, id="table.previous_hit"),
        Binding("right_square_bracket", "error(1)", "next error", show=False, id="table.next_error"),
        Binding("left_square_bracket", "error(-1)", "previous error", show=False, id="table.previous_error"),
        Binding("y", "copy", "copy something of the row", show=False, id="table.copy"),
        Binding("e", "export", "write the shown rows to a file", show=False, id="table.export"),
    ]

    class Done(Message):
        """Something was copied or written, as a sentence for the log of commands; there is no command for it."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    _search: Filter | None = None
    _search_text = ""

    # -- what others ask ----------------------------------------------------------------------------------

    def notes(self) -> Line:
        """What was done to the rows: pins, marks, a search."""
        line: Line = []
        if self.newest_first and not self.following:
            line.append(("not following  ", "warn"))
        for word, number in (("pinned", len(self.pinned)), ("marked", len(self.sieve.marks))):
            if number:
                line.append((f"{count(number)} {word}  ", "accent"))
        if self._search is not None:
            line.append((f'search "{clean(self._search_text)}"  ', "accent"))
        return line

    def values(self, field: str) -> list[object]:
        """What a field is in the rows there are, shown or not."""
        getter = self.sieve.fields.get(field)
        return [] if getter is None else [getter(row) for row in self._all()]

    def search(self, text: str, by: int = 1) -> bool:
        """Go to the next row that passes a filter, and let ``n`` and ``N`` go on; whether there is one.

        Raises:
            FilterError: The text is none.
        """
        self._search, self._search_text = (parse(text, self.sieve.fields), text) if text.strip() else (None, "")
        return self._search is not None and self._go(self._search, by)

    def _go(self, wanted: Filter, by: int) -> bool:
        """Select the next row in this direction that passes, from the other end on when there is none."""
        number = len(self._order)
        here = self._place.get(self._cursor, -1)
        for step in range(1, number + 1):
            place = (here + by * step) % number
            key = self._order[place]
            row = self._rows[key]
            if wanted.matches(self.sieve.subject(row, lambda key=key, row=row: self._text(key, row))):  # type: ignore[misc]  # a default binds the loop's value
                self._select(place)
                return True
        return False

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "follow":
            return self.newest_first
        if action == "error":
            return self.sieve.tells_words
        return True

    def content(self, row: R) -> Any:
        """What is copied and exported of a row."""
        return row

    # -- keys ---------------------------------------------------------------------------------------------

    def action_pick(self, by: int) -> None:
        self.sort_pick(by)

    def action_follow(self) -> None:
        self.follow(not self.following)

    def action_pin(self) -> None:
        if (row := self.selected) is not None and self._cursor is not None:
            if self.pinned.pop(self._cursor, None) is None:
                self.pinned[self._cursor] = row
            self._noted()

    def action_mark(self) -> None:
        if (key := self._cursor) is not None:
            if self.sieve.marks.pop(key, None) is None:
                self.sieve.marks[key] = ""
            self._noted()

    def action_comment(self) -> None:
        if (key := self._cursor) is not None:
            before = self.sieve.marks.get(key, "")
            self.app.push_screen(
                Ask("Comment on this row; words with # are its tags", before), lambda text: self._comment(key, text)
            )

    def _comment(self, key: Hashable, text: str | None) -> None:
        if text is not None:
            self.sieve.marks[key] = text
            self._noted()

    def _noted(self) -> None:
        self.reload()
        self.refresh()

    def action_search(self) -> None:
        self.app.push_screen(Ask("Search for rows: texts and fields as in a filter", self._search_text), self._searched)

    def _searched(self, text: str | None) -> None:
        if text is None:
            return
        try:
            if not self.search(text) and text.strip():
                self._say("no row matches")
        except FilterError as error:
            self._say(str(error))

    def action_hit(self, by: int) -> None:
        if self._search is None:
            self.action_search()
        elif not self._go(self._search, by):
            self._say("no row matches")

    def action_error(self, by: int) -> None:
        if not self._go(parse("is:error"), by):
            self._say("no errors")

    def action_copy(self) -> None:
        if (row := self.selected) is not None:
            offers = copying.offers(
                self.content(row), self.cells(row), url=self._of_view("url") or "URL", model=self._of_view("model")
            )
            self.app.push_screen(Menu("Copy", [each.title for each in offers]), lambda at: self._copy(offers, at))

    def _copy(self, offers: list[copying.Offer], at: int | None) -> None:
        if at is None:
            return
        text = offers[at].text()
        self.app.copy_to_clipboard(text)
        self._written(lambda: exporting.write("copied.txt", text), f"copied {offers[at].title}; also in")

    def action_export(self) -> None:
        rows = self.shown_rows()
        forms = exporting.forms([self.content(row) for row in rows])
        title = f"Write {count(len(rows))} shown row{'' if len(rows) == 1 else 's'}"
        self.app.push_screen(Menu(title, [*forms, "SVG screenshot"]), lambda at: self._export(rows, forms, at))

    def _export(self, rows: list[R], forms: list[str], at: int | None) -> None:
        if at is None:
            return
        if at == len(forms):
            picture = self.app.export_screenshot()
            self._written(lambda: exporting.write(exporting.name(self.id or "rows", "svg"), picture), "wrote")
            return
        sheet = exporting.Sheet(
            rows=[self.content(row) for row in rows],
            cells=[self.cells(row) for row in rows] if forms[at] == "CSV" else [],
            comments=[self.sieve.marks.get(self._key(row)) for row in rows],
            wall=self._wall,
        )
        self._written(lambda: exporting.save(self.id or "rows", forms[at], sheet), "wrote")

    def _wall(self, at: float) -> float:
        model = self._of_view("model")
        return at if model is None else float(model.wall(at))

    def _of_view(self, name: str) -> Any:
        """What the view knows around the table; None when there is none."""
        found = (getattr(each, name, None) for each in self.ancestors)
        return next((each for each in found if each is not None), None)

    def _written(self, write: copying.Write, done: str) -> None:
        self.app.run_worker(self._write(write, done), name=done)

    async def _write(self, write: copying.Write, done: str) -> None:
        try:
            path = await asyncio.to_thread(write)
        except OSError as error:
            self._say(f"not written: {error}")
        else:
            self._say(f"{done} {path}")
            self.post_message(self.Done(f"{done} {path}"))

    def _say(self, text: str) -> None:
        self.app.notify(clean(text), markup=False)

"""The table by itself: what is visible while rows come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from textual.app import App, ComposeResult

from liverpc_devtools.widgets.columns import lay_out
from liverpc_devtools.widgets.palette import UNICODE
from liverpc_devtools.widgets.table import Column, Table


class Sheet(App[None]):
    """A table of letters, five lines high: the header and four rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = list("abcdef")
        columns: list[Column[str]] = [Column("letter", 6, lambda row: (row, "text"))]
        self.table: Table[str] = Table(columns, lambda: self.rows, lambda row: row, glyphs=UNICODE)

    def compose(self) -> ComposeResult:
        self.table.styles.height = 5
        yield self.table

    def lines_shown(self) -> list[str]:
        return [text for y in range(1, 5) if (text := self.table.render_line(y).text.strip("▸ "))]


@pytest.mark.parametrize(("cells", "titles"), [(40, "abcd"), (30, "abd"), (20, "ab"), (9, "a"), (3, "a")])
def test_columns_are_whole_or_left_out(cells: int, titles: str) -> None:
    columns: list[Column[str]] = [
        Column(title, 7, lambda row: (row, "text"), right=True, optional=1 if title == "c" else 0) for title in "abcd"
    ]
    shown = lay_out(columns, cells)
    assert "".join(column.title for column, _ in shown) == titles


@pytest.fixture
async def sheet() -> AsyncIterator[Sheet]:
    app = Sheet()
    async with app.run_test(size=(40, 12)) as pilot:
        await pilot.pause()
        app.table.reload()
        yield app


@pytest.mark.realtime
@pytest.mark.parametrize(("left", "visible"), [("abcde", "bcde"), ("abcd", "abcd"), ("abc", "abc"), ("f", "f")])
async def test_when_the_last_rows_go_those_before_them_come_into_sight(sheet: Sheet, left: str, visible: str) -> None:
    sheet.table.action_last()
    assert sheet.lines_shown() == list("cdef")
    sheet.rows = list(left)
    sheet.table.reload()
    assert sheet.lines_shown() == list(visible)


@pytest.mark.realtime
async def test_when_rows_above_the_cursor_go_no_line_stays_empty(sheet: Sheet) -> None:
    sheet.table.action_last()
    sheet.rows = list("cdf")  # the one under the cursor stays
    sheet.table.reload()
    assert sheet.lines_shown() == list("cdf")
    assert sheet.table.selected == "f"


@pytest.mark.realtime
async def test_on_a_narrow_screen_each_row_is_a_card() -> None:
    app = Sheet()
    app.table.columns = [
        *app.table.columns,
        Column("code", 6, lambda row: (str(ord(row)), "text"), right=True),
        Column("name", 30, lambda row: (f"letter {row}", "text"), optional=1),
    ]
    async with app.run_test(size=(59, 12)) as pilot:
        await pilot.resize_terminal(40, 12)
        await pilot.pause()
        app.table.reload()
        assert app.lines_shown() == ["a           97", "name letter a", "b           98", "name letter b"]
        assert app.table.cells("a") == [("letter", "a"), ("code", "97"), ("name", "letter a")]
        app.table.action_last()
        assert app.lines_shown()[2:] == ["f          102", "name letter f"]
        await pilot.click(Table, offset=(5, 2))
        assert app.table.selected == "e"
        app.table.flush()
        assert list(app.table._cells) == ["e", "f"]  # no more than are visible
        await pilot.resize_terminal(60, 12)
        await pilot.pause()
        assert len({line.split()[0] for line in app.lines_shown()}) == 4

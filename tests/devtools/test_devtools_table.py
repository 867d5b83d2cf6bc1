"""The table by itself: what is visible while rows come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from textual.app import App, ComposeResult

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
